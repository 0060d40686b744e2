//! Dead letters: what a vendor did not do is listed, exported, replayed by class, given up in the end, and purged.
//!
//! ```text
//! cargo run --example dead_letters
//! ```

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mainstay::{
    Call, Class, Credits, Done, Fact, Failed, FunctionCall, Operation, Placement, Profile, Runtime, VendorConfig,
    actors::{clock::SteadyWall, dlq::Filter},
};
use serde_json::json;

static DOWN: AtomicBool = AtomicBool::new(true);

/// Stands for a vendor that is down, and wants an email with each lead.
async fn enrich(call: FunctionCall) -> Result<Done, Failed> {
    match call.payload.get("email") {
        None => Err(Failed::before_effect(Class::CallerError, "HTTP 422: email is missing")),
        Some(_) if DOWN.load(Ordering::SeqCst) => Err(Failed::before_effect(Class::Server, "HTTP 500")),
        Some(_) => Ok(Done::default()),
    }
}

/// Under a paused clock, where hours pass at once; it wants everything on one thread. An application has `#[tokio::main]`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    tokio::task::LocalSet::new().block_on(&tokio, letters())
}

async fn letters() -> Result<(), Box<dyn std::error::Error>> {
    let clay = VendorConfig::new(Profile::of_functions("clay", [("enrich", Operation::function())]))
        .daily_limit(Credits::whole(1))
        .chain([]) // nothing stands in: whatever fails is a dead letter
        .function("enrich", enrich);
    let morning = SteadyWall::starting_at("2026-05-02T08:00:00Z".parse()?);
    let runtime = Runtime::builder().vendor(clay).placement(Placement::Local).wall_clock(morning).start().await?;
    let mainstay = runtime.handle();
    let letters = mainstay.dead_letters();

    for lead in
        [json!({ "n": 1 }), json!({ "n": 2, "email": "b@x.example" }), json!({ "n": 3, "email": "c@x.example" })]
    {
        let _ = mainstay.call(Call::new("clay", "enrich", lead)).await;
    }
    println!("parked:");
    for parked in letters.list(Filter::default(), None).await?.letters {
        println!("  {}: {}", parked.letter.payload, parked.state.error.class);
    }
    let mut lines = Vec::new();
    letters.export(Filter::default(), |line| lines.push(line.to_owned())).await?;
    println!("exported: {} lines of JSON", lines.len());

    DOWN.store(false, Ordering::SeqCst);
    let report = letters.replay(Filter::default().class(Class::Server)).limit(1).run().await?;
    println!("the vendor is back, one replayed: {} done, {} permanent", report.succeeded, report.permanent_failures);
    let report = letters.replay(Filter::default().class(Class::CallerError)).run().await?;
    println!("the one without an email again: {} done, {} permanent", report.succeeded, report.permanent_failures);

    DOWN.store(true, Ordering::SeqCst);
    let mut facts = mainstay.subscribe();
    let report = letters.replay(Filter::default().class(Class::Server)).run().await?;
    println!("the vendor is down again, the last one: {} done, {} tried again later", report.succeeded, report.again);
    let attempts = loop {
        if let Fact::GivenUp { attempts, .. } = facts.recv().await?.fact {
            break attempts;
        }
    };
    println!("given up after {attempts} attempts: it waits for a person");
    let purged = letters.purge(Filter::given_up(), None).await?;
    let calls = mainstay.snapshot().calls;
    println!(
        "purged: {purged}; delivered: {}, cancelled: {}, dead: {}",
        calls.delivered, calls.cancelled, calls.dead_lettered
    );
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
