//! A backup in the place of a damaged directory, which is kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use mainstay_actors::{clock::Clock, store::StoreError};

use super::{
    SledStore, backups,
    check::look_through,
    guard,
    swap::{self, COPYING, Stop},
};

/// What became of a damaged directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restored {
    /// What was wrong with it.
    pub(crate) problem: String,
    /// Where it is now.
    pub(crate) damaged: PathBuf,
    /// The backup whose copy has its place.
    pub(crate) backup: PathBuf,
}

/// Puts a copy of the newest good backup in the place of `dir`. Nothing is deleted, and without a good backup nothing is moved.
///
/// # Errors
///
/// [`StoreError::Damaged`] when there is no good backup; [`StoreError::Unusable`] when directories cannot be written or moved.
pub(crate) fn restore(dir: &Path, backups: &Path, problem: &StoreError, clock: &Clock) -> Result<Restored, StoreError> {
    restore_until(dir, backups, problem, clock, &mut |_| Ok(()))
}

pub(super) fn restore_until(
    dir: &Path,
    backups: &Path,
    problem: &StoreError,
    clock: &Clock,
    stop: Stop<'_>,
) -> Result<Restored, StoreError> {
    let unusable = |e: io::Error| guard::unusable(dir, &e);
    let copying = swap::beside(dir, COPYING).map_err(unusable)?;
    let damaged = aside(dir, clock).map_err(unusable)?;
    for backup in backups::whole(backups).unwrap_or_default() {
        swap::clear(dir, COPYING);
        match take(&backup, &copying) {
            Ok(()) => {
                swap::replace(dir, &damaged, stop).map_err(unusable)?;
                return Ok(Restored { problem: problem.to_string(), damaged, backup });
            }
            Err(error) => {
                tracing::error!(target: "mainstay::store", %error, backup = %backup.display(), "a backup is no good, the one before it is tried");
            }
        }
    }
    swap::clear(dir, COPYING);
    let words = match problem {
        StoreError::Damaged(words) => words.clone(),
        other => other.to_string(),
    };
    Err(StoreError::Damaged(format!("{words}. There is no good backup in {} to restore", backups.display())))
}

/// Copies a backup, and looks whether it is whole.
fn take(backup: &Path, copying: &Path) -> Result<(), StoreError> {
    fs::create_dir(copying).map_err(|e| guard::unusable(copying, &e))?;
    guard::copy_files(backup, copying)?;
    let problems = look_through(&SledStore::open_existing(copying)?).problems;
    if !problems.is_empty() {
        return Err(guard::damaged(backup, &problems.join("; ")));
    }
    guard::sync_all(copying)
}

/// A name that is free.
fn aside(dir: &Path, clock: &Clock) -> io::Result<PathBuf> {
    let time = clock.wall().strftime("%Y%m%dT%H%M%SZ").to_string();
    let plain = swap::beside(dir, &format!("damaged-{time}"))?;
    if !plain.exists() {
        return Ok(plain);
    }
    let numbered = (2..1000).map(|n| swap::beside(dir, &format!("damaged-{time}-{n}")));
    let mut free = numbered.filter_map(Result::ok).filter(|path| !path.exists());
    free.next().ok_or_else(|| io::Error::other("too many damaged directories lie beside it"))
}
