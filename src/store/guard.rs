//! What is looked at before and after a directory is opened, because the engine does not: leftovers, the owner's lock, the
//! format, and whether the files hold less than was acknowledged.
//!
//! Damaged files can make sled 0.34.7 panic, fail, or open with a part of the rows and no error, and then write over the rest.
//! So a small file beside it remembers how far the store had come, and a copy of the files is kept until opening has proved
//! good; after a failure it is put back, and the directory is as it was.
//!
//! It can also open with a few rows missing in the middle, and its last commits there. That shows only to who counts: the owner
//! of a table commits a counter with its rows, and compares the two at its start.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use mainstay_actors::store::StoreError;

use super::{FORMAT, swap};

/// A small text file: the format's number, and how many groups were certainly committed.
const STATE: &str = "mainstay.state";

/// Where the copy lives while the engine opens.
const COPY: &str = "before-start";

/// Above this size no copy is made: it would take longer than anybody waits for a start.
const COPY_MAX_BYTES: u64 = 512 << 20;

/// How long a lock is waited for: sled gives its own back late when it is reopened in one process.
const LOCK_PAUSE: Duration = Duration::from_millis(25);
const LOCK_TRIES: u32 = 40;

/// What a directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The start of a runtime: the files are copied before.
    Start,
    /// Going on after a full disk, where there is no space for a copy.
    Again,
    /// It is a copy itself, or becomes one.
    Copy,
}

/// What was found before opening.
#[derive(Debug)]
pub(super) struct Found {
    /// Groups that were certainly committed, if the directory was ever set up.
    pub(super) groups: Option<u64>,
    copy: Option<SafetyCopy>,
}

impl Found {
    /// Opening has proved good: the copy goes.
    pub(super) fn discard_copy(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.discard();
        }
    }

    /// Opening has failed, and the engine is closed: what it changed is undone.
    pub(super) fn put_back(self) {
        let Some(copy) = self.copy else { return };
        if let Err(error) = copy.put_back() {
            tracing::error!(target: "mainstay::store", %error, "the files as they were before the start are in {COPY}, and could not be put back");
        }
    }
}

/// Makes the directory usable, or says why it is not. Changes nothing but leftovers of a killed start.
pub(super) fn prepare(dir: &Path, purpose: Purpose) -> Result<Found, StoreError> {
    if purpose == Purpose::Start {
        swap::finish(dir).map_err(|e| unusable(dir, &e))?;
    }
    fs::create_dir_all(dir).map_err(|e| unusable(dir, &e))?;
    let snapshots = named(dir, is_half_written).map_err(|e| unusable(dir, &e))?;
    let groups = read_state(dir)?;
    match File::open(dir.join("db")) {
        // The engine would set itself up around it.
        Ok(file) if !file.metadata().map_err(|e| unusable(dir, &e))?.is_file() => {
            Err(unusable(dir, &io::Error::other("its data file `db` is not a file")))
        }
        Ok(file) => {
            // Held meanwhile: another process that is opening right now writes such files itself.
            lock(dir, &file)?;
            for leftover in snapshots {
                tracing::warn!(target: "mainstay::store", file = %leftover.display(), "deleting a half-written snapshot of a killed start");
                fs::remove_file(&leftover).map_err(|e| unusable(dir, &e))?;
            }
            if purpose != Purpose::Start {
                return Ok(Found { groups, copy: None });
            }
            swap::sweep(dir);
            Ok(Found { groups, copy: SafetyCopy::take(dir) })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && groups.is_some() => Err(damaged(dir, "its data file is gone")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Found { groups, copy: None }),
        Err(e) => Err(unusable(dir, &e)),
    }
}

/// The engine's files as they were before it opened them.
#[derive(Debug)]
struct SafetyCopy {
    dir: PathBuf,
    names: Vec<PathBuf>,
}

impl SafetyCopy {
    /// Copies; on a file system that can, without copying a byte. A disk too full for it does not stop a start.
    fn take(dir: &Path) -> Option<Self> {
        let copy = dir.join(COPY);
        let _ = fs::remove_dir_all(&copy); // of a killed start; the files themselves are newer
        let names = named(dir, is_engine_file).ok()?;
        let bytes: u64 = names.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum();
        if bytes > COPY_MAX_BYTES {
            tracing::warn!(target: "mainstay::store", bytes, "data files too large for a safety copy before opening");
            return None;
        }
        let copied = fs::create_dir(&copy).and_then(|()| {
            names.iter().try_for_each(|path| fs::copy(path, copy.join(path.file_name().unwrap_or_default())).map(drop))
        });
        if let Err(error) = copied {
            tracing::warn!(target: "mainstay::store", %error, "no safety copy of the data files before opening");
            let _ = fs::remove_dir_all(&copy);
            return None;
        }
        Some(Self { dir: dir.to_owned(), names })
    }

    fn discard(self) {
        let _ = fs::remove_dir_all(self.dir.join(COPY)); // what stays is removed by the next start
    }

    fn put_back(self) -> io::Result<()> {
        let copy = self.dir.join(COPY);
        for path in &self.names {
            let saved = copy.join(path.file_name().unwrap_or_default());
            File::open(&saved)?.sync_all()?;
            fs::rename(&saved, path)?;
        }
        for path in named(&self.dir, is_engine_file)? {
            if !self.names.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        fs::remove_dir_all(copy)
    }
}

/// Deletes what the engine noted for a quick start.
pub(super) fn remove_snapshots(dir: &Path) -> Result<(), StoreError> {
    let snapshots = named(dir, |name| name.starts_with("snap.")).map_err(|e| unusable(dir, &e))?;
    snapshots.iter().try_for_each(fs::remove_file).map_err(|e| unusable(dir, &e))
}

/// A directory that was in use before, and not one that would be made.
pub(super) fn existing(dir: &Path) -> Result<(), StoreError> {
    swap::finish(dir).map_err(|e| unusable(dir, &e))?;
    if dir.join("db").exists() || dir.join(STATE).exists() {
        return Ok(());
    }
    Err(unusable(dir, &io::Error::other("holds no data of mainstay")))
}

/// Copies the files of a directory that nobody has open.
pub(super) fn copy_files(from: &Path, to: &Path) -> Result<(), StoreError> {
    let wanted = |name: &str| (is_engine_file(name) && !is_half_written(name)) || name == STATE;
    let files = named(from, wanted).map_err(|e| unusable(from, &e))?;
    if files.is_empty() {
        return Err(unusable(from, &io::Error::other("holds no data of mainstay")));
    }
    let data = File::open(from.join("db")).ok();
    data.as_ref().map_or(Ok(()), |data| lock(from, data))?;
    for file in files.iter().filter(|file| file.is_file()) {
        fs::copy(file, to.join(file.file_name().unwrap_or_default())).map_err(|e| unusable(from, &e))?;
    }
    Ok(())
}

fn is_half_written(name: &str) -> bool {
    name.starts_with("snap.") && name.ends_with(".generating")
}

fn is_engine_file(name: &str) -> bool {
    name == "db" || name == "conf" || name.starts_with("snap.")
}

fn named(dir: &Path, fits: fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if fits(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// How many groups were certainly committed, as far as it is known.
pub(super) fn noted_groups(dir: &Path) -> u64 {
    read_state(dir).ok().flatten().unwrap_or(0)
}

fn read_state(dir: &Path) -> Result<Option<u64>, StoreError> {
    let text = match fs::read_to_string(dir.join(STATE)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(dir, &e)),
    };
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    match (words.next(), words.next()) {
        (Some(Ok(found)), _) if found > FORMAT => Err(too_new(dir, found)),
        (_, Some(Ok(groups))) => Ok(Some(groups)),
        // An unreadable file still proves that the directory was set up.
        _ => Ok(Some(0)),
    }
}

/// The open state file. It is written in place and not synced: an older figure only makes the check weaker.
#[derive(Debug)]
pub(super) struct Watermark(File);

impl Watermark {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let file = File::options().create(true).truncate(false).write(true).open(dir.join(STATE));
        file.map(Self).map_err(|e| unusable(dir, &e))
    }

    /// Notes that this many groups are on the disk. The text has one length, so that writing it anew replaces it whole.
    pub(super) fn set(&mut self, groups: u64) -> io::Result<()> {
        self.0.rewind()?;
        self.0.write_all(format!("{FORMAT} {groups:020}\n").as_bytes())
    }
}

/// Waits a little for the lock on the data file. It is the same lock that sled takes, on a descriptor of our own.
fn lock(dir: &Path, file: &File) -> Result<(), StoreError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE),
            Err(TryLockError::Error(e)) => return Err(unusable(dir, &e)),
        }
    }
    Err(StoreError::InUse { dir: dir.display().to_string() })
}

/// Tries again while the engine says that somebody holds the lock.
pub(super) fn with_lock_retries<T>(
    dir: &Path,
    mut open: impl FnMut() -> Result<Option<T>, StoreError>,
) -> Result<T, StoreError> {
    for _ in 0..LOCK_TRIES {
        if let Some(opened) = open()? {
            return Ok(opened);
        }
        sleep(LOCK_PAUSE);
    }
    Err(StoreError::InUse { dir: dir.display().to_string() })
}

/// Brings files and directory entries to the disk once; sled itself never does.
pub(super) fn sync_all(dir: &Path) -> Result<(), StoreError> {
    let absolute = fs::canonicalize(dir).map_err(|e| unusable(dir, &e))?;
    let files = named(&absolute, |name| is_engine_file(name) || name == STATE).map_err(|e| unusable(dir, &e))?;
    for path in files.iter().map(PathBuf::as_path).chain([absolute.as_path()]).chain(absolute.parent()) {
        match File::open(path).and_then(|file| file.sync_all()) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // The directory above may belong to somebody else.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && Some(path) == absolute.parent() => {}
            Err(e) => return Err(unusable(dir, &e)),
        }
    }
    Ok(())
}

pub(super) fn unusable(dir: &Path, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::StorageFull {
        return StoreError::Full;
    }
    StoreError::Unusable { dir: dir.display().to_string(), problem: error.to_string() }
}

pub(super) fn damaged(dir: &Path, what: &str) -> StoreError {
    StoreError::Damaged(format!(
        "data directory {}: {what}. Nothing was deleted. Keep this directory, and start with the last backup in another one",
        dir.display()
    ))
}

pub(super) fn too_new(dir: &Path, found: u64) -> StoreError {
    StoreError::Format { dir: dir.display().to_string(), found, known: FORMAT }
}
