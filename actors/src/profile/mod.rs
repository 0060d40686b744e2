//! What a vendor is, as data and pure rules: operations, classification, retry, cost. No vendor is known by name elsewhere.
//!
//! A [`Profile`] is plain data that serde reads, so a vendor that is not shipped needs configuration alone. In TOML:
//!
//! ```toml
//! [vendors.telnyx.profile.http]
//! base_url = "https://api.telnyx.com/v2"
//! auth = { bearer = { env = "TELNYX_API_KEY" } }
//!
//! [vendors.telnyx.profile.http.operations.look-up]
//! method = "GET"
//! path = "/number_lookup/{number}"
//! repeat = "always"
//! estimate = 0.01
//! ```
//!
//! Every other field has a default, on the careful side: never repeated, paid at its estimate, done with its answer, answers
//! read by their status.
//!
//! # What it expresses
//!
//! | what | where |
//! | --- | --- |
//! | how calls prove who they are: bearer, header, basic, query; fixed headers | [`Auth`], [`Profile::headers`] |
//! | method, path with `{names}`, query, timeout, largest payload, needed fields | [`Operation`] |
//! | whether a call may be sent again, and how its key travels | [`Repeat`], [`KeySource`], [`KeyCarrier`] |
//! | what an answer means, by status, body and headers; a 2xx that is no success; a quota's reset | [`Rule`], [`When`] |
//! | what is reserved, and what it cost, in the answer or at the end | [`Operation::estimate`], [`CostRule`], [`Amount`] |
//! | an end that comes later, by callback or by poll, and how it is read | [`Completion`], [`EndRules`] |
//! | several places under one account | [`Target`] |
//!
//! Rate, concurrency, budget, breaker, cache and lanes are the vendor's too, but each is its own concern's configuration.
//!
//! # What it does not
//!
//! Regular expressions over bodies ([`BodyIs::contains`] does for the known vendors), estimates by formula
//! ([`Operation::estimate_for_each`] counts items), `X-RateLimit-*` headers but the reset behind a 429 or a 503 (no two
//! vendors mean the same by the rest), OAuth and other credentials that are renewed, bodies that are not JSON. An operation
//! that needs one of these is a function of the application.

mod auth;
mod classify;
mod clay;
mod clay_api;
mod completion;
mod cost;
mod operation;
mod path;
mod pointer;
mod reconcile;
mod retell;
mod retry;
mod retry_budget;
mod rule;
mod spec;
mod target;

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

pub use auth::Auth;
pub use classify::{Classified, RETRY_AFTER_MAX, classify, retry_after, should_retry};
pub use clay::{CORRELATION_COLUMN, Clay};
pub use clay_api::ClayApi;
pub use completion::{Completion, EndRules, Ended, Owed, Poll};
pub use cost::{Amount, Charge, CostRule, read_amounts};
pub use operation::{KeyCarrier, KeySource, Method, Operation, Repeat, timeout};
pub use path::{RequestError, fill, query};
pub use reconcile::Reconcile;
pub use retell::Retell;
pub use retry::{Next, RetryConfig, Standing, next, not_repeated};
pub use retry_budget::{RetryBudget, RetryBudgetConfig, RetrySnapshot, Spent};
use rule::check_rules;
pub use rule::{Answer, BodyIs, Rule, Statuses, When};
pub use spec::ProfileSpec;
pub use target::{Address, CIRCUITS_MAX, Target};

use crate::{
    faults::Faults,
    ids::{MeterId, NameError, OperationId, TargetId, VendorId},
};

/// A vendor's interface. A vendor that is not shipped is one of these, written in Rust or read from a configuration:
///
/// ```
/// use mainstay_actors::profile::Profile;
///
/// let text = r#"{
///     "base_url": "https://api.example.com",
///     "auth": { "bearer": "key_1" },
///     "operations": { "look-up": { "method": "GET", "path": "/v1/people/{id}", "repeat": "always", "estimate": 0.5 } }
/// }"#;
/// let profile = serde_json::from_str::<Profile>(text)?.named("example")?;
/// assert_eq!(profile.vendor.as_str(), "example");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The vendor's name in this runtime. It is no part of a configured profile: [`Profile::named`].
    #[serde(skip, default = "VendorId::unnamed")]
    pub vendor: VendorId,
    /// Scheme, host and port, and a path prefix if there is one. A secret: a Clay webhook's address alone is a credential.
    /// Calls that name no target go there. None: a call must name a target, if there are any, or its operation is a function
    /// of the application.
    #[serde(default, deserialize_with = "crate::secret::optional")]
    pub base_url: Option<SecretString>,
    /// How calls are authenticated; default not at all.
    #[serde(default)]
    pub auth: Auth,
    /// Headers of every request, such as a version of the interface; no secrets. Default none.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Places with a name and an address of their own, such as Clay tables. They share budget and rate.
    #[serde(default)]
    pub targets: BTreeMap<TargetId, Target>,
    /// The closed list of operations.
    #[serde(default)]
    pub operations: BTreeMap<OperationId, Operation>,
    /// How answers are read, first match wins; what no rule matches is read by its status alone.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// When an attempt is repeated.
    #[serde(default)]
    pub retry: RetryConfig,
    /// What the vendor bills in: `credits`, `cents`. Default `credits`.
    #[serde(default)]
    pub unit: MeterId,
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
            operations: operations.into_iter().map(named).collect::<Result<_, _>>()?,
            ..Self::empty()
        })
    }

    /// A vendor with an interface over HTTP. Everything else is set on what comes back.
    ///
    /// # Errors
    ///
    /// A name that is not allowed.
    pub fn http<'a>(
        vendor: &str,
        base_url: &str,
        operations: impl IntoIterator<Item = (&'a str, Operation)>,
    ) -> Result<Self, NameError> {
        Ok(Self { base_url: Some(base_url.into()), ..Self::of_functions(vendor, operations)? })
    }

    /// Nothing can be done, nowhere.
    fn empty() -> Self {
        Self {
            vendor: VendorId::unnamed(),
            base_url: None,
            auth: Auth::None,
            headers: BTreeMap::new(),
            targets: BTreeMap::new(),
            operations: BTreeMap::new(),
            rules: Vec::new(),
            retry: RetryConfig::default(),
            unit: MeterId::default(),
        }
    }

    /// The same under this name.
    ///
    /// # Errors
    ///
    /// A name that is not allowed.
    pub fn named(self, vendor: &str) -> Result<Self, NameError> {
        Ok(Self { vendor: VendorId::new(vendor)?, ..self })
    }

    /// Reads an answer to an operation: by its own rules, then the profile's, then the status.
    pub fn classify(&self, operation: &Operation, answer: Answer<'_>) -> Classified {
        classify(operation.rules.iter().chain(&self.rules), answer)
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
        for (id, operation) in &self.operations {
            operation.check(&mut faults.under(id.as_str()));
        }
        self.check_asking(faults);
        check_rules(&self.rules, "rules", faults);
        let visible =
            |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        for (name, value) in &self.headers {
            let fine = visible(name) && !name.contains([' ', ':']) && visible(value);
            faults.under("headers").require(fine, name, || "must be visible ASCII characters, as a header is".into());
        }
        self.retry.check(&mut faults.under("retry"));
    }

    /// What polls and reconciliations ask with must be there, be harmless, and have a place for what is asked for.
    fn check_asking(&self, faults: &mut Faults) {
        for place in self.places() {
            for (id, operation) in self.operations_at(place).into_iter().flatten() {
                let harmless =
                    |asking: &&Operation| asking.repeat == Repeat::Always && asking.completion == Completion::Answer;
                let asking = |id| self.operation(place, id).filter(harmless);
                let mut faults = faults.under(id.as_str());
                if let Some(reconcile) = &operation.reconcile {
                    faults.require(asking(&reconcile.operation).is_some(), "reconcile.operation", || {
                        format!("{} is no operation with repeat = \"always\"", reconcile.operation)
                    });
                }
                let Completion::Poll(poll) = &operation.completion else { continue };
                let fits = asking(&poll.operation).is_some_and(|asking| asking.path_members().count() == 1);
                faults.require(fits, "completion.operation", || {
                    format!("{} is no operation with repeat = \"always\" and one name in its path", poll.operation)
                });
                faults.require(operation.vendor_ref.is_some(), "vendor_ref", || {
                    "is needed for a poll: where the answer names what is asked for".into()
                });
            }
        }
    }
}
