//! One day's figures, and what is worth saying of them.

use super::Day;
use crate::credits::Credits;

/// One day's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The day.
    pub day: Day,
    /// Spent, overage included.
    pub settled: Credits,
    /// Reserved and not ended, those of unknown end included.
    pub reserved: Credits,
    /// The part of `reserved` whose end nobody knows.
    pub unknown: Credits,
    /// The part of `settled` above what was reserved for it.
    pub overage: Credits,
    /// How many soft marks were passed.
    pub(super) soft_passed: usize,
    /// Whether a call was refused for want of money.
    pub(super) hard: bool,
}

impl Page {
    pub(super) fn new(day: Day) -> Self {
        let zero = Credits::ZERO;
        Self { day, settled: zero, reserved: zero, unknown: zero, overage: zero, soft_passed: 0, hard: false }
    }

    /// Spent and reserved.
    pub fn used(&self) -> Credits {
        self.settled.plus(self.reserved)
    }
}

/// Something worth a warning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mark {
    /// Spent and reserved reached a soft mark, this share of the limit.
    Soft(f64),
    /// The first call of a day was refused for want of money.
    Hard,
    /// A call cost this much more than was reserved for it.
    Overage(Credits),
    /// The vendor said that the account is used up.
    Exhausted,
}

impl Mark {
    /// The name used in facts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Soft(_) => "soft",
            Self::Hard => "hard",
            Self::Overage(_) => "overage",
            Self::Exhausted => "exhausted",
        }
    }
}

/// What a change did that others should hear of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Note {
    /// A mark was passed, with spent and reserved of the day it belongs to.
    Marked(Mark, Credits),
    /// A day ended with these figures. So many reservations of days before it are kept no longer: they count as spent.
    DayEnded(Page, usize),
}
