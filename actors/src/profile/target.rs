//! The named targets of a vendor: several places under one account, such as Clay tables. Each has an address of its own,
//! which is a secret, and a name, which is what is shown and stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Auth, Operation, Profile};
use crate::{
    faults::Faults,
    ids::{Circuit, OperationId, TargetId},
};

/// Circuits of one vendor at most, which are its places times the groups of operations there: each has a breaker, and their
/// names are labels of metrics.
pub const CIRCUITS_MAX: usize = 64;

/// Shorter parts of an address are words, such as `v3` and `webhook`.
const ADDRESS_SECRET_MIN_BYTES: usize = 12;

/// Shorter keys are for tests, and would tear words apart.
const KEY_MIN_BYTES: usize = 8;

/// One place of a vendor, with a name of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Scheme, host and port, and a path prefix if there is one. A secret.
    #[serde(deserialize_with = "crate::secret::deserialize")]
    pub base_url: SecretString,
    /// How calls are authenticated here; default as everywhere at the vendor.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// What can be done here; default, when empty, the vendor's operations.
    #[serde(default)]
    pub operations: BTreeMap<OperationId, Operation>,
}

impl Target {
    /// A target that differs from the vendor by its address alone.
    pub fn at(base_url: impl Into<String>) -> Self {
        Self { base_url: SecretString::from(base_url.into()), auth: None, operations: BTreeMap::new() }
    }

    /// Notes everything that is wrong with it.
    pub(super) fn check(&self, faults: &mut Faults) {
        check_address(&self.base_url, faults);
        if let Some(auth) = &self.auth {
            auth.check(faults);
        }
        for (id, operation) in &self.operations {
            operation.check(&mut faults.under(id.as_str()));
        }
    }
}

pub(super) fn check_address(url: &SecretString, faults: &mut Faults) {
    let url = url.expose_secret();
    let http = url.starts_with("http://") || url.starts_with("https://");
    faults.require(http, "base_url", || "must begin with http:// or https:// (not shown: it may be a secret)".into());
}

/// Where a call goes, and how it proves who it is.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// Scheme, host and port, and a path prefix if there is one. A secret.
    pub base_url: &'a SecretString,
    /// How calls are authenticated there.
    pub auth: &'a Auth,
}

impl Profile {
    /// True when a call must name a target: the vendor itself has no address.
    pub fn needs_target(&self) -> bool {
        self.base_url.is_none() && !self.targets.is_empty()
    }

    /// Where calls to this target go. `None` when there is no such target, or the vendor has no address of its own.
    pub fn address(&self, target: Option<&TargetId>) -> Option<Address<'_>> {
        let Some(target) = target else {
            return Some(Address { base_url: self.base_url.as_ref()?, auth: &self.auth });
        };
        let target = self.targets.get(target)?;
        Some(Address { base_url: &target.base_url, auth: target.auth.as_ref().unwrap_or(&self.auth) })
    }

    /// An operation as it is at this target. `None` when it, or the target, is not there.
    pub fn operation(&self, target: Option<&TargetId>, operation: &OperationId) -> Option<&Operation> {
        self.operations_at(target)?.get(operation)
    }

    /// What can be done at this target. `None` when there is no such target, or one must be named.
    pub fn operations_at(&self, target: Option<&TargetId>) -> Option<&BTreeMap<OperationId, Operation>> {
        let Some(target) = target else { return (!self.needs_target()).then_some(&self.operations) };
        let own = &self.targets.get(target)?.operations;
        Some(if own.is_empty() { &self.operations } else { own })
    }

    /// Every place calls go to: `None` stands for the vendor itself.
    pub fn places(&self) -> impl Iterator<Item = Option<&TargetId>> {
        let itself = (!self.needs_target()).then_some(None);
        itself.into_iter().chain(self.targets.keys().map(Some))
    }

    /// The circuit of an operation at this target: where one breaker guards all that fails together.
    pub fn circuit(&self, target: Option<&TargetId>, operation: &OperationId) -> Circuit {
        let group = self.operation(target, operation).and_then(|operation| operation.group.clone());
        Circuit { target: target.cloned(), group }
    }

    /// Every circuit.
    pub fn circuits(&self) -> BTreeSet<Circuit> {
        let at = |place: Option<&TargetId>| {
            let groups = self.operations_at(place).into_iter().flat_map(BTreeMap::values).map(|one| one.group.clone());
            let target = place.cloned();
            groups.map(|group| Circuit { target: target.clone(), group }).collect::<Vec<_>>()
        };
        self.places().flat_map(at).collect()
    }

    /// Every operation, of the vendor and of its targets.
    pub fn every_operation(&self) -> impl Iterator<Item = (&OperationId, &Operation)> {
        self.operations.iter().chain(self.targets.values().flat_map(|target| &target.operations))
    }

    /// The longest timeout of any operation.
    pub fn longest_timeout(&self) -> Option<Duration> {
        self.every_operation().map(|(_, operation)| operation.timeout).max()
    }

    /// Takes the secrets of the vendor and of all its targets out of a vendor's words: some gateways repeat in their errors
    /// what they were sent.
    pub fn redact(&self, words: &str) -> String {
        let auths = std::iter::once(&self.auth).chain(self.targets.values().filter_map(|target| target.auth.as_ref()));
        let keys: Vec<_> = auths.flat_map(Auth::secrets).collect();
        let keys = keys.iter().map(|key| key.expose_secret());
        let mut secrets: Vec<&str> = keys.filter(|key| key.len() >= KEY_MIN_BYTES).collect();
        for address in self.base_url.iter().chain(self.targets.values().map(|target| &target.base_url)) {
            secrets.extend(secret_parts(address.expose_secret()));
        }
        // One secret may be the beginning of another: the longer one goes first, or its end would stay.
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(words.to_owned(), |words, secret| words.replace(secret, "<redacted>"))
    }
}

fn secret_parts(address: &str) -> impl Iterator<Item = &str> {
    let behind_host = address.split_once("://").map_or(address, |(_, rest)| rest).split(['/', '?', '&', '=']).skip(1);
    behind_host.filter(|part| part.len() >= ADDRESS_SECRET_MIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Clay;

    fn name(name: &str) -> TargetId {
        TargetId::new(name).unwrap()
    }

    fn two_tables() -> Profile {
        let token = Some("token_canary_2".to_owned().into());
        let leads = Clay::table("https://clay.test/v3/webhook/hook-canary-1");
        let accounts = Clay { token, ..Clay::table("https://clay.test/v3/webhook/hook-canary-11") };
        let targets = [(name("leads"), leads.into()), (name("accounts"), accounts.into())].into();
        Profile { targets, ..Clay::account("clay").unwrap() }
    }

    #[test]
    fn a_call_goes_to_its_target_with_the_auth_of_that_target() {
        let mut profile = two_tables();
        profile.auth = Auth::Bearer("of the vendor".to_owned().into());
        let mut plain = Target::at("https://clay.test/plain");
        profile.targets.insert(name("plain"), plain.clone());
        let at = |target: &str| profile.address(Some(&name(target))).unwrap();
        assert!(at("leads").base_url.expose_secret().ends_with("hook-canary-1"));
        assert!(matches!(at("leads").auth, Auth::None), "a table without a token sends none");
        assert!(matches!(at("accounts").auth, Auth::Header { .. }));
        assert!(matches!(at("plain").auth, Auth::Bearer(_)), "as everywhere at the vendor");
        assert!(profile.address(Some(&name("other"))).is_none());
        assert!(profile.address(None).is_none(), "an account of tables has no address of its own");
        plain.auth = Some(Auth::None);
        profile.targets.insert(name("plain"), plain);
        assert!(matches!(profile.address(Some(&name("plain"))).unwrap().auth, Auth::None));
    }

    #[test]
    fn what_can_be_done_at_a_target_is_its_own_or_what_can_be_done_at_the_vendor() {
        let push = OperationId::new(Clay::PUSH_ROW).unwrap();
        let small = Operation { payload_max_bytes: 7, ..Operation::post("") };
        let mut profile = Clay::table("https://clay.test/own").profile("clay").unwrap();
        let own = Target { operations: [(push.clone(), small)].into(), ..Target::at("https://clay.test/small") };
        profile.targets = [(name("small"), own), (name("plain"), Target::at("https://clay.test/plain"))].into();
        let limit = |profile: &Profile, target: Option<&str>| {
            let target = target.map(name);
            profile.operation(target.as_ref(), &push).map(|operation| operation.payload_max_bytes)
        };
        let here = [Some("small"), Some("plain"), None, Some("other")].map(|target| limit(&profile, target));
        assert_eq!(here, [Some(7), Some(100_000), Some(100_000), None]);
        profile.base_url = None;
        assert_eq!((limit(&profile, None), limit(&profile, Some("plain"))), (None, Some(100_000)));
    }

    #[test]
    fn each_group_of_operations_at_each_place_is_a_circuit_and_they_are_bounded() {
        let group = |name: &str| crate::ids::GroupId::new(name).ok();
        let status = Operation { group: group("status"), ..Operation::post("/status") };
        let mut profile = two_tables();
        profile.base_url = Some("https://clay.test/own".to_owned().into());
        profile.operations = [
            (OperationId::new("create").unwrap(), Operation::post("/create")),
            (OperationId::new("get").unwrap(), status.clone()),
            (OperationId::new("list").unwrap(), status),
        ]
        .into();
        let written = |profile: &Profile| profile.circuits().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(written(&profile), ["", ":status", "accounts", "leads"]);
        let get = OperationId::new("get").unwrap();
        assert_eq!(profile.circuit(None, &get).to_string(), ":status");
        assert_eq!(profile.circuit(Some(&name("leads")), &get).to_string(), "leads", "it cannot get, and is refused");

        let faults = |places: usize| {
            let plain = |n: usize| (name(&format!("t{n}")), Target::at("https://clay.test/plain"));
            let profile = Profile { targets: (1..places).map(plain).collect(), ..profile.clone() };
            let mut faults = Faults::default();
            profile.check(&mut faults);
            faults.into_result().err().map(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(faults(32), None);
        assert_eq!(faults(33).unwrap(), ["circuits: 66 is over 64: use fewer targets, or fewer groups of operations"]);
    }

    #[test]
    fn a_vendors_words_lose_the_secrets_of_every_target() {
        let words = "no hook-canary-11 beside hook-canary-1 for token_canary_2";
        let redacted = "no <redacted> beside <redacted> for <redacted>";
        assert_eq!(two_tables().redact(words), redacted);
        assert!(!format!("{:?}", two_tables()).contains("canary"));
    }

    #[test]
    fn a_key_is_taken_out_in_every_form_in_which_it_travels() {
        let redacted = |auth: serde_json::Value, words: &str| {
            let auth = serde_json::from_value(auth).unwrap();
            Profile { auth, ..Clay::account("clay").unwrap() }.redact(words)
        };
        let query = serde_json::json!({"query": {"name": "key", "value": "canary/1 +ä"}});
        let words = "no canary/1 +ä in /x?key=canary%2F1+%2B%C3%A4";
        assert_eq!(redacted(query, words), "no <redacted> in /x?key=<redacted>");
        let basic = serde_json::json!({"basic": {"user": "user canary", "password": "open canary"}});
        let words = "no user canary with open canary: Basic dXNlciBjYW5hcnk6b3BlbiBjYW5hcnk=";
        assert_eq!(redacted(basic, words), "no <redacted> with <redacted>: Basic <redacted>");
        let header = serde_json::json!({"header": {"name": "x", "prefix": "Token ", "value": "canary_1"}});
        assert_eq!(redacted(header, "x: Token canary_1"), "x: Token <redacted>");
    }

    #[test]
    fn what_is_wrong_with_a_target_is_said_by_its_name_and_without_its_secrets() {
        let mut profile = two_tables();
        let auth = Some(Auth::Bearer("two\nlines canary".to_owned().into()));
        let operations = [(OperationId::new("dance").unwrap(), Operation::post("no-slash"))].into();
        profile.targets.insert(name("bad"), Target { auth, operations, ..Target::at("ftp://canary") });
        let mut faults = Faults::default();
        profile.check(&mut faults);
        let faults = faults.into_result().unwrap_err();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        let expected = ["base_url", "auth", "dance.path"].map(|field| format!("targets.bad.{field}"));
        assert_eq!(fields, expected);
        assert!(!format!("{faults:?}").contains("canary"));
    }

    #[test]
    fn a_place_where_nothing_can_be_done_is_a_fault() {
        let fields = |profile: Profile| {
            let mut faults = Faults::default();
            profile.check(&mut faults);
            faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(Clay::account("clay").unwrap()), ["operations"], "no table yet");
        let idle = Target::at("https://clay.test/idle");
        let profile = Profile { targets: [(name("idle"), idle)].into(), ..Clay::account("clay").unwrap() };
        assert_eq!(fields(profile), ["operations"]);
    }
}
