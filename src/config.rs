//! What an application wants, as data: one [`VendorConfig`] a vendor and one [`RuntimeConfig`] for the rest. Nothing is
//! checked here; `Builder::start` checks everything at once.

mod runtime;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use mainstay_actors::{
    breaker::BreakerConfig,
    budget::{BudgetConfig, Limit, Scope},
    bulkhead::{GateConfig, LaneConfig, Rate, check_lanes, patterns_lanes},
    call::{OnDenied, Step},
    client::{ClientConfig, Done, Failed, Function, FunctionCall, Transport},
    credits::Credits,
    dlq::LetterConfig,
    fallback::{CacheConfig, FallbackConfig, LocalFn},
    faults::Faults,
    health::ProbeConfig,
    idempotency::IdempotencyConfig,
    ids::{MeterId, NameError, TargetId},
    meter::Period,
    profile::{Clay, ClayApi, Profile, ProfileSpec, Retell, Target, timeout},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan;

pub use runtime::{RedriveConfig, RuntimeConfig};

/// The two sets of numbers that the documents this comes from have for any vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Half of at least 10 calls opens the breaker for 30 s; five attempts of a parked call.
    Patterns,
    /// The same, and five failures in a row open it for 15 minutes; three attempts.
    Credit,
}

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
    /// When calls are stopped because the vendor fails: for each target and each group of operations by itself.
    pub breaker: BreakerConfig,
    /// The same for some groups of operations, by name, where it differs.
    pub group_breakers: BTreeMap<String, BreakerConfig>,
    /// What may be spent.
    pub budget: BudgetConfig,
    /// Limits of the connection.
    pub client: ClientConfig,
    /// How long keys are remembered.
    pub keys: IdempotencyConfig,
    /// What stands in for the vendor.
    pub fallback: FallbackConfig,
    /// How often its parked calls are tried by themselves, and when.
    pub letters: LetterConfig,
    /// How it is asked whether it is there; default not at all.
    pub probe: Option<ProbeConfig>,
    /// The application's own stand-in.
    pub local: Option<LocalFn>,
    /// The wire; default HTTP.
    pub transport: Option<Arc<dyn Transport>>,
    /// Operations, by name, that the application does itself instead of the wire.
    pub functions: BTreeMap<String, Function>,
    /// Names of targets that cannot be, and why.
    pub(crate) misnamed: Vec<(String, String)>,
}

impl VendorConfig {
    /// A vendor by its profile, with the seeds' defaults. The budget has no default: say [`Self::daily_limit`].
    pub fn new(profile: Result<Profile, NameError>) -> Self {
        let longest = profile.as_ref().ok().and_then(Profile::longest_timeout).unwrap_or(timeout::REQUEST);
        let unit = profile.as_ref().map(|profile| profile.unit.clone()).unwrap_or_default();
        Self {
            profile,
            lanes: patterns_lanes(),
            gate: GateConfig::default(),
            breaker: BreakerConfig::patterns(longest),
            group_breakers: BTreeMap::new(),
            budget: BudgetConfig { unit, ..BudgetConfig::default() },
            client: ClientConfig::default(),
            keys: IdempotencyConfig::default(),
            fallback: FallbackConfig::default(),
            letters: LetterConfig::patterns(),
            probe: None,
            local: None,
            transport: None,
            functions: BTreeMap::new(),
            misnamed: Vec::new(),
        }
    }

    /// A vendor as a configuration states it, with the defaults of its kind.
    ///
    /// ```
    /// use mainstay::{ProfileSpec, VendorConfig};
    ///
    /// let spec: ProfileSpec = serde_json::from_str(r#"{ "retell": { "api_key": "key_1" } }"#)?;
    /// let retell = VendorConfig::of("retell", spec);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn of(name: &str, spec: ProfileSpec) -> Self {
        match spec {
            ProfileSpec::Clay(table) => Self::clay(name, table),
            ProfileSpec::ClayApi(account) => Self::clay_api(name, account),
            ProfileSpec::Retell(workspace) => Self::retell(name, workspace),
            ProfileSpec::ClayTables(tables) => {
                let longest = tables.values().map(|table| table.timeout).max().unwrap_or(timeout::CLAY_SUBMIT);
                Self::clay_account(ProfileSpec::ClayTables(tables).profile(name), longest)
            }
            ProfileSpec::Http(profile) => Self::new(profile.named(name)),
        }
    }

    /// A Clay table. Its webhook takes 10 records a second with bursts of 20; the breaker is the seeds' two together; rows
    /// wait on disk while Clay is away. Daily limit 500 credits, the seed's example; 50,000 rows for life through each table's
    /// webhook, Clay's own limit: say what a table took before by [`Limit::used_before`] in `budget.limits`.
    pub fn clay(name: &str, table: Clay) -> Self {
        let timeout = table.timeout;
        Self::clay_account(table.profile(name), timeout)
    }

    /// A Clay account with several tables, each by its name; calls say which: `Call::target("leads")`. Each table has its own
    /// breaker; rate and budget are the account's, with the defaults of [`Self::clay`].
    ///
    /// ```
    /// use mainstay::{Clay, VendorConfig};
    ///
    /// let tables = [
    ///     ("leads", Clay::table("https://api.clay.com/v3/sources/webhook/pull-in-data-from-a-webhook-1")),
    ///     ("accounts", Clay::table("https://api.clay.com/v3/sources/webhook/pull-in-data-from-a-webhook-2")),
    /// ];
    /// let clay = VendorConfig::clay_tables("clay", tables);
    /// ```
    pub fn clay_tables<'a>(name: &str, tables: impl IntoIterator<Item = (&'a str, Clay)>) -> Self {
        let tables: Vec<_> = tables.into_iter().collect();
        let longest = tables.iter().map(|(_, table)| table.timeout).max().unwrap_or(timeout::CLAY_SUBMIT);
        let account = Self::clay_account(Clay::account(name), longest);
        tables.into_iter().fold(account, |account, (name, table)| account.target(name, table))
    }

    fn clay_account(profile: Result<Profile, NameError>, longest: Duration) -> Self {
        let config = Self::new(profile);
        let rate = Rate { per_second: 10.0, burst: 20 };
        let rows = Limit::new(Period::Lifetime, Credits::whole(Clay::ROWS_MAX));
        let rows = Limit { scope: Scope::Target, meter: MeterId::new(Clay::ROWS).ok(), ..rows };
        Self {
            gate: GateConfig { rate: Some(rate), ..config.gate.clone() },
            breaker: BreakerConfig::credit(longest),
            budget: BudgetConfig { limits: vec![rows], ..config.budget.clone() },
            letters: LetterConfig::credit(),
            ..config
        }
        .daily_limit(Credits::whole(500))
    }

    /// Clay's public API. A run that was not begun waits on disk while Clay is away. Daily limit 500 credits, the seed's
    /// example; the vendor's own rate is unpublished, so there is none here: its `Retry-After` is obeyed.
    pub fn clay_api(name: &str, account: ClayApi) -> Self {
        Self::new(account.profile(name)).daily_limit(Credits::whole(500))
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
            fallback: FallbackConfig { chain, on_denied: OnDenied::DeadLetter, ..config.fallback.clone() },
            ..config
        }
        .daily_limit(Credits::whole(5_000))
    }

    /// Adds a named target: a table of its own address, or any other place of this vendor. It shares budget and rate.
    ///
    /// ```
    /// use mainstay::{Clay, VendorConfig};
    ///
    /// let first = Clay::table("https://api.clay.com/v3/sources/webhook/pull-in-data-from-a-webhook-1");
    /// let second = Clay::table("https://api.clay.com/v3/sources/webhook/pull-in-data-from-a-webhook-2");
    /// let clay = VendorConfig::clay("clay", first).target("accounts", second);
    /// ```
    #[must_use]
    pub fn target(mut self, name: &str, target: impl Into<Target>) -> Self {
        let Ok(profile) = &mut self.profile else { return self };
        let misnamed = match TargetId::new(name) {
            Ok(id) => profile.targets.insert(id, target.into()).map(|_| "this name is given twice".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        self.misnamed.extend(misnamed.map(|problem| (name.to_owned(), problem)));
        self
    }

    /// Takes the breaker and the attempts of parked calls from one of the two documents this comes from.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        let longest = self.longest_timeout();
        (self.breaker, self.letters) = match preset {
            Preset::Patterns => (BreakerConfig::patterns(longest), LetterConfig::patterns()),
            Preset::Credit => (BreakerConfig::credit(longest), LetterConfig::credit()),
        };
        self
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

    /// Asks the vendor once a minute whether it is there, by an operation that is free: health tells the answer.
    #[must_use]
    pub fn probe(mut self, operation: &str) -> Self {
        self.probe = Some(ProbeConfig::by(operation));
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
                plan::check_addresses(profile, &mut faults.under("profile"));
            }
            Err(error) => faults.require(false, "name", || error.to_string()),
        }
        for (target, problem) in &self.misnamed {
            faults.under("profile").under("targets").require(false, target, || problem.clone());
        }
        check_lanes(&self.lanes, &mut faults.under("lanes"));
        self.gate.check(&mut faults.under("gate"));
        self.check_breakers(faults);
        self.budget.check(&mut faults.under("budget"));
        self.client.check(&mut faults.under("client"));
        self.keys.check(&mut faults.under("keys"));
        self.fallback.check(&mut faults.under("fallback"));
        self.letters.check(&mut faults.under("letters"));
        self.check_together(faults);
    }

    fn longest_timeout(&self) -> Duration {
        self.profile.as_ref().ok().and_then(Profile::longest_timeout).unwrap_or_default()
    }

    fn check_breakers(&self, faults: &mut Faults) {
        self.breaker.check(self.longest_timeout(), &mut faults.under("breaker"));
        for (group, breaker) in &self.group_breakers {
            let mut faults = faults.under("group_breakers");
            let operations = self.profile.iter().flat_map(Profile::every_operation).map(|(_, operation)| operation);
            let of_group = operations.filter(|one| one.group.as_ref().is_some_and(|name| name.as_str() == group));
            let longest = of_group.map(|one| one.timeout).max();
            faults.require(longest.is_some(), group, || "no operation is in this group".into());
            breaker.check(longest.unwrap_or_default(), &mut faults.under(group));
        }
    }

    /// What is wrong only in combination.
    fn check_together(&self, faults: &mut Faults) {
        let Ok(profile) = &self.profile else { return };
        if let Some(probe) = &self.probe {
            probe.check(&profile.operations, &mut faults.under("probe"));
        }
        let known: BTreeSet<_> = profile.every_operation().map(|(id, _)| id.as_str()).collect();
        for name in self.functions.keys() {
            faults.require(known.contains(name.as_str()), "functions", || {
                let known = known.iter().copied().collect::<Vec<_>>().join(", ");
                format!("{name:?} is no operation of the profile; known: {known}")
            });
        }
        let wired = profile.operations.keys().find(|id| !self.functions.contains_key(id.as_str()));
        if let Some(id) = wired.filter(|_| profile.is_without_wire()) {
            faults.require(false, "functions", || {
                format!("the profile has no address, and {id} has no function: give one by VendorConfig::function")
            });
        }
        let meters: BTreeSet<_> = profile.every_operation().flat_map(|(_, operation)| operation.also.keys()).collect();
        for limit in self.budget.all_limits().iter().filter(|limit| limit.scope == Scope::Account) {
            let meter = self.budget.meter_of(limit);
            for (id, operation) in profile.every_operation() {
                let main = (*meter == self.budget.unit).then_some(operation.estimate);
                let asked = main.or_else(|| operation.also.get(meter).copied()).unwrap_or_default();
                let field =
                    if limit.period == Period::Day && main.is_some() { "budget.daily_limit" } else { "budget.limits" };
                faults.require(asked <= limit.amount, field, || {
                    format!(
                        "{} {meter} is less than one call of {id} may cost ({asked}): nothing would ever be sent",
                        limit.amount
                    )
                });
            }
        }
        for meter in self.budget.limits.iter().filter_map(|limit| limit.meter.as_ref()) {
            let known = *meter == self.budget.unit || meters.contains(meter);
            faults.require(known, "budget.limits", || format!("no operation costs anything on the meter {meter}"));
        }
        let of_targets = self.budget.limits.iter().filter(|limit| limit.scope == Scope::Target);
        for name in of_targets.flat_map(|limit| limit.own.keys()) {
            let known = profile.targets.keys().any(|target| target.as_str() == name);
            faults.require(known, "budget.limits", || format!("own.{name}: no target has this name"));
        }
    }
}

impl fmt::Debug for VendorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorConfig")
            .field("profile", &self.profile)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}
