//! The parked calls, in an application's hands: list, count, replay, export, purge.

use std::sync::Arc;

use actix::Handler;
use mainstay_actors::{
    dlq::{DlqActor, DlqError, Filter, Kind, LetterId, List, PAGE_MAX, Page, ParkedLetter, Purge, Replay},
    fact::FinalState,
    idempotency::{End, KeyReport},
    kernel::Lost,
};

use crate::{gateway::Gateway, verdict::CRASHES_MAX};

/// Most letters one replay takes; the next takes the rest.
const REPLAY_MAX: usize = 10_000;

/// The parked calls did not do it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LettersError {
    /// The queue said no.
    #[error(transparent)]
    Queue(#[from] DlqError),
    /// Its actor crashed again and again with the question in hand, or was stopped.
    #[error("the dead letter queue does not answer: {0}")]
    Lost(#[from] Lost),
}

/// Dead letters, calls queued for later, and unknown ones.
#[derive(Clone)]
pub struct DeadLetters {
    gateway: Arc<Gateway>,
}

impl DeadLetters {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// One page of those that match, oldest first. `after` is the page before's `next`.
    ///
    /// # Errors
    ///
    /// [`LettersError`] when the store or its actor does not answer.
    pub async fn list(&self, filter: Filter, after: Option<u64>) -> Result<Page, LettersError> {
        self.ask(|| List { filter: filter.clone(), after, max: PAGE_MAX }).await
    }

    /// Makes those that match due now, with fresh attempts; they go through the guards and pay like every call. Those that
    /// arrive later are not among them, and unknown ones only by their id. Returns how many.
    ///
    /// # Errors
    ///
    /// [`LettersError`] when the store or its actor does not answer.
    pub async fn replay(&self, filter: Filter) -> Result<u64, LettersError> {
        self.ask(|| Replay { filter: filter.clone(), max: REPLAY_MAX }).await
    }

    /// Everything that matches as JSON lines, oldest first, page by page: `write` gets one line at a time, without its end.
    ///
    /// # Errors
    ///
    /// [`LettersError`] when the store or its actor does not answer.
    pub async fn export(&self, filter: Filter, mut write: impl FnMut(&str)) -> Result<u64, LettersError> {
        let (mut after, mut lines) = (None, 0);
        loop {
            let page = self.list(filter.clone(), after).await?;
            for parked in &page.letters {
                let line = serde_json::to_string(parked).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
                write(&line);
                lines += 1;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(lines),
            }
        }
    }

    /// Removes letters for good. Their calls are not done any more and count as cancelled, and their keys are free; the key of an unknown one stays
    /// blocked, because its effect may have happened. Returns how many were there.
    ///
    /// # Errors
    ///
    /// [`LettersError`] when the store or its actor does not answer.
    pub async fn purge(&self, ids: Vec<LetterId>) -> Result<u64, LettersError> {
        let mut number = 0;
        for some in ids.chunks(PAGE_MAX) {
            let page = self.list(Filter::ids(some.to_vec()), None).await?;
            let purged = self.ask(|| Purge { ids: some.to_vec() }).await?;
            number += purged.gone.len() as u64;
            let gone = |parked: &&ParkedLetter| purged.gone.contains(&parked.letter.id);
            page.letters.iter().filter(gone).for_each(|parked| self.let_go(parked));
            if let Some(error) = purged.failed {
                return Err(DlqError::from(error).into());
            }
        }
        Ok(number)
    }

    /// A person took the call back: it counts as cancelled, and nobody stands for its key any more.
    fn let_go(&self, parked: &ParkedLetter) {
        let letter = &parked.letter;
        self.gateway.tally.moved(&letter.vendor, state_of(parked.state.kind), FinalState::Cancelled);
        if parked.state.kind == Kind::Unknown {
            return;
        }
        if let (Some(route), Some(key)) = (self.gateway.routes.get(&letter.vendor), &letter.key) {
            let report = KeyReport::Resolved { key: key.clone(), call: letter.call, end: End::Free };
            route.key_reports.push(report);
        }
    }

    /// Asks again when the actor crashed with the question in hand: each question is idempotent.
    async fn ask<M, T>(&self, question: impl Fn() -> M) -> Result<T, LettersError>
    where
        M: actix::Message<Result = Result<T, DlqError>> + Send + 'static,
        T: Send + 'static,
        DlqActor: Handler<M>,
    {
        let mut crashes = 0;
        loop {
            match self.gateway.ask_dlq(question()).await {
                Ok(Err(DlqError::Restarting)) | Err(Lost::Crashed) if crashes < CRASHES_MAX => crashes += 1,
                Ok(answer) => return Ok(answer?),
                Err(lost) => return Err(lost.into()),
            }
        }
    }
}

/// Where the call of a parked letter stands.
pub(crate) fn state_of(kind: Kind) -> FinalState {
    match kind {
        Kind::Dead => FinalState::DeadLettered,
        Kind::Later => FinalState::Queued,
        Kind::Unknown => FinalState::Unknown,
    }
}
