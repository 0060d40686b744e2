//! A copy of a data directory that may be spoiled: the engine writes to whatever it opens.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use mainstay_actors::store::StoreError;

use super::guard;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Deleted when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    of: PathBuf,
    dir: PathBuf,
}

impl Scratch {
    /// Copies the files of a directory that nobody has open.
    pub(super) fn copy_of(of: &Path) -> Result<Self, StoreError> {
        let name = format!("mainstay-look-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
        let scratch = Self { of: of.to_owned(), dir: env::temp_dir().join(name) };
        fs::create_dir(&scratch.dir).map_err(|e| guard::unusable(&scratch.dir, &e))?;
        guard::copy_files(of, &scratch.dir)?;
        Ok(scratch)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The error as it is of the directory itself.
    pub(super) fn renamed(&self, error: StoreError) -> StoreError {
        let (here, there) = (self.dir.display().to_string(), self.of.display().to_string());
        match error {
            StoreError::Damaged(what) => StoreError::Damaged(what.replace(&here, &there)),
            StoreError::Unusable { problem, .. } => StoreError::Unusable { dir: there, problem },
            StoreError::Format { found, known, .. } => StoreError::Format { dir: there, found, known },
            other => other,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
