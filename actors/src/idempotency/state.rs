//! The table of keys: who owns one, what it came to, who waits for it. Pure: it takes `now` and knows no channel.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use super::{Fingerprint, IdempotencyConfig, KeySnapshot, KeyTotals};
use crate::{
    call::IdempotencyKey,
    ids::{CallId, GrantId, VendorId},
};

/// A caller that waits for the end of a key it does not own.
pub trait Waiter {
    /// True when nobody waits there any more.
    fn is_gone(&self) -> bool;
}

/// What a call says when it wants a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which key.
    pub key: IdempotencyKey,
    /// Of the payload it stands for.
    pub fingerprint: Fingerprint,
    /// Who asks.
    pub call: CallId,
    /// True when this call's own unknown effect may be tried again with the same key: the profile allows it
    /// (`Repeat::WithKey`, `Repeat::Always`), or a person ordered it. It never opens another call's unknown key.
    pub again: bool,
}

/// What the table says to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<V> {
    /// The key is the caller's, under this claim. A call that already owns it gets it again under a new claim, so that
    /// what a lost answer still reports is of an old period.
    Mine(GrantId),
    /// Another call has it in flight: wait for its end.
    Join,
    /// It is done; this is the stored answer.
    Stored {
        /// The call that did it.
        call: CallId,
        /// What it came to.
        answer: V,
    },
    /// The key stands for another payload.
    Conflict,
    /// Its effect is unknown: nobody may send it again before somebody finds out.
    Unknown {
        /// The call that left it so; may be the caller itself.
        call: CallId,
    },
    /// No room.
    Full {
        /// `keys`, or `callers joined to one key`.
        what: &'static str,
        /// How many there are.
        held: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// How a claim ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<V> {
    /// The effect is done, or the vendor took it on: this answer answers every repeat.
    Done(V),
    /// There was no effect yet, and the call is parked: this answer answers every repeat, until the same call takes the key
    /// up again. Never forgotten to make room.
    Parked(V),
    /// There was definitely no effect: the key may be claimed anew.
    Free,
    /// There may have been an effect: the key is blocked until somebody finds out.
    Unknown,
}

/// What the table must hear, at least once; applied exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyReport<V> {
    /// A claim ended.
    Ended {
        /// Which key.
        key: IdempotencyKey,
        /// Under which claim; one that is not the present one is ignored.
        claim: GrantId,
        /// How.
        end: End<V>,
    },
    /// An unknown effect was found out, by the vendor's callback, by a query, or by a person; or a parked call was given up.
    Resolved {
        /// Which key.
        key: IdempotencyKey,
        /// The call that left it so; ignored if the key is not unknown or parked by this call.
        call: CallId,
        /// What it came to. `Unknown` changes nothing.
        end: End<V>,
    },
    /// Found at the start: a call of an earlier process left the key so. Ignored when the key is there already, when there
    /// is no room, or when it says anything but `Unknown` or `Parked`.
    Restored {
        /// Which key.
        key: IdempotencyKey,
        /// Of the payload it stands for.
        fingerprint: Fingerprint,
        /// The call that left it so.
        call: CallId,
        /// How.
        end: End<V>,
    },
}

/// What a joined caller hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered<V> {
    /// The owner's answer is its answer.
    Done {
        /// The owner.
        call: CallId,
        /// What it came to.
        answer: V,
    },
    /// The owner had no effect: claim the key again.
    Freed,
    /// The owner's effect is unknown.
    Unknown {
        /// The owner.
        call: CallId,
    },
}

/// What is to be told to whom after a report was applied.
#[derive(Debug, PartialEq, Eq)]
pub struct Told<V, W> {
    /// The callers who joined.
    pub joined: Vec<W>,
    /// What they hear, each the same.
    pub answer: Answered<V>,
}

#[derive(Debug)]
enum Stage<V, W> {
    InFlight { owner: CallId, claim: GrantId, joined: Vec<W> },
    Done { call: CallId, answer: V, at: Instant },
    Unknown { call: CallId },
    Parked { call: CallId, answer: V },
}

#[derive(Debug)]
struct Entry<V, W> {
    fingerprint: Fingerprint,
    stage: Stage<V, W>,
}

/// The table of one vendor: `V` is a stored answer (cheap to clone), `W` a waiting caller.
#[derive(Debug)]
pub struct Keys<V, W> {
    config: IdempotencyConfig,
    entries: HashMap<IdempotencyKey, Entry<V, W>>,
    /// Exactly the done keys, oldest first.
    done: VecDeque<(Instant, IdempotencyKey)>,
    unknown: usize,
    parked: usize,
    next_claim: u64,
    totals: KeyTotals,
}

impl<V, W> Keys<V, W> {
    /// An empty table.
    pub fn new(config: IdempotencyConfig) -> Self {
        Self {
            config,
            entries: HashMap::new(),
            done: VecDeque::new(),
            unknown: 0,
            parked: 0,
            next_claim: 1,
            totals: KeyTotals::default(),
        }
    }

    /// When the next stored answer is to be forgotten.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.done.front().map(|(at, _)| *at + self.config.keep)
    }

    /// Forgets the stored answers whose time is over.
    pub fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|at| at <= now) {
            self.forget_oldest();
        }
    }

    /// The figures.
    pub fn snapshot(&self, vendor: VendorId) -> KeySnapshot {
        let (held, stored) = (self.entries.len(), self.done.len());
        KeySnapshot {
            vendor,
            in_flight: held - stored - self.unknown - self.parked,
            stored,
            unknown: self.unknown,
            parked: self.parked,
            totals: self.totals,
            keys_max: self.config.keys_max,
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, key)) = self.done.pop_front() else { return false };
        self.entries.remove(&key);
        true
    }

    fn mine(&self) -> Decision<V> {
        Decision::Mine(GrantId(self.next_claim))
    }
}

impl<V: Clone, W: Waiter> Keys<V, W> {
    /// Whose is the key? Changes nothing.
    pub fn decide_claim(&self, asked: &Asked, now: Instant) -> Decision<V> {
        let Some(entry) = self.entries.get(&asked.key).filter(|entry| !self.is_over(entry, now)) else {
            return self.decide_new();
        };
        if entry.fingerprint != asked.fingerprint {
            return Decision::Conflict;
        }
        match &entry.stage {
            Stage::InFlight { owner, .. } if *owner == asked.call => self.mine(),
            Stage::InFlight { joined, .. } => self.decide_join(joined),
            Stage::Parked { call, .. } if *call == asked.call => self.mine(),
            Stage::Done { call, answer, .. } | Stage::Parked { call, answer } => {
                Decision::Stored { call: *call, answer: answer.clone() }
            }
            Stage::Unknown { call } if asked.again && *call == asked.call => self.mine(),
            Stage::Unknown { call } => Decision::Unknown { call: *call },
        }
    }

    fn is_over(&self, entry: &Entry<V, W>, now: Instant) -> bool {
        matches!(entry.stage, Stage::Done { at, .. } if at + self.config.keep <= now)
    }

    fn decide_new(&self) -> Decision<V> {
        let (held, limit) = (self.entries.len(), self.config.keys_max);
        if held >= limit && self.done.is_empty() {
            return Decision::Full { what: "keys", held, limit };
        }
        self.mine()
    }

    fn decide_join(&self, joined: &[W]) -> Decision<V> {
        let limit = self.config.joined_max;
        // Counted only at the limit: most keys have no joined caller at all.
        if joined.len() < limit {
            return Decision::Join;
        }
        let held = joined.iter().filter(|waiter| !waiter.is_gone()).count();
        if held < limit {
            return Decision::Join;
        }
        Decision::Full { what: "callers joined to one key", held, limit }
    }

    /// Does what was decided, at the same `now`. After [`Decision::Join`] the caller is added with [`Self::join`].
    pub fn apply_claim(&mut self, asked: &Asked, decision: &Decision<V>, now: Instant) {
        self.expire(now);
        match decision {
            Decision::Mine(claim) => self.apply_mine(asked, *claim),
            Decision::Join => self.totals.joined_total += 1,
            Decision::Stored { .. } => self.totals.replayed_total += 1,
            Decision::Conflict => self.totals.conflicts_total += 1,
            Decision::Full { .. } => self.totals.full_total += 1,
            Decision::Unknown { .. } => {}
        }
    }

    fn apply_mine(&mut self, asked: &Asked, claim: GrantId) {
        self.next_claim = claim.0 + 1;
        if let Some(entry) = self.entries.get_mut(&asked.key) {
            let joined = match &mut entry.stage {
                Stage::InFlight { joined, .. } => std::mem::take(joined),
                Stage::Done { .. } => return, // not decided so
                Stage::Unknown { .. } => {
                    self.unknown -= 1;
                    Vec::new()
                }
                Stage::Parked { .. } => {
                    self.parked -= 1;
                    Vec::new()
                }
            };
            entry.stage = Stage::InFlight { owner: asked.call, claim, joined };
            return;
        }
        while self.entries.len() >= self.config.keys_max && self.forget_oldest() {
            self.totals.evicted_total += 1;
        }
        let stage = Stage::InFlight { owner: asked.call, claim, joined: Vec::new() };
        self.entries.insert(asked.key.clone(), Entry { fingerprint: asked.fingerprint, stage });
    }

    /// Adds a caller that waits for the end of a key in flight.
    pub fn join(&mut self, key: &IdempotencyKey, waiter: W) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Stage::InFlight { joined, .. } = &mut entry.stage else { return };
        if joined.len() >= self.config.joined_max {
            joined.retain(|waiter| !waiter.is_gone());
        }
        joined.push(waiter);
    }

    /// True when a report is of the present period of its key; any other is ignored. Changes nothing.
    pub fn decide_report(&self, report: &KeyReport<V>) -> bool {
        match report {
            KeyReport::Ended { key, claim: ended, .. } => self
                .entries
                .get(key)
                .is_some_and(|entry| matches!(&entry.stage, Stage::InFlight { claim, .. } if claim == ended)),
            KeyReport::Restored { key, end, .. } => {
                let room = self.entries.len() < self.config.keys_max && !self.entries.contains_key(key);
                room && matches!(end, End::Unknown | End::Parked(_))
            }
            KeyReport::Resolved { end: End::Unknown, .. } => false,
            KeyReport::Resolved { key, call: by, .. } => {
                let left_by = |stage: &Stage<V, W>| match stage {
                    Stage::Unknown { call } | Stage::Parked { call, .. } => Some(*call),
                    Stage::InFlight { .. } | Stage::Done { .. } => None,
                };
                self.entries.get(key).is_some_and(|entry| left_by(&entry.stage) == Some(*by))
            }
        }
    }

    /// Applies a report that was found to be of the present, and says who is to be told.
    pub fn apply_report(&mut self, report: KeyReport<V>, now: Instant) -> Option<Told<V, W>> {
        let (key, end) = match report {
            KeyReport::Ended { key, end, .. } | KeyReport::Resolved { key, end, .. } => (key, end),
            KeyReport::Restored { key, fingerprint, call, end } => {
                let answer = self.put_end(key, fingerprint, call, end, now);
                return Some(Told { joined: Vec::new(), answer });
            }
        };
        let entry = self.entries.remove(&key)?;
        let (owner, joined) = match entry.stage {
            Stage::InFlight { owner, joined, .. } => (owner, joined),
            Stage::Unknown { call } => {
                self.unknown -= 1;
                (call, Vec::new())
            }
            Stage::Parked { call, .. } => {
                self.parked -= 1;
                (call, Vec::new())
            }
            Stage::Done { .. } => {
                self.entries.insert(key, entry); // not decided so
                return None;
            }
        };
        let answer = self.put_end(key, entry.fingerprint, owner, end, now);
        Some(Told { joined, answer })
    }

    fn put_end(
        &mut self,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        call: CallId,
        end: End<V>,
        now: Instant,
    ) -> Answered<V> {
        let (stage, answer) = match end {
            End::Free => return Answered::Freed,
            End::Unknown => {
                self.unknown += 1;
                (Stage::Unknown { call }, Answered::Unknown { call })
            }
            End::Parked(answer) => {
                self.parked += 1;
                (Stage::Parked { call, answer: answer.clone() }, Answered::Done { call, answer })
            }
            End::Done(answer) => {
                // The queue is in order whatever clock the caller has.
                let at = self.done.back().map_or(now, |(last, _)| now.max(*last));
                self.done.push_back((at, key.clone()));
                (Stage::Done { call, answer: answer.clone(), at }, Answered::Done { call, answer })
            }
        };
        self.entries.insert(key, Entry { fingerprint, stage });
        answer
    }
}

#[cfg(test)]
mod tests;
