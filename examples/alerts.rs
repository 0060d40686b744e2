//! Guardrails and alerts: the application's own rule denies a call before anything else, and a person hears of what matters.
//!
//! ```text
//! cargo run --example alerts
//! ```

use std::time::Duration;

use mainstay::{
    Alert, Call, Class, Credits, Done, Failed, FunctionCall, Operation, Profile, Runtime, VendorConfig,
    actors::profile::RetryConfig,
};
use serde_json::json;
use tokio::sync::mpsc;

/// Stands for a vendor of phone calls that answers by the number it is given.
async fn phone(call: FunctionCall) -> Result<Done, Failed> {
    match call.payload.get("to").and_then(|to| to.as_str()) {
        Some("+1 lost") => Err(Failed::maybe_done(Class::Timeout, "no answer in time")),
        Some(to) if to.starts_with("+1 down") => Err(Failed::before_effect(Class::Connect, "connection refused")),
        _ => Ok(Done::default()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring = Operation { estimate: Credits::whole(8), ..Operation::function() };
    let once = RetryConfig { attempts_max: 1, ..RetryConfig::default() };
    let profile = Profile { retry: once, ..Profile::of_functions("phone", [("ring", ring)])? };
    let vendor = VendorConfig::new(Ok(profile)).daily_limit(Credits::whole(28)).function("ring", phone);
    let (tell, mut alerts) = mpsc::unbounded_channel::<Alert>();
    let runtime = Runtime::builder()
        .vendor(vendor)
        .guardrail(|call| match call.payload.get("to").and_then(|to| to.as_str()) {
            Some(to) if to.starts_with("+1") => Ok(()),
            _ => Err("we call numbers in North America only".into()),
        })
        // It has a thread of its own, so it may be as slow as a mail server.
        .alerts(move |alert| drop(tell.send(alert.clone())))
        .start()
        .await?;
    let mainstay = runtime.handle();
    let ring = async |to: &str| {
        let call = Call::new("phone", "ring", json!({ "to": to })).without_fallback();
        mainstay.call(call).await.map_or_else(|error| error.to_string(), |_| "it rang".into())
    };

    println!("+49 30 123: {}", ring("+49 30 123").await);
    println!("+1 415 555 0101: {}", ring("+1 415 555 0101").await);
    ring("+1 lost").await;
    for n in 0..10 {
        ring(&format!("+1 down {n}")).await;
    }
    runtime.shutdown(Duration::from_secs(1)).await;

    println!("what a person heard:");
    while let Some(alert) = alerts.recv().await {
        match alert.letter {
            Some(parked) => println!("  {:?}: {}: {}", alert.kind, parked.letter.payload, parked.state.error),
            None => println!("  {:?}: {}", alert.kind, alert.text),
        }
    }
    Ok(())
}
