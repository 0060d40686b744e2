//! What an application wants, as data: one [`VendorConfig`] a vendor and one [`RuntimeConfig`] for the rest. Nothing is
//! checked here; `Builder::start` checks everything at once.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use mainstay_actors::{
    breaker::BreakerConfig,
    budget::BudgetConfig,
    bulkhead::{GateConfig, LaneConfig, Rate, check_lanes, patterns_lanes},
    call::{OnDenied, Step},
    client::{ClientConfig, Done, Failed, Function, FunctionCall, Transport},
    clock::{Clock, Rng},
    credits::Credits,
    dlq::DlqConfig,
    fallback::{CacheConfig, FallbackConfig, LocalFn},
    faults::Faults,
    health::HealthConfig,
    idempotency::IdempotencyConfig,
    ids::{NameError, OperationId},
    kernel::{Hazard, NoHazard},
    profile::{Clay, Profile, Retell},
};
use reqwest::Url;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::{
    placement::Placement,
    store::Durability,
    supervision::{ChildSpec, Intensity, RootSpec, WatchdogConfig},
};

/// One vendor: its interface, its limits, and what stands in for it.
#[derive(Clone)]
#[non_exhaustive]
pub struct VendorConfig {
    /// The interface, or the name that is not allowed.
    pub profile: Result<Profile, NameError>,
    /// The lanes; default critical 10, normal 5, bulk 2.
    pub lanes: Vec<LaneConfig>,
    /// The cap and the rate over all lanes.
    pub gate: GateConfig,
    /// When calls are stopped because the vendor fails.
    pub breaker: BreakerConfig,
    /// What may be spent.
    pub budget: BudgetConfig,
    /// Limits of the connection.
    pub client: ClientConfig,
    /// How long keys are remembered.
    pub keys: IdempotencyConfig,
    /// What stands in for the vendor.
    pub fallback: FallbackConfig,
    /// The application's own stand-in.
    pub local: Option<LocalFn>,
    /// The wire; default HTTP.
    pub transport: Option<Arc<dyn Transport>>,
    /// Operations, by name, that the application does itself instead of the wire.
    pub functions: BTreeMap<String, Function>,
}

impl VendorConfig {
    /// A vendor by its profile, with the seeds' defaults. The budget has no default: say [`Self::daily_limit`].
    pub fn new(profile: Result<Profile, NameError>) -> Self {
        let longest = match &profile {
            Ok(profile) => profile.operations.values().map(|operation| operation.timeout).max(),
            Err(_) => None,
        };
        let longest = longest.unwrap_or(Duration::from_secs(30));
        let unit = profile.as_ref().map_or("credits", |profile| profile.unit);
        Self {
            profile,
            lanes: patterns_lanes(),
            gate: GateConfig::default(),
            breaker: BreakerConfig::patterns(longest),
            budget: BudgetConfig { unit: unit.into(), ..BudgetConfig::default() },
            client: ClientConfig::default(),
            keys: IdempotencyConfig::default(),
            fallback: FallbackConfig::default(),
            local: None,
            transport: None,
            functions: BTreeMap::new(),
        }
    }

    /// A Clay table. Its webhook takes 10 records a second with bursts of 20; the breaker is the seeds' two together; rows
    /// wait on disk while Clay is away. Daily limit 500 credits, the seed's example.
    pub fn clay(name: &str, table: Clay) -> Self {
        let timeout = table.timeout;
        let config = Self::new(table.profile(name));
        let rate = Rate { per_second: 10.0, burst: 20 };
        Self {
            gate: GateConfig { rate: Some(rate), ..config.gate.clone() },
            breaker: BreakerConfig::credit(timeout),
            ..config
        }
        .daily_limit(Credits::whole(500))
    }

    /// A Retell workspace: 20 live calls, 1 call start a second. A call that was not placed is not placed later by itself
    /// (its moment may have passed): it is a dead letter. Daily limit 50 dollars (5,000 cents), ours.
    pub fn retell(name: &str, workspace: Retell) -> Self {
        let (timeout, call_max) = (workspace.timeout, workspace.call_max);
        let config = Self::new(workspace.profile(name));
        let rate = Rate { per_second: 1.0, burst: 1 };
        let chain = vec![Step::Cache, Step::Local, Step::DeadLetter];
        Self {
            gate: GateConfig { cap: 20, rate: Some(rate), slot_lease: call_max + timeout, ..config.gate.clone() },
            breaker: BreakerConfig::patterns(timeout),
            fallback: FallbackConfig { chain, on_denied: OnDenied::DeadLetter, ..config.fallback.clone() },
            ..config
        }
        .daily_limit(Credits::whole(5_000))
    }

    /// What may be spent in a calendar day.
    #[must_use]
    pub fn daily_limit(mut self, limit: Credits) -> Self {
        self.budget.daily_limit = limit;
        self
    }

    /// Serves the last good answer when the vendor is away, under a key of JSON pointers into the payload: `/domain`, or
    /// `{/domain}|{/country}`; see [`CacheConfig::key`].
    #[must_use]
    pub fn cache_by(mut self, key: &str) -> Self {
        self.fallback.cache = Some(CacheConfig { key: key.into(), ..CacheConfig::default() });
        self
    }

    /// What may stand in for the vendor, in this order; see [`FallbackConfig::chain`].
    #[must_use]
    pub fn chain(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.fallback.chain = steps.into_iter().collect();
        self
    }

    /// What becomes of a call that a guard denied, when nothing stood in; see [`FallbackConfig::on_denied`].
    #[must_use]
    pub fn on_denied(mut self, then: OnDenied) -> Self {
        self.fallback.on_denied = then;
        self
    }

    /// Stands in for the vendor, where the chain has the step `local`. `None` from it means that it cannot either.
    #[must_use]
    pub fn local(mut self, stand_in: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        self.local = Some(Arc::new(stand_in));
        self
    }

    /// Uses another wire than HTTP: the seam for tests under a paused clock.
    #[must_use]
    pub fn transport(mut self, wire: impl Transport + 'static) -> Self {
        self.transport = Some(Arc::new(wire));
        self
    }

    /// Makes a closure of the application the client of an operation: a vendor's SDK, say. It passes the same guards as a
    /// request and is retried, queued and replayed by the same rules; its operation in the profile declares its safety, its
    /// timeout and its cost.
    ///
    /// ```
    /// use mainstay::{Credits, Done, Operation, Profile, VendorConfig};
    ///
    /// let add = Operation { estimate: Credits::whole(1), ..Operation::function() };
    /// let crm = VendorConfig::new(Profile::of_functions("crm", [("add-contact", add)]))
    ///     .daily_limit(Credits::whole(1_000))
    ///     .function("add-contact", |call| async move { Ok(Done::from(call.payload)) });
    /// # let _ = crm;
    /// ```
    #[must_use]
    pub fn function<F, R>(mut self, operation: &str, function: F) -> Self
    where
        F: Fn(FunctionCall) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Done, Failed>> + Send + 'static,
    {
        self.functions.insert(operation.to_owned(), Function::new(function));
        self
    }

    /// Changes anything else in place.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn check(&self, faults: &mut Faults) {
        match &self.profile {
            Ok(profile) => {
                profile.check(&mut faults.under("profile"));
                check_addresses(profile, &mut faults.under("profile"));
            }
            Err(error) => faults.require(false, "name", || error.to_string()),
        }
        check_lanes(&self.lanes, &mut faults.under("lanes"));
        self.gate.check(&mut faults.under("gate"));
        self.breaker.check(self.longest_timeout(), &mut faults.under("breaker"));
        self.budget.check(&mut faults.under("budget"));
        self.client.check(&mut faults.under("client"));
        self.keys.check(&mut faults.under("keys"));
        self.fallback.check(&mut faults.under("fallback"));
        self.check_together(faults);
    }

    fn longest_timeout(&self) -> Duration {
        let operations = self.profile.iter().flat_map(|profile| profile.operations.values());
        operations.map(|operation| operation.timeout).max().unwrap_or_default()
    }

    /// What is wrong only in combination.
    fn check_together(&self, faults: &mut Faults) {
        let Ok(profile) = &self.profile else { return };
        let name_of = |id: &OperationId| id.to_string();
        for name in self.functions.keys() {
            faults.require(profile.operations.keys().any(|id| id.as_str() == name), "functions", || {
                let known = profile.operations.keys().map(name_of).collect::<Vec<_>>().join(", ");
                format!("{name:?} is no operation of the profile; known: {known}")
            });
        }
        let wired = profile.operations.keys().find(|id| !self.functions.contains_key(id.as_str()));
        if let Some(id) = wired.filter(|_| profile.is_without_wire()) {
            faults.require(false, "functions", || {
                format!("the profile has no address, and {id} has no function: give one by VendorConfig::function")
            });
        }
        for (id, operation) in &profile.operations {
            faults.require(operation.estimate <= self.budget.daily_limit, "budget.daily_limit", || {
                format!(
                    "{} {} is less than one call of {id} may cost ({}): nothing would ever be sent",
                    self.budget.daily_limit, self.budget.unit, operation.estimate
                )
            });
        }
    }
}

/// The profile's own rules know the scheme only. Whether the rest is an address, the HTTP client would find out at the first
/// call.
fn check_addresses(profile: &Profile, faults: &mut Faults) {
    let base = profile.base_url.expose_secret();
    if !base.starts_with("http") {
        return;
    }
    let is_address = |path: &str| Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).is_ok();
    let fine = profile.operations.values().all(|operation| is_address(&operation.path));
    faults.require(fine, "base_url", || "is no address (not shown: it may be a secret)".into());
}

impl fmt::Debug for VendorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorConfig")
            .field("profile", &self.profile)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

/// How parked calls are done again.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RedriveConfig {
    /// How many parked calls are tried at a time; default 8, ours. They pay and wait like everybody else.
    pub at_a_time: usize,
    /// How often due calls are looked for when nothing wakes the redrive; default 1 s, ours.
    pub every: Duration,
}

impl Default for RedriveConfig {
    fn default() -> Self {
        Self { at_a_time: 8, every: Duration::from_secs(1) }
    }
}

/// Everything that is not one vendor's.
#[derive(Clone)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// Which threads the actors live on.
    pub placement: Placement,
    /// Where parked calls are kept. `None`: in memory, and gone with the process.
    pub data_dir: Option<PathBuf>,
    /// What "written" means; default `Power`.
    pub durability: Durability,
    /// How many calls may be under way; default 10,000. Beyond it calls are refused.
    pub live_max: usize,
    /// How many messages a mailbox takes; default 10,000. Beyond it tickets are refused.
    pub mailbox_max: usize,
    /// The dead letter queue.
    pub dlq: DlqConfig,
    /// How parked calls are done again.
    pub redrive: RedriveConfig,
    /// The health score.
    pub health: HealthConfig,
    /// Restarts of one actor.
    pub child: ChildSpec,
    /// Restarts of one vendor's actors together.
    pub supervisor: Intensity,
    /// When the whole runtime gives up.
    pub root: RootSpec,
    /// When a thread counts as stuck.
    pub watchdog: WatchdogConfig,
    /// Where the JSON endpoint listens (feature `debug-http`); default nowhere. Loopback only.
    pub debug_http: Option<SocketAddr>,
    /// Both clocks.
    pub clock: Clock,
    /// Randomness for ids and jitter; a seed makes a run repeatable.
    pub rng: Rng,
    /// The fault injector's seat in every handler.
    pub hazard: Arc<dyn Hazard>,
    /// Called once when the runtime cannot go on; a library never ends its host.
    pub on_fatal: Option<Arc<dyn Fn(Arc<str>) + Send + Sync>>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            placement: Placement::default(),
            data_dir: None,
            durability: Durability::default(),
            live_max: 10_000,
            mailbox_max: 10_000,
            dlq: DlqConfig::default(),
            redrive: RedriveConfig::default(),
            health: HealthConfig::default(),
            child: ChildSpec::default(),
            supervisor: Intensity::SUPERVISOR,
            root: RootSpec::default(),
            watchdog: WatchdogConfig::default(),
            debug_http: None,
            clock: Clock::default(),
            rng: Rng::from_entropy(),
            hazard: Arc::new(NoHazard),
            on_fatal: None,
        }
    }
}

impl RuntimeConfig {
    pub(crate) fn check(&self, faults: &mut Faults) {
        if let Placement::Threads { threads } = self.placement {
            faults.require((1..=64).contains(&threads), "placement.threads", || {
                format!("{threads} is not within 1..=64")
            });
        }
        for (field, value) in [("live_max", self.live_max), ("mailbox_max", self.mailbox_max)] {
            faults.require((1..=1_000_000).contains(&value), field, || format!("{value} is not within 1..=1000000"));
        }
        let redrive = &self.redrive;
        faults.require((1..=1_000).contains(&redrive.at_a_time), "redrive.at_a_time", || {
            format!("{} is not within 1..=1000", redrive.at_a_time)
        });
        let range = Duration::from_millis(10)..=Duration::from_secs(3600);
        faults.require(range.contains(&redrive.every), "redrive.every", || {
            format!("{:?} is not within 10ms..=1h", redrive.every)
        });
        if let Some(at) = self.debug_http {
            faults.require(at.ip().is_loopback(), "debug_http", || {
                format!("{at} is not a loopback address: the endpoint shows money and has no login yet")
            });
            faults.require(cfg!(feature = "debug-http"), "debug_http", || {
                "this build has no HTTP face: add the feature `debug-http`".into()
            });
        }
        self.dlq.check(&mut faults.under("dlq"));
        self.health.check(&mut faults.under("health"));
        self.child.check(&mut faults.under("child"));
        self.supervisor.check(&mut faults.under("supervisor"));
        self.root.check(&mut faults.under("root"));
        self.watchdog.check(&mut faults.under("watchdog"));
    }
}

impl fmt::Debug for RuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeConfig")
            .field("placement", &self.placement)
            .field("data_dir", &self.data_dir)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
