//! What a vendor is, as data and pure rules: operations, classification, retry, cost. No vendor is known by name elsewhere.

mod classify;
mod clay;
mod cost;
mod operation;
mod retell;
mod retry;
mod target;

use std::collections::BTreeMap;

use secrecy::SecretString;

pub use classify::{Answer, Classified, RETRY_AFTER_MAX, Rule, classify, retry_after};
pub use clay::{CORRELATION_COLUMN, Clay};
pub use cost::{Charge, CostRule};
pub use operation::{Auth, Completion, KeyCarrier, KeySource, Method, Operation, Repeat, timeout};
pub use retell::Retell;
pub use retry::{Next, RetryConfig, next};
pub use target::{Address, CIRCUITS_MAX, Target};

use crate::{
    faults::Faults,
    ids::{MeterId, NameError, OperationId, TargetId, VendorId},
};

/// A vendor's interface.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The vendor's name in this runtime.
    pub vendor: VendorId,
    /// Scheme, host and port, and a path prefix if there is one. A secret: a Clay webhook's address alone is a credential.
    /// Calls that name no target go there. None: a call must name a target, if there are any, or its operation is a function
    /// of the application.
    pub base_url: Option<SecretString>,
    /// How calls are authenticated.
    pub auth: Auth,
    /// Places with a name and an address of their own, such as Clay tables. They share budget and rate.
    pub targets: BTreeMap<TargetId, Target>,
    /// The closed list of operations.
    pub operations: BTreeMap<OperationId, Operation>,
    /// How answers are read, first match wins; what no rule matches is read by its status alone.
    pub rules: Vec<Rule>,
    /// When an attempt is repeated.
    pub retry: RetryConfig,
    /// What the vendor bills in: `credits`, `cents`.
    pub unit: &'static str,
}

impl Profile {
    /// A vendor without an address: each operation is done by a function of the application.
    ///
    /// # Errors
    ///
    /// A name that is not allowed.
    pub fn of_functions<'a>(
        vendor: &str,
        operations: impl IntoIterator<Item = (&'a str, Operation)>,
    ) -> Result<Self, NameError> {
        let named = |(name, operation)| Ok((OperationId::new(name)?, operation));
        Ok(Self {
            vendor: VendorId::new(vendor)?,
            base_url: None,
            auth: Auth::None,
            targets: BTreeMap::new(),
            operations: operations.into_iter().map(named).collect::<Result<_, _>>()?,
            rules: Vec::new(),
            retry: RetryConfig::default(),
            unit: "credits",
        })
    }

    /// True when nothing can be sent: there is no address.
    pub fn is_without_wire(&self) -> bool {
        self.base_url.is_none() && self.targets.is_empty()
    }

    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        if let Some(url) = &self.base_url {
            target::check_address(url, faults);
        }
        self.auth.check(faults);
        let circuits = self.circuits().len();
        faults.require(circuits <= CIRCUITS_MAX, "circuits", || {
            format!("{circuits} is over {CIRCUITS_MAX}: use fewer targets, or fewer groups of operations")
        });
        for (name, target) in &self.targets {
            target.check(&mut faults.under("targets").under(name.as_str()));
        }
        let idle = |place| self.operations_at(place).is_none_or(BTreeMap::is_empty);
        faults.require(!self.places().any(idle), "operations", || "at least one is needed".into());
        faults.require(MeterId::new(self.unit).is_ok(), "unit", || {
            format!("{:?} is no name: use 1 to 64 of a-z A-Z 0-9 _ - .", self.unit)
        });
        for (id, operation) in &self.operations {
            operation.check(&mut faults.under(id.as_str()));
        }
        self.retry.check(&mut faults.under("retry"));
    }
}
