//! What a budget shows of itself.

use std::time::Instant;

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::{Forecast, Ledger, shelf::Shelf};
use crate::{
    credits::Credits,
    ids::{MeterId, VendorId},
    meter::{LimitId, Period},
};

/// How many tenants or targets of one limit are shown, those that use most.
pub const HOLDERS_SHOWN: usize = 20;

/// One limit's figures in its present period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitSnapshot {
    /// Which limit.
    #[serde(flatten)]
    pub which: LimitId,
    /// The period in the budget's zone: `2026-05-02`, `2026-05` or `lifetime`.
    pub span: String,
    /// Most that may be spent in it.
    pub limit: Credits,
    /// Whether an operator raised it until the reset.
    pub raised: bool,
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
    /// When the next period begins; `None` for a lifetime.
    pub resets_at: Option<Timestamp>,
    /// What it comes to at the present pace; `None` for a tenant, or while too little is known.
    pub forecast: Option<Forecast>,
}

/// A budget as it was after the last change. What stands here by itself are the figures of the first limit: the account's own
/// on the main meter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BudgetSnapshot {
    /// Whose account.
    pub vendor: VendorId,
    /// What it bills in.
    pub unit: MeterId,
    /// Most that may be spent in the period.
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
    /// Every limit, the first one first; of limits for each tenant or target the [`HOLDERS_SHOWN`] that use most.
    pub limits: Vec<LimitSnapshot>,
    /// Until when nothing is reserved because the vendor said that the account is used up.
    pub exhausted_until: Option<Timestamp>,
    /// Reservations held, those of earlier periods included.
    pub reservations: usize,
    /// Calls refused since the process began.
    pub refused_total: u64,
}

impl Ledger {
    /// What is shown of the ledger at this moment.
    pub fn snapshot(&self, vendor: &VendorId, wall: Timestamp, now: Instant) -> BudgetSnapshot {
        let limits: Vec<_> = self.shelves.iter().flat_map(|shelf| shelf.shown((now, wall))).collect();
        let amount = |of: fn(&LimitSnapshot) -> Credits| limits.first().map_or(Credits::ZERO, of);
        BudgetSnapshot {
            vendor: vendor.clone(),
            unit: self.main_meter().clone(),
            limit: amount(|first| first.limit),
            settled: amount(|first| first.settled),
            reserved: amount(|first| first.reserved),
            unknown: amount(|first| first.unknown),
            overage: amount(|first| first.overage),
            remaining: amount(|first| first.remaining),
            used_ratio: limits.first().map_or(0.0, |first| first.used_ratio),
            limits,
            exhausted_until: self.exhausted_until(now),
            reservations: self.outstanding(),
            refused_total: self.refused_total(),
        }
    }
}

impl Shelf {
    /// The account's figures, or those of the holders that use most.
    pub(super) fn shown(&self, at: (Instant, Timestamp)) -> Vec<LimitSnapshot> {
        let most = self.by_use.iter().rev().take(HOLDERS_SHOWN);
        most.filter_map(|(_, holder)| self.show(holder, at)).collect()
    }

    pub(super) fn show(&self, holder: &str, at: (Instant, Timestamp)) -> Option<LimitSnapshot> {
        let book = self.books.get(holder)?;
        let (page, limit, used, resets_at) = (&book.page, book.limit(), book.page.used(), self.span.reset());
        let forecast = book.pace.as_ref().and_then(|pace| pace.outlook(at, used, limit, resets_at));
        Some(LimitSnapshot {
            which: self.id_of(holder),
            span: name_of(self.period, self.span.date),
            limit,
            raised: book.is_raised(),
            settled: page.settled,
            reserved: page.reserved,
            unknown: page.unknown,
            overage: page.overage,
            remaining: limit.minus(used),
            used_ratio: used.as_decimal() / limit.as_decimal().max(f64::MIN_POSITIVE),
            resets_at,
            forecast,
        })
    }
}

/// The period that begins with a date, as people write it.
pub(super) fn name_of(period: Period, date: Date) -> String {
    match period {
        Period::Day => date.to_string(),
        Period::Month => date.strftime("%Y-%m").to_string(),
        Period::Lifetime => "lifetime".into(),
    }
}
