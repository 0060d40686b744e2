//! The simulator over real HTTP: its faults are what they say, and its ledger counts what happened.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, routing::post};
use mainstay::testing::{
    CallbackConfig, ClayConfig, Entry, Episode, Fault, Rate, RetellConfig, Script, Simulator, SimulatorConfig, Spread,
    Totals, Vendor,
};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const FAST: Rate = Rate { per_second: 1e6, burst: 1_000_000 };
const WEEKLY: f64 = 1.0 / 604_800.0;
const PATIENCE: Duration = Duration::from_secs(20);

/// One client for all tests. It keeps no connections: they would belong to the runtime of a test that is over.
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let plain = Client::builder().no_proxy().retry(reqwest::retry::never()).timeout(PATIENCE);
    plain.pool_max_idle_per_host(0).build().unwrap()
});

fn client() -> &'static Client {
    &CLIENT
}

/// Limits that no test meets by chance, and effects that end soon.
fn quick() -> SimulatorConfig {
    SimulatorConfig {
        clay: ClayConfig { rate: FAST, enrichment: Spread::millis(1, 5), ..ClayConfig::default() },
        retell: RetellConfig {
            starts: FAST,
            live_max: 1_000,
            call_length: Spread::millis(1, 5),
            cents_per_minute: 600_000,
            ..RetellConfig::default()
        },
        callbacks: CallbackConfig { pause: Duration::from_millis(1), ..CallbackConfig::default() },
        ..SimulatorConfig::default()
    }
}

fn start(config: SimulatorConfig) -> Simulator {
    Simulator::start(config).unwrap()
}

fn row(vendors: &Simulator, call: &str) -> RequestBuilder {
    client().post(vendors.clay_url()).json(&json!({ "mainstay_call_id": call, "domain": "example.com" }))
}

fn phone(vendors: &Simulator, key: Option<&str>, call: &str) -> RequestBuilder {
    let mut body = json!({
        "from_number": "+14155550100",
        "to_number": "+14155550101",
        "metadata": { "mainstay_call_id": call },
    });
    if let Some(key) = key {
        body["idempotency_key"] = json!(key);
    }
    post_retell(vendors, "/v2/create-phone-call", &body)
}

fn post_retell(vendors: &Simulator, path: &str, body: &Value) -> RequestBuilder {
    client().post(format!("{}{path}", vendors.retell_url())).bearer_auth("key_test").json(body)
}

fn get_retell(vendors: &Simulator, path: &str) -> RequestBuilder {
    client().get(format!("{}{path}", vendors.retell_url())).bearer_auth("key_test")
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

async fn body(response: Response) -> Value {
    response.json().await.unwrap()
}

/// Waits for a fact, not for a while.
async fn until(what: &str, fact: impl Fn() -> bool) {
    let wait = async {
        while !fact() {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("never came: {what}");
    }
}

async fn settled(vendors: &Simulator) {
    until("every callback", || vendors.callbacks_owed() == 0).await;
}

/// A receiver of callbacks that refuses the first `refusals` of them. They are heard all the same.
async fn receiver(refusals: usize) -> (String, mpsc::UnboundedReceiver<Value>) {
    let (heard, hear) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route(
        "/hook",
        post(async move |Json(body): Json<Value>| {
            let _ = heard.send(body);
            if count.fetch_add(1, SeqCst) < refusals { StatusCode::BAD_GATEWAY } else { StatusCode::NO_CONTENT }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, hear)
}

async fn heard(hear: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    tokio::time::timeout(PATIENCE, hear.recv()).await.unwrap().unwrap()
}

// --- Clay

#[tokio::test]
async fn a_row_is_acknowledged_then_charged_and_called_back() {
    let (url, mut hear) = receiver(0).await;
    let mut config = quick();
    config.clay.callback_url = Some(url);
    let vendors = start(config);

    let answer = row(&vendors, "call-1").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), body(answer).await), (200, json!({})));

    let callback = heard(&mut hear).await;
    assert_eq!(callback["mainstay_call_id"], "call-1");
    assert!(callback["enriched"]["company_name"].is_string());
    let credits = callback["credits"].as_u64().unwrap();
    assert!((4..=6).contains(&credits));
    settled(&vendors).await;
    let entry = vendors.ledger().remove(0);
    assert_eq!(entry.charged_micros, credits * 1_000_000);
    assert_eq!((entry.status, entry.effect, entry.duplicate), (Some(200), true, false));
    assert_eq!((entry.call.as_deref(), &*entry.operation), (Some("call-1"), "webhook"));
    assert!(entry.replied_ms.unwrap() >= entry.arrived_ms);
}

#[tokio::test]
async fn an_array_is_as_many_rows_and_one_request() {
    let vendors = start(quick());
    let rows = json!([{ "mainstay_call_id": "a" }, { "mainstay_call_id": "b" }, { "mainstay_call_id": "a" }]);
    assert_eq!(status(client().post(vendors.clay_url()).json(&rows)).await, 200);
    settled(&vendors).await;
    let clay = vendors.totals().clay;
    assert_eq!((clay.requests, clay.effects, clay.duplicate_effects), (1, 3, 1));
    let rows: Vec<_> = vendors.ledger().iter().map(|entry| (entry.row, entry.duplicate)).collect();
    assert_eq!(rows, [(0, false), (1, false), (2, true)]);
    assert_eq!(vendors.ledger().iter().map(|entry| entry.charged_micros).sum::<u64>(), clay.charged_micros);
}

#[tokio::test]
async fn clay_refuses_what_it_cannot_take_without_effect() {
    let mut config = quick();
    config.clay.token = Some("secret".into());
    let vendors = start(config);
    let post = |body: String| client().post(vendors.clay_url()).header("x-clay-webhook-auth", "secret").body(body);
    assert_eq!(status(row(&vendors, "c")).await, 401);
    assert_eq!(status(row(&vendors, "c").header("x-clay-webhook-auth", "wrong")).await, 401);
    assert_eq!(status(post("{\"half\":".into())).await, 400);
    assert_eq!(status(post("7".into())).await, 400);
    assert_eq!(status(post(format!("{{\"big\":\"{}\"}}", "x".repeat(100 * 1024)))).await, 413);
    let elsewhere = format!("{}/v3/sources/webhook/pull-in-data-from-a-webhook-0", vendors.base_url());
    assert_eq!(status(client().post(elsewhere).body("{}")).await, 404);
    assert_eq!(vendors.totals().clay.effects, 0);
    assert_eq!(status(post("{}".into())).await, 200);
    assert_eq!(vendors.totals().clay.effects, 1);
}

#[tokio::test]
async fn clay_lets_a_burst_through_and_then_says_when_to_come_back() {
    let mut config = quick();
    config.clay.rate = Rate { per_second: 0.01, burst: 2 };
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "a")).await, 200);
    assert_eq!(status(row(&vendors, "b")).await, 200);
    let refused = row(&vendors, "c").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 429);
    let after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=100).contains(&after), "{after}");
    assert_eq!((vendors.totals().clay.effects, vendors.totals().clay.by_status["429"]), (2, 1));
}

#[tokio::test]
async fn clay_does_a_repeat_again_and_the_ledger_says_so() {
    let vendors = start(quick());
    assert_eq!(status(row(&vendors, "same")).await, 200);
    assert_eq!(status(row(&vendors, "same")).await, 200);
    assert_eq!(vendors.totals().clay.duplicate_effects, 1);
}

#[tokio::test]
async fn a_row_too_many_to_remember_is_refused_without_effect() {
    let mut config = quick();
    config.callbacks.pending_max = 1;
    config.clay.enrichment = Spread::millis(60_000, 60_000);
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "a")).await, 200);
    assert_eq!(status(row(&vendors, "b")).await, 503);
    assert_eq!((vendors.totals().clay.effects, vendors.callbacks_owed()), (1, 1));
}

// --- Retell

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

#[tokio::test]
async fn a_refused_callback_is_tried_three_times() {
    let (url, mut hear) = receiver(usize::MAX).await;
    let mut config = quick();
    config.clay.callback_url = Some(url);
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "c")).await, 200);
    settled(&vendors).await;
    for _ in 0..3 {
        assert_eq!(heard(&mut hear).await["mainstay_call_id"], "c");
    }
    assert!(hear.is_empty());
}

#[tokio::test]
async fn a_callback_is_doubled_or_dropped_by_its_share_and_charged_in_any_case() {
    for (doubled, dropped, copies) in [(1.0, 0.0, 2), (0.0, 1.0, 0), (1.0, 1.0, 0), (0.0, 0.0, 1)] {
        let (url, hear) = receiver(0).await;
        let mut config = quick();
        config.clay.callback_url = Some(url);
        config.callbacks.duplicate_share = doubled;
        config.callbacks.drop_share = dropped;
        let vendors = start(config);
        assert_eq!(status(row(&vendors, "c")).await, 200);
        settled(&vendors).await;
        assert_eq!(hear.len(), copies);
        assert!(vendors.totals().clay.charged_micros >= 4_000_000);
    }
}

// --- faults

fn always(fault: Fault) -> Script {
    Script::seeded(1).episode(Episode::always(Vendor::Retell, fault)).episode(Episode::always(Vendor::Clay, fault))
}

/// What the caller saw and what the ledger says of it.
async fn struck(vendors: &Simulator, fault: Fault, request: RequestBuilder) -> (reqwest::Result<Response>, Entry) {
    vendors.set_script(always(fault)).unwrap();
    let before = vendors.ledger().len();
    let seen = request.send().await;
    let entry = vendors.ledger().remove(before);
    assert_eq!(entry.fault.as_deref(), Some(fault.name()));
    (seen, entry)
}

#[tokio::test]
async fn a_reset_connection_gives_no_answer_with_the_effect_or_without() {
    let vendors = start(quick());
    for effect in [true, false] {
        for request in [phone(&vendors, None, "p"), row(&vendors, "r")] {
            let (seen, entry) = struck(&vendors, Fault::Reset { effect }, request).await;
            let error = seen.unwrap_err();
            assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
            assert_eq!((entry.effect, entry.status, entry.replied_ms), (effect, None, None));
        }
    }
}

#[tokio::test]
async fn a_black_hole_never_answers_with_the_effect_or_without() {
    for effect in [true, false] {
        let vendors = start(SimulatorConfig { script: always(Fault::BlackHole { effect }), ..quick() });
        let caller = tokio::spawn(phone(&vendors, None, "p").send());
        until("the request", || vendors.ledger().first().is_some_and(|entry| entry.effect == effect)).await;
        assert!(!caller.is_finished());
        caller.abort();
        until("the caller's leaving", || vendors.totals().retell.by_status.get("none") == Some(&1)).await;
        assert_eq!((vendors.ledger()[0].effect, vendors.ledger()[0].status), (effect, None));
    }
}

#[tokio::test]
async fn a_black_hole_lets_go_of_a_patient_peer_at_its_bound() {
    let mut config = quick();
    config.hold_max = Duration::from_millis(30);
    config.script = always(Fault::BlackHole { effect: false });
    let vendors = start(config);
    let error = phone(&vendors, None, "p").send().await.unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    assert_eq!(vendors.totals().retell.by_status["none"], 1);
}

#[tokio::test]
async fn a_cut_body_has_its_status_and_no_end() {
    let vendors = start(quick());
    for effect in [true, false] {
        let (seen, entry) = struck(&vendors, Fault::CutBody { effect }, phone(&vendors, None, "p")).await;
        let answer = seen.unwrap();
        assert_eq!(answer.status().as_u16(), 201);
        let error = answer.bytes().await.unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        assert_eq!((entry.effect, entry.status), (effect, Some(201)));
    }
}

#[tokio::test]
async fn too_many_carries_its_pause_and_has_no_effect() {
    let vendors = start(quick());
    for retry_after_secs in [Some(17), None] {
        let (seen, entry) = struck(&vendors, Fault::TooMany { retry_after_secs }, row(&vendors, "r")).await;
        let answer = seen.unwrap();
        assert_eq!(answer.status().as_u16(), 429);
        let pause = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(pause, retry_after_secs.map(|secs| secs.to_string()));
        assert_eq!((entry.effect, entry.status), (false, Some(429)));
    }
}

#[tokio::test]
async fn a_status_comes_in_the_vendors_envelope_with_the_effect_or_without() {
    let vendors = start(quick());
    for effect in [true, false] {
        let (seen, entry) = struck(&vendors, Fault::Status { code: 500, effect }, phone(&vendors, None, "p")).await;
        let answer = seen.unwrap();
        assert_eq!((answer.status().as_u16(), &body(answer).await["status"]), (500, &json!("error")));
        assert_eq!((entry.effect, entry.status), (effect, Some(500)));
    }
}

#[tokio::test]
async fn a_false_success_has_a_good_status_and_a_bad_body_and_no_effect() {
    let vendors = start(quick());
    let (seen, entry) = struck(&vendors, Fault::FalseSuccess, phone(&vendors, Some("k"), "p")).await;
    let answer = seen.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let call = body(answer).await;
    assert_eq!(call["call_status"], "error");
    assert!(call["disconnection_reason"].is_string());
    assert!(!entry.effect);
    let (seen, entry) = struck(&vendors, Fault::FalseSuccess, row(&vendors, "r")).await;
    let answer = seen.unwrap();
    assert_eq!((answer.status().as_u16(), &body(answer).await["success"]), (200, &json!(false)));
    assert!(!entry.effect);
    assert_eq!((vendors.callbacks_owed(), vendors.totals().retell.max_live), (0, 0));
}

#[tokio::test]
async fn a_malformed_answer_is_200_and_no_json_though_the_work_is_done() {
    let vendors = start(quick());
    let (seen, entry) = struck(&vendors, Fault::Malformed, phone(&vendors, None, "p")).await;
    let answer = seen.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(answer.json::<Value>().await.unwrap_err().is_decode());
    assert!(entry.effect);
}

#[tokio::test]
async fn latency_does_the_work_first_and_answers_late() {
    let mut config = quick();
    let fault = Fault::Latency { min: Duration::from_millis(60), max: Duration::from_millis(80) };
    config.script = always(fault);
    let vendors = start(config);
    assert_eq!(status(phone(&vendors, None, "p")).await, 201);
    let entry = vendors.ledger().remove(0);
    assert!(entry.effect && entry.replied_ms.unwrap() >= entry.arrived_ms + 60, "{entry:?}");
}

#[tokio::test]
async fn a_fault_with_effect_cannot_break_the_vendors_own_limits() {
    let mut config = quick();
    config.retell.live_max = 0;
    let vendors = start(config);
    let (seen, entry) = struck(&vendors, Fault::Status { code: 500, effect: true }, phone(&vendors, None, "p")).await;
    assert_eq!((seen.unwrap().status().as_u16(), entry.effect), (500, false));
}

#[tokio::test]
async fn an_episode_comes_to_its_end() {
    let fault = Fault::Status { code: 503, effect: false };
    let until = Duration::from_secs(1);
    let mut config = quick();
    config.script = Script::seeded(1).episode(Episode { until, ..Episode::always(Vendor::Clay, fault) });
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "r")).await, 503);
    let recovered = async { while status(row(&vendors, "r")).await != 200 {} };
    tokio::time::timeout(PATIENCE, recovered).await.unwrap();
    assert_eq!(vendors.totals().clay.effects, 1);
}

/// The faults that the first requests of a run meet.
async fn faults_of(seed: u64) -> Vec<Option<String>> {
    let episode = |fault, share| Episode { share, ..Episode::always(Vendor::Clay, fault) };
    let mut config = quick();
    config.script = Script::seeded(seed)
        .episode(episode(Fault::Status { code: 500, effect: false }, 0.3))
        .episode(episode(Fault::TooMany { retry_after_secs: None }, 0.3))
        .episode(episode(Fault::FalseSuccess, 0.3));
    let vendors = start(config);
    for number in 0..40 {
        status(row(&vendors, &number.to_string())).await;
        // What Retell is asked meanwhile changes nothing for Clay.
        if seed.is_multiple_of(2) && number % 3 == 0 {
            status(get_retell(&vendors, "/get-concurrency")).await;
        }
    }
    let clay = vendors.ledger().into_iter().filter(|entry| entry.vendor == Vendor::Clay);
    clay.map(|entry| entry.fault.map(Into::into)).collect()
}

#[tokio::test]
async fn two_runs_with_one_seed_meet_the_same_faults() {
    let first = faults_of(4).await;
    assert_eq!(faults_of(4).await, first);
    assert_ne!(faults_of(5).await, first);
    assert!(first.contains(&None) && first.iter().flatten().count() > 10);
}

#[tokio::test]
async fn two_runs_with_one_seed_name_their_calls_alike_and_charge_alike() {
    let run = async || {
        let vendors = start(SimulatorConfig { seed: 11, ..quick() });
        for number in 0..5 {
            assert_eq!(status(row(&vendors, &number.to_string())).await, 200);
        }
        let call = body(phone(&vendors, None, "p").send().await.unwrap()).await;
        settled(&vendors).await;
        (call["call_id"].clone(), vendors.totals().clay.charged_micros, vendors.totals().retell.charged_micros)
    };
    assert_eq!(run().await, run().await);
}

// --- the ledger, and the end

#[tokio::test]
async fn the_ledger_is_served_whole_and_in_part() {
    let vendors = start(quick());
    for call in ["a", "b", "c"] {
        status(row(&vendors, call)).await;
    }
    settled(&vendors).await;
    let get = async |path: &str| {
        let url = format!("{}{path}", vendors.base_url());
        body(client().get(url).send().await.unwrap()).await
    };
    let whole = get("/__ledger").await;
    let entries: Vec<Entry> = serde_json::from_value(whole["entries"].clone()).unwrap();
    assert_eq!(entries, vendors.ledger());
    let totals: Totals = serde_json::from_value(get("/__ledger/totals").await).unwrap();
    assert_eq!(totals, vendors.totals());
    assert_eq!(whole["totals"], json!(totals));
    let part = get("/__ledger?from=1&limit=1").await;
    assert_eq!((part["entries"].as_array().unwrap().len(), &part["entries"][0]["seq"]), (1, &json!(1)));
}

#[tokio::test]
async fn a_full_ledger_says_507_and_nothing_is_done() {
    let vendors = start(SimulatorConfig { ledger_max: 1, ..quick() });
    assert_eq!(status(row(&vendors, "a")).await, 200);
    let refused = row(&vendors, "b").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 507);
    assert!(body(refused).await["message"].as_str().unwrap().contains("full"));
    let totals = vendors.totals();
    assert_eq!((totals.clay.effects, totals.entries, totals.refused_full), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_counted_one_by_one() {
    let vendors = start(quick());
    let (client, url) = (Client::builder().no_proxy().build().unwrap(), vendors.clay_url());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let (client, url) = (client.clone(), url.clone());
        callers.spawn(async move {
            for number in 0..25 {
                let row = json!({ "mainstay_call_id": format!("{caller}-{number}") });
                assert_eq!(client.post(&url).json(&row).send().await.unwrap().status().as_u16(), 200);
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    settled(&vendors).await;
    let clay = vendors.totals().clay;
    assert_eq!((clay.requests, clay.effects, clay.duplicate_effects), (400, 400, 0));
    assert!(clay.max_concurrent <= 16);
    let entries = vendors.ledger();
    assert!(entries.iter().zip(0..).all(|(entry, at)| entry.seq == at));
    assert_eq!(entries.iter().map(|entry| entry.charged_micros).sum::<u64>(), clay.charged_micros);
}

#[tokio::test]
async fn a_stopped_simulator_calls_nobody_and_keeps_its_ledger() {
    let (url, hear) = receiver(0).await;
    let mut config = quick();
    config.clay.callback_url = Some(url);
    config.clay.enrichment = Spread::millis(60_000, 60_000);
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "a")).await, 200);
    vendors.stop().await;
    vendors.stop().await;
    assert!(row(&vendors, "b").send().await.unwrap_err().is_connect());
    assert_eq!((vendors.ledger().len(), hear.len()), (1, 0));
}

#[tokio::test]
async fn every_wrong_setting_is_named_at_once() {
    let mut config = quick();
    config.clay.rate.burst = 0;
    config.retell.callback_url = Some("not a url".into());
    config.callbacks.drop_share = 2.0;
    let error = Simulator::start(config).unwrap_err().to_string();
    for field in ["clay.rate.burst", "retell.callback_url", "callbacks.drop_share"] {
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn outside_a_runtime_it_says_so_instead_of_panicking() {
    assert!(Simulator::start(SimulatorConfig::default()).is_err());
}

#[test]
fn a_configuration_survives_json() {
    let text = serde_json::to_string(&quick()).unwrap();
    assert_eq!(serde_json::from_str::<SimulatorConfig>(&text).unwrap(), quick());
}
