//! A budget under 1,000 calls at once: each reserves before it is sent and is settled at its real cost.
//!
//! ```text
//! cargo run --example budget
//! ```
#![allow(clippy::indexing_slicing, reason = "the vendor is configured below")]

use std::time::Duration;

use mainstay::{
    Call, Credits, Done, Fact, Operation, Profile, Runtime, VendorConfig,
    actors::{budget::Limit, budget::Scope, clock::SteadyWall, meter::Period},
};
use serde_json::json;
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The vendor is slow: it answers nobody until everybody has asked.
    let (answers, answering) = watch::channel(false);
    let enrich = Operation { estimate: Credits::whole(6), ..Operation::function() };
    let clay = VendorConfig::new(Profile::of_functions("clay", [("enrich", enrich)]))
        .daily_limit(Credits::whole(500))
        .with(|config| {
            config.budget.limits = vec![Limit { scope: Scope::Tenant, ..Limit::new(Period::Day, Credits::whole(15)) }];
            config.lanes.iter_mut().for_each(|lane| lane.concurrency = 1_000);
            config.gate.cap = 1_000;
        })
        .function("enrich", move |_| {
            let mut answering = answering.clone();
            async move {
                let _ = answering.wait_for(|now| *now).await;
                Ok(Done { cost: Some(Credits::whole(4)), ..Done::default() })
            }
        });
    let morning = SteadyWall::starting_at("2026-05-02T08:00:00Z".parse()?);
    let mainstay = Runtime::builder().vendor(clay).wall_clock(morning).start().await?.handle();
    let mut facts = mainstay.subscribe();
    let budget = || mainstay.snapshot().vendors["clay"].budget.clone();
    let until_settled = async |sum: u64| {
        while budget().settled < Credits::whole(sum) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let lead = |n: u64| Call::new("clay", "enrich", json!({ "lead": n })).without_fallback();

    let mut offered = Vec::new();
    for n in 0..1_000 {
        offered.push(mainstay.submit(lead(n)).await?);
    }
    while budget().refused_total < 1_000 - 83 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("1,000 leads at up to 6 credits: {} reserved of {}", budget().reserved, budget().limit);
    while let Ok(event) = facts.try_recv() {
        if let Fact::BudgetMarked { mark, used, limit, which, .. } = event.fact {
            println!("  {mark} mark: {used} of {limit} {which}");
        }
    }
    answers.send(true)?;
    let (mut done, mut refused) = (0, Vec::new());
    for receipt in offered {
        receipt.outcome().await.map_or_else(|error| refused.push(error), |_| done += 1);
    }
    until_settled(332).await;
    println!("{done} done at 4 credits: {} settled, {} left", budget().settled, budget().remaining);
    println!("{} refused: {}", refused.len(), refused.first().ok_or("nobody was refused")?);
    println!("reset: {}", budget().limits[0].resets_at.ok_or("no reset")?);

    for n in 1..=4 {
        let end = mainstay.call(lead(1_000 + n).tenant("trial")).await;
        println!("tenant trial: {}", end.map_or_else(|error| error.to_string(), |_| "done".into()));
        until_settled(332 + 4 * n.min(3)).await;
    }
    mainstay.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
