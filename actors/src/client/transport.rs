//! The seam to the wire, and the reading of what came back.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

use crate::{
    call::AcceptedCall,
    outcome::{Class, Effect, Outcome, Phase, cut},
    profile::{Answer, Method, Operation, Profile, read_amounts, retry_after, should_retry},
};

/// One request. Its address and headers are secrets: a Clay webhook's address alone is a credential.
#[derive(Debug, Clone)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// The whole address.
    pub url: SecretString,
    /// Names and values.
    pub headers: Vec<(String, SecretString)>,
    /// The body as JSON; empty where the method has none.
    pub body: Vec<u8>,
    /// From the first byte to the whole answer.
    pub timeout: Duration,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireAnswer {
    /// The status.
    pub status: u16,
    /// Lower-case names and values.
    pub headers: Vec<(String, String)>,
    /// The body, at most as long as the client's limit.
    pub body: Vec<u8>,
}

/// How the wire failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFault {
    /// No connection stood: nothing was sent.
    Connect,
    /// A connection was not made in time: nothing was sent.
    ConnectTimeout,
    /// Sent, and no whole answer in time.
    Timeout,
    /// Sent, and the connection broke.
    Broken,
    /// The request could not be built: nothing was sent.
    Invalid,
    /// The answer is larger than the client reads.
    TooLarge,
}

/// No whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// How.
    pub fault: WireFault,
    /// In words, without the address.
    pub detail: String,
}

/// The vendor's wire. The one seam between the runtime and a vendor.
#[cfg(feature = "runtime")]
pub trait Transport: Send + Sync {
    /// Sends one request and reads its whole answer. It must not retry and must not follow redirects.
    fn send(
        &self,
        request: WireRequest,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<WireAnswer, WireError>> + Send>>;
}

/// Reads what came back.
pub fn read(
    profile: &Profile,
    operation: &Operation,
    call: &AcceptedCall,
    result: Result<WireAnswer, WireError>,
    wall: Timestamp,
) -> Outcome {
    match result {
        Ok(answer) => read_answer(profile, operation, call, &answer, wall),
        Err(error) => read_error(&WireError { detail: profile.redact(&error.detail), ..error }),
    }
}

fn read_error(error: &WireError) -> Outcome {
    let (class, effect, phase) = match error.fault {
        WireFault::Connect => (Class::Connect, Effect::None, None),
        WireFault::ConnectTimeout => (Class::Connect, Effect::None, Some(Phase::Connect)),
        WireFault::Timeout => (Class::Timeout, Effect::Unknown, Some(Phase::Request)),
        WireFault::Broken => (Class::Broken, Effect::Unknown, None),
        WireFault::Invalid => (Class::CallerError, Effect::None, None),
        WireFault::TooLarge => (Class::Malformed, Effect::Unknown, None),
    };
    Outcome { phase, ..Outcome::without_answer(class, effect, error.detail.clone()) }
}

fn read_answer(
    profile: &Profile,
    operation: &Operation,
    call: &AcceptedCall,
    answer: &WireAnswer,
    wall: Timestamp,
) -> Outcome {
    let body = body_of(&answer.body);
    let seen = Answer { status: answer.status, body: &body, headers: &answer.headers };
    let read = profile.classify(operation, seen);
    let vendor_ref = operation.vendor_ref.as_ref().and_then(|at| body.pointer(at)).and_then(Value::as_str);
    let mut outcome = Outcome {
        status: Some(answer.status),
        vendor_ref: vendor_ref.map(|name| cut(name.to_owned())),
        retry_after: retry_after(|name| seen.header(name), answer.status, wall),
        should_retry: should_retry(|name| seen.header(name)),
        ..Outcome::without_answer(read.class, read.effect, profile.redact(&detail_of(answer.status, &body)))
    };
    if read.class == Class::Success && operation.vendor_ref.is_some() && vendor_ref.is_none() {
        // Taken on, and no name to follow it by.
        outcome.class = Class::Malformed;
        outcome.effect = Effect::Unknown;
        outcome.detail = format!("status {}, but the answer does not name the effect", answer.status);
    }
    if outcome.class == Class::Exhausted {
        outcome.retry_after = operation.until_reset(&body, wall).or(outcome.retry_after);
    }
    if outcome.is_success() {
        outcome.cost = match operation.charge.get(&outcome.class) {
            Some(charge) => Some(charge.of(call.estimate)),
            None => operation.cost.read(call.estimate, &body, |name| seen.header(name)),
        };
        outcome.also = read_amounts(&operation.also_cost, &body);
        outcome.pending = operation.completion.owed().is_some();
    }
    outcome.body = body;
    outcome
}

fn body_of(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(cut(String::from_utf8_lossy(bytes).into_owned())))
}

/// What an operator reads: the status, and the vendor's own words where it has the usual field for them.
fn detail_of(status: u16, body: &Value) -> String {
    let words = ["/message", "/error/message", "/error", "/disconnection_reason"]
        .iter()
        .find_map(|at| body.pointer(at).and_then(Value::as_str));
    match words {
        Some(words) => format!("HTTP {status}: {words}"),
        None => format!("HTTP {status}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{
        credits::Credits,
        ids::{CallId, OperationId},
    };

    /// What a vendor's answer is read as.
    fn answered(operation: Value, rules: Value, answer: WireAnswer) -> Outcome {
        let profile = json!({"base_url": "https://x.test", "rules": rules, "operations": {"look-up": operation}});
        let profile = serde_json::from_value::<Profile>(profile).unwrap().named("vendor").unwrap();
        let id = OperationId::new("look-up").unwrap();
        let wall = "2026-11-24T12:00:00Z".parse().unwrap();
        let call = AcceptedCall::new(CallId(Uuid::nil()), profile.vendor.clone(), id.clone(), json!({}), wall);
        read(&profile, &profile.operations[&id], &call, Ok(answer), wall)
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &Value) -> WireAnswer {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        WireAnswer { status, headers, body: serde_json::to_vec(body).unwrap() }
    }

    #[test]
    fn an_account_that_is_used_up_says_until_when_in_its_body_before_its_header() {
        let metered = json!({"resets_at": "/quota/resets_at"});
        let until = |body| answered(metered.clone(), json!([]), answer(402, &[("retry-after", "9")], &body));
        let stated = until(json!({"quota": {"resets_at": "2026-11-27T12:00:00Z"}}));
        assert_eq!((stated.class, stated.retry_after), (Class::Exhausted, Some(Duration::from_secs(3 * 86_400))));
        assert_eq!(until(json!({})).retry_after, Some(Duration::from_secs(9)));
    }

    #[test]
    fn the_cost_is_read_where_the_operation_says() {
        let cost =
            |cost, headers: &[_], body| answered(json!({"cost": cost}), json!([]), answer(200, headers, &body)).cost;
        assert_eq!(cost(json!({"body": {"at": "/used"}}), &[], json!({"used": 3})), Some(Credits::whole(3)));
        let header = json!({"header": {"name": "X-Credits", "scale": 0.5}});
        assert_eq!(cost(header, &[("x-credits", "3")], json!({})), Some(Credits::from_micros(1_500_000)));
        assert_eq!(cost(json!("free"), &[], json!({})), Some(Credits::ZERO));
    }

    #[test]
    fn the_rules_of_the_operation_go_before_those_of_the_vendor() {
        let own = json!({"rules": [{"when": {"status": 404}, "class": "not_found"}]});
        let rules = json!([{"when": {"status": 404}, "class": "server"}]);
        assert_eq!(answered(own, rules.clone(), answer(404, &[], &Value::Null)).class, Class::NotFound);
        assert_eq!(answered(json!({}), rules, answer(404, &[], &Value::Null)).class, Class::Server);
    }
}
