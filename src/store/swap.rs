//! Putting one directory in the place of another, so that a stop at any moment leaves a whole one.
//!
//! ```text
//!   dir.mainstay-copying    a copy in the making; worth nothing          the next start deletes it
//!   dir.mainstay-next       the same, whole and on the disk              takes the place, if `dir` is not there; else deleted
//!   dir                     the files in use
//!   dir.mainstay-before     what a compaction replaced                   deleted once `dir` was opened
//!   dir.damaged-TIME        what a restored backup replaced              never touched again
//! ```

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

pub(super) const COPYING: &str = "mainstay-copying";
const NEXT: &str = "mainstay-next";
pub(super) const BEFORE: &str = "mainstay-before";

/// A directory beside another one.
pub(super) fn beside(dir: &Path, what: &str) -> io::Result<PathBuf> {
    let (Some(name), Some(parent)) = (dir.file_name(), dir.parent()) else {
        return Err(io::Error::other("has no name of its own: use a directory below it"));
    };
    let mut name = name.to_owned();
    name.push(".");
    name.push(what);
    Ok(parent.join(name))
}

/// A moment at which everything may stop; for tests.
pub(super) type Stop<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;

/// Puts the copy in the place of `dir`, which goes aside.
pub(super) fn replace(dir: &Path, aside: &Path, stop: Stop<'_>) -> io::Result<()> {
    let (copying, next) = (beside(dir, COPYING)?, beside(dir, NEXT)?);
    stop("the copy is whole")?;
    fs::rename(&copying, &next)?;
    sync_parent(dir)?;
    stop("the copy is named")?;
    fs::rename(dir, aside)?;
    sync_parent(dir)?;
    stop("the old one is aside")?;
    fs::rename(&next, dir)?;
    sync_parent(dir)?;
    stop("the copy has its place")
}

/// Finishes a replacement that stopped when there was nothing in the place. An empty directory is nothing: whoever starts
/// processes may have made it.
pub(super) fn finish(dir: &Path) -> io::Result<()> {
    let Ok(next) = beside(dir, NEXT) else { return Ok(()) };
    if !next.is_dir() || (dir.exists() && fs::remove_dir(dir).is_err()) {
        return Ok(());
    }
    tracing::warn!(target: "mainstay::store", dir = %dir.display(), "finishing a replacement of the data directory that was interrupted");
    fs::rename(&next, dir)?;
    sync_parent(dir)
}

/// Deletes copies that never took the place of `dir`, which is there and ours.
pub(super) fn sweep(dir: &Path) {
    for what in [COPYING, NEXT] {
        clear(dir, what);
    }
}

/// Deletes one of our own directories beside `dir`. What stays is deleted the next time.
pub(super) fn clear(dir: &Path, what: &str) {
    let Ok(path) = beside(dir, what) else { return };
    if path.is_dir()
        && let Err(error) = fs::remove_dir_all(&path)
    {
        tracing::warn!(target: "mainstay::store", %error, path = %path.display(), "a copy that is not needed cannot be deleted");
    }
}

fn sync_parent(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
