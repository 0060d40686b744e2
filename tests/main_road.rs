//! The way of one call, from the application to the vendor's answer.

mod support;

use std::time::Duration;

use mainstay::{Answer, Call, CallError, Completion, Credits, Guard, Reason};
use support::{Reply, Wire, clay, lead, ok, paused, phone, retell, start, until};

#[test]
fn a_call_travels_through_every_guard_and_comes_back_with_the_vendors_answer() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire)]).await;
        let answer = mainstay.call(Call::new("clay", "push-row", lead(1)).lane("critical")).await.unwrap();
        let Answer::Delivered(delivered) = answer else { panic!("{answer:?}") };
        assert!(delivered.pending && delivered.attempts == 1);
        assert_eq!(wire.seen()[0].body["mainstay_call_id"], delivered.call.to_string());
        let snapshot = until(&mainstay, |s| s.vendors["clay"].budget.reserved > Credits::ZERO).await;
        assert!(snapshot.calls.add_up());
        assert_eq!((snapshot.calls.offered, snapshot.calls.delivered), (1, 1));
        mainstay.complete(delivered.call, Completion::happened(Credits::whole(5))).await.unwrap();
        let snapshot = until(&mainstay, |s| s.vendors["clay"].budget.settled > Credits::ZERO).await;
        assert_eq!(snapshot.vendors["clay"].budget.settled, Credits::whole(5));
        assert_eq!(snapshot.vendors["clay"].budget.reserved, Credits::ZERO);
    });
}

#[test]
fn a_phone_call_that_timed_out_is_unknown_and_never_sent_again() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let mainstay = start([retell(&wire)]).await;
        let call =
            Call::new("retell", "create-phone-call", phone()).key("reminder-1").deadline(Duration::from_secs(600));
        let error = mainstay.call(call.clone()).await.unwrap_err();
        let CallError::Unknown { call: id, .. } = error else { panic!("{error:?}") };
        assert!(wire.seen()[0].body["idempotency_key"].is_string(), "its key was sent along");
        let again = mainstay.call(call).await.unwrap_err();
        assert!(matches!(again, CallError::Unknown { call, .. } if call == id), "{again:?}");
        assert_eq!(wire.count(), 1);
    });
}

#[test]
fn an_unknown_vendor_is_refused_by_name_with_the_known_ones() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire)]).await;
        let error = mainstay.call(Call::new("hubspot", "x", lead(1))).await.unwrap_err();
        let CallError::Refused(refusal) = error else { panic!("{error:?}") };
        assert_eq!(refusal.by, Guard::Gateway);
        assert!(matches!(refusal.reason, Reason::UnknownName { .. }), "{refusal}");
        assert!(refusal.to_string().contains("known: clay"), "{refusal}");
        assert_eq!(wire.count(), 0);
    });
}
