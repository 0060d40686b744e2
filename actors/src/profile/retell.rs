//! Retell AI's create-phone-call: a 201 means that the call is registered, and its end comes by webhook.
//!
//! Facts: bearer key; 20 live calls a workspace and 1 call start a second by default; the vendor's SDK waits 120 s; the body
//! field `idempotency_key` is honoured for one hour; the real cost is in `call_cost.combined_cost` (cents), after the end.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;

use super::{
    Auth, Completion, CostRule, KeyCarrier, KeySource, Operation, Profile, Repeat, RetryConfig, Rule, timeout,
};
use crate::{
    credits::Credits,
    ids::{NameError, OperationId, VendorId},
    outcome::{Class, Effect},
};

/// What is particular to one Retell workspace.
#[derive(Debug, Clone)]
pub struct Retell {
    /// The API key. A secret.
    pub api_key: SecretString,
    /// Where the API is; default `https://api.retellai.com`.
    pub base_url: SecretString,
    /// What one call may cost at most, in cents; default 310: ten minutes at 31 cents, the dearest published bundle.
    pub cents_per_call: Credits,
    /// From the first byte to the answer; default 120 s, as in the vendor's SDK.
    pub timeout: Duration,
    /// Longest live call with its margin: how long a slot is leased; default 65 min (the vendor's 1 h and 5 min).
    pub call_max: Duration,
    /// Whether a call whose fate is not known may be sent again. `Never` by default although the key is sent along: the
    /// window is one hour and the price of a mistake is a phone that rings twice.
    pub repeat: Repeat,
}

/// What the vendor says when it never dialled because something is used up or full.
const EXHAUSTED: [&str; 3] = ["no_valid_payment", "credit_exhausted", "budget_reached"];

impl Retell {
    /// A workspace with the defaults above.
    pub fn workspace(api_key: impl Into<String>) -> Self {
        Self {
            api_key: SecretString::from(api_key.into()),
            base_url: SecretString::from("https://api.retellai.com".to_owned()),
            cents_per_call: Credits::whole(310),
            timeout: timeout::RETELL_CREATE,
            call_max: Duration::from_secs(65 * 60),
            repeat: Repeat::Never,
        }
    }

    /// The operation's name.
    pub const CREATE_PHONE_CALL: &'static str = "create-phone-call";

    /// The profile, under the given vendor name.
    pub fn profile(self, vendor: &str) -> Result<Profile, NameError> {
        let create = Operation {
            timeout: self.timeout,
            repeat: self.repeat,
            key_source: KeySource::Caller,
            key_carrier: KeyCarrier::Body("idempotency_key".into()),
            correlation: Some("/metadata/mainstay_call_id".into()),
            vendor_ref: Some("/call_id".into()),
            completion: Completion::Callback { within: self.call_max, holds_slot: true },
            estimate: self.cents_per_call,
            cost: CostRule::Later,
            payload_max_bytes: 256 * 1024,
            required: vec!["/from_number".into(), "/to_number".into()],
            ..Operation::post("/v2/create-phone-call")
        };
        let mut rules: Vec<_> = EXHAUSTED
            .iter()
            .map(|word| Rule::body("/disconnection_reason", *word, Class::Exhausted, Effect::None))
            .collect();
        rules.push(Rule::body("/disconnection_reason", "concurrency_limit_reached", Class::Throttled, Effect::None));
        // Any other 201 that is an error: the phone may have rung.
        rules.push(Rule::body("/call_status", "error", Class::Server, Effect::Unknown));
        Ok(Profile {
            vendor: VendorId::new(vendor)?,
            base_url: Some(self.base_url),
            auth: Auth::Bearer(self.api_key),
            targets: BTreeMap::new(),
            operations: [(OperationId::new(Self::CREATE_PHONE_CALL)?, create)].into(),
            rules,
            retry: RetryConfig::default(),
            unit: "cents",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Answer, classify};
    use serde_json::json;

    #[test]
    fn an_error_after_a_201_counts_as_a_phone_that_may_have_rung_unless_the_vendor_says_it_never_dialled() {
        let profile = Retell::workspace("k").profile("retell").unwrap();
        let read = |body| classify(&profile.rules, Answer { status: 201, body: &body });
        let full = json!({"call_status": "error", "disconnection_reason": "concurrency_limit_reached"});
        assert_eq!((read(full.clone()).class, read(full).effect), (Class::Throttled, Effect::None));
        assert_eq!(
            read(json!({"call_status": "error", "disconnection_reason": "error_retell"})).effect,
            Effect::Unknown
        );
        assert_eq!(read(json!({"call_status": "registered"})).effect, Effect::Done);
    }

    #[test]
    fn the_profile_passes_its_own_checks_and_prints_no_secret() {
        let profile = Retell::workspace("key_canary").profile("retell").unwrap();
        let mut faults = crate::faults::Faults::default();
        profile.check(&mut faults);
        assert_eq!(faults.into_result(), Ok(()));
        assert!(!format!("{profile:?}").contains("canary"));
    }
}
