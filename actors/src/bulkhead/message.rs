//! What lanes and gate know of the vendor's circuit breakers.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use serde::Serialize;

use crate::{
    ids::Circuit,
    refusal::{Guard, Reason, Refusal},
};

/// News of one of the vendor's circuit breakers. The wiring makes it from `Fact::BreakerChanged`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerNews {
    /// Which circuit it is about; calls of others are not concerned.
    pub circuit: Circuit,
    /// The breaker's period. News of an earlier one that come late, from an incarnation that hung, say nothing any more.
    pub generation: u64,
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

/// What the vendor's breakers said last, which its lanes and its gate read. One entry for each circuit at most, and only the
/// vendor's breakers have a word here: it holds no more than the vendor has circuits.
#[derive(Debug, Clone, Default)]
pub struct Circuits(BTreeMap<Circuit, BreakerNews>);

/// Wakes a lane or the gate: what the [`Circuits`] say has changed. It says nothing itself, so one that finds the mailbox full
/// or is lost by a crash may be dropped: after every message, and at the beginning of every incarnation, they are read anyway.
#[derive(Debug, Clone, Copy)]
pub struct CircuitsChanged;

impl Circuits {
    /// Takes the news in, unless later ones came before.
    pub fn hear(&mut self, news: BreakerNews) {
        if self.0.get(&news.circuit).is_none_or(|known| known.generation <= news.generation) {
            self.0.insert(news.circuit.clone(), news);
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
