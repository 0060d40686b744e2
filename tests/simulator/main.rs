//! The simulator over real HTTP: its faults are what they say, and its ledger counts what happened.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod clay;
mod faults;
mod retell;

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
