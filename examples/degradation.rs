//! What stands in for a vendor that is down: the last good answer, a later try, a local function, and last the dead letter.
//!
//! ```text
//! cargo run --example degradation
//! ```

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mainstay::{
    Answer, Call, CallError, Class, Credits, Done, Fact, Failed, Operation, Placement, Profile, Runtime, Step,
    VendorConfig, actors::clock::SteadyWall,
};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

static DOWN: AtomicBool = AtomicBool::new(false);

/// Under a paused clock, where hours pass at once; it wants everything on one thread. An application has `#[tokio::main]`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    tokio::task::LocalSet::new().block_on(&tokio, outage())
}

/// The application's own guess: the company that a domain is named after.
fn guess(payload: &Value) -> Option<Value> {
    let name = company_guess(payload.get("domain")?.as_str()?)?;
    Some(json!({ "company": name }))
}

/// The name in front of the public suffix, its hyphens as spaces: `acme` for `acme.co.uk` and for `sub.acme.com`. A domain that
/// is itself a suffix, an address in numbers and an empty text name no company.
pub fn company_guess(domain: &str) -> Option<String> {
    let domain = domain.trim().trim_end_matches('.').to_lowercase();
    if domain.parse::<IpAddr>().is_ok() {
        return None;
    }
    let (name, _suffix) = psl::domain_str(&domain)?.split_once('.')?;
    Some(name.replace('-', " "))
}

async fn outage() -> Result<(), Box<dyn std::error::Error>> {
    let clay = VendorConfig::new(Profile::of_functions("clay", [("enrich", Operation::function())]))
        .daily_limit(Credits::whole(1))
        .cache_by("/domain")
        .local(guess)
        .function("enrich", |_| async {
            match DOWN.load(Ordering::SeqCst) {
                true => Err(Failed::before_effect(Class::Overload, "HTTP 503").retry_after(2 * HOUR)),
                false => Ok(Done::from(json!({ "company": "ACME Inc.", "employees": 12 }))),
            }
        });
    let morning = SteadyWall::starting_at("2026-05-02T08:00:00Z".parse()?);
    let runtime = Runtime::builder().vendor(clay).placement(Placement::Local).wall_clock(morning).start().await?;
    let mainstay = runtime.handle();
    let mut facts = mainstay.subscribe();
    let lead = |name: &str, domain: &str| Call::new("clay", "enrich", json!({ "name": name, "domain": domain }));

    show("Ada", mainstay.call(lead("Ada", "acme.example")).await);
    DOWN.store(true, Ordering::SeqCst);
    tokio::time::sleep(3 * HOUR).await;
    println!("three hours later, the vendor is down:");
    show("Bob", mainstay.call(lead("Bob", "acme.example")).await);
    show("Cyd", mainstay.call(lead("Cyd", "gizmo.example")).await);
    // Somebody waits for these: a guess now is better than an answer tomorrow.
    let now = [Step::Cache, Step::Local];
    show("Dan", mainstay.call(lead("Dan", "shop.blue-gadget.co.uk").chain(now)).await);
    show("Eve", mainstay.call(lead("Eve", "localhost").chain(now)).await);

    DOWN.store(false, Ordering::SeqCst);
    while !matches!(facts.recv().await?.fact, Fact::Reprocessed { .. }) {}
    println!("the vendor is back: Cyd is done by itself");
    runtime.shutdown(HOUR).await;
    Ok(())
}

/// Whatever stands in says who it is, how old, and the first error.
fn show(name: &str, end: Result<Answer, CallError>) {
    match end {
        Ok(answer) => {
            let body = answer.body().map_or("no answer yet".into(), Value::to_string);
            println!("{name}: {}: {body}", answer.source());
            if let Answer::Cached { age, staleness, .. } = &answer {
                println!("  {staleness}: {} h old", age.as_secs() / 3600);
            }
            answer.because().into_iter().for_each(|because| println!("  because of {because}"));
        }
        Err(CallError::DeadLettered { because, .. }) => println!("{name}: dead letter\n  because of {because}"),
        Err(error) => println!("{name}: {error}"),
    }
}
