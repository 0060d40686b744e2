//! The client's own limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// Limits of the connection; the operation has its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Until a connection stands; default 5 s (the seeds' timeout table). Past it, nothing was sent.
    #[serde(with = "crate::duration")]
    pub connect_timeout: Duration,
    /// Largest answer that is read, in bytes; default 1 MiB, ours.
    pub answer_max_bytes: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), answer_max_bytes: 1 << 20 }
    }
}

impl ClientConfig {
    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let range = Duration::from_millis(1)..=Duration::from_secs(60);
        faults.require(range.contains(&self.connect_timeout), "connect_timeout", || {
            format!("{:?} is not within 1ms..=60s", self.connect_timeout)
        });
        faults.require((1024..=64 << 20).contains(&self.answer_max_bytes), "answer_max_bytes", || {
            format!("{} is not within 1024..=67108864", self.answer_max_bytes)
        });
    }
}
