//! What the vendors saw and did: the account a checker trusts. It knows nothing of the runtime.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet, VecDeque},
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay_actors::clock;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Vendor;

/// One request, or one further row of a request that carried several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 0 without gaps.
    pub seq: u64,
    /// 0 for the request itself, 1 and on for the further rows of its array.
    pub row: u32,
    /// When it had been read, in milliseconds since the start of the simulator.
    pub arrived_ms: u64,
    /// When its answer was given away to be sent; none if it was never answered.
    pub replied_ms: Option<u64>,
    /// The vendor.
    pub vendor: Vendor,
    /// The vendor's operation, by its name in the vendor's profile; Clay's table is `webhook`.
    pub operation: Cow<'static, str>,
    /// The idempotency key it carried.
    pub key: Option<String>,
    /// The caller's call id it carried: `metadata.mainstay_call_id`, or the column of that name.
    pub call: Option<String>,
    /// SHA-256 of its body, in hex.
    pub body_sha256: String,
    /// Whether the vendor did something that counts: a row was added, an item was run, a call was placed.
    pub effect: bool,
    /// Whether there had been an effect for the same call id or the same key before. With `effect`: it was done twice.
    pub duplicate: bool,
    /// What it cost, in millionths of the vendor's unit (Clay: credits, Retell: cents). Often written later than the rest.
    pub charged_micros: u64,
    /// The status that was answered; none if the request was left or cut without one.
    pub status: Option<u16>,
    /// The scripted fault that struck it.
    pub fault: Option<Cow<'static, str>>,
    /// Requests of this vendor in hand when it arrived, itself not counted.
    pub in_flight_at_arrival: u64,
}

/// Sums over one vendor's entries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VendorTotals {
    /// Requests.
    pub requests: u64,
    /// Things done: rows added, calls placed.
    pub effects: u64,
    /// Things done that had been done before, by call id or by key. Must be 0.
    pub duplicate_effects: u64,
    /// What all of it cost so far, in millionths of the vendor's unit.
    pub charged_micros: u64,
    /// Most requests in hand at once.
    pub max_concurrent: u64,
    /// Most live calls at once (Retell).
    pub max_live: u64,
    /// Most effects begun within any one second.
    pub max_starts_per_second: u64,
    /// Requests by the status answered; `none` for those left or cut.
    pub by_status: BTreeMap<String, u64>,
}

/// Sums over the whole ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Clay's.
    pub clay: VendorTotals,
    /// Retell's.
    pub retell: VendorTotals,
    /// Entries written.
    pub entries: u64,
    /// Requests answered 507 without an entry, because the ledger was full.
    pub refused_full: u64,
    /// Effects whose charge or callback is still to come.
    pub callbacks_owed: u64,
}

impl Totals {
    /// The sums of one vendor.
    pub fn of(&self, vendor: Vendor) -> &VendorTotals {
        match vendor {
            Vendor::Clay => &self.clay,
            Vendor::Retell => &self.retell,
        }
    }

    fn of_mut(&mut self, vendor: Vendor) -> &mut VendorTotals {
        match vendor {
            Vendor::Clay => &mut self.clay,
            Vendor::Retell => &mut self.retell,
        }
    }
}

/// What a request, or a row of it, says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Mark {
    pub(super) key: Option<String>,
    pub(super) call: Option<String>,
}

/// A request as it arrives.
pub(super) struct Arrival<'a> {
    pub(super) vendor: Vendor,
    pub(super) operation: &'static str,
    /// One for each row; an empty list counts as one row without marks.
    pub(super) marks: Vec<Mark>,
    pub(super) body: &'a [u8],
    pub(super) fault: Option<&'static str>,
}

pub(super) struct Ledger {
    limit: usize,
    started: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    entries: Vec<Entry>,
    totals: Totals,
    done: HashSet<(Vendor, Mine)>,
    clay: Now,
    retell: Now,
}

/// By what an effect is recognised.
#[derive(PartialEq, Eq, Hash)]
enum Mine {
    Call(String),
    Key(String),
}

/// What is going on at one vendor.
#[derive(Default)]
struct Now {
    in_hand: u64,
    /// The effects of the last second.
    starts: VecDeque<Instant>,
}

impl Ledger {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, started: clock::now(), book: Mutex::default() })
    }

    /// Writes a request down; `None` when the ledger is full. The request is in hand until the [`Open`] is dropped.
    pub(super) fn open(self: &Arc<Self>, arrival: Arrival<'_>) -> Option<Open> {
        let Arrival { vendor, operation, mut marks, body, fault } = arrival;
        if marks.is_empty() {
            marks.push(Mark::default());
        }
        let body_sha256 = hex(&Sha256::digest(body));
        let mut book = self.book.lock();
        if book.entries.len() + marks.len() > self.limit {
            book.totals.refused_full += 1;
            return None;
        }
        let arrived_ms = self.elapsed_ms();
        let first = book.entries.len();
        let in_flight_at_arrival = book.arrive(vendor);
        for (row, mark) in (0u32..).zip(marks) {
            let entry = Entry {
                seq: book.entries.len() as u64,
                row,
                arrived_ms,
                replied_ms: None,
                vendor,
                operation: operation.into(),
                duplicate: book.knows(vendor, &mark),
                key: mark.key,
                call: mark.call,
                body_sha256: body_sha256.clone(),
                effect: false,
                charged_micros: 0,
                status: None,
                fault: fault.map(Cow::Borrowed),
                in_flight_at_arrival,
            };
            book.entries.push(entry);
        }
        let rows = book.entries.len() - first;
        book.totals.entries += rows as u64;
        Some(Open { ledger: self.clone(), vendor, first, rows, status: None })
    }

    /// Adds to what an entry cost.
    pub(super) fn charge(&self, at: usize, micros: u64) {
        let mut book = self.book.lock();
        let Some(entry) = book.entries.get_mut(at) else { return };
        entry.charged_micros += micros;
        let vendor = entry.vendor;
        book.totals.of_mut(vendor).charged_micros += micros;
    }

    /// Notes how many calls are live.
    pub(super) fn live(&self, vendor: Vendor, calls: u64) {
        let mut book = self.book.lock();
        let totals = book.totals.of_mut(vendor);
        totals.max_live = totals.max_live.max(calls);
    }

    /// A copy of the entries from number `from`, at most `limit`.
    pub(super) fn entries(&self, from: usize, limit: usize) -> Vec<Entry> {
        self.book.lock().entries.iter().skip(from).take(limit).cloned().collect()
    }

    pub(super) fn totals(&self) -> Totals {
        self.book.lock().totals.clone()
    }

    fn elapsed_ms(&self) -> u64 {
        clock::now().saturating_duration_since(self.started).as_millis() as u64
    }
}

impl Book {
    fn now_at(&mut self, vendor: Vendor) -> &mut Now {
        match vendor {
            Vendor::Clay => &mut self.clay,
            Vendor::Retell => &mut self.retell,
        }
    }

    /// Counts a request in; returns how many were in hand before it.
    fn arrive(&mut self, vendor: Vendor) -> u64 {
        let now = self.now_at(vendor);
        let before = now.in_hand;
        now.in_hand += 1;
        let totals = self.totals.of_mut(vendor);
        totals.requests += 1;
        totals.max_concurrent = totals.max_concurrent.max(before + 1);
        before
    }

    fn knows(&self, vendor: Vendor, mark: &Mark) -> bool {
        mark.mine().any(|mine| self.done.contains(&(vendor, mine)))
    }

    fn effect(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let vendor = entry.vendor;
        let mark = Mark { key: entry.key.clone(), call: entry.call.clone() };
        let mut repeated = false;
        for mine in mark.mine() {
            repeated |= !self.done.insert((vendor, mine));
        }
        entry.effect = true;
        entry.duplicate = repeated;
        let started = self.start(vendor, clock::now());
        let totals = self.totals.of_mut(vendor);
        totals.effects += 1;
        totals.duplicate_effects += u64::from(repeated);
        totals.max_starts_per_second = totals.max_starts_per_second.max(started);
    }

    /// Notes a start; returns how many there were in the second that ends with it.
    fn start(&mut self, vendor: Vendor, at: Instant) -> u64 {
        let starts = &mut self.now_at(vendor).starts;
        starts.push_back(at);
        while starts.front().is_some_and(|&old| at.saturating_duration_since(old) >= Duration::from_secs(1)) {
            starts.pop_front();
        }
        starts.len() as u64
    }
}

impl Mark {
    fn mine(&self) -> impl Iterator<Item = Mine> {
        self.call.clone().map(Mine::Call).into_iter().chain(self.key.clone().map(Mine::Key))
    }
}

/// A request in hand. Dropped without an answer it stays in the ledger without a status.
pub(super) struct Open {
    ledger: Arc<Ledger>,
    vendor: Vendor,
    first: usize,
    rows: usize,
    status: Option<u16>,
}

impl Open {
    /// The place in the ledger of one of its rows.
    pub(super) fn at(&self, row: usize) -> usize {
        self.first + row
    }

    /// The vendor does what this row asks for.
    pub(super) fn effect(&self, row: usize) {
        self.ledger.book.lock().effect(self.first + row);
    }

    /// It is answered; the request is no longer in hand.
    pub(super) fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut book = self.ledger.book.lock();
        let replied_ms = self.status.map(|_| self.ledger.elapsed_ms());
        for entry in book.entries.iter_mut().skip(self.first).take(self.rows) {
            entry.status = self.status;
            entry.replied_ms = replied_ms;
        }
        let now = book.now_at(self.vendor);
        now.in_hand = now.in_hand.saturating_sub(1);
        let name = self.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        *book.totals.of_mut(self.vendor).by_status.entry(name).or_default() += 1;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(ledger: &Arc<Ledger>, key: Option<&str>, call: Option<&str>) -> Option<Open> {
        ledger.open(Arrival {
            vendor: Vendor::Retell,
            operation: "create-phone-call",
            marks: vec![Mark { key: key.map(Into::into), call: call.map(Into::into) }],
            body: b"{}",
            fault: None,
        })
    }

    #[test]
    fn two_effects_for_one_call_are_a_duplicate_even_when_both_were_in_hand() {
        let ledger = Ledger::new(10);
        let (a, b) = (arrive(&ledger, None, Some("c")).unwrap(), arrive(&ledger, None, Some("c")).unwrap());
        a.effect(0);
        b.effect(0);
        assert_eq!(ledger.totals().retell.duplicate_effects, 1);
        let flags: Vec<_> = ledger.entries(0, 10).iter().map(|entry| entry.duplicate).collect();
        assert_eq!(flags, [false, true]);
    }

    #[test]
    fn a_repeat_without_effect_is_marked_and_not_counted_as_done_twice() {
        let ledger = Ledger::new(10);
        arrive(&ledger, Some("k"), None).unwrap().effect(0);
        arrive(&ledger, Some("k"), None).unwrap().answered(201);
        let last = ledger.entries(1, 1).remove(0);
        assert!(last.duplicate && !last.effect);
        assert_eq!(ledger.totals().retell.duplicate_effects, 0);
    }

    #[test]
    fn what_is_in_hand_is_counted_until_it_is_answered_or_dropped() {
        let ledger = Ledger::new(10);
        let held = arrive(&ledger, None, None).unwrap();
        arrive(&ledger, None, None).unwrap().answered(201);
        drop(held);
        drop(arrive(&ledger, None, None));
        let totals = ledger.totals().retell;
        assert_eq!((totals.requests, totals.max_concurrent), (3, 2));
        assert_eq!(totals.by_status, BTreeMap::from([("201".into(), 1), ("none".into(), 2)]));
        let before: Vec<_> = ledger.entries(0, 10).iter().map(|entry| entry.in_flight_at_arrival).collect();
        assert_eq!(before, [0, 1, 0]);
    }

    #[test]
    fn a_full_ledger_refuses_and_says_how_often() {
        let ledger = Ledger::new(1);
        assert!(arrive(&ledger, None, None).is_some());
        assert!(arrive(&ledger, None, None).is_none());
        assert_eq!((ledger.totals().entries, ledger.totals().refused_full), (1, 1));
    }

    #[test]
    fn a_late_charge_reaches_its_entry_and_the_sum() {
        let ledger = Ledger::new(10);
        let open = arrive(&ledger, None, None).unwrap();
        let at = open.at(0);
        open.answered(201);
        ledger.charge(at, 5);
        ledger.charge(at, 2);
        assert_eq!((ledger.entries(0, 1)[0].charged_micros, ledger.totals().retell.charged_micros), (7, 7));
    }

    #[test]
    fn starts_are_counted_over_a_sliding_second() {
        let mut book = Book::default();
        let t0 = clock::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let counts = [0, 600, 999, 1_000, 1_600].map(|ms| book.start(Vendor::Clay, at(ms)));
        assert_eq!(counts, [1, 2, 3, 3, 3]);
    }

    #[test]
    fn the_body_is_kept_as_its_sha256() {
        assert_eq!(hex(&Sha256::digest(b"")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
