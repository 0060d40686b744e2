//! What is seen of the table of keys. No key and no payload is.

use serde::Serialize;

use super::IdempotencyConfig;
use crate::ids::VendorId;

/// Figures of the table, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySnapshot {
    /// Whose keys.
    pub vendor: VendorId,
    /// Keys a call is at work on.
    pub in_flight: usize,
    /// Keys with a stored answer.
    pub stored: usize,
    /// Keys whose effect is unknown.
    pub unknown: usize,
    /// Keys whose call is parked.
    pub parked: usize,
    /// What was counted since the start of the process.
    #[serde(flatten)]
    pub totals: KeyTotals,
    /// Most keys at a time.
    pub keys_max: usize,
}

/// Counters since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KeyTotals {
    /// Claims that joined a call in flight.
    pub joined_total: u64,
    /// Claims answered from the table.
    pub replayed_total: u64,
    /// Claims refused because the key stands for another payload.
    pub conflicts_total: u64,
    /// Claims refused for want of room.
    pub full_total: u64,
    /// Stored answers forgotten before their time, to make room.
    pub evicted_total: u64,
    /// What was to be remembered and the store did not take: after a restart it is not known.
    pub not_written_total: u64,
}

impl KeySnapshot {
    /// The snapshot of an empty table.
    pub fn empty(vendor: VendorId, config: &IdempotencyConfig) -> Self {
        let totals = KeyTotals::default();
        Self { vendor, in_flight: 0, stored: 0, unknown: 0, parked: 0, totals, keys_max: config.keys_max }
    }
}
