//! Retell AI: every operation an integrator uses. A 201 to a new call means that it is registered; its end comes later, by
//! webhook or from `get-call`.
//!
//! Facts: bearer key; 20 live calls a workspace and 1 call start a second by default; the vendor's SDK waits 120 s for a phone
//! call and 300 s for batches and lists; only `create-phone-call` knows an idempotency key, the body field `idempotency_key`,
//! for one hour; the real cost is in `call_cost.combined_cost` (cents), after the end. Errors are `{status, message}`, without
//! a code of their own.
//!
//! | operations | group | may be repeated | costs |
//! | --- | --- | --- | --- |
//! | `create-phone-call`, `create-web-call`, `register-phone-call` | | never, with the caller's key | [`Retell::cents_per_call`], settled at the end |
//! | `create-batch-call` | `batches` | never, with the caller's key | that for each of its `tasks` |
//! | `rerun-call-analysis` | `records` | never, with the caller's key | [`Retell::cents_per_analysis`] |
//! | `update-live-call` | | never | nothing |
//! | `stop-call`, `get-concurrency` | | always | nothing |
//! | `get-call`, `list-calls`, `update-call`, `delete-call` | `records` | always | nothing |
//! | `create-agent` | `agents` | never | nothing |
//! | `get-agent`, `list-agents`, `update-agent`, `delete-agent` | `agents` | always | nothing |
//!
//! Each group has a breaker of its own: records that cannot be read are no reason not to call.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::{
    Amount, Auth, BodyIs, Completion, CostRule, EndRules, KeyCarrier, KeySource, Method, Operation, Poll, Profile,
    Reconcile, Repeat, Rule, When, timeout,
};
use crate::{
    credits::Credits,
    hours::Hours,
    ids::{GroupId, MeterId, NameError, OperationId, VendorId},
    outcome::{Class, Effect},
};

/// The member of a call's metadata that holds our call id.
const CALL_ID: &str = "mainstay_call_id";

const HOUR: Duration = Duration::from_secs(3600);

/// What is particular to one Retell workspace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retell {
    /// The API key. A secret. It has no default.
    #[serde(deserialize_with = "crate::secret::deserialize")]
    pub api_key: SecretString,
    /// Where the API is; default `https://api.retellai.com`.
    #[serde(deserialize_with = "crate::secret::deserialize")]
    pub base_url: SecretString,
    /// What one call may cost at most, in cents; default 310: ten minutes at 31 cents, the dearest published bundle.
    pub cents_per_call: Credits,
    /// What one new analysis of a call may cost at most, in cents; default 31, ours: a minute of the dearest bundle. The
    /// vendor says that it charges, not how much.
    pub cents_per_analysis: Credits,
    /// From the first byte to the answer, for a new call; default 120 s, as in the vendor's SDK.
    #[serde(with = "crate::duration")]
    pub timeout: Duration,
    /// The hours in which a phone call or a batch of them may begin, retried, queued or replayed too; default always. A call
    /// may bring hours of its own, where that phone is.
    pub hours: Option<Hours>,
    /// Longest live call with its margin: how long a slot is leased; default 65 min (the vendor's 1 h and 5 min).
    #[serde(with = "crate::duration")]
    pub call_max: Duration,
    /// Whether the end of a call is also asked for, by `get-call`, and how often at first; default not: the webhook tells it.
    /// Each question takes a start from the rate of the vendor's gate, 1 a second by default, and a slot while it is answered:
    /// with a cap that live calls use up there is none to ask with.
    #[serde(with = "crate::duration::optional")]
    pub poll_every: Option<Duration>,
    /// Whether a phone call whose fate is not known may be sent again. `Never` by default although the key is sent along: the
    /// window is one hour and the price of a mistake is a phone that rings twice.
    pub repeat: Repeat,
}

impl Default for Retell {
    fn default() -> Self {
        Self::workspace("")
    }
}

impl Retell {
    /// Places a phone call.
    pub const CREATE_PHONE_CALL: &'static str = "create-phone-call";
    /// Prepares a call in a browser.
    pub const CREATE_WEB_CALL: &'static str = "create-web-call";
    /// Registers a call of the customer's own telephony.
    pub const REGISTER_PHONE_CALL: &'static str = "register-phone-call";
    /// Places many phone calls, for which the payload's `tasks` is a list.
    pub const CREATE_BATCH_CALL: &'static str = "create-batch-call";
    /// Reads one call.
    pub const GET_CALL: &'static str = "get-call";
    /// Finds calls.
    pub const LIST_CALLS: &'static str = "list-calls";
    /// Ends a live call.
    pub const STOP_CALL: &'static str = "stop-call";
    /// Changes what is kept of a call.
    pub const UPDATE_CALL: &'static str = "update-call";
    /// Changes a live call.
    pub const UPDATE_LIVE_CALL: &'static str = "update-live-call";
    /// Forgets a call.
    pub const DELETE_CALL: &'static str = "delete-call";
    /// Analyses a call again; it charges.
    pub const RERUN_CALL_ANALYSIS: &'static str = "rerun-call-analysis";
    /// Makes an agent.
    pub const CREATE_AGENT: &'static str = "create-agent";
    /// Reads an agent.
    pub const GET_AGENT: &'static str = "get-agent";
    /// Changes an agent.
    pub const UPDATE_AGENT: &'static str = "update-agent";
    /// Finds agents.
    pub const LIST_AGENTS: &'static str = "list-agents";
    /// Removes an agent.
    pub const DELETE_AGENT: &'static str = "delete-agent";
    /// Reads how many calls are live and how many may be.
    pub const GET_CONCURRENCY: &'static str = "get-concurrency";

    /// A workspace with the defaults above.
    pub fn workspace(api_key: impl Into<String>) -> Self {
        Self {
            api_key: SecretString::from(api_key.into()),
            base_url: SecretString::from("https://api.retellai.com".to_owned()),
            cents_per_call: Credits::whole(310),
            cents_per_analysis: Credits::whole(31),
            timeout: timeout::RETELL_CREATE,
            hours: None,
            call_max: Duration::from_secs(65 * 60),
            poll_every: None,
            repeat: Repeat::Never,
        }
    }

    /// The profile, under the given vendor name.
    pub fn profile(self, vendor: &str) -> Result<Profile, NameError> {
        let operations = self.calls().into_iter().chain(of_live_calls()).chain(records()).chain(agents());
        Ok(Profile {
            vendor: VendorId::new(vendor)?,
            operations: operations.map(|(name, operation)| (OperationId::of_ours(name), operation)).collect(),
            base_url: Some(self.base_url),
            auth: Auth::Bearer(self.api_key),
            unit: MeterId::of_ours("cents"),
            ..Profile::empty()
        })
    }

    /// What charges.
    fn calls(&self) -> [(&'static str, Operation); 5] {
        let phone = Operation {
            hours: self.hours.clone(),
            repeat: self.repeat,
            key_carrier: KeyCarrier::Body("idempotency_key".into()),
            required: vec!["/from_number".into(), "/to_number".into()],
            ..self.call("/v2/create-phone-call")
        };
        let batch = Operation {
            group: Some(GroupId::of_ours("batches")),
            timeout: timeout::LONG_POLL,
            hours: self.hours.clone(),
            key_source: KeySource::Caller,
            vendor_ref: Some("/batch_call_id".into()),
            estimate: self.cents_per_call,
            estimate_for_each: Some("/tasks".into()),
            payload_max_bytes: 16 << 20,
            required: vec!["/from_number".into(), "/tasks".into()],
            ..Operation::post("/create-batch-call")
        };
        let analysis = Operation {
            method: Method::Put,
            group: Some(GroupId::of_ours("records")),
            key_source: KeySource::Caller,
            estimate: self.cents_per_analysis,
            ..Operation::post("/rerun-call-analysis/{call_id}")
        };
        [
            (Self::CREATE_PHONE_CALL, phone),
            (
                Self::CREATE_WEB_CALL,
                Operation { required: vec!["/agent_id".into()], ..self.call("/v3/create-web-call") },
            ),
            (
                Self::REGISTER_PHONE_CALL,
                Operation { required: vec!["/agent_id".into()], ..self.call("/v2/register-phone-call") },
            ),
            (Self::CREATE_BATCH_CALL, batch),
            (Self::RERUN_CALL_ANALYSIS, analysis),
        ]
    }

    /// A new call.
    fn call(&self, path: &str) -> Operation {
        Operation {
            timeout: self.timeout,
            key_source: KeySource::Caller,
            correlation: Some(format!("/metadata/{CALL_ID}")),
            vendor_ref: Some("/call_id".into()),
            completion: self.completion(),
            estimate: self.cents_per_call,
            cost: CostRule::Later,
            payload_max_bytes: 256 * 1024,
            rules: failed_at_once(),
            end: EndRules {
                rules: end_rules(),
                cost: Some(Amount::at("/call_cost/combined_cost")),
                ..EndRules::default()
            },
            reconcile: Some(by_metadata()),
            ..Operation::post(path)
        }
    }

    fn completion(&self) -> Completion {
        let (within, holds_slot) = (self.call_max, true);
        let Some(every) = self.poll_every else { return Completion::Callback { within, holds_slot } };
        let live = BodyIs::one_of("/call_status", ["registered", "ongoing"]);
        let (operation, every_max) = (OperationId::of_ours(Self::GET_CALL), every.saturating_mul(10).min(HOUR));
        Completion::Poll(Poll { operation, every, every_max, within, holds_slot, pending: vec![When::body(live)] })
    }
}

/// The vendor's list of calls knows our id by the metadata.
fn by_metadata() -> Reconcile {
    let ours = json!({ "type": "string", "op": "eq", "key": CALL_ID, "value": "{call}" });
    let payload = json!({ "filter_criteria": { "metadata": [ours] }, "limit": 1 });
    Reconcile::by(OperationId::of_ours(Retell::LIST_CALLS), payload, "/items/0")
}

/// What is done with calls while they last.
fn of_live_calls() -> [(&'static str, Operation); 3] {
    let update = Operation { cost: CostRule::Free, ..Operation::post("/v2/update-live-call/{call_id}") };
    [
        (Retell::STOP_CALL, Operation::harmless(Method::Post, "/v2/stop-call/{call_id}")),
        (Retell::UPDATE_LIVE_CALL, update),
        (Retell::GET_CONCURRENCY, Operation::harmless(Method::Get, "/get-concurrency")),
    ]
}

/// What is kept of calls.
fn records() -> [(&'static str, Operation); 4] {
    let list = Operation { timeout: timeout::LONG_POLL, ..Operation::harmless(Method::Post, "/v3/list-calls") };
    let operations = [
        (Retell::GET_CALL, Operation::harmless(Method::Get, "/v2/get-call/{call_id}")),
        (Retell::LIST_CALLS, list),
        (Retell::UPDATE_CALL, Operation::harmless(Method::Patch, "/v2/update-call/{call_id}")),
        (Retell::DELETE_CALL, deleting("/v2/delete-call/{call_id}")),
    ];
    operations.map(|one| in_group("records", one))
}

fn agents() -> [(&'static str, Operation); 5] {
    let create =
        Operation { cost: CostRule::Free, vendor_ref: Some("/agent_id".into()), ..Operation::post("/create-agent") };
    let operations = [
        (Retell::CREATE_AGENT, create),
        (Retell::GET_AGENT, Operation::harmless(Method::Get, "/get-agent/{agent_id}")),
        (Retell::UPDATE_AGENT, Operation::harmless(Method::Patch, "/update-agent/{agent_id}")),
        (Retell::LIST_AGENTS, Operation::harmless(Method::Post, "/v2/list-agents")),
        (Retell::DELETE_AGENT, deleting("/delete-agent/{agent_id}")),
    ];
    operations.map(|one| in_group("agents", one))
}

fn in_group(group: &'static str, (name, operation): (&'static str, Operation)) -> (&'static str, Operation) {
    (name, Operation { group: Some(GroupId::of_ours(group)), ..operation })
}

/// What is gone already was what was wanted: a deletion that is repeated finds nothing.
fn deleting(path: &str) -> Operation {
    let gone = [404, 422].map(|status| Rule::new(When::status(status, status), Class::NotFound));
    Operation { rules: gone.into(), ..Operation::harmless(Method::Delete, path) }
}

/// Where the vendor says why a call ended.
const REASON: &str = "/disconnection_reason";

/// Full: there was no slot for the call.
const FULL: [&str; 2] = ["concurrency_limit_reached", "no_concurrency_fallback"];

/// The account is used up.
const EXHAUSTED: [&str; 3] = ["no_valid_payment", "credit_exhausted", "budget_reached"];

/// Never dialled, for a reason that a person must see to or that lies with the one who was called.
const NOT_DIALLED: [&str; 6] = [
    "scam_detected",
    "telephony_provider_permission_denied",
    "network_blocked",
    "invalid_destination",
    "error_user_not_joined",
    "registered_call_timeout",
];

/// Never dialled, because the way there is out of order.
const NO_WAY: [&str; 2] = ["telephony_provider_unavailable", "sip_routing_error"];

/// Dialled, and then the vendor failed.
const FAILED: [&str; 8] = [
    "error_llm_websocket_open",
    "error_llm_websocket_lost_connection",
    "error_llm_websocket_runtime",
    "error_llm_websocket_corrupt_payload",
    "error_no_audio_received",
    "error_asr",
    "error_retell",
    "error_unknown",
];

/// Dialled, and nobody was reached: an answer, not a failure.
const NOT_REACHED: [&str; 5] = ["dial_busy", "dial_failed", "dial_no_answer", "user_declined", "marked_as_spam"];

/// How the end of a call is read, by the vendor's words for it. Whatever is not here is a conversation that ended.
fn end_rules() -> Vec<Rule> {
    let rule = |words: &[&str], class, effect| {
        let when = When::body(BodyIs::one_of(REASON, words.iter().copied()));
        Rule { effect: Some(effect), ..Rule::new(when, class) }
    };
    vec![
        rule(&FULL, Class::Throttled, Effect::None),
        rule(&EXHAUSTED, Class::Exhausted, Effect::None),
        rule(&NOT_DIALLED, Class::CallerError, Effect::None),
        rule(&NO_WAY, Class::Server, Effect::None),
        rule(&FAILED, Class::Server, Effect::Done),
        rule(&NOT_REACHED, Class::NotFound, Effect::Done),
    ]
}

/// A 2xx that is none, in the answer to a new call. Where the vendor does not say that it never dialled, the phone may have
/// rung.
fn failed_at_once() -> Vec<Rule> {
    let never_dialled = end_rules().into_iter().filter(|rule| rule.effect == Some(Effect::None));
    let failed = Rule::body("/call_status", "error", Class::Server, Effect::Unknown);
    never_dialled.chain([failed]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{faults::Faults, profile::Answer};

    fn profile() -> Profile {
        Retell::workspace("key_canary").profile("retell").unwrap()
    }

    fn operation(name: &'static str) -> Operation {
        profile().operations[&OperationId::of_ours(name)].clone()
    }

    #[test]
    fn an_error_after_a_201_counts_as_a_phone_that_may_have_rung_unless_the_vendor_says_it_never_dialled() {
        let (profile, create) = (profile(), operation(Retell::CREATE_PHONE_CALL));
        let read = |body: Value| profile.classify(&create, Answer::new(201, &body));
        let full = read(json!({"call_status": "error", "disconnection_reason": "concurrency_limit_reached"}));
        assert_eq!((full.class, full.effect), (Class::Throttled, Effect::None));
        assert_eq!(
            read(json!({"call_status": "error", "disconnection_reason": "error_retell"})).effect,
            Effect::Unknown
        );
        assert_eq!(read(json!({"call_status": "registered"})).effect, Effect::Done);
    }

    #[test]
    fn a_call_that_failed_is_read_without_a_failure_of_the_reading() {
        let (profile, get) = (profile(), operation(Retell::GET_CALL));
        let failed = json!({"call_status": "error", "disconnection_reason": "error_retell"});
        assert_eq!(profile.classify(&get, Answer::new(200, &failed)).class, Class::Success);
    }

    #[test]
    fn every_word_for_an_end_says_its_kind_and_whether_the_phone_rang() {
        let end = operation(Retell::CREATE_PHONE_CALL).end;
        for (word, class, effect) in [
            ("no_concurrency_fallback", Class::Throttled, Effect::None),
            ("credit_exhausted", Class::Exhausted, Effect::None),
            ("invalid_destination", Class::CallerError, Effect::None),
            ("sip_routing_error", Class::Server, Effect::None),
            ("error_asr", Class::Server, Effect::Done),
            ("dial_no_answer", Class::NotFound, Effect::Done),
            ("user_hangup", Class::Success, Effect::Done),
            ("a_word_of_next_year", Class::Success, Effect::Done),
        ] {
            let ended = end.read(&json!({"disconnection_reason": word, "call_cost": {"combined_cost": 31.5}}));
            assert_eq!((ended.class, ended.effect), (class, effect), "{word}");
            assert_eq!(ended.cost, Some(Credits::from_micros(31_500_000)));
        }
    }

    #[test]
    fn what_charges_is_never_repeated_and_needs_the_callers_key() {
        let charged = |operation: &Operation| operation.estimate > Credits::ZERO;
        let profile = profile();
        let (charging, free): (Vec<_>, Vec<_>) = profile.operations.values().partition(|operation| charged(operation));
        assert_eq!((charging.len(), free.len()), (5, 12));
        assert!(charging.iter().all(|it| it.repeat == Repeat::Never && it.key_source == KeySource::Caller));
        assert!(free.iter().all(|it| it.cost == CostRule::Free && it.key_source != KeySource::Caller));
    }

    #[test]
    fn a_batch_reserves_for_each_of_its_calls() {
        let tasks = json!({"from_number": "+14155550100", "tasks": [{}, {}, {}]});
        assert_eq!(operation(Retell::CREATE_BATCH_CALL).estimate_of(&tasks), Credits::whole(3 * 310));
    }

    #[test]
    fn a_live_call_is_no_end_and_a_call_that_failed_is_one() {
        let polled = Retell { poll_every: Some(Duration::from_secs(20)), ..Retell::workspace("k") };
        let profile = polled.profile("retell").unwrap();
        let mut faults = Faults::default();
        profile.check(&mut faults);
        assert_eq!(faults.into_result(), Ok(()));
        let create = &profile.operations[&OperationId::of_ours(Retell::CREATE_PHONE_CALL)];
        let Completion::Poll(poll) = &create.completion else { panic!("not polled") };
        let pending = |status| poll.is_pending(Answer::new(200, &json!({ "call_status": status })));
        assert_eq!(["registered", "ongoing", "ended", "error"].map(pending), [true, true, false, false]);
        assert_eq!((poll.every_max, create.holds_slot()), (Duration::from_secs(200), true));
    }

    #[test]
    fn what_is_gone_already_is_deleted() {
        let (profile, delete) = (profile(), operation(Retell::DELETE_CALL));
        for status in [404, 422] {
            assert_eq!(profile.classify(&delete, Answer::new(status, &Value::Null)).class, Class::NotFound);
        }
    }

    #[test]
    fn the_profile_passes_its_own_checks_and_prints_no_secret() {
        let mut faults = Faults::default();
        profile().check(&mut faults);
        assert_eq!(faults.into_result(), Ok(()));
        assert!(!format!("{:?}", profile()).contains("canary"));
    }

    #[test]
    fn a_workspace_is_read_from_a_configuration_that_names_its_key_alone() {
        let workspace: Retell = serde_json::from_value(json!({"api_key": "k", "call_max": "2h"})).unwrap();
        assert_eq!((workspace.call_max, workspace.cents_per_call), (Duration::from_secs(7200), Credits::whole(310)));
        assert!(serde_json::from_value::<Retell>(json!({"api_key": "k", "key": "k"})).is_err());
        let mut faults = Faults::default();
        Retell::default().profile("retell").unwrap().check(&mut faults);
        assert_eq!(faults.into_result().unwrap_err()[0].field, "auth", "a forgotten key");
    }
}
