//! From a plan to vaults and doors. The only file that knows the order of the stages.
//!
//! ```text
//!   gateway -> lane -> gate -> breaker of the circuit -> budget -> client
//! ```

mod stages;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainstay_actors::{
    breaker::BreakerSnapshot,
    budget::BudgetSnapshot,
    bulkhead::{Circuits, GateSnapshot, LaneSnapshot},
    clock::{Clock, Rng},
    fact::FactSink,
    idempotency::FoundKey,
    ids::{ActorId, Circuit, LaneId, VendorId},
    kernel::{Child, Door, Hazard, Launch, Published, Resident, Spawn, Vault, Worker},
    profile::{Profile, RetryBudget},
    refusal::Guard,
    store::Store,
    ticket::Ticket,
};
use tokio::sync::Semaphore;

use crate::{
    asking::ASKING_MAX,
    config::{RuntimeConfig, VendorConfig},
    controls::Controls,
    debug::VendorLook,
    error::StartError,
    facts::FactBus,
    guards::GuardsSnapshot,
    placement::Places,
    probe::Prober,
    route::Route,
    supervision::{ChildSpec, Intensity, SupervisorKey, SupervisorSpec, Tree},
};

/// What every actor is wired with.
pub(crate) struct Kit {
    pub(crate) tree: Tree,
    pub(crate) facts: FactBus,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) hazard: Arc<dyn Hazard>,
    pub(crate) tasks: Arc<dyn Spawn>,
    pub(crate) mailbox_max: usize,
    pub(crate) child: ChildSpec,
    pub(crate) intensity: Intensity,
}

impl Kit {
    /// A tree without children, and what stands around it.
    pub(crate) fn new(runtime: &RuntimeConfig, places: &Places) -> Self {
        let facts = FactBus::new(runtime.clock.clone());
        let sink = Arc::new(facts.clone());
        Self {
            tree: Tree::new(sink, runtime.clock.clone(), runtime.rng.clone(), runtime.root),
            facts,
            clock: runtime.clock.clone(),
            rng: runtime.rng.clone(),
            hazard: runtime.hazard.clone(),
            tasks: places.tasks(),
            mailbox_max: runtime.mailbox_max,
            child: runtime.child,
            intensity: runtime.supervisor,
        }
    }

    /// A place in the tree for an actor that is about to be made.
    pub(crate) fn launch(&self, under: SupervisorKey, path: String, worker: &Worker) -> Launch {
        Launch {
            id: ActorId::new(path),
            worker: worker.clone(),
            overseer: self.tree.overseer(under),
            hazard: self.hazard.clone(),
        }
    }

    /// Hands an actor to its supervisor. Adopted in this order, started in this order, stopped in reverse.
    pub(crate) fn adopt<A: Resident>(&self, under: SupervisorKey, vault: &Arc<Vault<A>>) {
        let child: Arc<dyn Child> = vault.clone();
        self.tree.adopt(under, child, self.child);
    }

    /// The same for an actor that the others do without.
    pub(crate) fn adopt_optional<A: Resident>(&self, under: SupervisorKey, vault: &Arc<Vault<A>>) {
        let child: Arc<dyn Child> = vault.clone();
        self.tree.adopt_optional(under, child, self.child);
    }

    fn sink(&self) -> Arc<dyn FactSink> {
        Arc::new(self.facts.clone())
    }
}

/// One vendor's actors, wired.
pub(crate) struct Wired {
    pub(crate) route: Route,
    pub(crate) look: VendorLook,
    pub(crate) prober: Option<Prober>,
}

/// Where keys are kept, and those of one vendor that an earlier process left behind.
pub(crate) struct KeptKeys {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) found: Vec<FoundKey>,
}

/// Wires one vendor, from the last stage to the first.
pub(crate) fn wire_vendor(
    kit: &Kit,
    profile: Profile,
    config: &VendorConfig,
    worker: &Worker,
    keys: KeptKeys,
) -> Result<Wired, StartError> {
    let vendor = profile.vendor.clone();
    let spec = SupervisorSpec { intensity: kit.intensity, ..SupervisorSpec::of_vendor(vendor.clone()) };
    let under = kit.tree.supervisor(spec);
    let wiring =
        Wiring { kit, vendor, under, worker, config, profile: Arc::new(profile), circuits: Published::default() };
    wiring.wire(keys)
}

/// What the chosen guards publish.
pub(crate) struct GuardsLook {
    lanes: Vec<Published<LaneSnapshot>>,
    gate: Option<Published<GateSnapshot>>,
    breaker: Option<Published<BreakerSnapshot>>,
    budget: Option<Published<BudgetSnapshot>>,
}

impl GuardsLook {
    pub(crate) fn snapshot(&self) -> GuardsSnapshot {
        GuardsSnapshot {
            lanes: self.lanes.iter().map(|shown| (*shown.get()).clone()).collect(),
            gate: self.gate.as_ref().map(|shown| (*shown.get()).clone()),
            breaker: self.breaker.as_ref().map(|shown| (*shown.get()).clone()),
            budget: self.budget.as_ref().map(|shown| (*shown.get()).clone()),
        }
    }
}

/// Wires some of the guards, in their order, with `exit` behind the last. Gives the way in, by lane.
pub(crate) fn wire_guards(
    kit: &Kit,
    profile: &Profile,
    config: &VendorConfig,
    worker: &Worker,
    chosen: &BTreeSet<Guard>,
    exit: Door<Ticket>,
) -> (BTreeMap<LaneId, Door<Ticket>>, GuardsLook) {
    let vendor = profile.vendor.clone();
    let under =
        kit.tree.supervisor(SupervisorSpec { intensity: kit.intensity, ..SupervisorSpec::of_vendor(vendor.clone()) });
    let wiring = Wiring {
        kit,
        vendor,
        under,
        worker,
        config,
        profile: Arc::new(profile.clone()),
        circuits: Published::default(),
    };
    let has = |guard| chosen.contains(&guard);
    let mut next = exit;
    let budget = has(Guard::Budget).then(|| wiring.budget(next.clone()));
    next = budget.as_ref().map_or(next, |ends| ends.tickets.clone());
    let breaker = has(Guard::Breaker).then(|| wiring.breaker(&Circuit::default(), next.clone()));
    next = breaker.as_ref().map_or(next, |(_, door)| door.clone());
    let gate = has(Guard::Gate).then(|| wiring.gate([(Circuit::default(), next.clone())].into()));
    next = gate.as_ref().map_or(next, |gate| gate.tickets.clone());
    let lanes = if has(Guard::Lane) { config.lanes.as_slice() } else { &[] };
    let lanes: Vec<_> = lanes.iter().map(|lane| wiring.lane(lane, next.clone())).collect();
    let news = lanes.iter().map(|lane| &lane.news).chain(gate.as_ref().map(|gate| &gate.news));
    wiring.tell_of_the_breakers(news.cloned().collect());
    let look = GuardsLook {
        lanes: lanes.iter().map(|lane| lane.shown.clone()).collect(),
        gate: gate.map(|gate| gate.shown),
        breaker: breaker.map(|(ends, _)| ends.shown),
        budget: budget.map(|ends| ends.shown),
    };
    let mut doors: BTreeMap<_, _> = lanes.into_iter().map(|lane| (lane.name, lane.tickets)).collect();
    if doors.is_empty() {
        doors.insert(LaneId::normal(), next);
    }
    (doors, look)
}

struct Wiring<'a> {
    kit: &'a Kit,
    vendor: VendorId,
    under: SupervisorKey,
    worker: &'a Worker,
    config: &'a VendorConfig,
    profile: Arc<Profile>,
    /// What the breakers said last, for whoever is before them.
    circuits: Published<Circuits>,
}

impl Wiring<'_> {
    fn wire(&self, kept: KeptKeys) -> Result<Wired, StartError> {
        let (client, to_client) = self.client()?;
        let budget = self.budget(to_client);
        let circuits = self.profile.circuits();
        let breaker = |circuit: &Circuit| (circuit.clone(), self.breaker(circuit, budget.tickets.clone()));
        let breakers: BTreeMap<_, _> = circuits.iter().map(breaker).collect();
        let gate = self.gate(breakers.iter().map(|(circuit, (_, door))| (circuit.clone(), door.clone())).collect());
        let lanes: Vec<_> = self.config.lanes.iter().map(|lane| self.lane(lane, gate.tickets.clone())).collect();
        let mut news: Vec<_> = lanes.iter().map(|lane| lane.news.clone()).collect();
        news.push(gate.news);
        self.tell_of_the_breakers(news);
        let controls = Controls {
            lanes: lanes.iter().map(|lane| (lane.name.clone(), lane.address.clone())).collect(),
            gate: gate.address,
            budget: budget.address,
            breakers: breakers.iter().map(|(circuit, (ends, _))| (circuit.clone(), ends.clone())).collect(),
        };
        let (keys, keys_shown) = self.keys(kept);
        let (cache, cache_shown) = self.cache();
        let look = VendorLook {
            supervisor: self.under,
            lanes: lanes.iter().map(|lane| lane.shown.clone()).collect(),
            gate: gate.shown,
            breakers: breakers.values().map(|(ends, _)| ends.shown.clone()).collect(),
            budget: budget.shown,
            client: client.shown.clone(),
            keys: keys_shown,
            fallback: cache_shown,
        };
        let route = Route {
            loops: ActorId::new(format!("{}/attempts", self.vendor)),
            profile: self.profile.clone(),
            lanes: lanes.into_iter().map(|lane| (lane.name, lane.tickets)).collect(),
            questions: gate.tickets,
            asking: Semaphore::new(ASKING_MAX),
            keys: keys.address().clone(),
            key_reports: keys.reports().clone(),
            cache: cache.address().clone(),
            cache_actor: cache.id().clone(),
            remember: cache.door(self.kit.mailbox_max),
            fallback: self.config.fallback.clone(),
            local: self.config.local.clone(),
            supervisor: self.under,
            controls,
            retries: RetryBudget::new(self.profile.retry.budget, self.kit.clock.now()).into(),
        };
        Ok(Wired { route, look, prober: self.prober(client) })
    }
}
