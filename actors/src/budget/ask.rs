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
    /// What a call asks, by its operation: nothing of a meter that only an answer or an end may name. One that is free for
    /// sure (no estimate, [`CostRule::Free`], no other meter, no charge) touches no limit, so that a question to the vendor's
    /// health is not refused for want of money.
    pub fn of(call: &AcceptedCall, operation: Option<&Operation>, main: &MeterId) -> Self {
        let mut others = BTreeMap::new();
        let mut free = false;
        if let Some(Operation { also, also_cost, end, cost, charge, .. }) = operation {
            others.extend(also_cost.keys().chain(end.also.keys()).map(|meter| (meter.clone(), Credits::ZERO)));
            free = *cost == CostRule::Free && others.is_empty() && end.cost.is_none() && charge.is_empty();
            others.extend(also.clone());
        }
        let mut amounts = vec![(main.clone(), call.estimate)];
        amounts.extend(others);
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::{
        ids::{CallId, OperationId, VendorId},
        profile::{Amount, EndRules, Method},
    };

    fn amounts_of(operation: &Operation) -> Vec<(String, Credits)> {
        let (id, vendor) = (CallId(Uuid::nil()), VendorId::new("look").unwrap());
        let call = AcceptedCall::new(id, vendor, OperationId::new("look").unwrap(), Value::Null, Timestamp::UNIX_EPOCH);
        let ask = Ask::of(&call, Some(operation), &MeterId::default());
        ask.amounts.into_iter().map(|(meter, amount)| (meter.to_string(), amount)).collect()
    }

    #[test]
    fn what_is_free_whatever_its_end_asks_for_nothing() {
        assert_eq!(amounts_of(&Operation::harmless(Method::Get, "/ping")), []);
    }

    #[test]
    fn a_meter_that_only_an_end_names_is_touched_with_nothing_reserved() {
        let free = Operation::harmless(Method::Get, "/look");
        let rows = || [(MeterId::new("rows").unwrap(), Amount::at("/rows"))].into();
        let zero = |name: &str| (name.to_owned(), Credits::ZERO);
        let charged = [(Class::CallerError, Charge::Fixed(Credits::whole(1)))].into();
        assert_eq!(amounts_of(&Operation { charge: charged, ..free.clone() }), [zero("credits")]);
        assert_eq!(amounts_of(&Operation { also_cost: rows(), ..free.clone() }), [zero("credits"), zero("rows")]);
        let end = EndRules { also: rows(), ..EndRules::default() };
        assert_eq!(amounts_of(&Operation { end, also_cost: rows(), ..free.clone() }), [zero("credits"), zero("rows")]);
        let end = EndRules { cost: Some(Amount::at("/cost")), ..EndRules::default() };
        assert_eq!(amounts_of(&Operation { end, ..free }), [zero("credits")]);
    }
}
