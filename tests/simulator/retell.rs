//! Retell AI, as the simulator plays it.

use super::*;

#[tokio::test]
async fn a_call_is_registered_lives_ends_and_costs() {
    let (url, mut hear) = receiver(0).await;
    let mut config = quick();
    config.retell.callback_url = Some(url);
    let vendors = start(config);

    let answer = phone(&vendors, None, "call-1").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let call = body(answer).await;
    assert_eq!(call["call_status"], "registered");

    let callback = heard(&mut hear).await;
    assert_eq!(callback["event"], "call_ended");
    assert_eq!(callback["call"]["call_id"], call["call_id"]);
    assert_eq!(callback["call"]["metadata"]["mainstay_call_id"], "call-1");
    assert_eq!(callback["call"]["disconnection_reason"], "user_hangup");
    let cents = callback["call"]["call_cost"]["combined_cost"].as_f64().unwrap();
    settled(&vendors).await;
    assert_eq!(vendors.ledger()[0].charged_micros, (cents * 1e6).round() as u64);
    assert!(cents > 0.0);

    let path = format!("/v2/get-call/{}", call["call_id"].as_str().unwrap());
    let read = body(get_retell(&vendors, &path).send().await.unwrap()).await;
    assert_eq!((&read["call_status"], &read["call_cost"]), (&json!("ended"), &callback["call"]["call_cost"]));
    assert_eq!(status(get_retell(&vendors, "/v2/get-call/call_unknown")).await, 422);
}

#[tokio::test]
async fn retell_refuses_what_it_cannot_take_without_effect() {
    let vendors = start(quick());
    let create = |body: Value| post_retell(&vendors, "/v2/create-phone-call", &body);
    let url = format!("{}/v2/create-phone-call", vendors.retell_url());
    assert_eq!(status(client().post(&url).body("{}")).await, 401);
    assert_eq!(status(client().post(&url).bearer_auth("wrong").body("{}")).await, 401);
    assert_eq!(status(create(json!({ "from_number": "+14155550100" }))).await, 400);
    let answer = create(json!({ "from_number": "+14155550100", "to_number": "555" })).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &body(answer).await["status"]), (400, &json!("error")));
    assert_eq!(vendors.totals().retell.effects, 0);
}

#[tokio::test]
async fn a_key_is_answered_with_its_call_and_has_no_second_effect() {
    let vendors = start(quick());
    let first = body(phone(&vendors, Some("k"), "c").send().await.unwrap()).await;
    let again = phone(&vendors, Some("k"), "c").send().await.unwrap();
    assert_eq!(again.status().as_u16(), 201);
    assert_eq!(body(again).await["call_id"], first["call_id"]);
    let retell = vendors.totals().retell;
    assert_eq!((retell.requests, retell.effects, retell.duplicate_effects), (2, 1, 0));
    let last = vendors.ledger().remove(1);
    assert_eq!((last.key.as_deref(), last.effect, last.duplicate), (Some("k"), false, true));
}

#[tokio::test]
async fn a_key_past_its_window_is_a_new_call() {
    let mut config = quick();
    config.retell.key_window = Duration::ZERO;
    let vendors = start(config);
    for _ in 0..2 {
        assert_eq!(status(phone(&vendors, Some("k"), "c")).await, 201);
    }
    let retell = vendors.totals().retell;
    assert_eq!((retell.effects, retell.duplicate_effects), (2, 1));
}

#[tokio::test]
async fn no_more_calls_live_than_allowed() {
    let mut config = quick();
    config.retell.live_max = 2;
    config.retell.call_length = Spread::millis(60_000, 60_000);
    let vendors = start(config);
    assert_eq!(status(phone(&vendors, None, "a")).await, 201);
    assert_eq!(status(phone(&vendors, None, "b")).await, 201);
    assert_eq!(status(phone(&vendors, None, "c")).await, 429);
    let now = body(get_retell(&vendors, "/get-concurrency").send().await.unwrap()).await;
    assert_eq!((&now["current_concurrency"], &now["concurrency_limit"]), (&json!(2), &json!(2)));
    assert_eq!((vendors.totals().retell.max_live, vendors.totals().retell.effects), (2, 2));
}

#[tokio::test]
async fn the_end_of_a_call_frees_its_place() {
    let mut config = quick();
    config.retell.live_max = 1;
    let vendors = start(config);
    for call in ["a", "b", "c"] {
        assert_eq!(status(phone(&vendors, None, call)).await, 201);
        settled(&vendors).await;
    }
    assert_eq!(vendors.totals().retell.max_live, 1);
}

#[tokio::test]
async fn calls_start_no_faster_than_allowed() {
    let mut config = quick();
    config.retell.starts = Rate { per_second: WEEKLY, burst: 1 };
    let vendors = start(config);
    assert_eq!(status(phone(&vendors, None, "a")).await, 201);
    assert_eq!(status(phone(&vendors, None, "b")).await, 429);
    assert_eq!(vendors.totals().retell.max_starts_per_second, 1);
}

#[tokio::test]
async fn a_workspace_that_has_spent_its_credit_answers_402() {
    let mut config = quick();
    config.retell.credit_micros = Some(1);
    let vendors = start(config);
    assert_eq!(status(phone(&vendors, None, "a")).await, 201);
    settled(&vendors).await;
    assert_eq!(status(phone(&vendors, None, "b")).await, 402);
}

#[tokio::test]
async fn calls_are_found_by_their_metadata() {
    let vendors = start(quick());
    for call in ["a", "b", "a"] {
        assert_eq!(status(phone(&vendors, None, call)).await, 201);
    }
    let list = async |call: &str, limit: u64| {
        let filter = json!([{ "type": "string", "op": "eq", "key": "mainstay_call_id", "value": call }]);
        let asked = json!({ "filter_criteria": { "metadata": filter }, "limit": limit });
        body(post_retell(&vendors, "/v3/list-calls", &asked).send().await.unwrap()).await
    };
    let found = list("b", 1).await;
    assert_eq!(found["items"][0]["metadata"]["mainstay_call_id"], "b");
    assert_eq!(found["has_more"], false);
    assert_eq!(list("a", 1).await["has_more"], true);
    assert_eq!(list("z", 1).await["items"], json!([]));
}

// --- callbacks
