//! Retries, and what stands in when they are used up: cache, queue, local function, dead letter.

use super::*;

#[test]
fn a_throttled_call_is_tried_again_when_the_vendor_said_and_not_before() {
    paused(async {
        let wire = Wire::usually(ok(200));
        wire.then([Reply::Busy(429, 7)]);
        let mainstay = start([clay(&wire)]).await;
        let answer = mainstay.call(row(0)).await.unwrap();
        assert!(matches!(&answer, Answer::Delivered(delivered) if delivered.attempts == 2), "{answer:?}");
        let pause = wire.seen()[1].at - wire.seen()[0].at;
        assert!(pause >= s(7) && pause < s(8), "{pause:?}");
        assert_eq!(money(&mainstay, "clay"), whole(0, 6));
    });
}

#[test]
fn a_call_the_vendor_is_too_busy_for_is_tried_three_times_queued_and_done_when_it_is_back() {
    paused(async {
        let wire = Wire::usually(after(503, 0));
        let mainstay = start([clay(&wire)]).await;
        let mut heard = mainstay.subscribe();
        letter_of(mainstay.call(row(0)).await);
        assert_eq!((wire.count(), mainstay.snapshot().calls.queued), (3, 1));
        wire.now_usually(ok(200));
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((snapshot.calls.queued, wire.count()), (0, 4));
        let snapshot = until(&mainstay, |snapshot| snapshot.parked.later == 0).await;
        assert_eq!(snapshot.calls.accepted, 1);
        let ends: Vec<_> = facts(&mut heard)
            .into_iter()
            .filter_map(|fact| match fact {
                Fact::CallEnded { state, .. } => Some(state),
                _ => None,
            })
            .collect();
        assert_eq!(ends, [FinalState::Queued, FinalState::Delivered]);
        at_rest(&mainstay);
    });
}

#[test]
fn dead_letters_are_replayed_to_delivered_and_pay_once() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let mainstay = start([retell(&wire)]).await;
        for key in ["a", "b", "c"] {
            letter_of(mainstay.call(ring(key)).await);
        }
        wire.now_usually(ok(201));
        tokio::time::sleep(s(3600)).await;
        let failed = wire.count();
        assert_eq!(mainstay.snapshot().calls.dead_lettered, 3, "nobody rings by itself");
        assert_eq!(mainstay.dead_letters().replay(Filter::kind(Kind::Dead)).await, Ok(3));
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 3).await;
        assert_eq!((snapshot.calls.dead_lettered, wire.count() - failed), (0, 3));
        assert_eq!(money(&mainstay, "retell"), whole(0, 930));
        until(&mainstay, |snapshot| snapshot.parked.dead == 0).await;
    });
}

#[test]
fn a_wrong_request_is_dead_lettered_as_the_callers_and_never_tried_again() {
    paused(async {
        let wire = Wire::usually(after(400, 0));
        let mainstay = start([clay(&wire)]).await;
        let error = mainstay.call(row(0)).await.unwrap_err();
        let CallError::DeadLettered { because, .. } = &error else { panic!("{error:?}") };
        assert_eq!(because.class(), Class::CallerError);
        tokio::time::sleep(s(3600)).await;
        assert_eq!(wire.count(), 1);
        assert_eq!(mainstay.snapshot().parked.by_class["clay"][&Class::CallerError], 1);
        assert_eq!(money(&mainstay, "clay"), whole(0, 0));
        at_rest(&mainstay);
    });
}

#[test]
fn the_last_good_answer_is_served_with_its_age_while_the_breaker_is_open() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([touchy(clay(&wire)).cache_by("/domain")]).await;
        let call = call_of(mainstay.call(row(1)).await);
        let enriched = json!({ "employees": 42 });
        mainstay.complete(call, Completion::happened(Credits::whole(6)).with_answer(enriched.clone())).await.unwrap();
        wire.now_usually(after(500, 0));
        mainstay.call(row(2)).await.unwrap_err();
        tokio::time::sleep(s(600)).await;
        let asked = Call::new("clay", "push-row", json!({ "lead_id": 77, "domain": "company1.example" }));
        let answer = mainstay.call(asked).await.unwrap();
        let Answer::Cached { body, age, staleness, because } = &answer else { panic!("{answer:?}") };
        assert_eq!((&**body, age.as_secs(), *staleness), (&enriched, 600, Staleness::Fresh));
        assert!(because.to_string().contains("circuit breaker"), "{because}");
        let other = mainstay.call(row(3)).await.unwrap();
        assert!(matches!(other, Answer::Queued { .. }), "{other:?}");
        assert_eq!((wire.count(), mainstay.snapshot().calls.cached), (2, 1));
    });
}

#[test]
fn a_local_function_stands_in_and_one_that_panics_leaves_a_dead_letter() {
    paused(async {
        let wire = Wire::usually(after(500, 0));
        let config = touchy(clay(&wire)).with(|config| config.fallback.queue = false).local(|payload| {
            let id = payload["lead_id"].as_u64().unwrap();
            assert!(id != 13, "unlucky");
            (id != 14).then(|| json!({ "guess": id }))
        });
        let mainstay = start([config]).await;
        mainstay.call(row(0)).await.unwrap_err();
        let answer = mainstay.call(row(1)).await.unwrap();
        assert!(matches!(&answer, Answer::Local { body, .. } if body["guess"] == 1), "{answer:?}");
        for n in [13, 14] {
            let error = mainstay.call(row(n)).await.unwrap_err();
            assert!(matches!(error, CallError::DeadLettered { .. }), "{error:?}");
        }
        let calls = mainstay.snapshot().calls;
        assert_eq!((calls.local, calls.dead_lettered, wire.count()), (1, 2, 1));
        at_rest(&mainstay);
    });
}
