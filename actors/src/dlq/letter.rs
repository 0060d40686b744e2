//! A parked call: what it was, why it is here, and what has been tried.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    call::{AcceptedCall, IdempotencyKey},
    credits::Credits,
    hours::Hours,
    ids::{CallId, LaneId, LetterId, NameError, OperationId, TargetId, VendorId},
    outcome::{Class, cut},
};

/// Attempts of which a letter remembers how they ended; of more, the oldest are forgotten. Ours: as many as there are by
/// default before it is given up.
pub const HISTORY_MAX: usize = 5;

/// Why a call is parked.
// The order is the format on disk: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It waits for a person or a replay.
    Dead,
    /// It waits for the vendor to come back, and is done then by itself.
    Later,
    /// It may have happened. It is never done again by itself.
    Unknown,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Dead, Self::Later, Self::Unknown];

    /// The name used in counts and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Later => "later",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub class: Class,
    /// The vendor's status, if it answered.
    pub status: Option<u16>,
    /// In words, at most [`DETAIL_MAX_BYTES`](crate::outcome::DETAIL_MAX_BYTES).
    pub detail: String,
}

impl Failure {
    /// A failure, its words cut to what is kept.
    pub fn new(class: Class, status: Option<u16>, detail: impl Into<String>) -> Self {
        Self { class, status, detail: cut(detail.into()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// One attempt, by its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub class: Class,
    /// The vendor's status, if it answered.
    pub status: Option<u16>,
}

/// What is written once: everything needed to do the call again. The address it goes to is not in it, only its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Its public id.
    pub id: LetterId,
    /// The call, the same through every replay.
    pub call: CallId,
    /// The vendor.
    pub vendor: VendorId,
    /// The operation.
    pub operation: OperationId,
    /// The name of its target, never the address.
    pub target: Option<TargetId>,
    /// The lane it waited in, and will wait in again.
    pub lane: LaneId,
    /// What the vendor gets.
    pub payload: Value,
    /// Its key, the same through every replay.
    pub key: Option<IdempotencyKey>,
    /// Whose call it is.
    pub tenant: Option<Arc<str>>,
    /// What is reserved for it.
    pub estimate: Credits,
    /// Whether something may stand in for the vendor.
    pub fallback: bool,
    /// Whether a slot is held until the effect ends.
    pub holds_slot: bool,
    /// No effect may begin after this.
    pub expires_at: Option<Timestamp>,
    /// The hours in which its effect may begin, if not the operation's own.
    pub hours: Option<Hours>,
    /// When the call was accepted.
    pub accepted_at: Timestamp,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// Why it was parked. Letters of the first version do not say.
    pub first_error: Option<Failure>,
}

impl Letter {
    /// Writes a call down under an id of the caller's choice.
    pub fn of_call(id: LetterId, call: &AcceptedCall, first_error: Failure, parked_at: Timestamp) -> Self {
        Self {
            id,
            call: call.id,
            vendor: call.vendor.clone(),
            operation: call.operation.clone(),
            target: call.target.clone(),
            lane: call.lane.clone(),
            payload: call.payload.clone(),
            key: call.key.clone(),
            tenant: call.tenant.clone(),
            estimate: call.estimate,
            fallback: call.chain.as_ref().is_none_or(|chain| !chain.is_empty()),
            holds_slot: call.holds_slot,
            expires_at: call.expires_at,
            hours: call.hours.clone(),
            accepted_at: call.accepted_at,
            parked_at,
            first_error: Some(first_error),
        }
    }

    /// The call again: the same id, the same key.
    pub fn to_call(&self) -> AcceptedCall {
        let (vendor, operation) = (self.vendor.clone(), self.operation.clone());
        AcceptedCall {
            target: self.target.clone(),
            lane: self.lane.clone(),
            key: self.key.clone(),
            tenant: self.tenant.clone(),
            estimate: self.estimate,
            expires_at: self.expires_at,
            hours: self.hours.clone(),
            chain: (!self.fallback).then(|| [].into()),
            holds_slot: self.holds_slot,
            ..AcceptedCall::new(self.call, vendor, operation, self.payload.clone(), self.accepted_at)
        }
    }
}

/// What changes of a letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LetterState {
    /// Why it is here now.
    pub kind: Kind,
    /// Its last end.
    pub error: Failure,
    /// Times it was tried from here, since it was parked or last replayed by a person. Being refused is not being tried.
    pub attempts: u32,
    /// Requests sent for the call so far, by all attempts and those before it was parked.
    pub requests: u32,
    /// Times a person replayed it.
    pub replays: u32,
    /// Tried from here, and not tried by itself any more: the seeds' permanent failure. It waits for a person.
    pub given_up: bool,
    /// When it is tried by itself. `None`: not by itself.
    pub due: Option<Timestamp>,
    /// When this last changed.
    pub updated_at: Timestamp,
    /// The last attempts, at most [`HISTORY_MAX`], the last one last.
    pub history: Vec<Attempt>,
}

impl LetterState {
    /// The first state of a letter, for which so many requests were sent already. An unknown one gets no date: it is never
    /// done by itself.
    pub fn new(kind: Kind, error: Failure, requests: u32, due: Option<Timestamp>, at: Timestamp) -> Self {
        let due = due.filter(|_| kind != Kind::Unknown);
        let (attempts, replays, given_up, history) = (0, 0, false, Vec::new());
        let fresh = Self { kind, error, attempts, requests: 0, replays, given_up, due, updated_at: at, history };
        fresh.tried(requests, at)
    }

    /// The same as far as it can be true: whoever wrote it down elsewhere may be mistaken.
    #[must_use]
    pub fn sound(mut self) -> Self {
        self.error.detail = cut(self.error.detail);
        self.given_up &= self.kind != Kind::Unknown;
        self.due = self.due.filter(|_| self.kind != Kind::Unknown && !self.given_up);
        let too_many = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..too_many);
        self
    }

    /// When something was last sent for it.
    pub fn last_attempt_at(&self) -> Option<Timestamp> {
        self.history.last().map(|attempt| attempt.at)
    }

    /// The same with fresh attempts, because a person wants it done.
    #[must_use]
    pub fn replayed(&self) -> Self {
        Self { attempts: 0, given_up: false, replays: self.replays.saturating_add(1), ..self.clone() }
    }

    /// Notes that so many requests were sent and came to the present error.
    fn tried(mut self, requests: u32, at: Timestamp) -> Self {
        if requests > 0 {
            self.requests = self.requests.saturating_add(requests);
            self.history.push(Attempt { at, class: self.error.class, status: self.error.status });
            let too_many = self.history.len().saturating_sub(HISTORY_MAX);
            self.history.drain(..too_many);
        }
        self
    }

    /// The state after another end, for which so many requests were sent.
    #[must_use]
    pub(super) fn after(&self, kind: Kind, error: Failure, requests: u32, at: Timestamp) -> Self {
        let changed = Self { kind, error, given_up: false, due: None, updated_at: at, ..self.clone() };
        changed.tried(requests, at)
    }
}

/// What became of a letter that was taken, or of an unknown one that was found out.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// Done: it is removed.
    Delivered,
    /// Not done; later again, until its attempts are used up.
    Again {
        /// Not before this.
        not_before: Timestamp,
        /// Why.
        error: Failure,
    },
    /// Not done, and not by itself any more.
    GivenUp {
        /// Why.
        error: Failure,
    },
    /// It is of another kind now, and not due by itself.
    Became {
        /// Which.
        kind: Kind,
        /// Why.
        error: Failure,
    },
}

/// A letter as it is listed, exported and taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParkedLetter {
    /// Its place in the order of parking.
    pub seq: u64,
    /// What was written once.
    #[serde(flatten)]
    pub letter: Letter,
    /// What changes.
    #[serde(flatten)]
    pub state: LetterState,
}

/// Which letters are meant: those that fit all of it. The default means all but unknown ones, which must be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only of this vendor.
    pub vendor: Option<VendorId>,
    /// Only with this class of error.
    pub class: Option<Class>,
    /// Only these. `None` means all; an empty list means none.
    pub ids: Option<Vec<LetterId>>,
    /// Only this call's.
    pub call: Option<CallId>,
    /// Only those parked before this.
    pub parked_before: Option<Timestamp>,
    /// Only those that are given up.
    pub given_up: bool,
}

impl Filter {
    /// Of one kind.
    pub fn kind(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// By their ids.
    pub fn ids(ids: impl IntoIterator<Item = LetterId>) -> Self {
        Self { ids: Some(ids.into_iter().collect()), ..Self::default() }
    }

    /// The permanent failures: given up, and waiting for a person.
    pub fn given_up() -> Self {
        Self { given_up: true, ..Self::default() }
    }

    /// Of one call, whatever its kind.
    pub fn call(call: CallId) -> Self {
        Self { call: Some(call), ..Self::default() }
    }

    /// Of one class of error.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// Of one vendor.
    ///
    /// # Errors
    ///
    /// The name is not allowed.
    pub fn vendor(mut self, vendor: &str) -> Result<Self, NameError> {
        self.vendor = Some(VendorId::new(vendor)?);
        Ok(self)
    }

    /// Parked before this: those of a certain age, or those that were there at a certain moment.
    #[must_use]
    pub fn parked_before(mut self, at: Timestamp) -> Self {
        self.parked_before = Some(at);
        self
    }
}
