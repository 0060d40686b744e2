//! What a client remembers: what is under way, and how attempts ended. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    grant::{GrantEnd, GrantReport},
    ids::GrantId,
    outcome::Class,
};

/// The counts of one vendor's client. Bounded: what is under way by the lanes, the classes by their closed set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Client {
    next: u64,
    under_way: BTreeSet<GrantId>,
    ended: BTreeMap<Class, u64>,
    unused: u64,
    slowest: Duration,
}

impl Client {
    /// The number of the next attempt.
    pub fn decide_begin(&self) -> GrantId {
        GrantId(self.next)
    }

    /// An attempt is under way.
    pub fn apply_begin(&mut self, grant: GrantId) {
        self.next = grant.0 + 1;
        self.under_way.insert(grant);
    }

    /// An attempt ended; a second report of the same one changes nothing.
    pub fn apply_report(&mut self, report: &GrantReport) {
        if !self.under_way.remove(&report.grant) {
            return;
        }
        let class = match &report.end {
            GrantEnd::Unused => {
                self.unused += 1;
                return;
            }
            GrantEnd::Ended(ending) => {
                self.slowest = self.slowest.max(ending.elapsed);
                ending.class
            }
            GrantEnd::Unknown => Class::Abandoned,
        };
        *self.ended.entry(class).or_default() += 1;
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Attempts by the kind of their end.
    pub fn ended(&self) -> &BTreeMap<Class, u64> {
        &self.ended
    }

    /// Taken back before their first byte.
    pub fn unused(&self) -> u64 {
        self.unused
    }

    /// The slowest attempt so far.
    pub fn slowest(&self) -> Duration {
        self.slowest
    }
}
