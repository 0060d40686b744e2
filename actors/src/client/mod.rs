//! The client: the last stage, and the only one that touches the vendor. One [`ClientActor`] a vendor.
//!
//! # Why it exists
//!
//! It turns a ticket into one request and its answer into an [`Outcome`](crate::outcome::Outcome): what kind of end it was,
//! and what is known of the effect. Everything that decides about sending again hangs on the second.
//!
//! ```text
//!   ticket -> is it still wanted? -> build the request -> own task: begin_sending -> send -> classify -> settle
//!                 no: dropped           bad: refused          taken back: dropped
//! ```
//!
//! An operation's client may be a [`Function`] of the application instead of a request: it is awaited in the same task, with
//! the same timeout, and says itself what is known of the effect.
//!
//! # Limits
//!
//! | limit | default | source |
//! | --- | --- | --- |
//! | connect | 5 s | the seeds' timeout table |
//! | request | the operation's: 10 s Clay, 120 s Retell | seeds, the vendor's SDK |
//! | answer | 1 MiB, beyond that it is *malformed* | ours |
//!
//! # On restart
//!
//! Requests run as tasks of their own and outlive the actor; only the ticket whose handler panicked is abandoned, before
//! anything was sent.
//!
//! # What it never does
//!
//! Retry, follow redirects (a key must not travel to another host), log an address, a header or a body.

mod config;
mod request;
mod state;
mod transport;

#[cfg(feature = "runtime")]
mod actor;
#[cfg(feature = "runtime")]
mod function;
#[cfg(feature = "runtime")]
mod probe;
#[cfg(feature = "runtime")]
mod reqwest_transport;

#[cfg(feature = "runtime")]
pub use actor::{ClientActor, ClientParts, ClientSnapshot};
pub use config::ClientConfig;
#[cfg(feature = "runtime")]
pub use function::{Done, Failed, Function, FunctionCall, FunctionFuture};
#[cfg(feature = "runtime")]
pub use probe::probe;
pub use request::build;
#[cfg(feature = "runtime")]
pub use reqwest_transport::HttpTransport;
pub use state::Client;
#[cfg(feature = "runtime")]
pub use transport::Transport;
pub use transport::{WireAnswer, WireError, WireFault, WireRequest, read};
