//! What health says.

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    fact::{BreakerState, LetterCounts},
    ids::VendorId,
};

/// How a vendor is doing. Ordered from "says nothing" to worst, so that the worst of several is their maximum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Too few calls to tell, and nothing else is wrong.
    #[default]
    Unknown,
    /// Rely on it.
    Healthy,
    /// It works in part, or not for everybody.
    Degraded,
    /// Do not count on it.
    Unhealthy,
}

impl Status {
    /// Every status, for tables and label sets.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Healthy, Self::Degraded, Self::Unhealthy];

    /// The name used in logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a vendor took on and owes the end of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// Calls it took on in this process, whose end it owes by callback.
    pub acknowledged: u64,
    /// Of those, still owed and not overdue.
    pub owed: u64,
    /// When it took on the oldest of the owed ones.
    pub oldest: Option<Instant>,
}

/// Which rule speaks. A closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The supervisor gave the vendor up.
    VendorDown,
    /// An actor of the vendor is past its restart limit.
    ActorParked,
    /// What the vendor answered when it was asked whether it is there.
    Probe,
    /// Calls fail.
    FailingCalls,
    /// The circuit breaker is open.
    BreakerOpen,
    /// The circuit breaker tests the vendor.
    BreakerHalfOpen,
    /// The vendor rejects the credentials.
    Credentials,
    /// Nothing may be spent any more.
    BudgetExhausted,
    /// Spending passed its soft mark.
    BudgetUsed,
    /// Dead letters wait.
    DeadLetters,
    /// Callbacks are owed and did not come.
    CallbacksOverdue,
    /// Callbacks are owed.
    CallbacksOwed,
    /// Calls may have happened, and nobody knows.
    UnknownCalls,
    /// Guards turned calls away.
    Denied,
    /// A lane's queue is full.
    LaneFull,
    /// The vendor throttles.
    Throttled,
    /// Dead letters used up their attempts.
    GivenUp,
    /// Actors of the vendor were restarted.
    Restarts,
    /// There is no score yet.
    TooFewCalls,
}

/// One thing worth knowing about a vendor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Which rule speaks.
    pub code: Code,
    /// The best the vendor can be while this lasts; `None` for a remark that changes nothing.
    pub at_best: Option<Status>,
    /// A sentence for a person, with the figures.
    pub text: String,
}

/// How one vendor is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VendorHealth {
    /// The vendor.
    pub vendor: VendorId,
    /// In one word.
    pub status: Status,
    /// The part of the attempts in the window that worked, `0.0..=1.0`; `None` when there are too few.
    pub score: Option<f64>,
    /// Attempts in the window that say something about the vendor.
    pub samples: u64,
    /// Why, the gravest first.
    pub reasons: Vec<Reason>,
    /// Open if one of its circuit breakers is, else half-open if one is.
    pub breaker: BreakerState,
    /// Whether it answered when it was last asked; `None` when it is not asked.
    pub probe_works: Option<bool>,
    /// Calls that guards turned away, in the window.
    pub denied: u64,
    /// Its parked calls.
    pub letters: LetterCounts,
    /// Callbacks owed, and not overdue.
    pub callbacks_owed: u64,
    /// Callbacks overdue.
    pub callbacks_overdue: u64,
    /// Restarts of the vendor's actors, in the window.
    pub restarts: u64,
    /// The last attempt that showed that the vendor works, in this process.
    pub last_success: Option<Timestamp>,
}

/// What the health actor shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HealthSnapshot {
    /// When it was written; `None` before the first time.
    pub at: Option<Timestamp>,
    /// As bad as the worst vendor; unknown only when every vendor is.
    pub status: Status,
    /// Each configured vendor, by name.
    pub vendors: Vec<VendorHealth>,
    /// Facts that never arrived here; above 0 the figures are lower bounds.
    pub missed_facts: u64,
}

impl HealthSnapshot {
    /// One vendor's; `None` when it is not configured.
    pub fn vendor(&self, name: &str) -> Option<&VendorHealth> {
        self.vendors.iter().find(|vendor| vendor.vendor.as_str() == name)
    }
}
