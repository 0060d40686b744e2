//! The hard cases of other libraries' suites, by their numbers in `docs/peers.md`, as far as the rule alone decides them.

use jiff::Timestamp;

use super::*;
use crate::{breaker::BreakerSnapshot, ids::Circuit, profile::retry_after};

#[test]
fn peers_01_a_success_that_completes_the_minimum_opens_when_the_rate_is_over_the_limit() {
    let mut rig = Rig::new(plain());
    rig.calls("FFFS");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("S");
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen[0].cause, "3 of 5 calls failed (60 %, limit 50 %) within 10 s");
    assert_eq!(rig.seen[0].figures, Figures { failures: 3, slow: 0, calls: 5, limit: 0.5 });
    let refusal = rig.admit().unwrap_err();
    assert_eq!((refusal.by, refusal.retry_at), (Guard::Breaker, Some(rig.now + 5 * SECOND)));
    assert!(refusal.to_string().contains("3 of 5 calls failed"), "{refusal}");
    assert_eq!(rig.breaker.totals(), (5, 1, 1));
}

#[test]
fn peers_01_exactly_at_the_limit_opens_and_below_it_does_not() {
    let mut rig = Rig::new(plain());
    rig.calls("SSSFF");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn peers_05_the_open_time_grows_with_each_opening_in_a_row_and_a_healthy_close_resets_it() {
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
fn peers_11_two_calls_that_fail_together_open_once_and_the_second_moves_no_timer() {
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
fn peers_12_a_failure_exactly_as_old_as_the_window_is_outside_and_one_tick_younger_is_inside() {
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
fn peers_14_a_failed_probe_opens_again_whatever_the_minimum() {
    let mut rig = Rig::half_open(plain());
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen.last().unwrap().cause, "a probe failed: server");
}

#[test]
fn peers_17_a_burst_and_a_trickle_open_at_the_same_failure() {
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
fn peers_19_of_eight_calls_at_once_one_is_the_probe() {
    let mut rig = Rig::half_open(plain());
    let answers: Vec<_> = (0..8).map(|_| rig.admit()).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let refusal = answers[7].clone().unwrap_err();
    assert_eq!(refusal.reason, Reason::Probing { probes: 1, limit: 1 });
    assert_eq!(refusal.to_string(), "refused by the circuit breaker: half-open, 1 of 1 probes under way");
    assert_eq!(refusal.retry_at, Some(rig.now + PROBING_PAUSE));
}

#[test]
fn peers_20_a_probe_that_was_not_used_or_says_nothing_frees_its_place_without_a_verdict() {
    let silent = [GrantEnd::Unused, ended(Class::CallerError), ended(Class::Throttled), ended(Class::Exhausted)];
    for end in silent {
        let mut rig = Rig::half_open(plain());
        let probe = rig.admit().unwrap();
        rig.report(probe, end.clone());
        assert_eq!((rig.state(), rig.breaker.probes_in_flight()), (BreakerState::HalfOpen, 0), "{end:?}");
        rig.report(probe, end);
        assert!(rig.admit().is_ok());
        assert!(rig.admit().is_err());
    }
}

#[test]
fn peers_b1_a_late_result_of_an_earlier_generation_leaves_the_probe_to_decide() {
    for end in [ended(Class::Success), ended(Class::Server), ended(Class::CallerError), GrantEnd::Unused, lost()] {
        let mut rig = Rig::new(plain());
        let late = rig.admit().unwrap();
        rig.calls("FFFFF");
        rig.wait(5 * SECOND);
        let probe = rig.admit().unwrap();
        let before = rig.breaker.clone();
        rig.report(late, end.clone());
        assert_eq!(rig.breaker, before, "{end:?}");
        assert!(rig.admit().is_err(), "{end:?} made room for another probe");
        rig.report(probe, ended(Class::Success));
        assert_eq!(rig.state(), BreakerState::Closed);
    }
}

#[test]
fn peers_b2_late_silent_results_make_no_room_for_more_probes() {
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
fn peers_b8_a_probe_that_never_ends_is_disowned_at_its_lease_and_another_is_let_in() {
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
fn peers_02_of_the_last_ten_calls_the_oldest_leave() {
    let counting = RateTrip { failure_ratio: 1.0, minimum_calls: 10, window: Window::Count(10), ..plain_rate() };
    let mut rig = Rig::new(BreakerConfig { rate: Some(counting), ..plain() });
    let rate = |rig: &Rig| {
        BreakerSnapshot::of(&"v".parse().unwrap(), &Circuit::default(), &rig.breaker, rig.now, |_| {
            Timestamp::UNIX_EPOCH
        })
        .failure_ratio
    };
    rig.calls("SSFF");
    assert_eq!(rate(&rig), None, "below the minimum it is not known");
    rig.calls("FFFF SSSS");
    assert_eq!((rate(&rig), rig.calls_seen()), (Some(0.6), (10, 6)));
    rig.calls("SSS");
    assert_eq!((rate(&rig), rig.calls_seen()), (Some(0.3), (10, 3)));
}

#[test]
fn peers_02_after_a_thousand_successes_half_a_window_of_failures_opens() {
    let counting = RateTrip { window: Window::Count(10), ..plain_rate() };
    let mut rig = Rig::new(BreakerConfig { rate: Some(counting), ..plain() });
    rig.calls(&"S".repeat(1_000));
    rig.wait(3_600 * SECOND);
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("F");
    assert_eq!(&*rig.seen[0].cause, "5 of the last 10 calls failed (50 %, limit 50 %)");
}

/// Slow is over 4 s; half of at least 5 within 20 s opens.
fn with_slow() -> BreakerConfig {
    let slow = Some(SlowTrip { slower_than: 4 * SECOND, slow_ratio: 0.5 });
    BreakerConfig { rate: Some(RateTrip { slow, window: Window::Time(20 * SECOND), ..plain_rate() }), ..plain() }
}

#[test]
fn peers_03_slow_calls_open_apart_from_failed_ones() {
    let (tick, mut rig) = (Duration::from_millis(100), Rig::new(with_slow()));
    let ends =
        [(Class::Server, 5 * SECOND), (Class::Success, 5 * SECOND), (Class::Server, tick), (Class::Success, tick)];
    for (class, elapsed) in ends {
        rig.end(took(class, elapsed));
    }
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.end(took(Class::Success, 5 * SECOND));
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen[0].cause, "3 of 5 calls took longer than 4 s (60 %, limit 50 %) within 20 s");
    assert_eq!(rig.seen[0].figures, Figures { failures: 2, slow: 3, calls: 5, limit: 0.5 });
}

#[test]
fn peers_04_a_silent_probe_gives_its_place_back_and_the_first_failure_opens_again() {
    let mut rig = Rig::half_open(BreakerConfig { probes: 4, probes_to_close: 4, ..plain() });
    rig.calls("SSS");
    rig.call(Class::CallerError);
    assert_eq!((rig.state(), rig.breaker.probes_in_flight()), (BreakerState::HalfOpen, 0));
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open, "ours is no rate over probes");
    assert_eq!(rig.seen.last().unwrap().figures, Figures { failures: 1, slow: 0, calls: 4, limit: 1.0 });
}

#[test]
fn peers_05_openings_in_a_row_are_counted_through_half_open_and_forgotten_by_a_close() {
    let mut rig = Rig::opened(BreakerConfig { growth: 2.0, ..plain() });
    let open_for = |rig: &Rig| (rig.breaker.retry_at().unwrap() - rig.now).as_secs() / 5;
    let mut seen = vec![open_for(&rig)];
    for outcome in ["F", "F", "F", "F", "S FFFFF", "F", "F"] {
        let wait = rig.breaker.retry_at().unwrap() - rig.now;
        rig.wait(wait);
        rig.calls(outcome);
        seen.push(open_for(&rig));
    }
    assert_eq!(seen, [1, 2, 4, 8, 16, 1, 2, 4]);
}

#[test]
fn peers_06_counting_only_says_once_what_would_open_and_lets_calls_pass() {
    let mut rig = Rig::new(with_slow());
    rig.control(&Control::MetricsOnly(order(600)));
    rig.heard.clear();
    (0..5).for_each(|_| rig.end(took(Class::Server, 5 * SECOND)));
    (0..5).for_each(|_| rig.end(took(Class::Server, 5 * SECOND)));
    assert!(matches!(&*rig.heard, [Notice::WouldOpen { .. }]), "{:?}", rig.heard);
    assert_eq!((rig.state(), rig.seen.len()), (BreakerState::Closed, 0));
    assert!(rig.admit().is_ok());
}

#[test]
fn peers_07_probes_without_a_result_open_again_at_their_lease() {
    let mut rig = Rig::half_open(BreakerConfig { probes: 4, probes_to_close: 4, probe_lease: SECOND, ..plain() });
    rig.hold_passes(4);
    assert!(rig.admit().is_err());
    rig.wait(2 * SECOND);
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn peers_09_forced_open_outlives_the_timer_of_the_opening_before_it() {
    let two = RateTrip { open_for: 2 * SECOND, ..plain_rate() };
    let mut rig = Rig::opened(BreakerConfig { rate: Some(two), ..plain() });
    assert_eq!(rig.breaker.next_deadline(), Some(rig.now + 2 * SECOND));
    rig.control(&Control::ForceOpen(order(60)));
    assert_eq!(rig.breaker.next_deadline(), Some(rig.now + 60 * SECOND));
    rig.wait(2 * SECOND);
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn peers_10_beside_a_probe_that_hangs_one_more_is_let_in_after_its_lease_and_another_open_time() {
    let mut rig = Rig::half_open(plain());
    rig.admit().unwrap();
    assert!(rig.admit().is_err());
    rig.wait(LEASE);
    assert!(rig.admit().is_err());
    rig.wait(5 * SECOND);
    assert!(rig.admit().is_ok());
    assert!(rig.admit().is_err());
    assert_eq!(rig.state(), BreakerState::HalfOpen);
}

#[test]
fn peers_12_ten_calls_a_second_apart_leave_one_by_one() {
    let mut rig = Rig::new(plain());
    for _ in 0..10 {
        rig.calls("S");
        rig.wait(SECOND);
    }
    assert_eq!(rig.calls_seen().0, 9);
    rig.wait(SECOND);
    assert_eq!(rig.calls_seen().0, 8);
}

#[test]
fn peers_15_two_failures_at_once_arm_one_timer_and_it_closes() {
    let quick = RateTrip { minimum_calls: 1, open_for: SECOND / 10, ..plain_rate() };
    let mut rig = Rig::new(BreakerConfig { rate: Some(quick), ..plain() });
    let (a, b) = (rig.admit().unwrap(), rig.admit().unwrap());
    rig.report(a, ended(Class::Server));
    rig.report(b, ended(Class::Server));
    rig.wait(Duration::from_millis(125));
    rig.calls("S");
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn peers_17_after_a_long_silence_the_minimum_must_be_met_again() {
    let three = RateTrip { minimum_calls: 3, ..plain_rate() };
    let mut rig = Rig::new(BreakerConfig { rate: Some(three), ..plain() });
    rig.calls("FF");
    rig.wait(200 * SECOND);
    rig.calls("SF");
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn peers_b13_no_call_passes_before_the_vendors_retry_after_and_the_first_probe_does_at_it() {
    let wall: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    for (header, expected) in [("120", 120), ("Tue, 24 Nov 2026 12:02:00 GMT", 120), ("86400", 900)] {
        let asked = retry_after(|name| (name == "retry-after").then_some(header), 503, wall).unwrap();
        let mut rig = Rig::new(BreakerConfig { jitter: 1.0, ..plain() });
        rig.calls("FFFF");
        rig.end(asking(Class::Overload, asked));
        rig.wait(expected * SECOND - Duration::from_nanos(1));
        assert!(rig.admit().is_err(), "{header}");
        rig.wait(Duration::from_nanos(1));
        assert!(rig.admit().is_ok(), "{header}");
    }
}

#[test]
fn peers_b15_twenty_calls_that_hang_open_before_any_of_them_ends() {
    let mut rig = Rig::new(BreakerConfig { probe_lease: 330 * SECOND, ..with_slow() });
    rig.hold_passes(20);
    rig.wait(4 * SECOND);
    assert_eq!(rig.state(), BreakerState::Open);
    let cause = "20 of 20 calls took longer than 4 s (100 %, limit 50 %) within 20 s, 20 of them still under way";
    assert_eq!(&*rig.seen[0].cause, cause);
}
