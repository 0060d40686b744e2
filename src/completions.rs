//! Ends that come from outside: a vendor's callback, or what a person found out.

use std::{sync::Arc, time::Duration};

use actix::Addr;
use mainstay_actors::{
    call::AcceptedCall,
    dlq::{DlqActor, DlqError, Ended, Failure, Finish, Kind, LetterId, LetterState, Park, Parked},
    fact::{Fact, FactSink, FinalState},
    fallback::Remember,
    idempotency::{End, KeyReport},
    ids::{ActorId, CallId},
    kernel::{ChildState, Lost, Resident, ask},
    outcome::{Class, Effect},
};
use serde_json::Value;

use crate::{
    answer::{Completion, Delivered, Shared},
    effects::{Found, Kind as Open},
    error::NotOpen,
    gateway::Gateway,
    live::Place,
    verdict::CRASHES_MAX,
};

/// The dead letter queue's place in the tree.
pub(crate) const DLQ: &str = "runtime/dlq";

/// How often whoever waits for an answer looks whether its actor still serves.
const DOWN_LOOK: Duration = Duration::from_millis(500);

/// Why a call was not written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotParked {
    #[error(transparent)]
    Queue(#[from] DlqError),
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl Gateway {
    /// Ends an effect.
    pub(crate) async fn complete(&self, call: CallId, completion: Completion) -> Result<(), NotOpen> {
        let ended = match self.effects.complete(call, completion.clone(), || self.live.contains(call)) {
            Found::Ended(ended) => ended,
            Found::Early => return Ok(()),
            Found::Nothing => return Err(NotOpen { call }),
        };
        let end = completion.ended();
        let vendor = ended.call.vendor.clone();
        tracing::debug!(target: "mainstay::effects", %vendor, %call, class = %end.class, effect = ?end.effect, "the end of a call to {vendor} came");
        let (class, effect, cost) = (end.class, end.effect, end.cost);
        let was_unknown = matches!(ended.kind, Open::Unknown(_));
        self.facts.state(Fact::EffectEnded { vendor, call, class, effect, cost, was_unknown });
        if let Completion::Happened { answer: Some(answer), .. } = &completion {
            self.remember(&ended.call, answer.clone());
        }
        let (letter, counted) = match ended.kind {
            Open::Accepted => return Ok(()),
            Open::Unknown(letter) => (letter, FinalState::Unknown),
            Open::Purged => (None, FinalState::Cancelled),
        };
        let state = self.resolve(&ended.call, letter, completion).await;
        self.tally.moved(&ended.call.vendor, counted, state);
        self.ended(&ended.call, state);
        Ok(())
    }

    /// Ends an effect by what the vendor said of its end.
    pub(crate) async fn complete_by(&self, call: CallId, said: Value) -> Result<(), NotOpen> {
        let known = self.effects.call_of(call).or_else(|| self.live.call_of(call)).ok_or(NotOpen { call })?;
        let completion = self.read_end(&known, said).ok_or(NotOpen { call })?;
        self.complete(call, completion).await
    }

    /// Reads the end of an effect as its operation says.
    pub(crate) fn read_end(&self, call: &AcceptedCall, said: Value) -> Option<Completion> {
        let profile = &self.routes.get(&call.vendor)?.profile;
        let end = &profile.operation(call.target.as_ref(), &call.operation)?.end;
        Some(Completion::read(end.read(&said), said))
    }

    /// Takes an ended call off the table. Its end may have come already: then it is ended at once.
    pub(crate) async fn end_of_call(&self, place: Place<'_>) {
        let call = place.call;
        drop(place);
        if let Some(completion) = self.effects.take_early(call) {
            // For a call that had no effect it was a mistake of the application's.
            let _ = self.complete(call, completion).await;
        }
    }

    /// Keeps a good answer for an outage. Losing one is harmless: it never turns a paid success into anything else.
    pub(crate) fn remember(&self, call: &Arc<AcceptedCall>, answer: Value) {
        let Some(route) = self.routes.get(&call.vendor).filter(|route| route.fallback.cache.is_some()) else { return };
        let _ = route.remember.pass(Remember { call: call.clone(), answer: Arc::new(answer) });
    }

    /// An unknown call is known: its key and its letter hear of it. Returns where the call stands now.
    async fn resolve(&self, call: &Arc<AcceptedCall>, letter: Option<LetterId>, completion: Completion) -> FinalState {
        let end = completion.ended();
        if end.effect != Effect::None {
            let answer = match completion {
                Completion::Happened { answer, .. } | Completion::Failed { answer, .. } => answer,
                Completion::DidNotHappen => None,
            };
            let delivered = Delivered {
                call: call.id,
                body: answer.unwrap_or(Value::Null),
                vendor_ref: None,
                pending: false,
                attempts: 1,
                cost: end.cost,
            };
            self.resolve_as_done(call, letter, delivered).await;
            return FinalState::Delivered;
        }
        self.resolve_key(call, End::Free);
        let Some(letter) = letter else { return FinalState::Cancelled };
        let class = if completion == Completion::DidNotHappen { Class::Abandoned } else { end.class };
        let error = Failure::new(class, None, "it was found out that it did not happen");
        self.finish_letter(Finish::new(letter, Ended::Became { kind: Kind::Dead, due: None, error })).await;
        FinalState::DeadLettered
    }

    /// An unknown call was found at the vendor: it counts as delivered, and what it owes is still to come.
    pub(crate) async fn was_done(&self, call: &AcceptedCall, letter: Option<LetterId>, delivered: Delivered) {
        self.resolve_as_done(call, letter, delivered).await;
        self.tally.moved(&call.vendor, FinalState::Unknown, FinalState::Delivered);
        self.ended(call, FinalState::Delivered);
    }

    /// An unknown call was done.
    async fn resolve_as_done(&self, call: &AcceptedCall, letter: Option<LetterId>, delivered: Delivered) {
        self.resolve_key(call, End::Done(Shared::Delivered(Arc::new(delivered))));
        if let Some(letter) = letter {
            self.finish_letter(Finish::new(letter, Ended::Delivered)).await;
        }
    }

    fn resolve_key(&self, call: &AcceptedCall, end: End<Shared>) {
        if let (Some(route), Some(key)) = (self.routes.get(&call.vendor), &call.key) {
            route.key_reports.push(KeyReport::Resolved { key: key.clone(), call: call.id, end });
        }
    }

    /// Asks the dead letter queue.
    pub(crate) async fn ask_dlq<M>(&self, question: M) -> Result<M::Result, Lost>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        DlqActor: actix::Handler<M>,
    {
        self.ask_unless_down(&self.dlq, &ActorId::new(DLQ), question).await
    }

    /// Asks an actor. One that is parked past its restart limit keeps the question and never answers: then nobody waits.
    pub(crate) async fn ask_unless_down<A, M>(
        &self,
        actor: &Addr<A>,
        id: &ActorId,
        question: M,
    ) -> Result<M::Result, Lost>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        A: Resident + actix::Handler<M>,
    {
        let is_down = || matches!(self.tree.state_of(id), Some(ChildState::Parked | ChildState::Stopped));
        // Nor is its queue filled with questions that nobody waits for.
        if is_down() {
            return Err(Lost::Stopped);
        }
        let until_down = async {
            while !is_down() {
                tokio::time::sleep(DOWN_LOOK).await;
            }
        };
        tokio::select! {
            biased;
            answer = ask(actor, question) => answer,
            () = until_down => Err(Lost::Stopped),
        }
    }

    /// Writes a call down.
    pub(crate) async fn park(&self, park: Park) -> Result<Parked, NotParked> {
        let mut crashes = 0;
        loop {
            match self.ask_dlq(park.clone()).await {
                Ok(Ok(parked)) => return Ok(parked),
                Ok(Err(DlqError::Restarting)) | Err(Lost::Crashed) if crashes < CRASHES_MAX => crashes += 1,
                Ok(Err(error)) => return Err(error.into()),
                Err(lost) => return Err(lost.into()),
            }
        }
    }

    /// Writes down what became of a parked call, and returns its state, if it is still there. A failure is logged: the letter
    /// stays, and is tried or shown again.
    pub(crate) async fn finish_letter(&self, finish: Finish) -> Option<LetterState> {
        let mut crashes = 0;
        let problem = loop {
            match self.ask_dlq(finish.clone()).await {
                Ok(Ok(state)) => return state,
                Ok(Err(DlqError::Restarting)) | Err(Lost::Crashed) if crashes < CRASHES_MAX => crashes += 1,
                Ok(Err(error)) => break error.to_string(),
                Err(lost) => break lost.to_string(),
            }
        };
        tracing::error!(target: "mainstay::dlq", letter = %finish.id, %problem, "what became of a parked call was not written down");
        None
    }
}
