//! The budget of a vendor, in an operator's hands.

use std::sync::Arc;

use actix::Addr;
use mainstay_actors::{
    budget::{BudgetActor, BudgetChange, BudgetChangeError, BudgetWhat, LimitSnapshot},
    credits::Credits,
    ids::ActorId,
    meter::LimitId,
};

use super::{ControlError, find, make};
use crate::{error::UnknownName, gateway::Gateway, handle::Handle};

/// The budget of a vendor, in an operator's hands. A limit is named as a refusal, a fact or the snapshot names it. Every change
/// needs a reason of 1 to 500 bytes, and is a fact ([`BudgetChanged`](mainstay_actors::fact::Fact::BudgetChanged)).
#[derive(Clone)]
pub struct BudgetControl {
    gateway: Arc<Gateway>,
    budget: Addr<BudgetActor>,
    id: ActorId,
}

impl BudgetControl {
    /// So much may be spent until the limit's reset: at least what the configuration says, which takes an earlier raise back,
    /// and at most ten times that.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the limit is unknown, the amount or the reason out of its range, or the budget does not answer.
    pub async fn raise(&self, which: LimitId, to: Credits, reason: &str) -> Result<LimitSnapshot, ControlError> {
        self.change(BudgetWhat::Raise { which, to }, reason).await
    }

    /// So much was really spent in the present period, as the vendor's own account says. What is reserved stays beside it.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the limit is unknown, the amount or the reason out of its range, or the budget does not answer.
    pub async fn set_spent(&self, which: LimitId, spent: Credits, reason: &str) -> Result<LimitSnapshot, ControlError> {
        self.change(BudgetWhat::Spent { which, spent }, reason).await
    }

    /// The account was topped up: the vendor's word that it is used up holds no longer.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the reason is out of its range or the budget does not answer.
    pub async fn reopen(&self, reason: &str) -> Result<LimitSnapshot, ControlError> {
        self.change(BudgetWhat::Reopen, reason).await
    }

    /// Makes a change that is there as data; see [`AdjustBudget`](crate::AdjustBudget).
    ///
    /// # Errors
    ///
    /// As for the other methods.
    pub async fn make(&self, change: BudgetChange) -> Result<LimitSnapshot, ControlError> {
        make(&self.gateway, &self.budget, &self.id, change, |error| *error == BudgetChangeError::Restarting).await
    }

    async fn change(&self, what: BudgetWhat, reason: &str) -> Result<LimitSnapshot, ControlError> {
        self.make(BudgetChange { what, reason: reason.into() }).await
    }
}

impl Handle {
    /// The budget of a vendor: raise a limit until its reset, set what was spent, reopen a topped up account.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] with the known names.
    pub fn budget(&self, vendor: &str) -> Result<BudgetControl, UnknownName> {
        let gateway = &self.core.gateway;
        let (vendor, route) = find(gateway, vendor)?;
        let id = ActorId::new(format!("{vendor}/budget"));
        Ok(BudgetControl { gateway: gateway.clone(), budget: route.controls.budget.clone(), id })
    }
}
