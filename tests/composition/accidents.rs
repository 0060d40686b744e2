//! Shutdown, crashes of attempt loops and guards, and replays that cross an end.

use super::*;

#[test]
fn a_shutdown_lets_what_is_on_the_wire_end_parks_the_rest_and_adds_up() {
    paused(async {
        let wire = Wire::usually(after(200, 3));
        let mainstay = start([one_at_a_time(clay(&wire))]).await;
        let all: Vec<_> = (0..4).map(|n| begin(&mainstay, row(n))).collect();
        turn().await;
        let report = mainstay.shutdown(s(4)).await;
        assert!(report.calls.add_up() && !report.drained && report.still_under_way == 0, "{report:?}");
        assert_eq!((report.calls.delivered, report.calls.queued, wire.count()), (2, 2, 2));
        for call in all {
            let answer = call.await.unwrap();
            let on_the_wire = matches!(answer, Err(CallError::StillUnderWay { .. }));
            assert!(on_the_wire || matches!(answer, Ok(Answer::Delivered(_) | Answer::Queued { .. })), "{answer:?}");
        }
        let refusal = refusal_of(mainstay.call(row(9)).await);
        assert!(matches!(refusal.reason, Reason::ShuttingDown), "{refusal}");
    });
}

#[test]
fn a_shutdown_does_not_wait_for_parked_calls_whose_queue_is_down() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let builder = builder().vendor(clay(&wire)).hazard(panics_at("runtime/dlq", "take_due", None));
        let builder = builder.with(|runtime| runtime.child.intensity.max_restarts = 0);
        let mainstay = builder.start().await.unwrap().handle();
        tokio::time::sleep(s(10)).await;
        let begin = now();
        let report = mainstay.shutdown(s(60)).await;
        assert!(report.drained && now() - begin < s(2), "{report:?} after {:?}", now() - begin);
    });
}

#[test]
fn an_attempt_loop_that_panics_before_sending_is_taken_up_again_and_the_call_is_delivered_once() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = builder().hazard(panics_at("clay/attempts", "ticket", Some(2))).vendor(clay(&wire));
        let mainstay = config.start().await.unwrap().handle();
        let mut heard = mainstay.subscribe();
        call_of(mainstay.call(row(0)).await);
        let lost = facts(&mut heard).iter().filter(|fact| matches!(fact, Fact::AttemptLoopLost { .. })).count();
        turn().await;
        assert_eq!((lost, wire.count()), (2, 1));
        assert_eq!(money(&mainstay, "clay"), whole(0, 6));
        at_rest(&mainstay);
    });
}

#[test]
fn an_attempt_loop_that_panics_with_its_request_on_the_wire_is_taken_up_again_and_hears_the_answer() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let config = builder().hazard(panics_at("retell/attempts", "reply", Some(3))).vendor(retell(&wire));
        let mainstay = config.start().await.unwrap().handle();
        let call = call_of(mainstay.call(ring("a")).await);
        assert_eq!(call_of(mainstay.call(ring("a")).await), call, "its key stands for it");
        turn().await;
        assert_eq!((wire.count(), mainstay.snapshot().calls.delivered), (1, 2));
        assert_eq!(money(&mainstay, "retell"), whole(0, 310), "its end is owed");
        mainstay.complete(call, Completion::happened(Credits::whole(10))).await.unwrap();
        turn().await;
        assert_eq!(money(&mainstay, "retell"), whole(10, 0), "and settles its money");
    });
}

#[test]
fn an_attempt_loop_that_panics_for_ever_with_its_request_on_the_wire_leaves_the_call_unknown() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let config = builder().hazard(panics_at("retell/attempts", "reply", Some(5))).vendor(retell(&wire));
        let mainstay = config.start().await.unwrap().handle();
        let call = unknown(&mainstay, "a").await;
        assert_eq!(unknown(&mainstay, "a").await, call);
        turn().await;
        assert_eq!((wire.count(), mainstay.snapshot().calls.unknown), (1, 1));
        assert_eq!(money(&mainstay, "retell"), whole(0, 310));
    });
}

#[test]
fn a_call_that_crashes_a_guard_again_and_again_ends_in_the_dead_letter_queue_with_an_answer() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let config = builder().hazard(panics_at("retell/budget", "ticket", None)).vendor(retell(&wire));
        let mainstay = config.start().await.unwrap().handle();
        let error = mainstay.call(ring("a")).await.unwrap_err();
        let reason = error.refusal().map(|refusal| &refusal.reason);
        assert!(matches!(reason, Some(Reason::CrashedTooOften { guard: Guard::Budget, lost: 5 })), "{error:?}");
        assert_eq!((wire.count(), mainstay.snapshot().calls.dead_lettered), (0, 1));
        turn().await;
        at_rest(&mainstay);
    });
}

#[test]
fn every_call_is_answered_by_its_deadline_whichever_actor_of_its_vendor_crashes_for_ever() {
    for (actor, message) in [
        ("clay/keys", "claim"),
        ("clay/lane/normal", "Ticket"),
        ("clay/gate", "Ticket"),
        ("clay/breaker", "ticket"),
        ("clay/budget", "ticket"),
        ("clay/client", "send"),
        ("clay/fallback", "recall"),
    ] {
        paused(async move {
            let wire = Wire::usually(after(503, 0));
            let vendor = clay(&wire).cache_by("/domain");
            let mainstay =
                builder().hazard(panics_at(actor, message, None)).vendor(vendor).start().await.unwrap().handle();
            let all: Vec<_> = (0..30).map(|n| begin(&mainstay, row(n).deadline(s(60)))).collect();
            let answered = tokio::time::timeout(s(120), async {
                for call in all {
                    let _ = call.await.unwrap();
                }
            });
            answered
                .await
                .unwrap_or_else(|_| panic!("{actor}: a call waits for ever: {:?}", mainstay.snapshot().calls));
            let snapshot = mainstay.snapshot();
            assert!(snapshot.tree.totals.panics >= 5, "{actor}");
            assert!(snapshot.calls.add_up() && snapshot.calls.lost == 0 && snapshot.calls.under_way == 0, "{actor}");
        });
    }
}

#[test]
fn an_effect_never_begins_after_it_expired() {
    paused(async {
        let wire = Wire::usually(after(200, 10));
        let mainstay = start([one_at_a_time(clay(&wire))]).await;
        let expires_in = |call: Call, seconds: i64| {
            call.expires_at(mainstay.snapshot().at + jiff::SignedDuration::from_secs(seconds))
        };
        let refusal = refusal_of(mainstay.call(expires_in(row(0), -1)).await);
        assert!(matches!(refusal.reason, Reason::Expired), "{refusal}");
        let first = begin(&mainstay, row(1));
        turn().await;
        let began = now();
        let waiting = begin(&mainstay, expires_in(row(2), 5));
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error.refusal().map(|r| &r.reason), Some(Reason::Expired)), "{error:?}");
        assert_eq!((now() - began).as_secs(), 5, "it hears so at once");
        call_of(first.await.unwrap());
        wire.now_usually(after(503, 0));
        letter_of(mainstay.call(expires_in(row(3), 20)).await);
        let sent = wire.count();
        wire.now_usually(ok(200));
        tokio::time::sleep(s(3600)).await;
        assert_eq!(wire.count(), sent, "it expired while it was queued for later");
        at_rest(&mainstay);
    });
}

#[test]
fn an_unknown_call_that_a_person_replays_moves_from_unknown_and_its_end_is_not_overdue_too_soon() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let mainstay = start([retell(&wire)]).await;
        unknown(&mainstay, "a").await;
        let letter =
            mainstay.dead_letters().list(Filter::kind(Kind::Unknown), None).await.unwrap().letters[0].letter.id;
        tokio::time::sleep(s(3600)).await;
        wire.now_usually(ok(201));
        assert_eq!(mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap().chosen, 1);
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert!(snapshot.calls.add_up() && snapshot.calls.unknown == 0, "{:?}", snapshot.calls);
        tokio::time::sleep(s(600)).await;
        assert_eq!(mainstay.snapshot().overdue_total, 0, "the phone call began ten minutes ago");
        tokio::time::sleep(s(3600)).await;
        assert_eq!(mainstay.snapshot().overdue_total, 1);
        at_rest(&mainstay);
    });
}

#[test]
fn a_replay_whose_end_comes_before_it_is_known_to_be_unknown_ends_as_that_end_says() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        wire.then([after(400, 0)]);
        let mainstay = start([retell(&wire)]).await;
        let error = mainstay.call(ring("a")).await.unwrap_err();
        let CallError::DeadLettered { call, .. } = error else { panic!("{error:?}") };
        let replay = tokio::task::spawn_local(mainstay.dead_letters().replay(Filter::default()).run());
        tokio::time::sleep(s(10)).await;
        assert_eq!(wire.count(), 2, "the replay is on the wire");
        mainstay.complete(call, Completion::happened(Credits::whole(20))).await.unwrap();
        assert_eq!(replay.await.unwrap().unwrap().unknown, 1);
        let snapshot = until(&mainstay, |snapshot| snapshot.parked.unknown == 0).await;
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        assert_eq!((snapshot.calls.delivered, snapshot.calls.unknown), (1, 0));
        assert_eq!(money(&mainstay, "retell"), whole(20, 0));
        assert_eq!(call_of(mainstay.call(ring("a")).await), call);
        at_rest(&mainstay);
    });
}

#[test]
fn a_purged_letter_frees_its_key_unless_its_effect_is_unknown() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        wire.then([after(400, 0)]);
        let mainstay = start([retell(&wire)]).await;
        let letters = mainstay.dead_letters();
        let dead = letter_of(mainstay.call(ring("a")).await);
        mainstay.call(ring("b")).await.unwrap_err();
        let unknown = letters.list(Filter::kind(Kind::Unknown), None).await.unwrap().letters[0].letter.id;
        assert_eq!(letters.purge(Filter::ids([dead, unknown]), None).await, Ok(2));
        let calls = mainstay.snapshot().calls;
        assert_eq!((calls.cancelled, calls.dead_lettered, calls.unknown), (2, 0, 0), "a person took them back");
        turn().await;
        wire.now_usually(ok(201));
        call_of(mainstay.call(ring("a")).await);
        let error = mainstay.call(ring("b")).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{error:?}");
        assert_eq!(wire.count(), 3);
    });
}

#[test]
fn a_letter_whose_key_another_letter_stands_for_waits_for_that_one_in_peace() {
    paused(async {
        let wire = Wire::usually(ok(201));
        wire.then([after(500, 20)]);
        let mainstay = start([touchy(one_at_a_time(retell(&wire)))]).await;
        let opens_the_breaker = begin(&mainstay, ring("x"));
        turn().await;
        let first = begin(&mainstay, ring("a"));
        turn().await;
        let joined = letter_of(mainstay.call(ring("a").deadline(s(5))).await);
        opens_the_breaker.await.unwrap().unwrap_err();
        let first = letter_of(first.await.unwrap());
        assert_ne!(first, joined);
        // The refusal of the first one says when to come back, and that is past.
        tokio::time::sleep(s(1_200)).await;
        let letters = mainstay.dead_letters();
        assert_eq!(letters.replay(Filter::ids([joined])).run().await.unwrap().chosen, 1);
        tokio::time::sleep(s(120)).await;
        let rung = || wire.count_at("/v2/create-phone-call");
        assert_eq!((rung(), mainstay.snapshot().calls.dead_lettered), (1, 2));
        assert_eq!(letters.replay(Filter::ids([first])).run().await.unwrap().chosen, 1);
        until(&mainstay, |snapshot| snapshot.calls.delivered == 2).await;
        assert_eq!(rung(), 2, "one effect for one key");
    });
}

/// A vendor that never answers a call, and shows none when it is asked about one.
fn shows_nothing() -> Wire {
    let wire = Wire::usually(Reply::Hang);
    wire.now_usually_at("/v3/list-calls", Reply::Answer(200, json!({"items": []}), s(0)));
    wire
}

#[test]
fn an_end_that_comes_after_its_letter_was_purged_is_paid_and_counted_once() {
    paused(async {
        let wire = shows_nothing();
        let mainstay = start([retell(&wire)]).await;
        let (happened, did_not) = (unknown(&mainstay, "a").await, unknown(&mainstay, "b").await);
        unknown(&mainstay, "c").await;
        for call in [happened, did_not] {
            assert_eq!(mainstay.dead_letters().purge(Filter::call(call), None).await, Ok(1));
        }
        mainstay.complete(happened, Completion::happened(Credits::whole(20))).await.unwrap();
        mainstay.complete(did_not, Completion::DidNotHappen).await.unwrap();
        turn().await;
        let calls = mainstay.snapshot().calls;
        assert_eq!((calls.delivered, calls.cancelled, calls.unknown), (1, 1, 1), "{calls:?}");
        assert_eq!(money(&mainstay, "retell"), whole(20, 310));
        assert_eq!(mainstay.snapshot().vendors["retell"].gate.in_use, 1, "the third one's");
        assert_eq!(call_of(mainstay.call(ring("a")).await), happened, "its key knows");
    });
}

#[test]
fn an_unknown_call_that_is_refused_when_a_person_tries_it_again_stays_unknown_and_is_not_given_up() {
    paused(async {
        let wire = shows_nothing();
        let mainstay = start([retell(&wire)]).await;
        unknown(&mainstay, "a").await;
        let mut heard = mainstay.subscribe();
        wire.then([after(400, 0)]);
        let report = mainstay.dead_letters().replay(Filter::kind(Kind::Unknown)).run().await.unwrap();
        assert_eq!((report.retried, report.unknown), (1, 1));
        let parked = mainstay.snapshot().parked;
        assert_eq!((parked.unknown, parked.given_up), (1, 0));
        assert!(!facts(&mut heard).iter().any(|fact| matches!(fact, Fact::GivenUp { .. })), "it may have happened");
        assert!(mainstay.snapshot().calls.add_up());
    });
}
