//! Guards by themselves: a breaker and lanes around work that is no vendor's operation.
//!
//! ```text
//! cargo run --example guards
//! ```

use std::time::Duration;

use mainstay::{
    Admission, Class, Failed, Guards, GuardsError,
    actors::{breaker::BreakerConfig, bulkhead::patterns_lanes},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let guards = Guards::named("mailer")
        .lanes(patterns_lanes())
        .breaker(BreakerConfig::credit(Duration::from_secs(30)))
        .start()?;

    let sent = guards.run(async { Ok::<_, Failed>("sent") }).await?;
    println!("the first mail: {sent}");

    for n in 1.. {
        match guards.run(async { Err::<(), _>(Failed::before_effect(Class::Server, "the relay is down")) }).await {
            Err(GuardsError::Failed(failed)) => println!("mail {n}: {failed}"),
            Err(GuardsError::Refused(refusal)) => {
                println!("mail {n}: refused by the {}, not tried", refusal.by);
                break;
            }
            Ok(()) => println!("mail {n}: sent"),
        }
    }

    // A pass by hand: for work that is not one future.
    match guards.enter(Admission::default().lane("critical")).await {
        Ok(mut pass) => {
            pass.begin();
            pass.done(None);
        }
        Err(refusal) => println!("critical mail: refused by the {}", refusal.by),
    }
    let breaker = guards.snapshot().breaker.ok_or("no breaker")?;
    println!("the breaker is {}", breaker.state);
    Ok(())
}
