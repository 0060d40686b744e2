//! Which guards there are to be, checked at once.

use std::{collections::BTreeSet, time::Duration};

use mainstay_actors::{
    breaker::BreakerConfig,
    budget::BudgetConfig,
    bulkhead::{GateConfig, LaneConfig, check_lanes},
    faults::{Fault, Faults},
    ids::LaneId,
    profile::Profile,
    refusal::Guard,
};

use super::Guards;
use crate::{
    config::{RuntimeConfig, VendorConfig},
    error::StartError,
};

/// Which guards there are.
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `start`"]
pub struct GuardsBuilder {
    pub(super) config: VendorConfig,
    pub(super) chosen: BTreeSet<Guard>,
    pub(super) runtime: RuntimeConfig,
}

impl GuardsBuilder {
    /// How much runs at the same time, in lanes, and who waits.
    pub fn lanes(mut self, lanes: Vec<LaneConfig>) -> Self {
        self.config.lanes = lanes;
        self.chosen.insert(Guard::Lane);
        self
    }

    /// One cap and one rate over all lanes. Without lanes there is one, `normal`, as wide as the cap.
    pub fn gate(mut self, gate: GateConfig) -> Self {
        self.config.gate = gate;
        self.chosen.insert(Guard::Gate);
        self
    }

    /// When work is refused because it fails.
    pub fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.config.breaker = breaker;
        self.chosen.insert(Guard::Breaker);
        self
    }

    /// What may be spent.
    pub fn budget(mut self, budget: BudgetConfig) -> Self {
        self.config.budget = budget;
        self.chosen.insert(Guard::Budget);
        self
    }

    /// Changes threads, clocks, seeds or supervision. What has to do with calls and the disk is not used.
    pub fn with(mut self, change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        change(&mut self.runtime);
        self
    }

    /// Checks everything and starts the actors. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] with every fault at once; [`StartError::System`] when there are no threads.
    pub fn start(mut self) -> Result<Guards, StartError> {
        if self.chosen.contains(&Guard::Gate) && self.chosen.insert(Guard::Lane) {
            self.config.lanes = vec![LaneConfig::new(LaneId::normal(), self.config.gate.cap.min(1_024))];
        }
        let profile = self.check().map_err(StartError::Config)?;
        Guards::begin(self, profile)
    }

    fn check(&self) -> Result<Profile, Vec<Fault>> {
        let mut faults = Faults::default();
        self.runtime.check(&mut faults);
        faults.require(!self.chosen.is_empty(), "guards", || "none is chosen: lanes, gate, breaker or budget".into());
        for guard in &self.chosen {
            match guard {
                Guard::Lane => check_lanes(&self.config.lanes, &mut faults.under("lanes")),
                Guard::Gate => self.config.gate.check(&mut faults.under("gate")),
                Guard::Breaker => self.config.breaker.check(Duration::ZERO, &mut faults.under("breaker")),
                _ => self.config.budget.check(&mut faults.under("budget")),
            }
        }
        let named = self.config.profile.clone();
        if let Err(error) = &named {
            faults.require(false, "name", || error.to_string());
        }
        faults.into_result()?;
        named.map_err(|error| vec![Fault { field: "name".into(), problem: error.to_string() }])
    }
}
