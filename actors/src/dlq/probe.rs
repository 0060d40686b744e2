//! Letters of a damaged store, one place after the other: whatever can still be read of each.

use super::{
    Entry, Failure, Kind, LetterState, ParkedLetter,
    disk::{part_key, seq_key},
    record::{decode_letter, decode_state},
};
use crate::{
    outcome::Class,
    store::{Store, StoreError, Table},
};

/// What is at one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Probed {
    /// A letter. One whose state cannot be read is unknown: it may have happened, and is not sent again by itself.
    Letter(Box<ParkedLetter>),
    /// Nothing, or nothing any more.
    Nothing,
    /// Something that cannot be read: why.
    Broken(String),
}

/// Reads the letter at a place, by its keys alone: a scan stops at the first row that cannot be read, and this does not.
pub async fn probe(store: &dyn Store, seq: u64) -> Probed {
    let state = store.get(Table::LetterState, seq_key(seq)).await;
    let record = match record(store, seq).await {
        Ok(record) => record,
        Err(error) => return Probed::Broken(error.to_string()),
    };
    if record.is_empty() {
        return match state {
            Ok(Some(_)) => Probed::Broken("its record is gone".into()),
            Ok(None) | Err(_) => Probed::Nothing,
        };
    }
    let letter = match decode_letter(&record) {
        Ok(letter) => letter,
        Err(error) => return Probed::Broken(error.to_string()),
    };
    let known = state.ok().flatten().and_then(|bytes| decode_state(&bytes).ok());
    let state = known.map_or_else(
        || {
            let error = Failure::new(Class::Abandoned, None, "its state was lost with damaged files");
            LetterState::new(Kind::Unknown, error, 0, None, letter.accepted_at)
        },
        |Entry { state, .. }| state,
    );
    Probed::Letter(Box::new(ParkedLetter { seq, letter, state }))
}

/// The parts of a record, joined.
async fn record(store: &dyn Store, seq: u64) -> Result<Vec<u8>, StoreError> {
    let mut record = Vec::new();
    for part in 0..=u16::MAX {
        let Some(bytes) = store.get(Table::Letters, part_key(seq, part)).await? else { break };
        record.extend(bytes);
    }
    Ok(record)
}
