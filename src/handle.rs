//! What an application holds: cheap to clone, usable from any thread and any runtime.

use std::{sync::Arc, time::Duration};

use actix::Addr;
use mainstay_actors::{
    call::{Call, Delivery},
    fact::Event,
    health::HealthSnapshot,
    ids::{CallId, VendorId},
    refusal::Refusal,
};
use serde_json::Value;
use tokio::sync::{broadcast, oneshot};

use crate::{
    answer::{Answer, CallError, Completion},
    api::ApiActor,
    debug::{DebugActor, Snapshot},
    entry::{CallResult, Entry, Leaving},
    error::{NotOpen, UnknownVendor},
    letters::DeadLetters,
    offer,
    runtime::{Core, ShutdownReport},
};

/// The way into a running runtime.
#[derive(Clone)]
pub struct Handle {
    pub(crate) core: Arc<Core>,
}

/// A call that was taken on. It goes on whether or not anybody waits for it.
#[derive(Debug)]
pub struct Receipt {
    /// Its id: in callbacks, logs, facts and dead letters.
    pub call: CallId,
    answer: oneshot::Receiver<CallResult>,
}

impl Receipt {
    /// Waits for the call's end.
    pub async fn outcome(self) -> Result<Answer, CallError> {
        let call = self.call;
        self.answer.await.unwrap_or(Err(CallError::RuntimeGone { call }))
    }
}

/// A caller that waits: when it goes away, so does its place.
struct Caller {
    entry: Arc<Entry>,
    done: bool,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.done {
            self.entry.leave(Leaving::CallerGone);
        }
    }
}

impl Handle {
    /// Makes a call and waits for its end, at most until its deadline. Dropping the future takes the call back unless it is on
    /// the wire already.
    ///
    /// # Errors
    ///
    /// A [`CallError`] that says what happened, which limit, and what to do.
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let waiting = offer::offer(&self.core.gateway, call, Delivery::InMemory).await?;
        let mut caller = Caller { entry: waiting.entry, done: false };
        let answer = waiting.answer.await;
        caller.done = true;
        answer.unwrap_or_else(|_| Err(CallError::RuntimeGone { call: caller.entry.call.id }))
    }

    /// Hands a call over and goes on. Unless it says otherwise ([`Call::delivery`]) it is on disk when this returns, and stays
    /// there until it has ended: the next process takes it up where this one left it. Its deadline bounds one run over queues and
    /// retries; past it, it waits for its turn in the queue for later.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when the call is wrong, could not be written down, or the runtime has no room or is shutting down. What a
    /// guard denies later, its [`Receipt::outcome`] tells.
    pub async fn submit(&self, call: Call) -> Result<Receipt, Refusal> {
        let waiting = offer::offer(&self.core.gateway, call, Delivery::Durable).await?;
        Ok(Receipt { call: waiting.entry.call.id, answer: waiting.answer })
    }

    /// Ends an effect that was accepted by the vendor, or of which nobody knew: by its callback, or by what a person found
    /// out. It lets the slot go and settles the money. An end that comes while its call is still under way is kept for it.
    ///
    /// # Errors
    ///
    /// [`NotOpen`] when the call has no open effect, as for a callback that came twice.
    pub async fn complete(&self, call: CallId, completion: Completion) -> Result<(), NotOpen> {
        self.core.gateway.complete(call, completion).await
    }

    /// Ends an effect by what the vendor said of its end, read by the rules of its operation ([`Operation::end`](crate::Operation::end)): for Retell
    /// the `call` of its webhook, for a third vendor whatever its configuration says. An operation without such rules takes
    /// every end for a good one.
    ///
    /// # Errors
    ///
    /// As [`Self::complete`].
    pub async fn complete_by(&self, call: CallId, said: Value) -> Result<(), NotOpen> {
        self.core.gateway.complete_by(call, said).await
    }

    /// Waits for the end of an effect that the vendor took on ([`Delivered::pending`](crate::Delivered::pending)): by
    /// callback, by poll, or by a person.
    ///
    /// # Errors
    ///
    /// [`NotOpen`] when no effect of the call is open, and when its end is overdue.
    pub async fn end_of(&self, call: CallId) -> Result<Completion, NotOpen> {
        self.core.gateway.effects.end_of(call).await.ok_or(NotOpen { call })
    }

    /// Everything that can be seen, put together from what the actors last published. Asks no worker.
    pub fn snapshot(&self) -> Snapshot {
        self.core.look.snapshot()
    }

    /// How each vendor is doing, and why: what the health actor last published. Asks no worker, and no vendor.
    pub fn health(&self) -> HealthSnapshot {
        (*self.core.look.health.get()).clone()
    }

    /// Every fact from now on. A slow reader misses some, and sees the gap in `seq`.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.core.gateway.facts.subscribe()
    }

    /// The parked calls.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.core.gateway.clone())
    }

    /// Starts a vendor again after its actors passed their restart limits.
    ///
    /// # Errors
    ///
    /// [`UnknownVendor`] with the known names.
    pub fn revive(&self, vendor: &str) -> Result<(), UnknownVendor> {
        let routes = &self.core.gateway.routes;
        let route = VendorId::new(vendor).ok().and_then(|id| routes.get(&id));
        let Some(route) = route else {
            let known = routes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(UnknownVendor { name: vendor.chars().take(80).collect(), known });
        };
        self.core.gateway.tree.revive(route.supervisor);
        Ok(())
    }

    /// The same as actix messages: [`MakeCall`](crate::MakeCall), [`Submit`](crate::Submit), [`Complete`](crate::Complete),
    /// [`GetSnapshot`](crate::debug::GetSnapshot), [`Subscribe`](crate::Subscribe),
    /// [`GetDeadLetters`](crate::GetDeadLetters), [`AdjustBudget`](crate::AdjustBudget), [`Shutdown`](crate::Shutdown).
    pub fn address(&self) -> Addr<ApiActor> {
        self.core.api.clone()
    }

    /// The debug actor: answers [`GetSnapshot`](crate::debug::GetSnapshot).
    pub fn debug(&self) -> Addr<DebugActor> {
        self.core.debug.clone()
    }

    /// Where the JSON endpoint listens, if it does.
    pub fn debug_http(&self) -> Option<std::net::SocketAddr> {
        self.core.debug_http()
    }

    /// Stops in order: takes nothing on, lets what is under way end until the deadline, parks what is left, writes it down,
    /// stops the actors in reverse order. The second call does nothing.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.core.shutdown(deadline).await
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({} calls under way)", self.core.gateway.live.len())
    }
}
