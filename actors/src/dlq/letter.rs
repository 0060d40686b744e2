//! A parked call: what it was, why it is here, and what has been tried.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    call::{AcceptedCall, IdempotencyKey},
    credits::Credits,
    hours::Hours,
    ids::{CallId, LaneId, LetterId, OperationId, TargetId, VendorId},
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
    /// Not parked: a durable call that is under way, or waits for its turn. Nobody replays or purges it.
    Accepted,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Dead, Self::Later, Self::Unknown, Self::Accepted];

    /// Every kind of a parked call.
    pub const PARKED: [Self; 3] = [Self::Dead, Self::Later, Self::Unknown];

    /// The name used in counts and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Later => "later",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
        }
    }

    /// Whether a letter of this kind may be due.
    pub(super) const fn may_be_due(self) -> bool {
        matches!(self, Self::Dead | Self::Later)
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
}

impl Letter {
    /// Writes a call down under an id of the caller's choice.
    pub fn of_call(id: LetterId, call: &AcceptedCall) -> Self {
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
    /// When it was parked; while it is only accepted, when that was.
    pub parked_at: Timestamp,
    /// Why it was parked. Letters of the first version do not say.
    pub first_error: Option<Failure>,
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
    /// It was being sent when its process died: its effect may have happened, and nothing was sent for it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<Sending>,
}

/// A letter's call was about to be sent. On disk while it is being done, for the next process to find when this one dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// What the letter was before.
    pub was: Kind,
    /// Since when its effect may have begun.
    pub since: Timestamp,
}

impl LetterState {
    /// The first state of a letter, for which so many requests were sent already. An unknown one gets no date: it is never
    /// done by itself.
    pub fn new(kind: Kind, error: Failure, requests: u32, due: Option<Timestamp>, at: Timestamp) -> Self {
        let fresh = Self {
            kind,
            parked_at: at,
            first_error: Some(error.clone()),
            error,
            attempts: 0,
            requests: 0,
            replays: 0,
            given_up: false,
            due: due.filter(|_| kind.may_be_due()),
            updated_at: at,
            history: Vec::new(),
            sending: None,
        };
        fresh.tried(requests, at)
    }

    /// The state of a durable call that was accepted.
    pub fn accepted(at: Timestamp) -> Self {
        let error = Failure::new(Class::Abandoned, None, "accepted, and not done yet");
        Self { first_error: None, ..Self::new(Kind::Accepted, error, 0, None, at) }
    }

    /// The same as far as it can be true: whoever wrote it down elsewhere may be mistaken.
    #[must_use]
    pub fn sound(mut self) -> Self {
        self.error.detail = cut(self.error.detail);
        if self.kind == Kind::Accepted {
            // Nobody runs it here: it is done like what waits for its vendor.
            (self.kind, self.due) = (Kind::Later, Some(self.updated_at));
        }
        self.given_up &= self.kind.may_be_due();
        self.due = self.due.filter(|_| self.kind.may_be_due() && !self.given_up);
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
            self.sending = None;
            self.requests = self.requests.saturating_add(requests);
            self.history.push(Attempt { at, class: self.error.class, status: self.error.status });
            let too_many = self.history.len().saturating_sub(HISTORY_MAX);
            self.history.drain(..too_many);
        }
        self
    }

    /// The state after another end, for which so many requests were sent. What a dead process may have done, and nothing was
    /// sent for since, is not dead but unknown.
    #[must_use]
    pub(super) fn after(&self, kind: Kind, error: Failure, requests: u32, at: Timestamp) -> Self {
        let may_have_happened = self.sending.is_some() && requests == 0;
        let kind = if kind == Kind::Dead && may_have_happened { Kind::Unknown } else { kind };
        let mut changed = self.clone();
        if self.kind == Kind::Accepted && kind != Kind::Accepted {
            (changed.parked_at, changed.first_error) = (at, Some(error.clone()));
        }
        let changed = Self { kind, error, given_up: false, due: None, updated_at: at, ..changed };
        changed.tried(requests, at)
    }

    /// The state on disk while its call is being sent: a process that dies then has used up an attempt, and the effect may
    /// have happened.
    #[must_use]
    #[cfg(any(feature = "runtime", test))]
    pub(super) fn sending(&self, now: Timestamp) -> Self {
        let detail = "it was being done when the process ended: it may have happened";
        let error = Failure { detail: detail.into(), ..self.error.clone() };
        let since = self.sending.map_or(now, |earlier| earlier.since);
        let sending = Some(Sending { was: self.kind, since });
        Self { attempts: self.attempts.saturating_add(1), sending, ..self.after(Kind::Unknown, error, 0, now) }
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
    /// It is of another kind now.
    Became {
        /// Which.
        kind: Kind,
        /// When it is tried by itself, where it is.
        due: Option<Timestamp>,
        /// Why.
        error: Failure,
    },
    /// The process died while it was being sent, and it may be sent again: it is what it was before, due now where it waited
    /// for the vendor, unless its attempts are used up.
    Resumed,
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
