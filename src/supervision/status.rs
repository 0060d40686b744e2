//! What the tree shows of itself.

use std::sync::Arc;

use mainstay_actors::{
    ids::{ActorId, VendorId},
    kernel::ChildStatus,
};
use serde::Serialize;

use super::spec::Strategy;

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Incarnations that ended with a panic, in the factory too.
    pub panics: u64,
    /// Incarnations that blocked their thread.
    pub hangs: u64,
    /// Incarnations after the first.
    pub restarts: u64,
    /// Times that an actor was parked.
    pub parked: u64,
}

/// One supervisor and its children.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupervisorStatus {
    /// Its path in the tree.
    pub id: ActorId,
    /// Whose actors it holds.
    pub vendor: Option<VendorId>,
    /// Who else is started again.
    pub strategy: Strategy,
    /// Why it is down, if it is.
    pub down: Option<Arc<str>>,
    /// In order of start.
    pub children: Vec<ChildStatus>,
}

/// The whole tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TreeStatus {
    /// In the order they were made.
    pub supervisors: Vec<SupervisorStatus>,
    /// Counts since the start.
    pub totals: Totals,
    /// Why the runtime can not go on, if so.
    pub fatal: Option<Arc<str>>,
}
