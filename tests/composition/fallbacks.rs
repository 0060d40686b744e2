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
        assert_eq!(mainstay.dead_letters().replay(Filter::kind(Kind::Dead)).run().await.unwrap().chosen, 3);
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
        let config =
            touchy(clay(&wire)).chain([Step::Cache, Step::Local]).on_denied(OnDenied::DeadLetter).local(|payload| {
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

/// What the breaker lets nobody through for; the call that opened it is queued.
async fn behind_an_open_breaker(config: VendorConfig, wire: &Wire) -> Handle {
    wire.now_usually(Reply::Fail(WireFault::Connect, s(1)));
    let streak = StreakTrip { failures: 1, open_for: s(30), ..StreakTrip::default() };
    let mainstay = start([config.with(|config| config.breaker.streak = Some(streak))]).await;
    let opened = row(0).chain([]).on_denied(OnDenied::Queue);
    assert_eq!(mainstay.call(opened).await.unwrap().source(), Source::Queue);
    assert_eq!(mainstay.snapshot().vendors["clay"].breakers[0].state.to_string(), "open");
    mainstay
}

#[test]
fn a_denied_call_is_refused_queued_or_a_dead_letter_as_the_vendor_or_the_call_itself_says() {
    paused(async {
        let wire = Wire::default();
        let mainstay = behind_an_open_breaker(clay(&wire), &wire).await;
        assert!(matches!(mainstay.call(row(1)).await, Ok(Answer::Queued { .. })), "queue is the default");
        let refusal = refusal_of(mainstay.call(row(2).on_denied(OnDenied::Refuse)).await);
        assert!(refusal.by == Guard::Breaker && refusal.retry_at.is_some(), "{refusal}");
        let error = mainstay.call(row(3).on_denied(OnDenied::DeadLetter)).await.unwrap_err();
        assert!(matches!(error, CallError::DeadLettered { .. }), "{error:?}");
        let snapshot = mainstay.snapshot();
        let calls = snapshot.calls;
        assert_eq!((calls.queued, calls.refused, calls.dead_lettered, wire.count()), (2, 1, 1, 1));
        assert_eq!((snapshot.parked.later, snapshot.parked.dead), (2, 1));
        at_rest(&mainstay);
    });
    paused(async {
        let wire = Wire::default();
        let config = clay(&wire).on_denied(OnDenied::Refuse).local(|_| Some(json!({ "guess": 1 })));
        let mainstay = behind_an_open_breaker(config, &wire).await;
        let answer = mainstay.call(row(1)).await.unwrap();
        assert_eq!(answer.source(), Source::Local, "what stands in comes before the refusal: {answer:?}");
        assert_eq!(refusal_of(mainstay.call(row(2).chain([])).await).by, Guard::Breaker);
    });
}

#[test]
fn a_denied_call_that_was_queued_is_done_and_paid_once_when_its_guard_lets_it_through() {
    paused(async {
        let wire = Wire::default();
        let mainstay = behind_an_open_breaker(clay(&wire), &wire).await;
        letter_of(mainstay.call(row(1)).await);
        wire.now_usually(ok(200));
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 2).await;
        assert_eq!((snapshot.calls.queued, snapshot.calls.accepted, wire.count()), (0, 2, 3));
        assert_eq!(money(&mainstay, "clay"), whole(0, 12));
        at_rest(&mainstay);
    });
}

#[test]
fn a_chain_of_the_calls_own_goes_before_the_vendors() {
    paused(async {
        let wire = Wire::default();
        let config = clay(&wire).local(|_| Some(json!({ "guess": 1 })));
        let mainstay = behind_an_open_breaker(config, &wire).await;
        let local_first = row(1).chain([Step::Local, Step::Queue]);
        assert_eq!(mainstay.call(local_first).await.unwrap().source(), Source::Local);
        assert_eq!(mainstay.call(row(1)).await.unwrap().source(), Source::Queue);
        let refusal = refusal_of(mainstay.call(row(2).chain([Step::Local, Step::Local])).await);
        assert_eq!(refusal.to_string(), "refused by the gateway: chain: names a step twice");
    });
}

#[test]
fn only_listed_kinds_of_failure_are_stood_in_for_and_the_others_are_dead_letters() {
    paused(async {
        let wire = Wire::usually(after(503, 0));
        let config = clay(&wire).with(|config| config.fallback.on_classes = vec![Class::Connect]);
        let mainstay = start([config]).await;
        assert!(matches!(mainstay.call(row(0)).await, Err(CallError::DeadLettered { .. })));
        wire.now_usually(Reply::Fail(WireFault::Connect, s(1)));
        assert_eq!(mainstay.call(row(1)).await.unwrap().source(), Source::Queue);
    });
}

#[test]
fn calls_to_a_vendor_that_is_down_are_served_or_kept_and_refused_only_when_they_ask_for_it() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let chaos = panics_at("clay/breaker", "ticket", None);
        let config = clay(&wire).cache_by("/domain");
        let builder = builder().vendor(config).hazard(chaos).with(|runtime| runtime.child.intensity.max_restarts = 0);
        let mainstay = builder.start().await.unwrap().handle();
        let first = begin(&mainstay, row(0).deadline(s(5)));
        until(&mainstay, |snapshot| snapshot.vendors["clay"].down.is_some()).await;
        assert!(matches!(first.await.unwrap(), Ok(Answer::Queued { .. })));
        let refusal = refusal_of(mainstay.call(row(1).without_fallback()).await);
        assert!(matches!(refusal.reason, Reason::VendorDown { .. }), "{refusal}");
        let began = now();
        assert_eq!(mainstay.call(row(2)).await.unwrap().source(), Source::Queue);
        assert!(now() - began < s(2), "nobody waits for a vendor that is down");
        assert_eq!((wire.count(), mainstay.snapshot().parked.later), (0, 2));
    });
}

#[test]
fn a_cache_that_crashes_for_ever_spoils_no_paid_success_and_takes_nobody_down() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let chaos = panics_at("clay/fallback", "remember", None);
        let config = clay(&wire).cache_by("/domain").with(|config| {
            (config.breaker.rate, config.breaker.streak) = (None, None);
        });
        let mainstay = builder().vendor(config).hazard(chaos).start().await.unwrap().handle();
        for n in 0..20 {
            let call = call_of(mainstay.call(row(n)).await);
            let end = Completion::happened(Credits::whole(6)).with_answer(json!({ "n": n }));
            mainstay.complete(call, end).await.unwrap();
            tokio::time::sleep(s(1)).await;
        }
        let snapshot = mainstay.snapshot();
        assert_eq!((snapshot.calls.delivered, snapshot.tree.totals.parked), (20, 1), "the cache is parked");
        assert_eq!((&snapshot.vendors["clay"].down, money(&mainstay, "clay")), (&None, whole(120, 0)));
        wire.now_usually(Reply::Fail(WireFault::Connect, s(1)));
        let call = row(0).key("again").without_fallback().chain([Step::Cache, Step::Queue]);
        let began = now();
        assert_eq!(mainstay.call(call).await.unwrap().source(), Source::Queue);
        assert!(now() - began < s(10), "nobody waits for a cache that is parked");
    });
}
