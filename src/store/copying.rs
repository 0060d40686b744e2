//! A copy of a store, made in steps while others commit.
//!
//! It walks the tables in order. What a group changes of rows that it has passed is copied once more, so in the end the copy
//! is the store as it is at that moment. The last step copies the counters, which count what is there.

use std::path::{Path, PathBuf};

use mainstay_actors::store::{Engine, Op, StoreError, Table, WriteSet};

use super::{Durability, END, SledStore, StoreCheck, bytes_below, check::look_through, guard, require_empty};

/// Rows in one step: 10 to 20 ms on a disk like the one it was measured on.
const STEP_ROWS: usize = 512;

/// A copy in the making.
#[derive(Debug)]
pub(super) struct Copying {
    dir: PathBuf,
    to: SledStore,
    /// The table it is at, by its place in [`Table::ALL`], and the first key it has not seen.
    at: usize,
    from: Vec<u8>,
    /// Rows in one step.
    rows: usize,
}

impl Copying {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins one in an empty directory, or one that is not there.
    pub(super) fn begin(dir: &Path) -> Result<Self, StoreError> {
        require_empty(dir)?;
        Ok(Self { dir: dir.to_owned(), to: SledStore::open_copy(dir)?, at: 0, from: Vec::new(), rows: STEP_ROWS })
    }

    #[cfg(test)]
    pub(super) fn in_steps_of(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }

    /// Copies some more. `true`: the copy is whole, as long as nothing is committed before [`Self::finish`].
    pub(super) fn step(&mut self, store: &dyn Engine) -> Result<bool, StoreError> {
        match Table::ALL.get(self.at) {
            None => return Ok(true),
            Some(Table::Meta) => {
                self.counters(store)?;
                self.at += 1;
                return Ok(true);
            }
            Some(table) => {
                let rows = store.scan(*table, &self.from, &END, self.rows)?;
                let Some((last, _)) = rows.back() else {
                    (self.at, self.from) = (self.at + 1, Vec::new());
                    return Ok(false);
                };
                self.from = [last.as_slice(), &[0]].concat();
                self.put(rows.into_iter().fold(WriteSet::new(), |set, (key, value)| set.put(*table, key, value)))?;
            }
        }
        Ok(false)
    }

    /// Copies again what a group changed behind the walk.
    pub(super) fn follow(&mut self, store: &dyn Engine, group: &[WriteSet]) -> Result<(), StoreError> {
        let mut set = WriteSet::new();
        for op in group.iter().flat_map(|set| &set.ops) {
            let (Op::Put(table, key, _) | Op::Delete(table, key) | Op::Add(table, key, _)) = op else { continue };
            if !self.has_passed(*table, key) {
                continue;
            }
            set = match store.get(*table, key)? {
                Some(value) => set.put(*table, key.clone(), value),
                None => set.delete(*table, key.clone()),
            };
        }
        if set.ops.is_empty() { Ok(()) } else { self.put(set) }
    }

    fn has_passed(&self, table: Table, key: &[u8]) -> bool {
        match Table::ALL.iter().position(|known| *known == table) {
            Some(place) if place < self.at => true,
            Some(place) => place == self.at && key < self.from.as_slice(),
            None => false,
        }
    }

    /// The counters as they are. Those of rows that the copy counted itself must be the same: or else the store has lost some.
    fn counters(&mut self, store: &dyn Engine) -> Result<(), StoreError> {
        for name in Table::ALL.into_iter().filter_map(Table::counter) {
            let (there, here) = (store.get(Table::Meta, name)?, self.to.get(Table::Meta, name)?);
            if there != here && there.or(here).is_some_and(|count| count != 0u64.to_be_bytes()) {
                let name = String::from_utf8_lossy(name);
                return Err(StoreError::Damaged(format!("the counter {name} differs from the rows that were copied")));
            }
        }
        let mut from = Vec::new();
        loop {
            let rows = store.scan(Table::Meta, &from, &END, STEP_ROWS)?;
            let Some((last, _)) = rows.back() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            self.put(rows.into_iter().fold(WriteSet::new(), |set, (key, value)| set.put(Table::Meta, key, value)))?;
        }
    }

    fn put(&mut self, set: WriteSet) -> Result<(), StoreError> {
        self.to.commit(&[set]).into_iter().collect()
    }

    /// Closes the copy, and brings it to the disk.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        drop(self.to);
        guard::sync_all(&self.dir)
    }
}

/// Copies a data directory that nobody has open, and looks through the copy.
///
/// # Errors
///
/// Those of [`SledStore::open`] and of [`copy`].
pub fn backup(dir: &Path, to: &Path) -> Result<StoreCheck, StoreError> {
    guard::existing(dir)?;
    copy(&SledStore::open(dir, Durability::Power)?, to)?;
    let mut found = look_through(&SledStore::open_existing(to)?);
    found.file_bytes = bytes_below(to);
    Ok(found)
}

/// Copies everything into an empty directory. Both engines back up this way, so a backup is always a directory that
/// [`SledStore::open`] opens.
///
/// # Errors
///
/// The directory is not empty, or cannot be written; the store cannot be read.
pub fn copy(store: &dyn Engine, dir: &Path) -> Result<(), StoreError> {
    let mut copying = Copying::begin(dir)?;
    while !copying.step(store)? {}
    copying.finish()
}
