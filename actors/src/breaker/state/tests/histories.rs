//! Whatever happens: what must always hold, and that the breaker does what a slow and obvious one does.

use proptest::prelude::*;

use super::{model::Model, *};

/// One step of a random history.
#[derive(Debug, Clone)]
enum Act {
    Admit,
    Report { which: usize, end: usize, keep: bool },
    Wait(u64),
    Control(usize, u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Admit),
        6 => (0usize..64, 0usize..20, any::<bool>()).prop_map(|(which, end, keep)| Act::Report { which, end, keep }),
        2 => (0u64..8_000).prop_map(Act::Wait),
        // Whole seconds meet the edges of windows, leases and orders exactly.
        2 => (0u64..25).prop_map(|seconds| Act::Wait(seconds * 1_000)),
        1 => (0usize..10, 1u32..30).prop_map(|(which, seconds)| Act::Control(which, seconds)),
    ];
    prop::collection::vec(act, 1..200)
}

fn end_number(end: usize) -> GrantEnd {
    match end {
        0 => GrantEnd::Unused,
        1 => GrantEnd::Unknown,
        2 => ended(Class::CallerError),
        3 => lost(),
        4 => ended(Class::Throttled),
        5 => took(Class::Success, 4 * SECOND),
        6 => took(Class::Success, 5 * SECOND),
        7 => took(Class::Server, 5 * SECOND),
        8 => asking(Class::Overload, 30 * SECOND),
        9..=12 => ended(Class::Server),
        _ => ended(Class::Success),
    }
}

fn control_number(which: usize, seconds: u32) -> Control {
    match which {
        0 | 1 => Control::ForceOpen(order(seconds)),
        2 | 3 => Control::ForceClosed(order(seconds)),
        4..=7 => Control::MetricsOnly(order(seconds)),
        8 => Control::Automatic,
        _ => Control::Reset,
    }
}

/// What the test knows of a pass, independently of the breaker.
#[derive(Clone, Copy)]
struct Known {
    grant: GrantId,
    generation: u64,
    reported: bool,
}

fn play(rig: &mut Rig, known: &mut Vec<Known>, act: &Act) -> Result<(), TestCaseError> {
    match *act {
        Act::Admit => {
            if let Ok(grant) = rig.admit() {
                known.push(Known { grant, generation: rig.breaker.generation(), reported: false });
            }
        }
        Act::Report { which, end, keep } if !known.is_empty() => {
            let at = which % known.len();
            let pass = known[at];
            let (before, stale) = (rig.breaker.clone(), pass.reported || pass.generation != rig.breaker.generation());
            rig.report(pass.grant, end_number(end));
            if stale {
                prop_assert_eq!(&rig.breaker, &before, "a stale report changed something");
            }
            known[at].reported = true;
            if !keep {
                known.remove(at);
            }
        }
        Act::Report { .. } => {}
        Act::Wait(ms) => rig.wait(Duration::from_millis(ms)),
        Act::Control(which, seconds) => rig.control(&control_number(which, seconds)),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens: no more probes than allowed, stale reports change nothing, each change is stated once and follows
    /// on the one before, and after every lease has run out a call gets through again.
    #[test]
    fn no_history_breaks_the_breaker(acts in acts(), probes in 1u32..4, to_close in 1u32..4) {
        let mut rig = Rig::new(BreakerConfig { probes, probes_to_close: to_close, growth: 2.0, ..plain() });
        let mut known = Vec::new();
        for act in &acts {
            play(&mut rig, &mut known, act)?;
            if rig.state() == BreakerState::HalfOpen {
                let current = rig.breaker.generation();
                let out = known.iter().filter(|pass| pass.generation == current && !pass.reported).count();
                prop_assert!(out as u64 <= u64::from(probes) && u64::from(rig.breaker.probes_in_flight()) == out as u64);
            }
            prop_assert!(rig.breaker.next_deadline().is_none_or(|due| due > rig.now));
        }
        for pair in rig.seen.windows(2) {
            prop_assert!(pair[0].to == pair[1].from && pair[0].generation < pair[1].generation);
        }
        let opens = |change: &&Transition| change.to == BreakerState::Open && change.from != BreakerState::Open;
        let opened = rig.seen.iter().filter(opens).count() as u64;
        prop_assert_eq!(rig.breaker.totals().2, opened);
        rig.control(&Control::Automatic);
        rig.wait(LEASE);
        if let Some(due) = rig.breaker.next_deadline() {
            rig.wait(due - rig.now);
        }
        prop_assert!(rig.admit().is_ok(), "wedged: {:?}", rig.breaker);
    }

    /// A decision that is not carried out changes nothing, and equal decisions are equal.
    #[test]
    fn deciding_is_only_looking(acts in acts()) {
        let mut rig = Rig::new(plain());
        let mut known = Vec::new();
        for act in &acts {
            let before = rig.breaker.clone();
            let _ = (rig.breaker.decide_admit(rig.now), rig.breaker.decide_deadline(rig.now, || 0.0));
            prop_assert_eq!(&before, &rig.breaker);
            play(&mut rig, &mut known, act)?;
        }
    }

    /// Against a breaker that keeps every call of the period in a list and works everything out anew each time.
    #[test]
    fn it_does_what_a_slow_and_obvious_one_does(acts in acts(), config in configs()) {
        let mut rig = Rig::new(config.clone());
        let mut model = Model::new(config, rig.now);
        let mut passes = Vec::new();
        for act in &acts {
            match *act {
                Act::Admit => {
                    let (passed, expected) = (rig.admit().ok(), model.admit());
                    prop_assert_eq!(passed, expected);
                    passes.extend(passed);
                }
                Act::Report { which, end, .. } if !passes.is_empty() => {
                    let grant = passes[which % passes.len()];
                    rig.report(grant, end_number(end));
                    model.report(grant, &end_number(end));
                }
                Act::Report { .. } => {}
                Act::Wait(ms) => {
                    rig.wait(Duration::from_millis(ms));
                    model.wait(Duration::from_millis(ms));
                }
                Act::Control(which, seconds) => {
                    rig.control(&control_number(which, seconds));
                    model.control(&control_number(which, seconds));
                }
            }
            prop_assert_eq!(model.looks(), Model::look_at(&rig), "after {:?}", act);
            prop_assert!(rig.breaker.next_deadline().is_none_or(|due| due > rig.now), "it would never sleep again");
        }
    }
}

fn configs() -> impl Strategy<Value = BreakerConfig> {
    let window = prop_oneof![Just(Window::Time(10 * SECOND)), Just(Window::Count(6))];
    let slow = prop::option::of(Just(SlowTrip { slower_than: 4 * SECOND, slow_ratio: 0.6 }));
    let rate = (window, slow).prop_map(|(window, slow)| RateTrip { window, slow, ..plain_rate() });
    let streak = StreakTrip { failures: 3, open_for: 7 * SECOND, forget_after: 6 * SECOND };
    let rules = (prop::option::weighted(0.8, rate), prop::option::of(Just(streak)));
    (rules, 1u32..4, 1u32..4, any::<bool>()).prop_map(|((rate, streak), probes, probes_to_close, throttle_counts)| {
        BreakerConfig { rate, streak, probes, probes_to_close, throttle_counts, growth: 2.0, ..plain() }
    })
}
