//! The lines of a profile's classification: which answers are meant, and what they are.

use serde::Deserialize;
use serde_json::Value;

use super::{Classified, pointer};
use crate::{
    faults::Faults,
    outcome::{Class, Effect},
};

/// A vendor's answer as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body; `Null` when it was empty, a string when it was no JSON.
    pub body: &'a Value,
    /// Lower-case names and values.
    pub headers: &'a [(String, String)],
}

impl<'a> Answer<'a> {
    /// An answer without headers.
    pub const fn new(status: u16, body: &'a Value) -> Self {
        Self { status, body, headers: &[] }
    }

    /// A header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Which answers are meant: all that is stated must be so.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// The status, `404`, or a range, `[500, 599]`; default any.
    pub status: Statuses,
    /// What stands in the body; default anything.
    pub body: Option<BodyIs>,
    /// A header that is there.
    pub with_header: Option<String>,
    /// A header that is not there.
    pub without_header: Option<String>,
}

/// A range of statuses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "StatusText")]
pub struct Statuses(u16, u16);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a status such as 404, or a range such as [500, 599]")]
enum StatusText {
    One(u16),
    Range(u16, u16),
}

impl From<StatusText> for Statuses {
    fn from(text: StatusText) -> Self {
        match text {
            StatusText::One(status) => Self(status, status),
            StatusText::Range(from, to) => Self(from, to),
        }
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self(0, u16::MAX)
    }
}

/// What stands at a place of a body. With neither `is` nor `contains`: anything but null.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BodyIs {
    /// A JSON pointer; where it leads to several values by a `*`, one that fits is enough.
    pub at: String,
    /// It is one of these.
    pub is: Vec<Value>,
    /// It is a text with these words in it.
    pub contains: Option<String>,
}

impl BodyIs {
    /// One of these values.
    pub fn one_of<V: Into<Value>>(at: &str, values: impl IntoIterator<Item = V>) -> Self {
        Self { at: at.into(), is: values.into_iter().map(Into::into).collect(), contains: None }
    }

    /// A text with these words in it.
    pub fn containing(at: &str, words: &str) -> Self {
        Self { at: at.into(), is: Vec::new(), contains: Some(words.into()) }
    }

    fn matches(&self, body: &Value) -> bool {
        pointer::find(body, &self.at).into_iter().any(|value| self.fits(value))
    }

    fn fits(&self, value: &Value) -> bool {
        let has = |words: &String| value.as_str().is_some_and(|text| text.contains(words.as_str()));
        !value.is_null() && (self.is.is_empty() || self.is.contains(value)) && self.contains.as_ref().is_none_or(has)
    }
}

impl When {
    /// Answers with these statuses, both ends included.
    pub fn status(from: u16, to: u16) -> Self {
        Self { status: Statuses(from, to), ..Self::default() }
    }

    /// Answers, whatever their status, with this in their body.
    pub fn body(body: BodyIs) -> Self {
        Self { body: Some(body), ..Self::default() }
    }

    /// And with this in their body.
    #[must_use]
    pub fn and_body(self, body: BodyIs) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Whether an answer is meant.
    pub fn matches(&self, answer: Answer<'_>) -> bool {
        let Self { status: Statuses(from, to), body, with_header, without_header } = self;
        let has = |name: &String| answer.header(name).is_some();
        (*from..=*to).contains(&answer.status)
            && body.as_ref().is_none_or(|body| body.matches(answer.body))
            && with_header.as_ref().is_none_or(has)
            && !without_header.as_ref().is_some_and(has)
    }

    /// Notes everything that is wrong with it.
    pub(super) fn check(&self, faults: &mut Faults) {
        let Statuses(from, to) = self.status;
        faults.require(from <= to, "status", || format!("[{from}, {to}] is no range: the lower one goes first"));
        if let Some(body) = &self.body {
            pointer::check(&body.at, "body.at", faults);
        }
    }
}

/// One line of a profile's classification: the first that is about an answer decides.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which answers it is about.
    pub when: When,
    /// What they are.
    pub class: Class,
    /// What they say of the effect; default [`Class::usual_effect`].
    #[serde(default)]
    pub effect: Option<Effect>,
}

impl Rule {
    /// A rule with the usual effect of its class.
    pub const fn new(when: When, class: Class) -> Self {
        Self { when, class, effect: None }
    }

    /// A rule about statuses alone.
    pub fn status(from: u16, to: u16, class: Class, effect: Effect) -> Self {
        Self { effect: Some(effect), ..Self::new(When::status(from, to), class) }
    }

    /// A rule about a value in the body of a 2xx answer: a success that is none.
    pub fn body(at: &str, value: impl Into<Value>, class: Class, effect: Effect) -> Self {
        let when = When::status(200, 299).and_body(BodyIs::one_of(at, [value]));
        Self { effect: Some(effect), ..Self::new(when, class) }
    }

    pub(super) fn read(&self) -> Classified {
        Classified { class: self.class, effect: self.effect.unwrap_or(self.class.usual_effect()) }
    }
}

/// Notes everything that is wrong with rules, each by its number from 0.
pub(super) fn check_rules(rules: &[Rule], field: &str, faults: &mut Faults) {
    for (number, rule) in rules.iter().enumerate() {
        rule.when.check(&mut faults.under(&format!("{field}[{number}]")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::classify;

    fn rules(text: Value) -> Vec<Rule> {
        serde_json::from_value(text).unwrap()
    }

    fn read(rules: &[Rule], status: u16, body: Value, headers: &[(&str, &str)]) -> Classified {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        classify(rules, Answer { headers: &headers, ..Answer::new(status, &body) })
    }

    #[test]
    fn the_first_rule_that_is_about_an_answer_decides() {
        let rules = rules(json!([
            {"when": {"status": 400, "body": {"at": "/message", "contains": "No matching"}}, "class": "not_found"},
            {"when": {"status": [400, 499], "body": {"at": "/code", "is": ["quota", 7]}}, "class": "exhausted"},
            {"when": {"status": 503}, "class": "overload", "effect": "none"},
        ]));
        let class = |status, body| read(&rules, status, body, &[]).class;
        assert_eq!(class(400, json!({"message": "No matching companies found"})), Class::NotFound);
        assert_eq!(class(400, json!({"message": "bad"})), Class::CallerError);
        assert_eq!(
            (class(400, json!({"code": 7})), class(451, json!({"code": "quota"}))),
            (Class::Exhausted, Class::Exhausted)
        );
        assert_eq!(read(&rules, 503, Value::Null, &[]).effect, Effect::None);
        assert_eq!(class(500, json!({"code": "quota"})), Class::Server);
    }

    #[test]
    fn a_rule_may_ask_whether_a_header_is_there() {
        // Anthropic: a 429 without Retry-After is a spending limit, not a rate.
        let rules = rules(json!([{"when": {"status": 429, "without_header": "Retry-After"}, "class": "exhausted"}]));
        assert_eq!(read(&rules, 429, Value::Null, &[]).class, Class::Exhausted);
        assert_eq!(read(&rules, 429, Value::Null, &[("retry-after", "3")]).class, Class::Throttled);
    }

    #[test]
    fn one_item_of_a_list_is_enough_and_a_null_is_nothing() {
        let rules = rules(json!([
            {"when": {"body": {"at": "/data/*/status", "is": ["failed"]}}, "class": "server", "effect": "done"},
            {"when": {"body": {"at": "/error"}}, "class": "caller_error"},
        ]));
        let class = |body| read(&rules, 200, body, &[]).class;
        assert_eq!(class(json!({"data": [{"status": "complete"}, {"status": "failed"}]})), Class::Server);
        assert_eq!(class(json!({"data": [{"status": "complete"}], "error": null})), Class::Success);
        assert_eq!(class(json!({"error": "no"})), Class::CallerError);
    }

    #[test]
    fn a_rule_that_cannot_be_is_refused_in_words() {
        let status = serde_json::from_value::<Rule>(json!({"when": {"status": "4xx"}, "class": "server"}));
        assert!(status.unwrap_err().to_string().contains("[500, 599]"));
        assert!(serde_json::from_value::<Rule>(json!({"when": {"stat": 4}, "class": "server"})).is_err());
        let wrong = rules(json!([{"when": {"status": [599, 500], "body": {"at": "x"}}, "class": "server"}]));
        let mut faults = Faults::default();
        check_rules(&wrong, "rules", &mut faults);
        let fields: Vec<_> = faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["status", "body.at"].map(|field| format!("rules[0].{field}")));
    }
}
