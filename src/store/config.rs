//! How the store is cared for.

use std::time::Duration;

use mainstay_actors::faults::Faults;
use serde::{Deserialize, Serialize};

/// How the store is cared for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct StoreConfig {
    /// Bytes of a file that keeps room for a full disk: it is given up then, so that ends can be written, and kept again when
    /// there is twice as much space. 0 (none) to 1 GiB; default 16 MiB, ours: about 10,000 ends.
    pub reserve_bytes: u64,
    /// How long one commit or read may take before everybody is refused at once until it comes back. 10 ms to 10 min; default
    /// 5 s, ours: the worst flush seen on a shared disk took 16 ms.
    #[serde(with = "mainstay_actors::duration")]
    pub hang_after: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { reserve_bytes: 16 << 20, hang_after: Duration::from_secs(5) }
    }
}

impl StoreConfig {
    pub(crate) fn check(&self, faults: &mut Faults) {
        faults.require(self.reserve_bytes <= 1 << 30, "reserve_bytes", || {
            format!("{} is not within 0..=1073741824", self.reserve_bytes)
        });
        let range = Duration::from_millis(10)..=Duration::from_secs(600);
        faults.require(range.contains(&self.hang_after), "hang_after", || {
            format!("{:?} is not within 10ms..=10m", self.hang_after)
        });
    }
}
