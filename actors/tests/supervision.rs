//! The proof of the kernel: what a panic, a hang or a stop does to the queue, to the message in hand and to the state.
//!
//! Figures are printed: `cargo test -p mainstay-actors --test supervision -- --nocapture`.

#![cfg(feature = "runtime")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "supervision/crash.rs"]
mod crash;
#[path = "supervision/hang.rs"]
mod hang;
#[path = "supervision/life.rs"]
mod life;
#[path = "supervision/subject.rs"]
mod subject;
