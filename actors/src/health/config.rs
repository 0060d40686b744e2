//! What counts as healthy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// Overdue callbacks remembered for a vendor; at the limit the oldest is forgotten.
pub const OVERDUE_KEPT_MAX: usize = 1_000;

/// When a vendor is healthy, degraded or unhealthy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// How far back the score looks. Default 5 min (seed B, `windowMs`). It slides by a thirtieth of itself.
    #[serde(with = "crate::duration")]
    pub window: Duration,
    /// How many calls a score needs. With fewer the score is not given. Default 5 (ours): one failed first call must not
    /// read as 0.
    pub minimum: u32,
    /// A score above this is healthy, a score equal to it is not. Default 0.95 (seed B).
    pub healthy_above: f64,
    /// A score above this is degraded at worst, a score equal to it is unhealthy. Default 0.80 (seed B).
    pub degraded_above: f64,
    /// More dead letters than this mean degraded. Default 100 (seeds A and C).
    pub dead_letters_max: u64,
    /// More overdue callbacks than this mean degraded; fewer are shown as a remark. Default 10 (ours).
    pub overdue_max: u64,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            minimum: 5,
            healthy_above: 0.95,
            degraded_above: 0.80,
            dead_letters_max: 100,
            overdue_max: 10,
        }
    }
}

impl HealthConfig {
    /// Notes what is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let window = Duration::from_secs(10)..=Duration::from_secs(86_400);
        faults.require(window.contains(&self.window), "window", || {
            format!("{:?} is not within 10 s..=24 h", self.window)
        });
        faults.require((1..=10_000).contains(&self.minimum), "minimum", || {
            format!("{} is not within 1..=10000", self.minimum)
        });
        // 1 is left out: with a strict bound nothing would ever be healthy.
        for (field, bound) in [("healthy_above", self.healthy_above), ("degraded_above", self.degraded_above)] {
            faults.require((0.0..1.0).contains(&bound), field, || format!("{bound} is not within 0.0..1.0"));
        }
        faults.require(self.degraded_above <= self.healthy_above, "degraded_above", || {
            format!("{} is above healthy_above, {}", self.degraded_above, self.healthy_above)
        });
        faults.require(self.overdue_max < OVERDUE_KEPT_MAX as u64, "overdue_max", || {
            format!("{} is not within 0..={}, as many as are remembered", self.overdue_max, OVERDUE_KEPT_MAX - 1)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(config: &HealthConfig) -> Vec<String> {
        let mut faults = Faults::default();
        config.check(&mut faults);
        faults.into_result().err().unwrap_or_default().into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn the_defaults_are_the_seeds_and_pass_their_own_check() {
        let config = HealthConfig::default();
        assert_eq!((config.window.as_secs(), config.dead_letters_max), (300, 100));
        assert_eq!((config.healthy_above, config.degraded_above), (0.95, 0.80));
        assert!(faults_of(&config).is_empty());
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let config = HealthConfig {
            window: Duration::ZERO,
            minimum: 0,
            healthy_above: f64::NAN,
            degraded_above: 1.0,
            dead_letters_max: 0,
            overdue_max: u64::MAX,
        };
        let fields = faults_of(&config);
        assert_eq!(fields, ["window", "minimum", "healthy_above", "degraded_above", "degraded_above", "overdue_max"]);
    }

    #[test]
    fn a_field_nobody_knows_is_refused() {
        assert!(serde_json::from_str::<HealthConfig>(r#"{"minimum": 7}"#).is_ok());
        assert!(serde_json::from_str::<HealthConfig>(r#"{"minimun": 7}"#).is_err());
    }
}
