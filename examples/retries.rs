//! Retries: a busy vendor is asked again, each time by a new ticket through every guard; a lost order is never sent twice.
//!
//! ```text
//! cargo run --example retries
//! ```

use std::time::Duration;

use mainstay::{
    Answer, Call, CallError, Class, Credits, Done, Fact, Failed, FunctionCall, Handle, Operation, Placement, Profile,
    Repeat, Runtime, VendorConfig,
    actors::{clock, profile::RetryConfig},
};
use serde_json::json;

/// Stands for a shop that does at each attempt what the payload says.
async fn shop(call: FunctionCall) -> Result<Done, Failed> {
    let does = call.payload.get("does").and_then(|does| does.as_str()).unwrap_or_default();
    match does.split(' ').nth(call.attempt as usize - 1) {
        Some("429") => Err(Failed::before_effect(Class::Throttled, "too fast").retry_after(Duration::from_secs(20))),
        Some("503") => Err(Failed::before_effect(Class::Overload, "too busy, nothing was done")),
        Some("lost") => Err(Failed::maybe_done(Class::Broken, "the connection broke before the answer")),
        _ => Ok(Done::default()),
    }
}

/// Under a paused clock, where pauses pass at once; it wants everything on one thread. An application has `#[tokio::main]`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    tokio::task::LocalSet::new().block_on(&tokio, orders())
}

async fn orders() -> Result<(), Box<dyn std::error::Error>> {
    let look_up = Operation { repeat: Repeat::Always, ..Operation::function() };
    let order = Operation { repeat: Repeat::Never, ..Operation::function() };
    let profile = Profile::of_functions("shop", [("look-up", look_up), ("order", order)])?;
    // Up to three attempts; pauses of 0.5 s and 1 s, here without their jitter.
    let retry = RetryConfig { jitter: 0.0, ..RetryConfig::default() };
    let vendor = VendorConfig::new(Ok(Profile { retry, ..profile }))
        .daily_limit(Credits::whole(10))
        .function("look-up", shop)
        .function("order", shop);
    let mainstay = Runtime::builder().vendor(vendor).placement(Placement::Local).start().await?.handle();

    for (operation, does) in [
        ("order", "429 ok"),
        ("order", "503 503 ok"),
        ("look-up", "lost ok"),
        ("order", "lost"),
        ("order", "503 503 503"),
    ] {
        tokio::time::sleep(Duration::from_secs(120)).await;
        show(&mainstay, operation, does).await;
    }
    // Three retries a minute, or a fifth of the calls: a vendor that fails for everybody does not get three times the load.
    show(&mainstay, "order", "503 503 fine").await;
    mainstay.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn show(mainstay: &Handle, operation: &str, does: &str) {
    let (mut facts, begun) = (mainstay.subscribe(), clock::now());
    let call = Call::new("shop", operation, json!({ "does": does }));
    let end = match mainstay.call(call.key(does).without_fallback()).await {
        Ok(Answer::Delivered(delivered)) => format!("delivered by attempt {}", delivered.attempts),
        Err(CallError::DeadLettered { because, .. }) => format!("given up: {because}"),
        Err(CallError::Unknown { because, .. }) => format!("may be done, not sent again: {because}"),
        other => format!("{other:?}"),
    };
    let took = (clock::now() - begun).as_secs_f64();
    println!("{operation}, {does}: {end}; {took} s");
    while let Ok(event) = facts.try_recv() {
        if let Fact::AttemptEnded { class, effect, .. } = event.fact {
            println!("  ticket: {class}, effect {effect:?}");
        }
    }
}
