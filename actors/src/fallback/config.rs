//! Which steps may stand in, and how long an answer is good.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What may stand in for one vendor. The order is fixed: cache, queue, local function, dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackConfig {
    /// The last good answers. Default none: an application says which field of its payload names what is asked for.
    pub cache: Option<CacheConfig>,
    /// Whether a call waits for the vendor to come back. Default yes (seed B, `queueForLater`).
    pub queue: bool,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self { cache: None, queue: true }
    }
}

impl FallbackConfig {
    /// Notes what is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        if let Some(cache) = &self.cache {
            cache.check(&mut faults.under("cache"));
        }
    }
}

/// How answers are cached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// JSON pointer to the text in the payload that names what is asked for. Default `/domain` (seed B: by domain).
    /// A payload without it, or with a blank one, is neither cached nor served from the cache.
    pub key_pointer: String,
    /// Younger than this is fresh. Default 1 h (ours; the seeds name the three grades and no times).
    pub fresh_for: Duration,
    /// Younger than this is stale. Default 24 h (ours).
    pub stale_for: Duration,
    /// Younger than this is very stale, older is forgotten. Default 7 days (ours).
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
            key_pointer: "/domain".into(),
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
        faults.require(self.key_pointer.starts_with('/'), "key_pointer", || {
            format!("{:?} is no JSON pointer: begin with /", self.key_pointer)
        });
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
            key_pointer: "domain".into(),
            fresh_for: 3 * DAY,
            stale_for: 2 * DAY,
            keep_for: Duration::ZERO,
            entries_max: 0,
            entry_max_bytes: 0,
            bytes_max: 0,
        };
        let fields = faults_of(&FallbackConfig { cache: Some(cache), queue: true });
        let expected =
            ["key_pointer", "fresh_for", "stale_for", "keep_for", "entries_max", "entry_max_bytes", "bytes_max"];
        assert_eq!(fields, expected.map(|field| format!("cache.{field}")));
    }

    #[test]
    fn a_field_nobody_knows_is_refused() {
        assert!(serde_json::from_str::<FallbackConfig>(r#"{"cache": {"key_pointer": "/id"}}"#).is_ok());
        assert!(serde_json::from_str::<FallbackConfig>(r#"{"cache": {"key": "/id"}}"#).is_err());
        assert!(serde_json::from_str::<FallbackConfig>(r#"{"local": true}"#).is_err());
    }
}
