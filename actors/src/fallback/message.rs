//! What the cache is told and asked.

use std::sync::Arc;

use actix::Message;
use serde_json::Value;

use super::Hit;
use crate::call::AcceptedCall;

/// The vendor answered: remember it. Sent through a `Door` as a `Hop`, and dropped when the door is full: losing one is
/// harmless, and a success is a success whatever becomes of its copy. See [`super::is_worth_keeping`].
#[derive(Debug, Clone)]
pub struct Remember {
    /// Whose answer; its operation, tenant and payload name it.
    pub call: Arc<AcceptedCall>,
    /// The vendor's answer.
    pub answer: Arc<Value>,
}

/// What did the vendor last answer to this? Asked with `kernel::ask`; a lost question is a miss.
#[derive(Debug, Clone)]
pub struct Recall {
    /// Whose question; its operation, tenant and payload name it.
    pub call: Arc<AcceptedCall>,
}

impl Message for Recall {
    type Result = Option<Hit>;
}
