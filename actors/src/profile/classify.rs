//! Reading an answer: what kind it is, and what it says of the effect. Pure; the rules are data of the profile.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

use super::{Answer, Rule};
use crate::outcome::{Class, Effect};

/// Longest pause a vendor may ask for; a larger wish is cut to it. An hour, so that a broken header cannot stop a vendor for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What an answer was read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// Its kind.
    pub class: Class,
    /// What it says of the effect.
    pub effect: Effect,
}

/// Reads an answer by the first rule that is about it, and by its status where there is none.
pub fn classify<'a>(rules: impl IntoIterator<Item = &'a Rule>, answer: Answer<'_>) -> Classified {
    let rule = rules.into_iter().find(|rule| rule.when.matches(answer));
    rule.map_or_else(|| by_status(answer.status), Rule::read)
}

/// The reading of a status that no rule of the profile is about.
fn by_status(status: u16) -> Classified {
    let class = match status {
        200..=299 => Class::Success,
        401 | 403 => Class::Auth,
        402 => Class::Exhausted,
        408 => Class::Timeout,
        429 => Class::Throttled,
        300..=499 => Class::CallerError,
        503 => Class::Overload,
        _ => Class::Server,
    };
    Classified { class, effect: class.usual_effect() }
}

/// How long the vendor asks to be left alone: `retry-after-ms`, else `retry-after` as seconds or as an HTTP date.
pub fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>, wall: Timestamp) -> Option<Duration> {
    if let Some(ms) = header("retry-after-ms").and_then(|text| text.trim().parse::<u64>().ok()) {
        return Some(Duration::from_millis(ms).min(RETRY_AFTER_MAX));
    }
    let text = header("retry-after")?.trim();
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
    use serde_json::{Value, json};

    use super::*;

    fn read(rules: &[Rule], status: u16, body: &Value) -> (Class, Effect) {
        let read = classify(rules, Answer::new(status, body));
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
        let ask =
            |name: &'static str, value: &'static str| retry_after(move |asked| (asked == name).then_some(value), wall);
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
