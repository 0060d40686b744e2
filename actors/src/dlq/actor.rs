//! The dead letter queue as an actor. It decides on its index; the store's answers come back as reports, so that a crash
//! between a write and its entry loses nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Context};
use tokio::sync::Notify;

use super::{
    Dlq, DlqConfig, DlqSnapshot, Entry, Kind, LetterState, disk, due_after,
    index::{Change, Meant},
    message::Ended,
    writes::Writes,
};
use crate::{
    clock::{Clock, Rng},
    fact::{Fact, FactSink},
    ids::VendorId,
    kernel::{Incarnation, Published, Resident},
    outcome::{Class, cut},
    store::{Store, StoreError},
};

/// Letters read for one page, at most.
pub const PAGE_MAX: usize = 256;

/// What every incarnation works with.
#[derive(Clone)]
pub struct DlqParts {
    /// Where letters are written.
    pub store: Arc<dyn Store>,
    /// The limits.
    pub config: DlqConfig,
    /// Where facts are stated.
    pub facts: Arc<dyn FactSink>,
    /// Both clocks.
    pub clock: Clock,
    /// For the spread of pauses.
    pub rng: Rng,
    /// What others see; first shown by whoever makes it.
    pub shown: Published<DlqSnapshot>,
    /// Rung when something is due.
    pub wake: Arc<Notify>,
}

/// Keeps the parked calls.
pub struct DlqActor {
    pub(super) inc: Incarnation<Self>,
    pub(super) parts: DlqParts,
    pub(super) writes: Writes,
    /// When the redrive was last told that something is due.
    reminded: Option<Instant>,
}

impl DlqActor {
    /// One incarnation.
    pub fn new(inc: Incarnation<Self>, parts: DlqParts) -> Self {
        let writes = Writes::new(parts.store.clone(), inc.reports().clone());
        Self { inc, parts, writes, reminded: None }
    }

    /// Reads the index from the store, before the actor starts.
    ///
    /// # Errors
    ///
    /// The store does not answer, or fewer letters are there than were written.
    pub async fn load(store: &dyn Store, config: &DlqConfig) -> Result<Dlq, StoreError> {
        let (next, entries) = disk::load(store).await?;
        Ok(Dlq::new(config.letters_max, next, entries))
    }

    pub(super) fn lease(&self) -> Instant {
        self.parts.clock.now() + self.parts.config.lease
    }

    /// Says once what a change meant.
    fn say(&self, meant: Meant) {
        match meant {
            Meant::Nothing => {}
            Meant::Parked(entry) => self.say_parked(&entry),
            Meant::Changed { entry, given_up } => {
                if given_up {
                    self.say_given_up(&entry);
                }
                self.say_how_many_are_left(&entry.vendor);
            }
            Meant::Delivered(Entry { vendor, call, id, .. }) => {
                tracing::info!(target: "mainstay::dlq", %vendor, %call, letter = %id, "a parked call to {vendor} was done");
                self.parts.facts.state(Fact::Reprocessed { vendor: vendor.clone(), call });
                self.say_how_many_are_left(&vendor);
            }
            Meant::Purged(Entry { vendor, call, id, .. }) => {
                tracing::warn!(target: "mainstay::dlq", %vendor, %call, letter = %id, "a parked call to {vendor} was purged");
                self.say_how_many_are_left(&vendor);
            }
        }
    }

    fn say_how_many_are_left(&self, vendor: &VendorId) {
        let total = self.inc.read(|index| index.count(vendor, Kind::Dead));
        self.parts.facts.state(Fact::DeadLettersLeft { vendor: vendor.clone(), total });
    }

    fn say_parked(&self, entry: &Entry) {
        let (vendor, state) = (&entry.vendor, &entry.state);
        let total = self.inc.read(|index| index.count(vendor, state.kind));
        let (kind, class, call) = (state.kind.as_str(), state.class, entry.call);
        tracing::warn!(target: "mainstay::dlq", %vendor, %call, letter = %entry.id, kind, %class, total, "a call to {vendor} was parked");
        if state.kind == Kind::Dead {
            self.parts.facts.state(Fact::DeadLettered { vendor: vendor.clone(), call, class, total });
        }
    }

    fn say_given_up(&self, Entry { vendor, call, state, .. }: &Entry) {
        let (class, attempts) = (state.class, state.attempts);
        tracing::error!(target: "mainstay::dlq", %vendor, %call, %class, attempts, "a parked call to {vendor} is given up: it is not tried by itself any more");
        self.parts.facts.state(Fact::GivenUp { vendor: vendor.clone(), call: *call, attempts });
    }

    /// The state of a letter after an end.
    pub(super) fn after(&self, old: &LetterState, end: &Ended) -> LetterState {
        let now = self.parts.clock.wall();
        let next = |kind, class: &Class, detail: &str, attempts, due| LetterState {
            kind,
            class: *class,
            detail: cut(detail.to_owned()),
            attempts,
            due,
            updated_at: now,
        };
        match end {
            // Not asked: a delivered letter has no state any more.
            Ended::Delivered => old.clone(),
            Ended::GivenUp { class, detail } => next(old.kind, class, detail, old.attempts.max(1), None),
            Ended::Became { kind, class, detail } => next(*kind, class, detail, 0, None),
            Ended::Again { not_before, class, detail, counts_as_attempt } => {
                let attempts = old.attempts + u32::from(*counts_as_attempt);
                if attempts >= self.parts.config.attempts_max {
                    return next(old.kind, class, detail, attempts, None);
                }
                let failed = if *counts_as_attempt { attempts } else { 0 };
                let due = due_after(&self.parts.config, failed, now, *not_before, self.parts.rng.unit());
                next(old.kind, class, detail, attempts, Some(due))
            }
        }
    }
}

impl Actor for DlqActor {
    type Context = Context<Self>;
}

impl Resident for DlqActor {
    type State = Dlq;
    type Report = Change;

    fn on_report(&mut self, change: &Change, _: &mut Context<Self>) {
        self.inc.begin("written", None);
        let Ok(meant) = self.inc.commit(|_| change.clone(), Dlq::apply) else { return };
        self.say(meant);
    }

    /// What is on disk must be seen here, even if nothing can be said of it.
    fn on_set_aside(&mut self, change: &Change) {
        let _ = self.inc.commit(|_| change.clone(), Dlq::apply);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let due = self.inc.read(|index| index.next_due(self.parts.clock.now()))?;
        let again = self.reminded.map(|last| last + REMIND);
        Some(again.into_iter().fold(self.parts.clock.instant_of(due), Instant::max))
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("due", None);
        self.reminded = Some(self.parts.clock.now());
        self.parts.wake.notify_one();
    }

    fn publish(&mut self) {
        let now = self.parts.clock.now();
        self.parts.shown.set(self.inc.read(|index| index.snapshot(now)));
    }
}

/// How often a redrive that does not come is reminded of what is due.
const REMIND: Duration = Duration::from_millis(100);
