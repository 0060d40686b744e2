use proptest::prelude::*;

use super::*;

const LENGTH: Duration = Duration::from_secs(300);
const STEP: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "an instant to count from; none can be made otherwise")]
fn origin() -> Instant {
    Instant::now()
}

fn healthy(n: u64) -> Counts {
    Counts { healthy: n, ..Counts::default() }
}

fn failing(n: u64) -> Counts {
    Counts { failing: n, ..Counts::default() }
}

#[test]
fn a_score_needs_its_minimum_of_samples() {
    let counts = Counts { failing: 4, ..Counts::default() };
    assert_eq!(counts.score(5), None);
    assert_eq!(Counts { failing: 5, ..counts }.score(5), Some(0.0));
    assert_eq!(Counts::default().score(0), None);
}

#[test]
fn a_bound_and_a_score_of_the_same_ratio_are_equal() {
    assert_eq!(Counts { healthy: 19, failing: 1, ..Counts::default() }.score(1), Some(0.95));
    assert_eq!(Counts { healthy: 8, failing: 2, ..Counts::default() }.score(1), Some(0.80));
}

#[test]
fn nothing_older_than_the_window_counts_and_nothing_much_younger_is_lost() {
    let start = origin();
    let mut window = Window::new(LENGTH, start);
    let at = start + Duration::from_secs(7);
    window.add(at, &failing(1));
    assert_eq!(window.sum(at + LENGTH - STEP).failing, 1);
    assert_eq!(window.sum(at + LENGTH).failing, 0);
}

#[test]
fn an_idle_year_costs_nothing() {
    let start = origin();
    let mut window = Window::new(LENGTH, start);
    window.add(start, &healthy(3));
    let later = start + Duration::from_secs(365 * 86_400);
    window.add(later, &healthy(1));
    assert_eq!(window.buckets.len(), 1);
    assert_eq!(window.sum(later), healthy(1));
}

#[test]
fn a_moment_before_the_last_one_is_counted_and_panics_nobody() {
    let start = origin();
    let mut window = Window::new(LENGTH, start + LENGTH);
    window.add(start + LENGTH + STEP, &healthy(1));
    window.add(start, &failing(1));
    assert_eq!(window.sum(start + LENGTH + STEP).samples(), 2);
}

#[test]
fn counts_stop_at_their_end() {
    let start = origin();
    let mut window = Window::new(LENGTH, start);
    window.add(start, &healthy(u64::MAX));
    window.add(start, &Counts { healthy: 1, failing: u64::MAX, ..Counts::default() });
    let sum = window.sum(start);
    assert_eq!(sum.samples(), u64::MAX);
    assert!((0.0..=1.0).contains(&sum.score(1).unwrap()));
}

#[derive(Debug, Clone, Copy)]
struct Step {
    gap_ms: u64,
    fails: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap = prop_oneof![6 => 0..2_000u64, 3 => 2_000..60_000u64, 1 => 60_000..900_000u64];
    prop::collection::vec((gap, any::<bool>()).prop_map(|(gap_ms, fails)| Step { gap_ms, fails }), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_window_agrees_with_a_list_of_all_that_happened(steps in steps(), idle_ms in 0..700_000u64) {
        let start = origin();
        let mut window = Window::new(LENGTH, start);
        let mut all: Vec<(Duration, bool)> = Vec::new();
        let mut gone = Duration::ZERO;
        for step in steps {
            gone += Duration::from_millis(step.gap_ms);
            window.add(start + gone, &if step.fails { failing(1) } else { healthy(1) });
            all.push((gone, step.fails));
            prop_assert!(window.buckets.len() as u64 <= BUCKETS);
        }
        gone += Duration::from_millis(idle_ms);
        let present = gone.as_millis() / STEP.as_millis();
        let inside = |at: &Duration| at.as_millis() / STEP.as_millis() + u128::from(BUCKETS) > present;
        let expected = Counts {
            healthy: all.iter().filter(|(at, fails)| inside(at) && !fails).count() as u64,
            failing: all.iter().filter(|(at, fails)| inside(at) && *fails).count() as u64,
            ..Counts::default()
        };
        let sum = window.sum(start + gone);
        prop_assert_eq!(sum, expected);
        let younger = |limit: Duration| all.iter().filter(|(at, _)| gone - *at < limit).count() as u64;
        prop_assert!(younger(LENGTH - STEP) <= sum.samples() && sum.samples() <= younger(LENGTH));
        prop_assert_eq!(window.is_empty(start + gone), sum.samples() == 0);
        prop_assert!(sum.score(1).is_none_or(|score| (0.0..=1.0).contains(&score)));
    }

    #[test]
    fn reading_changes_nothing(steps in steps(), reads in prop::collection::vec(0..900_000u64, 0..20)) {
        let start = origin();
        let (mut read, mut unread) = (Window::new(LENGTH, start), Window::new(LENGTH, start));
        let mut gone = Duration::ZERO;
        for step in steps {
            gone += Duration::from_millis(step.gap_ms);
            let counts = if step.fails { failing(1) } else { healthy(1) };
            read.add(start + gone, &counts);
            unread.add(start + gone, &counts);
            for ahead in &reads {
                let _ = read.sum(start + gone + Duration::from_millis(*ahead));
            }
        }
        prop_assert_eq!(read.sum(start + gone), unread.sum(start + gone));
    }
}
