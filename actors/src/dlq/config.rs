//! How much is kept, and how often it is tried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Limits of the dead letter queue, which is one for all vendors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DlqConfig {
    /// Most letters. 1 to 1,000,000; default 100,000 (ours: about 40 MB of memory).
    pub letters_max: usize,
    /// Most durable calls that have not ended, under way or waiting for their turn. 1 to 1,000,000; default 100,000 (ours).
    pub accepted_max: usize,
    /// How long a taken letter may stay out before it comes back. 1 s to a day; default 10 min (ours: twice the longest
    /// attempt of a redrive).
    #[serde(with = "crate::duration")]
    pub lease: Duration,
}

impl Default for DlqConfig {
    fn default() -> Self {
        Self { letters_max: 100_000, accepted_max: 100_000, lease: Duration::from_secs(600) }
    }
}

impl DlqConfig {
    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let Self { letters_max, accepted_max, lease } = self;
        for (field, value) in [("letters_max", letters_max), ("accepted_max", accepted_max)] {
            faults.require((1..=1_000_000).contains(value), field, || format!("{value} is not within 1..=1000000"));
        }
        faults.require((Duration::from_secs(1)..=DAY).contains(lease), "lease", || {
            format!("{lease:?} is not within 1s..=24h")
        });
    }
}

/// How often, and when, one vendor's parked calls are tried again by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LetterConfig {
    /// Attempts by itself before a letter is given up. 1 to 1,000; default 5 (seeds A and C; seed B has 3).
    pub attempts_max: u32,
    /// Pause after the first failed attempt; it doubles each time. Default 30 s (the seeds' reset time).
    #[serde(with = "crate::duration")]
    pub backoff_first: Duration,
    /// Longest pause. Up to a day; default 1 h (ours).
    #[serde(with = "crate::duration")]
    pub backoff_max: Duration,
    /// Spread of the pause, 0 to 1; default 0.25 (ours).
    pub jitter: f64,
}

impl Default for LetterConfig {
    fn default() -> Self {
        Self::patterns()
    }
}

impl LetterConfig {
    /// Five attempts, as in seeds A and C.
    pub fn patterns() -> Self {
        Self {
            attempts_max: 5,
            backoff_first: Duration::from_secs(30),
            backoff_max: Duration::from_secs(3600),
            jitter: 0.25,
        }
    }

    /// Three attempts, as in seed B.
    pub fn credit() -> Self {
        Self { attempts_max: 3, ..Self::patterns() }
    }

    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let Self { attempts_max, backoff_first, backoff_max, jitter } = self;
        faults.require((1..=1_000).contains(attempts_max), "attempts_max", || {
            format!("{attempts_max} is not within 1..=1000")
        });
        faults.require(backoff_first <= backoff_max, "backoff_first", || {
            format!("{backoff_first:?} is over backoff_max {backoff_max:?}")
        });
        faults.require(*backoff_max <= DAY, "backoff_max", || format!("{backoff_max:?} is not within 0s..=24h"));
        faults.require((0.0..=1.0).contains(jitter), "jitter", || format!("{jitter} is not within 0.0..=1.0"));
    }
}
