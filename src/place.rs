//! A call's place in the table of live calls.

use mainstay_actors::{ids::CallId, refusal::Refusal};

use crate::gateway::Gateway;

/// Why a call does not get one.
pub(crate) enum NotTaken {
    /// The table is full.
    Full(Refusal),
    /// It has one: it is under way at this moment.
    UnderWay,
}

/// Given up in the end, whatever happens to the task of the call.
pub(crate) struct Place<'a>(pub(crate) &'a Gateway, pub(crate) CallId);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.take_off(self.1);
    }
}

impl Gateway {
    /// The runtime stops and waits for no answer any more: what is on the wire is written down as unknown.
    pub(crate) fn abandon_all(&self) {
        self.abandoned.send_replace(true);
    }

    /// Until [`Self::abandon_all`].
    pub(crate) async fn is_abandoned(&self) {
        // The sender lives as long as the gateway.
        let _ = self.abandoned.subscribe().wait_for(|abandoned| *abandoned).await;
    }
}
