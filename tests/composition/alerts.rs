//! What a person should hear of, told once per change on a thread of its own.

use std::{
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use mainstay::{Alert, AlertKind, Builder};

use super::*;

/// Real time: the sink's thread knows nothing of the paused clock.
const SOON: Duration = Duration::from_secs(30);

fn heard(builder: Builder) -> (Builder, Receiver<Alert>) {
    let (send, alerts) = channel();
    (builder.alerts(move |alert| drop(send.send(alert.clone()))), alerts)
}

/// What is ready runs, then the sink's thread gets its time.
async fn next(alerts: &Receiver<Alert>) -> Alert {
    turn().await;
    alerts.recv_timeout(SOON).unwrap()
}

#[test]
fn a_breaker_that_opens_is_told_once_and_its_failed_probes_are_not() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let (builder, alerts) = heard(builder().vendor(touchy(clay(&wire)).on_denied(OnDenied::Queue)));
        let mainstay = builder.start().await.unwrap().handle();
        letter_of(mainstay.call(row(0)).await);
        let alert = next(&alerts).await;
        assert_eq!(
            (alert.kind, alert.vendor.as_ref().unwrap().as_str(), alert.missed),
            (AlertKind::BreakerOpened, "clay", 0)
        );
        assert!(alert.text.starts_with("the circuit breaker of clay opened: 1 failure"), "{}", alert.text);
        assert!(matches!(alert.event.fact, Fact::BreakerChanged { .. }));
        tokio::time::sleep(s(2 * 3600)).await;
        assert!(wire.count() > 2, "probes failed");
        let alert = next(&alerts).await;
        assert_eq!(alert.kind, AlertKind::PermanentFailure, "{}", alert.text);
    });
}

#[test]
fn a_call_that_is_given_up_or_may_have_happened_is_told_with_its_whole_letter() {
    paused(async {
        let wire = Wire::usually(after(503, 0));
        let config = clay(&wire).with(|config| (config.breaker.rate, config.breaker.streak) = (None, None));
        let (builder, alerts) = heard(builder().vendor(config).vendor(retell(&wire)));
        let mainstay = builder.start().await.unwrap().handle();
        let letter = letter_of(mainstay.call(row(7)).await);
        until(&mainstay, |snapshot| snapshot.parked.given_up == 1).await;
        let alert = next(&alerts).await;
        assert_eq!(alert.kind, AlertKind::PermanentFailure);
        assert!(alert.text.contains("to clay is given up after 3 attempts"), "{}", alert.text);
        let whole = alert.letter.unwrap();
        assert_eq!((whole.letter.id, &whole.letter.payload), (letter, &lead(7)));
        wire.now_usually(Reply::Hang);
        let call = unknown(&mainstay, "a").await;
        let alert = next(&alerts).await;
        assert_eq!((alert.kind, alert.letter.unwrap().letter.call), (AlertKind::UnknownCall, call));
    });
}

#[test]
fn a_vendor_that_goes_down_and_an_end_that_does_not_come_are_told() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let chaos = panics_at("clay/breaker", "ticket", None);
        let (builder, alerts) = heard(builder().vendor(clay(&wire)).vendor(retell(&wire)).hazard(chaos));
        let builder = builder.with(|runtime| runtime.child.intensity.max_restarts = 0);
        let mainstay = builder.start().await.unwrap().handle();
        letter_of(mainstay.call(row(0).deadline(s(5))).await);
        let alert = next(&alerts).await;
        assert_eq!(alert.kind, AlertKind::VendorDown);
        assert!(alert.text.starts_with("clay is down until it is revived: clay/breaker passed"), "{}", alert.text);
        call_of(mainstay.call(ring("a")).await);
        tokio::time::sleep(s(3 * 3600)).await;
        let alert = next(&alerts).await;
        assert_eq!((alert.kind, alert.vendor.as_ref().unwrap().as_str()), (AlertKind::CallbackOverdue, "retell"));
    });
}

#[test]
fn an_account_that_the_vendor_calls_used_up_is_told_once() {
    paused(async {
        let wire = Wire::usually(after(402, 0));
        let (builder, alerts) = heard(builder().vendor(clay(&wire)));
        let mainstay = builder.start().await.unwrap().handle();
        for n in 0..5 {
            letter_of(mainstay.call(row(n)).await);
        }
        let alert = next(&alerts).await;
        assert_eq!((alert.kind, wire.count()), (AlertKind::QuotaExhausted, 1));
        assert!(alert.text.starts_with("the budget of clay is used up, as the vendor says"), "{}", alert.text);
        turn().await;
        assert!(alerts.recv_timeout(Duration::from_millis(200)).is_err());
    });
}

#[test]
fn the_marks_of_a_budget_are_told() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let (builder, alerts) = heard(builder().vendor(clay(&wire).daily_limit(Credits::whole(12))));
        let mainstay = builder.start().await.unwrap().handle();
        for n in 0..2 {
            call_of(mainstay.call(row(n)).await);
        }
        letter_of(mainstay.call(row(2)).await);
        loop {
            let alert = next(&alerts).await;
            assert!(alert.kind == AlertKind::BudgetMark && alert.text.contains("clay"), "{alert:?}");
            if alert.text.contains("refuses calls until its reset: 12 of 12") {
                break;
            }
        }
    });
}

#[test]
fn a_sink_that_hangs_or_panics_holds_up_no_call_and_no_other_sink() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let (let_go, held) = channel::<()>();
        let held = parking_lot::Mutex::new(held);
        let (builder, alerts) = heard(
            builder()
                .vendor(touchy(clay(&wire)))
                .vendor(retell(&Wire::usually(ok(201))))
                .alerts(move |_| {
                    let _ = held.lock().recv();
                })
                .alerts(|alert| panic!("a broken sink hears {:?}", alert.kind)),
        );
        let mainstay = builder.start().await.unwrap().handle();
        letter_of(mainstay.call(row(0)).await);
        call_of(mainstay.call(ring("a")).await);
        turn().await;
        assert!(alerts.try_recv().is_err(), "the first sink holds it");
        drop(let_go);
        assert_eq!(next(&alerts).await.kind, AlertKind::BreakerOpened);
        assert_eq!(mainstay.snapshot().calls.delivered, 1);
    });
}

#[test]
fn a_replayed_call_that_may_have_happened_is_told_with_its_letter_as_it_is_now() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        wire.then([after(400, 0)]);
        // Its letter is written late, at the second try.
        let late = panics_at("runtime/dlq", "finish", Some(1));
        let (builder, alerts) = heard(builder().vendor(retell(&wire)).hazard(late));
        let mainstay = builder.start().await.unwrap().handle();
        let letter = letter_of(mainstay.call(ring("a")).await);
        mainstay.dead_letters().replay(Filter::default()).run().await.unwrap();
        let alert = next(&alerts).await;
        let told = alert.letter.unwrap();
        assert_eq!((alert.kind, told.letter.id, told.state.kind), (AlertKind::UnknownCall, letter, Kind::Unknown));
    });
}
