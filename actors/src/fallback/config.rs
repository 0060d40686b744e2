//! Which steps may stand in, and how long an answer is good.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::KeyTemplate;
use crate::{
    call::{OnDenied, Step},
    faults::Faults,
    outcome::Class,
    refusal::Guard,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What may stand in for one vendor, when, and in which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackConfig {
    /// The steps in their order, each at most once. Default cache, queue, local, dead_letter (seed B). The dead letter queue
    /// comes last, named or not. A queued call is kept, so what stands behind `queue` is for calls that may not be queued.
    pub chain: Vec<Step>,
    /// The classes of failure the chain is for. Default every class of an outage: not `caller_error` and not `auth`, which
    /// a stand-in would only hide. Any other failure is a dead letter at once. `success` and `not_found` are no failures.
    pub on_classes: Vec<Class>,
    /// The guards whose denial a cached or a local answer may stand in for. Default all.
    pub on_guards: Vec<Guard>,
    /// What becomes of a call that a guard denied, when nothing stood in. Default `queue`; see the module's table.
    pub on_denied: OnDenied,
    /// The last good answers. Default none: an application says which fields of its payload name what is asked for.
    pub cache: Option<CacheConfig>,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        let not_an_outage = [Class::Success, Class::NotFound, Class::CallerError, Class::Auth];
        Self {
            chain: STEPS.to_vec(),
            on_classes: Class::ALL.into_iter().filter(|class| !not_an_outage.contains(class)).collect(),
            on_guards: Guard::ALL.to_vec(),
            on_denied: OnDenied::default(),
            cache: None,
        }
    }
}

impl FallbackConfig {
    /// Notes what is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let problem = check_chain(&self.chain);
        faults.require(problem.is_none(), "chain", || problem.unwrap_or_default());
        for class in [Class::Success, Class::NotFound] {
            faults.require(!self.on_classes.contains(&class), "on_classes", || format!("{class} is no failure"));
        }
        if let Some(cache) = &self.cache {
            cache.check(&mut faults.under("cache"));
        }
    }
}

/// The steps in the order of seed B.
const STEPS: [Step; 4] = [Step::Cache, Step::Queue, Step::Local, Step::DeadLetter];

/// What is wrong with a chain, if anything.
pub fn check_chain(chain: &[Step]) -> Option<String> {
    let twice = |step: &&Step| chain.iter().filter(|other| other == step).count() > 1;
    if chain.len() > STEPS.len() || chain.iter().any(|step| twice(&step)) {
        return Some("names a step twice".into());
    }
    let last = chain.iter().position(|step| *step == Step::DeadLetter).is_none_or(|at| at + 1 == chain.len());
    (!last).then(|| "names a step behind dead_letter, which is always the last".into())
}

/// How answers are cached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// The [`KeyTemplate`] of what is asked for: JSON pointers into the payload, such as `{/domain}|{/country}`. Default
    /// `{/domain}` (seed B: by domain). A payload without a text at each, or with a blank one, is neither cached nor served
    /// from the cache. Tenants, operations and targets are apart without being named.
    pub key: String,
    /// Younger than this is fresh. Default 1 h (ours; the seeds name the three grades and no times).
    #[serde(with = "crate::duration")]
    pub fresh_for: Duration,
    /// Younger than this is stale. Default 24 h (ours).
    #[serde(with = "crate::duration")]
    pub stale_for: Duration,
    /// Younger than this is very stale, older is forgotten. Default 7 days (ours).
    #[serde(with = "crate::duration")]
    pub keep_for: Duration,
    /// Most answers. Default 10,000 (ours).
    pub entries_max: usize,
    /// Largest answer, in bytes of JSON. Default 64 KiB (ours: an enriched row has a few KiB).
    pub entry_max_bytes: usize,
    /// All answers and their keys together, in bytes of JSON. Default 64 MiB (ours).
    pub bytes_max: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            key: "{/domain}".into(),
            fresh_for: HOUR,
            stale_for: DAY,
            keep_for: 7 * DAY,
            entries_max: 10_000,
            entry_max_bytes: 64 << 10,
            bytes_max: 64 << 20,
        }
    }
}

impl CacheConfig {
    /// Notes what is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let key: Result<KeyTemplate, String> = self.key.parse();
        faults.require(key.is_ok(), "key", || key.err().unwrap_or_default());
        faults.require(self.fresh_for <= self.stale_for, "fresh_for", || {
            format!("{:?} is longer than stale_for, {:?}", self.fresh_for, self.stale_for)
        });
        faults.require(self.stale_for <= self.keep_for, "stale_for", || {
            format!("{:?} is longer than keep_for, {:?}", self.stale_for, self.keep_for)
        });
        let keep = Duration::from_secs(1)..=366 * DAY;
        faults.require(keep.contains(&self.keep_for), "keep_for", || {
            format!("{:?} is not within 1 s..=366 days", self.keep_for)
        });
        faults.require((1..=1_000_000).contains(&self.entries_max), "entries_max", || {
            format!("{} is not within 1..=1000000", self.entries_max)
        });
        faults.require((1..=16 << 20).contains(&self.entry_max_bytes), "entry_max_bytes", || {
            format!("{} is not within 1..=16777216", self.entry_max_bytes)
        });
        faults.require((1..=1 << 30).contains(&self.bytes_max), "bytes_max", || {
            format!("{} is not within 1..=1073741824", self.bytes_max)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(config: &FallbackConfig) -> Vec<String> {
        let mut faults = Faults::default();
        config.check(&mut faults);
        faults.into_result().err().unwrap_or_default().into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn the_defaults_pass_their_own_check() {
        let with_cache = FallbackConfig { cache: Some(CacheConfig::default()), ..FallbackConfig::default() };
        assert!(faults_of(&with_cache).is_empty() && faults_of(&FallbackConfig::default()).is_empty());
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let cache = CacheConfig {
            key: "domain".into(),
            fresh_for: 3 * DAY,
            stale_for: 2 * DAY,
            keep_for: Duration::ZERO,
            entries_max: 0,
            entry_max_bytes: 0,
            bytes_max: 0,
        };
        let chain = vec![Step::DeadLetter, Step::Cache];
        let on_classes = vec![Class::Success];
        let config = FallbackConfig { chain, on_classes, cache: Some(cache), ..FallbackConfig::default() };
        let of_cache = ["key", "fresh_for", "stale_for", "keep_for", "entries_max", "entry_max_bytes", "bytes_max"];
        let expected: Vec<_> = of_cache.iter().map(|field| format!("cache.{field}")).collect();
        assert_eq!(faults_of(&config), [vec!["chain".to_owned(), "on_classes".to_owned()], expected].concat());
    }

    #[test]
    fn a_chain_names_each_step_once_and_the_dead_letter_last() {
        assert_eq!(check_chain(&[]), None);
        assert_eq!(check_chain(&[Step::Local, Step::Cache]), None);
        assert_eq!(check_chain(&[Step::Local, Step::DeadLetter]), None);
        assert!(check_chain(&[Step::Local, Step::Local]).is_some());
        assert!(check_chain(&[Step::DeadLetter, Step::Local]).is_some());
    }

    #[test]
    fn a_field_nobody_knows_is_refused() {
        let read = |text| serde_json::from_str::<FallbackConfig>(text);
        let config =
            read(r#"{"cache": {"key": "/id"}, "chain": ["local"], "on_denied": "refuse", "on_guards": ["breaker"]}"#);
        let config = config.unwrap();
        assert_eq!((&config.chain[..], config.on_denied), (&[Step::Local][..], OnDenied::Refuse));
        assert!(read(r#"{"cache": {"key_pointer": "/id"}}"#).is_err());
        assert!(read(r#"{"local": true}"#).is_err());
        assert!(read(r#"{"on_denied": "drop"}"#).is_err());
    }
}
