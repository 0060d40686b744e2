//! What is seen: one snapshot, many faces.
//!
//! Every actor publishes its own part after each batch of messages. The debug actor, the JSON endpoint and
//! [`Handle::snapshot`](crate::Handle::snapshot) put the parts together; none of them asks a worker anything, so they answer
//! while a worker's thread is blocked.

mod actor;
#[cfg(feature = "debug-http")]
mod http;
mod look;
mod snapshot;

pub use actor::{DebugActor, GetSnapshot};
#[cfg(feature = "debug-http")]
pub(crate) use http::DebugHttp;
pub(crate) use look::{Look, VendorLook};
pub use snapshot::{Snapshot, VendorSnapshot};
