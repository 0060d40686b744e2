//! What the breaker is told beside tickets and reports.

use actix::Message;

use crate::{fact::BreakerState, kernel::Fenced};

/// An operator closes the breaker: a new period, nothing counted, no probe remembered. Answers the state it was in; `Fenced`
/// when the actor was replaced at that moment and nothing was done.
#[derive(Debug, Clone, Copy)]
pub struct Reset;

impl Message for Reset {
    type Result = Result<BreakerState, Fenced>;
}
