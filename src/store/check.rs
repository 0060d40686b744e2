//! Whether a store holds what it says it holds.

use std::{collections::VecDeque, path::Path};

use mainstay_actors::{
    dlq::LETTERS_COUNT,
    store::{Engine, Row, StoreError, Table},
};
use serde::Serialize;

use super::{END, FORMAT_KEY, SledStore, apply::counter, bytes_below, scratch::Scratch};

/// Rows looked at at a time.
const PAGE: usize = 512;

/// What is in one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableCheck {
    /// Its name.
    pub table: &'static str,
    /// Its rows; those before the first that cannot be read.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// What is in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreCheck {
    /// The number of its format.
    pub format: Option<u64>,
    /// Its tables.
    pub tables: Vec<TableCheck>,
    /// Bytes of its files; of these the rows take up [`Self::live_bytes`].
    pub file_bytes: u64,
    /// Everything that is wrong, in words.
    pub problems: Vec<String>,
}

impl StoreCheck {
    /// Bytes of all rows.
    pub fn live_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }
}

/// Looks through a data directory that no runtime has open. It is read, not changed: what is looked through is a copy, in the
/// system's directory for temporary files.
///
/// # Errors
///
/// [`StoreError`] when it cannot be opened at all; the words say why, and what to do.
pub fn check(dir: &Path) -> Result<StoreCheck, StoreError> {
    let scratch = Scratch::copy_of(dir)?;
    let file_bytes = bytes_below(scratch.dir());
    let store = SledStore::open_existing(scratch.dir()).map_err(|error| scratch.renamed(error))?;
    let mut found = look_through(&store);
    found.file_bytes = file_bytes;
    Ok(found)
}

/// Reads every row, and compares the counters with them.
pub(super) fn look_through(store: &dyn Engine) -> StoreCheck {
    let mut problems = Vec::new();
    let mut letters = 0;
    let tables = Table::ALL.map(|table| {
        let mut last = Vec::new();
        let (found, problem) = count(store, table, |(key, _)| {
            // A letter is several rows.
            let id = key.get(..8).unwrap_or_default();
            if table == Table::Letters && last != id {
                letters += 1;
                last = id.to_vec();
            }
        });
        problems.extend(problem.map(|error| format!("table {}: {error}", table.as_str())));
        found
    });
    let rows_of =
        |table: Table| tables.iter().find(|found| found.table == table.as_str()).map_or(0, |found| found.rows);
    let counted = [
        (LETTERS_COUNT, "parked calls", letters),
        (LETTERS_COUNT, "states of parked calls", rows_of(Table::LetterState)),
        (LETTERS_COUNT, "ids of parked calls", rows_of(Table::LetterIndex)),
        (Table::Keys.counter().unwrap_or_default(), "rows of keys", rows_of(Table::Keys)),
    ];
    for (name, what, rows) in counted {
        match number(store, name) {
            Ok(expected) if expected.unwrap_or(0) == rows => {}
            Ok(expected) => problems.push(format!("{} {what} were written, {rows} are there", expected.unwrap_or(0))),
            Err(error) => problems.push(format!("the number of {what}: {error}")),
        }
    }
    let format = number(store, FORMAT_KEY).unwrap_or_else(|error| {
        problems.push(format!("the format: {error}"));
        None
    });
    StoreCheck { format, tables: tables.into(), file_bytes: 0, problems }
}

/// Bytes of all rows, or an answer as soon as they are more than `most`.
pub(super) fn live_bytes(store: &dyn Engine, most: u64) -> Result<u64, StoreError> {
    let mut sum = 0;
    for table in Table::ALL {
        let mut from = Vec::new();
        while let Some(rows) = page(store, table, &mut from)? {
            sum += rows.iter().map(bytes_of).sum::<u64>();
            if sum > most {
                return Ok(sum);
            }
        }
    }
    Ok(sum)
}

fn count(store: &dyn Engine, table: Table, mut see: impl FnMut(&Row)) -> (TableCheck, Option<StoreError>) {
    let (mut found, mut from) = (TableCheck { table: table.as_str(), rows: 0, bytes: 0 }, Vec::new());
    loop {
        match page(store, table, &mut from) {
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
            Ok(Some(rows)) => {
                rows.iter().for_each(&mut see);
                found.rows += rows.len() as u64;
                found.bytes += rows.iter().map(bytes_of).sum::<u64>();
            }
        }
    }
}

/// The next rows, and where those behind them begin.
fn page(store: &dyn Engine, table: Table, from: &mut Vec<u8>) -> Result<Option<VecDeque<Row>>, StoreError> {
    let rows = store.scan(table, from, &END, PAGE)?;
    let Some((last, _)) = rows.back() else { return Ok(None) };
    *from = [last.as_slice(), &[0]].concat();
    Ok(Some(rows))
}

fn bytes_of((key, value): &Row) -> u64 {
    (key.len() + value.len()) as u64
}

pub(super) fn number(store: &dyn Engine, name: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some(value) = store.get(Table::Meta, name)? else { return Ok(None) };
    counter(&value).map(Some).ok_or_else(|| StoreError::Damaged("is not 8 bytes".into()))
}
