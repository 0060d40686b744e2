//! What one attempt came to: a class for the guards, and what is known of the effect; and where a call ends.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{credits::Credits, ids::MeterId};

/// Longest error text kept, in bytes; the rest is cut. Letters, logs and snapshots stay small whatever a vendor answers.
pub const DETAIL_MAX_BYTES: usize = 500;

/// The kind of an answer, or of its absence. A closed set: it is a metric label and the key of dead letter statistics.
// The order is the format on disk: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The vendor did it, or accepted to do it.
    Success,
    /// The vendor answered that there is nothing; an answer, not a failure.
    NotFound,
    /// The request is wrong (400, 404, 413, 422): repeating it cannot help, and it says nothing of the vendor's health.
    CallerError,
    /// The credentials are wrong (401, 403): everything will fail until a person acts.
    Auth,
    /// The vendor's account is used up (402, quota): blocks the budget until its reset.
    Exhausted,
    /// Too fast (429): come back later.
    Throttled,
    /// The vendor is too busy and did not begin (503).
    Overload,
    /// The vendor failed (5xx).
    Server,
    /// No connection: nothing was sent.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke before a whole answer was read.
    Broken,
    /// An answer nobody could read.
    Malformed,
    /// The runtime lost the attempt: an actor or a task panicked with it in hand.
    Abandoned,
}

/// What a class says about the vendor's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The vendor works.
    Healthy,
    /// The vendor does not work.
    Failing,
    /// It says nothing about the vendor: the caller's fault, or ours.
    Silent,
}

impl Class {
    /// Every class, for tables and tests.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::NotFound,
        Self::CallerError,
        Self::Auth,
        Self::Exhausted,
        Self::Throttled,
        Self::Overload,
        Self::Server,
        Self::Connect,
        Self::Timeout,
        Self::Broken,
        Self::Malformed,
        Self::Abandoned,
    ];

    /// The name used in records, labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NotFound => "not_found",
            Self::CallerError => "caller_error",
            Self::Auth => "auth",
            Self::Exhausted => "exhausted",
            Self::Throttled => "throttled",
            Self::Overload => "overload",
            Self::Server => "server",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::Abandoned => "abandoned",
        }
    }

    /// What an answer of this class says of the effect, unless a profile knows better. A busy or failing vendor does not say
    /// whether the work was begun.
    pub const fn usual_effect(self) -> Effect {
        match self {
            Self::Success | Self::NotFound => Effect::Done,
            Self::CallerError | Self::Auth | Self::Exhausted | Self::Throttled | Self::Connect => Effect::None,
            Self::Overload | Self::Server | Self::Timeout | Self::Broken | Self::Malformed | Self::Abandoned => {
                Effect::Unknown
            }
        }
    }

    /// How breaker and health read it. A caller's error proves that the vendor answers; an empty account, wrong credentials
    /// and a throttle are not an outage (the budget, a person and the rate limit deal with those); our own loss is ours.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Success | Self::NotFound => Verdict::Healthy,
            Self::Overload | Self::Server | Self::Connect | Self::Timeout | Self::Broken | Self::Malformed => {
                Verdict::Failing
            }
            Self::CallerError | Self::Auth | Self::Exhausted | Self::Throttled | Self::Abandoned => Verdict::Silent,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of the effect at the vendor. The whole question of sending again hangs on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It did not happen: not sent, or refused by the vendor.
    None,
    /// It happened, or the vendor took it on.
    Done,
    /// It may have happened: sent, and no answer that settles it.
    Unknown,
}

/// The end of an accepted call. Exclusive: a call is in exactly one of these, and a replay moves it from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalState {
    /// The vendor did it or took it on.
    Delivered,
    /// A cached answer was served.
    Cached,
    /// It waits for the vendor to come back.
    Queued,
    /// A local function answered.
    Local,
    /// It is in the dead letter queue.
    DeadLettered,
    /// It may have happened: parked for a person or a callback.
    Unknown,
    /// The caller went away, or its deadline passed, before anything was sent.
    Cancelled,
    /// Nothing is known of it any more. Must stay 0.
    Lost,
}

impl FinalState {
    /// Every final state, in the order of the summary.
    pub const ALL: [Self; 8] = [
        Self::Delivered,
        Self::Cached,
        Self::Queued,
        Self::Local,
        Self::DeadLettered,
        Self::Unknown,
        Self::Cancelled,
        Self::Lost,
    ];
}

/// Where in an attempt the time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before a connection stood.
    Connect,
    /// Between the first byte sent and the whole answer.
    Request,
}

/// One attempt's end.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its kind.
    pub class: Class,
    /// What is known of the effect.
    pub effect: Effect,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The vendor's answer, `Null` if there was none.
    pub body: Value,
    /// The vendor's own name for the effect (Retell's `call_id`).
    pub vendor_ref: Option<String>,
    /// What it cost on the vendor's main meter, where the answer says so.
    pub cost: Option<Credits>,
    /// What it cost on other meters, where the answer says so.
    pub also: BTreeMap<MeterId, Credits>,
    /// How long the vendor asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What the vendor says about trying again at once, where it says so.
    pub should_retry: Option<bool>,
    /// For a timeout: where it struck.
    pub phase: Option<Phase>,
    /// True when the vendor only took the work on, and its end comes later by callback.
    pub pending: bool,
    /// What happened, in words, without secrets, at most [`DETAIL_MAX_BYTES`].
    pub detail: String,
    /// From the first byte to the end of the answer.
    pub elapsed: Duration,
}

impl Outcome {
    /// An end without an answer.
    pub fn without_answer(class: Class, effect: Effect, detail: impl Into<String>) -> Self {
        Self {
            class,
            effect,
            status: None,
            body: Value::Null,
            vendor_ref: None,
            cost: None,
            also: BTreeMap::new(),
            retry_after: None,
            should_retry: None,
            phase: None,
            pending: false,
            detail: cut(detail.into()),
            elapsed: Duration::ZERO,
        }
    }

    /// True when the vendor did it or took it on.
    pub fn is_success(&self) -> bool {
        matches!(self.class, Class::Success | Class::NotFound)
    }
}

/// Cuts a text to [`DETAIL_MAX_BYTES`] at a character's edge.
pub fn cut(mut text: String) -> String {
    if text.len() <= DETAIL_MAX_BYTES {
        return text;
    }
    let end = (0..=DETAIL_MAX_BYTES - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text.push('…');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = cut("ü".repeat(600));
        assert!(text.len() <= DETAIL_MAX_BYTES && text.ends_with('…'));
    }

    #[test]
    fn every_class_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Class::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), Class::ALL.len());
    }
}
