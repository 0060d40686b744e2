//! Planned accidents: actors that crash, messages that get lost, a disk that fails. The same seed meets the same ones.
//!
//! ```text
//! cargo run --example chaos
//! ```

use std::{sync::Arc, time::Duration};

use mainstay::{
    Answer, Call, Clay, Credits, Placement, Runtime, VendorConfig,
    testing::{Chaos, Simulator, SimulatorConfig},
};
use serde_json::json;

const ROWS: usize = 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::panic::set_hook(Box::new(|_| {})); // the planned panics would be printed
    tokio::task::LocalSet::new().run_until(run()).await
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let vendors = Simulator::start(SimulatorConfig::default())?;
    let table = Clay::table(vendors.clay_url());
    let chaos = Arc::new(Chaos::seeded(7).panic_every(40, "clay/*").lose_every(40, "clay/*").delay_every(
        40,
        "clay/*",
        Duration::from_millis(5),
    ));
    let clay = VendorConfig::clay("clay", table).daily_limit(Credits::whole(1_000));
    let runtime = Runtime::builder().placement(Placement::Local).hazard(chaos.clone()).vendor(clay).start().await?;
    let mainstay = runtime.handle();
    let mut delivered = 0;
    for row in 0..ROWS {
        let call = Call::new("clay", "push-row", json!({ "row": row })).key(format!("row-{row}"));
        delivered += usize::from(matches!(mainstay.call(call).await, Ok(Answer::Delivered(_))));
    }
    chaos.stop();
    // How often each struck depends on how many messages there were: real sockets decide that.
    println!("accidents: {}", chaos.injected().into_keys().collect::<Vec<_>>().join(", "));
    println!("rows delivered: {delivered} of {ROWS}");
    println!("rows at Clay: {}, twice: {}", vendors.totals().clay.effects, vendors.totals().clay.duplicate_effects);
    let report = runtime.shutdown(Duration::from_secs(1)).await;
    println!("every call has one end: {}", report.calls.add_up());
    vendors.stop().await;
    Ok(())
}
