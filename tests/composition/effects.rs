//! Effects that outlive their attempt, and those nobody knows of.

use super::*;

#[test]
fn a_phone_call_holds_its_slot_and_its_permit_until_its_end_is_reported() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let mainstay = start([retell(&wire).with(|config| config.gate.cap = 2)]).await;
        let first = call_of(mainstay.call(ring("a")).await);
        mainstay.call(ring("b")).await.unwrap();
        let third = begin(&mainstay, ring("c"));
        tokio::time::sleep(s(20)).await;
        let vendor = &mainstay.snapshot().vendors["retell"];
        assert_eq!((wire.count(), vendor.gate.in_use, vendor.lanes[1].running), (2, 2, 3));
        assert!(!third.is_finished());
        mainstay.complete(first, Completion::happened(Credits::whole(20))).await.unwrap();
        third.await.unwrap().unwrap();
        turn().await;
        assert_eq!(wire.count(), 3);
        assert_eq!(money(&mainstay, "retell"), whole(20, 620));
    });
}

#[test]
fn an_overdue_end_lets_the_slot_go_and_counts_the_reservation_as_spent() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let mainstay = start([retell(&wire)]).await;
        let mut heard = mainstay.subscribe();
        let call = call_of(mainstay.call(ring("a")).await);
        tokio::time::sleep(s(64 * 60)).await;
        assert_eq!(mainstay.snapshot().vendors["retell"].gate.in_use, 1);
        tokio::time::sleep(s(2 * 60)).await;
        assert!(facts(&mut heard).iter().any(|f| matches!(f, Fact::CallbackOverdue { call: c, .. } if *c == call)));
        assert_eq!(money(&mainstay, "retell"), whole(310, 0));
        assert_eq!((mainstay.snapshot().overdue_total, mainstay.snapshot().open_effects), (1, 0));
        assert_eq!(mainstay.complete(call, Completion::happened(None)).await, Err(NotOpen { call }));
        at_rest(&mainstay);
    });
}

#[test]
fn an_end_that_comes_before_the_answer_is_kept_for_its_call() {
    paused(async {
        let wire = Wire::usually(after(201, 5));
        let mainstay = start([retell(&wire)]).await;
        let receipt = mainstay.submit(ring("a")).await.unwrap();
        let call = receipt.call;
        tokio::time::sleep(s(1)).await;
        mainstay.complete(call, Completion::happened(Credits::whole(20))).await.unwrap();
        assert_eq!(call_of(receipt.outcome().await), call);
        turn().await;
        assert_eq!(money(&mainstay, "retell"), whole(20, 0));
        assert_eq!(mainstay.snapshot().open_effects, 0);
        at_rest(&mainstay);
    });
}

#[test]
fn an_end_that_comes_twice_is_refused_and_changes_nothing() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let mainstay = start([retell(&wire)]).await;
        let call = call_of(mainstay.call(ring("a")).await);
        mainstay.complete(call, Completion::happened(Credits::whole(20))).await.unwrap();
        turn().await;
        let before = money(&mainstay, "retell");
        for completion in [Completion::happened(Credits::whole(99)), Completion::DidNotHappen] {
            assert_eq!(mainstay.complete(call, completion).await, Err(NotOpen { call }));
        }
        turn().await;
        assert_eq!((before, money(&mainstay, "retell")), (whole(20, 0), whole(20, 0)));
        at_rest(&mainstay);
    });
}

#[test]
fn an_unknown_call_that_is_found_to_have_happened_counts_as_delivered() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let mainstay = start([retell(&wire)]).await;
        let call = unknown(&mainstay, "a").await;
        assert_eq!(money(&mainstay, "retell"), whole(0, 310));
        let end = Completion::happened(Credits::whole(20)).with_answer(json!({ "said": "yes" }));
        mainstay.complete(call, end).await.unwrap();
        let snapshot = until(&mainstay, |snapshot| snapshot.parked.unknown == 0).await;
        assert_eq!((snapshot.calls.unknown, snapshot.calls.delivered), (0, 1));
        let again = mainstay.call(ring("a")).await.unwrap();
        assert_eq!(again.body(), Some(&json!({ "said": "yes" })));
        assert_eq!((wire.count(), money(&mainstay, "retell")), (1, whole(20, 0)));
        at_rest(&mainstay);
    });
}

#[test]
fn an_unknown_call_that_did_not_happen_becomes_a_dead_letter_that_can_be_replayed() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let mainstay = start([retell(&wire)]).await;
        let call = unknown(&mainstay, "a").await;
        mainstay.complete(call, Completion::DidNotHappen).await.unwrap();
        let snapshot = until(&mainstay, |snapshot| snapshot.parked.dead == 1).await;
        assert_eq!((snapshot.calls.unknown, snapshot.calls.dead_lettered), (0, 1));
        assert_eq!(money(&mainstay, "retell"), whole(0, 0));
        wire.now_usually(ok(201));
        assert_eq!(mainstay.dead_letters().replay(Filter::default()).run().await.unwrap().chosen, 1);
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((snapshot.calls.dead_lettered, wire.count()), (0, 2));
    });
}
