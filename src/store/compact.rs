//! A data file that has become too large is copied into a new one: sled gives back nothing of what it once took.

use std::{fs, io, path::Path};

use mainstay_actors::store::{Engine, StoreError};

use super::{
    Durability, SledStore, StoreConfig,
    check::{live_bytes, look_through},
    copy, guard,
    swap::{self, BEFORE, COPYING, Stop},
};

/// What a compaction made of the data file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Its size before.
    pub before: u64,
    /// Its size after.
    pub after: u64,
}

/// Compacts a data directory that nobody has open. It needs room beside it for what is live. A stop at any moment leaves the
/// old directory, or the new one.
///
/// # Errors
///
/// Those of [`SledStore::open`]; [`StoreError::Damaged`] when the copy does not hold what it should: then nothing was replaced.
pub fn compact(dir: &Path) -> Result<Compacted, StoreError> {
    guard::existing(dir)?;
    let before = file_bytes(dir);
    rewrite(SledStore::open(dir, Durability::Power)?, &mut |_| Ok(()))?;
    drop(SledStore::open(dir, Durability::Power)?);
    Ok(Compacted { before, after: file_bytes(dir) })
}

/// The same at a start, where it pays. What stands in its way does not stop the start.
pub(super) fn where_it_pays(store: SledStore, config: &StoreConfig) -> Result<SledStore, StoreError> {
    let (dir, durability) = (store.dir().to_owned(), store.durability());
    let before = file_bytes(&dir);
    let worth = before / u64::from(config.compact_times.max(1));
    if config.compact_above_bytes == 0 || before <= config.compact_above_bytes || live_bytes(&store, worth)? > worth {
        return Ok(store);
    }
    let rewritten = rewrite(store, &mut |_| Ok(()));
    let store = SledStore::open(&dir, durability)?;
    match rewritten {
        Ok(()) => {
            let after = file_bytes(&dir);
            tracing::info!(target: "mainstay::store", before, after, dir = %dir.display(), "the data file was compacted");
        }
        Err(error) => {
            tracing::warn!(target: "mainstay::store", %error, dir = %dir.display(), "the data file could not be compacted");
        }
    }
    Ok(store)
}

/// Puts a copy in the place of the store's directory. Whatever comes of it, the directory can be opened afterwards.
pub(super) fn rewrite(store: SledStore, stop: Stop<'_>) -> Result<(), StoreError> {
    let dir = store.dir().to_owned();
    let unusable = |e: io::Error| guard::unusable(&dir, &e);
    let (copying, before) =
        (swap::beside(&dir, COPYING).map_err(unusable)?, swap::beside(&dir, BEFORE).map_err(unusable)?);
    swap::clear(&dir, COPYING);
    if let Err(error) = copy(&store, &copying).and_then(|()| sound(&dir, &copying)) {
        swap::clear(&dir, COPYING);
        return Err(error);
    }
    drop(store);
    swap::replace(&dir, &before, stop).map_err(unusable)
}

/// A copy that lacks something must not take the place of what has it.
fn sound(dir: &Path, copying: &Path) -> Result<(), StoreError> {
    let found = look_through(&SledStore::open_existing(copying)? as &dyn Engine);
    guard::sync_all(copying)?;
    match found.problems.as_slice() {
        [] => Ok(()),
        problems => Err(guard::damaged(dir, &problems.join("; "))),
    }
}

fn file_bytes(dir: &Path) -> u64 {
    fs::metadata(dir.join("db")).map_or(0, |meta| meta.len())
}
