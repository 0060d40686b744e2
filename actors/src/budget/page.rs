//! One period's figures, and what is worth saying of them.

use super::Span;
use crate::{credits::Credits, meter::LimitId};

/// One period's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The period.
    pub span: Span,
    /// Spent, overage included.
    pub settled: Credits,
    /// Reserved and not ended, those of unknown end included.
    pub reserved: Credits,
    /// The part of `reserved` whose end nobody knows.
    pub unknown: Credits,
    /// The part of `settled` above what was reserved for it.
    pub overage: Credits,
    /// Reservations in it.
    pub(super) open: usize,
    /// How many soft marks were passed.
    pub(super) soft_passed: usize,
    /// Whether a call was refused for want of money.
    pub(super) hard: bool,
}

impl Page {
    pub(super) fn new(span: Span) -> Self {
        let zero = Credits::ZERO;
        Self { span, settled: zero, reserved: zero, unknown: zero, overage: zero, open: 0, soft_passed: 0, hard: false }
    }

    /// Enters a reservation.
    pub(super) fn open(&mut self, amount: Credits) {
        self.open += 1;
        self.reserved = self.reserved.plus(amount);
    }

    /// Takes a reservation out.
    pub(super) fn close(&mut self, amount: Credits, unknown: bool) {
        self.open = self.open.saturating_sub(1);
        self.reserved = self.reserved.minus(amount);
        if unknown {
            self.unknown = self.unknown.minus(amount);
        }
    }

    /// Nothing is lost with it.
    pub(super) fn is_blank(&self) -> bool {
        self.used() == Credits::ZERO && self.open == 0
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
    /// The first call of a period was refused for want of money.
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
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A mark was passed.
    Marked {
        /// Which.
        mark: Mark,
        /// Of which limit.
        which: LimitId,
        /// Spent and reserved of it, in the period the mark belongs to.
        used: Credits,
        /// What may be spent.
        limit: Credits,
    },
    /// A period of a limit of the account ended with these figures.
    Ended(LimitId, Page),
    /// So many reservations are kept no longer: they count as spent.
    WrittenOff(usize),
}
