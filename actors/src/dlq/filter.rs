//! Which letters are meant.

use jiff::Timestamp;

use super::Kind;
use crate::{
    ids::{CallId, LetterId, NameError, VendorId},
    outcome::Class,
};

/// Which letters are meant: those that fit all of it. The default means all but unknown ones, which must be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only of this vendor.
    pub vendor: Option<VendorId>,
    /// Only with this class of error.
    pub class: Option<Class>,
    /// Only these. `None` means all; an empty list means none.
    pub ids: Option<Vec<LetterId>>,
    /// Only this call's.
    pub call: Option<CallId>,
    /// Only those parked before this.
    pub parked_before: Option<Timestamp>,
    /// Only those that are given up.
    pub given_up: bool,
}

impl Filter {
    /// Of one kind.
    pub fn kind(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// By their ids.
    pub fn ids(ids: impl IntoIterator<Item = LetterId>) -> Self {
        Self { ids: Some(ids.into_iter().collect()), ..Self::default() }
    }

    /// The permanent failures: given up, and waiting for a person.
    pub fn given_up() -> Self {
        Self { given_up: true, ..Self::default() }
    }

    /// Of one call, whatever its kind.
    pub fn call(call: CallId) -> Self {
        Self { call: Some(call), ..Self::default() }
    }

    /// Of one class of error.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// Of one vendor.
    ///
    /// # Errors
    ///
    /// The name is not allowed.
    pub fn vendor(mut self, vendor: &str) -> Result<Self, NameError> {
        self.vendor = Some(VendorId::new(vendor)?);
        Ok(self)
    }

    /// Parked before this: those of a certain age, or those that were there at a certain moment.
    #[must_use]
    pub fn parked_before(mut self, at: Timestamp) -> Self {
        self.parked_before = Some(at);
        self
    }
}
