//! What a budget shows of itself.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::Ledger;
use crate::{credits::Credits, ids::VendorId};

/// A budget as it was after the last change. All amounts but the limit are of the present day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BudgetSnapshot {
    /// Whose account.
    pub vendor: VendorId,
    /// What it bills in.
    pub unit: Arc<str>,
    /// The date of the day in the budget's zone, as `2026-05-02`.
    pub day: String,
    /// Most that may be spent in the day.
    pub limit: Credits,
    /// Spent, overage included.
    pub settled: Credits,
    /// Reserved by calls under way, and by those whose end nobody knows.
    pub reserved: Credits,
    /// The part of `reserved` whose end nobody knows.
    pub unknown: Credits,
    /// What calls cost above their reservations; part of `settled`.
    pub overage: Credits,
    /// What may still be reserved, on the lane with the widest limit.
    pub remaining: Credits,
    /// Spent and reserved as a share of the limit; above 1 after overage.
    pub used_ratio: f64,
    /// When the next day begins.
    pub resets_at: Timestamp,
    /// Until when nothing is reserved because the vendor said that the account is used up.
    pub exhausted_until: Option<Timestamp>,
    /// Reservations held, those of earlier days included.
    pub reservations: usize,
    /// Calls refused since the process began.
    pub refused_total: u64,
}

impl Ledger {
    /// What is shown of the ledger at this moment.
    pub fn snapshot(&self, vendor: &VendorId, now: Instant) -> BudgetSnapshot {
        let page = self.today();
        BudgetSnapshot {
            vendor: vendor.clone(),
            unit: self.unit().clone(),
            day: page.day.date.to_string(),
            limit: self.limit(),
            settled: page.settled,
            reserved: page.reserved,
            unknown: page.unknown,
            overage: page.overage,
            remaining: self.limit().minus(page.used()),
            used_ratio: page.used().as_decimal() / self.limit().as_decimal().max(f64::MIN_POSITIVE),
            resets_at: page.day.end,
            exhausted_until: self.exhausted_until(now),
            reservations: self.outstanding(),
            refused_total: self.refused_total(),
        }
    }
}
