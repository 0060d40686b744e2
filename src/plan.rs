//! A configuration that was checked. Actors are made from a plan, so they never meet a bad value.

use std::collections::BTreeMap;

use mainstay_actors::{
    faults::{Fault, Faults},
    ids::VendorId,
    profile::Profile,
};

use reqwest::Url;
use secrecy::ExposeSecret;

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

/// The profile's own rules know the scheme only. Whether the rest is an address, the HTTP client would find out at the first
/// call.
pub(crate) fn check_addresses(profile: &Profile, faults: &mut Faults) {
    for place in profile.places() {
        let (Some(address), Some(operations)) = (profile.address(place), profile.operations_at(place)) else {
            continue;
        };
        let base = address.base_url.expose_secret();
        let is_address = |path: &str| Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).is_ok();
        let fine = !base.starts_with("http") || operations.values().all(|operation| is_address(&operation.path));
        let problem = || "is no address (not shown: it may be a secret)".into();
        match place {
            None => faults.require(fine, "base_url", problem),
            Some(target) => faults.under("targets").under(target.as_str()).require(fine, "base_url", problem),
        }
    }
}
