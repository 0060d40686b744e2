//! What the dead letter queue does with each question.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Context, Handler, ResponseFuture};
use jiff::Timestamp;

use super::{
    Entry, Failure, Kind, LetterState, ParkedLetter,
    actor::{DlqActor, PAGE_MAX},
    disk,
    index::Change,
    message::{DlqError, Finish, List, Page, Park, Parked, Purge, Purged, Replay, TakeDue},
    writes::Writes,
};
use crate::{
    kernel::Reports,
    outcome::Class,
    store::{Store, StoreError},
};

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
    type Result = ResponseFuture<Result<Vec<ParkedLetter>, DlqError>>;

    fn handle(&mut self, TakeDue { now, max, but }: TakeDue, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("take_due", None);
        let (clock, lease) = (self.parts.clock.now(), self.lease());
        let taken = self.inc.commit(
            |index| index.decide_take(now, clock, max.min(PAGE_MAX), &but),
            |index, seqs| {
                index.apply_out(&seqs, lease);
                seqs.into_iter().filter_map(|seq| Some((seq, index.entry(seq)?.clone()))).collect::<Vec<_>>()
            },
        );
        let Ok(taken) = taken else { return Box::pin(async { Err(DlqError::Restarting) }) };
        let (store, reports) = (self.parts.store.clone(), self.inc.reports().clone());
        Box::pin(async move {
            let entries: BTreeMap<u64, Entry> = taken.iter().cloned().collect();
            let letters = async {
                let (letters, strange) = disk::read_all(&store, taken).await?;
                mark_taken(&store, &letters, &entries, now).await?;
                Ok((letters, strange))
            };
            match letters.await {
                Ok((letters, strange)) => {
                    for (seq, entry, error) in strange {
                        set_aside(seq, entry, &error, now, &reports);
                    }
                    Ok(letters)
                }
                Err(error) => {
                    entries.into_keys().for_each(|seq| reports.push(Change::Back { seq }));
                    Err(error)
                }
            }
        })
    }
}

/// On disk, a letter that is taken is unknown until it is finished: a process that dies in between must not send it again.
/// In memory it stays what it was.
async fn mark_taken(
    store: &Arc<dyn Store>,
    letters: &[ParkedLetter],
    entries: &BTreeMap<u64, Entry>,
    now: Timestamp,
) -> Result<(), DlqError> {
    let taken = |entry: &Entry| {
        let detail = "it was being done again when the process ended: it may have happened";
        let error = Failure { detail: detail.into(), ..entry.state.error.clone() };
        let state = entry.state.after(Kind::Unknown, error, 0, now);
        Entry { state, ..entry.clone() }
    };
    let marks: Vec<_> = letters
        .iter()
        .filter_map(|letter| entries.get(&letter.seq).map(|entry| (letter.seq, entry, taken(entry))))
        .collect();
    if marks.is_empty() {
        return Ok(());
    }
    let set = disk::change(marks.iter().map(|(seq, old, new)| (*seq, *old, new)))?;
    Ok(store.commit(set).await?)
}

/// A letter that cannot be read is not tried again by itself; its bytes stay on disk.
fn set_aside(seq: u64, mut entry: Entry, error: &super::RecordError, now: Timestamp, reports: &Reports<Change>) {
    tracing::error!(target: "mainstay::dlq", seq, letter = %entry.id, %error, "a parked call cannot be read; it is left on disk");
    let failure = Failure::new(Class::Malformed, None, error.to_string());
    entry.state = LetterState { due: None, error: failure, updated_at: now, ..entry.state };
    reports.push(Change::Put { seq, entry: Box::new(entry) });
}

impl Handler<Finish> for DlqActor {
    type Result = ResponseFuture<Result<Option<LetterState>, DlqError>>;

    fn handle(&mut self, finish: Finish, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("finish", None);
        let lease = self.lease();
        let found = self.inc.commit(
            |index| index.find(finish.id).map(|(seq, entry)| (seq, entry.clone())),
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
            Ok(None) => return Box::pin(async { Ok(None) }),
            Ok(Some(found)) => found,
        };
        let Some(state) = self.after(&entry, &finish) else {
            let writes = self.writes.clone();
            return Box::pin(async move { there_or_gone(remove(&writes, seq, entry, true).await, None) });
        };
        let changed = Entry { state: state.clone(), ..entry.clone() };
        let set = match disk::change([(seq, &entry, &changed)]) {
            Ok(set) => set,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let change = Change::Put { seq, entry: Box::new(changed) };
        let written = self.writes.commit(set, vec![change]);
        let wake = self.parts.wake.clone();
        Box::pin(async move {
            let end = there_or_gone(written.await, Some(state));
            wake.notify_one();
            end
        })
    }
}

/// A letter that another end removed meanwhile is no error.
fn there_or_gone(end: Result<(), StoreError>, state: Option<LetterState>) -> Result<Option<LetterState>, DlqError> {
    match end {
        Ok(()) => Ok(state),
        Err(StoreError::Precondition { .. }) => Ok(None),
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
                    let state = LetterState { due: Some(now), updated_at: now, ..entry.state.replayed() };
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
    type Result = ResponseFuture<Result<Purged, DlqError>>;

    fn handle(&mut self, Purge { ids }: Purge, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("purge", None);
        let (clock, lease) = (self.parts.clock.now(), self.lease());
        let filter = super::Filter::ids(ids);
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
            let (mut gone, mut failed) = (Vec::with_capacity(chosen.len()), None);
            // One that cannot be removed does not keep the others out until their lease ends.
            for (seq, entry) in chosen {
                let id = entry.id;
                match remove(&writes, seq, entry, false).await {
                    Ok(()) => gone.push(id),
                    Err(error) => failed = Some(error),
                }
            }
            Ok(Purged { gone, failed })
        })
    }
}
