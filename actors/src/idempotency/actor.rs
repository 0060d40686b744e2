//! The table of keys as an actor.

use std::time::Instant;

use actix::{Actor, Context, Handler};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::{
    Answered, Asked, Claim, ClaimGrant, Claimed, Decision, End, KeyReport, KeySnapshot, Keys, Response, Told, Waiter,
};
use crate::{
    clock::Clock,
    ids::VendorId,
    kernel::{Fenced, Incarnation, Published, Resident},
};

type Caller<V> = oneshot::Sender<Answered<V>>;

impl<V> Waiter for Caller<V> {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

/// What every incarnation is made of.
#[derive(Debug, Clone)]
pub struct KeyParts {
    /// Whose keys.
    pub vendor: VendorId,
    /// The clocks.
    pub clock: Clock,
    /// Where the figures are shown; begin it with [`KeySnapshot::empty`].
    pub shown: Published<KeySnapshot>,
}

/// Guards one vendor's keys. `V` is the stored answer, cheap to clone (an `Arc`).
pub struct IdempotencyActor<V: Clone + Send + Sync + 'static> {
    inc: Incarnation<Self>,
    parts: KeyParts,
}

impl<V: Clone + Send + Sync + 'static> IdempotencyActor<V> {
    /// One incarnation.
    pub fn new(inc: Incarnation<Self>, parts: KeyParts) -> Self {
        Self { inc, parts }
    }

    fn claim(&self, asked: Asked, now: Instant) -> Result<Claimed<V>, Fenced> {
        let (decision, joined) = self.inc.commit(
            |keys| keys.decide_claim(&asked, now),
            |keys, decision| {
                keys.apply_claim(&asked, &decision, now);
                let joined = matches!(decision, Decision::Join).then(oneshot::channel).map(|(caller, answer)| {
                    keys.join(&asked.key, caller);
                    answer
                });
                (decision, joined)
            },
        )?;
        self.log(&asked, &decision);
        Ok(match (decision, joined) {
            (Decision::Mine(claim), _) => Claimed::Mine(ClaimGrant::new(asked.key, claim, &self.inc)),
            (Decision::Stored { call, answer }, _) => Claimed::Stored { call, answer },
            (Decision::Unknown { call }, _) => Claimed::Unknown { call },
            (Decision::Full { what, held, limit }, _) => Claimed::Full { what, held, limit },
            (Decision::Conflict, _) => Claimed::Conflict,
            (Decision::Join, Some(answer)) => Claimed::Joined(answer),
            // Cannot be; an answer that never comes makes the caller claim again.
            (Decision::Join, None) => Claimed::Joined(oneshot::channel().1),
        })
    }

    fn log(&self, asked: &Asked, decision: &Decision<V>) {
        let (vendor, call) = (self.parts.vendor.as_str(), asked.call);
        match decision {
            Decision::Conflict => {
                warn!(target: "mainstay::idempotency", vendor, %call, "{vendor}: the key of this call stands for another payload");
            }
            Decision::Full { what, held, limit } => {
                warn!(target: "mainstay::idempotency", vendor, %call, what, held, limit, "{vendor}: no room for this claim");
            }
            Decision::Stored { call: first, .. } => {
                debug!(target: "mainstay::idempotency", vendor, %call, %first, "{vendor}: a repeat gets the stored answer");
            }
            Decision::Join => {
                debug!(target: "mainstay::idempotency", vendor, %call, "{vendor}: a repeat waits for the call in flight");
            }
            Decision::Unknown { call: first } => {
                debug!(target: "mainstay::idempotency", vendor, %call, %first, "{vendor}: the effect of this key is unknown");
            }
            Decision::Mine(_) => {}
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Actor for IdempotencyActor<V> {
    type Context = Context<Self>;
}

impl<V: Clone + Send + Sync + 'static> Resident for IdempotencyActor<V> {
    type State = Keys<V, Caller<V>>;
    type Report = KeyReport<V>;

    fn on_report(&mut self, report: &KeyReport<V>, _: &mut Context<Self>) {
        self.inc.begin("claim_ended", None);
        let now = self.parts.clock.now();
        let unknown = matches!(report, KeyReport::Ended { end: End::Unknown, .. });
        let told = self.inc.commit(
            |keys| keys.decide_report(report).then(|| report.clone()),
            |keys, report| report.and_then(|report| keys.apply_report(report, now)),
        );
        let Ok(Some(Told { joined, answer })) = told else { return };
        if unknown {
            let vendor = self.parts.vendor.as_str();
            warn!(target: "mainstay::idempotency", vendor, "{vendor}: an effect is unknown, its key is blocked until somebody finds out");
        }
        for caller in joined {
            // One that went away needs no answer.
            let _ = caller.send(answer.clone());
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inc.read(Keys::next_expiry)
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("expire", None);
        let now = self.parts.clock.now();
        // Fenced: the successor has the same deadline.
        let _ = self.inc.commit(|_| (), |keys, ()| keys.expire(now));
    }

    fn publish(&mut self) {
        let vendor = self.parts.vendor.clone();
        self.parts.shown.set(self.inc.read(|keys| keys.snapshot(vendor)));
    }
}

impl<V: Clone + Send + Sync + 'static> Handler<Claim<V>> for IdempotencyActor<V> {
    type Result = Response<V>;

    fn handle(&mut self, claim: Claim<V>, _: &mut Context<Self>) -> Response<V> {
        self.inc.begin("claim", Some(claim.asked.call));
        let now = self.parts.clock.now();
        Response(self.claim(claim.asked, now).ok())
    }
}

impl<V: Clone + Send + Sync + 'static> std::fmt::Debug for IdempotencyActor<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdempotencyActor({})", self.parts.vendor)
    }
}

#[cfg(test)]
mod tests;
