//! What counts as healthy.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::Status;
use crate::{
    faults::Faults,
    ids::OperationId,
    profile::{CostRule, Operation},
};

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
    /// What a vendor is while it has no score, and nothing else is known: `unknown`, or `healthy`. Default unknown (ours): seed
    /// B takes silence for health, see [`HealthConfig::credit`].
    pub without_score: Status,
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
            without_score: Status::Unknown,
            healthy_above: 0.95,
            degraded_above: 0.80,
            dead_letters_max: 100,
            overdue_max: 10,
        }
    }
}

impl HealthConfig {
    /// As in seed B: the first call makes a score, and without any call all is well.
    pub fn credit() -> Self {
        Self { minimum: 1, without_score: Status::Healthy, ..Self::default() }
    }

    /// Notes what is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let window = Duration::from_secs(10)..=Duration::from_secs(86_400);
        faults.require(window.contains(&self.window), "window", || {
            format!("{:?} is not within 10 s..=24 h", self.window)
        });
        faults.require((1..=10_000).contains(&self.minimum), "minimum", || {
            format!("{} is not within 1..=10000", self.minimum)
        });
        let says_nothing_bad = matches!(self.without_score, Status::Unknown | Status::Healthy);
        faults.require(says_nothing_bad, "without_score", || {
            format!("{} is neither unknown nor healthy", self.without_score)
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

/// How a vendor is asked whether it is there, beside the application's own calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// An operation that is free and takes no payload: Retell's `get-concurrency`, `me` of Clay's public API.
    pub operation: String,
    /// How often. 1 s to 1 h; default 1 min (ours).
    #[serde(default = "usual_every", with = "crate::duration")]
    pub every: Duration,
    /// How long an answer may take. 1 ms to `every`; default 5 s (the seeds' time to connect).
    #[serde(default = "usual_timeout", with = "crate::duration")]
    pub timeout: Duration,
}

fn usual_every() -> Duration {
    Duration::from_secs(60)
}

fn usual_timeout() -> Duration {
    Duration::from_secs(5)
}

impl ProbeConfig {
    /// A probe by this operation, once a minute.
    pub fn by(operation: impl Into<String>) -> Self {
        Self { operation: operation.into(), every: usual_every(), timeout: usual_timeout() }
    }

    /// Notes everything that is wrong with it; `operations` are the vendor's.
    pub fn check(&self, operations: &BTreeMap<OperationId, Operation>, faults: &mut Faults) {
        let operation = operations.iter().find(|(id, _)| id.as_str() == self.operation).map(|(_, operation)| operation);
        let free = operation.is_some_and(|operation| {
            let asks_nothing = operation.required.is_empty() && operation.path_members().next().is_none();
            operation.cost == CostRule::Free && operation.also_cost.is_empty() && asks_nothing
        });
        faults.require(free, "operation", || {
            format!("{:?} is no operation of the vendor that is free and takes no payload", self.operation)
        });
        let every = Duration::from_secs(1)..=Duration::from_secs(3_600);
        faults.require(every.contains(&self.every), "every", || format!("{:?} is not within 1 s..=1 h", self.every));
        let timeout = Duration::from_millis(1)..=self.every;
        faults.require(timeout.contains(&self.timeout), "timeout", || {
            format!("{:?} is not within 1 ms..={:?}", self.timeout, self.every)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Method;

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
            without_score: Status::Degraded,
            healthy_above: f64::NAN,
            degraded_above: 1.0,
            dead_letters_max: 0,
            overdue_max: u64::MAX,
        };
        let fields = faults_of(&config);
        assert_eq!(
            fields,
            ["window", "minimum", "without_score", "healthy_above", "degraded_above", "degraded_above", "overdue_max",]
        );
    }

    #[test]
    fn only_an_operation_that_is_free_and_takes_nothing_is_a_probe() {
        let operation = |name: &str, operation| (OperationId::new(name).unwrap(), operation);
        let operations = BTreeMap::from([
            operation("me", Operation::harmless(Method::Get, "/me")),
            operation("person", Operation::harmless(Method::Get, "/people/{id}")),
            operation("row", Operation::post("/rows")),
        ]);
        let faults_of = |probe: &ProbeConfig| {
            let mut faults = Faults::default();
            probe.check(&operations, &mut faults);
            faults.into_result().err().unwrap_or_default().into_iter().map(|fault| fault.field).collect::<Vec<_>>()
        };
        assert!(faults_of(&ProbeConfig::by("me")).is_empty());
        for costly in ["row", "person", "nothing"] {
            assert_eq!(faults_of(&ProbeConfig::by(costly)), ["operation"], "{costly}");
        }
        let (every, timeout) = (Duration::ZERO, Duration::from_secs(9));
        assert_eq!(faults_of(&ProbeConfig { every, timeout, ..ProbeConfig::by("me") }), ["every", "timeout"]);
        let read: ProbeConfig = serde_json::from_str(r#"{"operation": "me", "every": "30s"}"#).unwrap();
        assert_eq!(read, ProbeConfig { every: Duration::from_secs(30), ..ProbeConfig::by("me") });
    }

    #[test]
    fn a_field_nobody_knows_is_refused() {
        assert!(serde_json::from_str::<HealthConfig>(r#"{"minimum": 7}"#).is_ok());
        assert!(serde_json::from_str::<HealthConfig>(r#"{"minimun": 7}"#).is_err());
    }
}
