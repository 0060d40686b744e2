//! What is limited, for how long and for whom: the name of one budget limit, in refusals, facts and snapshots.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::ids::MeterId;

/// How long a limit's amount has to last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A calendar day in the budget's zone.
    #[default]
    Day,
    /// A calendar month in the budget's zone.
    Month,
    /// For ever, as a vendor's lifetime counter: it is never reset by the calendar.
    Lifetime,
}

impl Period {
    /// The name used in facts, snapshots and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Lifetime => "lifetime",
        }
    }
}

/// Whose spending a limit bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// Everybody's together.
    #[default]
    Account,
    /// One tenant's, by the name that calls carry.
    Tenant(Arc<str>),
    /// That into one target, such as a table.
    Target(Arc<str>),
    /// That to the vendor's own address, where calls without a target go.
    OwnAddress,
}

/// Which limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LimitId {
    /// What is counted.
    pub meter: MeterId,
    /// How long the amount has to last.
    pub period: Period,
    /// Whose spending.
    pub whose: Whose,
}

impl LimitId {
    /// A limit of the whole account.
    pub fn account(meter: MeterId, period: Period) -> Self {
        Self { meter, period, whose: Whose::Account }
    }
}

impl fmt::Display for LimitId {
    /// As in "500 `credits a day`", "50000 `rows for life of target leads`".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { meter, period, whose } = self;
        match period {
            Period::Day => write!(f, "{meter} a day")?,
            Period::Month => write!(f, "{meter} a month")?,
            Period::Lifetime => write!(f, "{meter} for life")?,
        }
        match whose {
            Whose::Account => Ok(()),
            Whose::Tenant(name) => write!(f, " of tenant {name}"),
            Whose::Target(name) => write!(f, " of target {name}"),
            Whose::OwnAddress => write!(f, " of the vendor's own address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_as_a_person_would() {
        let meter = |name| MeterId::new(name).unwrap();
        assert_eq!(LimitId::account(meter("credits"), Period::Day).to_string(), "credits a day");
        let rows = LimitId { meter: meter("rows"), period: Period::Lifetime, whose: Whose::Target("leads".into()) };
        assert_eq!(rows.to_string(), "rows for life of target leads");
        let acme = LimitId { meter: meter("actions"), period: Period::Month, whose: Whose::Tenant("acme".into()) };
        assert_eq!(acme.to_string(), "actions a month of tenant acme");
    }
}
