//! A refusal is a value: which guard, which limit, the figures, and when to come back.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{credits::Credits, meter::LimitId};

/// Who refused, or where an attempt was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The entry: names, payload, key, number of live calls.
    Gateway,
    /// A guardrail: the application's own rule.
    Guardrail,
    /// The table of keys.
    Idempotency,
    /// A lane: its concurrency and its queue.
    Lane,
    /// The vendor's own cap and rate, over all lanes.
    Gate,
    /// The circuit breaker.
    Breaker,
    /// The budget.
    Budget,
    /// The client, before anything was sent.
    Client,
    /// Supervision: the vendor's actors are down.
    Supervisor,
}

impl Guard {
    /// Every guard, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Gateway,
        Self::Guardrail,
        Self::Idempotency,
        Self::Lane,
        Self::Gate,
        Self::Breaker,
        Self::Budget,
        Self::Client,
        Self::Supervisor,
    ];
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Guardrail => "guardrail",
            Self::Idempotency => "table of keys",
            Self::Lane => "lane",
            Self::Gate => "vendor gate",
            Self::Breaker => "circuit breaker",
            Self::Budget => "budget",
            Self::Client => "client",
            Self::Supervisor => "supervisor",
        })
    }
}

/// Which limit was met, with its figures.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// No such name is configured.
    #[error("unknown {what} {name:?}; known: {known}")]
    UnknownName {
        /// `vendor`, `operation`, `target`, `lane` or `circuit`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// The configured names, comma separated.
        known: String,
    },
    /// The payload is larger than the operation allows.
    #[error(
        "payload of {bytes} bytes is over the limit of {limit} bytes: shorten it, or raise the operation's payload_max_bytes"
    )]
    PayloadTooLarge {
        /// Its size as JSON.
        bytes: usize,
        /// The operation's limit.
        limit: usize,
    },
    /// A field of the call is missing or wrong.
    #[error("{field}: {problem}")]
    BadField {
        /// The field's name or path.
        field: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The operation may never be repeated, so it needs the caller's own key.
    #[error("operation {operation:?} may never be repeated: give the call a key of its own")]
    KeyRequired {
        /// The operation.
        operation: String,
    },
    /// The key was used for another payload.
    #[error("key {key:?} already stands for another payload: give a changed call a key of its own")]
    KeyConflict {
        /// The key, as the caller gave it or as it was derived.
        key: String,
    },
    /// The vendor has forgotten the key of an effect that may have happened: sent again, it would be a new one.
    #[error(
        "the vendor remembers a key for {window:?}, and this one may have had its effect before that: pass its end to complete(..)"
    )]
    KeyTooOld {
        /// The vendor's window.
        window: Duration,
    },
    /// The store did not take what must be written before a call is accepted, or sent.
    #[error("could not be written down before it is sent ({problem}): cure the store first")]
    NotWritten {
        /// What the store said.
        problem: String,
    },
    /// A table or queue of the runtime is full.
    #[error("{what} full: {held} of {limit}; offer fewer at once, or raise the limit")]
    Full {
        /// Which one.
        what: &'static str,
        /// How many it holds.
        held: usize,
        /// How many it may hold.
        limit: usize,
    },
    /// It waited as long as it may.
    #[error(
        "waited {waited:?} of at most {limit:?} for its turn, nothing was sent: offer fewer, or let them wait longer"
    )]
    WaitedTooLong {
        /// How long it waited.
        waited: Duration,
        /// How long it may.
        limit: Duration,
    },
    /// It waited as long as it may, in a lane or at a gate that an operator has paused.
    #[error("waited {waited:?} while paused ({why}), nothing was sent: resume it")]
    Paused {
        /// Why nothing starts, as the operator said.
        why: Arc<str>,
        /// How long it waited.
        waited: Duration,
    },
    /// The circuit breaker is open.
    #[error("open ({cause})")]
    BreakerOpen {
        /// Why it opened, with the numbers.
        cause: Arc<str>,
    },
    /// The circuit breaker is testing the vendor, and all its probes are under way.
    #[error("half-open, {probes} of {limit} probes under way")]
    Probing {
        /// Probes in flight.
        probes: u32,
        /// Probes allowed.
        limit: u32,
    },
    /// A budget limit would be passed.
    #[error("{asked} asked, {settled} spent and {reserved} reserved of {limit} {which}")]
    OverBudget {
        /// Which limit: meter, period, and whose.
        which: Box<LimitId>,
        /// What the call would reserve.
        asked: Credits,
        /// What is spent.
        settled: Credits,
        /// What is reserved by calls under way.
        reserved: Credits,
        /// What may be spent in the period, on the call's lane.
        limit: Credits,
    },
    /// The vendor itself said that the account is used up.
    #[error("the vendor says its account is used up: top it up, or wait for its reset")]
    VendorExhausted,
    /// The vendor's actors are down.
    #[error("vendor is down: {cause}; Handle::revive brings it back once that is cured")]
    VendorDown {
        /// Which actor, and why.
        cause: Arc<str>,
    },
    /// The application's own rule says no.
    #[error("{why}")]
    Denied {
        /// In the words of the guardrail.
        why: Arc<str>,
    },
    /// The effect may not begin any more.
    #[error("expired before it could begin")]
    Expired,
    /// It is not the time of the day for it.
    #[error("outside of the hours in which it may begin ({hours}): come back when they begin")]
    OutsideHours {
        /// The hours, in words.
        hours: Arc<str>,
    },
    /// The caller's deadline passed before anything was sent.
    #[error("the caller's deadline of {limit:?} passed before anything was sent")]
    Deadline {
        /// The deadline it came with.
        limit: Duration,
    },
    /// The runtime is stopping.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// An actor crashed with the attempt in hand, too often.
    #[error("lost by {lost} crashes of the {guard}")]
    CrashedTooOften {
        /// Where.
        guard: Guard,
        /// How many times.
        lost: u32,
    },
}

/// One refusal. Nothing was sent, nothing was spent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("refused by the {by}: {reason}")]
pub struct Refusal {
    /// Who refused.
    pub by: Guard,
    /// Which limit, with its figures.
    pub reason: Reason,
    /// When it is worth coming back; `None` when waiting does not help, or nobody knows.
    pub retry_at: Option<Instant>,
}

impl Refusal {
    /// A refusal that waiting does not cure.
    pub fn new(by: Guard, reason: Reason) -> Self {
        Self { by, reason, retry_at: None }
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_at(mut self, at: Instant) -> Self {
        self.retry_at = Some(at);
        self
    }

    /// How long from `now` until it is worth coming back.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(now))
    }

    /// True when the call itself is wrong, and will be refused however often it is offered.
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self.reason,
            Reason::UnknownName { .. }
                | Reason::PayloadTooLarge { .. }
                | Reason::BadField { .. }
                | Reason::KeyRequired { .. }
                | Reason::KeyConflict { .. }
        )
    }
}
