//! Words that facts are stated in, and that concerns share.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// A breaker's state, by its name in the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass, outcomes are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// A few probes pass.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// Who decides what a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerMode {
    /// Its rules.
    Automatic,
    /// An operator: every call is refused.
    ForcedOpen,
    /// An operator: every call passes.
    ForcedClosed,
    /// An operator: every call passes, and it is said when the rules would have opened it.
    MetricsOnly,
}

impl fmt::Display for BreakerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Automatic => "automatic",
            Self::ForcedOpen => "forced open",
            Self::ForcedClosed => "forced closed",
            Self::MetricsOnly => "counting only",
        })
    }
}

/// The parked calls of one vendor, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LetterCounts {
    /// Dead letters: they wait for a person or a replay.
    pub dead: u64,
    /// Queued for later: they wait for the vendor.
    pub later: u64,
    /// Unknown: they may have happened, and wait for a callback or a person.
    pub unknown: u64,
    /// Of the dead and the queued ones: given up, and not tried by themselves any more.
    pub given_up: u64,
    /// When the oldest of all was parked.
    pub oldest_at: Option<Timestamp>,
}

impl LetterCounts {
    /// All of them.
    pub fn pending(&self) -> u64 {
        self.dead + self.later + self.unknown
    }
}
