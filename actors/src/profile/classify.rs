//! Reading an answer: what kind it is, and what it says of the effect. Pure; the rules are data of the profile.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

use super::{Answer, Rule};
use crate::outcome::{Class, Effect};

/// Longest pause that is read from an answer; a larger wish is cut to it. A month, the longest period a vendor bills by. Who
/// acts on it has a limit of its own, so that a broken header stops nothing for so long.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// From here on a number is a moment: seconds since 1970 (this one is in 2001), and below it a time to wait.
const EPOCH_SECONDS: f64 = 1e9;

/// From here on a moment is in milliseconds.
const EPOCH_MILLIS: f64 = 1e12;

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

/// How long the vendor asks to be left alone: the first of `retry-after-ms`, `retry-after` (seconds or an HTTP date), and after
/// a 429 or a 503 also `x-ratelimit-reset` and `ratelimit-reset` (a time to wait, or a moment in seconds or milliseconds;
/// vendors send these with every answer, and mean nothing by them then). What cannot be read is passed over.
pub fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>, status: u16, wall: Timestamp) -> Option<Duration> {
    let number = |name: &str| header(name)?.trim().parse::<f64>().ok();
    let asked = number("retry-after-ms").and_then(|ms| seconds(ms / 1e3));
    let asked = asked.or_else(|| number("retry-after").and_then(seconds));
    let asked = asked.or_else(|| date(header("retry-after")?.trim(), wall));
    if !matches!(status, 429 | 503) {
        return asked;
    }
    let reset = || ["x-ratelimit-reset", "ratelimit-reset"].into_iter().find_map(|name| reset(number(name)?, wall));
    asked.or_else(reset)
}

fn seconds(number: f64) -> Option<Duration> {
    (number.is_finite() && number >= 0.0).then(|| Duration::from_secs_f64(number.min(RETRY_AFTER_MAX.as_secs_f64())))
}

fn date(text: &str, wall: Timestamp) -> Option<Duration> {
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let ahead = Duration::try_from(at.duration_since(wall)).unwrap_or(Duration::ZERO);
    Some(ahead.min(RETRY_AFTER_MAX))
}

fn reset(number: f64, wall: Timestamp) -> Option<Duration> {
    let now = wall.as_millisecond() as f64 / 1e3;
    match number {
        millis if millis >= EPOCH_MILLIS => seconds((millis / 1e3 - now).max(0.0)),
        moment if moment >= EPOCH_SECONDS => seconds((moment - now).max(0.0)),
        wait => seconds(wait),
    }
}

/// What the vendor says about trying again, by `x-should-retry` (SDKs made by Stainless obey it, Retell's among them).
pub fn should_retry<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<bool> {
    match header("x-should-retry")?.trim() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
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
    fn peers_b13_every_form_of_retry_after_is_read_and_bounded() {
        let wall: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let answers = |headers: &'static [(&'static str, &'static str)], status| {
            let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            retry_after(header, status, wall)
        };
        let ms = |n| Some(Duration::from_millis(n));
        for (headers, expected) in [
            (&[("retry-after", "120")] as &[_], ms(120_000)),
            (&[("retry-after", " 1.5 ")], ms(1_500)),
            (&[("retry-after-ms", "250"), ("retry-after", "9")], ms(250)),
            (&[("retry-after-ms", "12.5")], Some(Duration::from_micros(12_500))),
            (&[("retry-after-ms", "soon"), ("retry-after", "9")], ms(9_000)),
            (&[("retry-after", "Tue, 24 Nov 2026 12:02:00 GMT")], ms(120_000)),
            (&[("retry-after", "Tue, 24 Nov 2026 11:00:30 GMT")], ms(0)),
            (&[("retry-after", "99999999999")], Some(RETRY_AFTER_MAX)),
            (&[("retry-after", "soon"), ("x-ratelimit-reset", "7")], ms(7_000)),
            (&[("x-ratelimit-reset", "1795521630")], ms(30_000)),
            (&[("x-ratelimit-reset", "1795521630500")], ms(30_500)),
            (&[("x-ratelimit-reset", "1795521000")], ms(0)),
            (&[("ratelimit-reset", "45")], ms(45_000)),
        ] {
            assert_eq!(answers(headers, 429), expected, "{headers:?}");
        }
        for bad in ["soon", "-3", "NaN", "inf", "1e400", "", "Tue, 99 Nov 2026 12:02:00 GMT"] {
            for name in ["retry-after-ms", "retry-after", "x-ratelimit-reset", "x-should-retry"] {
                let header = |asked: &str| (asked == name).then_some(bad);
                assert_eq!((retry_after(header, 429, wall), should_retry(header)), (None, None), "{name}: {bad}");
            }
        }
        assert_eq!(answers(&[("x-ratelimit-reset", "60")], 500), None, "it comes with every answer");
        assert_eq!(answers(&[("retry-after", "60")], 500), ms(60_000));
    }

    #[test]
    fn a_vendor_may_say_whether_to_try_again() {
        let said = |value: &'static str| should_retry(|name| (name == "x-should-retry").then_some(value));
        assert_eq!(["true", "false", "maybe"].map(said), [Some(true), Some(false), None]);
    }
}
