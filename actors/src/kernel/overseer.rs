//! What the kernel needs of a supervisor, and what a supervisor sees of a child. The rules live above, in the runtime.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;

use super::Worker;
use crate::{
    ids::ActorId,
    store::{StoreError, WriteSet},
};

/// How an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A handler, a timer, `started` or a destructor panicked.
    Panic,
    /// The factory panicked: there was no incarnation yet.
    Factory,
    /// It did not return for too long and was replaced.
    Hang,
    /// It stopped itself.
    Stopped,
    /// Its supervisor replaced it because of a sibling, or a person did.
    Relaunched,
}

impl Cause {
    /// The name used in facts and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Factory => "factory",
            Self::Hang => "hang",
            Self::Stopped => "stopped",
            Self::Relaunched => "relaunched",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The record of one exit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exit {
    /// How.
    pub cause: Cause,
    /// The panic's text and place, or what was seen.
    pub detail: Arc<str>,
    /// Which incarnation.
    pub generation: u64,
    /// The message it had begun, with its call, if any.
    pub in_hand: Option<Arc<str>>,
}

/// What a supervisor decides about a child that exited.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Start the next incarnation after this pause.
    Restart {
        /// The pause; the mailbox goes on taking messages.
        after: Duration,
    },
    /// Keep the queue and do not run: the restart limit is passed.
    Park {
        /// Which limit, in words.
        cause: Arc<str>,
    },
    /// It ended as it should.
    Leave,
}

/// The supervisor of a child.
pub trait Overseer: Send + Sync {
    /// An incarnation ended: what now? Called on the child's thread, with no lock held.
    fn on_exit(&self, child: &ActorId, exit: &Exit) -> Verdict;
    /// An incarnation runs.
    fn on_start(&self, child: &ActorId, generation: u64);
    /// A report was set aside after it crashed the child too often.
    fn on_report_set_aside(&self, child: &ActorId, attempts: u32);
}

/// What becomes of a message on its way to an actor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// It is handled.
    #[default]
    Arrives,
    /// It is handled after a pause, and what is queued behind it waits as well. Reports do not.
    Late(Duration),
    /// It is dropped, as by a crash: whoever waits for it hears so, and what it holds is given back.
    Lost,
}

/// A fault injector's seats: in every handler, in front of every mailbox, and in the store.
pub trait Hazard: Send + Sync {
    /// Called when `actor` begins `message`: it may panic, block or do nothing.
    fn strike(&self, actor: &ActorId, message: &'static str);

    /// Called when `actor` takes a message out of its mailbox. Reports are not asked about: they are delivered until applied.
    fn fate(&self, _actor: &ActorId) -> Fate {
        Fate::Arrives
    }

    /// Called before a group is committed: why the engine fails instead of trying.
    fn fail_write(&self, _sets: &[WriteSet]) -> Option<StoreError> {
        None
    }

    /// Called when a set is given to the store: how much later than it is done it is acknowledged.
    fn delay_write(&self, _set: &WriteSet) -> Duration {
        Duration::ZERO
    }
}

/// No faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHazard;

impl Hazard for NoHazard {
    fn strike(&self, _: &ActorId, _: &'static str) {}
}

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// Ordered, not yet running.
    Starting,
    /// Serving.
    Up,
    /// Waiting to be restarted.
    Backoff,
    /// Past its restart limit; its queue is kept.
    Parked,
    /// Stopped for good.
    Stopped,
}

/// A child as its supervisor and an operator see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChildStatus {
    /// Its path in the tree.
    pub id: ActorId,
    /// What it is doing.
    pub state: ChildState,
    /// The present incarnation's number, from 1.
    pub generation: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// Messages waiting.
    pub mailbox: usize,
    /// Reports waiting.
    pub reports: usize,
    /// The last exit, if there was one.
    pub last_exit: Option<Exit>,
    /// Why it is parked.
    pub parked: Option<Arc<str>>,
    /// The thread it lives on.
    pub thread: Arc<str>,
}

/// A child in its supervisor's hands, whatever its type.
pub trait Child: Send + Sync {
    /// Its path in the tree.
    fn id(&self) -> &ActorId;
    /// What it is doing.
    fn status(&self) -> ChildStatus;
    /// Starts the first incarnation, or one in place of the present, which is fenced and awaited.
    fn launch(&self);
    /// Moves to another thread without waiting for the present incarnation, whose thread is stuck.
    fn evacuate(&self, to: Worker);
    /// The thread it lives on.
    fn worker(&self) -> Worker;
    /// Keeps the queue and stops serving.
    fn park(&self, cause: Arc<str>);
    /// Stops for good; what is still queued is dropped, which answers it.
    fn stop(&self);
}
