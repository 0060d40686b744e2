//! Clay's public API: runs of routines, and searches. A run is taken on with a 202 and asked for until it ends.
//!
//! Facts: `https://api.clay.com/public/v0`, header `clay-api-key`; errors are `{message}`, without a code; every 429 has a
//! `Retry-After`; no idempotency at all, so that a run which is sent twice charges twice; a page of a search that is fetched
//! twice is lost; searches take up to 25 s; a 402 states the reset of the quota in `period_quota.resets_at`; a 200 may hold
//! items that failed, so a status alone says nothing of the end.
//!
//! | operations | group | may be repeated | costs |
//! | --- | --- | --- | --- |
//! | `run-routine` | | never, with the caller's key | [`ClayApi::credits_per_item`] for each of its `items` |
//! | `get-results` | | always | nothing |
//! | `me`, `get-balance` | | always | nothing |
//! | `search-query`, `search-filters` | `search` | always: they only prepare a search | nothing |
//! | `run-search-query`, `run-search-filters` | `search` | never, with the caller's key | [`ClayApi::credits_per_search`] |

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::{
    Auth, BodyIs, Completion, CostRule, EndRules, KeySource, Method, Operation, Poll, Profile, Rule, When, timeout,
};
use crate::{
    credits::Credits,
    ids::{GroupId, NameError, OperationId, VendorId},
    outcome::{Class, Effect},
};

/// What is particular to one Clay workspace, as its public API sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClayApi {
    /// The API key. A secret. It has no default.
    #[serde(deserialize_with = "crate::secret::deserialize")]
    pub api_key: SecretString,
    /// Where the API is; default `https://api.clay.com/public/v0`.
    #[serde(deserialize_with = "crate::secret::deserialize")]
    pub base_url: SecretString,
    /// What one item of a run may cost at most; default 6 credits, the figure of the seed's example. A run's own price is in
    /// the description of its routine.
    pub credits_per_item: Credits,
    /// What one page of a search may cost at most; default 1 credit, ours: searches are metered by a quota.
    pub credits_per_search: Credits,
    /// How long after a run was taken on its results are owed; default 1 h, ours.
    #[serde(with = "crate::duration")]
    pub results_within: Duration,
    /// The first pause before results are asked for; default 2 s, growing to 1 min, ours.
    #[serde(with = "crate::duration")]
    pub poll_every: Duration,
}

impl Default for ClayApi {
    fn default() -> Self {
        Self::account("")
    }
}

impl ClayApi {
    /// Who the key belongs to: a probe that is free.
    pub const ME: &'static str = "me";
    /// What is left of the credits.
    pub const GET_BALANCE: &'static str = "get-balance";
    /// Runs a routine over 1 to 100 items; it charges.
    pub const RUN_ROUTINE: &'static str = "run-routine";
    /// The results of a run, or that it still runs.
    pub const GET_RESULTS: &'static str = "get-results";
    /// Prepares a search in words.
    pub const SEARCH_QUERY: &'static str = "search-query";
    /// Prepares a search by filters.
    pub const SEARCH_FILTERS: &'static str = "search-filters";
    /// The next page of a search in words.
    pub const RUN_SEARCH_QUERY: &'static str = "run-search-query";
    /// The next page of a search by filters.
    pub const RUN_SEARCH_FILTERS: &'static str = "run-search-filters";

    /// An account with the defaults above.
    pub fn account(api_key: impl Into<String>) -> Self {
        Self {
            api_key: SecretString::from(api_key.into()),
            base_url: SecretString::from("https://api.clay.com/public/v0".to_owned()),
            credits_per_item: Credits::whole(6),
            credits_per_search: Credits::whole(1),
            results_within: Duration::from_secs(3600),
            poll_every: Duration::from_secs(2),
        }
    }

    /// The profile, under the given vendor name.
    ///
    /// # Errors
    ///
    /// A name that is not allowed.
    pub fn profile(self, vendor: &str) -> Result<Profile, NameError> {
        let operations = [
            (Self::ME, Operation::harmless(Method::Get, "/me")),
            (Self::GET_BALANCE, Operation::harmless(Method::Get, "/credits/balance")),
            (Self::RUN_ROUTINE, self.run()),
            (Self::GET_RESULTS, Operation::harmless(Method::Get, "/routines/run/{routine_run_id}/results")),
            (Self::SEARCH_QUERY, search(Operation::harmless(Method::Post, "/search/query-mode"))),
            (Self::SEARCH_FILTERS, search(Operation::harmless(Method::Post, "/search/filters-mode"))),
            (Self::RUN_SEARCH_QUERY, self.page("/search/query-mode/{search_id}/run")),
            (Self::RUN_SEARCH_FILTERS, self.page("/search/filters-mode/{search_id}/run")),
        ];
        Ok(Profile {
            vendor: VendorId::new(vendor)?,
            base_url: Some(self.base_url),
            auth: Auth::Header { name: "clay-api-key".into(), prefix: String::new(), value: self.api_key },
            operations: operations.map(|(name, operation)| (OperationId::of_ours(name), operation)).into(),
            rules: vec![
                // An answer, not a failure: the company or person is not known there.
                Rule::new(
                    When::status(400, 400).and_body(BodyIs::containing("/message", "No matching")),
                    Class::NotFound,
                ),
                // "Busy, did not take it". Every other 5xx leaves open whether it was begun.
                Rule::status(503, 503, Class::Overload, Effect::None),
            ],
            ..Profile::empty()
        })
    }

    fn run(&self) -> Operation {
        let poll = Poll {
            operation: OperationId::of_ours(Self::GET_RESULTS),
            every: self.poll_every,
            every_max: self.poll_every.max(Duration::from_secs(60)),
            within: self.results_within,
            holds_slot: false,
            pending: vec![When::status(202, 202)],
        };
        Operation {
            timeout: timeout::REQUEST,
            key_source: KeySource::Caller,
            vendor_ref: Some("/routine_run_id".into()),
            completion: Completion::Poll(poll),
            estimate: self.credits_per_item,
            estimate_for_each: Some("/items".into()),
            cost: CostRule::Later,
            resets_at: Some(RESETS_AT.into()),
            payload_max_bytes: 1 << 20,
            required: vec!["/items".into()],
            end: EndRules { rules: end_rules(), ..EndRules::default() },
            ..Operation::post("/routines/{routine_id}/run")
        }
    }

    /// The next page. The same request is another page, so its content is no key; sent twice it loses one.
    fn page(&self, path: &str) -> Operation {
        let page = Operation { key_source: KeySource::Caller, ..Operation::post(path) };
        search(Operation { estimate: self.credits_per_search, ..page })
    }
}

/// People searches were seen to take 25 s.
fn search(operation: Operation) -> Operation {
    Operation {
        group: Some(GroupId::of_ours("search")),
        timeout: Duration::from_secs(60),
        resets_at: Some(RESETS_AT.into()),
        ..operation
    }
}

/// Where a 402 says when the quota is filled again.
const RESETS_AT: &str = "/period_quota/resets_at";

/// How the end of a run is read: a 200 in which an item failed is no success. The vendor refunds by itself what failed, so the
/// run is not free: it is settled at its reservation.
fn end_rules() -> Vec<Rule> {
    let failed = When::body(BodyIs::one_of("/data/*/status", ["failed"]));
    vec![Rule { effect: Some(Effect::Done), ..Rule::new(failed, Class::Server) }]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        faults::Faults,
        profile::{Answer, Repeat},
    };

    fn profile() -> Profile {
        ClayApi::account("key_canary").profile("clay-api").unwrap()
    }

    fn operation(name: &'static str) -> Operation {
        profile().operations[&OperationId::of_ours(name)].clone()
    }

    fn read(name: &'static str, status: u16, body: Value) -> (Class, Effect) {
        let read = profile().classify(&operation(name), Answer::new(status, &body));
        (read.class, read.effect)
    }

    #[test]
    fn the_profile_passes_its_own_checks_and_prints_no_secret() {
        let mut faults = Faults::default();
        profile().check(&mut faults);
        assert_eq!(faults.into_result(), Ok(()));
        assert!(!format!("{:?}", profile()).contains("canary"));
        let read: ClayApi = serde_json::from_value(json!({"api_key": "k", "poll_every": "5s"})).unwrap();
        assert_eq!(read.poll_every, Duration::from_secs(5));
    }

    #[test]
    fn a_company_nobody_knows_is_an_answer_and_a_dead_endpoint_is_the_callers_fault() {
        let unknown = json!({"message": "No matching companies found"});
        assert_eq!(read(ClayApi::RUN_SEARCH_FILTERS, 400, unknown), (Class::NotFound, Effect::Done));
        assert_eq!(read(ClayApi::RUN_ROUTINE, 400, json!({"message": "bad"})), (Class::CallerError, Effect::None));
        let dead = json!({"success": false, "message": "deprecated API endpoint"});
        assert_eq!(read(ClayApi::RUN_ROUTINE, 404, dead), (Class::CallerError, Effect::None));
    }

    #[test]
    fn a_run_is_never_repeated_reserves_for_each_item_and_is_asked_for_until_it_ends() {
        let run = operation(ClayApi::RUN_ROUTINE);
        assert_eq!((run.repeat, run.key_source), (Repeat::Never, KeySource::Caller));
        assert_eq!(run.estimate_of(&json!({"items": [{}, {}]})), Credits::whole(12));
        assert_eq!(read(ClayApi::RUN_ROUTINE, 202, json!({"routine_run_id": "r"})), (Class::Success, Effect::Done));
        let Completion::Poll(poll) = &run.completion else { panic!("not polled") };
        let none = Value::Null;
        assert!(poll.is_pending(Answer::new(202, &none)) && !poll.is_pending(Answer::new(200, &none)));
    }

    #[test]
    fn a_run_in_which_an_item_failed_is_no_success() {
        let end = operation(ClayApi::RUN_ROUTINE).end;
        let good = json!({"data": [{"id": "1", "status": "complete"}, {"id": "2", "status": "a_word_of_next_year"}]});
        assert_eq!((end.read(&good).class, end.read(&good).effect), (Class::Success, Effect::Done));
        let bad = json!({"data": [{"id": "1", "status": "complete"}, {"id": "2", "status": "failed"}]});
        assert_eq!((end.read(&bad).class, end.read(&bad).effect), (Class::Server, Effect::Done));
    }
}
