//! Who passed every guard, and how it comes to whoever waits for it.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Instant};

use mainstay_actors::{
    client::Failed,
    clock::Clock,
    credits::Credits,
    ids::CallId,
    outcome::{Class, Effect, Outcome},
    ticket::{Reply, Ticket},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Tickets that passed every guard go to whoever waits for them.
pub(super) type Waiting = Arc<Mutex<BTreeMap<CallId, oneshot::Sender<Ticket>>>>;

/// Tickets that passed go to whoever waits for them. One that nobody waits for any more gives back what it holds.
pub(super) async fn hand_over(
    mut passed: mpsc::UnboundedReceiver<Ticket>,
    waiting: Waiting,
    mut stopped: oneshot::Receiver<Infallible>,
) {
    loop {
        let ticket = tokio::select! {
            biased;
            _ = &mut stopped => return,
            ticket = passed.recv() => ticket,
        };
        let Some(ticket) = ticket else { return };
        let waits = waiting.lock().remove(&ticket.call().id);
        if let Some(waits) = waits {
            let _ = waits.send(ticket);
        }
    }
}

/// A place among those who wait, left when it is dropped.
pub(super) struct Place {
    waiting: Waiting,
    call: CallId,
}

impl Place {
    pub(super) fn take(waiting: &Waiting, call: CallId) -> (Self, oneshot::Receiver<Ticket>) {
        let (sender, passed) = oneshot::channel();
        waiting.lock().insert(call, sender);
        (Self { waiting: waiting.clone(), call }, passed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.waiting.lock().remove(&self.call);
        drop(left);
    }
}

/// Every guard let it pass, and counts on hearing how it ends. Dropped before [`Pass::begin`], it gives everything back and
/// counts as nothing; dropped after it, nobody knows what came of the work: a breaker takes that for a failure, and a budget
/// keeps the money reserved.
#[derive(Debug)]
#[must_use = "a pass that is dropped was not used"]
pub struct Pass {
    ticket: Ticket,
    /// Open, or the ticket counts as unwanted; what it says in the end nobody needs.
    reply: oneshot::Receiver<Reply>,
    began: Instant,
    clock: Clock,
}

impl Pass {
    pub(super) fn new(ticket: Ticket, reply: oneshot::Receiver<Reply>, clock: &Clock) -> Self {
        Self { ticket, reply, began: clock.now(), clock: clock.clone() }
    }

    /// The work begins now: from here on it may have had its effect.
    pub fn begin(&mut self) {
        self.began = self.clock.now();
        // Nobody has the flight that could take it back.
        let _ = self.ticket.begin_sending();
    }

    /// It is done. Without a cost it cost what it was estimated at.
    pub fn done(self, cost: impl Into<Option<Credits>>) {
        let outcome = Outcome::without_answer(Class::Success, Effect::Done, "done");
        self.end(Outcome { cost: cost.into(), ..outcome });
    }

    /// It failed.
    pub fn failed(self, failed: Failed) {
        self.end(failed.into());
    }

    fn end(self, outcome: Outcome) {
        let elapsed = self.clock.now().saturating_duration_since(self.began);
        self.ticket.settle(Outcome { elapsed, ..outcome });
        drop(self.reply);
    }
}
