//! What can go wrong at the start and at the end of a runtime, and with a completion.

use std::io;

use mainstay_actors::{faults::Fault, ids::CallId, store::StoreError};

/// The runtime did not start. Nothing runs and nothing was touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong; every fault is named.
    #[error("the configuration has {} fault(s):{}", .0.len(), lines(.0))]
    Config(Vec<Fault>),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread or a socket could not be had, or there is no tokio runtime around.
    #[error("the runtime cannot start: {0}")]
    System(#[from] io::Error),
    /// The parked calls of an earlier process cannot be read.
    #[error("the parked calls cannot be read: {0}")]
    Letters(#[from] crate::letters::LettersError),
    /// The TLS library could not start.
    #[error("the HTTP client cannot start: {0}")]
    Http(String),
}

pub(crate) fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// A completion names no open effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "call {call} has no open effect: it ended already (callbacks may come twice), is overdue, or was never accepted here"
)]
pub struct NotOpen {
    /// The call it named.
    pub call: CallId,
}

/// A name that no vendor has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown vendor {name:?}; known: {known}")]
pub struct UnknownVendor {
    /// The name that was asked for.
    pub name: String,
    /// The configured names, comma separated.
    pub known: String,
}

/// A name that is not configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {name:?}; known: {known}")]
pub struct UnknownName {
    /// `vendor` or `lane`.
    pub what: &'static str,
    /// The name that was asked for, its first 80 characters.
    pub name: String,
    /// The configured names, comma separated.
    pub known: String,
}

impl UnknownName {
    pub(crate) fn new<T: ToString>(what: &'static str, name: &str, known: impl Iterator<Item = T>) -> Self {
        let known = known.map(|name| name.to_string()).collect::<Vec<_>>().join(", ");
        Self { what, name: name.chars().take(80).collect(), known }
    }
}
