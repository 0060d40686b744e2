//! The parked calls, in an application's hands: list, replay, purge, export, import. Their numbers are in the
//! [`Snapshot`](crate::Snapshot).

mod replay;
mod transfer;

use std::sync::Arc;

use actix::Handler;
use mainstay_actors::{
    dlq::{Choose, Chosen, DlqActor, DlqError, Filter, Kind, List, PAGE_MAX, Page, ParkedLetter, Purge},
    fact::FinalState,
    idempotency::{End, KeyReport},
    ids::LetterId,
    kernel::Lost,
};

use crate::{gateway::Gateway, verdict::CRASHES_MAX};

pub use replay::{REPLAY_PACE, Replay, ReplayReport, Replayed};
pub use transfer::{ImportReport, LINE_MAX_BYTES};

/// The parked calls did not do it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LettersError {
    /// The queue said no.
    #[error(transparent)]
    Queue(#[from] DlqError),
    /// Nothing to replay under this id.
    #[error("no letter {0} to replay: it was delivered or purged, or is being done right now")]
    NotThere(LetterId),
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

    /// Removes letters for good, at most `limit`, oldest first. Those that are being done right now are left alone. Their
    /// calls are not done any more and count as cancelled, and their keys are free; the key of an unknown one stays blocked,
    /// because its effect may have happened. Returns how many were removed.
    ///
    /// # Errors
    ///
    /// [`LettersError`] when the store or its actor does not answer.
    pub async fn purge(&self, filter: Filter, limit: Option<usize>) -> Result<u64, LettersError> {
        let mut number = 0;
        for some in self.choose(filter, limit).await?.chunks(PAGE_MAX) {
            let ids: Vec<_> = some.iter().map(|chosen| chosen.id).collect();
            let page = self.list(Filter::ids(ids.clone()), None).await?;
            let purged = self.ask(|| Purge { ids: ids.clone() }).await?;
            number += purged.gone.len() as u64;
            let gone = |parked: &&ParkedLetter| purged.gone.contains(&parked.letter.id);
            page.letters.iter().filter(gone).for_each(|parked| self.let_go(parked));
            if let Some(error) = purged.failed {
                return Err(DlqError::from(error).into());
            }
        }
        Ok(number)
    }

    /// Which letters are meant at this moment.
    async fn choose(&self, filter: Filter, limit: Option<usize>) -> Result<Vec<Chosen>, LettersError> {
        self.ask(|| Choose { filter: filter.clone(), max: limit.unwrap_or(usize::MAX) }).await
    }

    /// A person took the call back: it counts as cancelled, and nobody stands for its key any more.
    fn let_go(&self, parked: &ParkedLetter) {
        let letter = &parked.letter;
        self.gateway.tally.moved(&letter.vendor, state_of(parked.state.kind), FinalState::Cancelled);
        if parked.state.kind == Kind::Unknown {
            return self.gateway.effects.purged(letter.call);
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
        Kind::Later | Kind::Accepted => FinalState::Queued,
        Kind::Unknown => FinalState::Unknown,
    }
}
