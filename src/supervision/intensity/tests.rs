use proptest::prelude::*;

use super::*;

const CRASHES: [Cause; 3] = [Cause::Panic, Cause::Factory, Cause::Hang];

fn start() -> Instant {
    mainstay_actors::clock::now()
}

fn spec(max_restarts: u32, period_ms: u64) -> ChildSpec {
    let intensity = Intensity { max_restarts, period: Duration::from_millis(period_ms) };
    ChildSpec { intensity, ..ChildSpec::default() }
}

#[test]
fn the_table_of_causes_and_kinds_holds() {
    let now = start();
    let ask = |restart, cause| ChildRule::new(ChildSpec { restart, ..ChildSpec::default() }).on_exit(now, cause);
    let again = Decision::Restart { after: Duration::from_millis(5), counted: true };
    let wanted = Decision::Restart { after: Duration::ZERO, counted: false };
    for cause in CRASHES {
        assert_eq!(ask(Restart::Permanent, cause), again);
        assert_eq!(ask(Restart::Transient, cause), again);
        assert_eq!(ask(Restart::Temporary, cause), Decision::Leave);
    }
    assert_eq!(ask(Restart::Permanent, Cause::Stopped), again);
    assert_eq!(ask(Restart::Transient, Cause::Stopped), Decision::Leave);
    assert_eq!(ask(Restart::Temporary, Cause::Stopped), Decision::Leave);
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        assert_eq!(ask(restart, Cause::Relaunched), wanted);
    }
}

#[test]
fn the_eleventh_restart_in_a_minute_parks() {
    let (now, mut rule) = (start(), ChildRule::new(ChildSpec::default()));
    for n in 0..10 {
        assert!(matches!(rule.on_exit(now, Cause::Panic), Decision::Restart { .. }), "{n}");
    }
    assert_eq!(rule.on_exit(now, Cause::Panic), Decision::Park);
    assert_eq!(rule.window().in_words("restarts"), "passed 10 restarts in 60 s");
    rule.forget();
    assert!(matches!(rule.on_exit(now, Cause::Panic), Decision::Restart { .. }));
}

#[test]
fn pauses_double_up_to_the_longest_and_start_again_after_a_quiet_period() {
    let (now, mut rule) = (start(), ChildRule::new(ChildSpec::default()));
    let mut pauses = Vec::new();
    for _ in 0..10 {
        if let Decision::Restart { after, .. } = rule.on_exit(now, Cause::Panic) {
            pauses.push(after.as_millis());
        }
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    let later = now + Duration::from_secs(60);
    assert_eq!(rule.on_exit(later, Cause::Panic), Decision::Restart { after: Duration::from_millis(5), counted: true });
}

#[test]
fn a_log_gate_says_ten_lines_a_second_and_then_how_many_it_left_out() {
    let (now, mut gate) = (start(), LogGate::default());
    assert_eq!((0..1_000).filter(|_| gate.admit(now)).count(), 10);
    assert_eq!(gate.left_out(now), None, "the second is not over");
    let next = now + Duration::from_secs(1);
    assert_eq!(gate.left_out(next), Some(990));
    assert_eq!(gate.left_out(next), None, "told once");
    assert!(gate.admit(next));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The window against a list of all events: the limit is passed exactly when more than `max` lie within the period.
    #[test]
    fn a_window_agrees_with_a_full_history(max in 0_u32..6, period in 1_u64..50, gaps in prop::collection::vec(0_u64..20, 1..80)) {
        let mut window = Window::new(Intensity { max_restarts: max, period: Duration::from_millis(period) });
        let (mut now, mut all) = (start(), Vec::new());
        for gap in gaps {
            now += Duration::from_millis(gap);
            all.push(now);
            let inside = all.iter().filter(|at| now - **at < Duration::from_millis(period)).count();
            prop_assert_eq!(window.note(now), inside > max as usize);
            prop_assert!(window.recent.len() <= max as usize + 1, "bounded memory");
        }
    }

    /// Whatever happens, no period holds more restarts than allowed, and no pause leaves its range.
    #[test]
    fn restarts_never_pass_the_limit(max in 0_u32..6, period in 1_u64..50, exits in prop::collection::vec((0_u64..20, 0_usize..3), 1..80)) {
        let spec = spec(max, period);
        let (mut rule, mut now, mut restarts) = (ChildRule::new(spec), start(), Vec::new());
        for (gap, cause) in exits {
            now += Duration::from_millis(gap);
            match rule.on_exit(now, CRASHES[cause]) {
                Decision::Restart { after, counted } => {
                    prop_assert!(counted && (spec.backoff.first..=spec.backoff.max).contains(&after));
                    restarts.push(now);
                }
                Decision::Park => {}
                Decision::Leave => prop_assert!(false, "a permanent child is never left"),
            }
            let inside = restarts.iter().filter(|at| now - **at < spec.intensity.period).count();
            prop_assert!(inside <= max as usize);
        }
    }

    /// A clock that goes backwards is read as standing still: no panic, and nothing is forgotten.
    #[test]
    fn a_window_survives_any_order_of_moments(moves in prop::collection::vec(0_u64..100, 1..50)) {
        let (base, mut window) = (start(), Window::new(Intensity { max_restarts: 3, period: Duration::from_secs(1) }));
        for ms in moves {
            window.note(base + Duration::from_millis(ms));
            prop_assert!(window.held(base) >= 1);
        }
    }
}
