//! The letters of a directory that does not open any more, or not with all that was written.

use std::{collections::BTreeSet, io, path::Path};

use mainstay_actors::{
    dlq::{LETTERS_COUNT, LETTERS_NEXT, Probed, probe},
    store::{Engine, StoreError, Table},
};

use super::{END, SledStore, StoreHandle, check::number, guard, scratch::Scratch};

/// Rows read at a time.
const PAGE: usize = 512;

/// How many places are looked at behind the last letter, when nobody knows where the last place is.
const BEHIND: u64 = 100_000;

/// Reasons that are kept.
const REASONS: usize = 10;

/// What was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Letters written.
    pub letters: u64,
    /// Letters that should be there, if that can still be read.
    pub expected: Option<u64>,
    /// Commits of the last that were certainly made and are not in what could be opened.
    pub missing_commits: u64,
    /// Places that cannot be read. There may have been a letter, or none any more.
    pub broken: u64,
    /// Why, of the first ten: the place, and the words.
    pub reasons: Vec<(u64, String)>,
}

impl Salvaged {
    /// True when nothing is known to be missing.
    pub fn is_whole(&self) -> bool {
        self.broken == 0 && self.missing_commits == 0 && self.expected == Some(self.letters)
    }
}

/// Reads every letter that can still be read, oldest first, as lines for
/// [`DeadLetters::import`](crate::DeadLetters::import): `write` gets one at a time, without its end. The directory is not
/// changed: what is read is a copy, in the system's directory for temporary files.
///
/// # Errors
///
/// [`StoreError`] when the directory cannot be opened by any means, or `write` fails.
pub async fn salvage(dir: &Path, mut write: impl FnMut(&str) -> io::Result<()>) -> Result<Salvaged, StoreError> {
    let least = guard::noted_groups(dir);
    let (store, _scratch) = open(dir, least)?;
    let missing_commits = least.saturating_sub(store.groups());
    let places = places(&store);
    let expected = number(&store, LETTERS_COUNT).ok().flatten();
    let store = StoreHandle::inline(store);
    let mut salvaged = Salvaged { expected, missing_commits, ..Salvaged::default() };
    for seq in places {
        match probe(&store, seq).await {
            Probed::Nothing => {}
            Probed::Letter(letter) => {
                let line = serde_json::to_string(&letter).map_err(io::Error::other);
                line.and_then(|line| write(&line)).map_err(|e| StoreError::Engine(e.to_string()))?;
                salvaged.letters += 1;
            }
            Probed::Broken(reason) => {
                salvaged.broken += 1;
                if salvaged.reasons.len() < REASONS {
                    salvaged.reasons.push((seq, reason));
                }
            }
        }
    }
    Ok(salvaged)
}

/// With the engine's snapshot, or, where not all opens so, without: then it reads its whole log. The fuller one of both.
fn open(dir: &Path, least: u64) -> Result<(SledStore, Scratch), StoreError> {
    let first = open_whatever(dir, true);
    match &first {
        Ok((store, _)) if store.groups() < least => {}
        Err(StoreError::Damaged(_)) => {}
        _ => return first,
    }
    match (first, open_whatever(dir, false)) {
        (Ok(first), Ok(second)) if second.0.groups() > first.0.groups() => Ok(second),
        (Err(_), Ok(second)) => Ok(second),
        (first, _) => first,
    }
}

fn open_whatever(dir: &Path, with_snapshots: bool) -> Result<(SledStore, Scratch), StoreError> {
    let scratch = Scratch::copy_of(dir)?;
    if !with_snapshots {
        guard::remove_snapshots(scratch.dir())?;
    }
    let store = SledStore::open_whatever(scratch.dir()).map_err(|error| scratch.renamed(error))?;
    Ok((store, scratch))
}

/// Every place where something may be.
fn places(store: &dyn Engine) -> BTreeSet<u64> {
    let next = number(store, LETTERS_NEXT).ok().flatten();
    let mut places = BTreeSet::new();
    for table in [Table::LetterState, Table::Letters] {
        walk(store, table, next, &mut places);
    }
    places
}

/// Walks a table; where a row cannot be read, it goes on by places.
fn walk(store: &dyn Engine, table: Table, next: Option<u64>, places: &mut BTreeSet<u64>) {
    let (mut at, mut last, mut page) = (0_u64, 0, PAGE);
    loop {
        match store.scan(table, &at.to_be_bytes(), &END, page) {
            Ok(rows) => {
                let Some((key, _)) = rows.back() else { return };
                places.extend(rows.iter().filter_map(|(key, _)| place_of(key)));
                last = place_of(key).unwrap_or(at);
                at = last.saturating_add(1);
                page = (page * 2).min(PAGE);
            }
            // Somewhere in this page.
            Err(_) if page > 1 => {
                page /= 2;
                continue;
            }
            Err(_) => {
                places.insert(at);
                at = at.saturating_add(1);
            }
        }
        if at >= next.unwrap_or(last.saturating_add(BEHIND)) {
            return;
        }
    }
}

fn place_of(key: &[u8]) -> Option<u64> {
    key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
