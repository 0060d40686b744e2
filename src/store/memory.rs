//! The engine without a disk, for tests: the same answers, nothing survives.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
};

use mainstay_actors::store::{Engine, Row, StoreError, Table, WriteSet};

use super::{
    FORMAT, FORMAT_KEY,
    apply::{Rows, apply},
};

/// Sorted maps in memory.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl MemoryStore {
    /// An empty store of the present format.
    pub fn new() -> Self {
        Self { rows: BTreeMap::from([((Table::Meta, FORMAT_KEY.to_vec()), FORMAT.to_be_bytes().to_vec())]) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Rows for MemoryStore {
    type Error = Infallible;

    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<bool, Infallible> {
        Ok(self.rows.insert((table, key.to_vec()), value.to_vec()).is_some())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, Infallible> {
        Ok(self.rows.remove(&(table, key.to_vec())).is_some())
    }
}

impl Engine for MemoryStore {
    fn commit(&mut self, sets: &[WriteSet]) -> Vec<Result<(), StoreError>> {
        match apply(self, sets) {
            Ok(answers) => answers,
            Err(never) => match never {},
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], max: usize) -> Result<VecDeque<Row>, StoreError> {
        if from >= to {
            return Ok(VecDeque::new());
        }
        let range = (table, from.to_vec())..(table, to.to_vec());
        Ok(self.rows.range(range).take(max).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
