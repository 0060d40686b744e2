//! Lanes: a flood of bulk work does not hold up a critical call, and one too many is refused with the figures.
//!
//! ```text
//! cargo run --example bulkhead
//! ```
#![allow(clippy::indexing_slicing, reason = "the vendor is configured below")]

use std::time::Duration;

use mainstay::{
    Call, CallError, Clay, Runtime, VendorConfig,
    testing::{Episode, Fault, Script, Simulator, SimulatorConfig, Vendor},
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let slow = Fault::Latency { min: Duration::from_millis(200), max: Duration::from_millis(200) };
    let vendors = Simulator::start(SimulatorConfig {
        script: Script::seeded(1).episode(Episode::always(Vendor::Clay, slow)),
        ..SimulatorConfig::default()
    })?;
    let clay = VendorConfig::clay("clay", Clay::table(vendors.clay_url())).with(|config| {
        config.gate.rate = None;
        for lane in config.lanes.iter_mut().filter(|lane| lane.name.as_str() == "bulk") {
            lane.queue_max = 8;
        }
    });
    let runtime = Runtime::builder().vendor(clay).start().await?;
    let mainstay = runtime.handle();
    for lane in &mainstay.snapshot().vendors["clay"].lanes {
        println!("lane {:<8} runs {:>2}, keeps {} waiting", lane.lane.as_str(), lane.concurrency, lane.queue_max);
    }

    let row = |n: usize, lane: &str| Call::new("clay", "push-row", json!({ "n": n })).lane(lane).without_fallback();
    let mut flood = Vec::new();
    for n in 0..12 {
        flood.push(mainstay.submit(row(n, "bulk")).await?);
    }
    mainstay.call(row(100, "critical")).await?;
    let waiting: usize = mainstay.snapshot().vendors["clay"].lanes.iter().map(|lane| lane.queued).sum();
    println!("the critical call is done; bulk calls that still wait: {}", waiting > 0);

    let (mut done, mut refused) = (0, 0);
    for receipt in flood {
        match receipt.outcome().await {
            Ok(_) => done += 1,
            Err(CallError::Refused(refusal)) => {
                refused += 1;
                println!("refused by the {}: {}", refusal.by, refusal.reason);
            }
            Err(error) => println!("{error}"),
        }
    }
    println!("bulk: {done} done, {refused} refused; most at Clay at once: {}", vendors.totals().clay.max_concurrent);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
