//! The shape of what is seen. Counters only grow; rates are the reader's to make.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_actors::{
    breaker::BreakerSnapshot,
    budget::BudgetSnapshot,
    bulkhead::{GateSnapshot, LaneSnapshot},
    client::ClientSnapshot,
    dlq::DlqSnapshot,
    fact::Event,
    fallback::FallbackSnapshot,
    health::HealthSnapshot,
    idempotency::KeySnapshot,
    profile::RetrySnapshot,
};
use serde::Serialize;

use crate::{store::StoreStatus, supervision::TreeStatus, tally::Counts};

/// One vendor.
#[derive(Debug, Clone, Serialize)]
pub struct VendorSnapshot {
    /// Why it refuses, when its actors are down.
    pub down: Option<String>,
    /// What became of its calls.
    pub calls: Counts,
    /// Its lanes, in the configured order.
    pub lanes: Vec<LaneSnapshot>,
    /// Its cap and rate.
    pub gate: GateSnapshot,
    /// Its circuit breakers, one for each group of operations at each target: the vendor's own first.
    pub breakers: Vec<BreakerSnapshot>,
    /// Its budget.
    pub budget: BudgetSnapshot,
    /// Its client.
    pub client: ClientSnapshot,
    /// Which of its calls may be tried again.
    pub retries: RetrySnapshot,
    /// Its keys.
    pub keys: KeySnapshot,
    /// Its cache.
    pub fallback: FallbackSnapshot,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// When it was put together.
    pub at: Timestamp,
    /// The version of the runtime.
    pub version: &'static str,
    /// True while the runtime takes nothing on any more.
    pub shutting_down: bool,
    /// Health, with its reasons.
    pub health: HealthSnapshot,
    /// What became of every call.
    pub calls: Counts,
    /// Effects whose end is owed or unknown.
    pub open_effects: usize,
    /// Ends that did not come in time, so far.
    pub overdue_total: u64,
    /// The vendors, by name.
    pub vendors: BTreeMap<String, VendorSnapshot>,
    /// The parked calls.
    pub parked: DlqSnapshot,
    /// The files they are in.
    pub store: StoreStatus,
    /// The supervision tree.
    pub tree: TreeStatus,
    /// The last rare facts, oldest first.
    pub events: Vec<Event>,
}
