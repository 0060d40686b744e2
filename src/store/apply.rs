//! What a group of write sets means, once for all engines.

use mainstay_actors::store::{Op, StoreError, Table, VALUE_MAX_BYTES, WriteSet};

use super::KEY_MAX_BYTES;

/// The rows of an engine inside one transaction.
pub(super) trait Rows {
    /// What the engine itself may fail with.
    type Error;

    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
    /// True when the key was there before.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<bool, Self::Error>;
    /// True when the key was there.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, Self::Error>;
}

/// Applies the sets in order. A set is checked whole, against the rows as the sets before it left them and before its own
/// changes, wherever its preconditions stand in it; one that fails leaves nothing behind and stops nobody else.
pub(super) fn apply<R: Rows>(rows: &mut R, sets: &[WriteSet]) -> Result<Vec<Result<(), StoreError>>, R::Error> {
    let mut answers = Vec::with_capacity(sets.len());
    for set in sets {
        let verdict = check(rows, set)?;
        if verdict.is_ok() {
            change(rows, set)?;
        }
        answers.push(verdict);
    }
    Ok(answers)
}

fn check<R: Rows>(rows: &mut R, set: &WriteSet) -> Result<Result<(), StoreError>, R::Error> {
    for op in &set.ops {
        let verdict = match op {
            Op::Put(_, key, value) if value.len() <= VALUE_MAX_BYTES => key_fits(key),
            Op::Put(_, _, value) => Err(StoreError::ValueTooLarge { bytes: value.len() }),
            Op::Delete(_, key) => key_fits(key),
            Op::Add(table, key, _) => match rows.get(*table, key)? {
                Some(value) if counter(&value).is_none() => Err(no_counter(*table, &value)),
                _ => key_fits(key),
            },
            Op::Absent(table, key) => expect(*table, rows.get(*table, key)?.is_some(), false),
            Op::Present(table, key) => expect(*table, rows.get(*table, key)?.is_some(), true),
        };
        if verdict.is_err() {
            return Ok(verdict);
        }
    }
    Ok(Ok(()))
}

fn change<R: Rows>(rows: &mut R, set: &WriteSet) -> Result<(), R::Error> {
    for op in &set.ops {
        match op {
            Op::Put(table, key, value) => {
                if !rows.put(*table, key, value)? {
                    count(rows, *table, 1)?;
                }
            }
            Op::Delete(table, key) => {
                if rows.delete(*table, key)? {
                    count(rows, *table, -1)?;
                }
            }
            Op::Add(table, key, delta) => add(rows, *table, key, *delta)?,
            Op::Absent(..) | Op::Present(..) => {}
        }
    }
    Ok(())
}

fn count<R: Rows>(rows: &mut R, table: Table, delta: i64) -> Result<(), R::Error> {
    table.counter().map_or(Ok(()), |name| add(rows, Table::Meta, name, delta))
}

fn add<R: Rows>(rows: &mut R, table: Table, key: &[u8], delta: i64) -> Result<(), R::Error> {
    let before = rows.get(table, key)?.and_then(|value| counter(&value)).unwrap_or(0);
    rows.put(table, key, &before.saturating_add_signed(delta).to_be_bytes()).map(drop)
}

fn no_counter(table: Table, value: &[u8]) -> StoreError {
    StoreError::Damaged(format!("a counter in {} is {} bytes long, not 8", table.as_str(), value.len()))
}

/// A counter as it is stored: eight bytes, big-endian.
pub(super) fn counter(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

fn key_fits(key: &[u8]) -> Result<(), StoreError> {
    if key.len() <= KEY_MAX_BYTES {
        return Ok(());
    }
    Err(StoreError::Engine(format!("key of {} bytes is over the limit of {KEY_MAX_BYTES} bytes", key.len())))
}

fn expect(table: Table, is_there: bool, should_be: bool) -> Result<(), StoreError> {
    if is_there == should_be {
        return Ok(());
    }
    Err(StoreError::Precondition { table: table.as_str(), found: if is_there { "there" } else { "not there" } })
}
