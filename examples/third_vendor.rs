//! A vendor that nobody wrote code for: its interface is a configuration, and its calls pass every guard.
//!
//! ```text
//! cargo run --example third_vendor
//! ```
#![allow(clippy::indexing_slicing, reason = "the vendor is configured below")]

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{Json, Router, extract::Path, http::StatusCode, routing};
use mainstay::{Answer, Call, Credits, Handle, settings};
use serde_json::{Value, json};

/// In an application this is a file, read by `settings::load`, and the key is `{ env = "NUMBERS_KEY" }`.
const CONFIGURATION: &str = r#"
[vendors.numbers.budget]
daily_limit = 100

[vendors.numbers.profile.http]
base_url = "http://ADDRESS/v2"
auth = { bearer = "key_numbers" }
unit = "cents"
rules = [{ when = { status = 403, body = { at = "/code", is = ["channel_limit"] } }, class = "throttled" }]

[vendors.numbers.profile.http.operations.look-up]
method = "GET"
path = "/number_lookup/{number}"
repeat = "always"
estimate = 0.5

[vendors.numbers.profile.http.operations.send]
path = "/messages"
key_source = "caller"
key_carrier = { header = "Idempotency-Key" }
repeat = { with_key = { window = "24h" } }
required = ["/to"]
estimate = 2
cost = { body = { at = "/dollars", scale = 100 } }
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let configuration = CONFIGURATION.replace("ADDRESS", &listener.local_addr()?.to_string());
    tokio::spawn(async { axum::serve(listener, vendor()).await });

    if let Err(faults) = settings::parse(&configuration.replace("daily_limit = 100", "daily_limit = 1")) {
        println!("{faults}");
    }
    let mainstay = settings::parse(&configuration)?.start().await?.handle();

    show(&mainstay, "look-up", json!({ "number": "+1 415 555 0100" })).await;
    show(&mainstay, "look-up", json!({ "number": ".." })).await;
    show(&mainstay, "send", json!({ "to": "+14155550100" })).await;
    show(&mainstay, "send", json!({ "text": "hello" })).await;
    while mainstay.snapshot().vendors["numbers"].budget.reserved > Credits::ZERO {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let budget = &mainstay.snapshot().vendors["numbers"].budget;
    println!("spent: {} of {} {}", budget.settled, budget.limit, budget.unit);
    mainstay.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// The vendor itself. Its first message finds no free channel.
fn vendor() -> Router {
    static MESSAGES: AtomicU32 = AtomicU32::new(0);
    let look_up = async |number: Path<String>| Json(json!({ "number": number.0, "carrier": "ACME" }));
    let send = async || match MESSAGES.fetch_add(1, Ordering::SeqCst) {
        0 => (StatusCode::FORBIDDEN, Json(json!({ "code": "channel_limit" }))),
        _ => (StatusCode::OK, Json(json!({ "id": "m_1", "dollars": 0.0125 }))),
    };
    Router::new().route("/v2/number_lookup/{number}", routing::get(look_up)).route("/v2/messages", routing::post(send))
}

async fn show(mainstay: &Handle, operation: &str, payload: Value) {
    match mainstay.call(Call::new("numbers", operation, payload).key("message-7")).await {
        Ok(Answer::Delivered(delivered)) => println!("{operation}: attempt {}: {}", delivered.attempts, delivered.body),
        Ok(other) => println!("{operation}: {other:?}"),
        Err(error) => println!("{operation}: {error}"),
    }
}
