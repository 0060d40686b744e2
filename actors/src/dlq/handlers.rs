//! What the dead letter queue does with each question.

use actix::{Context, Handler, ResponseFuture};
use jiff::Timestamp;

use super::{
    Entry, Failure, Filter, Kind, LetterState, ParkedLetter,
    actor::{DlqActor, PAGE_MAX},
    disk,
    index::Change,
    message::{
        Choose, Chosen, DlqError, Finish, List, NoteSending, Page, Park, Parked, Purge, Purged, TakeChosen, TakeDue,
    },
    writes::Writes,
};
use crate::{kernel::Reports, outcome::Class, store::StoreError};

impl Handler<Park> for DlqActor {
    type Result = ResponseFuture<Result<Parked, DlqError>>;

    fn handle(&mut self, Park { letter, state }: Park, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("park", Some(letter.call));
        let (id, kind) = (letter.id, state.kind);
        let placed = self.inc.commit(
            |index| index.decide_park(id, kind),
            |index, place| {
                if let Ok(Some(seq)) = place {
                    index.apply_park(seq, id, kind);
                }
                place
            },
        );
        let total = self.inc.read(|index| index.count(&letter.vendor, kind));
        let seq = match placed {
            Err(_) => return Box::pin(async { Err(DlqError::Restarting) }),
            Ok(Err(held)) => {
                let full = self.full(kind, held);
                return Box::pin(async { Err(full) });
            }
            Ok(Ok(None)) => return Box::pin(async move { Ok(Parked { id, total, is_new: false }) }),
            Ok(Ok(Some(seq))) => seq,
        };
        let (set, entry) = match disk::park(seq, &letter, state) {
            Ok(written) => written,
            Err(error) => {
                let _ = self.inc.commit(|_| (), |index, ()| index.apply_arrived(seq));
                return Box::pin(async { Err(error) });
            }
        };
        let is_due = entry.state.due.is_some();
        let change = Change::Put { seq, entry: Box::new(entry) };
        let written = self.writes.commit(set, vec![change]);
        let wake = self.parts.wake.clone();
        Box::pin(async move {
            let is_new = match written.await {
                Ok(()) => true,
                // It was written before, by an asker that never heard of it.
                Err(StoreError::Precondition { .. }) => false,
                Err(error) => return Err(error.into()),
            };
            if is_due {
                wake.notify_one();
            }
            Ok(Parked { id, total: total + 1, is_new })
        })
    }
}

impl Handler<NoteSending> for DlqActor {
    type Result = ResponseFuture<Result<(), DlqError>>;

    fn handle(&mut self, NoteSending { id, replayed }: NoteSending, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("note_sending", None);
        let found = self.inc.read(|index| index.find(id).map(|(seq, entry)| (seq, entry.clone())));
        let Some((seq, entry)) = found else { return Box::pin(async { Ok(()) }) };
        let begun = if replayed { entry.state.replayed() } else { entry.state.clone() };
        let noted = Entry { state: begun.sending(self.parts.clock.wall()), ..entry.clone() };
        let set = match disk::change([(seq, &entry, &noted)]) {
            Ok(set) => set,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        // In memory it stays what it was until it is finished.
        let written = self.parts.store.commit(set);
        Box::pin(async move { there_or_gone(written.await, None).map(drop) })
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
        Box::pin(self.read_taken(taken))
    }
}

impl Handler<Choose> for DlqActor {
    type Result = Result<Vec<Chosen>, DlqError>;

    fn handle(&mut self, Choose { filter, max }: Choose, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("choose", None);
        let clock = self.parts.clock.now();
        Ok(self.inc.read(|index| {
            let seqs = index.select(&filter, None, max, clock, false);
            let entries = seqs.into_iter().filter_map(|seq| index.entry(seq));
            entries.map(|entry| Chosen { id: entry.id, replays: entry.state.replays }).collect()
        }))
    }
}

impl Handler<TakeChosen> for DlqActor {
    type Result = ResponseFuture<Result<Option<ParkedLetter>, DlqError>>;

    fn handle(&mut self, TakeChosen(Chosen { id, replays }): TakeChosen, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("take_chosen", None);
        let (clock, lease) = (self.parts.clock.now(), self.lease());
        let taken = self.inc.commit(
            |index| {
                let seq = index.select(&Filter::ids([id]), None, 1, clock, false).pop()?;
                let entry = index.entry(seq).filter(|entry| entry.state.replays == replays)?;
                Some((seq, entry.clone()))
            },
            |index, taken| {
                index.apply_out(taken.iter().map(|(seq, _)| *seq).collect::<Vec<_>>().as_slice(), lease);
                taken
            },
        );
        let Ok(taken) = taken else { return Box::pin(async { Err(DlqError::Restarting) }) };
        let fresh = |entry: Entry| Entry { state: entry.state.replayed(), ..entry };
        let letters = self.read_taken(taken.into_iter().map(|(seq, entry)| (seq, fresh(entry))).collect());
        Box::pin(async move { Ok(letters.await?.pop()) })
    }
}

impl DlqActor {
    fn full(&self, kind: Kind, held: usize) -> DlqError {
        let config = &self.parts.config;
        match kind {
            Kind::Accepted => DlqError::AcceptedFull { held, limit: config.accepted_max },
            _ => DlqError::Full { held, limit: config.letters_max },
        }
    }

    /// Reads letters that were taken.
    fn read_taken(
        &self,
        taken: Vec<(u64, Entry)>,
    ) -> impl Future<Output = Result<Vec<ParkedLetter>, DlqError>> + use<> {
        let (store, reports, now) = (self.parts.store.clone(), self.inc.reports().clone(), self.parts.clock.wall());
        async move {
            let seqs: Vec<_> = taken.iter().map(|(seq, _)| *seq).collect();
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
        }
    }
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
    let parts = match entry.parts {
        Some(parts) => Ok(parts),
        None => disk::parts(&*writes.store, seq).await,
    };
    let parts = parts.inspect_err(|_| writes.back(seq))?;
    let set = disk::remove(seq, &entry, parts);
    writes.commit(set, vec![Change::Removed { seq, delivered }]).await
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
        let filter = Filter::ids(ids);
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
