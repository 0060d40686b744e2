//! Letters in the store: which keys, which sets.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Entry, Letter, LetterState, ParkedLetter, RecordError,
    message::DlqError,
    record::{decode_letter, decode_state, encode_letter, encode_state},
};
use crate::store::{Store, StoreError, Table, VALUE_MAX_BYTES, WriteSet};

/// Rows read at a time.
const SCAN_ROWS: usize = 512;

/// The name in [`Table::Meta`] of the place of the next letter: every letter has one before it.
pub const LETTERS_NEXT: &[u8] = b"letters.next";
/// The name in [`Table::Meta`] of the number of letters.
pub const LETTERS_COUNT: &[u8] = b"letters.count";

pub(super) fn seq_key(seq: u64) -> Vec<u8> {
    seq.to_be_bytes().to_vec()
}

pub(super) fn part_key(seq: u64, part: u16) -> Vec<u8> {
    let mut key = seq_key(seq);
    key.extend(part.to_be_bytes());
    key
}

fn due_key(seq: u64, entry: &Entry) -> Option<Vec<u8>> {
    // Times before 1970 sort as the earliest of all, which is what they mean here.
    let ms = u64::try_from(entry.state.due?.as_millisecond()).unwrap_or(0);
    Some([ms.to_be_bytes(), seq.to_be_bytes()].concat())
}

/// The due index follows the state: one key a letter that is tried by itself.
fn move_due(set: WriteSet, seq: u64, old: Option<&Entry>, new: Option<&Entry>) -> WriteSet {
    let (old, new) = (old.and_then(|entry| due_key(seq, entry)), new.and_then(|entry| due_key(seq, entry)));
    let set = old.into_iter().fold(set, |set, key| set.delete(Table::LetterDue, key));
    new.into_iter().fold(set, |set, key| set.put(Table::LetterDue, key, []))
}

/// Everything of a new letter, in one set, and its entry. A letter whose id is there already is not written.
pub(super) fn park(seq: u64, letter: &Letter, state: LetterState) -> Result<(WriteSet, Entry), DlqError> {
    let record = encode_letter(letter)?;
    let too_large = || RecordError::Damaged(format!("a letter of {} bytes is too large", record.len()));
    let parts = u16::try_from(record.len().div_ceil(VALUE_MAX_BYTES)).map_err(|_| too_large())?;
    let (id, call, vendor) = (letter.id, letter.call, letter.vendor.clone());
    let entry = Entry { id, call, vendor, parts: Some(parts), state };
    let index = id.0.as_bytes().to_vec();
    let set = WriteSet::new()
        .absent(Table::LetterIndex, index.clone())
        .put(Table::LetterIndex, index, seq_key(seq))
        .put(Table::LetterState, seq_key(seq), encode_state(&entry)?)
        .put(Table::Meta, LETTERS_NEXT, (seq + 1).to_be_bytes())
        .add(Table::Meta, LETTERS_COUNT, 1);
    let set = move_due(set, seq, None, Some(&entry));
    let numbered = (0..parts).zip(record.chunks(VALUE_MAX_BYTES));
    let set = numbered.fold(set, |set, (part, bytes)| set.put(Table::Letters, part_key(seq, part), bytes));
    Ok((set, entry))
}

/// Other states of letters that are there, in one set.
pub(super) fn change<'a>(letters: impl IntoIterator<Item = (u64, &'a Entry, &'a Entry)>) -> Result<WriteSet, DlqError> {
    letters.into_iter().try_fold(WriteSet::new(), |set, (seq, old, new)| {
        let state = encode_state(new)?;
        let set = set.present(Table::LetterState, seq_key(seq)).put(Table::LetterState, seq_key(seq), state);
        Ok(move_due(set, seq, Some(old), Some(new)))
    })
}

/// A letter that is there goes. `parts` is how many its record has.
pub(super) fn remove(seq: u64, entry: &Entry, parts: u16) -> WriteSet {
    let set = WriteSet::new()
        .present(Table::LetterState, seq_key(seq))
        .delete(Table::LetterState, seq_key(seq))
        .delete(Table::LetterIndex, entry.id.0.as_bytes().to_vec())
        .add(Table::Meta, LETTERS_COUNT, -1);
    let set = move_due(set, seq, Some(entry), None);
    (0..parts).fold(set, |set, part| set.delete(Table::Letters, part_key(seq, part)))
}

/// The parts of a letter's record, joined, and how many they are.
async fn record(store: &dyn Store, seq: u64) -> Result<(Vec<u8>, u16), StoreError> {
    let (from, to) = (part_key(seq, 0), seq_key(seq.saturating_add(1)));
    let rows = store.scan(Table::Letters, from, to, usize::from(u16::MAX)).await?;
    let parts = u16::try_from(rows.len()).unwrap_or(u16::MAX);
    Ok((rows.into_iter().flat_map(|(_, bytes)| bytes).collect(), parts))
}

/// How many parts a letter's record has.
pub(super) async fn parts(store: &dyn Store, seq: u64) -> Result<u16, StoreError> {
    record(store, seq).await.map(|(_, parts)| parts)
}

/// Reads one letter.
pub(super) async fn read(store: &dyn Store, seq: u64, entry: Entry) -> Result<ParkedLetter, DlqError> {
    let (bytes, _) = record(store, seq).await?;
    Ok(ParkedLetter { seq, letter: decode_letter(&bytes)?, state: entry.state })
}

/// Reads every entry at the start. Entries of an unknown version are left where they are, and counted out.
pub(super) async fn load(store: &dyn Store) -> Result<(u64, BTreeMap<u64, Entry>), StoreError> {
    let next = number(store, LETTERS_NEXT).await?;
    let expected = number(store, LETTERS_COUNT).await?;
    let (mut entries, mut strange) = (BTreeMap::new(), 0);
    let (mut from, end) = (seq_key(0), vec![0xff; 9]);
    loop {
        let rows = store.scan(Table::LetterState, from.clone(), end.clone(), SCAN_ROWS).await?;
        let Some((last, _)) = rows.back() else { break };
        // The next key in order: nothing lies between a key and itself with a zero behind it.
        from = [last.as_slice(), &[0]].concat();
        for (key, bytes) in rows {
            let seq = seq_of(&key)?;
            match decode_state(&bytes) {
                Ok(entry) => drop(entries.insert(seq, entry)),
                Err(error) => {
                    strange += 1;
                    tracing::error!(target: "mainstay::dlq", seq, %error, "a parked call cannot be read; it is left on disk");
                }
            }
        }
    }
    let found = entries.len() as u64 + strange;
    if found != expected {
        return Err(StoreError::Damaged(format!("{expected} parked calls were written, {found} are there")));
    }
    Ok((next, entries))
}

async fn number(store: &dyn Store, name: &[u8]) -> Result<u64, StoreError> {
    let Some(bytes) = store.get(Table::Meta, name.to_vec()).await? else { return Ok(0) };
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged("a counter is not 8 bytes".into()))
}

fn seq_of(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged("a letter's key is not 8 bytes".into()))
}

/// Reads letters one after the other; those that cannot be read come back apart.
pub(super) async fn read_all(
    store: &Arc<dyn Store>,
    wanted: Vec<(u64, Entry)>,
) -> Result<(Vec<ParkedLetter>, Vec<(u64, Entry, RecordError)>), DlqError> {
    let (mut letters, mut strange) = (Vec::with_capacity(wanted.len()), Vec::new());
    for (seq, entry) in wanted {
        match read(&**store, seq, entry.clone()).await {
            Ok(letter) => letters.push(letter),
            Err(DlqError::Record(error)) => strange.push((seq, entry, error)),
            Err(error) => return Err(error),
        }
    }
    Ok((letters, strange))
}
