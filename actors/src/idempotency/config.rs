//! How much the table of keys remembers, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// Bounds of one vendor's table of keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdempotencyConfig {
    /// How long the end of a call answers its repeats. Default 24 h (seeds A and C: a key lives 24 h), by the
    /// calendar across restarts.
    #[serde(with = "crate::duration")]
    pub keep: Duration,
    /// Most keys at a time: in flight, done and unknown. Default 100,000 (ours: 24 h at a bit more than one call a second).
    pub keys_max: usize,
    /// Most callers that may wait for the end of one key. Default 1,000 (ours: above it somebody is looping).
    pub joined_max: usize,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self { keep: Duration::from_secs(24 * 3600), keys_max: 100_000, joined_max: 1_000 }
    }
}

impl IdempotencyConfig {
    /// Notes what is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let keep = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
        faults.require(keep.contains(&self.keep), "keep", || format!("{:?} is not within 1 min..=30 days", self.keep));
        faults.require((1..=10_000_000).contains(&self.keys_max), "keys_max", || {
            format!("{} is not within 1..=10000000", self.keys_max)
        });
        faults.require((1..=100_000).contains(&self.joined_max), "joined_max", || {
            format!("{} is not within 1..=100000", self.joined_max)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(config: &IdempotencyConfig) -> Vec<String> {
        let mut faults = Faults::default();
        config.check(&mut faults);
        faults.into_result().err().unwrap_or_default().into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert!(faults_of(&IdempotencyConfig::default()).is_empty());
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let config = IdempotencyConfig { keep: Duration::ZERO, keys_max: 0, joined_max: 100_001 };
        assert_eq!(faults_of(&config), ["keep", "keys_max", "joined_max"]);
    }

    #[test]
    fn a_field_nobody_knows_is_refused() {
        assert!(serde_json::from_str::<IdempotencyConfig>(r#"{"keys_max": 7}"#).is_ok());
        assert!(serde_json::from_str::<IdempotencyConfig>(r#"{"max_keys": 7}"#).is_err());
    }
}
