//! A running runtime: started from a plan, stopped in order.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Duration,
};

use actix::Addr;
use mainstay_actors::{
    dlq::{Dlq, DlqActor, DlqParts, DlqSnapshot, Kind},
    fact::{Event, Fact, FactSink as _, LetterCounts},
    health::{Health, HealthActor, HealthParts, HealthSnapshot, LettersFound},
    idempotency::FoundKey,
    ids::{ActorId, VendorId},
    kernel::{Door, Published, Vault, Worker},
    store::Store,
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use crate::{
    alerts,
    api::{ApiActor, Home},
    builder::Builder,
    completions::DLQ,
    debug::{DebugActor, Look, VendorLook},
    effects::OpenEffects,
    error::StartError,
    gateway::Gateway,
    handle::Handle,
    intake,
    journal::Journal,
    letters::state_of,
    live::LiveCalls,
    opening::Opened,
    placement::Places,
    plan::Plan,
    probe::Prober,
    redrive, restore,
    route::Route,
    store::StoreHandle,
    supervision::{SupervisorKey, SupervisorSpec, Tree, Watchdog},
    tally::{Counts, Tally},
    wiring::{KeptKeys, Kit, wire_vendor},
};

/// How long, after the deadline of a shutdown, calls that were told to end get for writing themselves down.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A running runtime. Dropping it stops nothing while a [`Handle`] lives; end it with [`Runtime::shutdown`].
pub struct Runtime {
    core: Arc<Core>,
}

/// What a shutdown left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ShutdownReport {
    /// True when no call was under way at the deadline.
    pub drained: bool,
    /// Calls that were on the wire to the very end. They are parked as unknown.
    pub still_under_way: usize,
    /// What became of every call.
    pub calls: Counts,
}

/// Everything a handle reaches.
pub(crate) struct Core {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) look: Look,
    pub(crate) api: Addr<ApiActor>,
    pub(crate) debug: Addr<DebugActor>,
    store: StoreHandle,
    tree: Tree,
    held: Mutex<Option<Held>>,
    #[cfg(feature = "debug-http")]
    http: Option<crate::debug::DebugHttp>,
}

/// What lives as long as the runtime runs.
struct Held {
    _watchdog: Option<Watchdog>,
    places: Places,
    store_thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Begins a configuration.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A way in: cheap to clone, usable from anywhere.
    pub fn handle(&self) -> Handle {
        Handle { core: self.core.clone() }
    }

    /// See [`Handle::shutdown`].
    pub async fn shutdown(self, deadline: Duration) -> ShutdownReport {
        self.core.shutdown(deadline).await
    }

    pub(crate) async fn start(plan: Plan) -> Result<Self, StartError> {
        let places = Places::open(plan.runtime.placement)?;
        let Opened { store, thread, parked, keys, restored } = Opened::open(&plan).await?;
        let left = restore::LeftKeys::new(&keys, &parked);
        let any = !parked.is_empty() || left.has_interrupted();
        let next = parked.next();
        let starting = Starting::new(&plan, places, store, thread);
        let (core, wake) = starting.assemble(parked, keys)?;
        restored.into_iter().for_each(|restored| core.gateway.facts.state(restored));
        if any {
            restore::restore(&core.gateway, left).await?;
        }
        for vendor in core.gateway.tally.vendors_under_way() {
            core.begin(intake::take_up(core.gateway.clone(), vendor, next));
        }
        core.begin(redrive::redrive_for_ever(core.gateway.clone(), plan.runtime.redrive.clone(), wake));
        Ok(Self { core })
    }
}

/// The way into each vendor, the way to see it, and who asks whether it is there.
type Vendors = (BTreeMap<VendorId, Route>, BTreeMap<VendorId, VendorLook>, Vec<Prober>);

/// A runtime in the making.
struct Starting<'a> {
    plan: &'a Plan,
    kit: Kit,
    places: Places,
    store: StoreHandle,
    store_thread: Option<JoinHandle<()>>,
    own: SupervisorKey,
    home: Home,
}

impl<'a> Starting<'a> {
    fn new(plan: &'a Plan, places: Places, store: StoreHandle, store_thread: Option<JoinHandle<()>>) -> Self {
        let runtime = &plan.runtime;
        let kit = Kit::new(runtime, &places);
        let facts = kit.facts.clone();
        store.tell(move |state, detail| facts.state(Fact::StoreChanged { state, detail }));
        let own =
            SupervisorSpec { intensity: runtime.supervisor, ..SupervisorSpec::of_runtime(ActorId::new("runtime")) };
        let own = kit.tree.supervisor(own);
        Self { plan, kit, places, store, store_thread, own, home: Arc::new(OnceLock::new()) }
    }

    fn assemble(self, parked: Dlq, keys: Vec<FoundKey>) -> Result<(Arc<Core>, Arc<Notify>), StartError> {
        let worker = self.places.own();
        let inherited = restore::inherited(&parked, self.plan.vendors.keys());
        let accepted = parked.accepted();
        let (dlq, parked_shown, wake) = self.dlq(parked, &worker);
        let effects = Arc::new(OpenEffects::new(self.kit.clock.clone(), self.kit.facts.clone()));
        let (health, letters_to_health) = self.health(&worker, effects.clone());
        let (routes, looks, probers) = self.vendors(keys)?;
        let api = self.api(&worker);
        let debug = self.debug(&worker);
        let runtime = &self.plan.runtime;
        let (clock, facts) = (runtime.clock.clone(), self.kit.facts.clone());
        let gateway = Arc::new(Gateway {
            routes,
            dlq,
            live: LiveCalls::new(clock.clone(), runtime.live_max),
            effects: effects.clone(),
            tally: Tally::default(),
            facts,
            clock,
            rng: runtime.rng.clone(),
            tree: self.kit.tree.clone(),
            tasks: self.places.tasks(),
            hazard: runtime.hazard.clone(),
            guardrails: runtime.guardrails.clone(),
            journal: Journal::of(&self.kit.facts, runtime.clock.clone()),
        });
        for (vendor, number) in accepted {
            gateway.tally.taken_up(&vendor, number);
        }
        for (vendor, letters) in inherited {
            let LetterCounts { dead, later, unknown, .. } = letters;
            for (kind, number) in [(Kind::Dead, dead), (Kind::Later, later), (Kind::Unknown, unknown)] {
                gateway.tally.inherited(&vendor, state_of(kind), number);
            }
            // Health learns of letters by facts; of those found on disk there are none.
            let _ = letters_to_health.pass(LettersFound { vendor, letters });
        }
        let store = self.store.clone();
        let look = Look { gateway: gateway.clone(), vendors: looks, health, parked: parked_shown, store };
        let core = self.run(gateway, look, api, debug)?;
        core.begin(async move { effects.sweep().await });
        let of_journal = core.gateway.clone();
        core.begin(async move { of_journal.journal.sum_up().await });
        probers.into_iter().for_each(|prober| core.begin(prober.ask_for_ever()));
        Ok((core, wake))
    }

    fn dlq(&self, state: Dlq, worker: &Worker) -> (Addr<DlqActor>, Published<DlqSnapshot>, Arc<Notify>) {
        let (shown, wake) = (Published::new(state.snapshot(self.kit.clock.now())), Arc::new(Notify::new()));
        let parts = DlqParts {
            store: Arc::new(self.store.clone()) as Arc<dyn Store>,
            config: self.plan.runtime.dlq.clone(),
            letters: Arc::new(
                self.plan.vendors.iter().map(|(id, (_, config))| (id.clone(), config.letters.clone())).collect(),
            ),
            facts: Arc::new(self.kit.facts.clone()),
            clock: self.kit.clock.clone(),
            rng: self.kit.rng.clone(),
            shown: shown.clone(),
            wake: wake.clone(),
        };
        let launch = self.kit.launch(self.own, DLQ.into(), worker);
        let vault = Vault::new(launch, state, move |inc| DlqActor::new(inc, parts.clone()));
        self.kit.adopt(self.own, &vault);
        (vault.address().clone(), shown, wake)
    }

    fn health(&self, worker: &Worker, effects: Arc<OpenEffects>) -> (Published<HealthSnapshot>, Door<LettersFound>) {
        let shown = Published::<HealthSnapshot>::default();
        let vendors: Vec<VendorId> = self.plan.vendors.keys().cloned().collect();
        let state = Health::new(self.plan.runtime.health.clone(), vendors, self.kit.clock.now());
        let callbacks = Arc::new(move |vendor: &VendorId| effects.callbacks(vendor));
        let parts = HealthParts { clock: self.kit.clock.clone(), callbacks, shown: shown.clone() };
        let launch = self.kit.launch(self.own, "runtime/health".into(), worker);
        let vault = Vault::new(launch, state, move |inc| HealthActor::new(inc, parts.clone()));
        self.kit.adopt(self.own, &vault);
        let door: Door<Event> = vault.door(self.kit.mailbox_max);
        self.kit.facts.listen(move |event| {
            // A full mailbox loses a fact, and health sees the gap in `seq`.
            let _ = door.pass(event.clone());
        });
        (shown, vault.door(self.kit.mailbox_max))
    }

    fn vendors(&self, keys: Vec<FoundKey>) -> Result<Vendors, StartError> {
        let mut keys = restore::by_vendor(keys);
        let (mut routes, mut looks, mut probers) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (n, (id, (profile, config))) in self.plan.vendors.iter().enumerate() {
            let found = keys.remove(id).unwrap_or_default();
            let keys = KeptKeys { store: Arc::new(self.store.clone()), found };
            let wired = wire_vendor(&self.kit, profile.clone(), config, &self.places.vendor(n), keys)?;
            routes.insert(id.clone(), wired.route);
            looks.insert(id.clone(), wired.look);
            probers.extend(wired.prober);
        }
        Ok((routes, looks, probers))
    }

    fn api(&self, worker: &Worker) -> Addr<ApiActor> {
        let home = self.home.clone();
        let launch = self.kit.launch(self.own, "runtime/api".into(), worker);
        let vault = Vault::new(launch, (), move |inc| ApiActor::new(inc, home.clone()));
        self.kit.adopt(self.own, &vault);
        vault.address().clone()
    }

    fn debug(&self, worker: &Worker) -> Addr<DebugActor> {
        let home = self.home.clone();
        let launch = self.kit.launch(self.own, "runtime/debug".into(), worker);
        let vault = Vault::new(launch, (), move |inc| DebugActor::new(inc, home.clone()));
        self.kit.adopt(self.own, &vault);
        vault.address().clone()
    }

    fn run(
        self,
        gateway: Arc<Gateway>,
        look: Look,
        api: Addr<ApiActor>,
        debug: Addr<DebugActor>,
    ) -> Result<Arc<Core>, StartError> {
        let runtime = &self.plan.runtime;
        let tree = self.kit.tree.clone();
        let on_fatal = runtime.on_fatal.clone();
        tree.on_fatal(Box::new(move |cause| match &on_fatal {
            Some(hear) => hear(cause),
            None => tracing::error!(target: "mainstay::supervision", %cause, "the runtime cannot go on"),
        }));
        #[cfg(feature = "debug-http")]
        let http = runtime.debug_http.map(|at| crate::debug::DebugHttp::open(at, look.clone())).transpose()?;
        let watched = self.places.watched();
        let watchdog = match watched.is_empty() {
            true => None,
            false => Some(Watchdog::start(tree.clone(), watched, runtime.watchdog.clone())?),
        };
        alerts::start(&gateway, runtime.alerts.clone())?;
        tree.launch_all();
        let held = Held { _watchdog: watchdog, places: self.places, store_thread: self.store_thread };
        let core = Arc::new(Core {
            gateway,
            look,
            api,
            debug,
            store: self.store,
            tree,
            held: Mutex::new(Some(held)),
            #[cfg(feature = "debug-http")]
            http,
        });
        // Set once, here: nobody else has the lock.
        let _ = self.home.set(Arc::downgrade(&core));
        Ok(core)
    }
}

impl Core {
    /// Begins one of the runtime's own tasks; it ends with the runtime.
    fn begin(&self, task: impl Future<Output = ()> + Send + 'static) {
        let gateway = self.gateway.clone();
        self.gateway.tasks.spawn(Box::pin(async move { gateway.live.until_stopped(task).await }));
    }

    pub(crate) fn debug_http(&self) -> Option<std::net::SocketAddr> {
        #[cfg(feature = "debug-http")]
        return self.http.as_ref().map(crate::debug::DebugHttp::address);
        #[cfg(not(feature = "debug-http"))]
        None
    }

    pub(crate) async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let gateway = &self.gateway;
        gateway.live.close();
        let drained = tokio::time::timeout(deadline, gateway.live.until_idle()).await.is_ok();
        if !drained {
            gateway.live.dismiss_all();
            let _ = tokio::time::timeout(LAST_WORDS, gateway.live.until_idle()).await;
        }
        let still_under_way = gateway.live.len();
        if still_under_way > 0 {
            gateway.live.abandon_all();
            let _ = tokio::time::timeout(LAST_WORDS, gateway.live.until_idle()).await;
        }
        let report = ShutdownReport { drained, still_under_way, calls: gateway.tally.total() };
        tracing::info!(target: "mainstay::runtime", drained, still_under_way, "the runtime stops");
        #[cfg(feature = "debug-http")]
        if let Some(http) = &self.http {
            http.stop().await;
        }
        if let Some(thread) = self.stop() {
            // What the store took on is written when its thread ends; a disk that hangs does not hold up the host.
            let ended = tokio::task::spawn_blocking(move || thread.join());
            let _ = tokio::time::timeout(LAST_WORDS, ended).await;
        }
        report
    }

    /// Stops everything, in reverse order of its start. The second time there is nothing left to stop. The store's thread
    /// goes on until all it took on is written.
    fn stop(&self) -> Option<JoinHandle<()>> {
        let held = self.held.lock().take()?;
        self.gateway.live.stop_tasks();
        self.tree.stop_all();
        self.gateway.facts.deafen();
        self.gateway.journal.last_words();
        self.store.close();
        #[cfg(feature = "debug-http")]
        if let Some(http) = &self.http {
            http.close();
        }
        // The workers end with their last place.
        drop(held.places);
        held.store_thread
    }
}

impl Drop for Core {
    /// The last handle is gone: nobody can call any more.
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Runtime({} vendors)", self.core.gateway.routes.len())
    }
}
