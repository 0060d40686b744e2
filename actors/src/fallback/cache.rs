//! The last good answers, by tenant, operation and what was asked for. Pure: it takes `now` and knows no channel.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{CacheConfig, CacheKey, KeyTemplate};
use crate::{call::AcceptedCall, ids::VendorId};

/// How old an answer is, in words. The seeds' `staleness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Staleness {
    /// Younger than `fresh_for`.
    Fresh,
    /// Younger than `stale_for`.
    Stale,
    /// Younger than `keep_for`.
    VeryStale,
}

impl fmt::Display for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::VeryStale => "very stale",
        })
    }
}

/// A remembered answer. It is the vendor's answer of then, whole and by itself: nothing of the caller's is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The answer.
    pub value: Arc<Value>,
    /// How old it is.
    pub age: Duration,
    /// The same in words.
    pub staleness: Staleness,
    /// When the vendor gave it.
    pub stored_at: Timestamp,
}

/// Figures of the cache, for people. Counters count since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FallbackSnapshot {
    /// Whose answers.
    pub vendor: VendorId,
    /// Answers held.
    pub entries: usize,
    /// Their bytes as JSON, with their keys.
    pub bytes: usize,
    /// Questions answered with a fresh answer.
    pub hits_fresh: u64,
    /// With a stale one.
    pub hits_stale: u64,
    /// With a very stale one.
    pub hits_very_stale: u64,
    /// Questions without an answer.
    pub misses: u64,
    /// Answers forgotten before their time, to make room.
    pub evicted: u64,
    /// Answers not taken: no usable key, or too large.
    pub skipped: u64,
}

impl FallbackSnapshot {
    /// The snapshot of an empty cache.
    pub fn empty(vendor: VendorId) -> Self {
        Cache::new(None).snapshot(vendor)
    }
}

#[derive(Debug)]
struct Entry {
    value: Arc<Value>,
    bytes: usize,
    written: u64,
    at: Instant,
    wall: Timestamp,
}

#[derive(Debug, Default)]
struct Totals {
    fresh: u64,
    stale: u64,
    very_stale: u64,
    misses: u64,
    evicted: u64,
    skipped: u64,
}

/// Counts the bytes of a value as JSON without keeping them, and gives up past a limit.
struct Counter {
    bytes: usize,
    limit: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes <= self.limit { Ok(bytes.len()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The last good answers of one vendor.
#[derive(Debug)]
pub struct Cache {
    config: Option<CacheConfig>,
    /// `None` when it is off.
    template: Option<KeyTemplate>,
    entries: HashMap<CacheKey, Entry>,
    /// The keys by the number of their writing: the oldest first.
    order: BTreeMap<u64, CacheKey>,
    next_write: u64,
    bytes: usize,
    totals: Totals,
}

impl Cache {
    /// An empty cache; without a configuration it stays empty.
    pub fn new(config: Option<CacheConfig>) -> Self {
        // A configuration that was checked has a template that can be read.
        let template = config.as_ref().and_then(|config| config.key.parse().ok());
        Self {
            config,
            template,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next_write: 0,
            bytes: 0,
            totals: Totals::default(),
        }
    }

    /// The key of a call, if it has one and the cache is on.
    pub fn key_of(&self, call: &AcceptedCall) -> Option<CacheKey> {
        CacheKey::of(self.template.as_ref()?, call)
    }

    /// How many bytes it would take to remember this; `None` when it is too large for one answer, or for the whole cache.
    /// Changes nothing.
    pub fn decide_put(&self, key: &CacheKey, value: &Value) -> Option<usize> {
        let config = self.config.as_ref()?;
        let mut counter = Counter { bytes: 0, limit: config.entry_max_bytes };
        serde_json::to_writer(&mut counter, value).ok()?;
        let bytes = counter.bytes + key.bytes();
        (bytes <= config.bytes_max).then_some(bytes)
    }

    /// Remembers an answer of the size that was decided, in place of the one before it.
    pub fn apply_put(&mut self, now: Instant, wall: Timestamp, key: CacheKey, value: Arc<Value>, bytes: usize) {
        self.expire(now);
        self.remove(&key);
        let Some((entries_max, bytes_max)) = self.config.as_ref().map(|c| (c.entries_max, c.bytes_max)) else { return };
        while self.entries.len() >= entries_max || self.bytes + bytes > bytes_max {
            if !self.forget_oldest() {
                break;
            }
            self.totals.evicted += 1;
        }
        let written = self.next_write;
        self.next_write += 1;
        self.bytes += bytes;
        self.order.insert(written, key.clone());
        self.entries.insert(key, Entry { value, bytes, written, at: now, wall });
    }

    /// Counts an answer that was not taken; a cache that is off takes none and counts none.
    pub fn apply_skip(&mut self) {
        self.totals.skipped += u64::from(self.config.is_some());
    }

    /// The answer to a question. Changes nothing; [`Self::apply_get`] counts it.
    pub fn get(&self, now: Instant, key: &CacheKey) -> Option<Hit> {
        let config = self.config.as_ref()?;
        let entry = self.entries.get(key)?;
        let age = now.saturating_duration_since(entry.at);
        let staleness = match age {
            age if age < config.fresh_for => Staleness::Fresh,
            age if age < config.stale_for => Staleness::Stale,
            age if age < config.keep_for => Staleness::VeryStale,
            _ => return None,
        };
        Some(Hit { value: entry.value.clone(), age, staleness, stored_at: entry.wall })
    }

    /// Counts a question and what came of it.
    pub fn apply_get(&mut self, hit: Option<&Hit>) {
        match hit.map(|hit| hit.staleness) {
            Some(Staleness::Fresh) => self.totals.fresh += 1,
            Some(Staleness::Stale) => self.totals.stale += 1,
            Some(Staleness::VeryStale) => self.totals.very_stale += 1,
            None => self.totals.misses += 1,
        }
    }

    /// When the next answer is to be forgotten.
    pub fn next_expiry(&self) -> Option<Instant> {
        let config = self.config.as_ref()?;
        let (_, oldest) = self.order.first_key_value()?;
        self.entries.get(oldest).map(|entry| entry.at + config.keep_for)
    }

    /// Forgets the answers whose time is over.
    pub fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|at| at <= now) {
            self.forget_oldest();
        }
    }

    /// The figures.
    pub fn snapshot(&self, vendor: VendorId) -> FallbackSnapshot {
        FallbackSnapshot {
            vendor,
            entries: self.entries.len(),
            bytes: self.bytes,
            hits_fresh: self.totals.fresh,
            hits_stale: self.totals.stale,
            hits_very_stale: self.totals.very_stale,
            misses: self.totals.misses,
            evicted: self.totals.evicted,
            skipped: self.totals.skipped,
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, key)) = self.order.pop_first() else { return false };
        self.remove(&key);
        true
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.written);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests;
