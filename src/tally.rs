//! What became of every call. One lock, so that a reader always sees numbers that add up.

use std::collections::BTreeMap;

use mainstay_actors::{fact::FinalState, ids::VendorId};
use parking_lot::Mutex;
use serde::Serialize;

/// Counts of calls. `offered = accepted + refused`, and `accepted` is the sum of the final states and of those under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Offered by the application.
    pub offered: u64,
    /// Taken on.
    pub accepted: u64,
    /// Refused with a reason; nothing of them is kept.
    pub refused: u64,
    /// Taken on and not ended.
    pub under_way: u64,
    /// Done by the vendor, or taken on by it.
    pub delivered: u64,
    /// Served from the cache.
    pub cached: u64,
    /// Waiting on disk for the vendor to come back.
    pub queued: u64,
    /// Served by the application's local function.
    pub local: u64,
    /// In the dead letter queue.
    pub dead_lettered: u64,
    /// May have happened.
    pub unknown: u64,
    /// The caller went away before anything was sent.
    pub cancelled: u64,
    /// Nothing is known of them. Must stay 0.
    pub lost: u64,
}

impl Counts {
    fn of(&mut self, state: FinalState) -> &mut u64 {
        match state {
            FinalState::Delivered => &mut self.delivered,
            FinalState::Cached => &mut self.cached,
            FinalState::Queued => &mut self.queued,
            FinalState::Local => &mut self.local,
            FinalState::DeadLettered => &mut self.dead_lettered,
            FinalState::Unknown => &mut self.unknown,
            FinalState::Cancelled => &mut self.cancelled,
            FinalState::Lost => &mut self.lost,
        }
    }

    /// True when every call is in exactly one place.
    pub fn add_up(&self) -> bool {
        let ended = self.delivered
            + self.cached
            + self.queued
            + self.local
            + self.dead_lettered
            + self.unknown
            + self.cancelled
            + self.lost;
        self.offered == self.accepted + self.refused && self.accepted == ended + self.under_way
    }

    fn plus(mut self, other: &Self) -> Self {
        self.offered += other.offered;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.under_way += other.under_way;
        for state in FinalState::ALL {
            let mut other = *other;
            *self.of(state) += *other.of(state);
        }
        self
    }
}

/// The counts of one runtime, by vendor. Calls that name no configured vendor are counted under no vendor.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<Option<VendorId>, Counts>>);

impl Tally {
    fn with(&self, vendor: Option<&VendorId>, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.0.lock();
        match counts.get_mut(&vendor.cloned()) {
            Some(known) => change(known),
            None => change(counts.entry(vendor.cloned()).or_default()),
        }
    }

    /// Offered, and refused at the door.
    pub(crate) fn refused_at_once(&self, vendor: Option<&VendorId>) {
        self.with(vendor, |counts| {
            counts.offered += 1;
            counts.refused += 1;
        });
    }

    /// Offered and taken on.
    pub(crate) fn accepted(&self, vendor: &VendorId) {
        self.with(Some(vendor), |counts| {
            counts.offered += 1;
            counts.accepted += 1;
            counts.under_way += 1;
        });
    }

    /// Taken on, and refused by a guard in the end, with nothing in its place.
    pub(crate) fn refused_later(&self, vendor: &VendorId) {
        self.with(Some(vendor), |counts| {
            counts.accepted -= 1;
            counts.under_way -= 1;
            counts.refused += 1;
        });
    }

    /// Ended.
    pub(crate) fn ended(&self, vendor: &VendorId, state: FinalState) {
        self.with(Some(vendor), |counts| {
            counts.under_way -= 1;
            *counts.of(state) += 1;
        });
    }

    /// Moved by a replay, a callback or a person.
    pub(crate) fn moved(&self, vendor: &VendorId, from: FinalState, to: FinalState) {
        self.with(Some(vendor), |counts| {
            let left = counts.of(from);
            *left = left.saturating_sub(1);
            *counts.of(to) += 1;
        });
    }

    /// Found on disk at the start, or imported: a call of an earlier process.
    pub(crate) fn inherited(&self, vendor: &VendorId, state: FinalState, number: u64) {
        self.with(Some(vendor), |counts| {
            counts.offered += number;
            counts.accepted += number;
            *counts.of(state) += number;
        });
    }

    /// Found on disk at the start: a durable call that an earlier process did not end. It is under way again.
    pub(crate) fn taken_up(&self, vendor: &VendorId, number: u64) {
        self.with(Some(vendor), |counts| {
            counts.offered += number;
            counts.accepted += number;
            counts.under_way += number;
        });
    }

    /// One that was counted as inherited is not there after all.
    pub(crate) fn not_inherited(&self, vendor: &VendorId, state: FinalState) {
        self.with(Some(vendor), |counts| {
            counts.offered = counts.offered.saturating_sub(1);
            counts.accepted = counts.accepted.saturating_sub(1);
            let there = counts.of(state);
            *there = there.saturating_sub(1);
        });
    }

    /// Those that have calls under way.
    pub(crate) fn vendors_under_way(&self) -> Vec<VendorId> {
        let counts = self.0.lock();
        counts.iter().filter(|(_, counts)| counts.under_way > 0).filter_map(|(vendor, _)| vendor.clone()).collect()
    }

    /// Of one vendor.
    pub(crate) fn of(&self, vendor: &VendorId) -> Counts {
        self.0.lock().get(&Some(vendor.clone())).copied().unwrap_or_default()
    }

    /// Of all.
    pub(crate) fn total(&self) -> Counts {
        self.0.lock().values().fold(Counts::default(), Counts::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_exactly_one_place_through_all_its_moves() {
        let (tally, vendor) = (Tally::default(), VendorId::new("clay").unwrap());
        for state in FinalState::ALL {
            tally.accepted(&vendor);
            assert!(tally.total().add_up());
            tally.ended(&vendor, state);
            assert!(tally.total().add_up());
        }
        tally.refused_at_once(None);
        tally.accepted(&vendor);
        tally.refused_later(&vendor);
        tally.moved(&vendor, FinalState::DeadLettered, FinalState::Delivered);
        tally.inherited(&vendor, FinalState::Queued, 3);
        let total = tally.total();
        assert!(total.add_up(), "{total:?}");
        assert_eq!((total.delivered, total.dead_lettered, total.refused, total.queued), (2, 0, 2, 4));
    }
}
