//! What lanes and gate are told, besides tickets.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use serde::Serialize;

use crate::{
    ids::Circuit,
    refusal::{Guard, Reason, Refusal},
};

/// News of one of the vendor's circuit breakers, for its lanes and its gate. The wiring makes it from `Fact::BreakerChanged`.
///
/// It is bounded in time: should later news get lost, calls pass again at `closed_until` and the breaker itself decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerNews {
    /// Which circuit it is about; calls of others are not concerned.
    pub circuit: Circuit,
    /// Nothing passes before this; whoever waits is refused at once. `None`: the breaker is not open (any more).
    pub closed_until: Option<Instant>,
    /// Why, with the numbers, for the refusals.
    pub cause: Arc<str>,
}

/// A circuit that is open: its calls do not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenCircuit {
    /// Which.
    pub circuit: Circuit,
    /// Why, with the numbers.
    pub cause: Arc<str>,
}

/// What the news say: at most one entry for each circuit of the vendor.
#[derive(Debug, Default)]
pub(super) struct Circuits(BTreeMap<Circuit, BreakerNews>);

impl Circuits {
    pub(super) fn hear(&mut self, news: BreakerNews) {
        match news.closed_until {
            Some(_) => drop(self.0.insert(news.circuit.clone(), news)),
            None => drop(self.0.remove(&news.circuit)),
        }
    }

    /// The refusal for whoever of this circuit is here at `now`, if nothing of it passes.
    pub(super) fn refusal(&self, circuit: &Circuit, now: Instant) -> Option<Refusal> {
        self.0.get(circuit)?.refusal(now)
    }

    /// Those of whom nothing passes at `now`, with the refusal.
    pub(super) fn shut(&self, now: Instant) -> impl Iterator<Item = (&Circuit, Refusal)> {
        self.0.iter().filter_map(move |(circuit, news)| Some((circuit, news.refusal(now)?)))
    }

    pub(super) fn snapshot(&self, now: Instant) -> Vec<OpenCircuit> {
        let open = |news: &BreakerNews| OpenCircuit { circuit: news.circuit.clone(), cause: news.cause.clone() };
        self.0.values().filter(|news| news.refusal(now).is_some()).map(open).collect()
    }
}

impl BreakerNews {
    fn refusal(&self, now: Instant) -> Option<Refusal> {
        let until = self.closed_until.filter(|until| now < *until)?;
        let reason = Reason::BreakerOpen { cause: self.cause.clone() };
        Some(Refusal::new(Guard::Breaker, reason).retry_at(until))
    }
}
