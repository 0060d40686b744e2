//! Vendors nobody wrote code for: their interfaces are read from a configuration, and their calls pass every guard.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use mainstay::{
    Answer, Call, CallError, Class, Credits, Handle, Placement, ProfileSpec, Reason, Runtime, VendorConfig,
    debug::Snapshot,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A vendor of phone numbers, like Telnyx, and one of persons, like People Data Labs.
const VENDORS: &str = r#"
[numbers.http]
base_url = "BASE/v2"
auth = { bearer = "numbers_canary" }
unit = "cents"
retry = { backoff_first = "1ms" }
rules = [{ when = { status = 403, body = { at = "/errors/*/code", is = ["channel_limit"] } }, class = "throttled" }]

[numbers.http.operations.look-up]
method = "GET"
path = "/number_lookup/{number}"
repeat = "always"
estimate = 0.5

[numbers.http.operations.send]
path = "/messages"
key_carrier = { header = "Idempotency-Key" }
repeat = { with_key = { window = "24h" } }
required = ["/to"]
estimate = 2
cost = { body = { at = "/data/cost/amount", scale = 100 } }

[numbers.http.operations.forget]
method = "DELETE"
path = "/messages/{id}"
repeat = "always"
cost = "free"

[persons.http]
base_url = "BASE/v5"
auth = { header = { name = "X-Api-Key", value = "persons_canary" } }
headers = { "x-version" = "5" }
rules = [{ when = { status = 404 }, class = "not_found" }]

[persons.http.operations.enrich]
method = "GET"
path = "/person/enrich"
key_source = "content"
estimate = 1
cost = { header = { name = "x-credits-used" } }
resets_at = "/resets_at"
"#;

/// One request as the vendor saw it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    method: Method,
    uri: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

#[derive(Default)]
struct Desk {
    seen: Mutex<Vec<Seen>>,
    refuse_once: Mutex<Option<(StatusCode, Value)>>,
}

async fn answer(
    State(desk): State<Arc<Desk>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], Json<Value>) {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let unmatched = uri.query().is_some_and(|query| query.contains("nobody"));
    desk.seen.lock().push(Seen { method, uri: uri.to_string(), headers, body });
    let used = [("x-credits-used", if unmatched { "0" } else { "1" })];
    let refused = desk.refuse_once.lock().take();
    match refused {
        Some((status, body)) => (status, used, Json(body)),
        None if unmatched => (StatusCode::NOT_FOUND, used, Json(json!({"error": "no match"}))),
        None => (StatusCode::OK, used, Json(json!({"data": {"id": "m_1", "cost": {"amount": 0.0125}}}))),
    }
}

async fn vendors() -> (Arc<Desk>, Handle) {
    let desk = Arc::new(Desk::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(desk.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let text = VENDORS.replace("BASE", &base);
    let specs: BTreeMap<String, ProfileSpec> = toml::from_str(&text).unwrap();
    let mut builder = Runtime::builder().placement(Placement::Threads { threads: 1 });
    for (name, spec) in specs {
        builder = builder.vendor(VendorConfig::of(&name, spec).daily_limit(Credits::whole(10)));
    }
    (desk, builder.start().await.unwrap().handle())
}

fn spent(snapshot: &Snapshot, vendor: &str) -> Credits {
    snapshot.vendors[vendor].budget.settled
}

async fn delivered(mainstay: &Handle, call: Call) -> Value {
    match mainstay.call(call).await {
        Ok(Answer::Delivered(delivered)) => delivered.body.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_third_vendor_needs_configuration_alone() {
    let (desk, mainstay) = vendors().await;
    let look_up = Call::new("numbers", "look-up", json!({"number": "+1 415", "type": ["carrier", "caller-name"]}));
    delivered(&mainstay, look_up).await;
    let send = Call::new("numbers", "send", json!({"to": "+14155550100"})).key("message-1");
    delivered(&mainstay, send.clone()).await;
    delivered(&mainstay, send).await;
    delivered(&mainstay, Call::new("numbers", "forget", json!({"id": "m_1"}))).await;

    let seen = desk.seen.lock().clone();
    let what: Vec<_> = seen.iter().map(|seen| (seen.method.as_str(), seen.uri.as_str())).collect();
    let look_up = "/v2/number_lookup/%2B1%20415?type=carrier&type=caller-name";
    assert_eq!(
        what,
        [("GET", look_up), ("POST", "/v2/messages"), ("DELETE", "/v2/messages/m_1")],
        "one effect for one key"
    );
    assert!(seen.iter().all(|seen| seen.headers["authorization"] == "Bearer numbers_canary"));
    assert!(seen[1].headers.contains_key("idempotency-key") && seen[1].body == json!({"to": "+14155550100"}));
    assert_eq!((&seen[0].body, &seen[2].body), (&Value::Null, &Value::Null));
    assert_eq!(spent(&mainstay.snapshot(), "numbers"), Credits::from_micros(500_000 + 1_250_000), "0.5 and 1.25 cents");
}

#[tokio::test]
async fn a_third_vendors_answers_are_read_by_its_own_rules() {
    let (desk, mainstay) = vendors().await;
    let enrich = |email: &str| Call::new("persons", "enrich", json!({"email": email})).without_fallback();
    delivered(&mainstay, enrich("a@b.test")).await;
    // No match is an answer, and this vendor does not charge for it.
    delivered(&mainstay, enrich("nobody@b.test")).await;
    assert_eq!(spent(&mainstay.snapshot(), "persons"), Credits::whole(1));
    let headers = desk.seen.lock()[0].headers.clone();
    assert_eq!((headers["x-api-key"].as_str(), headers["x-version"].as_str()), ("persons_canary", "5"));

    // Used up: nothing is sent any more until the vendor's own reset.
    *desk.refuse_once.lock() = Some((StatusCode::PAYMENT_REQUIRED, json!({"resets_at": "2999-01-01T00:00:00Z"})));
    let Err(CallError::DeadLettered { because, .. }) = mainstay.call(enrich("c@b.test")).await else { panic!() };
    assert_eq!(because.class(), Class::Exhausted);
    let sent = desk.seen.lock().len();
    assert!(mainstay.call(enrich("d@b.test")).await.is_err());
    assert_eq!(desk.seen.lock().len(), sent);

    // A 403 that is a limit of concurrency is tried again; by its status alone it would be a wrong key.
    *desk.refuse_once.lock() = Some((StatusCode::FORBIDDEN, json!({"errors": [{"code": "channel_limit"}]})));
    delivered(&mainstay, Call::new("numbers", "look-up", json!({"number": "1"}))).await;
}

#[tokio::test]
async fn what_cannot_stand_in_a_path_is_refused_at_the_door_by_its_name() {
    let (desk, mainstay) = vendors().await;
    for payload in [json!({}), json!({"number": ""}), json!({"number": ".."}), json!({"number": {"a": 1}})] {
        let error = mainstay.call(Call::new("numbers", "look-up", payload)).await.unwrap_err();
        let CallError::Refused(refusal) = error else { panic!("{error}") };
        assert!(matches!(&refusal.reason, Reason::BadField { field, .. } if field == "number"), "{refusal}");
    }
    assert!(desk.seen.lock().is_empty());
}

#[test]
fn a_profile_that_cannot_be_is_refused_by_field_and_without_its_secrets() {
    for (wrong, expected) in [
        ("[http]\nbase_url = \"https://x.test\"\nauht = \"none\"", "auht"),
        ("[http]\nauth = { bearer = { env = \"NO_SUCH_VARIABLE\" } }", "NO_SUCH_VARIABLE"),
        ("[http.operations.a]\ntimeout = 30", "\"30s\""),
        ("[retell]\napi_key = \"canary\"\nkey = 1", "key"),
    ] {
        let error = toml::from_str::<ProfileSpec>(wrong).unwrap_err();
        assert!(error.message().contains(expected) && !error.message().contains("canary"), "{}", error.message());
    }
}
