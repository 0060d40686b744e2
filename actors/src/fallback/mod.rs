//! What stands in for a vendor that cannot answer: a cached answer, a later try, a local function.
//!
//! # Why it exists
//!
//! An outage must not block the application's pipeline, and must not lose a request either. So a call that cannot be made
//! now goes down a fixed chain, and the caller is told which step served it, why, and how old the answer is.
//!
//! ```text
//!   failed or refused --> cache --miss--> queue for later --not configured--> local function --no answer--> dead letter
//!                           |                   |                                  |
//!                           v                   v                                  v
//!                    fresh | stale        due at retry_at                   marked as local
//!                        | very_stale
//! ```
//!
//! [`next_step`] is the chain, [`Situation`] says what a failure allows, [`Cache`] holds the last good answers, and
//! [`FallbackActor`] keeps the cache. The queue is the dead letter concern's; the local function runs in the attempt's own
//! task, by [`run_local`].
//!
//! # Limits and defaults
//!
//! | what | default | at the limit |
//! | --- | --- | --- |
//! | cached answers | 10,000 | the least recently written goes |
//! | all answers together | 64 MiB | the least recently written goes |
//! | one answer | 64 KiB | not cached, counted as `skipped` |
//! | a key | 256 bytes | not cached, counted as `skipped` |
//! | fresh, stale, kept | 1 h, 24 h, 7 days | forgotten after the last |
//!
//! The cache is off unless [`CacheConfig`] is given; the queue is on.
//!
//! # What happens on restart
//!
//! The cache lives in the vault: a crash of the actor loses the message in hand, which is one answer not remembered or one
//! question asked again. The cache is in memory: a restart of the process begins with an empty one.
//!
//! # What it never does
//!
//! It never stands in for the caller's own mistake, never for an effect that may have happened, never merges a cached
//! answer into the caller's data, never shares an answer between tenants, never turns a success into a failure because
//! the cache is full or down, and never lets a failure vanish: the last step is the dead letter.

#[cfg(feature = "runtime")]
mod actor;
mod cache;
mod chain;
mod config;
#[cfg(feature = "runtime")]
mod message;

#[cfg(feature = "runtime")]
pub use actor::{FallbackActor, FallbackParts};
pub use cache::{Cache, CacheKey, FallbackSnapshot, Hit, KEY_MAX_BYTES, Staleness, normalise};
pub use chain::{LocalFn, Situation, Step, is_worth_keeping, next_step, run_local};
pub use config::{CacheConfig, FallbackConfig};
#[cfg(feature = "runtime")]
pub use message::{Recall, Remember};
