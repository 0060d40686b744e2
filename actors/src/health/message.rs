//! What the health actor is told, besides the facts ([`crate::fact::Event`], each in a [`crate::kernel::Hop`]).

use crate::ids::VendorId;

/// How many dead letters of a vendor wait. Facts only tell of those that come and go in this process: whoever opens the
/// store says the number at the start, and again after letters were purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// The vendor.
    pub vendor: VendorId,
    /// Letters waiting.
    pub waiting: u64,
}
