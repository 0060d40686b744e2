//! The dead letter queue as an actor. It decides on its index; the store's answers come back as reports, so that a crash
//! between a write and its entry loses nothing.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Context};
use tokio::sync::Notify;

use super::{
    Dlq, DlqConfig, DlqSnapshot, Entry, Finish, Kind, LetterConfig, LetterState, disk,
    index::{Change, Meant},
    state_after,
    writes::Writes,
};
use crate::{
    clock::{Clock, Rng},
    fact::{Fact, FactSink},
    ids::VendorId,
    kernel::{Incarnation, Published, Resident},
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
    /// How often each vendor's letters are tried.
    pub letters: Arc<BTreeMap<VendorId, LetterConfig>>,
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
        Ok(Dlq::new(config, next, entries))
    }

    pub(super) fn lease(&self) -> Instant {
        self.parts.clock.now() + self.parts.config.lease
    }

    /// States once what a change meant.
    fn say(&self, meant: Meant) {
        let vendor = match meant {
            Meant::Nothing => return,
            Meant::Parked(entry) | Meant::Delivered(entry) | Meant::Purged(entry)
                if entry.state.kind == Kind::Accepted =>
            {
                return;
            }
            Meant::Parked(entry) => {
                self.say_parked(&entry);
                entry.vendor
            }
            Meant::Changed { was, entry, given_up } => {
                if was == Kind::Accepted {
                    self.say_parked(&entry);
                }
                if given_up {
                    self.say_given_up(&entry);
                }
                entry.vendor
            }
            Meant::Delivered(Entry { vendor, call, id: letter, .. }) => {
                self.parts.facts.state(Fact::Reprocessed { vendor: vendor.clone(), call, letter });
                vendor
            }
            Meant::Purged(Entry { vendor, call, id: letter, .. }) => {
                self.parts.facts.state(Fact::Purged { vendor: vendor.clone(), call, letter });
                vendor
            }
        };
        let letters = self.inc.read(|index| index.counts(&vendor));
        self.parts.facts.state(Fact::LettersCounted { vendor, letters });
    }

    fn say_parked(&self, entry: &Entry) {
        let (vendor, state) = (&entry.vendor, &entry.state);
        let total = self.inc.read(|index| index.count(vendor, state.kind));
        let (class, call, letter) = (state.error.class, entry.call, entry.id);
        if state.kind == Kind::Dead {
            self.parts.facts.state(Fact::DeadLettered { vendor: vendor.clone(), call, letter, class, total });
        }
    }

    fn say_given_up(&self, Entry { id: letter, vendor, call, state, .. }: &Entry) {
        let (class, attempts) = (state.error.class, state.attempts);
        let (vendor, call, letter) = (vendor.clone(), *call, *letter);
        self.parts.facts.state(Fact::GivenUp { vendor, call, letter, class, attempts });
    }

    /// The state of a letter after an end; `None` when it is done. A vendor that is not configured any more has no limits of
    /// its own.
    pub(super) fn after(&self, old: &Entry, finish: &Finish) -> Option<LetterState> {
        let (now, spread) = (self.parts.clock.wall(), self.parts.rng.unit());
        let usual = LetterConfig::default();
        let config = self.parts.letters.get(&old.vendor).unwrap_or(&usual);
        let state = if finish.replayed { old.state.replayed() } else { old.state.clone() };
        state_after(config, &state, &finish.end, finish.requests, now, spread)
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
