//! Several Clay tables in one account: each has its secret address and its breaker; rate and budget are shared.
//!
//! ```text
//! cargo run --example targets
//! ```

use std::time::Duration;

use mainstay::{
    Call, Clay, Handle, Runtime, VendorConfig,
    testing::{Simulator, SimulatorConfig},
};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let vendors = Simulator::start(SimulatorConfig::default())?;
    let tables = [
        ("leads", Clay::table(vendors.clay_url())),
        ("accounts", Clay::table(vendors.clay_url())),
        ("gone", Clay::table("http://127.0.0.1:9/v3/sources/webhook/pull-in-data-from-a-webhook-secret")),
    ];
    let runtime = Runtime::builder().vendor(VendorConfig::clay_tables("clay", tables)).start().await?;
    let mainstay = runtime.handle();

    push(&mainstay, Some("leads")).await;
    push(&mainstay, Some("accounts")).await;
    push(&mainstay, Some("gone")).await;
    push(&mainstay, Some("contacts")).await;
    push(&mainstay, None).await;
    println!("rows at Clay: {}", vendors.totals().clay.effects);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn push(mainstay: &Handle, target: Option<&str>) {
    let mut call = Call::new("clay", "push-row", json!({ "domain": "acme.example" })).without_fallback();
    call.target = target.map(Into::into);
    let name = target.unwrap_or("no target");
    match mainstay.call(call).await {
        Ok(_) => println!("{name}: taken"),
        Err(error) => match error.refusal() {
            Some(refusal) => println!("{name}: {}", refusal.reason),
            None => println!("{name}: a dead letter that names the table and not its address"),
        },
    }
}
