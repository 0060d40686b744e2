//! The table of keys as an actor.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use actix::{Actor, Context, Handler};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::{
    Answered, Asked, Claim, ClaimGrant, Claimed, Decision, End, FoundKey, IdempotencyConfig, Keep, KeyReport,
    KeySnapshot, Keys, Mine, Response, Told, Waiter,
    disk::{Disk, Owner},
    grant::Held,
};
use crate::{
    clock::Clock,
    ids::{OperationId, VendorId},
    kernel::{Fenced, Incarnation, Published, Resident},
    profile::Repeat,
    store::Store,
};

type Caller<V> = oneshot::Sender<Answered<V>>;

impl<V> Waiter for Caller<V> {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

/// What every incarnation is made of.
#[derive(Clone)]
pub struct KeyParts {
    /// Whose keys.
    pub vendor: VendorId,
    /// Where they are remembered.
    pub store: Arc<dyn Store>,
    /// The clocks.
    pub clock: Clock,
    /// Where the figures are shown; begin it with [`KeySnapshot::empty`].
    pub shown: Published<KeySnapshot>,
}

fn disk_of(parts: &KeyParts) -> Disk {
    Disk { vendor: parts.vendor.clone(), store: parts.store.clone(), clock: parts.clock.clone() }
}

/// Guards one vendor's keys. `V` is the stored answer, cheap to clone.
pub struct IdempotencyActor<V: Keep> {
    inc: Incarnation<Self>,
    parts: KeyParts,
    disk: Disk,
}

impl<V: Keep> IdempotencyActor<V> {
    /// One incarnation.
    pub fn new(inc: Incarnation<Self>, parts: KeyParts) -> Self {
        let disk = disk_of(&parts);
        Self { inc, parts, disk }
    }

    /// The table as an earlier process left it, before the actor starts.
    pub fn table(config: IdempotencyConfig, found: Vec<FoundKey>, parts: &KeyParts) -> Keys<V, Caller<V>> {
        let keep = config.keep;
        let mut keys = Keys::new(config);
        let forgotten = keys.take_in(found.into_iter().map(|found| found.left(keep, &parts.clock)).collect());
        disk_of(parts).forget(forgotten);
        keys
    }

    fn claim(&self, claim: Claim<V>, now: Instant) -> Result<Claimed<V>, Fenced> {
        let Claim { asked, operation, repeat, .. } = claim;
        let (decision, joined) = self.inc.commit(
            |keys| keys.decide_claim(&asked, now),
            |keys, decision| {
                self.disk.forget(keys.apply_claim(&asked, &decision, now));
                let joined = matches!(decision, Decision::Join).then(oneshot::channel).map(|(caller, answer)| {
                    keys.join(&asked.key, caller);
                    answer
                });
                (decision, joined)
            },
        )?;
        self.log(&asked, &decision);
        Ok(match (decision, joined) {
            (Decision::Mine(mine), _) => Claimed::Mine(self.grant(asked, mine, operation, repeat)),
            (Decision::Stored { call, answer }, _) => Claimed::Stored { call, answer },
            (Decision::Unknown { call }, _) => Claimed::Unknown { call },
            (Decision::Full { what, held, limit }, _) => Claimed::Full { what, held, limit },
            (Decision::Conflict, _) => Claimed::Conflict,
            (Decision::Join, Some(answer)) => Claimed::Joined(answer),
            // Cannot be; an answer that never comes makes the caller claim again.
            (Decision::Join, None) => Claimed::Joined(oneshot::channel().1),
        })
    }

    fn grant(&self, asked: Asked, mine: Mine, operation: OperationId, repeat: Repeat) -> ClaimGrant<V> {
        let held = Held {
            disk: self.disk.clone(),
            key: asked.key,
            owner: Owner { call: asked.call, fingerprint: asked.fingerprint },
            since: mine.since,
            operation,
            repeat,
            reports: self.inc.reports().clone(),
            may_be_on_disk: AtomicBool::new(mine.again),
            written: AtomicBool::new(false),
        };
        ClaimGrant::new(held, mine)
    }

    /// What was found out of a key changes what is on disk, in the order in which it changes the table.
    fn write_down(&self, keys: &Keys<V, Caller<V>>, report: &KeyReport<V>) {
        let KeyReport::Resolved { key, call, end } = report else { return };
        let set = match (end, keys.fingerprint_of(key)) {
            (End::Done(answer), Some(fingerprint)) => {
                self.disk.done(key, Owner { call: *call, fingerprint }, answer).unwrap_or_default()
            }
            (End::Free | End::Parked(_), _) => self.disk.freed(key),
            (End::Done(_), None) | (End::Unknown, _) => return,
        };
        drop(self.disk.store.commit(set)); // queued when asked for; the store says when it fails
    }

    fn apply(&self, report: &KeyReport<V>) {
        let now = self.parts.clock.now();
        let unknown = matches!(report, KeyReport::Ended { end: End::Unknown, .. });
        let told = self.inc.commit(
            |keys| keys.decide_report(report).then(|| report.clone()),
            |keys, report| {
                let report = report?;
                self.write_down(keys, &report);
                let mut told = keys.apply_report(report, now)?;
                self.disk.forget(std::mem::take(&mut told.forgotten));
                Some(told)
            },
        );
        let Ok(Some(Told { joined, answer, .. })) = told else { return };
        if unknown {
            let vendor = self.parts.vendor.as_str();
            warn!(target: "mainstay::idempotency", vendor, "{vendor}: an effect is unknown, its key is blocked until somebody finds out");
        }
        for caller in joined {
            // One that went away needs no answer.
            let _ = caller.send(answer.clone());
        }
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

impl<V: Keep> Actor for IdempotencyActor<V> {
    type Context = Context<Self>;
}

impl<V: Keep> Resident for IdempotencyActor<V> {
    type State = Keys<V, Caller<V>>;
    type Report = KeyReport<V>;

    fn on_report(&mut self, report: &KeyReport<V>, _: &mut Context<Self>) {
        self.inc.begin("claim_ended", None);
        self.apply(report);
    }

    /// A key must not stay in flight because the report of its end crashed the table: whoever has it would wait for ever.
    fn on_set_aside(&mut self, report: &KeyReport<V>) {
        self.apply(report);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inc.read(Keys::next_expiry)
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("expire", None);
        let now = self.parts.clock.now();
        // Fenced: the successor has the same deadline.
        let _ = self.inc.commit(|_| (), |keys, ()| self.disk.forget(keys.expire(now)));
    }

    fn publish(&mut self) {
        let vendor = self.parts.vendor.clone();
        self.parts.shown.set(self.inc.read(|keys| keys.snapshot(vendor)));
    }
}

impl<V: Keep> Handler<Claim<V>> for IdempotencyActor<V> {
    type Result = Response<V>;

    fn handle(&mut self, claim: Claim<V>, _: &mut Context<Self>) -> Response<V> {
        self.inc.begin("claim", Some(claim.asked.call));
        let now = self.parts.clock.now();
        Response(self.claim(claim, now).ok())
    }
}

impl<V: Keep> fmt::Debug for IdempotencyActor<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyActor({})", self.parts.vendor)
    }
}

#[cfg(test)]
mod tests;
