//! A store in memory: it does what it is asked in the order of asking, yields before it answers, and
//! is full or silent when told so.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use parking_lot::Mutex;

use crate::store::{Op, Row, Store, StoreError, Table, VALUE_MAX_BYTES, Waiting, WriteSet};

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Counts the rows of counted tables, as the engines do.
#[derive(Clone, Default)]
pub(super) struct Shelf {
    rows: Arc<Mutex<Rows>>,
    full: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
}

impl Shelf {
    /// Takes nothing any more.
    pub(super) fn be_full(&self, full: bool) {
        self.full.store(full, SeqCst);
    }

    /// Answers nobody any more.
    pub(super) fn be_silent(&self) {
        self.silent.store(true, SeqCst);
    }

    /// What is there.
    pub(super) fn rows(&self, table: Table) -> Vec<Row> {
        let rows = self.rows.lock();
        rows.iter()
            .filter(|((there, _), _)| *there == table)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Loses a row behind its counter's back, as damaged files do.
    pub(super) fn lose(&self, table: Table, key: &[u8]) {
        self.rows.lock().remove(&(table, key.to_vec())).unwrap();
    }

    fn apply(&self, set: WriteSet) -> Result<(), StoreError> {
        let mut rows = self.rows.lock();
        for op in set.ops {
            let delta = match op {
                Op::Put(_, _, value) if value.len() > VALUE_MAX_BYTES => {
                    return Err(StoreError::ValueTooLarge { bytes: value.len() });
                }
                Op::Put(table, key, value) => (table, i64::from(rows.insert((table, key), value).is_none())),
                Op::Delete(table, key) => (table, -i64::from(rows.remove(&(table, key)).is_some())),
                other => panic!("not needed so far: {other:?}"),
            };
            if let (table, delta @ (-1 | 1)) = delta
                && let Some(name) = table.counter()
            {
                let count = rows.entry((Table::Meta, name.to_vec())).or_insert_with(|| vec![0; 8]);
                let before = u64::from_be_bytes(count[..].try_into().unwrap());
                *count = before.checked_add_signed(delta).unwrap().to_be_bytes().into();
            }
        }
        Ok(())
    }

    fn answer<T: Send + 'static>(&self, answer: Result<T, StoreError>) -> Waiting<'static, Result<T, StoreError>> {
        let silent = self.silent.load(SeqCst);
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            tokio::task::yield_now().await;
            answer
        })
    }
}

impl Store for Shelf {
    fn commit(&self, set: WriteSet) -> Waiting<'static, Result<(), StoreError>> {
        self.answer(if self.full.load(SeqCst) { Err(StoreError::Full) } else { self.apply(set) })
    }

    fn get(&self, table: Table, key: Vec<u8>) -> Waiting<'static, Result<Option<Vec<u8>>, StoreError>> {
        self.answer(Ok(self.rows.lock().get(&(table, key)).cloned()))
    }

    fn scan(
        &self,
        table: Table,
        from: Vec<u8>,
        to: Vec<u8>,
        max: usize,
    ) -> Waiting<'static, Result<VecDeque<Row>, StoreError>> {
        let rows = self.rows.lock();
        let range = rows.range((table, from)..(table, to)).take(max);
        self.answer(Ok(range.map(|((_, key), value)| (key.clone(), value.clone())).collect()))
    }
}
