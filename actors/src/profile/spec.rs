//! A vendor as a configuration states it: one of those that are shipped, or any other.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Clay, ClayApi, Profile, Retell};
use crate::ids::{NameError, TargetId};

/// Which interface a vendor has. One key, whose name is the kind.
///
/// ```
/// use mainstay_actors::profile::ProfileSpec;
///
/// let spec: ProfileSpec = serde_json::from_str(r#"{ "retell": { "api_key": "key_1" } }"#)?;
/// assert!(spec.profile("retell")?.operations.len() > 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileSpec {
    /// One Clay table.
    Clay(Clay),
    /// Several Clay tables of one account, by name.
    ClayTables(BTreeMap<TargetId, Clay>),
    /// Clay's public API.
    ClayApi(ClayApi),
    /// A Retell workspace.
    Retell(Retell),
    /// Any other vendor with an interface over HTTP.
    Http(Box<Profile>),
}

impl ProfileSpec {
    /// The profile, under the given vendor name.
    ///
    /// # Errors
    ///
    /// A name that is not allowed.
    pub fn profile(self, vendor: &str) -> Result<Profile, NameError> {
        match self {
            Self::Clay(table) => table.profile(vendor),
            Self::ClayTables(tables) => {
                let targets = tables.into_iter().map(|(name, table)| (name, table.into())).collect();
                Ok(Profile { targets, ..Clay::account(vendor)? })
            }
            Self::ClayApi(account) => account.profile(vendor),
            Self::Retell(workspace) => workspace.profile(vendor),
            Self::Http(profile) => profile.named(vendor),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::faults::Faults;

    #[test]
    fn every_kind_is_read_and_passes_its_checks() {
        let webhook = "https://clay.test/hook";
        for (spec, operations) in [
            (json!({"clay": {"webhook": webhook}}), 1),
            (
                json!({"clay_tables": {"leads": {"webhook": webhook}, "accounts": {"webhook": webhook, "timeout": "5s"}}}),
                2,
            ),
            (json!({"clay_api": {"api_key": "k"}}), 8),
            (json!({"retell": {"api_key": "k"}}), 17),
            (json!({"http": {"base_url": "https://x.test", "operations": {"get": {"path": "/get"}}}}), 1),
        ] {
            let spec: ProfileSpec = serde_json::from_value(spec).unwrap();
            let profile = spec.profile("vendor").unwrap();
            let mut faults = Faults::default();
            profile.check(&mut faults);
            assert_eq!(faults.into_result(), Ok(()));
            assert_eq!(profile.every_operation().count(), operations);
            assert_eq!(profile.vendor.as_str(), "vendor");
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_those_there_are() {
        let error = serde_json::from_value::<ProfileSpec>(json!({"soap": {}})).unwrap_err().to_string();
        assert!(error.contains("http") && error.contains("retell"), "{error}");
    }
}
