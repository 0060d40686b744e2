//! Durations in configuration, as people write them: `"500ms"`, `"30s"`, `"1h 30m"`, `"7d"` (a day is 24 hours).
//!
//! ```
//! use std::time::Duration;
//!
//! #[derive(serde::Deserialize)]
//! struct Limits {
//!     #[serde(with = "mainstay_actors::duration")]
//!     wait: Duration,
//! }
//! let limits: Limits = serde_json::from_str(r#"{"wait": "1m 30s"}"#)?;
//! assert_eq!(limits.wait, Duration::from_secs(90));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::{fmt, time::Duration};

use jiff::{Span, SpanRelativeTo, fmt::friendly::SpanPrinter};
use serde::{Deserializer, Serializer, de};

/// Reads a duration.
///
/// # Errors
///
/// The text is none, is negative, or has units without a fixed length (months, years).
pub fn parse(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Span>().map_err(|error| error.to_string())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    Duration::try_from(length).map_err(|_| "a duration cannot be negative".to_owned())
}

/// Writes a duration in the form it is read in.
pub fn print(duration: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&duration)
}

/// For `#[serde(with)]`.
///
/// # Errors
///
/// Those of the format.
pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&print(*duration))
}

/// For `#[serde(with)]`.
///
/// # Errors
///
/// Anything but a text, and what [`parse`] refuses.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Text)
}

/// The same for a duration that may be left out.
pub mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    ///
    /// Those of the format.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, to),
            None => to.serialize_none(),
        }
    }

    /// For `#[serde(with)]`, beside `default`.
    ///
    /// # Errors
    ///
    /// Those of a duration that is there.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Written(#[serde(with = "super")] Duration);
        Ok(Option::<Written>::deserialize(from)?.map(|Written(duration)| duration))
    }
}

struct Text;

impl de::Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"500ms\", \"30s\" or \"1h 30m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(|why| E::custom(format!("{why}; expected {}", &self as &dyn de::Expected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_a_person_writes_it() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("0s", 0),
            ("1.5s", 1_500),
            ("2 min", 120_000),
            ("1h 30m", 5_400_000),
            ("7d", 604_800_000),
            ("PT30S", 30_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "30", "s", "-5s", "5s ago", "1 month", "soon"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        let cases = [0, 1, 999, 1_000, 90_500, 3_600_000, 65 * 60_000, 30 * 86_400_000];
        for duration in cases.map(Duration::from_millis) {
            assert_eq!(parse(&print(duration)), Ok(duration), "{}", print(duration));
        }
        assert_eq!(print(Duration::from_millis(90_500)), "1m 30s 500ms");
    }

    #[test]
    fn a_duration_that_may_be_left_out_is_read_back() {
        for (duration, text) in [(None, "null"), (Some(Duration::from_secs(30)), "\"30s\"")] {
            let mut written = Vec::new();
            optional::serialize(&duration, &mut serde_json::Serializer::new(&mut written)).unwrap();
            assert_eq!(written, text.as_bytes());
            assert_eq!(optional::deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap(), duration);
        }
    }

    #[test]
    fn a_number_without_its_unit_is_refused_with_an_example() {
        let mut json = serde_json::Deserializer::from_str("30");
        let error = deserialize(&mut json).unwrap_err().to_string();
        assert!(error.contains("\"30s\""), "{error}");
        let mut json = serde_json::Deserializer::from_str("\"30\"");
        let error = deserialize(&mut json).unwrap_err().to_string();
        assert!(error.contains("\"30s\""), "{error}");
    }
}
