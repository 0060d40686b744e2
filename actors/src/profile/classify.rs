//! Reading an answer: what kind it is, and what it says of the effect. Pure; the rules are data of the profile.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use serde_json::Value;

use crate::outcome::{Class, Effect};

/// Longest pause a vendor may ask for; a larger wish is cut to it. An hour, so that a broken header cannot stop a vendor for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A vendor's answer as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body; `Null` when it was empty, a string when it was no JSON.
    pub body: &'a Value,
}

/// One line of a profile's classification: the first that matches decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The statuses it is about, both ends included.
    pub status: (u16, u16),
    /// A JSON pointer into the body and the value it must have there.
    pub body: Option<(String, Value)>,
    /// What it is.
    pub class: Class,
    /// What it says of the effect.
    pub effect: Effect,
}

impl Rule {
    /// A rule about statuses alone.
    pub const fn status(from: u16, to: u16, class: Class, effect: Effect) -> Self {
        Self { status: (from, to), body: None, class, effect }
    }

    /// A rule about a value in the body of a 2xx answer: a success that is none.
    pub fn body(pointer: &str, value: impl Into<Value>, class: Class, effect: Effect) -> Self {
        Self { status: (200, 299), body: Some((pointer.into(), value.into())), class, effect }
    }

    fn matches(&self, answer: Answer<'_>) -> bool {
        let in_range = (self.status.0..=self.status.1).contains(&answer.status);
        in_range && self.body.as_ref().is_none_or(|(at, value)| answer.body.pointer(at) == Some(value))
    }
}

/// What an answer was read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// Its kind.
    pub class: Class,
    /// What it says of the effect.
    pub effect: Effect,
}

/// Reads an answer by the profile's rules, and by its status where none matches.
pub fn classify(rules: &[Rule], answer: Answer<'_>) -> Classified {
    rules
        .iter()
        .find(|rule| rule.matches(answer))
        .map(|rule| Classified { class: rule.class, effect: rule.effect })
        .unwrap_or_else(|| by_status(answer.status))
}

/// The reading of a status that no rule of the profile is about. A 5xx does not say whether the work was begun, so the effect
/// is unknown: a profile that knows better says so.
fn by_status(status: u16) -> Classified {
    let (class, effect) = match status {
        200..=299 => (Class::Success, Effect::Done),
        401 | 403 => (Class::Auth, Effect::None),
        402 => (Class::Exhausted, Effect::None),
        408 => (Class::Timeout, Effect::Unknown),
        429 => (Class::Throttled, Effect::None),
        300..=499 => (Class::CallerError, Effect::None),
        503 => (Class::Overload, Effect::Unknown),
        _ => (Class::Server, Effect::Unknown),
    };
    Classified { class, effect }
}

/// How long the vendor asks to be left alone: `retry-after-ms`, else `retry-after` as seconds or as an HTTP date.
pub fn retry_after(header: impl Fn(&str) -> Option<String>, wall: Timestamp) -> Option<Duration> {
    if let Some(ms) = header("retry-after-ms").and_then(|text| text.trim().parse::<u64>().ok()) {
        return Some(Duration::from_millis(ms).min(RETRY_AFTER_MAX));
    }
    let text = header("retry-after")?;
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0)
            .then(|| Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64())));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let ahead = Duration::try_from(at.duration_since(wall)).unwrap_or(Duration::ZERO);
    Some(ahead.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(rules: &[Rule], status: u16, body: &Value) -> (Class, Effect) {
        let read = classify(rules, Answer { status, body });
        (read.class, read.effect)
    }

    #[test]
    fn a_status_alone_says_what_it_can() {
        for (status, class, effect) in [
            (200, Class::Success, Effect::Done),
            (201, Class::Success, Effect::Done),
            (302, Class::CallerError, Effect::None),
            (400, Class::CallerError, Effect::None),
            (401, Class::Auth, Effect::None),
            (402, Class::Exhausted, Effect::None),
            (404, Class::CallerError, Effect::None),
            (413, Class::CallerError, Effect::None),
            (429, Class::Throttled, Effect::None),
            (500, Class::Server, Effect::Unknown),
            (503, Class::Overload, Effect::Unknown),
            (599, Class::Server, Effect::Unknown),
        ] {
            assert_eq!(read(&[], status, &Value::Null), (class, effect), "{status}");
        }
    }

    #[test]
    fn a_success_whose_body_says_failure_is_none() {
        let rules = [Rule::body("/call_status", "error", Class::Server, Effect::Unknown)];
        assert_eq!(read(&rules, 201, &json!({"call_status": "error"})), (Class::Server, Effect::Unknown));
        assert_eq!(read(&rules, 201, &json!({"call_status": "registered"})), (Class::Success, Effect::Done));
        assert_eq!(read(&rules, 201, &json!("no object")), (Class::Success, Effect::Done));
    }

    #[test]
    fn every_form_of_retry_after_is_read_and_bounded() {
        let wall: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let ask = |name: &'static str, value: &'static str| {
            retry_after(move |asked| (asked == name).then(|| value.to_owned()), wall)
        };
        assert_eq!(ask("retry-after", "120"), Some(Duration::from_secs(120)));
        assert_eq!(ask("retry-after", " 1.5 "), Some(Duration::from_millis(1500)));
        assert_eq!(ask("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(ask("retry-after", "Tue, 24 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(ask("retry-after", "Tue, 24 Nov 2026 11:00:30 GMT"), Some(Duration::ZERO));
        assert_eq!(ask("retry-after", "99999999999"), Some(RETRY_AFTER_MAX));
        for bad in ["soon", "-3", "NaN", ""] {
            assert_eq!(ask("retry-after", bad), None, "{bad}");
        }
    }
}
