//! What the breaker is told beside tickets and reports.

use actix::Message;

use super::Control;
use crate::{fact::BreakerState, kernel::Fenced};

/// Answers the state it was in; `Fenced` when the actor was replaced at that moment and nothing was done.
impl Message for Control {
    type Result = Result<BreakerState, Fenced>;
}
