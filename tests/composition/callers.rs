//! Callers who leave, deadlines, expiry, and keys that several callers share.

use mainstay::actors::profile::{KeySource, Repeat};

use super::*;

#[test]
fn a_caller_that_goes_away_before_sending_frees_its_place_and_one_on_the_wire_goes_on() {
    paused(async {
        let wire = Wire::usually(after(200, 10));
        let mainstay = start([one_at_a_time(clay(&wire))]).await;
        let on_the_wire = begin(&mainstay, row(0));
        turn().await;
        let waiting = begin(&mainstay, row(1));
        turn().await;
        let third = begin(&mainstay, row(2));
        turn().await;
        on_the_wire.abort();
        waiting.abort();
        turn().await;
        assert_eq!(mainstay.snapshot().calls.cancelled, 1);
        let third = call_of(third.await.unwrap());
        assert_eq!((wire.count(), mainstay.snapshot().calls.delivered), (2, 2));
        assert_eq!(wire.seen()[1].body["mainstay_call_id"], third.to_string());
        assert!(call_of(mainstay.call(row(1)).await) != third, "the key of the cancelled call is free");
        turn().await;
        at_rest(&mainstay);
    });
}

#[test]
fn a_deadline_before_sending_falls_back_and_one_on_the_wire_says_so_and_the_call_goes_on() {
    paused(async {
        let wire = Wire::usually(after(200, 9));
        let mainstay = start([one_at_a_time(clay(&wire))]).await;
        let began = now();
        let first = begin(&mainstay, row(0).deadline(s(3)));
        turn().await;
        let answer = mainstay.call(row(1).deadline(s(2))).await;
        assert_eq!((now() - began).as_secs(), 2);
        assert!(matches!(&answer, Ok(Answer::Queued { .. })), "{answer:?}");
        let error = first.await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::StillUnderWay { waited, .. } if waited == s(3)), "{error:?}");
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((snapshot.calls.queued, wire.count()), (1, 1));
        until(&mainstay, |snapshot| snapshot.calls.delivered == 2).await;
        at_rest(&mainstay);
    });
}

#[test]
fn equal_calls_at_the_same_time_become_one_effect_and_one_answer() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        let mainstay = start([clay(&wire)]).await;
        let all: Vec<_> = (0..5).map(|_| begin(&mainstay, row(0))).collect();
        let mut ids = Vec::new();
        for call in all {
            ids.push(call_of(call.await.unwrap()));
        }
        ids.dedup();
        assert_eq!((ids.len(), wire.count()), (1, 1));
        let later = call_of(mainstay.call(row(0)).await);
        assert_eq!((later, wire.count()), (ids[0], 1), "a repeat gets the stored answer");
        assert_eq!(mainstay.snapshot().calls.delivered, 6);
        assert_eq!(money(&mainstay, "clay"), whole(0, 6));
    });
}

#[test]
fn a_key_that_stands_for_another_payload_is_a_conflict() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire)]).await;
        mainstay.call(row(0).key("k")).await.unwrap();
        let refusal = refusal_of(mainstay.call(row(1).key("k")).await);
        assert!(matches!(refusal.reason, Reason::KeyConflict { .. }), "{refusal}");
        assert_eq!(wire.count(), 1);
    });
}

#[test]
fn a_repeat_of_a_parked_call_is_told_its_letter_and_does_not_run() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let mainstay = start([retell(&wire)]).await;
        let letter = letter_of(mainstay.call(ring("a")).await);
        assert_eq!(wire.count(), 3);
        assert_eq!(letter_of(mainstay.call(ring("a")).await), letter);
        assert_eq!(wire.count(), 3);
        assert_eq!(mainstay.snapshot().calls.dead_lettered, 1);
        at_rest(&mainstay);
    });
}

#[test]
fn a_question_without_a_key_is_asked_anew_each_time() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = clay(&wire).with(|config| {
            let operations = &mut config.profile.as_mut().unwrap().operations;
            operations.values_mut().for_each(|operation| {
                operation.repeat = Repeat::Always;
                operation.key_source = KeySource::None;
            });
        });
        let mainstay = start([config]).await;
        for asked in 1..=3 {
            assert!(matches!(mainstay.call(row(1)).await, Ok(Answer::Delivered(_))));
            assert_eq!(wire.count(), asked);
        }
        assert_eq!(mainstay.snapshot().vendors["clay"].keys.stored, 0);
        mainstay.call(row(2).key("mine")).await.unwrap();
        mainstay.call(row(2).key("mine")).await.unwrap();
        assert_eq!(wire.count(), 4, "unless the caller gives one");
    });
}
