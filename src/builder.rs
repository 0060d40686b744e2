//! From wishes to a running runtime.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use actix::Recipient;
use mainstay_actors::{
    call::AcceptedCall,
    clock::{Clock, Rng, WallClock},
    kernel::Hazard,
};

use crate::{
    alerts::Alert,
    config::{RuntimeConfig, VendorConfig},
    error::{StartError, UnknownVendor},
    placement::Placement,
    plan::Plan,
    runtime::Runtime,
    store::Durability,
};

/// Collects what the application wants. [`Builder::start`] checks all of it at once.
#[derive(Debug, Default)]
#[must_use = "nothing runs until `start`"]
pub struct Builder {
    runtime: RuntimeConfig,
    vendors: Vec<VendorConfig>,
}

impl Builder {
    /// What a configuration file says.
    #[cfg(feature = "settings")]
    pub(crate) fn of(runtime: RuntimeConfig, vendors: Vec<VendorConfig>) -> Self {
        Self { runtime, vendors }
    }

    /// Adds a vendor.
    pub fn vendor(mut self, vendor: VendorConfig) -> Self {
        self.vendors.push(vendor);
        self
    }

    /// Changes a vendor that is there already: adds what a file cannot say, such as a local function.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use mainstay::{Clay, Runtime, VendorConfig};
    /// # let table = Clay::table("https://api.clay.com/v3/sources/webhook/pull-in-data-from-a-webhook-1");
    /// # let builder = Runtime::builder().vendor(VendorConfig::clay("clay", table));
    /// let builder = builder.change("clay", |clay| clay.local(|lead| lead.get("company").cloned()))?;
    /// # let _ = builder;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownVendor`] with the names that are there.
    pub fn change(
        mut self,
        vendor: &str,
        change: impl FnOnce(VendorConfig) -> VendorConfig,
    ) -> Result<Self, UnknownVendor> {
        let name = |config: &VendorConfig| config.profile.as_ref().ok().map(|profile| profile.vendor.to_string());
        let Some(at) = self.vendors.iter().position(|config| name(config).as_deref() == Some(vendor)) else {
            let known = self.vendors.iter().filter_map(name).collect::<Vec<_>>().join(", ");
            return Err(UnknownVendor { name: vendor.chars().take(80).collect(), known });
        };
        let changed = change(self.vendors.remove(at));
        self.vendors.insert(at, changed);
        Ok(self)
    }

    /// Keeps parked calls in this directory. Without it they are gone with the process.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.runtime.data_dir = Some(dir.into());
        self
    }

    /// Says what "written" means; default `Power`.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.runtime.durability = durability;
        self
    }

    /// Says which threads the actors live on.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.runtime.placement = placement;
        self
    }

    /// Lets the JSON endpoint listen on a loopback address (feature `debug-http`). Off by default.
    pub fn debug_http(mut self, at: SocketAddr) -> Self {
        self.runtime.debug_http = Some(at);
        self
    }

    /// Makes ids and jitter repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.runtime.rng = Rng::seeded(seed);
        self
    }

    /// Takes calendar time from elsewhere.
    pub fn wall_clock(mut self, wall: impl WallClock + 'static) -> Self {
        self.runtime.clock = Clock::new(wall);
        self
    }

    /// Seats a fault injector in every handler, in front of every mailbox and in the store: `testing::Chaos`.
    pub fn hazard(mut self, hazard: Arc<dyn Hazard>) -> Self {
        self.runtime.hazard = hazard;
        self
    }

    /// Adds a rule of the application's own, which allows a call or denies it with a reason. It is asked once before the call
    /// may do anything, and again before a parked one is done. A denied call is refused, or a dead letter where `on_denied`
    /// says so; nothing stands in for it. A guardrail that panics denies. It must not block.
    ///
    /// ```
    /// # let builder = mainstay::Runtime::builder();
    /// builder.guardrail(|call| match call.tenant.as_deref() {
    ///     Some(_) => Ok(()),
    ///     None => Err("every call needs a tenant".into()),
    /// });
    /// ```
    pub fn guardrail(mut self, rule: impl Fn(&AcceptedCall) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.runtime.guardrails.push(Arc::new(rule));
        self
    }

    /// Tells what a person should hear of, once per change: a breaker that opened, a call that is given up or may have
    /// happened, a budget's marks, an account that is used up, a vendor that is down, an end that is overdue. The sink has
    /// a thread of its own: it may block or panic. While it is too slow, [`ALERTS_WAITING_MAX`](crate::ALERTS_WAITING_MAX)
    /// alerts wait, and more are dropped and counted.
    pub fn alerts(mut self, sink: impl Fn(&Alert) + Send + Sync + 'static) -> Self {
        self.runtime.alerts.push(Arc::new(sink));
        self
    }

    /// The same for an actor. An alert that its mailbox does not take is lost, and logged.
    pub fn alerts_to(self, actor: Recipient<Alert>) -> Self {
        self.alerts(move |alert| {
            if let Err(error) = actor.try_send(alert.clone()) {
                tracing::error!(target: "mainstay::alerts", %error, alert = %alert.text, "an actor did not take an alert");
            }
        })
    }

    /// Is called once, in words, when the runtime cannot go on.
    pub fn on_fatal(mut self, hear: impl Fn(Arc<str>) + Send + Sync + 'static) -> Self {
        self.runtime.on_fatal = Some(Arc::new(hear));
        self
    }

    /// Changes anything else in place.
    pub fn with(mut self, change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        change(&mut self.runtime);
        self
    }

    /// Checks everything, opens the data directory, and starts the actors. Must be awaited inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] with every fault of the configuration at once; [`StartError::Store`] when the data directory is
    /// in use, unreadable, damaged or too new. Nothing is touched then.
    pub async fn start(self) -> Result<Runtime, StartError> {
        let plan = Plan::of(self.runtime, self.vendors).map_err(StartError::Config)?;
        Runtime::start(plan).await
    }
}

#[cfg(test)]
mod tests {
    use mainstay_actors::profile::Clay;

    use super::*;

    #[test]
    fn a_vendor_that_is_there_is_changed_in_its_place_and_an_unknown_one_is_named() {
        let clay = |name: &str| VendorConfig::clay(name, Clay::table("https://clay.test/hook"));
        let builder = Builder::default().vendor(clay("clay")).vendor(clay("other"));
        let builder = builder.change("clay", |clay| clay.local(|lead| Some(lead.clone()))).unwrap();
        assert_eq!(builder.vendors.iter().map(|vendor| vendor.local.is_some()).collect::<Vec<_>>(), [true, false]);
        let unknown = builder.change("klay", |clay| clay).unwrap_err();
        assert_eq!(unknown.to_string(), "unknown vendor \"klay\"; known: clay, other");
    }
}
