//! A vendor's SDK behind the guards: a closure is the operation's client, and declares its safety and its cost.
//!
//! ```text
//! cargo run --example any_call
//! ```

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mainstay::{Answer, Call, Class, Credits, Done, Failed, Operation, Profile, Repeat, Runtime, VendorConfig};
use serde_json::json;

/// Stands for somebody else's SDK: busy the first time, then fine.
async fn sdk_add_contact(email: &str) -> Result<u64, &'static str> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    match CALLS.fetch_add(1, Ordering::Relaxed) {
        0 => Err("busy, nothing was done"),
        n => Ok(u64::from(n) * 1_000 + email.len() as u64),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let add = Operation {
        repeat: Repeat::Never, // an unknown effect is parked, not repeated
        estimate: Credits::whole(2),
        timeout: Duration::from_secs(5),
        ..Operation::function()
    };
    let crm = VendorConfig::new(Profile::of_functions("crm", [("add-contact", add)]))
        .daily_limit(Credits::whole(3))
        .function("add-contact", |call| async move {
            println!("attempt {}, with a key to pass on: {}", call.attempt, call.key.is_some());
            let email = call.payload.get("email").and_then(|email| email.as_str()).unwrap_or_default();
            match sdk_add_contact(email).await {
                Ok(id) => Ok(Done::from(json!({ "id": id }))),
                Err(error) => Err(Failed::before_effect(Class::Overload, error)),
            }
        });
    let runtime = Runtime::builder().vendor(crm).start().await?;
    let mainstay = runtime.handle();

    let add = |email: &str| Call::new("crm", "add-contact", json!({ "email": email })).without_fallback();
    match mainstay.call(add("ada@example.com")).await? {
        Answer::Delivered(delivered) => println!("done after {} attempts: {}", delivered.attempts, delivered.body),
        other => println!("served another way: {other:?}"),
    }
    // 2 of 3 credits are spent: the next one would pass the limit.
    match mainstay.call(add("grace@example.com")).await {
        Err(error) => {
            println!("{}", error.refusal().map_or_else(|| error.to_string(), |by| format!("refused by the {}", by.by)))
        }
        Ok(answer) => println!("{answer:?}"),
    }
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
