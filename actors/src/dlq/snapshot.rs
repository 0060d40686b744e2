//! What others see of the parked calls.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::{fact::LetterCounts, outcome::Class};

/// The parked calls as an operator sees them. Bounded by the number of vendors and of classes, whatever the errors say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DlqSnapshot {
    /// Waiting for a person or a replay.
    pub dead: u64,
    /// Waiting for the vendor.
    pub later: u64,
    /// May have happened.
    pub unknown: u64,
    /// Of the dead and later ones: tried too often, and not tried by themselves any more.
    pub given_up: u64,
    /// By vendor.
    pub by_vendor: BTreeMap<String, LetterCounts>,
    /// All of them by vendor and class of error.
    pub by_class: BTreeMap<String, BTreeMap<Class, u64>>,
    /// When the oldest was parked.
    pub oldest_at: Option<Timestamp>,
    /// When the next one is due.
    pub next_due_at: Option<Timestamp>,
    /// Durable calls that are under way or wait for their turn. They are not parked.
    pub accepted: usize,
    /// Most of those.
    pub accepted_max: usize,
    /// Taken, and not back yet.
    pub taken: usize,
    /// Most parked ones.
    pub letters_max: usize,
}

impl DlqSnapshot {
    /// All of them.
    pub fn pending(&self) -> u64 {
        self.dead + self.later + self.unknown
    }
}
