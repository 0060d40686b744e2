//! What the sample code of the seeds gets wrong, by its number.

use super::*;

#[test]
fn defect_92_an_hour_old_failure_does_not_lower_the_score_of_the_first_read() {
    let mut world = World::new();
    world.calls(0, 10).after(3_600);
    assert_eq!((world.clay().score, world.status()), (None, Status::Unknown));
    world.calls(5, 0);
    assert_eq!(world.clay().score, Some(1.0));
}

#[test]
fn defect_93_the_window_slides_whether_or_not_anybody_reads() {
    let mut world = World::new();
    world.calls(0, 10).after(200).calls(10, 0);
    assert_eq!(world.clay().score, Some(0.5));
    assert_eq!(world.clay(), world.clay());
    world.after(110);
    assert_eq!((world.clay().score, world.clay().samples), (Some(1.0), 10));
}

#[test]
fn defect_94_failures_count_however_many_successes_came_long_before() {
    let mut world = World::new();
    world.calls(10_000, 0).after(301).calls(0, 300);
    assert_eq!((world.clay().score, world.status()), (Some(0.0), Status::Unhealthy));
}

#[test]
fn defect_95_one_failed_first_call_is_no_score() {
    let mut world = World::new();
    world.calls(0, 1);
    assert_eq!((world.clay().score, world.status()), (None, Status::Unknown));
    assert_eq!(world.text(Code::TooFewCalls), "too few calls for a score in the last 5 min: 1 of 5");
    world.calls(0, 4);
    assert_eq!((world.clay().score, world.status()), (Some(0.0), Status::Unhealthy));
}

#[test]
fn defect_96_the_bounds_are_strict_95_is_degraded_and_80_unhealthy() {
    for (succeed, fail, status) in [
        (96, 4, Status::Healthy),
        (95, 5, Status::Degraded),
        (19, 1, Status::Degraded),
        (81, 19, Status::Degraded),
        (80, 20, Status::Unhealthy),
        (4, 1, Status::Unhealthy),
    ] {
        assert_eq!(World::new().calls(succeed, fail).status(), status, "{succeed} succeed, {fail} fail");
    }
}

#[test]
fn defect_97_a_vendor_nobody_called_is_unknown_and_not_healthy() {
    let world = World::new();
    assert_eq!((world.clay().score, world.status()), (None, Status::Unknown));
    assert_eq!(world.text(Code::TooFewCalls), "no call that tells anything in the last 5 min");
}

#[test]
fn the_credit_preset_takes_silence_for_health_and_the_first_call_for_a_score_as_its_document_does() {
    let mut world = World::new();
    world.health.config = HealthConfig::credit();
    assert_eq!((world.clay().score, world.status()), (None, Status::Healthy));
    world.calls(0, 1);
    assert_eq!((world.clay().score, world.status()), (Some(0.0), Status::Unhealthy));
}

#[test]
fn defect_98_callbacks_that_never_come_show_behind_a_perfect_score() {
    let mut world = World::new();
    world.calls(100, 0);
    for n in 1..=3 {
        world.hear(overdue(n)).hear(overdue(n));
    }
    assert_eq!((world.status(), world.clay().callbacks_overdue), (Status::Healthy, 3));
    assert_eq!(world.text(Code::CallbacksOverdue), "3 callbacks overdue (limit 10)");
    for n in 4..=11 {
        world.hear(overdue(n));
    }
    assert_eq!((world.status(), world.clay().score), (Status::Degraded, Some(1.0)));
    world.hear(Fact::CallEnded { vendor: vendor(CLAY), call: call(1), state: FinalState::Unknown });
    assert_eq!(world.clay().callbacks_overdue, 11);
    world.hear(Fact::CallEnded { vendor: vendor(CLAY), call: call(1), state: FinalState::Delivered });
    assert_eq!((world.status(), world.clay().callbacks_overdue), (Status::Healthy, 10));
}

#[test]
fn defect_99_an_open_breaker_never_shows_as_healthy_and_denied_calls_are_shown() {
    let mut world = World::new();
    world.calls(1_000, 12).hear(turned(BreakerState::Open, 1)).after(12).hear_times(30, refused(Guard::Breaker));
    world.hear_times(7, refused(Guard::Budget)).hear(refused(Guard::Gateway));
    assert!(world.clay().score.unwrap() > 0.95);
    assert_eq!((world.status(), world.clay().denied), (Status::Degraded, 37));
    assert_eq!(world.text(Code::BreakerOpen), "circuit breaker open since 12 s: 12 of 20 calls failed");
    assert_eq!(world.text(Code::Denied), "37 calls denied in the last 5 min (circuit breaker 30, budget 7)");
    world.after(3_600);
    assert_eq!((world.status(), world.clay().samples), (Status::Degraded, 0));
}

#[test]
fn defect_101_half_open_budget_lanes_dead_letters_and_given_up_letters_are_seen() {
    let mut world = World::new();
    world.calls(100, 0).hear(turned(BreakerState::HalfOpen, 2));
    assert_eq!((world.status(), world.clay().reasons[0].code), (Status::Degraded, Code::BreakerHalfOpen));
    world.hear(turned(BreakerState::Closed, 3));
    assert_eq!((world.status(), world.clay().reasons), (Status::Healthy, vec![]));
    world.hear(lane_full("bulk"));
    let oldest_at = Some(Timestamp::UNIX_EPOCH);
    world.hear(counted(LetterCounts { dead: 3, unknown: 2, given_up: 1, oldest_at, ..LetterCounts::default() }));
    world.after(7_200);
    world.calls(10, 0).hear(lane_full("bulk"));
    assert_eq!(world.status(), Status::Healthy);
    assert_eq!(world.text(Code::LaneFull), "queue full in the last 5 min: lane bulk");
    assert_eq!(
        world.text(Code::DeadLetters),
        "3 dead letters (limit 100), the oldest parked call is of 2 h ago",
        "not enough to degrade, and shown all the same"
    );
    assert_eq!(world.text(Code::GivenUp), "1 parked call given up: a person must look");
    assert_eq!(world.text(Code::UnknownCalls), "2 calls may have happened: a callback or a person must say");
}

#[test]
fn defect_100_a_probe_that_fails_is_unhealthy_until_one_works_and_one_that_works_is_no_call() {
    let mut world = World::new();
    assert_eq!(world.clay().probe_works, None);
    world.hear(probed(true)).after(20);
    assert_eq!((world.status(), world.clay().samples), (Status::Healthy, 0), "nobody calls it, and it is there");
    assert_eq!(world.text(Code::Probe), "probe me worked 20 s ago");
    world.calls(100, 0).hear(probed(false)).after(120);
    assert_eq!((world.status(), world.clay().score), (Status::Unhealthy, Some(1.0)));
    assert_eq!(world.text(Code::Probe), "probe me failed 2 min ago: timeout: no answer within 5s");
    world.hear(probed(true));
    assert_eq!((world.status(), world.clay().probe_works), (Status::Healthy, Some(true)));
}
