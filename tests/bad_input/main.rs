//! What is wrong is refused in words, before it costs anything: configurations, calls, data directories.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod configuration;
mod directory;
