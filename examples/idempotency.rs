//! One key, one effect: repeats are answered, concurrent ones join, and another payload under the same key is a conflict.
//!
//! ```text
//! cargo run --example idempotency
//! ```

use std::time::Duration;

use mainstay::{
    Answer, Call, CallError, CallId, Handle, Retell, Runtime, VendorConfig,
    testing::{Simulator, SimulatorConfig},
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vendors = Simulator::start(SimulatorConfig::default())?;
    let workspace = Retell { base_url: vendors.retell_url().into(), ..Retell::workspace("key_test") };
    // One call start a second is Retell's own limit; the example does not wait for it.
    let retell = VendorConfig::retell("retell", workspace).with(|config| config.gate.rate = None);
    let runtime = Runtime::builder().vendor(retell).start().await?;
    let mainstay = runtime.handle();

    // Two calls to one number are two effects, so the vendor's operation wants a key of the application's own.
    let without = Call::new("retell", "create-phone-call", to("+14155550101"));
    if let Err(error) = mainstay.call(without).await {
        println!("without a key: {error}");
    }

    let (one, other) = tokio::join!(ring(&mainstay, "appointment-7"), ring(&mainstay, "appointment-7"));
    println!("the same key twice at once: one and the same call: {}", one? == other?);
    println!("phones that rang: {}", vendors.totals().retell.effects);

    let again = ring(&mainstay, "appointment-7").await?;
    println!("the same key later: the stored answer: {}", again == ring(&mainstay, "appointment-7").await?);
    println!("phones that rang: {}", vendors.totals().retell.effects);

    let changed = Call::new("retell", "create-phone-call", to("+14155550102")).key("appointment-7");
    match mainstay.call(changed).await {
        Err(CallError::Refused(refusal)) => println!("the same key for another number: refused by the {}", refusal.by),
        other => println!("unexpected: {other:?}"),
    }
    ring(&mainstay, "appointment-8").await?;
    println!("phones that rang after another key: {}", vendors.totals().retell.effects);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

fn to(number: &str) -> serde_json::Value {
    json!({ "from_number": "+14155550100", "to_number": number })
}

/// The call whose answer it is.
async fn ring(mainstay: &Handle, key: &str) -> Result<Option<CallId>, CallError> {
    let call = Call::new("retell", "create-phone-call", to("+14155550101")).key(key);
    match mainstay.call(call).await? {
        Answer::Delivered(delivered) => Ok(Some(delivered.call)),
        _ => Ok(None),
    }
}
