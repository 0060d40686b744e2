//! The breaker of a vendor that fails: it opens, refuses at once, and finds out by itself when the vendor is back.
//!
//! ```text
//! cargo run --example circuit_breaker
//! ```

use std::time::Duration;

use mainstay::{
    Call, CallError, Clay, Fact, Handle, Runtime, VendorConfig,
    actors::{
        breaker::{BreakerConfig, StreakTrip},
        fact::BreakerState,
    },
    testing::{Episode, Fault, Script, Simulator, SimulatorConfig, Vendor},
};
use serde_json::json;

const OPEN_FOR: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let down = Fault::Status { code: 503, effect: false };
    let vendors = Simulator::start(SimulatorConfig {
        script: Script::seeded(1).episode(Episode::always(Vendor::Clay, down)),
        ..SimulatorConfig::default()
    })?;
    // Three failures in a row open it, for 0.3 s: the defaults are five, and 15 minutes.
    let breaker = BreakerConfig {
        streak: Some(StreakTrip { failures: 3, open_for: OPEN_FOR, ..StreakTrip::default() }),
        jitter: 0.0,
        ..BreakerConfig::credit(Duration::from_secs(10))
    };
    let clay = VendorConfig::clay("clay", Clay::table(vendors.clay_url())).with(|config| config.breaker = breaker);
    let runtime = Runtime::builder().vendor(clay).start().await?;
    let mainstay = runtime.handle();
    let mut facts = mainstay.subscribe();

    println!("Clay answers 503");
    push(&mainstay, 1).await;
    push(&mainstay, 2).await;
    println!("requests that reached Clay: {}", vendors.totals().clay.requests);

    println!("Clay is back");
    vendors.set_script(Script::seeded(1))?;
    tokio::time::sleep(OPEN_FOR).await;
    push(&mainstay, 3).await;

    println!("what the breaker did:");
    loop {
        if let Fact::BreakerChanged { from, to, .. } = facts.recv().await?.fact {
            println!("  {from} -> {to}");
            if to == BreakerState::Closed {
                break;
            }
        }
    }
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn push(mainstay: &Handle, n: u32) {
    let call = Call::new("clay", "push-row", json!({ "domain": format!("company{n}.example") })).without_fallback();
    match mainstay.call(call).await {
        Ok(_) => println!("row {n}: taken"),
        Err(CallError::DeadLettered { because, .. }) => println!("row {n}: dead letter: {because}"),
        Err(CallError::Refused(refusal)) => println!("row {n}: refused by the {}", refusal.by),
        Err(error) => println!("row {n}: {error}"),
    }
}
