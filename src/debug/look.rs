//! Puts the published parts together.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_actors::{
    breaker::BreakerSnapshot,
    budget::BudgetSnapshot,
    bulkhead::{GateSnapshot, LaneSnapshot},
    client::ClientSnapshot,
    dlq::DlqSnapshot,
    fallback::FallbackSnapshot,
    health::HealthSnapshot,
    idempotency::KeySnapshot,
    ids::VendorId,
    kernel::Published,
};

use super::{Snapshot, VendorSnapshot};
use crate::{gateway::Gateway, store::StoreHandle, supervision::SupervisorKey};

/// What one vendor's actors publish.
#[derive(Clone)]
pub(crate) struct VendorLook {
    pub(crate) supervisor: SupervisorKey,
    pub(crate) lanes: Vec<Published<LaneSnapshot>>,
    pub(crate) gate: Published<GateSnapshot>,
    pub(crate) breakers: Vec<Published<BreakerSnapshot>>,
    pub(crate) budget: Published<BudgetSnapshot>,
    pub(crate) client: Published<ClientSnapshot>,
    pub(crate) keys: Published<KeySnapshot>,
    pub(crate) fallback: Published<FallbackSnapshot>,
}

/// The reader of everything published.
#[derive(Clone)]
pub(crate) struct Look {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) vendors: BTreeMap<VendorId, VendorLook>,
    pub(crate) health: Published<HealthSnapshot>,
    pub(crate) parked: Published<DlqSnapshot>,
    pub(crate) store: StoreHandle,
}

impl Look {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let gateway = &self.gateway;
        let (open_effects, overdue_total) = gateway.effects.counts();
        let vendors = self.vendors.iter().map(|(id, look)| (id.to_string(), self.vendor(id, look))).collect();
        Snapshot {
            at: gateway.clock.wall(),
            version: env!("CARGO_PKG_VERSION"),
            shutting_down: gateway.live.is_closed(),
            health: (*self.health.get()).clone(),
            calls: gateway.tally.total(),
            open_effects,
            overdue_total,
            vendors,
            parked: (*self.parked.get()).clone(),
            store: self.store.status(),
            tree: gateway.tree.status(),
            events: gateway.facts.recent(),
        }
    }

    fn vendor(&self, id: &VendorId, look: &VendorLook) -> VendorSnapshot {
        let retries = self.gateway.routes.get(id).map(|route| route.retries.lock().snapshot(self.gateway.clock.now()));
        VendorSnapshot {
            down: self.gateway.tree.down_cause(look.supervisor).map(|cause| cause.to_string()),
            calls: self.gateway.tally.of(id),
            lanes: look.lanes.iter().map(|lane| (*lane.get()).clone()).collect(),
            gate: (*look.gate.get()).clone(),
            breakers: look.breakers.iter().map(|breaker| (*breaker.get()).clone()).collect(),
            budget: (*look.budget.get()).clone(),
            client: (*look.client.get()).clone(),
            retries: retries.unwrap_or_default(),
            keys: (*look.keys.get()).clone(),
            fallback: (*look.fallback.get()).clone(),
        }
    }
}
