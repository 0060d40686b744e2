//! One function a stage: its state, its actor, its place in the tree, and the door to it. Which stage is behind it is not
//! known here.

use std::{collections::BTreeMap, sync::Arc};

use actix::Addr;
use mainstay_actors::{
    breaker::{Breaker, BreakerActor, BreakerParts, BreakerSnapshot},
    budget::{BudgetActor, BudgetParts, BudgetSnapshot, Ledger},
    bulkhead::{
        BreakerNews, BulkheadActor, CircuitsChanged, Gate, GateParts, GateSnapshot, Lane, LaneConfig, LaneParts,
        LaneSnapshot, VendorGateActor,
    },
    client::{Client, ClientActor, ClientParts, Function, HttpTransport, Transport},
    clock::Clock,
    fact::{BreakerState, Fact},
    fallback::{Cache, FallbackActor, FallbackParts, FallbackSnapshot},
    idempotency::{IdempotencyActor, KeyParts, KeySnapshot},
    ids::{Circuit, LaneId, OperationId, VendorId},
    kernel::{Child, Door, Incarnation, Published, Resident, Vault},
    ticket::Ticket,
};

use super::{KeptKeys, Wiring};
use crate::{answer::Shared, controls::BreakerEnds, error::StartError, probe::Prober};

impl Wiring<'_> {
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

    pub(super) fn client(&self) -> Result<(ClientParts, Door<Ticket>), StartError> {
        let transport: Arc<dyn Transport> = match &self.config.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(HttpTransport::new(&self.config.client).map_err(StartError::Http)?),
        };
        let parts = ClientParts {
            profile: self.profile.clone(),
            transport,
            functions: Arc::new(self.functions()),
            spawner: self.kit.tasks.clone(),
            facts: self.kit.sink(),
            clock: self.kit.clock.clone(),
            shown: Published::default(),
        };
        let of_each = parts.clone();
        let vault = self.vault("client", Client::default(), move |inc| ClientActor::new(inc, of_each.clone()));
        Ok((parts, vault.door(self.kit.mailbox_max)))
    }

    /// Whoever asks whether the vendor is there. Checked by the plan: it names an operation.
    pub(super) fn prober(&self, client: ClientParts) -> Option<Prober> {
        let config = self.config.probe.clone()?;
        let operation = OperationId::new(&config.operation).ok()?;
        Some(Prober { client, operation, config })
    }

    /// Checked by the plan: each names an operation.
    fn functions(&self) -> BTreeMap<OperationId, Function> {
        let of = |(name, function): (&String, &Function)| Some((OperationId::new(name).ok()?, function.clone()));
        self.config.functions.iter().filter_map(of).collect()
    }

    pub(super) fn budget(&self, next: Door<Ticket>) -> BudgetEnds {
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
        BudgetEnds { tickets: vault.door(self.kit.mailbox_max), address: vault.address().clone(), shown }
    }

    pub(super) fn breaker(&self, circuit: &Circuit, next: Door<Ticket>) -> (BreakerEnds, Door<Ticket>) {
        let clock = self.kit.clock.clone();
        let of_group = circuit.group.as_ref().and_then(|group| self.config.group_breakers.get(group.as_str()));
        let config = of_group.unwrap_or(&self.config.breaker).clone();
        let breaker = Breaker::new(config, clock.now());
        let first = BreakerSnapshot::of(&self.vendor, circuit, &breaker, clock.now(), |at| clock.wall_of(at));
        let shown = Published::new(first);
        let parts = BreakerParts {
            vendor: self.vendor.clone(),
            circuit: circuit.clone(),
            next,
            facts: self.kit.sink(),
            clock,
            rng: self.kit.rng.clone(),
            shown: shown.clone(),
        };
        let name = if *circuit == Circuit::default() { "breaker".to_owned() } else { format!("breaker/{circuit}") };
        let vault = self.vault(&name, breaker, move |inc| BreakerActor::new(inc, parts.clone()));
        let ends = BreakerEnds { id: vault.id().clone(), address: vault.address().clone(), shown };
        (ends, vault.door(self.kit.mailbox_max))
    }

    pub(super) fn gate(&self, next: BTreeMap<Circuit, Door<Ticket>>) -> GateEnds {
        let gate = Gate::new(self.config.gate.clone(), &self.config.lanes);
        let shown = Published::new(gate.snapshot(&self.vendor, self.kit.clock.now(), &self.circuits.get()));
        let parts = GateParts {
            vendor: self.vendor.clone(),
            next,
            circuits: self.circuits.clone(),
            facts: self.kit.sink(),
            clock: self.kit.clock.clone(),
            shown: shown.clone(),
        };
        let vault = self.vault("gate", gate, move |inc| VendorGateActor::new(inc, parts.clone()));
        let limit = self.kit.mailbox_max;
        GateEnds { tickets: vault.door(limit), news: vault.door(limit), address: vault.address().clone(), shown }
    }

    pub(super) fn lane(&self, config: &LaneConfig, next: Door<Ticket>) -> LaneEnds {
        let lane = Lane::new(config.clone());
        let shown = Published::new(lane.snapshot(&self.vendor, self.kit.clock.now(), &self.circuits.get()));
        let parts = LaneParts {
            vendor: self.vendor.clone(),
            next,
            circuits: self.circuits.clone(),
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

    pub(super) fn keys(&self, kept: KeptKeys) -> (Arc<Vault<IdempotencyActor<Shared>>>, Published<KeySnapshot>) {
        let config = self.config.keys.clone();
        let shown = Published::new(KeySnapshot::empty(self.vendor.clone(), &config));
        let (KeptKeys { store, found }, clock) = (kept, self.kit.clock.clone());
        let parts = KeyParts { vendor: self.vendor.clone(), store, clock, shown: shown.clone() };
        let table = IdempotencyActor::table(config, found, &parts);
        let vault = self.vault("keys", table, move |inc| IdempotencyActor::new(inc, parts.clone()));
        (vault, shown)
    }

    pub(super) fn cache(&self) -> (Arc<Vault<FallbackActor>>, Published<FallbackSnapshot>) {
        let shown = Published::new(FallbackSnapshot::empty(self.vendor.clone()));
        let clock = self.kit.clock.clone();
        let parts = FallbackParts { vendor: self.vendor.clone(), clock, shown: shown.clone() };
        let cache = Cache::new(self.config.fallback.cache.clone());
        let launch = self.kit.launch(self.under, format!("{}/fallback", self.vendor), self.worker);
        let vault = Vault::new(launch, cache, move |inc| FallbackActor::new(inc, parts.clone()));
        // A broken cache takes nobody down: its vendor serves on without it.
        self.kit.adopt_optional(self.under, &vault);
        (vault, shown)
    }

    /// While a breaker is open, whoever waits for it in a lane or at the gate comes out at once.
    pub(super) fn tell_of_the_breakers(&self, doors: Vec<Door<CircuitsChanged>>) {
        let (vendor, clock, circuits) = (self.vendor.clone(), self.kit.clock.clone(), self.circuits.clone());
        self.kit.facts.listen(move |event| {
            let Some(news) = news_of(&event.fact, &vendor, &clock) else { return };
            // Facts come one at a time: nobody else replaces the value between these lines.
            let mut said = (*circuits.get()).clone();
            said.hear(news);
            circuits.set(said);
            for door in &doors {
                // A full mailbox needs no waking.
                let _ = door.pass(CircuitsChanged);
            }
        });
    }
}

pub(super) struct BudgetEnds {
    pub(super) tickets: Door<Ticket>,
    pub(super) address: Addr<BudgetActor>,
    pub(super) shown: Published<BudgetSnapshot>,
}

pub(super) struct GateEnds {
    pub(super) tickets: Door<Ticket>,
    pub(super) news: Door<CircuitsChanged>,
    pub(super) address: Addr<VendorGateActor>,
    pub(super) shown: Published<GateSnapshot>,
}

pub(super) struct LaneEnds {
    pub(super) name: LaneId,
    pub(super) tickets: Door<Ticket>,
    pub(super) news: Door<CircuitsChanged>,
    pub(super) address: Addr<BulkheadActor>,
    pub(super) shown: Published<LaneSnapshot>,
}

fn news_of(fact: &Fact, of: &VendorId, clock: &Clock) -> Option<BreakerNews> {
    let Fact::BreakerChanged { vendor, circuit, to, generation, cause, retry_at, .. } = fact else { return None };
    if vendor != of {
        return None;
    }
    let closed_until = retry_at.filter(|_| *to == BreakerState::Open).map(|at| clock.instant_of(at));
    Some(BreakerNews { circuit: circuit.clone(), generation: *generation, closed_until, cause: cause.clone() })
}
