//! One limit, as it is configured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::LIMIT_MAX_UNITS;
use crate::{credits::Credits, faults::Faults, ids::MeterId, meter::Period};

/// Most names with an amount of their own in one limit.
const NAMES_MAX: usize = 10_000;

/// Whose spending a limit bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everybody's together.
    #[default]
    Account,
    /// Each tenant's, by itself. A call without a tenant is not touched by it.
    Tenant,
    /// That into each of the vendor's targets, by itself. Calls without a target go to the vendor's own address, which is one.
    Target,
}

/// Most that may be spent on one meter in one period. A call has to fit into every limit that touches it.
///
/// ```
/// use mainstay_actors::{budget::{Limit, Scope}, credits::Credits, meter::Period};
///
/// // Each tenant may spend 100 credits a day.
/// let each = Limit { scope: Scope::Tenant, ..Limit::new(Period::Day, Credits::whole(100)) };
/// assert_eq!(each.meter, None, "on the vendor's main meter");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limit {
    /// Which meter; default the vendor's main one, [`BudgetConfig::unit`](super::BudgetConfig::unit).
    pub meter: Option<MeterId>,
    /// How long the amount has to last; default a day.
    pub period: Period,
    /// Most that may be spent in the period, in the meter's unit, as a decimal number. It has no default.
    pub amount: Credits,
    /// Whose spending; default everybody's together.
    pub scope: Scope,
    /// What was spent in the present period before this process began: of an account, or through the vendor's own address;
    /// default nothing. The way to go on with a lifetime counter.
    pub used_before: Credits,
    /// Tenants or targets whose figures differ, by name; at most 10,000.
    pub own: BTreeMap<String, Own>,
}

/// One tenant's or target's own figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// Most that it may spend in the period. It has no default; 0 shuts it out.
    pub amount: Credits,
    /// What it spent in the present period before this process began; default nothing.
    pub used_before: Credits,
}

impl Limit {
    /// A limit of the whole account on the main meter.
    pub fn new(period: Period, amount: Credits) -> Self {
        Self { period, amount, ..Self::default() }
    }

    /// On another meter.
    #[must_use]
    pub fn of(mut self, meter: MeterId) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let amount = self.amount;
        let fine = amount > Credits::ZERO && amount < Credits::whole(LIMIT_MAX_UNITS);
        faults.require(fine, "amount", || format!("{amount} must be stated, above 0 and below {LIMIT_MAX_UNITS}"));
        let account = self.scope == Scope::Account;
        faults.require(!account || self.own.is_empty(), "own", || {
            "an account has no tenants or targets of its own: say scope = \"tenant\" or \"target\"".into()
        });
        faults.require(self.scope != Scope::Tenant || self.used_before == Credits::ZERO, "used_before", || {
            "belongs to each tenant: say own.<name>.used_before".into()
        });
        faults.require(self.own.len() <= NAMES_MAX, "own", || {
            format!("{} names are more than {NAMES_MAX}", self.own.len())
        });
        let largest = Credits::whole(LIMIT_MAX_UNITS);
        for (name, own) in &self.own {
            faults.require(
                !name.is_empty() && own.amount < largest && own.used_before < largest,
                &format!("own.{name}"),
                || format!("needs a name, and amounts below {LIMIT_MAX_UNITS}"),
            );
        }
    }
}
