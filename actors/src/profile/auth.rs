//! How a call proves who it is.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::faults::Faults;

/// How a call proves who it is. Secrets are redacted by type in every `Debug` and log, and can be read but not written.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Nothing, or the address itself is the secret.
    #[default]
    None,
    /// `Authorization: Bearer <key>`.
    Bearer(#[serde(deserialize_with = "crate::secret::deserialize")] SecretString),
    /// A header of the vendor's own.
    Header {
        /// Its name.
        name: String,
        /// What stands before the key, its space included, such as `Token `; default nothing.
        #[serde(default)]
        prefix: String,
        /// The key.
        #[serde(deserialize_with = "crate::secret::deserialize")]
        value: SecretString,
    },
    /// `Authorization: Basic <user:password>`.
    Basic {
        /// The user's name; some vendors take their key here, and no password.
        #[serde(deserialize_with = "crate::secret::deserialize")]
        user: SecretString,
        /// The password; default empty.
        #[serde(default, deserialize_with = "crate::secret::deserialize")]
        password: SecretString,
    },
    /// A parameter of the query.
    Query {
        /// Its name.
        name: String,
        /// The key.
        #[serde(deserialize_with = "crate::secret::deserialize")]
        value: SecretString,
    },
}

impl Auth {
    /// The header it adds to a request.
    pub fn header(&self) -> Option<(String, SecretString)> {
        let (name, value) = match self {
            Self::None | Self::Query { .. } => return None,
            Self::Bearer(key) => ("authorization", format!("Bearer {}", key.expose_secret())),
            Self::Header { name, prefix, value } => (name.as_str(), format!("{prefix}{}", value.expose_secret())),
            Self::Basic { .. } => ("authorization", format!("Basic {}", self.basic().unwrap_or_default())),
        };
        Some((name.to_owned(), SecretString::from(value)))
    }

    fn basic(&self) -> Option<String> {
        let Self::Basic { user, password } = self else { return None };
        Some(STANDARD.encode(format!("{}:{}", user.expose_secret(), password.expose_secret())))
    }

    /// The secrets in it, in every form in which they travel.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(key) | Self::Header { value: key, .. } => vec![key.clone()],
            Self::Query { value: key, .. } => {
                let sent: String = form_urlencoded::byte_serialize(key.expose_secret().as_bytes()).collect();
                vec![key.clone(), SecretString::from(sent)]
            }
            Self::Basic { user, password } => {
                let sent = self.basic().unwrap_or_default();
                vec![user.clone(), password.clone(), SecretString::from(sent)]
            }
        }
    }

    /// Notes what is wrong with it.
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.require(self.can_travel(), "auth", || {
            "must be 1 or more visible ASCII characters, as a header's name and value are (not shown: it is a secret)".into()
        });
    }

    /// Whether a request takes it. An empty key is a forgotten one.
    fn can_travel(&self) -> bool {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let visible = |text: &str| plain(text) && !text.is_empty() && text.trim() == text;
        let name_of_header = |name: &str| visible(name) && !name.contains([' ', ':']);
        match self {
            Self::None => true,
            Self::Bearer(key) => visible(key.expose_secret()),
            Self::Header { name, prefix, value } => {
                name_of_header(name) && plain(prefix) && visible(value.expose_secret())
            }
            Self::Basic { user, .. } => !user.expose_secret().is_empty() && !user.expose_secret().contains(':'),
            Self::Query { name, value } => visible(name) && !value.expose_secret().is_empty(),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(_) => f.write_str("Bearer(<redacted>)"),
            Self::Header { name, .. } => write!(f, "Header({name}: <redacted>)"),
            Self::Basic { .. } => f.write_str("Basic(<redacted>)"),
            Self::Query { name, .. } => write!(f, "Query({name}=<redacted>)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: Value) -> Auth {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn every_kind_is_read_and_becomes_the_header_the_vendor_wants() {
        for (text, expected) in [
            (json!("none"), None),
            (json!({"bearer": "k_canary"}), Some(("authorization", "Bearer k_canary"))),
            (json!({"header": {"name": "x-api-key", "value": "k_canary"}}), Some(("x-api-key", "k_canary"))),
            (
                json!({"header": {"name": "Authorization", "prefix": "Token ", "value": "k_canary"}}),
                Some(("Authorization", "Token k_canary")),
            ),
            // The example of RFC 7617.
            (
                json!({"basic": {"user": "Aladdin", "password": "open sesame"}}),
                Some(("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ),
            (json!({"query": {"name": "key", "value": "k_canary"}}), None),
        ] {
            let auth = read(text);
            let header = auth.header();
            let header = header.as_ref().map(|(name, value)| (name.as_str(), value.expose_secret()));
            assert_eq!(header, expected);
            assert!(!format!("{auth:?}").contains("canary") && !format!("{auth:?}").contains("sesame"));
        }
    }

    #[test]
    fn a_key_that_no_request_takes_is_a_fault_and_is_not_shown() {
        for text in [
            json!({"bearer": ""}),
            json!({"bearer": "two\nlines canary"}),
            json!({"header": {"name": "x: y", "value": "canary"}}),
            json!({"header": {"name": "x", "prefix": "\u{e9}", "value": "canary"}}),
            json!({"basic": {"user": "can:ary"}}),
            json!({"query": {"name": "", "value": "canary"}}),
        ] {
            let mut faults = Faults::default();
            read(text.clone()).check(&mut faults);
            let faults = faults.into_result().unwrap_err();
            assert!(!format!("{faults:?}").contains("canary"), "{text}");
        }
        assert!(serde_json::from_value::<Auth>(json!({"bearer": "k", "none": {}})).is_err());
        assert!(serde_json::from_value::<Auth>(json!({"header": {"name": "x", "key": "k"}})).is_err());
    }
}
