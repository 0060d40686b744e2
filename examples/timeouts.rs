//! What a timeout means: nothing was sent, or perhaps a phone rang. The second is never sent again by itself.
//!
//! ```text
//! cargo run --example timeouts
//! ```
#![allow(clippy::indexing_slicing, reason = "the vendor is configured below")]

use std::time::Duration;

use mainstay::{
    Because, Call, CallError, Completion, Credits, Fact, Handle, Retell, Runtime, VendorConfig,
    testing::{Episode, Fault, Script, Simulator, SimulatorConfig, Vendor},
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Retell places the call and never answers.
    let silent = Fault::BlackHole { effect: true };
    let vendors = Simulator::start(SimulatorConfig {
        script: Script::seeded(1).episode(Episode::always(Vendor::Retell, silent)),
        ..SimulatorConfig::default()
    })?;
    let workspace = |base_url: String| Retell {
        base_url: base_url.into(),
        timeout: Duration::from_millis(300), // the default is the SDK's, 120 s
        ..Retell::workspace("key_test")
    };
    // Nobody listens on the second one's port.
    let gone = VendorConfig::retell("gone", workspace("http://127.0.0.1:9".into()));
    let retell = VendorConfig::retell("retell", workspace(vendors.retell_url()));
    let runtime = Runtime::builder().vendor(retell).vendor(gone).start().await?;
    let mainstay = runtime.handle();
    let mut facts = mainstay.subscribe();

    println!("no connection: {}", ring(&mainstay, "gone").await);
    println!("no answer:     {}", ring(&mainstay, "retell").await);
    println!("phones that rang: {}", vendors.totals().retell.effects);
    let budget = &mainstay.snapshot().vendors["retell"].budget;
    println!("reserved until somebody knows: {} cents", budget.reserved);

    // The webhook, or a person who looked it up, says what came of it.
    let unknown = std::iter::from_fn(|| facts.try_recv().ok()).find_map(|event| match event.fact {
        Fact::CallEnded { call, vendor, .. } if vendor.as_str() == "retell" => Some(call),
        _ => None,
    });
    let call = unknown.ok_or("no unknown call")?;
    mainstay.complete(call, Completion::happened(Credits::whole(42))).await?;
    while mainstay.snapshot().vendors["retell"].budget.reserved > Credits::ZERO {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("settled: {} cents", mainstay.snapshot().vendors["retell"].budget.settled);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn ring(mainstay: &Handle, vendor: &str) -> String {
    let payload = json!({ "from_number": "+14155550100", "to_number": "+14155550101" });
    let call = Call::new(vendor, "create-phone-call", payload).key("appointment-7").without_fallback();
    match mainstay.call(call).await {
        Err(CallError::DeadLettered { because: Because::Failed { class, effect, .. }, .. }) => {
            format!("{class}, effect {effect:?}: a dead letter, may be replayed")
        }
        Err(CallError::Unknown { because: Because::Failed { class, effect, .. }, .. }) => {
            format!("{class}, effect {effect:?}: unknown, parked, not sent again")
        }
        other => format!("{other:?}"),
    }
}
