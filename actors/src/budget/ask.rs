//! What a call asks of the budget.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    call::AcceptedCall,
    credits::Credits,
    ids::{MeterId, TargetId},
    outcome::Class,
    profile::{Charge, CostRule, Operation},
};

use super::CRITICAL_LANE;

/// What a call asks of the budget.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ask {
    /// What it may cost, by meter, the main one first. Empty: it is free, and touches no limit.
    pub amounts: Vec<(MeterId, Credits)>,
    /// Whose call it is.
    pub tenant: Option<Arc<str>>,
    /// Where it goes.
    pub target: Option<TargetId>,
    /// Whether it may use the share that is kept for the critical lane.
    pub critical: bool,
    /// What is charged for ends that are no success, where that is not nothing.
    pub charges: BTreeMap<Class, Charge>,
}

impl Ask {
    /// What a call asks, by its operation. One that is free for sure (no estimate, [`CostRule::Free`], no other meter) asks for
    /// nothing, so that a question to the vendor's health is not refused for want of money.
    pub fn of(call: &AcceptedCall, operation: Option<&Operation>, main: &MeterId) -> Self {
        let others = operation.map(|operation| &operation.also).into_iter().flatten();
        let mut amounts = vec![(main.clone(), call.estimate)];
        amounts.extend(others.map(|(meter, amount)| (meter.clone(), *amount)));
        let free = operation.is_some_and(|operation| operation.cost == CostRule::Free);
        if free && amounts.iter().all(|(_, amount)| *amount == Credits::ZERO) {
            amounts.clear();
        }
        Self {
            amounts,
            tenant: call.tenant.clone(),
            target: call.target.clone(),
            critical: call.lane.as_str() == CRITICAL_LANE,
            charges: operation.map(|operation| operation.charge.clone()).unwrap_or_default(),
        }
    }
}
