//! sled 0.34.7 behind the engine's trait. The only file that names it.
//!
//! What is done around it, and why: `flush` alone never calls fsync, so a second descriptor does; no tree handle is used inside
//! a transaction's closure, where it would deadlock; `flush_async` is never called; opening may panic on damaged files, so it
//! is caught; values stay small, because large ones leak files; an iterator repeats its error for ever on a broken leaf, so a
//! scan ends at the first one.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mainstay_actors::{
    clock,
    store::{Engine, Row, StoreError, Table, WriteSet},
};
use sled::{
    Db, Transactional, Tree,
    transaction::{ConflictableTransactionError, TransactionError, TransactionalTree, UnabortableTransactionError},
};

use super::{
    Durability, FORMAT, FORMAT_KEY,
    apply::{Rows, apply, counter},
    bytes_below,
    guard::{self, Found, Purpose, Watermark},
    swap::{self, BEFORE},
};

/// The page cache. sled's default is a gigabyte; 64 MiB gave a resident size of 57 to 68 MB under bursts of 100,000 records.
const CACHE_BYTES: u64 = 64 << 20;

/// The same for a copy, which nobody reads twice.
const COPY_CACHE_BYTES: u64 = 8 << 20;

/// How often sled's own thread rolls its buffer and collects garbage.
const FLUSH_EVERY_MS: u64 = 200;

/// How often it is noted beside the engine's files how far the store has come.
const WATERMARK_EVERY: Duration = Duration::from_secs(1);

/// A tree beside the tables: the number of committed groups, by which a store that opens short is found out.
const GROUPS: &str = "mainstay.groups";

/// A data directory.
pub struct SledStore {
    dir: PathBuf,
    durability: Durability,
    /// None after a reopening that failed.
    open: Option<Open>,
}

/// The files of one that is open.
struct Open {
    trees: Trees,
    /// The data file again: syncing it is what makes a flush survive a power cut.
    data: File,
    /// Groups committed since the directory was made.
    groups: u64,
    watermark: Watermark,
    watermark_at: Instant,
}

/// An open sled with all trees: the tables in the order of [`Table::ALL`], then [`GROUPS`].
struct Trees {
    all: Vec<Tree>,
    db: Db,
}

impl SledStore {
    /// Opens a directory, or makes it. Blocks for as long as the engine reads its log (0.2 s at 100,000 records), and up to a
    /// second when the lock is held.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`], [`StoreError::Unusable`], [`StoreError::Format`], [`StoreError::Damaged`], [`StoreError::Full`].
    /// None of them changes what is in the directory: up to 512 MiB of data, the files are put back as they were.
    pub fn open(dir: &Path, durability: Durability) -> Result<Self, StoreError> {
        let store = Self::open_for(Purpose::Start, dir, durability)?;
        swap::clear(dir, BEFORE);
        Ok(store)
    }

    /// Opens a directory that becomes a copy.
    pub(super) fn open_copy(dir: &Path) -> Result<Self, StoreError> {
        Self::open_for(Purpose::Copy, dir, Durability::Process)
    }

    /// Opens a copy, and makes none where there is nothing.
    pub(super) fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        if !dir.join("db").exists() {
            return Err(guard::damaged(dir, "its data file is gone"));
        }
        Self::open_copy(dir)
    }

    /// Opens a copy of a damaged directory, whatever is in it: fewer rows than were written, perhaps.
    pub(super) fn open_whatever(dir: &Path) -> Result<Self, StoreError> {
        if !dir.join("db").exists() {
            return Err(guard::damaged(dir, "its data file is gone"));
        }
        let trees = guard::with_lock_retries(dir, || open_caught(dir, COPY_CACHE_BYTES))?;
        let format = stored(dir, trees.all.get(place(Table::Meta)), FORMAT_KEY).ok().flatten();
        if let Some(version) = format.filter(|version| *version > FORMAT) {
            return Err(guard::too_new(dir, version));
        }
        let groups = stored(dir, trees.all.last(), GROUPS.as_bytes()).ok().flatten().unwrap_or(0);
        Self::over(dir, Durability::Process, trees, groups)
    }

    fn open_for(purpose: Purpose, dir: &Path, durability: Durability) -> Result<Self, StoreError> {
        let mut found = guard::prepare(dir, purpose)?;
        let cache = if purpose == Purpose::Copy { COPY_CACHE_BYTES } else { CACHE_BYTES };
        let opened = guard::with_lock_retries(dir, || open_caught(dir, cache))
            .and_then(|trees| Self::checked(dir, durability, trees, &found));
        match opened {
            Ok(store) => {
                found.discard_copy();
                guard::sync_all(dir)?;
                Ok(store)
            }
            // Somebody else has it: the files are theirs.
            Err(error @ StoreError::InUse { .. }) => {
                found.discard_copy();
                Err(error)
            }
            Err(error) => {
                found.put_back();
                Err(error)
            }
        }
    }

    /// Compares what opened with what was certainly there, before anything is written.
    fn checked(dir: &Path, durability: Durability, trees: Trees, found: &Found) -> Result<Self, StoreError> {
        let groups = stored(dir, trees.all.last(), GROUPS.as_bytes())?.unwrap_or(0);
        if let Some(least) = found.groups.filter(|least| groups < *least) {
            let short = format!("it holds the first {groups} of at least {least} commits");
            return Err(guard::damaged(dir, &short));
        }
        let format = stored(dir, trees.all.get(place(Table::Meta)), FORMAT_KEY)?;
        match format {
            Some(version) if version > FORMAT => return Err(guard::too_new(dir, version)),
            None if found.groups.is_some() => {
                return Err(guard::damaged(dir, "it was in use before, and its files open with nothing in them"));
            }
            _ => {}
        }
        let mut store = Self::over(dir, durability, trees, groups)?;
        if format.is_none() {
            let set = WriteSet::new().put(Table::Meta, FORMAT_KEY, FORMAT.to_be_bytes());
            store.commit(&[set]).into_iter().collect::<Result<(), StoreError>>()?;
        }
        store.note_watermark()?;
        Ok(store)
    }

    fn over(dir: &Path, durability: Durability, trees: Trees, groups: u64) -> Result<Self, StoreError> {
        let data = File::options().read(true).write(true).open(dir.join("db")).map_err(|e| guard::unusable(dir, &e))?;
        let (watermark, watermark_at) = (Watermark::open(dir)?, clock::now());
        let open = Open { trees, data, groups, watermark, watermark_at };
        Ok(Self { dir: dir.to_owned(), durability, open: Some(open) })
    }

    /// Groups committed since the directory was made.
    pub(super) fn groups(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.groups)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn durability(&self) -> Durability {
        self.durability
    }

    fn tree(&self, table: Table) -> Result<&Tree, StoreError> {
        let open = self.open.as_ref().ok_or_else(closed)?;
        open.trees.all.get(place(table)).ok_or_else(|| StoreError::Engine(not_open(table)))
    }

    /// Commits all sets in one transaction, and flushes once.
    fn commit_all(&mut self, sets: &[WriteSet]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let open = self.open.as_mut().ok_or_else(closed)?;
        let next = open.groups + 1;
        let done = open.trees.all.as_slice().transaction(|views| {
            let answers = apply(&mut View(views), sets)?;
            if let Some(groups) = views.last() {
                groups.insert(GROUPS, &next.to_be_bytes())?;
            }
            Ok::<_, ConflictableTransactionError<()>>(answers)
        });
        let answers = match done {
            Ok(answers) => answers,
            Err(TransactionError::Storage(e)) => return Err(translate(&self.dir, e)),
            Err(TransactionError::Abort(())) => return Err(StoreError::Engine("aborted".into())),
        };
        if answers.iter().all(Result::is_err) {
            return Ok(answers);
        }
        open.trees.db.flush().map_err(|e| translate(&self.dir, e))?;
        if self.durability == Durability::Power {
            open.data.sync_data().map_err(|e| guard::unusable(&self.dir, &e))?;
        }
        open.groups = next;
        if clock::now().saturating_duration_since(open.watermark_at) >= WATERMARK_EVERY
            && let Err(error) = self.note_watermark()
        {
            tracing::warn!(target: "mainstay::store", %error, "cannot note how far the store has come");
        }
        Ok(answers)
    }

    /// Notes how far the store has come, after making sure that it has.
    fn note_watermark(&mut self) -> Result<(), StoreError> {
        let open = self.open.as_mut().ok_or_else(closed)?;
        open.watermark_at = clock::now();
        let noted = open.data.sync_data().and_then(|()| open.watermark.set(open.groups));
        noted.map_err(|e| guard::unusable(&self.dir, &e))
    }

    fn shut(&mut self) {
        // A store that failed keeps its last mark.
        if self.open.as_ref().is_some_and(|open| open.trees.db.flush().is_ok()) {
            let _ = self.note_watermark();
        }
        self.open = None;
    }

    fn error(&self, error: sled::Error) -> StoreError {
        translate(&self.dir, error)
    }
}

impl Engine for SledStore {
    fn commit(&mut self, sets: &[WriteSet]) -> Vec<Result<(), StoreError>> {
        self.commit_all(sets).unwrap_or_else(|e| vec![Err(e); sets.len()])
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.tree(table)?.get(key).map_err(|e| self.error(e))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], max: usize) -> Result<VecDeque<Row>, StoreError> {
        if from >= to {
            return Ok(VecDeque::new());
        }
        let mut rows = VecDeque::new();
        for row in self.tree(table)?.range(from..to).take(max) {
            let (key, value) = row.map_err(|e| self.error(e))?;
            rows.push_back((key.to_vec(), value.to_vec()));
        }
        Ok(rows)
    }

    fn disk_bytes(&self) -> u64 {
        bytes_below(&self.dir)
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.shut();
        // Without a copy of the files as they are: there is no space for one.
        *self = Self::open_for(Purpose::Again, &self.dir, self.durability)?;
        Ok(())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.shut();
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sled's own Debug prints every row.
        write!(f, "SledStore({}, {:?})", self.dir.display(), self.durability)
    }
}

/// The trees inside a transaction, the only ones its closure may touch.
struct View<'a>(&'a Vec<TransactionalTree>);

impl View<'_> {
    fn tree(&self, table: Table) -> Result<&TransactionalTree, UnabortableTransactionError> {
        self.0.get(place(table)).ok_or_else(|| sled::Error::Unsupported(not_open(table)).into())
    }
}

impl Rows for View<'_> {
    type Error = UnabortableTransactionError;

    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.tree(table)?.get(key)?.map(|value| value.to_vec()))
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<bool, Self::Error> {
        Ok(self.tree(table)?.insert(key, value)?.is_some())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, Self::Error> {
        Ok(self.tree(table)?.remove(key)?.is_some())
    }
}

fn place(table: Table) -> usize {
    Table::ALL.iter().position(|known| *known == table).unwrap_or(usize::MAX)
}

fn not_open(table: Table) -> String {
    format!("table {} is not open", table.as_str())
}

fn closed() -> StoreError {
    StoreError::Unavailable("its files are closed until they can be opened again".into())
}

/// Opens under `catch_unwind`; `None` when somebody else holds the lock.
fn open_caught(dir: &Path, cache: u64) -> Result<Option<Trees>, StoreError> {
    match catch_unwind(AssertUnwindSafe(|| open_trees(dir, cache))) {
        Ok(Ok(opened)) => Ok(Some(opened)),
        Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => Ok(None),
        Ok(Err(e)) => Err(translate(dir, e)),
        Err(_) => Err(guard::damaged(dir, "its files cannot be read (the engine panicked over them)")),
    }
}

fn open_trees(dir: &Path, cache: u64) -> sled::Result<Trees> {
    let config = sled::Config::new().path(dir).cache_capacity(cache).flush_every_ms(Some(FLUSH_EVERY_MS));
    let db = config.open()?;
    let names = Table::ALL.iter().map(|table| table.as_str()).chain([GROUPS]);
    #[expect(clippy::disallowed_methods, reason = "the one file that names sled")]
    let all = names.map(|name| db.open_tree(name)).collect::<sled::Result<Vec<_>>>()?;
    Ok(Trees { all, db })
}

/// A counter, before there is a store to ask.
fn stored(dir: &Path, tree: Option<&Tree>, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some(tree) = tree else { return Ok(None) };
    let Some(value) = tree.get(key).map_err(|e| translate(dir, e))? else { return Ok(None) };
    counter(&value).map(Some).ok_or_else(|| guard::damaged(dir, "its format or its count of commits cannot be read"))
}

fn translate(dir: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            guard::damaged(dir, "a file is shorter than it should be")
        }
        sled::Error::Io(e) => guard::unusable(dir, &e),
        sled::Error::Corruption { .. } => guard::damaged(dir, "a file holds something else than was written"),
        sled::Error::Unsupported(what) => StoreError::Engine(format!("data directory {}: {what}", dir.display())),
        other => StoreError::Engine(other.to_string()),
    }
}
