//! The thin shell: reads the clock, asks the rules, shows what they say.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler};

use super::{
    judge::Moment,
    message::LettersFound,
    report::{Callbacks, HealthSnapshot, Status},
    state::{Health, StatusChange},
};
use crate::{
    clock::Clock,
    fact::Event,
    ids::VendorId,
    kernel::{Hop, Incarnation, Published, Resident},
};

/// How often the snapshot is written anew while time alone can change it.
pub const REFRESH: Duration = Duration::from_secs(10);

/// Where what a vendor took on and owes is looked up. It must not wait.
pub type CallbackBook = Arc<dyn Fn(&VendorId) -> Callbacks + Send + Sync>;

/// What a health actor works with.
#[derive(Clone)]
pub struct HealthParts {
    /// The time.
    pub clock: Clock,
    /// What each vendor owes.
    pub callbacks: CallbackBook,
    /// Where it shows what it knows.
    pub shown: Published<HealthSnapshot>,
}

/// Reads facts and shows how each vendor is doing. It refuses nothing and asks nobody.
///
/// It must be sent every fact that is stated, or it will believe that it missed some.
pub struct HealthActor {
    inc: Incarnation<Self>,
    parts: HealthParts,
    due: Option<Instant>,
}

impl HealthActor {
    /// An incarnation. It shows what it has at once, so that a snapshot is there before the first fact.
    pub fn new(inc: Incarnation<Self>, parts: HealthParts) -> Self {
        let due = Some(parts.clock.now());
        Self { inc, parts, due }
    }

    fn commit<D>(&mut self, decide: impl FnOnce(&Health) -> D, apply: impl FnOnce(&mut Health, Instant, D)) {
        let now = self.parts.clock.now();
        if self.inc.commit(decide, |health, decision| apply(health, now, decision)).is_ok() {
            self.due.get_or_insert(now + REFRESH);
        }
    }
}

impl Actor for HealthActor {
    type Context = Context<Self>;
}

impl Resident for HealthActor {
    type State = Health;
    type Report = ();

    fn on_report(&mut self, _: &(), _: &mut Context<Self>) {}

    fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("refresh", None);
        let now = self.parts.clock.now();
        // The snapshot itself is written by `publish`, which follows.
        let callbacks = &*self.parts.callbacks;
        self.due = self.inc.read(|health| health.moves(now, callbacks)).then(|| now + REFRESH);
    }

    fn publish(&mut self) {
        let moment = Moment { now: self.parts.clock.now(), at: self.parts.clock.wall() };
        let callbacks = self.parts.callbacks.clone();
        let shown = self.inc.commit(
            |health| health.decide_snapshot(moment, &*callbacks),
            |health, snapshot| {
                let changes = health.apply_shown(&snapshot);
                (snapshot, changes)
            },
        );
        let Ok((snapshot, changes)) = shown else { return };
        self.parts.shown.set(snapshot);
        changes.iter().for_each(log);
    }
}

impl Handler<Hop<Event>> for HealthActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<Event>, _: &mut Context<Self>) {
        self.inc.begin("fact", None);
        self.commit(|health| health.decide_fact(&hop.body), Health::apply_fact);
    }
}

impl Handler<Hop<LettersFound>> for HealthActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<LettersFound>, _: &mut Context<Self>) {
        self.inc.begin("letters", None);
        let LettersFound { vendor, letters } = hop.body;
        self.commit(|_| (), |health, _, ()| health.apply_letters(&vendor, letters));
    }
}

fn log(change: &StatusChange) {
    let StatusChange { vendor, from, to, why } = change;
    let (from, to) = (from.as_str(), to.as_str());
    if matches!(change.to, Status::Degraded | Status::Unhealthy) {
        tracing::warn!(target: "mainstay::health", %vendor, from, to, why, "vendor {vendor} is {to}: {why}");
    } else {
        tracing::info!(target: "mainstay::health", %vendor, from, to, "vendor {vendor} is {to}");
    }
}

#[cfg(test)]
mod tests;
