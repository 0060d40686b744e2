//! All patterns together, as an application writes it: leads go to Clay, and the application hears what became of each.
//!
//! ```text
//! cargo run --example pipeline
//! ```
#![allow(clippy::indexing_slicing, reason = "the vendor is configured below")]

use std::{fmt, time::Duration};

use axum::{Json, Router, routing::post};
use mainstay::{
    Answer, Call, CallError, Completion, Credits, Handle, Snapshot,
    actors::dlq::Filter,
    settings,
    testing::{ClayConfig, Episode, Fault, Script, Simulator, SimulatorConfig, Spread, Vendor},
};
use serde_json::{Value, json};

/// The rest is as the credit seed has it. In an application this is a file, read by `settings::load`.
const CONFIGURATION: &str = r#"
[vendors.clay]
profile = { clay = { webhook = "CLAY", timeout = "300ms" } }
budget = { daily_limit = 25 }
retry = { attempts_max = 1 }
breaker = { streak = { failures = 2, open_for = "500ms" } }
fallback = { cache = { key = "/domain" } }
"#;

/// What became of a lead.
enum Became {
    /// Clay has it, and calls back when it is enriched.
    Sent,
    /// Clay is away, and enriched somebody of this company before.
    FromCache(Value),
    /// Not now, with the reason: it is done by itself, later.
    Waits(String),
    /// It may be in the table, and is not sent again: its callback or a person will tell.
    Unclear,
    /// Kept for a person, with the reason.
    Dead(String),
    /// Not even begun, and nothing is kept.
    Refused(String),
}

async fn push(mainstay: &Handle, lead: &Value) -> Became {
    match mainstay.call(Call::new("clay", "push-row", lead.clone())).await {
        Ok(Answer::Delivered(_)) => Became::Sent,
        Ok(Answer::Queued { because, .. }) => Became::Waits(because.to_string()),
        Ok(stand_in) => Became::FromCache(stand_in.merged_into(lead)),
        Err(CallError::Unknown { .. }) => Became::Unclear,
        Err(CallError::DeadLettered { because, .. }) => Became::Dead(because.to_string()),
        Err(error) => Became::Refused(error.to_string()),
    }
}

/// Clay's callback for an enriched row: it settles the money, and the answer is remembered for the cache.
async fn enriched(mainstay: Handle, row: Value) {
    let call = row["mainstay_call_id"].as_str().and_then(|id| id.parse().ok());
    let cost = row["credits"].as_f64().and_then(|credits| Credits::from_decimal(credits).ok());
    if let Some(call) = call {
        // A callback that came twice finds nothing open.
        let _ = mainstay.complete(call, Completion::happened(cost).with_answer(row["enriched"].clone())).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let callback_url = Some(format!("http://{}/enriched", listener.local_addr()?));
    let enrichment = Spread::millis(800, 800);
    let clay = ClayConfig { callback_url, enrichment, credits_min: 5, credits_max: 5, ..ClayConfig::default() };
    let vendors = Simulator::start(SimulatorConfig { clay, ..SimulatorConfig::default() })?;
    let runtime = settings::parse(&CONFIGURATION.replace("CLAY", &vendors.clay_url()))?.start().await?;
    let mainstay = runtime.handle();
    let desk = mainstay.clone();
    let callbacks = Router::new().route("/enriched", post(async move |Json(row)| enriched(desk, row).await));
    tokio::spawn(async move { axum::serve(listener, callbacks).await });
    let clay_is = |fault| vendors.set_script(Script { episodes: vec![Episode::always(Vendor::Clay, fault)], seed: 1 });
    let lead = async |name: &str, domain: &str| {
        println!("{name:<4} {}", push(&mainstay, &json!({ "name": name, "domain": domain })).await);
    };

    println!("Clay works:");
    lead("Ada", "acme.example").await;
    lead("Ada", "acme.example").await;
    until(&mainstay, |now| spent(now) == Credits::whole(5)).await;
    println!("Clay refuses the row, then does not answer, then is too busy:");
    clay_is(Fault::Status { code: 400, effect: false })?;
    lead("Bob", "").await;
    clay_is(Fault::BlackHole { effect: true })?;
    lead("Cyd", "cogs.example").await;
    clay_is(Fault::Status { code: 503, effect: false })?;
    lead("Dan", "acme.example").await;
    lead("Eve", "gears.example").await;
    let health = until(&mainstay, |now| now.health.vendors.iter().any(|clay| clay.denied > 0)).await.health;
    println!("health: {}", health.status);

    println!("Clay is back:");
    vendors.set_script(Script::default())?;
    until(&mainstay, |now| now.calls.queued == 0 && spent(now) == Credits::whole(15)).await;
    let report = mainstay.dead_letters().replay(Filter::default()).run().await?;
    println!("dead letters: {} of {} done", report.succeeded, report.chosen);
    let calls = until(&mainstay, |now| spent(now) == Credits::whole(20)).await.calls;
    println!("left: {} waiting, {} unclear, {} dead", calls.queued, calls.unknown, calls.dead_lettered);
    lead("Fay", "bolts.example").await;
    let rows = vendors.totals().clay;
    println!("rows at Clay: {}, of them twice: {}", rows.effects, rows.duplicate_effects);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

fn spent(now: &Snapshot) -> Credits {
    now.vendors["clay"].budget.settled
}

async fn until(mainstay: &Handle, done: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        match mainstay.snapshot() {
            now if done(&now) => return now,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

impl fmt::Display for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent => write!(f, "sent"),
            Self::FromCache(lead) => write!(f, "from the cache: {lead}"),
            Self::Waits(why) => write!(f, "waits: {why}"),
            Self::Unclear => write!(f, "unclear, not sent again"),
            Self::Dead(why) => write!(f, "dead letter: {why}"),
            Self::Refused(why) => write!(f, "{why}"),
        }
    }
}
