//! Operators: forced open, forced closed, metrics only, each with an end.

use super::*;

fn mode(rig: &Rig) -> Option<BreakerMode> {
    rig.breaker.hold().map(|hold| hold.mode)
}

#[test]
fn forced_open_refuses_with_its_reason_until_its_end_and_then_probes() {
    let mut rig = Rig::new(plain());
    let late = rig.admit().unwrap();
    rig.control(&Control::ForceOpen(order(60)));
    let refusal = rig.admit().unwrap_err();
    assert_eq!(refusal.retry_at, Some(rig.now + 60 * SECOND));
    assert_eq!(refusal.to_string(), "refused by the circuit breaker: open (forced open for 60 s: a drill, Ana)");
    rig.report(late, ended(Class::Success));
    rig.wait(59 * SECOND);
    assert_eq!((rig.state(), mode(&rig)), (BreakerState::Open, Some(BreakerMode::ForcedOpen)));
    rig.wait(SECOND);
    assert_eq!((rig.state(), mode(&rig)), (BreakerState::HalfOpen, None));
    rig.calls("F");
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 5 * SECOND), "it opens as by its first rule");
}

#[test]
fn forced_closed_lets_everything_pass_and_judges_nothing_until_its_end() {
    let mut rig = Rig::opened(plain());
    rig.control(&Control::ForceClosed(order(60)));
    rig.calls("FFFFF FFFFF");
    assert_eq!((rig.state(), rig.calls_seen(), rig.breaker.retry_at()), (BreakerState::Closed, (10, 10), None));
    rig.wait(60 * SECOND);
    assert_eq!((mode(&rig), rig.calls_seen()), (None, (0, 0)), "a fresh start");
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn while_it_only_counts_it_says_once_for_each_opening_that_it_would_have_opened() {
    let mut rig = Rig::new(plain());
    rig.control(&Control::MetricsOnly(order(600)));
    rig.heard.clear();
    rig.calls("FFFFF");
    let would = Notice::WouldOpen {
        cause: "5 of 5 calls failed (100 %, limit 50 %) within 10 s".into(),
        figures: Figures { failures: 5, slow: 0, calls: 5, limit: 0.5 },
        until: rig.now + 5 * SECOND,
    };
    assert_eq!(rig.heard, [would]);
    rig.calls("FFFFF FFFFF");
    assert_eq!((rig.state(), rig.calls_seen(), rig.heard.len()), (BreakerState::Closed, (10, 10), 1));
    rig.wait(5 * SECOND);
    rig.calls("F");
    assert_eq!(rig.heard.len(), 2, "the outage goes on: it would have opened again");
    rig.wait(10 * SECOND);
    rig.calls("SSSSS SSSSS");
    assert_eq!((rig.heard.len(), rig.seen.len()), (2, 0));
}

#[test]
fn automatic_ends_an_order_at_once_and_changes_nothing_without_one() {
    let mut rig = Rig::new(plain());
    rig.calls("FF");
    let before = rig.breaker.clone();
    rig.control(&Control::Automatic);
    assert_eq!(rig.breaker, before);
    for (control, after) in [
        (Control::ForceOpen(order(60)), BreakerState::HalfOpen),
        (Control::ForceClosed(order(60)), BreakerState::Closed),
        (Control::MetricsOnly(order(60)), BreakerState::Closed),
    ] {
        rig.control(&control);
        rig.control(&Control::Automatic);
        assert_eq!((rig.state(), mode(&rig)), (after, None), "{control:?}");
    }
}

#[test]
fn a_new_order_takes_the_place_of_the_one_before() {
    let mut rig = Rig::new(plain());
    rig.control(&Control::ForceOpen(order(3_600)));
    rig.control(&Control::MetricsOnly(order(60)));
    assert_eq!((rig.state(), mode(&rig)), (BreakerState::Closed, Some(BreakerMode::MetricsOnly)));
    rig.control(&Control::ForceOpen(order(10)));
    rig.control(&Control::Reset);
    assert_eq!((rig.state(), mode(&rig)), (BreakerState::Closed, None));
    rig.wait(3_600 * SECOND);
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn an_order_and_its_end_are_said_once_each() {
    let mut rig = Rig::new(plain());
    rig.control(&Control::ForceClosed(order(60)));
    let (until, reason) = (rig.now + 60 * SECOND, "a drill, Ana".into());
    rig.wait(60 * SECOND);
    rig.wait(60 * SECOND);
    let began = Notice::Mode { mode: BreakerMode::ForcedClosed, until: Some(until), reason };
    let reason = "the operator's order ended".into();
    assert_eq!(rig.heard, [began, Notice::Mode { mode: BreakerMode::Automatic, until: None, reason }]);
    assert_eq!(rig.seen, [], "it was closed and stays so");
}

#[test]
fn an_order_to_an_open_breaker_says_until_when_it_is_open_now() {
    let mut rig = Rig::opened(plain());
    rig.control(&Control::ForceOpen(order(3_600)));
    let said = rig.seen.last().unwrap();
    assert_eq!((said.from, said.to), (BreakerState::Open, BreakerState::Open));
    assert_eq!((said.retry_at, &*said.cause), (Some(rig.now + 3_600 * SECOND), "forced open for 3600 s: a drill, Ana"));
    assert_eq!(rig.breaker.totals().2, 1, "it opened once");
}

#[test]
fn an_order_without_an_end_or_a_reason_cannot_be_given() {
    let second = Duration::from_secs(1);
    for lasting in [Duration::ZERO, ORDER_MAX + Duration::from_nanos(1), Duration::MAX] {
        assert_eq!(Order::new(lasting, "x"), Err(BadOrder::Lasting { asked: lasting }));
    }
    for reason in ["", "  ", &"x".repeat(ORDER_REASON_MAX_BYTES + 1)] {
        assert_eq!(Order::new(second, reason), Err(BadOrder::Reason { bytes: reason.len() }));
    }
    assert!(Order::new(ORDER_MAX, &"x".repeat(ORDER_REASON_MAX_BYTES)).is_ok());
}
