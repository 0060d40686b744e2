//! What both simulated vendors need: a request as they see it, their answer, a rate limit, a range to draw from.

use std::time::{Duration, Instant};

use axum::{body::Bytes, http::HeaderMap};
use mainstay_actors::faults::Faults;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Vendor, ledger::Mark};

/// What can be asked of the vendors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Webhook,
    Me,
    GetBalance,
    RunRoutine,
    GetResults,
    CreatePhoneCall,
    GetCall,
    StopCall,
    GetConcurrency,
    ListCalls,
    CreateAgent,
    GetAgent,
    DeleteAgent,
}

impl Operation {
    pub(super) const fn vendor(self) -> Vendor {
        match self {
            Self::Webhook | Self::Me | Self::GetBalance | Self::RunRoutine | Self::GetResults => Vendor::Clay,
            _ => Vendor::Retell,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Me => "me",
            Self::GetBalance => "get-balance",
            Self::RunRoutine => "run-routine",
            Self::GetResults => "get-results",
            Self::CreatePhoneCall => "create-phone-call",
            Self::GetCall => "get-call",
            Self::StopCall => "stop-call",
            Self::GetConcurrency => "get-concurrency",
            Self::ListCalls => "list-calls",
            Self::CreateAgent => "create-agent",
            Self::GetAgent => "get-agent",
            Self::DeleteAgent => "delete-agent",
        }
    }

    /// The status of its success.
    pub(super) const fn success(self) -> u16 {
        match self {
            Self::CreatePhoneCall | Self::CreateAgent => 201,
            Self::RunRoutine => 202,
            Self::StopCall | Self::DeleteAgent => 204,
            _ => 200,
        }
    }
}

/// A request, read and parsed.
pub(super) struct Ask {
    pub(super) operation: Operation,
    /// The variable part of the path.
    pub(super) argument: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The body, if it is JSON.
    pub(super) json: Option<Value>,
}

impl Ask {
    pub(super) fn new(operation: Operation, argument: String, headers: HeaderMap, body: Bytes) -> Self {
        let json = serde_json::from_slice(&body).ok();
        Self { operation, argument, headers, body, json }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What the request says about itself, one mark for each of its rows.
    pub(super) fn marks(&self) -> Vec<Mark> {
        match (self.operation, &self.json) {
            (Operation::Webhook, Some(Value::Array(rows))) => rows.iter().map(|row| mark(None, Some(row))).collect(),
            (Operation::Webhook, json) => vec![mark(None, json.as_ref())],
            (Operation::RunRoutine, Some(json)) => {
                let items = json.get("items").and_then(Value::as_array).map_or(0, Vec::len);
                vec![Mark::default(); items]
            }
            (Operation::CreatePhoneCall, Some(json)) => vec![mark(json.get("idempotency_key"), json.get("metadata"))],
            _ => Vec::new(),
        }
    }
}

/// Where the caller's call id stands: a column of a row, a member of a call's metadata.
pub(super) const CALL_FIELD: &str = "mainstay_call_id";

fn mark(key: Option<&Value>, labels: Option<&Value>) -> Mark {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    Mark { key: key.and_then(text), call: labels.and_then(|labels| labels.get(CALL_FIELD)).and_then(text) }
}

/// A vendor's answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    /// The `Retry-After` header, in seconds.
    pub(super) retry_after_secs: Option<u64>,
}

impl Answer {
    pub(super) fn new(status: u16, body: Value) -> Self {
        Self { status, body, retry_after_secs: None }
    }
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Allowed per second in the long run; above 0.
    pub per_second: f64,
    /// Allowed at once after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    pub(super) fn check(&self, faults: &mut Faults) {
        let sane = self.per_second.is_finite() && self.per_second > 0.0;
        faults.require(sane, "per_second", || format!("{} is not a number above 0", self.per_second));
        faults.require(self.burst >= 1, "burst", || "must be at least 1".into());
    }
}

/// A bucket that fills at a [`Rate`]. It begins full.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, tokens: f64::from(rate.burst), filled: None }
    }

    /// Takes `count` tokens, or says after how long there will be as many. More than the burst never fit.
    pub(super) fn take(&mut self, count: usize, now: Instant) -> Result<(), Duration> {
        if let Some(filled) = self.filled {
            let grown = now.saturating_duration_since(filled).as_secs_f64() * self.rate.per_second;
            self.tokens = (self.tokens + grown).min(f64::from(self.rate.burst));
        }
        self.filled = Some(now);
        let missing = count as f64 - self.tokens;
        if missing > 0.0 {
            return Err(Duration::try_from_secs_f64(missing / self.rate.per_second).unwrap_or(Duration::MAX));
        }
        self.tokens -= count as f64;
        Ok(())
    }
}

/// A range of durations to draw from, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The shortest.
    #[serde(with = "mainstay_actors::duration")]
    pub min: Duration,
    /// The longest.
    #[serde(with = "mainstay_actors::duration")]
    pub max: Duration,
}

impl Spread {
    /// A range in milliseconds.
    pub const fn millis(min: u64, max: u64) -> Self {
        Self { min: Duration::from_millis(min), max: Duration::from_millis(max) }
    }

    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> Duration {
        self.min + self.max.saturating_sub(self.min).mul_f64(rng.f64())
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        faults.require(self.min <= self.max, "max", || "must not be shorter than `min`".into());
    }
}

#[cfg(test)]
mod tests {
    use mainstay_actors::clock;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_bucket_gives_no_more_than_its_burst_and_what_grew_since(
            burst in 1..20u32, per_second in 1..50u32, steps in prop::collection::vec(0..400u64, 1..60),
        ) {
            let mut bucket = Bucket::new(Rate { per_second: f64::from(per_second), burst });
            let start = clock::now();
            let (mut at, mut given) = (start, 0.0);
            for step in steps {
                at += Duration::from_millis(step);
                given += f64::from(u8::from(bucket.take(1, at).is_ok()));
                let most = f64::from(burst) + (at - start).as_secs_f64() * f64::from(per_second);
                prop_assert!(given <= most + 1e-6, "{given} of {most}");
            }
        }
    }

    #[test]
    fn an_empty_bucket_says_when_to_come_back() {
        let mut bucket = Bucket::new(Rate { per_second: 2.0, burst: 1 });
        let now = clock::now();
        assert_eq!(bucket.take(1, now), Ok(()));
        assert_eq!(bucket.take(1, now), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take(1, now + Duration::from_millis(500)), Ok(()));
    }
}
