//! Parked calls that are done again by a person, while other things happen to them.

use super::*;

/// A dead letter, and the wire that makes it. The vendor answers from now on.
async fn dead_letter(config: VendorConfig, wire: &Wire, with: impl FnOnce(&mut mainstay::RuntimeConfig)) -> Handle {
    wire.now_usually(Reply::Fail(WireFault::Invalid, Duration::ZERO));
    let mainstay = builder().vendor(config).with(with).start().await.unwrap().handle();
    let error = mainstay.call(dial("1")).await.unwrap_err();
    assert!(matches!(error, CallError::DeadLettered { .. }), "{error:?}");
    mainstay
}

#[test]
fn a_parked_call_is_not_sent_twice_when_its_lease_runs_out_under_it() {
    paused(async {
        let wire = Wire::default();
        let mainstay = dead_letter(retell(&wire), &wire, |runtime| runtime.dlq.lease = Duration::from_secs(30)).await;
        let before = wire.count();
        wire.now_usually(Reply::Answer(201, json!({ "call_id": "x" }), Duration::from_secs(100)));
        assert_eq!(mainstay.dead_letters().replay(Filter::default()).run().await.unwrap().chosen, 1);
        let snapshot = until(&mainstay, |s| s.calls.delivered == 1 && s.parked.dead == 0).await;
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(wire.count() - before, 1);
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        settled(&mainstay).await;
    });
}

/// An unknown phone call and its letter.
async fn unknown_call(wire: &Wire) -> (Handle, mainstay::CallId, mainstay::actors::dlq::LetterId) {
    wire.then([Reply::Hang]);
    let mainstay = start([retell(wire)]).await;
    let error = mainstay.call(dial("1")).await.unwrap_err();
    let CallError::Unknown { call, .. } = error else { panic!("{error:?}") };
    let page = mainstay.dead_letters().list(Filter::kind(Kind::Unknown), None).await.unwrap();
    (mainstay, call, page.letters[0].letter.id)
}

#[test]
fn an_unknown_call_that_is_replayed_and_refused_is_still_unknown_and_not_tried_by_itself() {
    paused(async {
        let wire = Wire::usually(never_sent());
        let (mainstay, call, letter) = unknown_call(&wire).await;
        mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        let tried = wire.count();
        assert!(tried > 1);
        tokio::time::sleep(24 * HOUR).await;
        assert_eq!(wire.count(), tried, "it was tried again by itself");
        let snapshot = settled(&mainstay).await;
        assert_eq!((snapshot.parked.unknown, snapshot.calls.unknown), (1, 1));
        let again = mainstay.call(dial("1")).await.unwrap_err();
        assert!(matches!(again, CallError::Unknown { call: first, .. } if first == call), "{again:?}");
        mainstay.complete(call, Completion::happened(Credits::whole(10))).await.unwrap();
        let snapshot = settled(&mainstay).await;
        assert_eq!((snapshot.calls.unknown, snapshot.calls.delivered, snapshot.parked.unknown), (0, 1, 0));
    });
}

#[test]
fn an_unknown_call_that_is_replayed_and_done_is_counted_once_and_owes_one_end() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let (mainstay, call, letter) = unknown_call(&wire).await;
        tokio::time::sleep(HOUR).await;
        mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap();
        let snapshot = until(&mainstay, |s| s.calls.delivered == 1 && s.parked.unknown == 0).await;
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        assert_eq!((snapshot.calls.unknown, snapshot.open_effects), (0, 1));
        // The first one's time is over long before the second one's.
        tokio::time::sleep(Duration::from_secs(10 * 60)).await;
        mainstay.complete(call, Completion::happened(Credits::whole(10))).await.unwrap();
        settled(&mainstay).await;
    });
}

#[test]
fn an_end_that_comes_while_its_unknown_call_is_replayed_is_kept_for_it() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, Duration::from_secs(5)));
        let (mainstay, call, letter) = unknown_call(&wire).await;
        tokio::task::spawn_local(mainstay.dead_letters().replay(Filter::ids([letter])).run());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(wire.count(), 2);
        mainstay.complete(call, Completion::happened(Credits::whole(10))).await.unwrap();
        let snapshot = until(&mainstay, |s| s.calls.delivered == 1 && s.parked.unknown == 0).await;
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        settled(&mainstay).await;
    });
}

#[test]
fn a_parked_call_that_waited_too_long_for_a_place_is_tried_again() {
    paused(async {
        let wire = Wire::default();
        let config = retell(&wire).with(|config| {
            config.lanes.iter_mut().for_each(|lane| {
                lane.concurrency = 1;
                lane.wait_max = HOUR;
            });
            operations(config).for_each(|operation| operation.timeout = HOUR);
        });
        let config = config.with(|config| config.breaker = mainstay::actors::breaker::BreakerConfig::patterns(HOUR));
        let mainstay = dead_letter(config, &wire, |_| ()).await;
        wire.now_usually(ok(201));
        wire.then([Reply::Answer(201, json!({ "call_id": "x" }), Duration::from_secs(400))]);
        let other = mainstay.submit(dial("2")).await.unwrap();
        turn().await;
        mainstay.dead_letters().replay(Filter::default()).run().await.unwrap();
        other.outcome().await.unwrap();
        let snapshot = until(&mainstay, |s| s.calls.delivered == 2).await;
        assert_eq!(snapshot.parked.given_up, 0);
        settled(&mainstay).await;
    });
}

#[test]
fn early_ends_of_calls_that_owe_none_fill_nothing() {
    paused(async {
        let wire = Wire::usually(Reply::Answer(200, json!({}), Duration::from_secs(1)));
        let config = clay(&wire).with(|config| {
            operations(config).for_each(|operation| operation.completion = Owed::Answer);
        });
        let mainstay = start([config]).await;
        for batch in 0..42 {
            let mut receipts = Vec::new();
            for n in 0..100 {
                receipts.push(mainstay.submit(row(batch * 100 + n).lane("bulk")).await.unwrap());
            }
            for receipt in &receipts {
                mainstay.complete(receipt.call, Completion::happened(None)).await.unwrap();
            }
            for receipt in receipts {
                receipt.outcome().await.unwrap();
            }
        }
    });
}

#[test]
fn a_purged_letter_lets_go_of_its_key() {
    paused(async {
        let wire = Wire::default();
        let mainstay = dead_letter(retell(&wire), &wire, |_| ()).await;
        wire.now_usually(ok(201));
        let again = mainstay.call(dial("1")).await.unwrap_err();
        assert!(matches!(again, CallError::DeadLettered { .. }), "{again:?}");
        let page = mainstay.dead_letters().list(Filter::default(), None).await.unwrap();
        assert_eq!(mainstay.dead_letters().purge(Filter::ids([page.letters[0].letter.id]), None).await, Ok(1));
        let answer = mainstay.call(dial("1")).await.unwrap();
        assert!(matches!(answer, Answer::Delivered(_)), "{answer:?}");
        settled(&mainstay).await;
    });
}
