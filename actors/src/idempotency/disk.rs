//! Keys in the store: which rows, which sets, and how they are read back.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Fingerprint, Forgotten, LeftKey,
    record::{Kept, Record, Stage, decode, encode},
};
use crate::{
    call::IdempotencyKey,
    clock::Clock,
    ids::{CallId, OperationId, VendorId},
    store::{Row, Store, StoreError, Table, VALUE_MAX_BYTES, WriteSet},
};

/// Longest answer that is kept on disk, as JSON. A repeat after a restart gets a longer one without its body.
pub const ANSWER_MAX_BYTES: usize = 64 << 10;

/// Longest answer in the key's own record; a longer one has rows of its own behind it.
const HERE_MAX_BYTES: usize = 3 << 10;

/// Rows read at a time.
const SCAN_ROWS: usize = 512;

/// Keys deleted in one set.
const DELETE_KEYS: usize = 256;

/// Between a key and the number of a part. Our keys are hexadecimal digits and dashes, so no key holds it.
const PART: u8 = 0;

/// An answer that is kept on disk beside its key.
pub trait Keep: Clone + Send + Sync + 'static {
    /// As bytes, the same each time.
    fn to_bytes(&self) -> Vec<u8>;

    /// The answer of this call again; without bytes when it was longer than [`ANSWER_MAX_BYTES`].
    fn from_bytes(call: CallId, bytes: Option<&[u8]>) -> Self;
}

/// A key as it was found on disk at the start.
#[derive(Debug, Clone)]
pub struct FoundKey {
    key: IdempotencyKey,
    record: Record,
    /// Of a done key, where it is kept.
    answer: Option<Vec<u8>>,
}

impl FoundKey {
    /// Whose it is.
    pub fn vendor(&self) -> &VendorId {
        &self.record.vendor
    }

    /// Which key.
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// The call that had it, and when it claimed the key or was done.
    pub fn call(&self) -> (CallId, Timestamp) {
        (self.record.call, self.record.at)
    }

    /// The operation of a call that had claimed it, and of which nothing else was written: it may have happened.
    pub fn interrupted(&self) -> Option<&OperationId> {
        match &self.record.stage {
            Stage::Claimed { operation } => Some(operation),
            Stage::Done { .. } => None,
        }
    }

    /// As the table takes it in.
    pub(super) fn left<V: Keep>(self, keep: Duration, clock: &Clock) -> LeftKey<V> {
        let Record { call, fingerprint, at, stage, .. } = self.record;
        let done = match stage {
            Stage::Claimed { .. } => None,
            Stage::Done { .. } => {
                let until = at.checked_add(keep).unwrap_or(Timestamp::MAX);
                Some((V::from_bytes(call, self.answer.as_deref()), clock.instant_of(until)))
            }
        };
        LeftKey { key: self.key, fingerprint, call, since: at, done }
    }
}

/// One vendor's keys in the store.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) vendor: VendorId,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
}

/// What a key's row says of it, whatever has become of it.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) call: CallId,
    pub(super) fingerprint: Fingerprint,
}

impl Disk {
    fn record(&self, owner: Owner, at: Timestamp, stage: Stage) -> Record {
        Record { vendor: self.vendor.clone(), call: owner.call, fingerprint: owner.fingerprint, at, stage }
    }

    /// The key is claimed, and its effect may begin.
    pub(super) fn claimed(
        &self,
        key: &IdempotencyKey,
        owner: Owner,
        since: Timestamp,
        operation: &OperationId,
    ) -> Result<WriteSet, String> {
        let stage = Stage::Claimed { operation: operation.clone() };
        let record = encode(&self.record(owner, since, stage))?;
        Ok(WriteSet::new().put(Table::Keys, row_key(key), record).beginning())
    }

    /// The effect is done.
    pub(super) fn done(&self, key: &IdempotencyKey, owner: Owner, answer: &impl Keep) -> Result<WriteSet, String> {
        let bytes = answer.to_bytes();
        let (answer, parts) = match parts_of(bytes.len()) {
            0 if bytes.len() <= HERE_MAX_BYTES => (Kept::Here(bytes), Vec::new()),
            0 => (Kept::Not, Vec::new()),
            parts => (Kept::InParts(parts), bytes),
        };
        let record = encode(&self.record(owner, self.clock.wall(), Stage::Done { answer }))?;
        let set = WriteSet::new().put(Table::Keys, row_key(key), record);
        let numbered = (0..u16::MAX).zip(parts.chunks(VALUE_MAX_BYTES));
        Ok(numbered.fold(set, |set, (part, bytes)| set.put(Table::Keys, part_key(key, part), bytes)))
    }

    /// Nothing stands for the key any more. It was claimed at most: its record is one row.
    pub(super) fn freed(&self, key: &IdempotencyKey) -> WriteSet {
        WriteSet::new().delete(Table::Keys, row_key(key))
    }

    /// Keys whose time is over leave the disk, some at a time. One that stays for want of room in the store's queue is
    /// found by the next start, and goes then.
    pub(super) fn forget<V: Keep>(&self, forgotten: Forgotten<V>) {
        for some in forgotten.chunks(DELETE_KEYS) {
            let set = some.iter().fold(WriteSet::new(), |set, (key, answer)| {
                removed(set, &row_key(key), parts_of(answer.to_bytes().len()))
            });
            drop(self.store.commit(set)); // queued when asked for
        }
    }
}

fn row_key(key: &IdempotencyKey) -> Vec<u8> {
    key.0.as_bytes().to_vec()
}

fn part_key(key: &IdempotencyKey, part: u16) -> Vec<u8> {
    part_of(key.0.as_bytes(), part)
}

fn part_of(key: &[u8], part: u16) -> Vec<u8> {
    [key, &[PART], &part.to_be_bytes()].concat()
}

/// How many rows of its own an answer of so many bytes has.
fn parts_of(bytes: usize) -> u16 {
    if (HERE_MAX_BYTES + 1..=ANSWER_MAX_BYTES).contains(&bytes) {
        return u16::try_from(bytes.div_ceil(VALUE_MAX_BYTES)).unwrap_or(u16::MAX);
    }
    0
}

fn removed(set: WriteSet, row: &[u8], parts: u16) -> WriteSet {
    (0..parts).fold(set.delete(Table::Keys, row), |set, part| set.delete(Table::Keys, part_of(row, part)))
}

/// Reads every key of an earlier process, and deletes those whose time is over. `keep` says how long a vendor's done keys
/// live. A record that cannot be read is left on disk and counted out: repeats of its call are not recognised.
///
/// # Errors
///
/// The store does not answer, or fewer rows are there than were written.
pub async fn load(
    store: &dyn Store,
    now: Timestamp,
    keep: impl Fn(&VendorId) -> Duration,
) -> Result<Vec<FoundKey>, StoreError> {
    let (mut found, mut rows, mut strange) = (Vec::<FoundKey>::new(), 0, 0);
    let (mut from, end) = (Vec::new(), vec![0xff; 9]);
    loop {
        let page = store.scan(Table::Keys, from, end.clone(), SCAN_ROWS).await?;
        let Some((last, _)) = page.back() else { break };
        // The next key in order: nothing lies between a key and itself with a zero behind it.
        from = [last.as_slice(), &[0]].concat();
        rows += page.len() as u64;
        strange += page.into_iter().filter_map(|row| take(&mut found, row).err()).count();
    }
    let expected = expected(store).await?;
    if rows != expected {
        return Err(StoreError::Damaged(format!("{expected} rows of keys were written, {rows} are there")));
    }
    if strange > 0 {
        tracing::error!(target: "mainstay::idempotency", strange, "records of keys cannot be read; they are left on disk, and repeats of their calls are not recognised");
    }
    let is_over = |found: &FoundKey| {
        found.interrupted().is_none()
            && found.record.at.checked_add(keep(found.vendor())).is_ok_and(|until| until <= now)
    };
    let (over, left): (Vec<_>, Vec<_>) = found.into_iter().partition(is_over);
    for some in over.chunks(DELETE_KEYS) {
        let set = some.iter().fold(WriteSet::new(), |set, found| removed(set, &row_key(&found.key), found.parts()));
        store.commit(set).await?;
    }
    Ok(left)
}

impl FoundKey {
    fn parts(&self) -> u16 {
        match self.record.stage {
            Stage::Done { answer: Kept::InParts(parts) } => parts,
            _ => 0,
        }
    }
}

/// One row: a key, or a part of the answer of the key before it.
fn take(found: &mut Vec<FoundKey>, (row, bytes): Row) -> Result<(), String> {
    let mut halves = row.splitn(2, |byte| *byte == PART);
    let (key, part) = (halves.next().unwrap_or_default(), halves.next());
    let key = String::from_utf8(key.to_vec()).map_err(|error| error.to_string())?;
    if let Some(part) = part {
        let of = found.last_mut().filter(|found| *found.key.0 == *key && part < found.parts().to_be_bytes().as_slice());
        let answer = of.and_then(|found| found.answer.as_mut()).ok_or("a part of an answer without its key")?;
        answer.extend(bytes);
        return Ok(());
    }
    let record = decode(&bytes)?;
    let answer = match &record.stage {
        Stage::Done { answer: Kept::Here(bytes) } => Some(bytes.clone()),
        Stage::Done { answer: Kept::InParts(_) } => Some(Vec::new()),
        Stage::Done { answer: Kept::Not } | Stage::Claimed { .. } => None,
    };
    found.push(FoundKey { key: IdempotencyKey(key.into()), record, answer });
    Ok(())
}

async fn expected(store: &dyn Store) -> Result<u64, StoreError> {
    let name = Table::Keys.counter().unwrap_or_default().to_vec();
    let Some(bytes) = store.get(Table::Meta, name).await? else { return Ok(0) };
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged("a counter is not 8 bytes".into()))
}
