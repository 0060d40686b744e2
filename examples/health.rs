//! Health through an outage: a status in one word, and the reasons in sentences with their figures.
//!
//! ```text
//! cargo run --example health
//! ```

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mainstay::{
    Call, Class, Credits, Done, Failed, Handle, Operation, Placement, Profile, Runtime, VendorConfig,
    actors::{
        breaker::BreakerConfig,
        health::{Code, VendorHealth},
    },
};
use serde_json::json;
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

static DOWN: AtomicBool = AtomicBool::new(false);

/// Under a paused clock, where minutes pass at once; it wants everything on one thread. An application has `#[tokio::main]`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    tokio::task::LocalSet::new().block_on(&tokio, outage())
}

async fn outage() -> Result<(), Box<dyn std::error::Error>> {
    let vendor = VendorConfig::new(Profile::of_functions("clay", [("enrich", Operation::function())]))
        .daily_limit(Credits::whole(1))
        // Open for 15 minutes after five failures in a row.
        .with(|config| config.breaker = BreakerConfig::credit(Duration::from_secs(30)))
        .function("enrich", |_| async {
            let down = DOWN.load(Ordering::SeqCst);
            if down { Err(Failed::before_effect(Class::Server, "500")) } else { Ok(Done::default()) }
        });
    let mainstay = Runtime::builder().vendor(vendor).placement(Placement::Local).seed(1).start().await?.handle();

    show("at the start", &mainstay).await;
    enrich(&mainstay, 0..10).await;
    show("ten leads later", &mainstay).await;

    DOWN.store(true, Ordering::SeqCst);
    enrich(&mainstay, 10..14).await;
    show("the vendor is down", &mainstay).await;
    sleep(10 * MINUTE).await;
    enrich(&mainstay, 14..16).await;
    show("10 minutes later", &mainstay).await;

    DOWN.store(false, Ordering::SeqCst);
    sleep(10 * MINUTE).await;
    enrich(&mainstay, 16..17).await;
    show("the vendor is back", &mainstay).await;
    enrich(&mainstay, 17..27).await;
    show("ten leads later", &mainstay).await;
    mainstay.shutdown(MINUTE).await;
    Ok(())
}

async fn enrich(mainstay: &Handle, leads: Range<u32>) {
    for n in leads {
        // How each of them ends is the other examples' subject.
        let _ = mainstay.call(Call::new("clay", "enrich", json!({ "lead": n })).without_fallback()).await;
    }
}

async fn show(when: &str, mainstay: &Handle) {
    sleep(Duration::from_secs(1)).await; // facts reach health a moment later
    for VendorHealth { vendor, status, score, reasons, .. } in mainstay.snapshot().health.vendors {
        let score = score.map_or("no score".into(), |score| format!("{:.0} %", score * 100.0));
        println!("{when}: {vendor} is {status}, {score}");
        // The age of the oldest letter is the calendar's, which this example does not own.
        let ageless = reasons.iter().filter(|reason| reason.code != Code::DeadLetters);
        ageless.for_each(|reason| println!("  {}", reason.text));
    }
}
