//! Names and numbers: vendors, operations, targets, lanes, meters, calls, letters, grants, actors.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// Longest name, in bytes. Names become metric labels and log fields, so they stay short.
pub const NAME_MAX_BYTES: usize = 64;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name {name:?} is not allowed: use 1 to {NAME_MAX_BYTES} of a-z A-Z 0-9 _ - .")]
pub struct NameError {
    /// The name as it was given, cut to a sane length.
    pub name: String,
}

fn check(name: &str) -> Result<Arc<str>, NameError> {
    let fits = (1..=NAME_MAX_BYTES).contains(&name.len());
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fits && plain { Ok(Arc::from(name)) } else { Err(NameError { name: name.chars().take(80).collect() }) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name: 1 to 64 of `a-z A-Z 0-9 _ - .`.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check(name).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// A vendor account, such as `clay` or `retell`.
    VendorId
);
name_type!(
    /// One operation of a vendor, such as `create-phone-call`.
    OperationId
);
name_type!(
    /// A named target of a vendor: one of several tables under one account, such as `leads`.
    TargetId
);
name_type!(
    /// A group of a vendor's operations that fail together, such as `status`.
    GroupId
);
name_type!(
    /// A lane of a vendor: `critical`, `normal`, `bulk`, or the application's own.
    LaneId
);

impl VendorId {
    /// The name of a profile that nobody has named yet.
    pub(crate) fn unnamed() -> Self {
        Self(Arc::from("unnamed"))
    }
}

impl OperationId {
    /// The name of an operation of a vendor that is shipped; it keeps the rule by itself.
    pub(crate) fn of_ours(name: &'static str) -> Self {
        Self(Arc::from(name))
    }
}

name_type!(
    /// What a vendor counts and a budget limits, named by its unit: `credits`, `cents`, `actions`, `rows`.
    MeterId
);

impl GroupId {
    /// The name of a group of a vendor that is shipped; it keeps the rule by itself.
    pub(crate) fn of_ours(name: &'static str) -> Self {
        Self(Arc::from(name))
    }
}

impl MeterId {
    /// The name of a meter of a vendor that is shipped; it keeps the rule by itself.
    pub(crate) fn of_ours(name: &'static str) -> Self {
        Self(Arc::from(name))
    }
}

impl Default for MeterId {
    /// `credits`, the word of the seeds.
    fn default() -> Self {
        Self::of_ours("credits")
    }
}

impl LaneId {
    /// The lane of a call that names none.
    pub fn normal() -> Self {
        Self(Arc::from("normal"))
    }
}

/// What one breaker guards: a group of operations at one place of a vendor. The default is the vendor's own address and the
/// operations that are in no group. Written `leads`, `leads:status`, or `:status` at the vendor's own address; the default
/// is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Circuit {
    /// The place; none is the vendor's own address.
    pub target: Option<TargetId>,
    /// The group; none is all operations that are in no group.
    pub group: Option<GroupId>,
}

impl Circuit {
    /// Its name behind that of what it belongs to; the default has none.
    pub fn named(&self, whose: &str) -> String {
        if *self == Self::default() { whose.to_owned() } else { format!("{whose} {self}") }
    }
}

impl fmt::Display for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = &self.target {
            f.write_str(target.as_str())?;
        }
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

/// An actor's place in the tree, such as `retell/breaker` or `clay/lane/bulk`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ActorId(Arc<str>);

impl ActorId {
    /// Names an actor by its path in the tree.
    pub fn new(path: impl Into<Arc<str>>) -> Self {
        Self(path.into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One logical call, through all its attempts, its dead letter and its replay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub Uuid);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for CallId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// One parked call, by its public id: the same through every replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(pub Uuid);

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for LetterId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// One permit, pass or reservation, unique within the guard that issued it. Reports about it are idempotent by this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GrantId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_circuits_are_written_alike() {
        let (target, group) = (TargetId::new("status").ok(), GroupId::new("status").ok());
        let all = [
            Circuit::default(),
            Circuit { target: target.clone(), group: None },
            Circuit { target: None, group: group.clone() },
            Circuit { target, group },
        ];
        assert_eq!(all.map(|circuit| circuit.to_string()), ["", "status", ":status", "status:status"]);
        assert_eq!(Circuit::default().named("clay"), "clay");
    }

    #[test]
    fn a_name_outside_the_allowed_characters_is_refused_with_the_rule() {
        for bad in ["", "a b", "ü", "a/b", &"x".repeat(65)] {
            let error = VendorId::new(bad).unwrap_err();
            assert!(error.to_string().contains("1 to 64"), "{error}");
        }
        assert_eq!(VendorId::new("retell.eu-1").unwrap().as_str(), "retell.eu-1");
    }

    #[test]
    fn a_name_survives_json() {
        let lane: LaneId = serde_json::from_str("\"bulk\"").unwrap();
        assert_eq!(serde_json::to_string(&lane).unwrap(), "\"bulk\"");
        assert!(serde_json::from_str::<LaneId>("\"no spaces\"").is_err());
    }
}
