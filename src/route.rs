//! The way into one vendor: what the gateway and the attempt loops hold of its actors.

use std::{collections::BTreeMap, sync::Arc};

use actix::Addr;
use mainstay_actors::{
    call::Step,
    fallback::{FallbackActor, FallbackConfig, LocalFn, Remember},
    idempotency::{IdempotencyActor, KeyReport},
    ids::{ActorId, LaneId},
    kernel::{Door, Reports},
    profile::{Profile, RetryBudget},
    refusal::Guard,
    ticket::Ticket,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{answer::Shared, controls::Controls, supervision::SupervisorKey};

/// One vendor's entrances.
pub(crate) struct Route {
    /// Where its attempt loops sit for the fault injector: `clay/attempts`.
    pub(crate) loops: ActorId,
    pub(crate) profile: Arc<Profile>,
    pub(crate) lanes: BTreeMap<LaneId, Door<Ticket>>,
    /// The way in for questions about open effects, which may hold every permit of their lanes: behind those.
    pub(crate) questions: Door<Ticket>,
    /// How many questions may be asked now.
    pub(crate) asking: Semaphore,
    pub(crate) keys: Addr<IdempotencyActor<Shared>>,
    pub(crate) key_reports: Reports<KeyReport<Shared>>,
    pub(crate) cache: Addr<FallbackActor>,
    /// Its name in the tree.
    pub(crate) cache_actor: ActorId,
    pub(crate) remember: Door<Remember>,
    pub(crate) fallback: FallbackConfig,
    pub(crate) local: Option<LocalFn>,
    pub(crate) supervisor: SupervisorKey,
    pub(crate) controls: Controls,
    /// Which of its calls may be tried again. Asked for a moment, by the attempt loops.
    pub(crate) retries: Mutex<RetryBudget>,
}

impl Route {
    /// Whether there is anything to be had from a step of the chain.
    pub(crate) fn has(&self, step: Step) -> bool {
        match step {
            Step::Cache => self.fallback.cache.is_some(),
            Step::Local => self.local.is_some(),
            Step::Queue | Step::DeadLetter => true,
        }
    }

    /// Sends a ticket into its lane. Whatever happens, the ticket answers.
    pub(crate) fn enter(&self, lane: &LaneId, ticket: Ticket) {
        // The gateway accepted the call for a known lane; dropping the ticket answers "abandoned".
        let Some(door) = self.lanes.get(lane) else { return };
        if let Err(full) = door.pass(ticket) {
            full.body.refuse_full(Guard::Lane, "mailbox of the lane", full.held, full.limit);
        }
    }

    /// Sends a question on its way. Whatever happens, the ticket answers.
    pub(crate) fn enter_question(&self, ticket: Ticket) {
        if let Err(full) = self.questions.pass(ticket) {
            full.body.refuse_full(Guard::Gate, "mailbox of the vendor gate", full.held, full.limit);
        }
    }
}
