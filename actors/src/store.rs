//! What the runtime needs of an engine on disk: atomic batches, bounded reads. Which engine it is, no concern knows.
//!
//! The shape is batch-oriented, so that any engine can commit many senders' writes as a group. Layout and figures:
//! values at most [`VALUE_MAX_BYTES`]; ids are big-endian `u64`s; counters change in the same batch as what they count.

use std::collections::VecDeque;

use serde::Serialize;

/// Largest value of one key. Larger ones leak blob files in sled 0.34.7; records above it are stored in chunks.
pub const VALUE_MAX_BYTES: usize = 4096;

/// A table. A closed set: an engine opens them all at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Parked calls (dead letters, calls queued for later, unknown ones): id, chunk -> record. Written once.
    Letters,
    /// What changes of a parked call: id -> attempts, due time, class.
    LetterState,
    /// When a parked call is due: due ms, id -> nothing.
    LetterDue,
    /// The public id of a parked call -> id.
    LetterIndex,
    /// What an idempotency key stands for: key, or key and part -> record. Its rows are counted.
    Keys,
    /// Counters and the format version: name -> u64.
    Meta,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 6] =
        [Self::Letters, Self::LetterState, Self::LetterDue, Self::LetterIndex, Self::Keys, Self::Meta];

    /// Its name on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Letters => "letters",
            Self::LetterState => "letter.state",
            Self::LetterDue => "letter.due",
            Self::LetterIndex => "letter.index",
            Self::Keys => "keys",
            Self::Meta => "meta",
        }
    }

    /// The name in [`Table::Meta`] of the number of its rows, for a table whose rows the engine itself counts: a set that
    /// puts or deletes a row moves the counter with it, whether or not the row was there. By it a start finds out that rows
    /// are missing. The letters' counter is their own: a letter is several rows.
    pub const fn counter(self) -> Option<&'static [u8]> {
        match self {
            Self::Keys => Some(b"keys.rows"),
            Self::Letters | Self::LetterState | Self::LetterDue | Self::LetterIndex | Self::Meta => None,
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Removes a key; it need not be there.
    Delete(Table, Vec<u8>),
    /// Adds to a big-endian `u64` counter, from 0 if absent, stopping at 0.
    Add(Table, Vec<u8>, i64),
    /// Refuses the whole set if the key is there.
    Absent(Table, Vec<u8>),
    /// Refuses the whole set if the key is not there.
    Present(Table, Vec<u8>),
}

/// Changes that happen together or not at all.
///
/// A store that runs out of space while it commits opens itself anew and commits the same sets once more, and some may have
/// been there already. So a set that adds to a counter needs a precondition that no longer holds once it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteSet {
    /// In order.
    pub ops: Vec<Op>,
    /// True when it lets something begin that can as well be refused. On a full disk such sets are, at once: the little room
    /// that was kept is for the ends of what has begun.
    pub is_beginning: bool,
}

impl WriteSet {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    #[must_use]
    pub fn put(mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Put(table, key.into(), value.into()));
        self
    }

    /// Removes a key.
    #[must_use]
    pub fn delete(mut self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Delete(table, key.into()));
        self
    }

    /// Adds to a counter.
    #[must_use]
    pub fn add(mut self, table: Table, key: impl Into<Vec<u8>>, delta: i64) -> Self {
        self.ops.push(Op::Add(table, key.into(), delta));
        self
    }

    /// Demands that a key is not there.
    #[must_use]
    pub fn absent(mut self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Absent(table, key.into()));
        self
    }

    /// Demands that a key is there.
    #[must_use]
    pub fn present(mut self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Present(table, key.into()));
        self
    }

    /// Lets something begin: see [`Self::is_beginning`].
    #[must_use]
    pub fn beginning(mut self) -> Self {
        self.is_beginning = true;
        self
    }

    /// Its weight in a group commit, in bytes.
    pub fn bytes(&self) -> usize {
        self.ops
            .iter()
            .map(|op| match op {
                Op::Put(_, key, value) => key.len() + value.len(),
                Op::Delete(_, key) | Op::Add(_, key, _) | Op::Absent(_, key) | Op::Present(_, key) => key.len() + 8,
            })
            .sum()
    }
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An [`Op::Absent`] or [`Op::Present`] did not hold. Nothing of the set was written.
    #[error("precondition failed: {table} key is {found}")]
    Precondition {
        /// The table's name.
        table: &'static str,
        /// `there` or `not there`.
        found: &'static str,
    },
    /// A value is larger than [`VALUE_MAX_BYTES`].
    #[error("value of {bytes} bytes is over the limit of {VALUE_MAX_BYTES} bytes a key")]
    ValueTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The disk is full. The store goes on by itself when there is space again.
    #[error("store full: the disk has no space left; free some, and the store goes on by itself")]
    Full,
    /// Another process, or another runtime in this one, has the directory open.
    #[error(
        "data directory {dir} is in use by another runtime: stop that one, or give this one a directory of its own"
    )]
    InUse {
        /// The directory.
        dir: String,
    },
    /// The directory cannot be read or written.
    #[error("data directory {dir}: {problem}")]
    Unusable {
        /// The directory.
        dir: String,
        /// What the operating system said.
        problem: String,
    },
    /// The directory was written by a version that this one does not know.
    #[error("data directory {dir} has format {found}, this version reads up to {known}: use a newer mainstay")]
    Format {
        /// The directory.
        dir: String,
        /// The version on disk.
        found: u64,
        /// The newest version known.
        known: u64,
    },
    /// The files are damaged.
    #[error("store damaged: {0}")]
    Damaged(String),
    /// The store's thread does not answer, or has ended.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// Anything else the engine said.
    #[error("store: {0}")]
    Engine(String),
}

/// How the store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// It commits.
    #[default]
    Working,
    /// The disk is full. Ends are written into the room that was kept for them; what would begin is refused.
    Short,
    /// The disk is full, and so is the room that was kept. Every write is refused; it is opened again when there is space.
    Full,
    /// A group takes too long. Everybody is refused at once until it comes back.
    Hung,
    /// Nothing durable is possible until the runtime is started again.
    Ended,
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// One engine. Called by its owner thread only.
pub trait Engine: Send {
    /// Commits sets as one group. The answer has one entry a set: a set whose precondition fails is left out alone, all others
    /// are durable on return. When the engine itself fails, every entry is that error.
    fn commit(&mut self, sets: &[WriteSet]) -> Vec<Result<(), StoreError>>;

    /// One value.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Rows from `from` (inclusive) to `to` (exclusive) in order, at most `max`.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], max: usize) -> Result<VecDeque<Row>, StoreError>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;

    /// Closes the files and opens them again, which is what gets an engine going that had no space. While this fails the
    /// engine stays closed, and answers everything with an error.
    fn reopen(&mut self) -> Result<(), StoreError>;
}

/// A boxed future, for the seams that cross threads.
#[cfg(feature = "runtime")]
pub type Waiting<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way to an engine for everybody but its owner thread. Acknowledged means durable.
#[cfg(feature = "runtime")]
pub trait Store: Send + Sync {
    /// Commits a set; durable when this returns `Ok`.
    fn commit(&self, set: WriteSet) -> Waiting<'static, Result<(), StoreError>>;

    /// One value.
    fn get(&self, table: Table, key: Vec<u8>) -> Waiting<'static, Result<Option<Vec<u8>>, StoreError>>;

    /// Rows from `from` (inclusive) to `to` (exclusive) in order, at most `max`.
    fn scan(
        &self,
        table: Table,
        from: Vec<u8>,
        to: Vec<u8>,
        max: usize,
    ) -> Waiting<'static, Result<VecDeque<Row>, StoreError>>;
}
