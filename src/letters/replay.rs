//! Parked calls done again because a person says so: which ones is settled first, then one after the other is begun at a pace.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use mainstay_actors::{
    dlq::{Chosen, Filter, Kind, LetterState, ParkedLetter, TakeChosen},
    ids::LetterId,
    kernel::Lost,
};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{DeadLetters, LettersError};
use crate::redrive::{self, Taking};

/// Time between the begins of two replays, unless the replay says otherwise: the 500 ms of seed B.
pub const REPLAY_PACE: Duration = Duration::from_millis(500);

/// How many letters of one replay are under way at a time, ours. They wait for the guards like everybody else.
const AT_A_TIME: usize = 8;

/// What came of one replay.
#[derive(Debug, Clone, PartialEq)]
pub enum Replayed {
    /// It is done, and the letter is gone.
    Delivered,
    /// It is not done. The state of the letter says why, and whether it is due again by itself, given up or unknown.
    NotDone(Box<LetterState>),
}

/// What came of many. `chosen` is the sum of `succeeded`, `again`, `permanent_failures`, `unknown` and `skipped`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Letters that matched when the replay began, at most its limit.
    pub chosen: u64,
    /// Of those, delivered or sent: a letter that a guard refused was not retried.
    pub retried: u64,
    /// Done.
    pub succeeded: u64,
    /// Not done, and due again by themselves.
    pub again: u64,
    /// Not done, and given up.
    pub permanent_failures: u64,
    /// May have happened: they wait for a callback or a person.
    pub unknown: u64,
    /// Left alone: somebody else did, purged or has them, or the runtime was shutting down.
    pub skipped: u64,
}

impl ReplayReport {
    fn add(&mut self, sent_before: u32, replayed: &Replayed) {
        match replayed {
            Replayed::Delivered => {
                self.succeeded += 1;
                self.retried += 1;
            }
            Replayed::NotDone(state) => {
                self.retried += u64::from(state.requests > sent_before);
                *match (state.kind, state.given_up) {
                    (Kind::Unknown, _) => &mut self.unknown,
                    (_, true) => &mut self.permanent_failures,
                    (_, false) => &mut self.again,
                } += 1;
            }
        }
    }
}

/// A replay that was not begun yet; see [`DeadLetters::replay`].
#[derive(Clone)]
#[must_use = "nothing is replayed before `run`"]
pub struct Replay {
    letters: DeadLetters,
    filter: Filter,
    limit: Option<usize>,
    pace: Duration,
}

impl Replay {
    /// At most so many, the oldest first. Default all.
    pub fn limit(mut self, most: usize) -> Self {
        self.limit = Some(most);
        self
    }

    /// Time between the begins of two; default [`REPLAY_PACE`].
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Tries each letter once, and says what came of them.
    ///
    /// # Errors
    ///
    /// [`LettersError`] when the store or its actor does not answer. What was begun goes on.
    pub async fn run(self) -> Result<ReplayReport, LettersError> {
        let chosen = self.letters.choose(self.filter, self.limit).await?;
        let mut report = ReplayReport { chosen: chosen.len() as u64, ..ReplayReport::default() };
        let mut under_way = FuturesUnordered::new();
        for (n, chosen) in chosen.into_iter().enumerate() {
            if n > 0 {
                tokio::time::sleep(self.pace).await;
            }
            if self.letters.gateway.live.is_closed() {
                break;
            }
            if under_way.len() >= AT_A_TIME {
                note(&mut report, under_way.next().await);
            }
            if let Some(begun) = self.letters.begin(chosen).await? {
                under_way.push(begun.ended());
            }
        }
        while let Some(ended) = under_way.next().await {
            note(&mut report, Some(ended));
        }
        let ReplayReport { chosen, succeeded, again, permanent_failures, unknown, .. } = report;
        Ok(ReplayReport { skipped: chosen - succeeded - again - permanent_failures - unknown, ..report })
    }
}

fn note(report: &mut ReplayReport, ended: Option<(u32, Option<Replayed>)>) {
    if let Some((sent_before, Some(replayed))) = ended {
        report.add(sent_before, &replayed);
    }
}

/// A letter that is being done again, by a task of its own.
struct Begun {
    sent_before: u32,
    end: oneshot::Receiver<Option<Replayed>>,
}

impl Begun {
    /// Requests sent before, and what came of it; nothing when the runtime ended under it.
    async fn ended(self) -> (u32, Option<Replayed>) {
        (self.sent_before, self.end.await.ok().flatten())
    }
}

impl DeadLetters {
    /// Replays what matches, with fresh attempts; each goes through the guards and pays like every call. Which ones is settled
    /// when the replay begins: those that arrive later are not among them, nor those that are being done right now, and
    /// unknown ones only by their kind or id. Two replays at once never do one letter twice: each letter is one's own, and is counted
    /// there.
    ///
    /// A letter that is not done is tried again by itself, later and later, until its attempts are used up; one that a guard
    /// refused, when the guard said. Dropping a replay stops it: what is under way ends, and the rest stays where it is.
    ///
    /// ```no_run
    /// # use mainstay::{Class, actors::dlq::Filter};
    /// # async fn example(mainstay: mainstay::Handle) -> Result<(), mainstay::LettersError> {
    /// let report = mainstay.dead_letters().replay(Filter::default().class(Class::Server)).limit(100).run().await?;
    /// println!("{} of {} are done", report.succeeded, report.retried);
    /// # Ok(())
    /// # }
    /// ```
    pub fn replay(&self, filter: Filter) -> Replay {
        Replay { letters: self.clone(), filter, limit: None, pace: REPLAY_PACE }
    }

    /// Replays one letter, whatever its kind, and says what came of it.
    ///
    /// # Errors
    ///
    /// [`LettersError::NotThere`] when it was delivered or purged, or is being done right now; another [`LettersError`] when
    /// the store or its actor does not answer.
    pub async fn replay_one(&self, id: LetterId) -> Result<Replayed, LettersError> {
        let chosen = self.choose(Filter::ids([id]), None).await?.pop().ok_or(LettersError::NotThere(id))?;
        let begun = self.begin(chosen).await?.ok_or(LettersError::NotThere(id))?;
        begun.ended().await.1.ok_or(LettersError::Lost(Lost::Stopped))
    }

    /// Begins a letter that was chosen. `None`: it is somebody else's by now, or the runtime is shutting down.
    async fn begin(&self, chosen: Chosen) -> Result<Option<Begun>, LettersError> {
        let Some(taking) = Taking::begin(&self.gateway) else { return Ok(None) };
        let (letters, (took, taken), (ended, end)) = (self.clone(), oneshot::channel(), oneshot::channel());
        // Whoever asked may go away: what was taken is done, and the letter says what came of it.
        self.gateway.tasks.spawn(Box::pin(async move {
            let parked = letters.ask(|| TakeChosen(chosen)).await;
            let sent_before = |parked: &Option<ParkedLetter>| parked.as_ref().map(|parked| parked.state.requests);
            let _ = took.send(parked.as_ref().map(sent_before).map_err(Clone::clone));
            if let Ok(Some(parked)) = parked {
                let _ = ended.send(redrive::replay(parked, taking).await);
            }
        }));
        let sent_before = taken.await.map_err(|_| Lost::Stopped)??;
        Ok(sent_before.map(|sent_before| Begun { sent_before, end }))
    }
}
