//! The cache of last good answers as an actor.

use std::{convert::Infallible, time::Instant};

use actix::{Actor, Context, Handler};
use tracing::debug;

use super::{Cache, FallbackSnapshot, Hit, Recall, Remember};
use crate::{
    clock::Clock,
    ids::VendorId,
    kernel::{Hop, Incarnation, Published, Resident},
};

/// What every incarnation is made of.
#[derive(Debug, Clone)]
pub struct FallbackParts {
    /// Whose answers.
    pub vendor: VendorId,
    /// The clocks.
    pub clock: Clock,
    /// Where the figures are shown; begin it with [`FallbackSnapshot::empty`].
    pub shown: Published<FallbackSnapshot>,
}

/// Keeps one vendor's last good answers.
pub struct FallbackActor {
    inc: Incarnation<Self>,
    parts: FallbackParts,
}

impl FallbackActor {
    /// One incarnation.
    pub fn new(inc: Incarnation<Self>, parts: FallbackParts) -> Self {
        Self { inc, parts }
    }
}

impl Actor for FallbackActor {
    type Context = Context<Self>;
}

impl Resident for FallbackActor {
    type State = Cache;
    /// It gives out no grants, so nothing reports to it.
    type Report = Infallible;

    fn on_report(&mut self, report: &Infallible, _: &mut Context<Self>) {
        match *report {}
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inc.read(Cache::next_expiry)
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("expire", None);
        let now = self.parts.clock.now();
        // Fenced: the successor has the same deadline.
        let _ = self.inc.commit(|_| (), |cache, ()| cache.expire(now));
    }

    fn publish(&mut self) {
        let vendor = self.parts.vendor.clone();
        self.parts.shown.set(self.inc.read(|cache| cache.snapshot(vendor)));
    }
}

impl Handler<Hop<Remember>> for FallbackActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<Remember>, _: &mut Context<Self>) {
        let Remember { call, answer } = &hop.body;
        self.inc.begin("remember", Some(call.id));
        let (now, wall) = (self.parts.clock.now(), self.parts.clock.wall());
        let taken = self.inc.commit(
            |cache| {
                let key = cache.key_of(call)?;
                cache.decide_put(&key, answer).map(|bytes| (key, bytes))
            },
            |cache, decision| match decision {
                Some((key, bytes)) => {
                    cache.apply_put(now, wall, key, answer.clone(), bytes);
                    true
                }
                None => {
                    cache.apply_skip();
                    false
                }
            },
        );
        if taken == Ok(false) {
            let vendor = self.parts.vendor.as_str();
            debug!(target: "mainstay::fallback", vendor, call = %call.id, "{vendor}: an answer is not cached, it has no usable key or is too large");
        }
    }
}

impl Handler<Recall> for FallbackActor {
    type Result = Option<Hit>;

    fn handle(&mut self, recall: Recall, _: &mut Context<Self>) -> Option<Hit> {
        let call = &recall.call;
        self.inc.begin("recall", Some(call.id));
        let now = self.parts.clock.now();
        let hit = self.inc.commit(
            |cache| {
                let key = cache.key_of(call)?;
                cache.get(now, &key)
            },
            |cache, hit| {
                cache.apply_get(hit.as_ref());
                hit
            },
        );
        // Fenced: a miss, and the chain goes on.
        hit.ok().flatten()
    }
}

impl std::fmt::Debug for FallbackActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FallbackActor({})", self.parts.vendor)
    }
}

#[cfg(test)]
mod tests;
