//! A configuration that was checked. Actors are made from a plan, so they never meet a bad value.

use std::collections::BTreeMap;

use mainstay_actors::{
    faults::{Fault, Faults},
    ids::VendorId,
    profile::Profile,
};

use crate::config::{RuntimeConfig, VendorConfig};

/// How many vendors one runtime serves. They are labels of every metric.
pub const VENDORS_MAX: usize = 64;

/// A checked configuration.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) runtime: RuntimeConfig,
    pub(crate) vendors: BTreeMap<VendorId, (Profile, VendorConfig)>,
}

impl Plan {
    /// Checks everything, and names everything that is wrong at once.
    pub(crate) fn of(runtime: RuntimeConfig, vendors: Vec<VendorConfig>) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        runtime.check(&mut faults);
        faults.require((1..=VENDORS_MAX).contains(&vendors.len()), "vendors", || {
            format!("{} vendors is not within 1..={VENDORS_MAX}", vendors.len())
        });
        let mut known = BTreeMap::new();
        for (n, config) in vendors.into_iter().enumerate() {
            let name = match &config.profile {
                Ok(profile) => format!("vendors.{}", profile.vendor),
                Err(_) => format!("vendors.#{}", n + 1),
            };
            config.check(&mut faults.under(&name));
            let Ok(profile) = config.profile.clone() else { continue };
            let twice = known.insert(profile.vendor.clone(), (profile, config)).is_some();
            faults.require(!twice, &name, || "this name is given twice".into());
        }
        faults.into_result().map(|()| Self { runtime, vendors: known })
    }
}
