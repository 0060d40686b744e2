//! The tables of a configuration, and what they become.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use figment::{Figment, Provider as _, value::Value};
use mainstay_actors::{
    breaker::BreakerConfig,
    budget::BudgetConfig,
    bulkhead::{GateConfig, LaneConfig},
    client::ClientConfig,
    dlq::{DlqConfig, LetterConfig},
    fallback::FallbackConfig,
    faults::Fault,
    health::{HealthConfig, ProbeConfig},
    idempotency::IdempotencyConfig,
    profile::{Profile, RetryConfig},
};
use serde::{Deserialize, Serialize};

use super::{profile, section};
use crate::{
    config::{Preset, RedriveConfig, RuntimeConfig, VendorConfig},
    placement::Placement,
    store::{Durability, StoreConfig},
    supervision::{ChildSpec, Intensity, RootSpec, WatchdogConfig},
};

/// The tables a configuration may have.
const TABLES: [&str; 2] = ["runtime", "vendors"];

/// The key of a vendor that chooses a set of numbers.
const PRESET: &str = "preset";

/// `[runtime]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeTable {
    threads: usize,
    data_dir: Option<PathBuf>,
    durability: Durability,
    store: StoreConfig,
    live_max: usize,
    mailbox_max: usize,
    debug_http: Option<SocketAddr>,
    dlq: DlqConfig,
    redrive: RedriveConfig,
    health: HealthConfig,
    child: ChildSpec,
    supervisor: Intensity,
    root: RootSpec,
    watchdog: WatchdogConfig,
}

impl RuntimeTable {
    fn of(config: &RuntimeConfig) -> Self {
        Self {
            threads: match config.placement {
                Placement::Threads { threads } => threads,
                Placement::Local => 1,
            },
            data_dir: config.data_dir.clone(),
            durability: config.durability,
            store: config.store.clone(),
            live_max: config.live_max,
            mailbox_max: config.mailbox_max,
            debug_http: config.debug_http,
            dlq: config.dlq.clone(),
            redrive: config.redrive.clone(),
            health: config.health.clone(),
            child: config.child,
            supervisor: config.supervisor,
            root: config.root,
            watchdog: config.watchdog.clone(),
        }
    }

    fn into_config(self) -> RuntimeConfig {
        RuntimeConfig {
            placement: Placement::Threads { threads: self.threads },
            data_dir: self.data_dir,
            durability: self.durability,
            store: self.store,
            live_max: self.live_max,
            mailbox_max: self.mailbox_max,
            debug_http: self.debug_http,
            dlq: self.dlq,
            redrive: self.redrive,
            health: self.health,
            child: self.child,
            supervisor: self.supervisor,
            root: self.root,
            watchdog: self.watchdog,
            ..RuntimeConfig::default()
        }
    }
}

/// `[vendors.NAME]`, but for its `profile`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorTable {
    lanes: Vec<LaneConfig>,
    gate: GateConfig,
    breaker: BreakerConfig,
    budget: BudgetConfig,
    client: ClientConfig,
    keys: IdempotencyConfig,
    fallback: FallbackConfig,
    letters: LetterConfig,
    probe: Option<ProbeConfig>,
    retry: RetryConfig,
}

impl VendorTable {
    fn of(config: &VendorConfig) -> Self {
        Self {
            lanes: config.lanes.clone(),
            gate: config.gate.clone(),
            breaker: config.breaker.clone(),
            budget: config.budget.clone(),
            client: config.client.clone(),
            keys: config.keys.clone(),
            fallback: config.fallback.clone(),
            letters: config.letters.clone(),
            probe: config.probe.clone(),
            retry: config.profile.as_ref().map_or_else(|_| RetryConfig::default(), |profile| profile.retry),
        }
    }

    fn over(self, mut config: VendorConfig) -> VendorConfig {
        let Self { lanes, gate, breaker, budget, client, keys, fallback, letters, probe, retry } = self;
        if let Ok(profile) = &mut config.profile {
            profile.retry = retry;
        }
        VendorConfig { lanes, gate, breaker, budget, client, keys, fallback, letters, probe, ..config }
    }
}

/// Reads everything that can be read, and notes every fault.
pub(super) fn read(from: &Figment, faults: &mut Vec<Fault>) -> (RuntimeConfig, Vec<VendorConfig>) {
    let profiles = from.data().unwrap_or_default();
    let all = profiles.into_values().flatten().collect::<BTreeMap<_, _>>();
    for table in all.keys().filter(|table| !TABLES.contains(&table.as_str())) {
        faults.push(Fault { field: table.clone(), problem: format!("unknown table, known: {}", TABLES.join(", ")) });
    }
    let runtime = section::read(from, "runtime", &RuntimeTable::of(&RuntimeConfig::default()), &[], faults);
    let mut names: Vec<_> = match all.get("vendors") {
        Some(Value::Dict(_, vendors)) => vendors.keys().cloned().collect(),
        _ => Vec::new(),
    };
    names.retain(|name| can_be_found(name, faults));
    let vendors = names.iter().filter_map(|name| vendor(from, name, faults)).collect();
    (runtime.into_config(), vendors)
}

/// A path has dots between its parts, so a name in a file has none.
fn can_be_found(name: &str, faults: &mut Vec<Fault>) -> bool {
    let found = !name.is_empty() && !name.contains('.');
    if !found {
        let problem = format!("name {name:?} is not allowed here: a vendor of a file has a name without dots");
        faults.push(Fault { field: "vendors".into(), problem });
    }
    found
}

/// A vendor whose profile is wrong is read all the same, over the defaults of any vendor, for the faults in the rest.
fn vendor(from: &Figment, name: &str, faults: &mut Vec<Fault>) -> Option<VendorConfig> {
    let path = format!("vendors.{name}");
    let known = profile::read(from, name, faults);
    let is_known = known.is_some();
    let mut config = known.unwrap_or_else(|| VendorConfig::new(Profile::of_functions(name, [])));
    let preset = format!("{path}.{PRESET}");
    match from.find_value(&preset).map(|value| value.deserialize::<Preset>().map_err(Box::new)) {
        Err(_) => {}
        Ok(Ok(preset)) => config = config.preset(preset),
        Ok(Err(error)) => faults.push(section::fault(from, preset, &error)),
    }
    let table = section::read(from, &path, &VendorTable::of(&config), &["profile", PRESET], faults);
    is_known.then(|| table.over(config))
}

#[cfg(test)]
mod tests;
