//! What the dead letter queue is asked. Every question is idempotent: after a crash it is simply asked again.

use std::collections::BTreeSet;

use actix::Message;
use jiff::Timestamp;

use super::{Ended, Filter, Letter, LetterState, ParkedLetter, RecordError};
use crate::{
    ids::{LetterId, VendorId},
    store::StoreError,
};

/// Why the queue did not do it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DlqError {
    /// No room.
    #[error("the dead letter queue is full: {held} of {limit}; replay or purge some, or raise dlq.letters_max")]
    Full {
        /// Letters held.
        held: usize,
        /// Letters allowed.
        limit: usize,
    },
    /// No room for another durable call.
    #[error("too many durable calls have not ended: {held} of {limit}; offer fewer at once, or raise dlq.accepted_max")]
    AcceptedFull {
        /// Calls held.
        held: usize,
        /// Calls allowed.
        limit: usize,
    },
    /// The store did not do it. Nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A letter could not be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The actor was being replaced; ask again.
    #[error("the dead letter queue was being restarted; ask again")]
    Restarting,
}

/// Writes a call down. Answered when it is on disk. Parking one id twice writes nothing twice.
#[derive(Debug, Clone)]
pub struct Park {
    /// What is written once.
    pub letter: Letter,
    /// Its first state.
    pub state: LetterState,
}

/// Writes down that a letter's call is about to be sent. Answered when it is on disk: from then on the next process takes it for
/// unknown, until it is finished. A letter that is gone needs no such note.
#[derive(Debug, Clone, Copy)]
pub struct NoteSending {
    /// Which.
    pub id: LetterId,
    /// It was taken for a replay: it begins with fresh attempts.
    pub replayed: bool,
}

/// A call is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Its public id.
    pub id: LetterId,
    /// Letters of its kind and vendor now.
    pub total: u64,
    /// False when a letter with this id was there already.
    pub is_new: bool,
}

/// Takes letters that are due, those that are due longest first. They are out until they are finished, or until their lease
/// ends.
#[derive(Debug, Clone)]
pub struct TakeDue {
    /// The present moment.
    pub now: Timestamp,
    /// Most letters.
    pub max: usize,
    /// None of these vendors: nothing is begun for them now.
    pub but: BTreeSet<VendorId>,
}

/// Writes down what became of a letter, and answers with its state, or with nothing when it is gone. One that is gone
/// before is no error.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Which.
    pub id: LetterId,
    /// What.
    pub end: Ended,
    /// Requests that were sent for it. Without any, no attempt is used up.
    pub requests: u32,
    /// It was taken for a replay: it begins with fresh attempts.
    pub replayed: bool,
}

impl Finish {
    /// What became of a letter for which nothing was sent.
    pub fn new(id: LetterId, end: Ended) -> Self {
        Self { id, end, requests: 0, replayed: false }
    }
}

/// Settles which letters a replay or a purge means, in the order of parking. Those that are being done right now are left out,
/// and so are those that arrive later.
#[derive(Debug, Clone)]
pub struct Choose {
    /// Which. Unknown ones only by their kind or id.
    pub filter: Filter,
    /// Most letters.
    pub max: usize,
}

/// A letter that was chosen, as it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub id: LetterId,
    /// How often it had been replayed.
    pub replays: u32,
}

/// Takes a letter that was chosen, with fresh attempts, to be finished as [`Finish::replayed`]. `None`: it is gone, it is
/// being done, or somebody else replayed it since.
#[derive(Debug, Clone, Copy)]
pub struct TakeChosen(pub Chosen);

/// Lists letters in the order of parking.
#[derive(Debug, Clone)]
pub struct List {
    /// Which.
    pub filter: Filter,
    /// Behind this place.
    pub after: Option<u64>,
    /// Most letters, up to [`PAGE_MAX`](super::PAGE_MAX).
    pub max: usize,
}

/// A page of letters.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The letters.
    pub letters: Vec<ParkedLetter>,
    /// Ask behind this for more; `None` at the end.
    pub next: Option<u64>,
}

/// Removes letters for good. Those that are being done right now are left alone.
#[derive(Debug, Clone)]
pub struct Purge {
    /// Which.
    pub ids: Vec<LetterId>,
}

impl Message for Park {
    type Result = Result<Parked, DlqError>;
}

impl Message for NoteSending {
    type Result = Result<(), DlqError>;
}

impl Message for TakeDue {
    type Result = Result<Vec<ParkedLetter>, DlqError>;
}

impl Message for Finish {
    type Result = Result<Option<LetterState>, DlqError>;
}

impl Message for Choose {
    type Result = Result<Vec<Chosen>, DlqError>;
}

impl Message for TakeChosen {
    type Result = Result<Option<ParkedLetter>, DlqError>;
}

impl Message for List {
    type Result = Result<Page, DlqError>;
}

/// What a purge removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Purged {
    /// These are gone.
    pub gone: Vec<LetterId>,
    /// Why others are still there, if so.
    pub failed: Option<StoreError>,
}

impl Message for Purge {
    type Result = Result<Purged, DlqError>;
}
