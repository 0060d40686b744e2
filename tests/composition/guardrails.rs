//! The application's own rules.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use super::*;

#[test]
fn a_guardrail_refuses_in_its_own_words_before_anything_is_spent_or_sent() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let builder = builder().vendor(clay(&wire).local(|_| Some(json!({ "guess": 1 })))).guardrail(move |call| {
            count.fetch_add(1, SeqCst);
            let lead = call.payload["lead_id"].as_u64();
            if lead == Some(13) { Err("lead 13 is on the do-not-contact list".into()) } else { Ok(()) }
        });
        let mainstay = builder.start().await.unwrap().handle();
        let refusal = refusal_of(mainstay.call(row(13)).await);
        assert_eq!(refusal.to_string(), "refused by the guardrail: lead 13 is on the do-not-contact list");
        call_of(mainstay.call(row(1)).await);
        let calls = mainstay.snapshot().calls;
        assert_eq!((calls.offered, calls.refused, calls.delivered, wire.count()), (2, 1, 1, 1));
        assert_eq!((asked.load(SeqCst), money(&mainstay, "clay")), (2, whole(0, 6)), "asked once a call");
        letter_of(mainstay.call(row(13).on_denied(OnDenied::DeadLetter)).await);
        assert_eq!(mainstay.snapshot().parked.dead, 1);
        at_rest(&mainstay);
    });
}

#[test]
fn a_guardrail_that_panics_denies_and_harms_nobody_else() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let builder = builder().vendor(clay(&wire)).guardrail(|call| {
            assert!(call.payload["lead_id"] != 13, "unlucky");
            Ok(())
        });
        let mainstay = builder.start().await.unwrap().handle();
        let refusal = refusal_of(mainstay.call(row(13)).await);
        assert!(refusal.to_string().contains("a guardrail panicked: unlucky"), "{refusal}");
        call_of(mainstay.call(row(1)).await);
        at_rest(&mainstay);
    });
}

#[test]
fn a_parked_call_is_asked_about_again_and_given_up_when_a_guardrail_denies_it_by_then() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let closed = Arc::new(AtomicBool::new(false));
        let is_closed = closed.clone();
        let builder = builder()
            .vendor(clay(&wire))
            .guardrail(move |_| if is_closed.load(SeqCst) { Err("the campaign is over".into()) } else { Ok(()) });
        let mainstay = builder.start().await.unwrap().handle();
        letter_of(mainstay.call(row(1)).await);
        let tried = wire.count();
        closed.store(true, SeqCst);
        wire.now_usually(ok(200));
        until(&mainstay, |snapshot| snapshot.parked.given_up == 1).await;
        assert_eq!(wire.count(), tried);
        at_rest(&mainstay);
    });
}
