//! The guards in combination: each test states a promise of the whole runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

mod support;

use std::time::Duration;

use mainstay::{
    Answer, Call, CallError, CallId, Completion, Credits, Fact, FinalState, Guard, Handle, NotOpen, Reason,
    VendorConfig,
    actors::{
        breaker::StreakTrip,
        client::WireFault,
        clock::now,
        dlq::{Filter, Kind, LetterId},
        fallback::Staleness,
        outcome::Class,
    },
};
use serde_json::json;
use support::{
    Reply, Wire, begin, builder, clay, facts, lead, ok, panics_at, paused, phone, retell, s, start, turn, until,
};

fn row(n: usize) -> Call {
    Call::new("clay", "push-row", lead(n))
}

fn ring(key: &str) -> Call {
    Call::new("retell", "create-phone-call", phone()).key(key)
}

fn without_fallback(mut call: Call) -> Call {
    call.fallback = false;
    call
}

fn after(status: u16, seconds: u64) -> Reply {
    Reply::Answer(status, json!({ "call_id": "vendor-call" }), s(seconds))
}

/// One call at a time on every lane.
fn one_at_a_time(config: VendorConfig) -> VendorConfig {
    config.with(|config| config.lanes.iter_mut().for_each(|lane| lane.concurrency = 1))
}

/// A breaker that opens at the first failure.
fn touchy(config: VendorConfig) -> VendorConfig {
    config.with(|config| config.breaker.streak = Some(StreakTrip { failures: 1, ..StreakTrip::default() }))
}

fn call_of(answer: Result<Answer, CallError>) -> CallId {
    match answer {
        Ok(Answer::Delivered(delivered)) => delivered.call,
        other => panic!("{other:?}"),
    }
}

fn letter_of(answer: Result<Answer, CallError>) -> LetterId {
    match answer {
        Ok(Answer::Queued { letter, .. }) | Err(CallError::DeadLettered { letter, .. }) => letter,
        other => panic!("{other:?}"),
    }
}

fn refusal_of(answer: Result<Answer, CallError>) -> mainstay::Refusal {
    match answer {
        Err(CallError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// No permit, slot or probe is held, no ticket waits, and every call is somewhere.
fn at_rest(mainstay: &Handle) {
    let snapshot = mainstay.snapshot();
    assert!(snapshot.calls.add_up() && snapshot.calls.lost == 0, "{:?}", snapshot.calls);
    assert_eq!(snapshot.calls.under_way, 0);
    for (name, vendor) in &snapshot.vendors {
        let lanes: Vec<_> = vendor.lanes.iter().map(|lane| (lane.running, lane.queued)).collect();
        assert!(lanes.iter().all(|lane| *lane == (0, 0)), "{name}: {lanes:?}");
        assert_eq!(vendor.gate.in_use, 0, "{name}");
        assert!(vendor.gate.waiting.iter().all(|line| line.waiting == 0), "{name}");
        assert_eq!(vendor.breaker.probes_in_flight, 0, "{name}");
        assert_eq!(vendor.client.under_way, 0, "{name}");
        assert_eq!(vendor.keys.in_flight, 0, "{name}");
    }
}

fn money(mainstay: &Handle, vendor: &str) -> (Credits, Credits) {
    let budget = &mainstay.snapshot().vendors[vendor].budget;
    (budget.settled, budget.reserved)
}

fn whole(settled: u64, reserved: u64) -> (Credits, Credits) {
    (Credits::whole(settled), Credits::whole(reserved))
}

// --- breaker, lanes, gate, budget

#[test]
fn an_opening_breaker_refuses_whoever_waits_at_once_and_takes_nothing_from_them() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        wire.then([after(500, 1), after(200, 2)]);
        let mainstay = start([touchy(clay(&wire))]).await;
        let began = now();
        let all: Vec<_> = (0..12).map(|n| begin(&mainstay, without_fallback(row(n)).lane("bulk"))).collect();
        let mut refused = 0;
        for call in all {
            match call.await.unwrap() {
                Err(CallError::Refused(refusal)) => {
                    assert_eq!(refusal.by, Guard::Breaker, "{refusal}");
                    assert!(refusal.retry_at.is_some_and(|at| at > now()), "{refusal}");
                    refused += 1;
                }
                Err(CallError::Unknown { .. }) | Ok(Answer::Delivered(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((refused, wire.count()), (10, 2));
        assert!(now() - began < Duration::from_millis(2_100), "nobody waits for a dead vendor");
        turn().await;
        at_rest(&mainstay);
        assert_eq!(money(&mainstay, "clay"), whole(0, 12), "one was taken on, one may have been");
    });
}

#[test]
fn a_full_lane_refuses_refunds_nothing_and_doubles_nothing() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        let config = one_at_a_time(clay(&wire)).with(|config| config.lanes.iter_mut().for_each(|l| l.queue_max = 1));
        let mainstay = start([config]).await;
        let all: Vec<_> = (0..5).map(|n| begin(&mainstay, without_fallback(row(n)))).collect();
        turn().await;
        assert_eq!(money(&mainstay, "clay"), whole(0, 6), "who waits in a lane has reserved nothing");
        let mut full = 0;
        for call in all {
            match call.await.unwrap() {
                Ok(Answer::Delivered(_)) => {}
                other => {
                    let refusal = refusal_of(other);
                    assert!(matches!(refusal.reason, Reason::Full { held: 1, limit: 1, .. }), "{refusal}");
                    full += 1;
                }
            }
        }
        turn().await;
        assert_eq!((full, wire.count(), wire.most_in_flight()), (3, 2, 1));
        assert_eq!(money(&mainstay, "clay"), whole(0, 12));
        assert_eq!(mainstay.snapshot().calls.refused, 3);
        at_rest(&mainstay);
    });
}

#[test]
fn a_call_over_the_budget_waits_on_disk_for_the_next_day_and_is_done_then() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire).daily_limit(Credits::whole(12))]).await;
        for n in 0..2 {
            mainstay.call(row(n)).await.unwrap();
        }
        let answer = mainstay.call(row(2)).await.unwrap();
        let Answer::Queued { due, .. } = &answer else { panic!("{answer:?}") };
        assert_eq!(due.to_string(), "2026-11-25T00:00:00Z");
        let refusal = refusal_of(mainstay.call(without_fallback(row(3))).await);
        assert_eq!(refusal.by, Guard::Budget);
        let wait = refusal.retry_after(now()).unwrap();
        assert!(wait > s(12 * 3600 - 60) && wait <= s(12 * 3600), "{wait:?}");
        tokio::time::sleep(s(12 * 3600 - 60)).await;
        assert_eq!(wire.count(), 2);
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 3).await;
        assert_eq!((snapshot.calls.queued, wire.count()), (0, 3));
    });
}

#[test]
fn an_account_the_vendor_calls_used_up_is_left_alone_until_its_reset() {
    paused(async {
        let wire = Wire::usually(ok(200));
        wire.then([after(402, 1)]);
        let mainstay = start([clay(&wire)]).await;
        letter_of(mainstay.call(row(0)).await);
        let refusal = refusal_of(mainstay.call(without_fallback(row(1))).await);
        assert!(matches!(refusal.reason, Reason::VendorExhausted), "{refusal}");
        tokio::time::sleep(s(11 * 3600)).await;
        assert_eq!(wire.count(), 1);
        assert_eq!(money(&mainstay, "clay"), whole(0, 0));
        tokio::time::sleep(s(3600)).await;
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((snapshot.calls.queued, wire.count()), (0, 2));
    });
}

// --- effects that outlive their attempt

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

// --- callers, deadlines, expiry

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

// --- keys

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

// --- retries, the queue, dead letters

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

// --- what stands in

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

// --- unknown

async fn unknown(mainstay: &Handle, key: &str) -> CallId {
    match mainstay.call(ring(key).deadline(s(600))).await {
        Err(CallError::Unknown { call, .. }) => call,
        other => panic!("{other:?}"),
    }
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
        assert_eq!(mainstay.dead_letters().replay(Filter::default()).await, Ok(1));
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((snapshot.calls.dead_lettered, wire.count()), (0, 2));
    });
}

// --- the end, and accidents

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
        assert_eq!(mainstay.dead_letters().replay(Filter::ids([letter])).await, Ok(1));
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
        assert_eq!(mainstay.dead_letters().replay(Filter::default()).await, Ok(1));
        tokio::time::sleep(s(10)).await;
        assert_eq!(wire.count(), 2, "the replay is on the wire");
        mainstay.complete(call, Completion::happened(Credits::whole(20))).await.unwrap();
        tokio::time::sleep(s(200)).await;
        let snapshot = mainstay.snapshot();
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        assert_eq!((snapshot.calls.delivered, snapshot.calls.unknown, snapshot.parked.unknown), (1, 0, 0));
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
        assert_eq!(letters.purge(vec![dead, unknown]).await, Ok(2));
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
        assert_eq!(letters.replay(Filter::ids([joined])).await, Ok(1));
        tokio::time::sleep(s(120)).await;
        assert_eq!((wire.count(), mainstay.snapshot().calls.dead_lettered), (1, 2));
        assert_eq!(letters.replay(Filter::ids([first])).await, Ok(1));
        until(&mainstay, |snapshot| snapshot.calls.delivered == 2).await;
        assert_eq!(wire.count(), 2, "one effect for one key");
    });
}
