//! What an operator changes while calls run: a limit until its reset, what was really used, the vendor's block.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;

use super::{Ledger, LimitSnapshot, Note, Turn, config::LIMIT_MAX_UNITS, shelf::Shelf};
use crate::{credits::Credits, meter::LimitId};

/// How far a limit is raised at most, as a multiple of what the configuration says: an operator in haste adds a nought, and
/// is told so.
pub const RAISE_MAX: u64 = 10;

/// Longest reason, in bytes.
const REASON_MAX_BYTES: usize = 500;

/// A change of one limit, and why it is made. A limit is named as a refusal, a fact or the snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetChange {
    /// What is changed.
    pub what: BudgetWhat,
    /// Why, 1 to 500 bytes: it stands in the log and in the fact.
    pub reason: Arc<str>,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetWhat {
    /// This much may be spent until the reset, at least what the configuration says and at most ten times that.
    Raise {
        /// Which limit.
        which: LimitId,
        /// The new amount, not what is added.
        to: Credits,
    },
    /// This much was really spent in the present period, as the vendor's own account says. Reservations stay beside it.
    Spent {
        /// Which limit.
        which: LimitId,
        /// What is spent.
        spent: Credits,
    },
    /// The account was topped up: the vendor's *exhausted* is lifted.
    Reopen,
}

/// A change of a budget was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetChangeError {
    /// No such limit is configured.
    #[error("no limit of {asked}; known: {known}")]
    UnknownLimit {
        /// The limit that was asked for.
        asked: LimitId,
        /// The configured ones, comma separated.
        known: String,
    },
    /// It is a tenant's or target's of which nothing is known yet, and there is no room for another.
    #[error("no room for another book: {held} are held")]
    Full {
        /// How many tenants or targets have one.
        held: usize,
    },
    /// The amount is out of its range.
    #[error("{amount} is not within {least}..={most}")]
    Amount {
        /// What was asked for.
        amount: Credits,
        /// The least allowed.
        least: Credits,
        /// The most allowed.
        most: Credits,
    },
    /// There is no reason, or it is too long.
    #[error("a reason of 1 to {REASON_MAX_BYTES} bytes is needed")]
    Reason,
    /// The budget is being restarted.
    #[error("the budget is being restarted: try again")]
    Restarting,
}

/// A change that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Force {
    turn: Turn,
    what: BudgetWhat,
}

impl BudgetWhat {
    /// The name used in facts and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Raise { .. } => "raised",
            Self::Spent { .. } => "spent",
            Self::Reopen => "reopened",
        }
    }
}

impl Ledger {
    /// May this be changed? A pure question.
    pub fn decide_change(
        &self,
        change: &BudgetChange,
        wall: Timestamp,
        now: Instant,
    ) -> Result<Force, BudgetChangeError> {
        if !(1..=REASON_MAX_BYTES).contains(&change.reason.len()) {
            return Err(BudgetChangeError::Reason);
        }
        let amount = match &change.what {
            BudgetWhat::Raise { to, .. } => *to,
            BudgetWhat::Spent { spent, .. } => *spent,
            BudgetWhat::Reopen => Credits::ZERO,
        };
        let which = self.limit_of(&change.what);
        let found = self.shelves.iter().find_map(|shelf| Some((shelf, shelf.holder(&which)?)));
        let Some((shelf, holder)) = found else {
            let known: Vec<_> = self.shelves.iter().map(Shelf::name).collect();
            return Err(BudgetChangeError::UnknownLimit { asked: which, known: known.join(", ") });
        };
        let turn = self.decide_turn(wall, now);
        let turned = self.span_after(&turn, shelf) != shelf.span;
        if let Some(held) = shelf.has_no_room_for(holder, turned) {
            return Err(BudgetChangeError::Full { held });
        }
        let configured = shelf.amount_of(holder);
        let (least, most) = match change.what {
            BudgetWhat::Raise { .. } => {
                (configured, Credits::from_micros(configured.micros().saturating_mul(RAISE_MAX)))
            }
            BudgetWhat::Spent { .. } | BudgetWhat::Reopen => (Credits::ZERO, Credits::whole(LIMIT_MAX_UNITS)),
        };
        if !(least..=most).contains(&amount) {
            return Err(BudgetChangeError::Amount { amount, least, most });
        }
        Ok(Force { turn, what: change.what.clone() })
    }

    /// Makes the change. Made twice it is made once.
    pub fn apply_change(&mut self, force: Force) -> Vec<Note> {
        let mut notes = self.apply_turn(force.turn);
        if force.what == BudgetWhat::Reopen {
            self.lift_exhausted();
            return notes;
        }
        let which = self.limit_of(&force.what);
        for shelf in &mut self.shelves {
            let Some(holder) = shelf.holder(&which) else { continue };
            match &force.what {
                BudgetWhat::Raise { to, .. } => shelf.raise(holder, *to, force.turn.now(), &mut notes),
                BudgetWhat::Spent { spent, .. } => shelf.set_spent(holder, *spent, force.turn.now(), &mut notes),
                BudgetWhat::Reopen => {}
            }
        }
        notes
    }

    /// The figures of a limit; `None` when there is no such limit, or nobody of that name has spent anything in it.
    pub fn show(&self, which: &LimitId, wall: Timestamp, now: Instant) -> Option<LimitSnapshot> {
        self.shelves.iter().find_map(|shelf| shelf.show(shelf.holder(which)?, (now, wall)))
    }

    /// The limit that a change is about, for logs and facts.
    pub fn limit_of(&self, what: &BudgetWhat) -> LimitId {
        match what {
            BudgetWhat::Raise { which, .. } | BudgetWhat::Spent { which, .. } => which.clone(),
            BudgetWhat::Reopen => self.first_limit(),
        }
    }
}

#[cfg(feature = "runtime")]
impl actix::Message for BudgetChange {
    type Result = Result<LimitSnapshot, BudgetChangeError>;
}

#[cfg(test)]
mod tests;
