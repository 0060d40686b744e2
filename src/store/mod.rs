//! The state of one machine on disk: one directory, one engine, one thread that owns it.
//!
//! ```text
//!   actors, tasks --StoreHandle--> [ queue, bounded ] --> StoreWriter (own thread) --> Engine
//!        ^                                                drain, commit once, flush once   |
//!        +------------- acknowledged: durable <-------------------------------------------+
//! ```
//!
//! # Why one owner thread
//!
//! sled has no group commit of its own: 100 senders that flush for themselves get 3,000 durable writes a second, one thread
//! that drains, commits and flushes for all gets 24,000 to 39,000. It also keeps sled's process-wide transaction lock away from
//! everybody else. Nothing on the way of a call reads the store: what admission needs is in memory.
//!
//! # Limits
//!
//! | what | limit | beyond it |
//! | --- | --- | --- |
//! | value | 4,096 bytes | [`StoreError::ValueTooLarge`], the set is refused |
//! | key | [`KEY_MAX_BYTES`] | [`StoreError::Engine`], the set is refused |
//! | queue | [`QUEUE_MAX`] jobs, [`QUEUE_MAX_BYTES`] | [`StoreError::Unavailable`] at once |
//! | group | [`GROUP_MAX`] sets or [`GROUP_MAX_BYTES`] | the rest goes into the next group |
//! | page cache | 64 MiB (sled's default is 1 GiB) | a target, resident memory may be two to three times that |
//!
//! # What happens when
//!
//! | event | answer |
//! | --- | --- |
//! | kill -9, power cut (`Durability::Power`) | everything acknowledged is there; what was not acknowledged may be there too |
//! | a half-written snapshot is left over from a kill during opening | it is deleted before opening; it would fail every later open |
//! | the directory is open elsewhere | [`StoreError::InUse`], after waiting a second for a lock that is being given back |
//! | damaged files, or files that hold less than was acknowledged | [`StoreError::Damaged`]; the directory is left as it was, nothing starts empty. With [`OnDamage::Restore`] it is moved aside, and a copy of the newest good backup takes its place |
//! | at a start the file is over 256 MiB, and over 4 times what is in it | it is copied into a new directory, which takes the place of the old one |
//! | a process ends in the middle of a backup, a restoring or a compaction | what was half-written is never used, and deleted by the next one |
//! | the disk is full | a file that kept 16 MiB is given up, the engine is opened anew, ends are written; what would begin gets [`StoreError::Full`] |
//! | that room is used up too | every write gets [`StoreError::Full`] at once; the engine is opened again by itself when there is space, looked for after 1 s, then less and less often, at least once a minute |
//! | a commit or a read takes longer than 5 s | all who wait, and all who ask, get [`StoreError::Unavailable`] at once until it comes back; what was asked may still be done |
//! | the engine panics | everybody gets [`StoreError::Unavailable`], then and later; callers live on |
//!
//! # What it never does
//!
//! Acknowledge before the flush. Delete a data directory, or start with an empty one where there was another. Give space back
//! while it runs: the file keeps its high-water mark until the next start.

mod apply;
mod backups;
mod check;
mod compact;
mod config;
mod copying;
mod guard;
mod handle;
mod memory;
mod restore;
mod room;
mod salvage;
mod scratch;
mod sled_store;
mod status;
mod swap;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use mainstay_actors::clock::Clock;
pub use mainstay_actors::store::{Engine, Op, Row, Store, StoreError, StoreState, Table, VALUE_MAX_BYTES, WriteSet};
use serde::{Deserialize, Serialize};

pub(crate) use self::restore::{Restored, restore};
pub use self::{
    check::{StoreCheck, TableCheck, check},
    compact::{Compacted, compact},
    config::{BackupConfig, OnDamage, StoreConfig},
    copying::{backup, copy},
    handle::{QUEUE_MAX, QUEUE_MAX_BYTES, StoreHandle},
    memory::MemoryStore,
    salvage::{Salvaged, salvage},
    sled_store::SledStore,
    status::{BackupStatus, StoreFault, StoreStatus},
    writer::{GROUP_MAX, GROUP_MAX_BYTES},
};
use self::{handle::Care, room::Reserve};

/// The newest format of a data directory that this version reads and writes.
pub const FORMAT: u64 = 1;

/// Longest key, in bytes. Ours are at most about 100; the bound gives scans an end that lies behind every key.
pub const KEY_MAX_BYTES: usize = 255;

/// The name of the format version in [`Table::Meta`].
const FORMAT_KEY: &[u8] = b"format";

/// A key that lies behind every key.
const END: [u8; KEY_MAX_BYTES + 1] = [0xff; KEY_MAX_BYTES + 1];

/// What acknowledged writes survive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A power cut or a crash of the kernel: one `fdatasync` a group. With a flush alone, 13 of 30 simulated power cuts lost
    /// acknowledged writes; with it, none of 70.
    #[default]
    Power,
    /// The death of the process, at any moment. Faster with few senders, no faster with a hundred.
    Process,
}

/// Opens a data directory and gives it a thread. On a full disk what was kept in reserve is given up for it.
///
/// # Errors
///
/// Those of [`SledStore::open`]; a thread cannot be had.
pub fn open(
    dir: &Path,
    durability: Durability,
    config: &StoreConfig,
    clock: &Clock,
) -> Result<(StoreHandle, JoinHandle<()>), StoreError> {
    let reserve = Reserve::of(dir, config.reserve_bytes);
    let engine = match SledStore::open(dir, durability) {
        Err(StoreError::Full) if reserve.as_ref().is_some_and(Reserve::give_up) => SledStore::open(dir, durability)?,
        opened => opened?,
    };
    let engine = compact::where_it_pays(engine, config)?;
    let backups = backups::Plan::of(&config.backup, clock);
    let care = Care { reserve, hang_after: config.hang_after, backups };
    StoreHandle::spawn_with(engine, care).map_err(|e| guard::unusable(dir, &e))
}

fn require_empty(dir: &Path) -> Result<(), StoreError> {
    let unusable = |problem: String| StoreError::Unusable { dir: dir.display().to_string(), problem };
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(unusable("is not empty; a backup needs an empty one".into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(unusable(e.to_string())),
    }
}

/// The same words with the directory and what to do, for damage that its readers found.
pub(crate) fn damaged_in(dir: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(what) if !what.contains(&*dir.display().to_string()) => guard::damaged(dir, &what),
        other => other,
    }
}

/// Bytes of all files below a directory; what cannot be read counts as nothing.
fn bytes_below(dir: &Path) -> u64 {
    let mut todo: Vec<PathBuf> = vec![dir.to_owned()];
    let mut sum = 0;
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => todo.push(entry.path()),
                Ok(meta) => sum += meta.len(),
                Err(_) => {}
            }
        }
    }
    sum
}
