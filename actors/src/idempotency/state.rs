//! The table of keys: who owns one, what it came to, who waits for it. Pure: it takes `now` and knows no channel.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use jiff::Timestamp;

use super::{
    Answered, Asked, Decision, End, Fingerprint, Forgotten, IdempotencyConfig, KeyReport, KeySnapshot, KeyTotals,
    LeftKey, Mine, Told, Waiter,
};
use crate::{
    call::IdempotencyKey,
    ids::{CallId, GrantId, VendorId},
};

#[derive(Debug)]
enum Stage<V, W> {
    InFlight { owner: CallId, claim: GrantId, joined: Vec<W> },
    Done { call: CallId, answer: V, until: Instant },
    Unknown { call: CallId },
    Parked { call: CallId, answer: V },
}

#[derive(Debug)]
struct Entry<V, W> {
    fingerprint: Fingerprint,
    /// When it was first claimed for its present effect.
    since: Timestamp,
    stage: Stage<V, W>,
}

impl<V, W> Entry<V, W> {
    fn is_over(&self, now: Instant) -> bool {
        matches!(self.stage, Stage::Done { until, .. } if until <= now)
    }
}

/// The table of one vendor: `V` is a stored answer (cheap to clone), `W` a waiting caller.
#[derive(Debug)]
pub struct Keys<V, W> {
    config: IdempotencyConfig,
    entries: HashMap<IdempotencyKey, Entry<V, W>>,
    /// Exactly the done keys, with their last moments, the next first.
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
        self.done.front().map(|(until, _)| *until)
    }

    /// Forgets the stored answers whose time is over.
    pub fn expire(&mut self, now: Instant) -> Forgotten<V> {
        let mut forgotten = Vec::new();
        while self.next_expiry().is_some_and(|until| until <= now) {
            forgotten.extend(self.forget_oldest());
        }
        forgotten
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

    /// `None` when no key is done.
    fn forget_oldest(&mut self) -> Option<(IdempotencyKey, V)> {
        let (_, key) = self.done.pop_front()?;
        match self.entries.remove(&key)?.stage {
            Stage::Done { answer, .. } => Some((key, answer)),
            _ => None, // only done keys are in the queue
        }
    }

    /// What the payload of a key is recognised by.
    pub fn fingerprint_of(&self, key: &IdempotencyKey) -> Option<Fingerprint> {
        self.entries.get(key).map(|entry| entry.fingerprint)
    }

    fn mine(&self, since: Timestamp, unknown: bool, again: bool) -> Decision<V> {
        Decision::Mine(Mine { claim: GrantId(self.next_claim), since, unknown, again })
    }
}

impl<V: Clone, W: Waiter> Keys<V, W> {
    /// Whose is the key? Changes nothing.
    pub fn decide_claim(&self, asked: &Asked, now: Instant) -> Decision<V> {
        let Some(entry) = self.entries.get(&asked.key).filter(|entry| !entry.is_over(now)) else {
            return self.decide_new(asked);
        };
        if entry.fingerprint != asked.fingerprint {
            return Decision::Conflict;
        }
        match &entry.stage {
            Stage::InFlight { owner, .. } if *owner == asked.call => self.mine(entry.since, false, true),
            Stage::InFlight { joined, .. } => self.decide_join(joined),
            // Nothing of it was ever sent, or it had no effect: its time begins anew.
            Stage::Parked { call, .. } if *call == asked.call => self.mine(asked.at, false, true),
            Stage::Done { call, answer, .. } | Stage::Parked { call, answer } => {
                Decision::Stored { call: *call, answer: answer.clone() }
            }
            Stage::Unknown { call } if asked.again && *call == asked.call => self.mine(entry.since, true, true),
            Stage::Unknown { call } => Decision::Unknown { call: *call },
        }
    }

    fn decide_new(&self, asked: &Asked) -> Decision<V> {
        if !self.has_room() {
            return Decision::Full { what: "keys", held: self.entries.len(), limit: self.config.keys_max };
        }
        self.mine(asked.at, false, false)
    }

    /// Done keys give way to others.
    fn has_room(&self) -> bool {
        self.entries.len() < self.config.keys_max || !self.done.is_empty()
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
    pub fn apply_claim(&mut self, asked: &Asked, decision: &Decision<V>, now: Instant) -> Forgotten<V> {
        let mut forgotten = self.expire(now);
        match decision {
            Decision::Mine(mine) => self.apply_mine(asked, *mine, &mut forgotten),
            Decision::Join => self.totals.joined_total += 1,
            Decision::Stored { .. } => self.totals.replayed_total += 1,
            Decision::Conflict => self.totals.conflicts_total += 1,
            Decision::Full { .. } => self.totals.full_total += 1,
            Decision::Unknown { .. } => {}
        }
        forgotten
    }

    fn apply_mine(&mut self, asked: &Asked, mine: Mine, forgotten: &mut Forgotten<V>) {
        let Mine { claim, since, .. } = mine;
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
            entry.since = since;
            entry.stage = Stage::InFlight { owner: asked.call, claim, joined };
            return;
        }
        self.make_room(1, forgotten);
        let stage = Stage::InFlight { owner: asked.call, claim, joined: Vec::new() };
        self.entries.insert(asked.key.clone(), Entry { fingerprint: asked.fingerprint, since, stage });
    }

    fn make_room(&mut self, places: usize, forgotten: &mut Forgotten<V>) {
        while self.entries.len() + places > self.config.keys_max {
            let Some(oldest) = self.forget_oldest() else { return };
            self.totals.evicted_total += 1;
            forgotten.push(oldest);
        }
    }

    /// Takes in what an earlier process left behind, and forgets what has no room: the answers that would end first, never
    /// a key whose effect is unknown.
    pub fn take_in(&mut self, mut left: Vec<LeftKey<V>>) -> Forgotten<V> {
        left.sort_by_key(|left| left.done.as_ref().map(|(_, until)| *until));
        for LeftKey { key, fingerprint, call, since, done } in left {
            let stage = match done {
                Some((answer, until)) => {
                    self.done.push_back((until, key.clone()));
                    Stage::Done { call, answer, until }
                }
                None => {
                    self.unknown += 1;
                    Stage::Unknown { call }
                }
            };
            self.entries.insert(key, Entry { fingerprint, since, stage });
        }
        let mut forgotten = Vec::new();
        self.make_room(0, &mut forgotten);
        forgotten
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
            KeyReport::Restored { key, call: by, end, .. } => match self.entries.get(key).map(|entry| &entry.stage) {
                None => self.has_room() && matches!(end, End::Unknown | End::Parked(_)),
                Some(Stage::Unknown { call }) => call == by && matches!(end, End::Parked(_)),
                Some(_) => false,
            },
            KeyReport::NotWritten => true,
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
            KeyReport::Restored { key, fingerprint, call, since, end } => {
                let mut forgotten = Vec::new();
                match self.entries.remove(&key) {
                    Some(_) => self.unknown -= 1, // decided so
                    None => self.make_room(1, &mut forgotten),
                }
                let answer = self.put_end(key, (fingerprint, since), call, end, now);
                return Some(Told { joined: Vec::new(), answer, forgotten });
            }
            KeyReport::NotWritten => {
                self.totals.not_written_total += 1;
                return None;
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
        let answer = self.put_end(key, (entry.fingerprint, entry.since), owner, end, now);
        Some(Told { joined, answer, forgotten: Vec::new() })
    }

    fn put_end(
        &mut self,
        key: IdempotencyKey,
        (fingerprint, since): (Fingerprint, Timestamp),
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
                let until =
                    self.done.back().map_or(now + self.config.keep, |(last, _)| (now + self.config.keep).max(*last));
                self.done.push_back((until, key.clone()));
                (Stage::Done { call, answer: answer.clone(), until }, Answered::Done { call, answer })
            }
        };
        self.entries.insert(key, Entry { fingerprint, since, stage });
        answer
    }
}

#[cfg(test)]
mod tests;
