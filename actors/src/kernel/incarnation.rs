//! What one incarnation of an actor may touch: its state, its licence to change it, and the way to itself.

use std::sync::Arc;

use actix::{Addr, WeakAddr};
use parking_lot::Mutex;

use super::{Fate, Fence, Fenced, Hazard, Reports, Resident};
use crate::ids::{ActorId, CallId};

/// What one incarnation holds: its licence, its state, and the way to itself.
pub struct Incarnation<A: Resident> {
    pub(super) fence: Fence,
    pub(super) shared: Arc<Shared<A::State>>,
    pub(super) address: WeakAddr<A>,
    pub(super) reports: Reports<A::Report>,
}

/// The part of a vault that an incarnation may touch.
pub(super) struct Shared<S> {
    pub(super) id: ActorId,
    pub(super) state: Mutex<S>,
    in_hand: Mutex<Option<InHand>>,
    hazard: Arc<dyn Hazard>,
}

/// What an incarnation has begun. A replaced one that wakes up does not write over its successor's.
struct InHand {
    generation: u64,
    message: &'static str,
    call: Option<CallId>,
}

impl<A: Resident> Incarnation<A> {
    /// Notes what is begun, for the crash record, and lets the fault injector strike. The first line of every handler.
    pub fn begin(&self, message: &'static str, call: Option<CallId>) {
        let generation = self.fence.generation();
        {
            let mut in_hand = self.shared.in_hand.lock();
            if in_hand.as_ref().is_none_or(|known| known.generation <= generation) {
                *in_hand = Some(InHand { generation, message, call });
            }
        }
        self.shared.hazard.strike(&self.shared.id, message);
    }

    /// Decides on the state, then applies the decision. `decide` may panic: nothing is changed then. `apply` must not.
    /// After a replacement nothing is decided, and the caller drops what it holds.
    pub fn commit<D, T>(
        &self,
        decide: impl FnOnce(&A::State) -> D,
        apply: impl FnOnce(&mut A::State, D) -> T,
    ) -> Result<T, Fenced> {
        let mut state = self.shared.state.lock();
        if !self.fence.is_current() {
            return Err(Fenced);
        }
        let decision = decide(&state);
        Ok(apply(&mut state, decision))
    }

    /// Reads the state.
    pub fn read<T>(&self, look: impl FnOnce(&A::State) -> T) -> T {
        look(&self.shared.state.lock())
    }

    /// The queue by which grants of this actor report back to it.
    pub fn reports(&self) -> &Reports<A::Report> {
        &self.reports
    }

    /// The actor's path in the tree.
    pub fn id(&self) -> &ActorId {
        &self.shared.id
    }

    /// The number of this incarnation and whether it is still the current one.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The public address, which every incarnation shares. `ctx.address()` would die with this one.
    pub fn address(&self) -> Option<Addr<A>> {
        self.address.upgrade()
    }
}

impl<S> Shared<S> {
    pub(super) fn new(id: ActorId, state: S, hazard: Arc<dyn Hazard>) -> Self {
        Self { id, state: Mutex::new(state), in_hand: Mutex::new(None), hazard }
    }

    /// What becomes of the message that was just taken.
    pub(super) fn fate(&self) -> Fate {
        self.hazard.fate(&self.id)
    }

    /// The message was handled.
    pub(super) fn done(&self, generation: u64) {
        self.in_hand.lock().take_if(|known| known.generation == generation);
    }

    /// What this incarnation had begun, in words.
    pub(super) fn take_in_hand(&self, generation: u64) -> Option<Arc<str>> {
        let in_hand = self.in_hand.lock().take_if(|known| known.generation == generation)?;
        Some(match in_hand.call {
            Some(call) => format!("{} of call {call}", in_hand.message).into(),
            None => in_hand.message.into(),
        })
    }
}
