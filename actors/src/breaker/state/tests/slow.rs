//! Slow calls, and calls that are under way for too long already.

use super::*;

/// Slow is over 4 s; half of at least 5 opens.
fn slow() -> BreakerConfig {
    let slow = Some(SlowTrip { slower_than: 4 * SECOND, slow_ratio: 0.5 });
    BreakerConfig { rate: Some(RateTrip { slow, window: Window::Time(20 * SECOND), ..plain_rate() }), ..plain() }
}

fn look(rig: &Rig) -> (u64, u64, u64) {
    let tally = rig.breaker.tally(rig.now);
    (tally.calls, tally.slow, rig.breaker.overdue(rig.now))
}

#[test]
fn a_call_that_took_exactly_the_limit_is_not_slow() {
    let mut rig = Rig::new(slow());
    for _ in 0..10 {
        rig.end(took(Class::Success, 4 * SECOND));
    }
    assert_eq!((rig.state(), look(&rig)), (BreakerState::Closed, (10, 0, 0)));
}

#[test]
fn a_slow_end_that_says_nothing_of_the_vendor_does_not_count() {
    let mut rig = Rig::new(slow());
    for _ in 0..10 {
        rig.end(took(Class::CallerError, 9 * SECOND));
    }
    assert_eq!((rig.state(), look(&rig)), (BreakerState::Closed, (0, 0, 0)));
}

#[test]
fn a_slow_probe_opens_again() {
    let mut rig = Rig::half_open(slow());
    rig.end(took(Class::Success, 5 * SECOND));
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen.last().unwrap().cause, "a probe was too slow: 5 s, limit 4 s");
}

#[test]
fn calls_under_way_too_long_open_beside_those_that_ended() {
    let mut rig = Rig::new(slow());
    rig.calls("SSS");
    let hung: Vec<_> = (0..3).map(|_| rig.admit().unwrap()).collect();
    assert_eq!(rig.breaker.next_deadline(), Some(rig.now + 4 * SECOND));
    rig.wait(4 * SECOND - Duration::from_nanos(1));
    assert_eq!((rig.state(), look(&rig)), (BreakerState::Closed, (3, 0, 0)));
    rig.wait(Duration::from_nanos(1));
    assert_eq!(rig.state(), BreakerState::Open);
    let cause = "3 of 6 calls took longer than 4 s (50 %, limit 50 %) within 20 s, 3 of them still under way";
    assert_eq!(&*rig.seen[0].cause, cause);
    assert_eq!(rig.seen[0].figures, Figures { failures: 0, slow: 3, calls: 6, limit: 0.5 });
    let before = rig.breaker.clone();
    for late in hung {
        rig.report(late, ended(Class::Timeout));
    }
    assert_eq!(rig.breaker, before, "a late end counts a second time");
}

#[test]
fn a_call_that_was_overdue_and_ends_counts_once() {
    let mut rig = Rig::new(slow());
    rig.calls("SSSS SSSS");
    let slow = rig.admit().unwrap();
    rig.wait(5 * SECOND);
    assert_eq!(look(&rig), (8, 0, 1));
    rig.report(slow, took(Class::Success, 5 * SECOND));
    assert_eq!((rig.state(), look(&rig)), (BreakerState::Closed, (9, 1, 0)));
    assert_eq!(rig.breaker.next_deadline(), None);
}

#[test]
fn a_busy_breaker_sees_overdue_calls_without_its_timer() {
    let mut rig = Rig::new(slow());
    rig.hold_passes(6);
    rig.now += 5 * SECOND;
    let due = rig.breaker.next_deadline().unwrap();
    assert!(due < rig.now, "the actor asks what is due before each call");
    rig.wait(Duration::ZERO);
    assert!(rig.admit().is_err());
}

#[test]
fn a_lost_pass_is_overdue_until_its_lease_ends_and_asks_for_nothing_after_it() {
    let mut rig = Rig::new(slow());
    rig.admit().unwrap();
    rig.wait(LEASE - SECOND);
    assert_eq!(look(&rig), (0, 0, 1));
    rig.admit().unwrap();
    rig.wait(LEASE);
    assert_eq!((look(&rig), rig.breaker.next_deadline()), ((0, 0, 0), None));
}

#[test]
fn without_a_rule_for_slow_calls_nothing_is_slow_and_no_timer_runs() {
    let mut rig = Rig::new(plain());
    rig.end(took(Class::Success, 3_600 * SECOND));
    rig.admit().unwrap();
    rig.wait(10 * SECOND);
    assert_eq!((look(&rig), rig.breaker.next_deadline()), ((0, 0, 0), None));
}
