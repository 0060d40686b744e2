//! How the store is cared for.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    /// What a start does with a damaged directory; default `refuse`.
    pub on_damage: OnDamage,
    /// At a start, a data file larger than this is copied into a new one, if it is also [`Self::compact_times`] as large as
    /// what is in it: the file does not shrink by itself. 0: never. Default 256 MiB (ours).
    pub compact_above_bytes: u64,
    /// 2 to 100,000; default 4: under steady load the file is 2.5 times as large.
    pub compact_times: u32,
    /// Copies made while the runtime runs; default none.
    pub backup: BackupConfig,
}

/// What a start does with a damaged data directory. Nothing is ever deleted, and nothing ever starts empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDamage {
    /// It does not start, and says what is wrong. A person decides.
    #[default]
    Refuse,
    /// The directory is moved aside, to `<dir>.damaged-<time>`, and the newest good backup is put in its place. What was
    /// written after it is missing: parked calls, and keys, so that a call made since then is not known and may be made again.
    Restore,
}

/// Copies of the data directory, made by the store's own thread in small steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BackupConfig {
    /// Where they are, each a directory of its own that can be used as a data directory. On another disk, best. Default none:
    /// there are no backups.
    pub dir: Option<PathBuf>,
    /// Time from one to the next, over restarts too. 1 min to 365 d; default 6 h, ours.
    #[serde(with = "mainstay_actors::duration")]
    pub every: Duration,
    /// How many are kept; older ones are deleted. 1 to 1,000; default 4, ours: a day.
    pub keep: usize,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self { dir: None, every: Duration::from_secs(6 * 3600), keep: 4 }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            reserve_bytes: 16 << 20,
            hang_after: Duration::from_secs(5),
            on_damage: OnDamage::default(),
            compact_above_bytes: 256 << 20,
            compact_times: 4,
            backup: BackupConfig::default(),
        }
    }
}

impl StoreConfig {
    /// `data_dir`: where the store is.
    pub(crate) fn check(&self, data_dir: Option<&Path>, faults: &mut Faults) {
        faults.require(self.reserve_bytes <= 1 << 30, "reserve_bytes", || {
            format!("{} is not within 0..=1073741824", self.reserve_bytes)
        });
        let range = Duration::from_millis(10)..=Duration::from_secs(600);
        faults.require(range.contains(&self.hang_after), "hang_after", || {
            format!("{:?} is not within 10ms..=10m", self.hang_after)
        });
        faults.require((2..=100_000).contains(&self.compact_times), "compact_times", || {
            format!("{} is not within 2..=100000", self.compact_times)
        });
        let backup = &self.backup;
        let range = Duration::from_secs(60)..=Duration::from_secs(365 * 86400);
        faults.require(range.contains(&backup.every), "backup.every", || {
            format!("{:?} is not within 1m..=365d", backup.every)
        });
        faults.require((1..=1000).contains(&backup.keep), "backup.keep", || {
            format!("{} is not within 1..=1000", backup.keep)
        });
        let restores = self.on_damage == OnDamage::Restore;
        faults.require(!restores || backup.dir.is_some(), "backup.dir", || {
            "is missing: on_damage = \"restore\" needs backups".into()
        });
        let inside = backup.dir.as_deref().zip(data_dir).is_some_and(|(backups, data)| backups.starts_with(data));
        faults.require(!inside, "backup.dir", || {
            "is inside data_dir: a damaged directory is moved with all in it".into()
        });
    }
}
