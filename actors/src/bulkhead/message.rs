//! What lanes and gate are told, besides tickets.

use std::{sync::Arc, time::Instant};

use crate::refusal::{Guard, Reason, Refusal};

/// News of the vendor's circuit breaker, for its lanes and its gate. The wiring makes it from `Fact::BreakerChanged`.
///
/// It is bounded in time: should later news get lost, calls pass again at `closed_until` and the breaker itself decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerNews {
    /// Nothing passes before this; whoever waits is refused at once. `None`: the breaker is not open (any more).
    pub closed_until: Option<Instant>,
    /// Why, with the numbers, for the refusals.
    pub cause: Arc<str>,
}

impl BreakerNews {
    /// The refusal for whoever is here at `now`, if nothing passes.
    pub(super) fn refusal(&self, now: Instant) -> Option<Refusal> {
        let until = self.closed_until.filter(|until| now < *until)?;
        let reason = Reason::BreakerOpen { cause: self.cause.clone() };
        Some(Refusal::new(Guard::Breaker, reason).retry_at(until))
    }
}
