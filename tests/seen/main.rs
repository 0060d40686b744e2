//! What is seen of a runtime, and by whom: the JSON endpoint, the logs, and never a secret.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod endpoint;
#[path = "../live/mod.rs"]
mod live;
#[path = "../support/mod.rs"]
mod support;
mod words;
