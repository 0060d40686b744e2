//! Letters as bytes: a version byte, then a frozen struct. A field is never added to a frozen struct: a new version is.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Time};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Attempt, Entry, Failure, Kind, Letter, LetterState, Sending};
use crate::{
    call::IdempotencyKey,
    credits::Credits,
    hours::{Day, Hours},
    ids::{CallId, LaneId, LetterId, OperationId, TargetId, VendorId},
    outcome::Class,
};

const V1: u8 = 1;
const V2: u8 = 2;

/// Bytes that are no record of a known version. They are set aside, not thrown away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer version.
    #[error("record version {0} is not known to this version of mainstay")]
    Version(u8),
    /// Cut short, or not a record at all.
    #[error("record is damaged: {0}")]
    Damaged(String),
}

fn damaged(what: impl ToString) -> RecordError {
    RecordError::Damaged(what.to_string())
}

/// Frozen. The order of the fields is the format.
#[derive(Serialize, Deserialize)]
struct LetterV1 {
    id: u128,
    call: u128,
    vendor: String,
    operation: String,
    lane: String,
    payload: Vec<u8>,
    key: Option<String>,
    tenant: Option<String>,
    estimate_micros: u64,
    fallback: bool,
    holds_slot: bool,
    expires_at_ms: Option<i64>,
    accepted_at_ms: i64,
    parked_at_ms: i64,
}

/// As [`LetterV1`], with the target and the hours. When and why it was parked is in its state.
#[derive(Serialize, Deserialize)]
struct LetterV2 {
    id: u128,
    call: u128,
    vendor: String,
    operation: String,
    target: Option<String>,
    lane: String,
    payload: Vec<u8>,
    key: Option<String>,
    tenant: Option<String>,
    estimate_micros: u64,
    fallback: bool,
    holds_slot: bool,
    expires_at_ms: Option<i64>,
    accepted_at_ms: i64,
    hours: Option<HoursV2>,
}

#[derive(Serialize, Deserialize)]
struct HoursV2 {
    time_zone: String,
    from: Time,
    until: Time,
    days: BTreeSet<Day>,
}

impl From<HoursV2> for Hours {
    fn from(v2: HoursV2) -> Self {
        let HoursV2 { time_zone, from, until, days } = v2;
        Self { time_zone, from, until, days }
    }
}

impl From<&Hours> for HoursV2 {
    fn from(hours: &Hours) -> Self {
        let Hours { time_zone, from, until, days } = hours.clone();
        Self { time_zone, from, until, days }
    }
}

#[derive(Serialize, Deserialize)]
struct FailureV2 {
    class: Class,
    status: Option<u16>,
    detail: String,
}

impl From<FailureV2> for Failure {
    fn from(v2: FailureV2) -> Self {
        Self::new(v2.class, v2.status, v2.detail)
    }
}

impl From<&Failure> for FailureV2 {
    fn from(failure: &Failure) -> Self {
        Self { class: failure.class, status: failure.status, detail: failure.detail.clone() }
    }
}

impl From<LetterV1> for LetterV2 {
    fn from(v1: LetterV1) -> Self {
        Self {
            id: v1.id,
            call: v1.call,
            vendor: v1.vendor,
            operation: v1.operation,
            target: None,
            lane: v1.lane,
            payload: v1.payload,
            key: v1.key,
            tenant: v1.tenant,
            estimate_micros: v1.estimate_micros,
            fallback: v1.fallback,
            holds_slot: v1.holds_slot,
            expires_at_ms: v1.expires_at_ms,
            accepted_at_ms: v1.accepted_at_ms,
            hours: None,
        }
    }
}

/// Frozen. It repeats what the index needs, so that a start reads no payload.
#[derive(Serialize, Deserialize)]
struct StateV1 {
    id: u128,
    call: u128,
    vendor: String,
    kind: Kind,
    class: Class,
    detail: String,
    attempts: u32,
    due_ms: Option<i64>,
    parked_at_ms: i64,
    updated_at_ms: i64,
}

/// As [`StateV1`], with all that is counted, the last attempts, why it was parked, and whether it is being sent.
#[derive(Serialize, Deserialize)]
struct StateV2 {
    id: u128,
    call: u128,
    vendor: String,
    parts: Option<u16>,
    kind: Kind,
    first_error: Option<FailureV2>,
    error: FailureV2,
    attempts: u32,
    requests: u32,
    replays: u32,
    given_up: bool,
    due_ms: Option<i64>,
    parked_at_ms: i64,
    updated_at_ms: i64,
    history: Vec<AttemptV2>,
    sending: Option<SendingV2>,
}

#[derive(Serialize, Deserialize)]
struct AttemptV2 {
    at_ms: i64,
    class: Class,
    status: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct SendingV2 {
    was: Kind,
    since_ms: i64,
}

impl From<StateV1> for StateV2 {
    fn from(v1: StateV1) -> Self {
        Self {
            id: v1.id,
            call: v1.call,
            vendor: v1.vendor,
            parts: None,
            kind: v1.kind,
            first_error: None,
            error: FailureV2 { class: v1.class, status: None, detail: v1.detail },
            attempts: v1.attempts,
            requests: v1.attempts,
            replays: 0,
            given_up: v1.attempts > 0 && v1.due_ms.is_none() && v1.kind != Kind::Unknown,
            due_ms: v1.due_ms,
            parked_at_ms: v1.parked_at_ms,
            updated_at_ms: v1.updated_at_ms,
            history: Vec::new(),
            sending: None,
        }
    }
}

fn encode<T: Serialize>(version: u8, record: &T) -> Result<Vec<u8>, RecordError> {
    postcard::to_extend(record, vec![version]).map_err(damaged)
}

fn version_of(bytes: &[u8]) -> Result<(u8, &[u8]), RecordError> {
    bytes.split_first().map(|(version, rest)| (*version, rest)).ok_or_else(|| damaged("empty"))
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RecordError> {
    match postcard::take_from_bytes(bytes).map_err(damaged)? {
        (record, []) => Ok(record),
        (_, more) => Err(damaged(format!("{} bytes too many", more.len()))),
    }
}

fn time(ms: i64) -> Result<Timestamp, RecordError> {
    Timestamp::from_millisecond(ms).map_err(damaged)
}

pub(super) fn encode_letter(letter: &Letter) -> Result<Vec<u8>, RecordError> {
    let record = LetterV2 {
        id: letter.id.0.as_u128(),
        call: letter.call.0.as_u128(),
        vendor: letter.vendor.to_string(),
        operation: letter.operation.to_string(),
        target: letter.target.as_ref().map(ToString::to_string),
        lane: letter.lane.to_string(),
        payload: serde_json::to_vec(&letter.payload).map_err(damaged)?,
        key: letter.key.as_ref().map(ToString::to_string),
        tenant: letter.tenant.as_ref().map(ToString::to_string),
        estimate_micros: letter.estimate.micros(),
        fallback: letter.fallback,
        holds_slot: letter.holds_slot,
        expires_at_ms: letter.expires_at.map(Timestamp::as_millisecond),
        accepted_at_ms: letter.accepted_at.as_millisecond(),
        hours: letter.hours.as_ref().map(Into::into),
    };
    encode(V2, &record)
}

pub(super) fn decode_letter(bytes: &[u8]) -> Result<Letter, RecordError> {
    let v2 = match version_of(bytes)? {
        (V1, rest) => decode::<LetterV1>(rest)?.into(),
        (V2, rest) => decode::<LetterV2>(rest)?,
        (version, _) => return Err(RecordError::Version(version)),
    };
    Ok(Letter {
        id: LetterId(Uuid::from_u128(v2.id)),
        call: CallId(Uuid::from_u128(v2.call)),
        vendor: VendorId::new(&v2.vendor).map_err(damaged)?,
        operation: OperationId::new(&v2.operation).map_err(damaged)?,
        target: v2.target.as_deref().map(TargetId::new).transpose().map_err(damaged)?,
        lane: LaneId::new(&v2.lane).map_err(damaged)?,
        payload: serde_json::from_slice(&v2.payload).map_err(damaged)?,
        key: v2.key.map(|key| IdempotencyKey(key.into())),
        tenant: v2.tenant.map(Into::into),
        estimate: Credits::from_micros(v2.estimate_micros),
        fallback: v2.fallback,
        holds_slot: v2.holds_slot,
        expires_at: v2.expires_at_ms.map(time).transpose()?,
        accepted_at: time(v2.accepted_at_ms)?,
        hours: v2.hours.map(Into::into),
    })
}

pub(super) fn encode_state(entry: &Entry) -> Result<Vec<u8>, RecordError> {
    let state = &entry.state;
    let attempt = |attempt: &Attempt| {
        let Attempt { at, class, status } = *attempt;
        AttemptV2 { at_ms: at.as_millisecond(), class, status }
    };
    let record = StateV2 {
        id: entry.id.0.as_u128(),
        call: entry.call.0.as_u128(),
        vendor: entry.vendor.to_string(),
        parts: entry.parts,
        kind: state.kind,
        first_error: state.first_error.as_ref().map(Into::into),
        error: (&state.error).into(),
        attempts: state.attempts,
        requests: state.requests,
        replays: state.replays,
        given_up: state.given_up,
        due_ms: state.due.map(Timestamp::as_millisecond),
        parked_at_ms: state.parked_at.as_millisecond(),
        updated_at_ms: state.updated_at.as_millisecond(),
        history: state.history.iter().map(attempt).collect(),
        sending: state.sending.map(|Sending { was, since }| SendingV2 { was, since_ms: since.as_millisecond() }),
    };
    encode(V2, &record)
}

pub(super) fn decode_state(bytes: &[u8]) -> Result<Entry, RecordError> {
    let v2: StateV2 = match version_of(bytes)? {
        (V1, rest) => decode::<StateV1>(rest)?.into(),
        (V2, rest) => decode(rest)?,
        (version, _) => return Err(RecordError::Version(version)),
    };
    let attempt = |v2: AttemptV2| Ok(Attempt { at: time(v2.at_ms)?, class: v2.class, status: v2.status });
    let sending = |v2: SendingV2| Ok::<_, RecordError>(Sending { was: v2.was, since: time(v2.since_ms)? });
    let state = LetterState {
        kind: v2.kind,
        parked_at: time(v2.parked_at_ms)?,
        first_error: v2.first_error.map(Into::into),
        error: v2.error.into(),
        attempts: v2.attempts,
        requests: v2.requests,
        replays: v2.replays,
        given_up: v2.given_up,
        due: v2.due_ms.map(time).transpose()?,
        updated_at: time(v2.updated_at_ms)?,
        history: v2.history.into_iter().map(attempt).collect::<Result<_, RecordError>>()?,
        sending: v2.sending.map(sending).transpose()?,
    };
    Ok(Entry {
        id: LetterId(Uuid::from_u128(v2.id)),
        call: CallId(Uuid::from_u128(v2.call)),
        vendor: VendorId::new(&v2.vendor).map_err(damaged)?,
        parts: v2.parts,
        state,
    })
}

#[cfg(test)]
mod tests;
