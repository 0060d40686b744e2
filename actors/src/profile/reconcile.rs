//! Whether an effect happened of which nobody knows: a question to the vendor, as data. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::pointer;
use crate::{
    faults::Faults,
    ids::{CallId, OperationId},
};

/// What stands for our call id in the payload of a question.
const CALL: &str = "{call}";

/// How it is found out whether an effect happened. Only that it is found proves something: the vendor's list may lag, so an
/// effect that is not found stays unknown, for a callback or a person.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    /// The operation that asks: one that may always be repeated.
    pub operation: OperationId,
    /// Its payload. Each text in it that is `{call}` is the call id, where [`Operation::correlation`](super::Operation) put it.
    pub payload: Value,
    /// A JSON pointer in its answer to the effect: it is found when something is there.
    pub found: String,
    /// The pause before the first question; each further one is twice as long. Up to an hour; default 10 s, ours.
    #[serde(default = "after", with = "crate::duration")]
    pub after: Duration,
    /// How often it is asked. 1 to 10; default 3, ours: with the default pauses within 70 s.
    #[serde(default = "times")]
    pub times: u32,
}

const fn after() -> Duration {
    Duration::from_secs(10)
}

const fn times() -> u32 {
    3
}

impl Reconcile {
    /// A question with the default pauses.
    pub fn by(operation: OperationId, payload: Value, found: &str) -> Self {
        Self { operation, payload, found: found.into(), after: after(), times: times() }
    }

    /// The pause before asking for the `asked`th time, from 0.
    pub fn pause(&self, asked: u32) -> Duration {
        self.after.saturating_mul(1 << asked.min(10))
    }

    /// The payload of the question about a call.
    pub fn question(&self, call: CallId) -> Value {
        let mut payload = self.payload.clone();
        fill(&mut payload, &call.to_string());
        payload
    }

    /// What the vendor has of the effect, if an answer shows any.
    pub fn read<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        pointer::find(answer, &self.found).into_iter().find(|found| !found.is_null())
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        pointer::check(&self.found, "found", faults);
        faults.require(self.after <= Duration::from_secs(3600), "after", || format!("{:?} is over 1h", self.after));
        faults.require((1..=10).contains(&self.times), "times", || format!("{} is not within 1..=10", self.times));
        let names_the_call = self.question(CallId(Uuid::nil())) != self.payload;
        faults
            .require(names_the_call, "payload", || format!("must have a text that is {CALL:?}, or any call is found"));
    }
}

fn fill(value: &mut Value, call: &str) {
    match value {
        Value::String(text) if text == CALL => *text = call.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, call)),
        Value::Object(members) => members.values_mut().for_each(|member| fill(member, call)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reconcile(payload: Value) -> Reconcile {
        Reconcile::by(OperationId::new("list").unwrap(), payload, "/items/0")
    }

    #[test]
    fn a_question_names_the_call_and_its_answer_shows_the_effect_or_not() {
        let asks = reconcile(json!({"filter": [{"key": "id", "value": "{call}"}], "limit": 1}));
        let question = asks.question(CallId(Uuid::from_u128(7)));
        assert_eq!(question.pointer("/filter/0/value").unwrap(), "00000000-0000-0000-0000-000000000007");
        assert_eq!(asks.read(&json!({"items": [{"call_id": "c"}]})), Some(&json!({"call_id": "c"})));
        assert_eq!((asks.read(&json!({"items": []})), asks.read(&json!({"items": [null]}))), (None, None));
    }

    #[test]
    fn a_question_that_names_no_call_is_a_fault() {
        let wrong =
            Reconcile { found: "items".into(), after: Duration::MAX, times: 0, ..reconcile(json!({"limit": 1})) };
        let mut faults = Faults::default();
        wrong.check(&mut faults);
        let fields: Vec<_> = faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["found", "after", "times", "payload"]);
        assert!(wrong.pause(u32::MAX) == Duration::MAX);
    }
}
