//! Holds the vendors' ledger against the application's book and the runtime's words. It shares no code with the runtime: it
//! reads the ledger as JSON over HTTP, and counts for itself.

use std::collections::{BTreeMap, BTreeSet};

use mainstay::FinalState;
use serde_json::Value;

use crate::{
    Failure,
    history::Book,
    story::{CLAY_LIMIT, RETELL_LIMIT},
};

/// Entries read at a time.
const PAGE: usize = 1_000;

/// What the runtime says of itself at the end.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Its counts by final state, and `offered`, `accepted`, `refused`.
    pub counts: BTreeMap<&'static str, u64>,
    /// By vendor: spent and reserved, in millionths of its unit.
    pub money: BTreeMap<&'static str, (u64, u64)>,
}

/// What came of the check.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Calls that ended nowhere, or that the ledger contradicts.
    pub lost: u64,
    /// Effects beyond the first of one call or one key.
    pub duplicate_effects: u64,
    /// By how much the limits were passed, in whole units.
    pub overspent: u64,
    /// What the vendors charged, in whole units.
    pub charged: BTreeMap<&'static str, f64>,
    /// What does not fit, in words.
    pub complaints: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicate_effects == 0 && self.overspent == 0 && self.complaints.is_empty()
    }
}

/// Reads the whole ledger and judges.
pub async fn check(vendors_url: &str, book: &Book, said: &Said) -> Result<Verdict, Failure> {
    let entries = ledger(vendors_url).await?;
    let mut verdict = Verdict::default();
    let effects = effects_by_call(&entries, &mut verdict);
    judge_calls(book, &effects, &mut verdict);
    judge_counts(book, said, &mut verdict);
    judge_money(&entries, said, &mut verdict);
    Ok(verdict)
}

async fn ledger(vendors_url: &str) -> Result<Vec<Value>, Failure> {
    let mut entries = Vec::new();
    loop {
        let url = format!("{vendors_url}/__ledger?from={}&limit={PAGE}", entries.len());
        let page: Value = serde_json::from_slice(&reqwest::get(url).await?.error_for_status()?.bytes().await?)?;
        let rows = page.get("entries").and_then(Value::as_array).ok_or("the ledger has no entries")?;
        entries.extend(rows.iter().cloned());
        if rows.len() < PAGE {
            return Ok(entries);
        }
    }
}

fn text<'a>(entry: &'a Value, field: &str) -> Option<&'a str> {
    entry.get(field).and_then(Value::as_str)
}

/// Effects of each call. A second effect of one call, or of one key, is a duplicate.
fn effects_by_call(entries: &[Value], verdict: &mut Verdict) -> BTreeMap<String, u64> {
    let mut by_call = BTreeMap::<String, u64>::new();
    let mut keys = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.get("effect") == Some(&Value::Bool(true))) {
        let Some(call) = text(entry, "call") else {
            verdict.complaints.push(format!("an effect without a call id: {entry}"));
            continue;
        };
        let seen = by_call.entry(call.to_owned()).or_default();
        *seen += 1;
        let key_seen = text(entry, "key").is_some_and(|key| !keys.insert(key.to_owned()));
        if *seen > 1 || key_seen {
            verdict.duplicate_effects += 1;
            verdict.complaints.push(format!("a doubled effect of call {call}"));
        }
    }
    by_call
}

/// A delivered call has its effect; a call that is nowhere near the vendor has none; an unknown one may have one.
fn judge_calls(book: &Book, effects: &BTreeMap<String, u64>, verdict: &mut Verdict) {
    for (call, state) in &book.calls {
        let has_effect = effects.contains_key(call);
        let fits = match state {
            None | Some(FinalState::Lost) => false,
            Some(FinalState::Delivered) => has_effect,
            Some(FinalState::Unknown) => true,
            Some(_) => !has_effect,
        };
        if !fits {
            verdict.lost += 1;
            verdict.complaints.push(format!("call {call} stands as {state:?}, effect in the ledger: {has_effect}"));
        }
    }
    for call in effects.keys().filter(|call| !book.calls.contains_key(*call)) {
        verdict.lost += 1;
        verdict.complaints.push(format!("an effect of call {call}, which nobody was told of"));
    }
}

/// The runtime's counts are the application's.
fn judge_counts(book: &Book, said: &Said, verdict: &mut Verdict) {
    let ours = [
        ("offered", book.offered),
        ("refused", book.refused),
        ("accepted", book.calls.len() as u64),
        ("delivered", book.count(FinalState::Delivered)),
        ("cached", book.count(FinalState::Cached)),
        ("queued", book.count(FinalState::Queued)),
        ("local", book.count(FinalState::Local)),
        ("dead_lettered", book.count(FinalState::DeadLettered)),
        ("unknown", book.count(FinalState::Unknown)),
        ("cancelled", book.count(FinalState::Cancelled)),
        ("lost", book.count(FinalState::Lost)),
    ];
    for (name, ours) in ours {
        let theirs = said.counts.get(name).copied().unwrap_or_default();
        if ours != theirs {
            verdict.complaints.push(format!("{name}: the runtime says {theirs}, the application counted {ours}"));
        }
    }
    if book.offered != book.refused + book.calls.len() as u64 {
        verdict.complaints.push("offered is not accepted plus refused".into());
    }
}

/// Spent, as the runtime says, is at most what the vendor charged, and that is at most spent plus reserved; nothing is over
/// its limit.
fn judge_money(entries: &[Value], said: &Said, verdict: &mut Verdict) {
    for (vendor, limit) in [("clay", CLAY_LIMIT), ("retell", RETELL_LIMIT)] {
        let of_vendor = entries.iter().filter(|entry| text(entry, "vendor") == Some(vendor));
        let charged: u64 = of_vendor.filter_map(|entry| entry.get("charged_micros").and_then(Value::as_u64)).sum();
        verdict.charged.insert(vendor, charged as f64 / 1e6);
        verdict.overspent += charged.saturating_sub(limit * 1_000_000).div_ceil(1_000_000);
        let (spent, reserved) = said.money.get(vendor).copied().unwrap_or_default();
        if spent > charged || charged > spent + reserved {
            verdict.complaints.push(format!(
                "{vendor}: spent {spent} and reserved {reserved} millionths, but the vendor charged {charged}"
            ));
        }
    }
}
