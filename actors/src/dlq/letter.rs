//! A parked call: what it was, why it is here, and what has been tried.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    call::{AcceptedCall, IdempotencyKey},
    credits::Credits,
    ids::{CallId, LaneId, NameError, OperationId, TargetId, VendorId},
    outcome::{Class, cut},
};

/// A letter's public id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(pub Uuid);

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for LetterId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

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

/// What is written once: everything needed to do the call again.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// When the call was accepted.
    pub accepted_at: Timestamp,
    /// When it was parked.
    pub parked_at: Timestamp,
}

impl Letter {
    /// Writes a call down under an id of the caller's choice.
    pub fn of_call(id: LetterId, call: &AcceptedCall, parked_at: Timestamp) -> Self {
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
            accepted_at: call.accepted_at,
            parked_at,
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
            chain: (!self.fallback).then(|| [].into()),
            holds_slot: self.holds_slot,
            ..AcceptedCall::new(self.call, vendor, operation, self.payload.clone(), self.accepted_at)
        }
    }
}

/// What changes of a letter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LetterState {
    /// Why it is here now.
    pub kind: Kind,
    /// The kind of its last end.
    pub class: Class,
    /// Its last end in words, at most 500 bytes.
    pub detail: String,
    /// Attempts made from here, since it was parked or last replayed by a person.
    pub attempts: u32,
    /// When it is tried by itself. `None`: not by itself.
    pub due: Option<Timestamp>,
    /// When this last changed.
    pub updated_at: Timestamp,
}

impl LetterState {
    /// The first state of a letter. An unknown one gets no date: it is never done by itself.
    pub fn new(kind: Kind, class: Class, detail: String, due: Option<Timestamp>, at: Timestamp) -> Self {
        let due = due.filter(|_| kind != Kind::Unknown);
        Self { kind, class, detail: cut(detail), attempts: 0, due, updated_at: at }
    }
}

/// A letter as it is listed, exported and taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// Which letters are meant. The default means all but unknown ones, which must be asked for.
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
}

impl Filter {
    /// Of one kind.
    pub fn kind(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
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

    /// By their ids.
    pub fn ids(ids: impl IntoIterator<Item = LetterId>) -> Self {
        Self { ids: Some(ids.into_iter().collect()), ..Self::default() }
    }
}
