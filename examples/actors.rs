//! An application that is an actor itself: it drives the runtime by messages, from an actix system, on one thread.
//!
//! ```text
//! cargo run --example actors
//! ```

use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, System, WrapFuture};
use mainstay::{
    Answer, ApiActor, Call, Clay, GetSnapshot, MakeCall, Placement, Runtime, Shutdown, VendorConfig,
    testing::{Simulator, SimulatorConfig},
};
use serde_json::json;

/// Sends each domain it is told to Clay.
struct Enricher {
    mainstay: Addr<ApiActor>,
    asked: usize,
}

impl Actor for Enricher {
    type Context = Context<Self>;
}

struct Enrich(&'static str);

impl Message for Enrich {
    type Result = ();
}

impl Handler<Enrich> for Enricher {
    type Result = ();

    fn handle(&mut self, Enrich(domain): Enrich, context: &mut Context<Self>) {
        self.asked += 1;
        let (number, mainstay) = (self.asked, self.mainstay.clone());
        let call = Call::new("clay", "push-row", json!({ "domain": domain }));
        let work = async move {
            match mainstay.send(MakeCall(call)).await {
                Ok(Ok(Answer::Delivered(_))) => println!("{number}: {domain} is taken"),
                Ok(Ok(other)) => println!("{number}: {domain} was served another way: {other:?}"),
                Ok(Err(error)) => println!("{number}: {error}"),
                Err(gone) => println!("{number}: the runtime is gone: {gone}"),
            }
        };
        // Waits outside of the handler: an actor awaits nobody.
        context.wait(work.into_actor(self));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    System::new().block_on(async {
        let vendors = Simulator::start(SimulatorConfig::default())?;
        let clay = VendorConfig::clay("clay", Clay::table(vendors.clay_url()));
        let runtime = Runtime::builder().vendor(clay).placement(Placement::Local).start().await?;
        let mainstay = runtime.handle().address();
        let enricher = Enricher { mainstay: mainstay.clone(), asked: 0 }.start();

        enricher.send(Enrich("acme.example")).await?;
        enricher.send(Enrich("widgets.example")).await?;
        enricher.send(Enrich("")).await?;

        let mut taken = 0;
        while taken < 3 {
            taken = mainstay.send(GetSnapshot).await?.map_or(taken, |snapshot| snapshot.calls.delivered);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("rows taken: {taken}");
        let report = mainstay.send(Shutdown { deadline: Duration::from_secs(5) }).await?;
        println!("drained: {}", report.is_some_and(|report| report.drained));
        Ok(())
    })
}
