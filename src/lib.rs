//! mainstay.

#[cfg(any(feature = "testing", feature = "debug-http"))]
pub(crate) mod net;
#[cfg(feature = "testing")]
pub mod testing;
