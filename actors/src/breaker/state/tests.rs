use proptest::prelude::*;

use super::*;
use crate::{
    breaker::{RateTrip, StreakTrip, some_moment},
    grant::Ending,
    outcome::Class,
};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(20);

/// A breaker and a time that the test moves by hand.
#[derive(Clone)]
struct Rig {
    breaker: Breaker,
    now: Instant,
    seen: Vec<Transition>,
}

/// 50 % of at least 5 within 10 s, open for 5 s, one probe, no spread: the settings of the peers' suites.
fn plain() -> BreakerConfig {
    BreakerConfig {
        rate: Some(RateTrip { minimum_calls: 5, window: 10 * SECOND, open_for: 5 * SECOND, ..RateTrip::default() }),
        streak: None,
        probe_lease: LEASE,
        jitter: 0.0,
        ..BreakerConfig::default()
    }
}

fn ended(class: Class) -> GrantEnd {
    GrantEnd::Ended(Ending { class, effect: Effect::None, cost: None, retry_after: None, elapsed: SECOND })
}

fn lost() -> GrantEnd {
    let ending =
        Ending { class: Class::Abandoned, effect: Effect::Unknown, cost: None, retry_after: None, elapsed: SECOND };
    GrantEnd::Ended(ending)
}

impl Rig {
    fn new(config: BreakerConfig) -> Self {
        let now = some_moment();
        Self { breaker: Breaker::new(config, now), now, seen: Vec::new() }
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
        let change = self.breaker.decide_deadline(self.now, || 0.0);
        self.apply(change);
    }

    fn admit(&mut self) -> Result<GrantId, Refusal> {
        let admission = self.breaker.decide_admit(self.now);
        self.breaker.apply_admit(admission, self.now)
    }

    fn report(&mut self, grant: GrantId, end: GrantEnd) {
        let change = self.breaker.decide_report(self.now, &GrantReport { grant, end }, || 0.0);
        self.apply(change);
    }

    fn apply(&mut self, change: Change) {
        self.seen.extend(self.breaker.apply(change));
    }

    fn call(&mut self, class: Class) {
        let grant = self.admit().unwrap();
        self.report(grant, ended(class));
    }

    fn calls(&mut self, outcomes: &str) {
        for outcome in outcomes.chars().filter(|c| !c.is_whitespace()) {
            self.call(if outcome == 'F' { Class::Server } else { Class::Success });
        }
    }

    fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    fn calls_seen(&self) -> (u64, u64) {
        let tally = self.breaker.tally(self.now);
        (tally.calls, tally.failures)
    }

    fn opened(config: BreakerConfig) -> Self {
        let mut rig = Self::new(config);
        rig.calls("FFFFF");
        assert_eq!(rig.state(), BreakerState::Open);
        rig
    }

    fn half_open(config: BreakerConfig) -> Self {
        let mut rig = Self::opened(config);
        rig.wait(5 * SECOND);
        assert_eq!(rig.state(), BreakerState::HalfOpen);
        rig
    }
}

#[test]
fn a_success_that_completes_the_minimum_opens_when_the_rate_is_over_the_limit() {
    let mut rig = Rig::new(plain());
    rig.calls("FFFS");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("S");
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen[0].cause, "3 of 5 calls failed (60 %, limit 50 %) within 10 s");
    assert_eq!(rig.seen[0].figures, Figures { failures: 3, calls: 5, limit: 0.5 });
    let refusal = rig.admit().unwrap_err();
    assert_eq!((refusal.by, refusal.retry_at), (Guard::Breaker, Some(rig.now + 5 * SECOND)));
    assert!(refusal.to_string().contains("3 of 5 calls failed"), "{refusal}");
    assert_eq!(rig.breaker.totals(), (5, 1, 1));
}

#[test]
fn exactly_at_the_limit_opens_and_below_it_does_not() {
    let mut rig = Rig::new(plain());
    rig.calls("SSSFF");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn successes_that_have_left_the_window_protect_nothing() {
    let mut rig = Rig::new(plain());
    for _ in 0..1_000 {
        rig.calls("S");
    }
    rig.wait(10 * SECOND);
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn a_failure_exactly_as_old_as_the_window_is_outside_and_one_tick_younger_is_inside() {
    for (gap, expected) in
        [(10 * SECOND, BreakerState::Closed), (10 * SECOND - Duration::from_nanos(1), BreakerState::Open)]
    {
        let mut rig = Rig::new(plain());
        rig.calls("FFFF");
        rig.wait(gap);
        rig.calls("F");
        assert_eq!(rig.state(), expected, "{gap:?}");
    }
}

#[test]
fn a_burst_and_a_trickle_open_at_the_same_failure() {
    for gap in [Duration::from_micros(200), SECOND] {
        let mut rig = Rig::new(plain());
        for _ in 0..4 {
            rig.calls("F");
            rig.wait(gap);
        }
        assert_eq!(rig.state(), BreakerState::Closed);
        rig.calls("F");
        assert_eq!(rig.state(), BreakerState::Open, "{gap:?}");
    }
}

#[test]
fn after_a_long_silence_old_failures_say_nothing() {
    let mut rig = Rig::new(BreakerConfig { streak: Some(StreakTrip::default()), ..plain() });
    rig.calls("FFFF");
    rig.wait(60 * 24 * 3600 * SECOND);
    rig.calls("SFFF");
    rig.wait(60 * 24 * 3600 * SECOND);
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn five_failures_among_a_thousand_successes_do_not_open_the_credit_breaker() {
    let mut rig = Rig::new(BreakerConfig::credit(30 * SECOND));
    for _ in 0..5 {
        rig.calls(&"S".repeat(200));
        rig.calls("F");
    }
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn five_failures_in_a_row_open_the_credit_breaker_for_fifteen_minutes() {
    let mut rig = Rig::new(BreakerConfig { jitter: 0.0, ..BreakerConfig::credit(30 * SECOND) });
    rig.calls("SSSSSSSS FFFFF");
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen[0].cause, "5 failures in a row");
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 900 * SECOND));
}

#[test]
fn of_two_rules_that_open_the_longer_open_time_holds() {
    let streak = StreakTrip { failures: 5, open_for: 900 * SECOND, forget_after: 60 * SECOND };
    let rig = Rig::opened(BreakerConfig { streak: Some(streak), ..plain() });
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 900 * SECOND));
}

#[test]
fn with_two_workers_and_long_timeouts_an_outage_is_still_seen() {
    // A black hole: each of two calls ends after 30 s. The window never holds the minimum; the streak sees it.
    let mut rig = Rig::new(BreakerConfig::patterns(30 * SECOND));
    for _ in 0..5 {
        assert_eq!(rig.state(), BreakerState::Closed);
        rig.wait(30 * SECOND);
        rig.calls("FF");
    }
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn nine_failures_and_a_long_pause_do_not_open_the_patterns_breaker_at_the_tenth() {
    let mut rig = Rig::new(BreakerConfig::patterns(30 * SECOND));
    rig.calls("FFFFFFFFF");
    rig.wait(60 * SECOND);
    rig.calls("F");
    assert_eq!((rig.state(), rig.breaker.streak(rig.now)), (BreakerState::Closed, 1));
}

#[test]
fn only_what_speaks_of_the_vendor_counts() {
    for class in Class::ALL {
        let mut rig = Rig::new(plain());
        rig.call(class);
        let expected = match class.verdict() {
            Verdict::Silent => (0, 0),
            Verdict::Healthy => (1, 0),
            Verdict::Failing => (1, 1),
        };
        assert_eq!(rig.calls_seen(), expected, "{class}");
        assert_eq!(rig.breaker.passes_out(), 0);
    }
}

#[test]
fn an_unused_pass_counts_as_nothing_and_an_unknown_end_as_a_failure() {
    let mut rig = Rig::new(plain());
    let (a, b) = (rig.admit().unwrap(), rig.admit().unwrap());
    rig.report(a, GrantEnd::Unused);
    assert_eq!(rig.calls_seen(), (0, 0));
    rig.report(b, GrantEnd::Unknown);
    assert_eq!(rig.calls_seen(), (1, 1));
}

#[test]
fn a_silent_end_neither_breaks_nor_lengthens_a_streak() {
    let mut rig = Rig::new(BreakerConfig { streak: Some(StreakTrip::default()), rate: None, ..plain() });
    rig.calls("FFFF");
    rig.call(Class::Throttled);
    assert_eq!((rig.state(), rig.breaker.streak(rig.now)), (BreakerState::Closed, 4));
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn refused_calls_do_not_dilute_the_rate() {
    let mut rig = Rig::opened(plain());
    for _ in 0..502 {
        assert!(rig.admit().is_err());
    }
    rig.wait(5 * SECOND);
    rig.calls("S");
    assert_eq!((rig.state(), rig.calls_seen()), (BreakerState::Closed, (0, 0)));
    rig.calls("FFFFF");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn calls_that_pass_without_a_result_yet_do_not_dilute_the_rate() {
    let mut rig = Rig::new(plain());
    for _ in 0..60 {
        rig.admit().unwrap();
    }
    rig.calls("FFFFF");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn ten_healthy_calls_at_once_leave_it_closed() {
    let mut rig = Rig::new(plain());
    let grants: Vec<_> = (0..10).map(|_| rig.admit().unwrap()).collect();
    for grant in grants {
        rig.report(grant, ended(Class::Success));
    }
    assert_eq!((rig.state(), rig.seen.len()), (BreakerState::Closed, 0));
}

#[test]
fn open_becomes_half_open_at_its_time_and_not_before() {
    let mut rig = Rig::opened(plain());
    rig.wait(3 * SECOND);
    assert!(rig.admit().is_err());
    rig.wait(2 * SECOND - Duration::from_nanos(1));
    assert_eq!(rig.state(), BreakerState::Open);
    rig.wait(Duration::from_nanos(1));
    assert_eq!(rig.state(), BreakerState::HalfOpen);
    assert!(rig.admit().is_ok());
}

#[test]
fn the_open_time_grows_with_each_opening_in_a_row_and_a_healthy_close_resets_it() {
    let mut rig = Rig::opened(BreakerConfig { growth: 1.5, ..plain() });
    rig.wait(6 * SECOND);
    rig.calls("F");
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + Duration::from_millis(7_500)));
    rig.wait(6 * SECOND);
    assert!(rig.admit().is_err());
    rig.wait(5 * SECOND);
    rig.calls("F");
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + Duration::from_millis(11_250)));
    rig.wait(12 * SECOND);
    rig.calls("S FFFFF");
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 5 * SECOND));
}

#[test]
fn a_retry_after_is_obeyed_when_its_failure_opens() {
    let mut rig = Rig::new(plain());
    rig.calls("FFFF");
    let grant = rig.admit().unwrap();
    let ending = Ending {
        class: Class::Overload,
        effect: Effect::None,
        cost: None,
        retry_after: Some(120 * SECOND),
        elapsed: SECOND,
    };
    rig.report(grant, GrantEnd::Ended(ending));
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 120 * SECOND));
}

#[test]
fn a_failed_probe_opens_again_whatever_the_minimum() {
    let mut rig = Rig::half_open(plain());
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen.last().unwrap().cause, "a probe failed: server");
}

#[test]
fn a_good_probe_closes_with_an_empty_window() {
    let mut rig = Rig::half_open(plain());
    rig.calls("S");
    assert_eq!((rig.state(), rig.calls_seen()), (BreakerState::Closed, (0, 0)));
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn as_many_probes_must_succeed_as_are_asked_for() {
    let mut rig = Rig::half_open(BreakerConfig { probes: 2, probes_to_close: 3, ..plain() });
    rig.calls("SS");
    assert_eq!(rig.state(), BreakerState::HalfOpen);
    rig.calls("S");
    assert_eq!(rig.state(), BreakerState::Closed);
    assert_eq!(&*rig.seen.last().unwrap().cause, "3 probes succeeded");
}

#[test]
fn of_eight_calls_at_once_one_is_the_probe() {
    let mut rig = Rig::half_open(plain());
    let answers: Vec<_> = (0..8).map(|_| rig.admit()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let refusal = answers[7].clone().unwrap_err();
    assert_eq!(refusal.reason, Reason::Probing { probes: 1, limit: 1 });
    assert_eq!(refusal.retry_at, Some(rig.now + PROBING_PAUSE));
}

#[test]
fn a_probe_that_was_not_used_or_says_nothing_frees_its_place_without_a_verdict() {
    let silent = [GrantEnd::Unused, ended(Class::CallerError), ended(Class::Throttled), ended(Class::Exhausted)];
    for end in silent {
        let mut rig = Rig::half_open(plain());
        let probe = rig.admit().unwrap();
        rig.report(probe, end);
        assert_eq!((rig.state(), rig.breaker.probes_in_flight()), (BreakerState::HalfOpen, 0), "{end:?}");
        rig.report(probe, end);
        assert!(rig.admit().is_ok());
        assert!(rig.admit().is_err());
    }
}

#[test]
fn a_probe_that_was_lost_after_its_first_byte_failed() {
    for end in [GrantEnd::Unknown, lost()] {
        let mut rig = Rig::half_open(plain());
        let probe = rig.admit().unwrap();
        rig.report(probe, end);
        assert_eq!(rig.state(), BreakerState::Open, "{end:?}");
    }
}

#[test]
fn a_probe_that_never_ends_is_disowned_at_its_lease_and_another_is_let_in() {
    let mut rig = Rig::half_open(plain());
    let hung = rig.admit().unwrap();
    assert_eq!(rig.breaker.next_deadline(), Some(rig.now + LEASE));
    rig.wait(LEASE - Duration::from_nanos(1));
    assert!(rig.admit().is_err());
    rig.wait(Duration::from_nanos(1));
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen.last().unwrap().cause, "a probe did not report within 20 s");
    rig.wait(5 * SECOND);
    let before = rig.breaker.clone();
    rig.report(hung, ended(Class::Success));
    assert_eq!(rig.breaker, before);
    rig.calls("S");
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn two_calls_that_fail_together_open_once_and_the_second_moves_no_timer() {
    let mut rig = Rig::new(plain());
    rig.calls("FFF");
    let (a, b, c) = (rig.admit().unwrap(), rig.admit().unwrap(), rig.admit().unwrap());
    rig.report(a, ended(Class::Server));
    rig.report(b, ended(Class::Server));
    let (until, before) = (rig.breaker.retry_at(), rig.breaker.clone());
    rig.wait(SECOND);
    rig.report(c, ended(Class::Timeout));
    assert_eq!((rig.breaker.retry_at(), rig.seen.len()), (until, 1));
    assert_eq!(rig.breaker, before);
    rig.wait(4 * SECOND);
    assert_eq!(rig.state(), BreakerState::HalfOpen);
}

#[test]
fn a_late_result_of_an_earlier_generation_leaves_the_probe_to_decide() {
    for end in [ended(Class::Success), ended(Class::Server), ended(Class::CallerError), GrantEnd::Unused, lost()] {
        let mut rig = Rig::new(plain());
        let late = rig.admit().unwrap();
        rig.calls("FFFFF");
        rig.wait(5 * SECOND);
        let probe = rig.admit().unwrap();
        let before = rig.breaker.clone();
        rig.report(late, end);
        assert_eq!(rig.breaker, before, "{end:?}");
        assert!(rig.admit().is_err(), "{end:?} made room for another probe");
        rig.report(probe, ended(Class::Success));
        assert_eq!(rig.state(), BreakerState::Closed);
    }
}

#[test]
fn a_late_failure_of_an_earlier_generation_is_not_counted_after_closing() {
    let mut rig = Rig::new(plain());
    let late: Vec<_> = (0..10).map(|_| rig.admit().unwrap()).collect();
    rig.calls("FFFFF");
    rig.wait(5 * SECOND);
    rig.calls("S");
    for grant in late {
        rig.report(grant, ended(Class::Server));
    }
    assert_eq!((rig.state(), rig.calls_seen()), (BreakerState::Closed, (0, 0)));
}

#[test]
fn late_silent_results_make_no_room_for_more_probes() {
    let mut rig = Rig::new(BreakerConfig { probes: 2, ..plain() });
    let late: Vec<_> = (0..5).map(|_| rig.admit().unwrap()).collect();
    rig.calls("FFFFF");
    rig.wait(5 * SECOND);
    assert!(rig.admit().is_ok() && rig.admit().is_ok());
    for grant in late {
        rig.report(grant, ended(Class::CallerError));
        assert!(rig.admit().is_err());
    }
}

#[test]
fn a_report_that_comes_twice_counts_once() {
    let mut rig = Rig::new(plain());
    let grant = rig.admit().unwrap();
    for _ in 0..5 {
        rig.report(grant, ended(Class::Server));
    }
    assert_eq!((rig.calls_seen(), rig.state()), ((1, 1), BreakerState::Closed));
}

#[test]
fn the_table_of_passes_is_bounded_and_forgets_what_is_past_its_lease() {
    let mut rig = Rig::new(plain());
    let first = rig.admit().unwrap();
    for _ in 1..GRANTS_MAX {
        rig.admit().unwrap();
    }
    let refusal = rig.admit().unwrap_err();
    assert_eq!(refusal.reason, Reason::Full { what: "passes", held: GRANTS_MAX, limit: GRANTS_MAX });
    rig.wait(LEASE);
    rig.admit().unwrap();
    assert_eq!(rig.breaker.passes_out(), GRANTS_MAX);
    rig.report(first, ended(Class::Server));
    assert_eq!(rig.calls_seen(), (0, 0));
}

#[test]
fn a_reset_closes_and_forgets_and_states_a_change_only_if_there_was_one() {
    let mut rig = Rig::opened(plain());
    let change = rig.breaker.decide_reset(rig.now);
    rig.apply(change);
    assert_eq!((rig.state(), rig.seen.len()), (BreakerState::Closed, 2));
    rig.calls("FFFF");
    let change = rig.breaker.decide_reset(rig.now);
    rig.apply(change);
    assert_eq!((rig.calls_seen(), rig.breaker.generation(), rig.seen.len()), ((0, 0), 4, 2));
}

#[test]
fn without_a_rule_it_never_opens() {
    let mut rig = Rig::new(BreakerConfig { rate: None, streak: None, ..plain() });
    rig.calls(&"F".repeat(1_000));
    assert_eq!(rig.state(), BreakerState::Closed);
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Act {
    Admit,
    Report { which: usize, end: usize, keep: bool },
    Wait(u64),
    Reset,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Admit),
        6 => (0usize..64, 0usize..7, any::<bool>()).prop_map(|(which, end, keep)| Act::Report { which, end, keep }),
        3 => (0u64..8_000).prop_map(Act::Wait),
        1 => Just(Act::Reset),
    ];
    prop::collection::vec(act, 1..120)
}

fn end_number(end: usize) -> GrantEnd {
    match end {
        0 => GrantEnd::Unused,
        1 => GrantEnd::Unknown,
        2 => ended(Class::CallerError),
        3 => lost(),
        4 => ended(Class::Success),
        _ => ended(Class::Server),
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
        Act::Reset => {
            let change = rig.breaker.decide_reset(rig.now);
            rig.apply(change);
        }
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
            prop_assert_eq!(rig.breaker.next_deadline().is_none_or(|due| due > rig.now), true);
        }
        for pair in rig.seen.windows(2) {
            prop_assert!(pair[0].to == pair[1].from && pair[0].generation < pair[1].generation);
        }
        let opened = rig.seen.iter().filter(|change| change.to == BreakerState::Open).count() as u64;
        prop_assert_eq!(rig.breaker.totals().2, opened);
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
}
