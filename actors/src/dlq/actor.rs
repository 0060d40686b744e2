//! The dead letter queue as an actor. It decides on its index; the store's answers come back as reports, so that a crash
//! between a write and its entry loses nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler, ResponseFuture};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    Dlq, DlqConfig, DlqSnapshot, Entry, Kind, LetterState, disk, due_after,
    index::{Change, Meant},
    message::{DlqError, Ended, Finish, List, Page, Park, Parked, Purge, Replay, TakeDue},
    writes::Writes,
};
use crate::{
    clock::{Clock, Rng},
    fact::{Fact, FactSink},
    ids::VendorId,
    kernel::{Incarnation, Published, Reports, Resident},
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
    inc: Incarnation<Self>,
    parts: DlqParts,
    writes: Writes,
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

    fn lease(&self) -> Instant {
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
    fn after(&self, old: &LetterState, end: &Ended) -> LetterState {
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

/// Letters that a replay writes at a time.
const REPLAY_GROUP: usize = 64;

impl Handler<Park> for DlqActor {
    type Result = ResponseFuture<Result<Parked, DlqError>>;

    fn handle(&mut self, Park { letter, state }: Park, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("park", Some(letter.call));
        let (id, kind) = (letter.id, state.kind);
        let placed = self.inc.commit(
            |index| index.decide_park(id),
            |index, place| {
                if let Ok(Some(seq)) = place {
                    index.apply_park(seq, id);
                }
                place
            },
        );
        let total = self.inc.read(|index| index.count(&letter.vendor, kind));
        let limit = self.parts.config.letters_max;
        let seq = match placed {
            Err(_) => return Box::pin(async { Err(DlqError::Restarting) }),
            Ok(Err(held)) => return Box::pin(async move { Err(DlqError::Full { held, limit }) }),
            Ok(Ok(None)) => return Box::pin(async move { Ok(Parked { id, total }) }),
            Ok(Ok(Some(seq))) => seq,
        };
        let (call, vendor, parked_at) = (letter.call, letter.vendor.clone(), letter.parked_at);
        let entry = Entry { id, call, vendor, parked_at, state };
        let set = match disk::park(seq, &letter, &entry) {
            Ok(set) => set,
            Err(error) => {
                let _ = self.inc.commit(|_| (), |index, ()| index.apply_not_parked(seq));
                return Box::pin(async { Err(error) });
            }
        };
        let change = Change::Put { seq, entry: Box::new(entry) };
        let written = self.writes.commit(set, vec![change]);
        let wake = self.parts.wake.clone();
        Box::pin(async move {
            match written.await {
                Ok(()) => wake.notify_one(),
                // It was written before, by an asker that never heard of it.
                Err(StoreError::Precondition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(Parked { id, total: total + 1 })
        })
    }
}

impl Handler<TakeDue> for DlqActor {
    type Result = ResponseFuture<Result<Vec<super::ParkedLetter>, DlqError>>;

    fn handle(&mut self, TakeDue { now, max }: TakeDue, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("take_due", None);
        let (clock, lease) = (self.parts.clock.now(), self.lease());
        let taken = self.inc.commit(
            |index| index.decide_take(now, clock, max.min(PAGE_MAX)),
            |index, seqs| {
                index.apply_out(&seqs, lease);
                seqs.into_iter().filter_map(|seq| Some((seq, index.entry(seq)?.clone()))).collect::<Vec<_>>()
            },
        );
        let Ok(taken) = taken else { return Box::pin(async { Err(DlqError::Restarting) }) };
        let (store, reports) = (self.parts.store.clone(), self.inc.reports().clone());
        Box::pin(async move {
            let seqs: Vec<u64> = taken.iter().map(|(seq, _)| *seq).collect();
            match disk::read_all(&store, taken).await {
                Ok((letters, strange)) => {
                    for (seq, entry, error) in strange {
                        set_aside(seq, entry, &error, now, &reports);
                    }
                    Ok(letters)
                }
                Err(error) => {
                    seqs.into_iter().for_each(|seq| reports.push(Change::Back { seq }));
                    Err(error)
                }
            }
        })
    }
}

/// A letter that cannot be read is not tried again by itself; its bytes stay on disk.
fn set_aside(seq: u64, mut entry: Entry, error: &super::RecordError, now: Timestamp, reports: &Reports<Change>) {
    tracing::error!(target: "mainstay::dlq", seq, letter = %entry.id, %error, "a parked call cannot be read; it is left on disk");
    entry.state = LetterState { due: None, class: Class::Malformed, updated_at: now, ..entry.state };
    entry.state.detail = cut(error.to_string());
    reports.push(Change::Put { seq, entry: Box::new(entry) });
}

impl Handler<Finish> for DlqActor {
    type Result = ResponseFuture<Result<(), DlqError>>;

    fn handle(&mut self, Finish { id, end }: Finish, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("finish", None);
        let lease = self.lease();
        let found = self.inc.commit(
            |index| index.find(id).map(|(seq, entry)| (seq, entry.clone())),
            |index, found| {
                if let Some((seq, _)) = &found {
                    index.apply_out(&[*seq], lease);
                }
                found
            },
        );
        let (seq, entry) = match found {
            Err(_) => return Box::pin(async { Err(DlqError::Restarting) }),
            // Finished before, by an asker that never heard of it.
            Ok(None) => return Box::pin(async { Ok(()) }),
            Ok(Some(found)) => found,
        };
        if end == Ended::Delivered {
            let writes = self.writes.clone();
            return Box::pin(async move { there_or_gone(remove(&writes, seq, entry, true).await) });
        }
        let state = self.after(&entry.state, &end);
        let changed = Entry { state, ..entry.clone() };
        let set = match disk::change([(seq, &entry, &changed)]) {
            Ok(set) => set,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let change = Change::Put { seq, entry: Box::new(changed) };
        let written = self.writes.commit(set, vec![change]);
        let wake = self.parts.wake.clone();
        Box::pin(async move {
            there_or_gone(written.await)?;
            wake.notify_one();
            Ok(())
        })
    }
}

/// A letter that another end removed meanwhile is no error.
fn there_or_gone(end: Result<(), StoreError>) -> Result<(), DlqError> {
    match end {
        Ok(()) | Err(StoreError::Precondition { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a letter from disk.
async fn remove(writes: &Writes, seq: u64, entry: Entry, delivered: bool) -> Result<(), StoreError> {
    let parts = match disk::parts(&*writes.store, seq).await {
        Ok(parts) => parts,
        Err(error) => {
            writes.back(seq);
            return Err(error);
        }
    };
    let set = disk::remove(seq, &entry, parts);
    writes.commit(set, vec![Change::Removed { seq, delivered }]).await
}

impl Handler<Replay> for DlqActor {
    type Result = ResponseFuture<Result<u64, DlqError>>;

    fn handle(&mut self, Replay { filter, max }: Replay, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("replay", None);
        let (clock, now, lease) = (self.parts.clock.now(), self.parts.clock.wall(), self.lease());
        let chosen = self.inc.commit(
            |index| index.select(&filter, None, max, clock, false),
            |index, seqs| {
                index.apply_out(&seqs, lease);
                seqs.into_iter().filter_map(|seq| Some((seq, index.entry(seq)?.clone()))).collect::<Vec<_>>()
            },
        );
        let Ok(chosen) = chosen else { return Box::pin(async { Err(DlqError::Restarting) }) };
        let (writes, wake) = (self.writes.clone(), self.parts.wake.clone());
        Box::pin(async move {
            let number = chosen.len() as u64;
            let mut failed = None;
            for group in chosen.chunks(REPLAY_GROUP) {
                let again = |entry: &Entry| {
                    let state = LetterState { due: Some(now), attempts: 0, updated_at: now, ..entry.state.clone() };
                    Entry { state, ..entry.clone() }
                };
                let changed: Vec<_> = group.iter().map(|(seq, entry)| (*seq, entry, again(entry))).collect();
                let set = disk::change(changed.iter().map(|(seq, old, new)| (*seq, *old, new)))?;
                let changes =
                    changed.into_iter().map(|(seq, _, new)| Change::Put { seq, entry: Box::new(new) }).collect();
                failed = writes.commit(set, changes).await.err().or(failed);
            }
            wake.notify_one();
            failed.map_or(Ok(number), |error| Err(error.into()))
        })
    }
}

impl Handler<List> for DlqActor {
    type Result = ResponseFuture<Result<Page, DlqError>>;

    fn handle(&mut self, List { filter, after, max }: List, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("list", None);
        let max = max.clamp(1, PAGE_MAX);
        let clock = self.parts.clock.now();
        let wanted: Vec<(u64, Entry)> = self.inc.read(|index| {
            let seqs = index.select(&filter, after, max, clock, true);
            seqs.into_iter().filter_map(|seq| Some((seq, index.entry(seq)?.clone()))).collect()
        });
        let store = self.parts.store.clone();
        Box::pin(async move {
            let next = (wanted.len() == max).then(|| wanted.last().map(|(seq, _)| *seq)).flatten();
            let (letters, strange) = disk::read_all(&store, wanted).await?;
            for (seq, _, error) in strange {
                tracing::error!(target: "mainstay::dlq", seq, %error, "a parked call cannot be read; it is left out of the list");
            }
            Ok(Page { letters, next })
        })
    }
}

impl Handler<Purge> for DlqActor {
    type Result = ResponseFuture<Result<u64, DlqError>>;

    fn handle(&mut self, Purge { ids }: Purge, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("purge", None);
        let (clock, lease) = (self.parts.clock.now(), self.lease());
        let filter = super::Filter::ids(ids);
        if filter.ids.is_empty() {
            return Box::pin(async { Ok(0) });
        }
        let chosen = self.inc.commit(
            |index| index.select(&filter, None, usize::MAX, clock, false),
            |index, seqs| {
                index.apply_out(&seqs, lease);
                seqs.into_iter().filter_map(|seq| Some((seq, index.entry(seq)?.clone()))).collect::<Vec<_>>()
            },
        );
        let Ok(chosen) = chosen else { return Box::pin(async { Err(DlqError::Restarting) }) };
        let writes = self.writes.clone();
        Box::pin(async move {
            let (number, mut failed) = (chosen.len() as u64, None);
            // One that cannot be removed does not keep the others out until their lease ends.
            for (seq, entry) in chosen {
                failed = remove(&writes, seq, entry, false).await.err().or(failed);
            }
            failed.map_or(Ok(number), |error| Err(error.into()))
        })
    }
}
