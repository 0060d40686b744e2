//! The passes of one generation that are out: who may still report, and which have been out too long.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    time::{Duration, Instant},
};

use super::later;
use crate::ids::GrantId;

/// Passes that may be out in one generation. The lanes bound them far below; this bounds the table if they do not.
pub const GRANTS_MAX: usize = 10_000;

/// Every pass that was issued and has not come back. Ids and moments rise together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Passes {
    /// After this a pass counts as lost: its report will not come.
    lease: Duration,
    slower_than: Option<Duration>,
    out: BTreeMap<GrantId, Instant>,
    last: GrantId,
    /// The last pass that was found overdue: the rule was asked about those up to it.
    seen_overdue: GrantId,
}

impl Passes {
    pub(super) fn new(lease: Duration, slower_than: Option<Duration>) -> Self {
        Self { lease, slower_than, out: BTreeMap::new(), last: GrantId(0), seen_overdue: GrantId(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn is_out(&self, grant: GrantId) -> bool {
        self.out.contains_key(&grant)
    }

    /// Whether another one may be issued: there is room, or a lost one to be forgotten.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.len() < GRANTS_MAX || self.has_lost(now)
    }

    pub(super) fn issue(&mut self, now: Instant) -> GrantId {
        while self.len() >= GRANTS_MAX && self.has_lost(now) {
            self.out.pop_first();
        }
        self.last = GrantId(self.last.0 + 1);
        self.out.insert(self.last, now);
        self.last
    }

    pub(super) fn take_back(&mut self, grant: GrantId) {
        self.out.remove(&grant);
    }

    /// A new generation: whatever is still out belongs to the past.
    pub(super) fn disown(&mut self) {
        self.out.clear();
    }

    /// When the oldest counts as lost.
    pub(super) fn first_lease_end(&self) -> Option<Instant> {
        self.out.values().next().map(|issued| later(*issued, self.lease))
    }

    /// When the next one will have been out too long, of those that were not seen overdue.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        let limit = self.slower_than?;
        let (_, issued) = self.out.range((Excluded(self.seen_overdue), Unbounded)).next()?;
        Some(later(*issued, limit))
    }

    /// How many, beside `except`, have been out as long as a slow call takes and are not lost.
    pub(super) fn overdue(&self, now: Instant, except: Option<GrantId>) -> u64 {
        let not_lost = self.too_long(now).filter(|(_, issued)| later(*issued, self.lease) > now);
        not_lost.filter(|(grant, _)| Some(*grant) != except).count() as u64
    }

    /// The rule was asked about all that are overdue now.
    pub(super) fn mark_overdue(&mut self, now: Instant) {
        let last = self.too_long(now).last();
        self.seen_overdue = last.map_or(self.seen_overdue, |(grant, _)| grant.max(self.seen_overdue));
    }

    /// Oldest first.
    fn too_long(&self, now: Instant) -> impl Iterator<Item = (GrantId, Instant)> {
        let out = self.out.iter().map(|(grant, issued)| (*grant, *issued));
        let limit = self.slower_than;
        out.take_while(move |(_, issued)| limit.is_some_and(|limit| later(*issued, limit) <= now))
    }

    fn has_lost(&self, now: Instant) -> bool {
        self.first_lease_end().is_some_and(|end| end <= now)
    }
}
