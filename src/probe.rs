//! Asks a vendor again and again whether it is there, by an operation that is free. Nobody waits for the answer: it is a fact,
//! which health remembers until the next.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use mainstay_actors::{
    client::{self, ClientParts},
    fact::Fact,
    health::ProbeConfig,
    ids::OperationId,
    kernel::panic_text,
    outcome::{Class, Effect, Outcome, Verdict},
};

/// One vendor, and how it is asked. Around every guard, and with what the client sends with.
pub(crate) struct Prober {
    pub(crate) client: ClientParts,
    pub(crate) operation: OperationId,
    pub(crate) config: ProbeConfig,
}

impl Prober {
    /// One question at a time, for ever.
    pub(crate) async fn ask_for_ever(self) {
        loop {
            self.ask().await;
            tokio::time::sleep(self.config.every).await;
        }
    }

    async fn ask(&self) {
        let asked = AssertUnwindSafe(client::probe(&self.client, &self.operation, self.config.timeout)).catch_unwind();
        let outcome = asked.await.unwrap_or_else(|panic| {
            Outcome::without_answer(Class::Broken, Effect::None, format!("it panicked: {}", panic_text(&*panic)))
        });
        // Any answer proves that somebody is there; but whoever does not let us in does not work for us.
        let works = match outcome.class {
            Class::CallerError | Class::Exhausted | Class::Throttled => true,
            class => class.verdict() == Verdict::Healthy,
        };
        let (vendor, operation) = (self.client.profile.vendor.clone(), self.operation.clone());
        tracing::debug!(target: "mainstay::health", %vendor, %operation, works, class = %outcome.class, "{vendor} was asked whether it is there");
        let detail: Arc<str> = format!("{}: {}", outcome.class, outcome.detail).into();
        self.client.facts.state(Fact::Probed { vendor, operation, works, detail });
    }
}
