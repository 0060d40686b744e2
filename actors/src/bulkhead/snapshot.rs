//! What others may see of a lane and of the gate.

use std::sync::Arc;

use serde::Serialize;

use super::{config::StrictWindow, message::OpenCircuit};
use crate::ids::{LaneId, VendorId};

/// What others may see of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneSnapshot {
    /// The vendor.
    pub vendor: VendorId,
    /// The lane.
    pub lane: LaneId,
    /// Why nothing starts, while an operator has paused it.
    pub paused: Option<Arc<str>>,
    /// Its permits.
    pub concurrency: usize,
    /// Permits out. After a lowering there may be more than the lane has, until they are back.
    pub running: usize,
    /// Calls waiting.
    pub queued: usize,
    /// Calls that may wait.
    pub queue_max: usize,
    /// Refused because the queue was full or the breaker open.
    pub refused_total: u64,
    /// Taken out of the queue because they waited too long (a pause included) or nobody wanted them any more.
    pub expired_total: u64,
    /// Given a permit.
    pub dispatched_total: u64,
    /// How long the first in the queue has waited.
    pub oldest_wait_ms: u64,
    /// How long the median of the last 128 that ran had waited.
    pub wait_p50_ms: u64,
    /// How long 95 of 100 of them had waited at most.
    pub wait_p95_ms: u64,
    /// The longest wait of all that ran.
    pub wait_max_ms: u64,
    /// Whose calls do not pass, and why.
    pub closed_by: Vec<OpenCircuit>,
}

/// One lane's line at the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineSnapshot {
    /// The lane.
    pub lane: LaneId,
    /// Its weight.
    pub weight: u32,
    /// Calls waiting for a slot or a token.
    pub waiting: usize,
}

/// What others may see of a gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateSnapshot {
    /// The vendor.
    pub vendor: VendorId,
    /// Why nothing starts, while an operator has paused it.
    pub paused: Option<Arc<str>>,
    /// Slots.
    pub cap: usize,
    /// Slots in use, those in the next field included. After a lowering there may be more than the cap, until they are back.
    pub in_use: usize,
    /// Slots kept because the end of their effect is unknown; each is free when its lease runs out.
    pub leased_unknown: usize,
    /// The lines, in the order of the configuration.
    pub waiting: Vec<LineSnapshot>,
    /// Whole rate tokens there; none if there is no rate.
    pub tokens: Option<u32>,
    /// Calls a second.
    pub rate: Option<f64>,
    /// Calls at once after a pause.
    pub burst: Option<u32>,
    /// The strict window, if there is one.
    pub window: Option<StrictWindow>,
    /// Calls that the window allows at this moment.
    pub window_left: Option<u32>,
    /// Calls let through.
    pub granted_total: u64,
    /// Tokens and places in the window that came back because nothing was sent with them.
    pub returned_tokens_total: u64,
    /// Refused because a line was full, the breaker open or the lane unknown.
    pub refused_total: u64,
    /// Taken out because they waited too long or nobody wanted them any more.
    pub expired_total: u64,
    /// Slots that came free because their lease ran out.
    pub leases_ended_total: u64,
    /// For how long nothing passes because the vendor asked for a pause.
    pub paused_ms: u64,
    /// Whose calls do not pass, and why.
    pub closed_by: Vec<OpenCircuit>,
}
