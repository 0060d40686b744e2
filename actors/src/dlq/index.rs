//! What is known of every letter without reading the disk. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    time::Instant,
};

use jiff::Timestamp;

use super::{DlqConfig, DlqSnapshot, Filter, Kind, LetterState};
use crate::{
    fact::LetterCounts,
    ids::{CallId, LetterId, VendorId},
    outcome::Class,
};

/// The short entry of one letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its public id.
    pub id: LetterId,
    /// The call.
    pub call: CallId,
    /// The vendor.
    pub vendor: VendorId,
    /// How many rows what is written once has. Letters of the first version do not say.
    pub parts: Option<u16>,
    /// What changes of it.
    pub state: LetterState,
}

/// What is done to the index once it is on disk. Applied at least once; the second time it changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A letter is there, in this state.
    Put {
        /// Its place.
        seq: u64,
        /// Its entry.
        entry: Box<Entry>,
    },
    /// A letter is gone.
    Removed {
        /// Its place.
        seq: u64,
        /// What became of it: delivered, or purged.
        delivered: bool,
    },
    /// A letter that was taken is back, unchanged.
    Back {
        /// Its place.
        seq: u64,
    },
}

impl Change {
    /// The letter's place.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Put { seq, .. } | Self::Removed { seq, .. } | Self::Back { seq } => *seq,
        }
    }
}

/// What a change meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Meant {
    /// Nothing new.
    Nothing,
    /// A letter is new here.
    Parked(Entry),
    /// A letter is in another state.
    Changed {
        /// What it was.
        was: Kind,
        /// Its entry.
        entry: Entry,
        /// It is not tried by itself any more, and was until now.
        given_up: bool,
    },
    /// A letter was done.
    Delivered(Entry),
    /// A letter was removed.
    Purged(Entry),
}

/// The index: bounded by `letters_max` and `accepted_max` together, since a durable call that is parked in the end has its place
/// already.
#[derive(Debug, Clone, Default)]
pub struct Dlq {
    next: u64,
    letters_max: usize,
    accepted_max: usize,
    /// Of the letters, those of durable calls that have not ended, those being written included.
    accepted: usize,
    entries: BTreeMap<u64, Entry>,
    by_id: HashMap<LetterId, u64>,
    /// By vendor, so that one that is held up holds up no other.
    due: BTreeMap<VendorId, BTreeSet<(Timestamp, u64)>>,
    /// Taken or being written, until when.
    out: BTreeMap<u64, Instant>,
    /// By vendor and kind, the oldest first.
    ages: BTreeMap<(VendorId, Kind), BTreeSet<(Timestamp, u64)>>,
    by_class: BTreeMap<(VendorId, Class), u64>,
    given_up: BTreeMap<VendorId, u64>,
    /// Places given to letters that are being written.
    arriving: BTreeMap<u64, (LetterId, Kind)>,
}

impl Dlq {
    /// The index of what was found on disk. `next` is the place of the next letter.
    pub fn new(config: &DlqConfig, next: u64, found: impl IntoIterator<Item = (u64, Entry)>) -> Self {
        let DlqConfig { letters_max, accepted_max, .. } = *config;
        let mut index = Self { next, letters_max, accepted_max, ..Self::default() };
        for (seq, entry) in found {
            index.next = index.next.max(seq + 1);
            index.put(seq, entry);
        }
        index
    }

    /// The place of the next letter: whatever is here already lies before it.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The calls of all letters.
    pub fn calls(&self) -> impl Iterator<Item = CallId> {
        self.entries.values().map(|entry| entry.call)
    }

    /// Durable calls that have not ended, by vendor.
    pub fn accepted(&self) -> Vec<(VendorId, u64)> {
        let accepted = self.ages.iter().filter(|((_, kind), _)| *kind == Kind::Accepted);
        accepted.map(|((vendor, _), letters)| (vendor.clone(), letters.len() as u64)).collect()
    }

    /// How many letters there are, those being written included.
    pub fn len(&self) -> usize {
        self.entries.len() + self.arriving.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Letters of a vendor and a kind.
    pub fn count(&self, vendor: &VendorId, kind: Kind) -> u64 {
        self.ages.get(&(vendor.clone(), kind)).map_or(0, |letters| letters.len() as u64)
    }

    /// The letters of a vendor, counted.
    pub fn counts(&self, vendor: &VendorId) -> LetterCounts {
        let oldest = |kind| self.ages.get(&(vendor.clone(), kind))?.first().map(|(at, _)| *at);
        LetterCounts {
            dead: self.count(vendor, Kind::Dead),
            later: self.count(vendor, Kind::Later),
            unknown: self.count(vendor, Kind::Unknown),
            given_up: self.given_up.get(vendor).copied().unwrap_or_default(),
            oldest_at: Kind::PARKED.into_iter().filter_map(oldest).min(),
        }
    }

    /// A place for a new letter. `Ok(None)`: it is here already. `Err`: how many there are.
    ///
    /// One that is still being written gets a second place: its first write may fail, so only the disk can say that it is
    /// there, and the disk lets one of the two stand.
    pub fn decide_park(&self, id: LetterId, kind: Kind) -> Result<Option<u64>, usize> {
        if self.by_id.contains_key(&id) {
            return Ok(None);
        }
        let (held, limit) = match kind {
            Kind::Accepted => (self.accepted, self.accepted_max),
            _ => (self.len() - self.accepted, self.letters_max),
        };
        let is_arriving = || self.arriving.values().any(|(known, _)| *known == id);
        if held >= limit && !is_arriving() { Err(held) } else { Ok(Some(self.next)) }
    }

    /// The place is taken until the write has ended.
    pub fn apply_park(&mut self, seq: u64, id: LetterId, kind: Kind) {
        self.next = self.next.max(seq + 1);
        self.arriving.insert(seq, (id, kind));
        self.accepted += usize::from(kind == Kind::Accepted);
    }

    /// A letter that was being written is there, or is not.
    pub fn apply_arrived(&mut self, seq: u64) {
        if let Some((_, kind)) = self.arriving.remove(&seq) {
            self.accepted -= usize::from(kind == Kind::Accepted);
        }
    }

    /// Letters of all vendors but these that are due and not out, the longest due first.
    pub fn decide_take(&self, now: Timestamp, clock: Instant, max: usize, but: &BTreeSet<VendorId>) -> Vec<u64> {
        let vendors = self.due.iter().filter(|(vendor, _)| !but.contains(vendor));
        let first = |due: &BTreeSet<(Timestamp, u64)>| -> Vec<(Timestamp, u64)> {
            let due = due.range(..=(now, u64::MAX)).filter(|(_, seq)| !self.is_out(*seq, clock));
            due.take(max).copied().collect()
        };
        let mut due: Vec<_> = vendors.flat_map(|(_, due)| first(due)).collect();
        due.sort_unstable();
        due.into_iter().take(max).map(|(_, seq)| seq).collect()
    }

    /// They are out until `until`, or until a change of theirs is applied.
    pub fn apply_out(&mut self, seqs: &[u64], until: Instant) {
        self.out.extend(seqs.iter().map(|seq| (*seq, until)));
    }

    /// A letter by its id.
    pub fn find(&self, id: LetterId) -> Option<(u64, &Entry)> {
        let seq = *self.by_id.get(&id)?;
        Some((seq, self.entries.get(&seq)?))
    }

    /// Letters that match, in order, behind `after`, at most `max`; those that are out only when `out_too`.
    pub fn select(&self, filter: &Filter, after: Option<u64>, max: usize, at: Instant, out_too: bool) -> Vec<u64> {
        let is_free = |seq: &u64, entry: &Entry| !self.is_out(*seq, at) && entry.state.kind != Kind::Accepted;
        let fits = |seq: &u64, entry: &Entry| self.fits(filter, entry) && (out_too || is_free(seq, entry));
        if let Some(ids) = &filter.ids {
            let named: BTreeSet<u64> = ids.iter().filter_map(|id| self.by_id.get(id).copied()).collect();
            let named = named.into_iter().filter(|seq| after.is_none_or(|after| *seq > after));
            return named.filter(|seq| self.entries.get(seq).is_some_and(|entry| fits(seq, entry))).take(max).collect();
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.entries.range((from, Bound::Unbounded));
        behind.filter(|(seq, entry)| fits(seq, entry)).map(|(seq, _)| *seq).take(max).collect()
    }

    fn fits(&self, filter: &Filter, entry: &Entry) -> bool {
        let state = &entry.state;
        let kind = match filter.kind {
            Some(kind) => state.kind == kind,
            None => state.kind.may_be_due() || filter.ids.is_some() || filter.call.is_some(),
        };
        let vendor = filter.vendor.as_ref().is_none_or(|vendor| *vendor == entry.vendor);
        let call = filter.call.is_none_or(|call| call == entry.call);
        let class = filter.class.is_none_or(|class| class == state.error.class);
        let age = filter.parked_before.is_none_or(|at| entry.state.parked_at < at);
        kind && vendor && call && class && age && (state.given_up || !filter.given_up)
    }

    /// The entry at a place.
    pub fn entry(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(&seq)
    }

    /// Applies what is on disk now.
    pub fn apply(&mut self, change: Change) -> Meant {
        match change {
            Change::Put { seq, entry } => {
                self.apply_arrived(seq);
                self.out.remove(&seq);
                let old = self.remove(seq);
                self.put(seq, (*entry).clone());
                match old {
                    None => Meant::Parked(*entry),
                    Some(old) if old == *entry => Meant::Nothing,
                    Some(old) => {
                        let again = entry.state.replays > old.state.replays;
                        let given_up = entry.state.given_up && (again || !old.state.given_up);
                        Meant::Changed { was: old.state.kind, entry: *entry, given_up }
                    }
                }
            }
            Change::Removed { seq, delivered } => {
                self.out.remove(&seq);
                match (self.remove(seq), delivered) {
                    (None, _) => Meant::Nothing,
                    (Some(entry), true) => Meant::Delivered(entry),
                    (Some(entry), false) => Meant::Purged(entry),
                }
            }
            Change::Back { seq } => {
                self.apply_arrived(seq);
                self.out.remove(&seq);
                Meant::Nothing
            }
        }
    }

    /// When the next letter that is not out is due.
    pub fn next_due(&self, clock: Instant) -> Option<Timestamp> {
        let first = |due: &BTreeSet<(Timestamp, u64)>| due.iter().find(|(_, seq)| !self.is_out(*seq, clock)).copied();
        self.due.values().filter_map(first).min().map(|(at, _)| at)
    }

    /// What others see.
    pub fn snapshot(&self, clock: Instant) -> DlqSnapshot {
        let mut shown = DlqSnapshot {
            letters_max: self.letters_max,
            accepted: self.accepted,
            accepted_max: self.accepted_max,
            next_due_at: self.next_due(clock),
            taken: self.out.values().filter(|until| **until > clock).count(),
            ..DlqSnapshot::default()
        };
        let vendors: BTreeSet<&VendorId> = self.ages.keys().map(|(vendor, _)| vendor).collect();
        for vendor in vendors {
            let letters = self.counts(vendor);
            shown.dead += letters.dead;
            shown.later += letters.later;
            shown.unknown += letters.unknown;
            shown.given_up += letters.given_up;
            shown.oldest_at = [shown.oldest_at, letters.oldest_at].into_iter().flatten().min();
            shown.by_vendor.insert(vendor.to_string(), letters);
        }
        for ((vendor, class), number) in &self.by_class {
            shown.by_class.entry(vendor.to_string()).or_default().insert(*class, *number);
        }
        shown
    }

    fn is_out(&self, seq: u64, clock: Instant) -> bool {
        self.out.get(&seq).is_some_and(|until| *until > clock)
    }

    fn put(&mut self, seq: u64, entry: Entry) {
        let (vendor, state) = (&entry.vendor, &entry.state);
        self.by_id.insert(entry.id, seq);
        if let Some(due) = state.due {
            self.due.entry(vendor.clone()).or_default().insert((due, seq));
        }
        self.ages.entry((vendor.clone(), state.kind)).or_default().insert((state.parked_at, seq));
        match state.kind {
            Kind::Accepted => self.accepted += 1,
            _ => *self.by_class.entry((vendor.clone(), state.error.class)).or_default() += 1,
        }
        if state.given_up {
            *self.given_up.entry(vendor.clone()).or_default() += 1;
        }
        self.entries.insert(seq, entry);
    }

    fn remove(&mut self, seq: u64) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        let (vendor, state) = (&entry.vendor, &entry.state);
        self.by_id.remove(&entry.id);
        if let Some(due) = state.due {
            take_out(&mut self.due, vendor, (due, seq));
        }
        take_out(&mut self.ages, &(vendor.clone(), state.kind), (state.parked_at, seq));
        match state.kind {
            Kind::Accepted => self.accepted -= 1,
            _ => one_less(&mut self.by_class, &(vendor.clone(), state.error.class)),
        }
        if state.given_up {
            one_less(&mut self.given_up, vendor);
        }
        Some(entry)
    }
}

/// Takes a letter out of a set; an empty set goes with it.
fn take_out<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<(Timestamp, u64)>>, of: &K, letter: (Timestamp, u64)) {
    let Some(letters) = sets.get_mut(of) else { return };
    letters.remove(&letter);
    if letters.is_empty() {
        sets.remove(of);
    }
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, u64>, of: &K) {
    let Some(count) = counts.get_mut(of) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(of);
    }
}

#[cfg(test)]
mod tests;
