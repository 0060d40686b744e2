//! Secrets in configuration: as they are, or the name of the environment variable that holds them.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Account {
//!     #[serde(deserialize_with = "mainstay_actors::secret::deserialize")]
//!     key: secrecy::SecretString,
//! }
//! let account: Account = serde_json::from_str(r#"{"key": "k_123"}"#)?;
//! assert!(!format!("{:?}", account.key).contains("k_123"));
//!
//! let missing = serde_json::from_str::<Account>(r#"{"key": {"env": "NO_SUCH_VARIABLE"}}"#);
//! assert!(missing.err().unwrap().to_string().contains("NO_SUCH_VARIABLE"));
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! A secret is read and never written: none of the types that hold one can be serialised. What is wrong with one is said
//! without showing it.

use std::{env, fmt};

use secrecy::SecretString;
use serde::{Deserializer, de};

/// For `#[serde(deserialize_with)]`: a text, or `{ env = "NAME" }`.
///
/// # Errors
///
/// Anything else, and a variable that is not set or holds no text.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    from.deserialize_any(Secret)
}

/// For `#[serde(default, deserialize_with)]`: a secret that may be left out.
///
/// # Errors
///
/// Those of [`deserialize`].
pub fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    deserialize(from).map(Some)
}

struct Secret;

/// The default of each would repeat the value.
fn no_text<E: de::Error>() -> E {
    E::custom("a secret must be a text or { env = \"NAME\" } (not shown: it is a secret)")
}

impl<'de> de::Visitor<'de> for Secret {
    type Value = SecretString;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret, or { env = \"NAME\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretString, E> {
        Ok(SecretString::from(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<SecretString, E> {
        Ok(SecretString::from(text))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<SecretString, A::Error> {
        let Some((key, name)) = map.next_entry::<String, String>().map_err(|_| no_text())? else {
            return Err(no_text());
        };
        let more = map.next_key::<de::IgnoredAny>()?.is_some();
        if key != "env" || more {
            return Err(no_text());
        }
        let value = env::var(&name);
        value
            .map(SecretString::from)
            .map_err(|_| de::Error::custom(format!("the environment variable {name} is not set")))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretString, E> {
        Err(no_text())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretString, E> {
        Err(no_text())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretString, E> {
        Err(no_text())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretString, E> {
        Err(no_text())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_secret_is_read_as_it_stands_or_from_the_environment() {
        assert_eq!(deserialize(json!("k_1")).unwrap().expose_secret(), "k_1");
        let home = deserialize(json!({"env": "CARGO_PKG_NAME"})).unwrap();
        assert_eq!(home.expose_secret(), "mainstay-actors");
        assert!(optional(json!("k_1")).unwrap().is_some());
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_without_showing_it() {
        let wrong = [json!(712_345), json!(-712_345), json!(712_345.5), json!({"key": "canary"})];
        let wrong = wrong.into_iter().chain([json!({"env": 712_345}), json!({"env": "A", "b": "canary"}), json!({})]);
        for value in wrong.chain([json!(true), json!(["canary"]), Value::Null]) {
            let error = deserialize(value.clone()).unwrap_err().to_string();
            assert!(!error.contains("canary") && !error.contains("712345"), "{error}");
        }
    }
}
