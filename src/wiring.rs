//! From a plan to vaults and doors. The only file that knows the order of the stages.
//!
//! ```text
//!   gateway -> lane -> gate -> breaker -> budget -> client
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::Addr;
use mainstay_actors::{
    breaker::{Breaker, BreakerActor, BreakerParts, BreakerSnapshot},
    budget::{BudgetActor, BudgetParts, BudgetSnapshot, Ledger},
    bulkhead::{
        BreakerNews, BulkheadActor, Gate, GateParts, GateSnapshot, Lane, LaneConfig, LaneParts, LaneSnapshot,
        VendorGateActor,
    },
    client::{Client, ClientActor, ClientParts, ClientSnapshot, Function, HttpTransport, Transport},
    clock::{Clock, Rng},
    fact::{BreakerState, Fact, FactSink},
    fallback::{Cache, FallbackActor, FallbackParts, FallbackSnapshot},
    idempotency::{FoundKey, IdempotencyActor, KeyParts, KeySnapshot},
    ids::{ActorId, LaneId, OperationId, VendorId},
    kernel::{Child, Door, Hazard, Incarnation, Launch, Published, Resident, Spawn, Vault, Worker},
    profile::Profile,
    refusal::Guard,
    store::Store,
    ticket::Ticket,
};

use crate::{
    answer::Shared,
    config::{RuntimeConfig, VendorConfig},
    controls::{BreakerEnds, Controls},
    debug::VendorLook,
    error::StartError,
    facts::FactBus,
    guards::GuardsSnapshot,
    placement::Places,
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

    fn sink(&self) -> Arc<dyn FactSink> {
        Arc::new(self.facts.clone())
    }
}

/// One vendor's actors, wired.
pub(crate) struct Wired {
    pub(crate) route: Route,
    pub(crate) look: VendorLook,
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
    let wiring = Wiring { kit, vendor, under, worker, config, profile: Arc::new(profile) };
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
    let wiring = Wiring { kit, vendor, under, worker, config, profile: Arc::new(profile.clone()) };
    let has = |guard| chosen.contains(&guard);
    let mut next = exit;
    let budget = has(Guard::Budget).then(|| wiring.budget(next.clone()));
    next = budget.as_ref().map_or(next, |(_, door)| door.clone());
    let breaker = has(Guard::Breaker).then(|| wiring.breaker(next.clone()));
    next = breaker.as_ref().map_or(next, |(_, door)| door.clone());
    let gate = has(Guard::Gate).then(|| wiring.gate(next.clone()));
    next = gate.as_ref().map_or(next, |gate| gate.tickets.clone());
    let lanes = if has(Guard::Lane) { config.lanes.as_slice() } else { &[] };
    let lanes: Vec<_> = lanes.iter().map(|lane| wiring.lane(lane, next.clone())).collect();
    let news = lanes.iter().map(|lane| &lane.news).chain(gate.as_ref().map(|gate| &gate.news));
    wiring.tell_of_the_breaker(news.cloned().collect());
    let look = GuardsLook {
        lanes: lanes.iter().map(|lane| lane.shown.clone()).collect(),
        gate: gate.map(|gate| gate.shown),
        breaker: breaker.map(|(ends, _)| ends.shown),
        budget: budget.map(|(shown, _)| shown),
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
}

impl Wiring<'_> {
    fn wire(&self, kept: KeptKeys) -> Result<Wired, StartError> {
        let (client, to_client) = self.client()?;
        let (budget, to_budget) = self.budget(to_client);
        let (breaker, to_breaker) = self.breaker(to_budget);
        let gate = self.gate(to_breaker);
        let lanes: Vec<_> = self.config.lanes.iter().map(|lane| self.lane(lane, gate.tickets.clone())).collect();
        let mut news: Vec<_> = lanes.iter().map(|lane| lane.news.clone()).collect();
        news.push(gate.news);
        self.tell_of_the_breaker(news);
        let controls = Controls {
            lanes: lanes.iter().map(|lane| (lane.name.clone(), lane.address.clone())).collect(),
            gate: gate.address,
            breaker: breaker.clone(),
        };
        let (keys, keys_shown) = self.keys(kept);
        let (cache, cache_shown) = self.cache();
        let look = VendorLook {
            supervisor: self.under,
            lanes: lanes.iter().map(|lane| lane.shown.clone()).collect(),
            gate: gate.shown,
            breaker: breaker.shown,
            budget,
            client,
            keys: keys_shown,
            fallback: cache_shown,
        };
        let route = Route {
            loops: ActorId::new(format!("{}/attempts", self.vendor)),
            profile: self.profile.clone(),
            lanes: lanes.into_iter().map(|lane| (lane.name, lane.tickets)).collect(),
            keys: keys.address().clone(),
            key_reports: keys.reports().clone(),
            cache: cache.address().clone(),
            remember: cache.door(self.kit.mailbox_max),
            fallback: self.config.fallback.clone(),
            local: self.config.local.clone(),
            supervisor: self.under,
            controls,
        };
        Ok(Wired { route, look })
    }

    fn vault<A: Resident>(
        &self,
        name: &str,
        state: A::State,
        factory: impl Fn(Incarnation<A>) -> A + Send + Sync + 'static,
    ) -> Arc<Vault<A>> {
        let launch = self.kit.launch(self.under, format!("{}/{name}", self.vendor), self.worker);
        let vault = Vault::new(launch, state, factory);
        self.kit.adopt(self.under, &vault);
        vault
    }

    fn client(&self) -> Result<(Published<ClientSnapshot>, Door<Ticket>), StartError> {
        let transport: Arc<dyn Transport> = match &self.config.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(HttpTransport::new(&self.config.client).map_err(StartError::Http)?),
        };
        let shown = Published::<ClientSnapshot>::default();
        let parts = ClientParts {
            profile: self.profile.clone(),
            transport,
            functions: Arc::new(self.functions()),
            spawner: self.kit.tasks.clone(),
            facts: self.kit.sink(),
            clock: self.kit.clock.clone(),
            shown: shown.clone(),
        };
        let vault = self.vault("client", Client::default(), move |inc| ClientActor::new(inc, parts.clone()));
        Ok((shown, vault.door(self.kit.mailbox_max)))
    }

    /// Checked by the plan: each names an operation.
    fn functions(&self) -> BTreeMap<OperationId, Function> {
        let of = |(name, function): (&String, &Function)| Some((OperationId::new(name).ok()?, function.clone()));
        self.config.functions.iter().filter_map(of).collect()
    }

    fn budget(&self, next: Door<Ticket>) -> (Published<BudgetSnapshot>, Door<Ticket>) {
        let (now, wall) = (self.kit.clock.now(), self.kit.clock.wall());
        let ledger = Ledger::new(&self.config.budget, wall, now);
        let shown = Published::new(ledger.snapshot(&self.vendor, wall, now));
        let parts = BudgetParts {
            vendor: self.vendor.clone(),
            profile: self.profile.clone(),
            next,
            facts: self.kit.sink(),
            clock: self.kit.clock.clone(),
            shown: shown.clone(),
        };
        let vault = self.vault("budget", ledger, move |inc| BudgetActor::new(inc, parts.clone()));
        (shown, vault.door(self.kit.mailbox_max))
    }

    fn breaker(&self, next: Door<Ticket>) -> (BreakerEnds, Door<Ticket>) {
        let clock = self.kit.clock.clone();
        let breaker = Breaker::new(self.config.breaker.clone(), clock.now());
        let first = BreakerSnapshot::of(&self.vendor, &breaker, clock.now(), |at| clock.wall_of(at));
        let shown = Published::new(first);
        let parts = BreakerParts {
            vendor: self.vendor.clone(),
            next,
            facts: self.kit.sink(),
            clock,
            rng: self.kit.rng.clone(),
            shown: shown.clone(),
        };
        let vault = self.vault("breaker", breaker, move |inc| BreakerActor::new(inc, parts.clone()));
        let ends = BreakerEnds { address: vault.address().clone(), shown };
        (ends, vault.door(self.kit.mailbox_max))
    }

    fn gate(&self, next: Door<Ticket>) -> GateEnds {
        let gate = Gate::new(self.config.gate.clone(), &self.config.lanes);
        let shown = Published::new(gate.snapshot(&self.vendor, self.kit.clock.now()));
        let parts = GateParts {
            vendor: self.vendor.clone(),
            next,
            facts: self.kit.sink(),
            clock: self.kit.clock.clone(),
            shown: shown.clone(),
        };
        let vault = self.vault("gate", gate, move |inc| VendorGateActor::new(inc, parts.clone()));
        let limit = self.kit.mailbox_max;
        GateEnds { tickets: vault.door(limit), news: vault.door(limit), address: vault.address().clone(), shown }
    }

    fn lane(&self, config: &LaneConfig, next: Door<Ticket>) -> LaneEnds {
        let lane = Lane::new(config.clone());
        let shown = Published::new(lane.snapshot(&self.vendor, self.kit.clock.now()));
        let parts = LaneParts {
            vendor: self.vendor.clone(),
            next,
            facts: self.kit.sink(),
            clock: self.kit.clock.clone(),
            shown: shown.clone(),
        };
        let name = format!("lane/{}", config.name);
        let vault = self.vault(&name, lane, move |inc| BulkheadActor::new(inc, parts.clone()));
        let limit = self.kit.mailbox_max;
        LaneEnds {
            name: config.name.clone(),
            tickets: vault.door(limit),
            news: vault.door(limit),
            address: vault.address().clone(),
            shown,
        }
    }

    fn keys(&self, kept: KeptKeys) -> (Arc<Vault<IdempotencyActor<Shared>>>, Published<KeySnapshot>) {
        let config = self.config.keys.clone();
        let shown = Published::new(KeySnapshot::empty(self.vendor.clone(), &config));
        let (KeptKeys { store, found }, clock) = (kept, self.kit.clock.clone());
        let parts = KeyParts { vendor: self.vendor.clone(), store, clock, shown: shown.clone() };
        let table = IdempotencyActor::table(config, found, &parts);
        let vault = self.vault("keys", table, move |inc| IdempotencyActor::new(inc, parts.clone()));
        (vault, shown)
    }

    fn cache(&self) -> (Arc<Vault<FallbackActor>>, Published<FallbackSnapshot>) {
        let shown = Published::new(FallbackSnapshot::empty(self.vendor.clone()));
        let clock = self.kit.clock.clone();
        let parts = FallbackParts { vendor: self.vendor.clone(), clock, shown: shown.clone() };
        let cache = Cache::new(self.config.fallback.cache.clone());
        let vault = self.vault("fallback", cache, move |inc| FallbackActor::new(inc, parts.clone()));
        (vault, shown)
    }

    /// While the breaker is open, whoever waits in a lane or at the gate comes out at once.
    fn tell_of_the_breaker(&self, doors: Vec<Door<BreakerNews>>) {
        let (vendor, clock) = (self.vendor.clone(), self.kit.clock.clone());
        self.kit.facts.listen(move |event| {
            let Some(news) = news_of(&event.fact, &vendor, &clock) else { return };
            for door in &doors {
                // News that find no room are dropped: the breaker itself refuses those who come to it.
                let _ = door.pass(news.clone());
            }
        });
    }
}

struct GateEnds {
    tickets: Door<Ticket>,
    news: Door<BreakerNews>,
    address: Addr<VendorGateActor>,
    shown: Published<GateSnapshot>,
}

struct LaneEnds {
    name: LaneId,
    tickets: Door<Ticket>,
    news: Door<BreakerNews>,
    address: Addr<BulkheadActor>,
    shown: Published<LaneSnapshot>,
}

fn news_of(fact: &Fact, of: &VendorId, clock: &Clock) -> Option<BreakerNews> {
    let Fact::BreakerChanged { vendor, to, cause, retry_at, .. } = fact else { return None };
    if vendor != of {
        return None;
    }
    let closed_until = retry_at.filter(|_| *to == BreakerState::Open).map(|at| clock.instant_of(at));
    Some(BreakerNews { closed_until, cause: cause.clone() })
}
