//! What the health actor is told, besides the facts ([`crate::fact::Event`], each in a [`crate::kernel::Hop`]).

use crate::{fact::LetterCounts, ids::VendorId};

/// The parked calls of a vendor that were found on disk. Facts only tell of changes: whoever opens the store says the
/// numbers at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LettersFound {
    /// The vendor.
    pub vendor: VendorId,
    /// The calls.
    pub letters: LetterCounts,
}
