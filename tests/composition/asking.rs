//! Ends that mainstay asks for, and effects that it looks for.

use mainstay::{ClayApi, Effect, Retell};
use serde_json::Value;

use super::*;

const RESULTS: &str = "/routines/run/run_1/results";

fn results(status: u16, body: Value) -> Reply {
    Reply::Answer(status, body, Duration::from_millis(20))
}

/// Clay's public API behind a scripted wire: a run is taken on, and still runs.
fn clay_api(wire: &Wire) -> VendorConfig {
    wire.now_usually(results(202, json!({"routine_run_id": "run_1", "status": "in_progress"})));
    wire.now_usually_at(RESULTS, results(202, json!({"status": "in_progress"})));
    VendorConfig::clay_api("clay", ClayApi::account("key_canary_clay")).transport(wire.clone())
}

fn run(items: usize) -> Call {
    let items: Vec<_> = (0..items).map(|n| json!({"id": n.to_string(), "inputs": {}})).collect();
    Call::new("clay", "run-routine", json!({"routine_id": "routine_1", "items": items})).key("run")
}

fn items(statuses: &[&str]) -> Value {
    json!({ "data": statuses.iter().map(|status| json!({"status": status})).collect::<Vec<_>>() })
}

#[test]
fn a_run_is_asked_for_at_a_growing_pace_until_it_ends() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([clay_api(&wire)]).await;
        let mut heard = mainstay.subscribe();
        let Ok(Answer::Delivered(taken_on)) = mainstay.call(run(2)).await else { panic!() };
        assert!(taken_on.pending && taken_on.vendor_ref.as_deref() == Some("run_1"));
        assert_eq!(wire.seen()[0].body.get("routine_id"), None, "it went into the path");
        turn().await;
        assert_eq!(money(&mainstay, "clay"), whole(0, 12));

        tokio::time::sleep(s(600)).await;
        let asked: Vec<_> = wire.seen().iter().filter(|seen| seen.url.ends_with(RESULTS)).map(|seen| seen.at).collect();
        let pauses: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
        assert!((12..25).contains(&asked.len()), "{} times in ten minutes", asked.len());
        assert!(pauses[0] < s(5) && pauses.iter().all(|pause| *pause < s(70)), "{pauses:?}");

        wire.now_usually_at(RESULTS, results(200, items(&["complete", "complete"])));
        let end = mainstay.end_of(taken_on.call).await.unwrap();
        assert_eq!(end, Completion::happened(None).with_answer(items(&["complete", "complete"])));
        turn().await;
        assert_eq!(money(&mainstay, "clay"), whole(12, 0));
        let asked = wire.count();
        tokio::time::sleep(s(600)).await;
        assert_eq!(wire.count(), asked, "it ended");
        let ended = |fact: &Fact| matches!(fact, Fact::EffectEnded { class: Class::Success, effect: Effect::Done, .. });
        assert_eq!(facts(&mut heard).iter().filter(|fact| ended(fact)).count(), 1);
        at_rest(&mainstay);
    });
}

#[test]
fn a_run_whose_200_has_an_item_that_failed_is_no_success() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([clay_api(&wire)]).await;
        let call = call_of(mainstay.call(run(2)).await);
        wire.now_usually_at(RESULTS, results(200, items(&["complete", "failed"])));
        let end = mainstay.end_of(call).await.unwrap();
        assert!(matches!(end, Completion::Failed { class: Class::Server, effect: Effect::Done, .. }), "{end:?}");
        assert_eq!(mainstay.end_of(call).await, Err(NotOpen { call }));
    });
}

#[test]
fn a_run_nobody_hears_of_again_is_overdue_and_asked_for_no_more() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([clay_api(&wire)]).await;
        let call = call_of(mainstay.call(run(1)).await);
        assert_eq!(mainstay.end_of(call).await, Err(NotOpen { call }), "an hour later");
        turn().await;
        assert_eq!((mainstay.snapshot().overdue_total, money(&mainstay, "clay")), (1, whole(6, 0)));
        let asked = wire.count();
        tokio::time::sleep(s(3600)).await;
        assert_eq!(wire.count(), asked);
    });
}

#[test]
fn an_answer_that_is_none_is_asked_for_again_and_a_busy_vendor_is_left_alone() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([clay_api(&wire).with(|config| config.breaker.rate = None)]).await;
        let call = call_of(mainstay.call(run(1)).await);
        wire.now_usually_at(RESULTS, Reply::Busy(429, 300));
        tokio::time::sleep(s(280)).await;
        assert_eq!(wire.count_at(RESULTS), 1, "it asked to be left alone for five minutes");
        wire.now_usually_at(RESULTS, results(500, json!({"message": "oops"})));
        tokio::time::sleep(s(300)).await;
        wire.now_usually_at(RESULTS, results(200, items(&["complete"])));
        mainstay.end_of(call).await.unwrap();
        assert!(wire.count_at(RESULTS) > 3);
    });
}

/// A live call at Retell that is asked about every 20 s, beside its webhook.
fn polled(wire: &Wire) -> VendorConfig {
    let workspace = Retell { poll_every: Some(s(20)), ..Retell::workspace("key_canary_retell") };
    VendorConfig::retell("retell", workspace).transport(wire.clone()).with(|config| config.gate.rate = None)
}

const GET_CALL: &str = "/v2/get-call/vendor-call";

fn ended(reason: &str, cents: f64) -> Value {
    json!({
        "call_id": "vendor-call",
        "call_status": "ended",
        "disconnection_reason": reason,
        "call_cost": {"combined_cost": cents},
    })
}

#[test]
fn whichever_comes_first_ends_a_phone_call_the_callback_or_the_poll() {
    paused(async {
        let wire = Wire::usually(ok(201));
        wire.now_usually_at(GET_CALL, results(200, json!({"call_id": "vendor-call", "call_status": "ongoing"})));
        let mainstay = start([polled(&wire)]).await;
        let by_poll = call_of(mainstay.call(ring("a")).await);
        tokio::time::sleep(s(30)).await;
        assert_eq!(mainstay.snapshot().vendors["retell"].gate.in_use, 1, "it goes on");
        wire.now_usually_at(GET_CALL, results(200, ended("user_hangup", 12.5)));
        mainstay.end_of(by_poll).await.unwrap();
        turn().await;
        assert_eq!(mainstay.snapshot().vendors["retell"].gate.in_use, 0);
        let late = mainstay.complete_by(by_poll, ended("user_hangup", 12.5)).await;
        assert_eq!(late, Err(NotOpen { call: by_poll }), "the second one is not counted");

        let asked = wire.count_at(GET_CALL);
        let by_callback = call_of(mainstay.call(ring("b")).await);
        mainstay.complete_by(by_callback, ended("user_hangup", 7.5)).await.unwrap();
        tokio::time::sleep(s(3600)).await;
        assert_eq!(wire.count_at(GET_CALL), asked);
        assert_eq!(money(&mainstay, "retell"), whole(20, 0));
        at_rest(&mainstay);
    });
}

#[test]
fn a_call_does_not_stand_behind_the_questions_about_all_that_is_open() {
    paused(async {
        let wire = Wire::default();
        let mainstay =
            start([clay_api(&wire).daily_limit(Credits::whole(1_000)).with(|config| config.gate.rate = None)]).await;
        for n in 0..100 {
            call_of(mainstay.call(run(1).key(n.to_string())).await);
        }
        wire.now_usually_at(RESULTS, Reply::Answer(202, json!({"status": "in_progress"}), s(10)));
        tokio::time::sleep(s(60)).await;
        let begin = now();
        call_of(mainstay.call(run(1).key("one more")).await);
        assert!(now() - begin < s(1), "after {:?}", now() - begin);
    });
}

#[test]
fn a_lane_that_is_full_of_live_calls_is_no_reason_not_to_ask_for_their_ends() {
    paused(async {
        let wire = Wire::usually(ok(201));
        wire.now_usually_at(GET_CALL, results(200, ended("user_hangup", 12.5)));
        let mainstay = start([one_at_a_time(polled(&wire))]).await;
        let call = call_of(mainstay.call(ring("a")).await);
        let begin = now();
        mainstay.end_of(call).await.unwrap();
        assert!(now() - begin < s(60), "after {:?}", now() - begin);
        call_of(mainstay.call(ring("b")).await);
    });
}

#[test]
fn a_callback_is_read_by_the_vendors_own_words() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let mainstay = start([retell(&wire)]).await;
        let end = |key: &'static str, reason: &'static str, cents: f64| {
            let mainstay = &mainstay;
            async move {
                let call = call_of(mainstay.call(ring(key)).await);
                let said = mainstay.complete_by(call, ended(reason, cents));
                let (end, said) = tokio::join!(mainstay.end_of(call), said);
                said.unwrap();
                end.unwrap()
            }
        };
        assert!(matches!(end("a", "user_hangup", 20.0).await, Completion::Happened { cost: Some(_), .. }));
        // Nobody was reached: it was done, and costs.
        let busy = end("b", "dial_busy", 1.0).await;
        assert!(matches!(busy, Completion::Failed { class: Class::NotFound, effect: Effect::Done, .. }), "{busy:?}");
        // There was no slot: it was not done, and nothing is paid.
        let full = end("c", "concurrency_limit_reached", 0.0).await;
        assert!(matches!(full, Completion::Failed { class: Class::Throttled, effect: Effect::None, .. }), "{full:?}");
        turn().await;
        assert_eq!(money(&mainstay, "retell"), whole(21, 0));
        // The account is used up: the budget closes.
        end("d", "credit_exhausted", 0.0).await;
        turn().await;
        assert_eq!(refusal_of(mainstay.call(ring("e").on_denied(OnDenied::Refuse)).await).by, Guard::Budget);
    });
}

const LIST: &str = "/v3/list-calls";

/// A phone call that may have been placed: its answer never came.
async fn never_answered(mainstay: &Handle, wire: &Wire) -> CallId {
    wire.then([Reply::Hang]);
    unknown(mainstay, "a").await
}

#[test]
fn a_call_that_may_have_been_placed_is_looked_for_and_its_end_waited_for() {
    paused(async {
        let wire = Wire::usually(ok(201));
        wire.now_usually_at(LIST, results(200, json!({"items": [], "has_more": false})));
        let mainstay = start([retell(&wire)]).await;
        let mut heard = mainstay.subscribe();
        let call = never_answered(&mainstay, &wire).await;
        tokio::time::sleep(s(15)).await;
        assert_eq!(
            (wire.count_at(LIST), mainstay.snapshot().vendors["retell"].calls.unknown),
            (1, 1),
            "a list may lag"
        );

        wire.now_usually_at(LIST, results(200, json!({"items": [{"call_id": "vendor-call"}]})));
        tokio::time::sleep(s(30)).await;
        let question = &wire.seen().into_iter().rfind(|seen| seen.url.ends_with(LIST)).unwrap().body;
        let wanted = json!([{"type": "string", "op": "eq", "key": "mainstay_call_id", "value": call.to_string()}]);
        assert_eq!(question, &json!({"filter_criteria": {"metadata": wanted}, "limit": 1}));
        let calls = mainstay.snapshot().vendors["retell"].calls;
        assert_eq!((calls.unknown, calls.delivered), (0, 1));
        assert!(mainstay.dead_letters().list(Filter::kind(Kind::Unknown), None).await.unwrap().letters.is_empty());
        assert_eq!(money(&mainstay, "retell"), whole(0, 310), "it goes on");
        assert_eq!(mainstay.health().vendor("retell").unwrap().callbacks_owed, 1);
        // The same key gets the call that was found; nobody is rung twice.
        let Ok(Answer::Delivered(same)) = mainstay.call(ring("a")).await else { panic!() };
        assert_eq!((same.call, same.vendor_ref.as_deref(), same.pending), (call, Some("vendor-call"), true));
        mainstay.complete_by(call, ended("user_hangup", 20.0)).await.unwrap();
        turn().await;
        assert_eq!(money(&mainstay, "retell"), whole(20, 0));
        assert_eq!(wire.count_at("/v2/create-phone-call"), 1);
        assert!(
            facts(&mut heard).iter().any(|fact| matches!(fact, Fact::CallEnded { state: FinalState::Delivered, .. }))
        );
        at_rest(&mainstay);
    });
}

#[test]
fn a_call_that_is_not_found_stays_unknown_for_a_person_and_is_not_placed_again() {
    paused(async {
        let wire = Wire::usually(ok(201));
        wire.now_usually_at(LIST, results(200, json!({"items": [], "has_more": false})));
        let mainstay = start([retell(&wire)]).await;
        let call = never_answered(&mainstay, &wire).await;
        tokio::time::sleep(s(3600)).await;
        assert_eq!((wire.count_at(LIST), wire.count_at("/v2/create-phone-call")), (3, 1));
        assert_eq!(mainstay.snapshot().vendors["retell"].calls.unknown, 1);
        assert_eq!(money(&mainstay, "retell"), whole(0, 310));
        mainstay.complete(call, Completion::DidNotHappen).await.unwrap();
        at_rest(&mainstay);
    });
}

#[test]
fn a_call_that_is_found_while_a_person_tries_it_again_is_counted_once() {
    paused(async {
        let wire = Wire::usually(ok(201));
        wire.now_usually_at(LIST, results(200, json!({"items": [{"call_id": "vendor-call"}]})));
        let mainstay = start([retell(&wire)]).await;
        never_answered(&mainstay, &wire).await;
        wire.then([after(201, 60)]);
        let report = mainstay.dead_letters().replay(Filter::kind(Kind::Unknown)).run().await.unwrap();
        assert_eq!(report.succeeded, 1);
        tokio::time::sleep(s(300)).await;
        let calls = mainstay.snapshot().calls;
        assert!(calls.add_up() && (calls.unknown, calls.delivered) == (0, 1), "{calls:?}");
        assert_eq!((wire.count_at(LIST), wire.count_at("/v2/create-phone-call")), (0, 2));
    });
}

#[test]
fn a_call_that_is_found_while_a_person_tries_it_in_vain_is_asked_about_again() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let shown = json!({"items": [{"call_id": "vendor-call"}]});
        wire.now_usually_at(LIST, Reply::Answer(200, shown, s(20)));
        let mainstay = start([retell(&wire)]).await;
        never_answered(&mainstay, &wire).await;
        tokio::time::sleep(s(15)).await;
        assert_eq!(wire.count_at(LIST), 1);
        wire.then([after(400, 40)]);
        let report = mainstay.dead_letters().replay(Filter::kind(Kind::Unknown)).run().await.unwrap();
        assert_eq!((report.unknown, mainstay.snapshot().calls.unknown), (1, 1));
        tokio::time::sleep(s(300)).await;
        let calls = mainstay.snapshot().calls;
        assert!(calls.add_up() && (calls.unknown, calls.delivered) == (0, 1), "{calls:?}");
        assert_eq!(mainstay.health().vendor("retell").unwrap().callbacks_owed, 1);
    });
}
