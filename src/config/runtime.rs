//! What is not one vendor's.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use mainstay_actors::{
    clock::{Clock, Rng},
    dlq::DlqConfig,
    faults::Faults,
    health::HealthConfig,
    kernel::{Hazard, NoHazard},
};
use serde::{Deserialize, Serialize};

use crate::{
    alerts::AlertSink,
    guardrail::Guardrail,
    placement::Placement,
    store::{Durability, StoreConfig},
    supervision::{ChildSpec, Intensity, RootSpec, WatchdogConfig},
};

/// How parked calls are done again: each vendor's by themselves, those that are due longest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RedriveConfig {
    /// How many parked calls of one vendor are tried at a time. 1 to 1,000; default 8, ours. They pay and wait like everybody
    /// else.
    pub at_a_time: usize,
    /// Time between the begins of two parked calls of one vendor. 0 to 1 h; default 200 ms (seed B).
    #[serde(with = "mainstay_actors::duration")]
    pub pace: Duration,
    /// How often due calls are looked for when nothing wakes the redrive; default 1 s, ours.
    #[serde(with = "mainstay_actors::duration")]
    pub every: Duration,
}

impl Default for RedriveConfig {
    fn default() -> Self {
        Self { at_a_time: 8, pace: Duration::from_millis(200), every: Duration::from_secs(1) }
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
    /// How the store is cared for.
    pub store: StoreConfig,
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
    /// The application's own rules, in the order in which they are asked; default none.
    pub guardrails: Vec<Guardrail>,
    /// Who is told what a person should hear of; default nobody.
    pub alerts: Vec<AlertSink>,
    /// Called once when the runtime cannot go on; a library never ends its host.
    pub on_fatal: Option<Arc<dyn Fn(Arc<str>) + Send + Sync>>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            placement: Placement::default(),
            data_dir: None,
            durability: Durability::default(),
            store: StoreConfig::default(),
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
            guardrails: Vec::new(),
            alerts: Vec::new(),
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
        faults.require(redrive.pace <= Duration::from_secs(3600), "redrive.pace", || {
            format!("{:?} is not within 0s..=1h", redrive.pace)
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
        self.store.check(self.data_dir.as_deref(), &mut faults.under("store"));
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
