//! What a vendor is, as data and pure rules: operations, classification, retry, cost. No vendor is known by name elsewhere.

mod classify;
mod clay;
mod cost;
mod operation;
mod retell;
mod retry;

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

pub use classify::{Answer, Classified, RETRY_AFTER_MAX, Rule, classify, retry_after};
pub use clay::{CORRELATION_COLUMN, Clay};
pub use cost::CostRule;
pub use operation::{Auth, Completion, KeyCarrier, KeySource, Method, Operation, Repeat, timeout};
pub use retell::Retell;
pub use retry::{Next, RetryConfig, next};

use crate::{
    faults::Faults,
    ids::{NameError, OperationId, VendorId},
};

/// Shorter parts of an address are words, such as `v3` and `webhook`.
const ADDRESS_SECRET_MIN_BYTES: usize = 12;

/// Shorter keys are for tests, and would tear words apart.
const KEY_MIN_BYTES: usize = 8;

/// A vendor's interface.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The vendor's name in this runtime.
    pub vendor: VendorId,
    /// Scheme, host and port, and a path prefix if there is one. A secret: a Clay webhook's address alone is a credential.
    pub base_url: SecretString,
    /// How calls are authenticated.
    pub auth: Auth,
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
            base_url: SecretString::default(),
            auth: Auth::None,
            operations: operations.into_iter().map(named).collect::<Result<_, _>>()?,
            rules: Vec::new(),
            retry: RetryConfig::default(),
            unit: "credits",
        })
    }

    /// True when nothing can be sent: there is no address.
    pub fn is_without_wire(&self) -> bool {
        self.base_url.expose_secret().is_empty()
    }

    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let url = self.base_url.expose_secret();
        let http = url.starts_with("http://") || url.starts_with("https://");
        faults.require(http || self.is_without_wire(), "base_url", || {
            "must begin with http:// or https:// (not shown: it may be a secret)".into()
        });
        faults.require(self.auth.can_travel(), "auth", || {
            "must be 1 or more visible ASCII characters, as a header's name and value are (not shown: it is a secret)".into()
        });
        faults.require(!self.operations.is_empty(), "operations", || "at least one is needed".into());
        for (id, operation) in &self.operations {
            operation.check(&mut faults.under(id.as_str()));
        }
        self.retry.check(&mut faults.under("retry"));
    }

    /// Takes the profile's secrets out of a vendor's words: some gateways repeat in their errors what they were sent.
    pub fn redact(&self, words: &str) -> String {
        let key = match &self.auth {
            Auth::None => None,
            Auth::Bearer(key) | Auth::Header { value: key, .. } => Some(key.expose_secret()),
        };
        let address = self.base_url.expose_secret();
        let behind_host =
            address.split_once("://").map_or(address, |(_, rest)| rest).split(['/', '?', '&', '=']).skip(1);
        let parts = behind_host.filter(|part| part.len() >= ADDRESS_SECRET_MIN_BYTES);
        let secrets = key.filter(|key| key.len() >= KEY_MIN_BYTES).into_iter().chain(parts);
        secrets.fold(words.to_owned(), |words, secret| words.replace(secret, "<redacted>"))
    }
}
