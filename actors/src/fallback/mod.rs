//! What stands in for a vendor that cannot answer: a cached answer, a later try, a local function.
//!
//! # Why it exists
//!
//! An outage must not block the application's pipeline, and must not lose a request either. So a call that cannot be made
//! now goes down a chain, and the caller is told which step served it, why, and how old the answer is. The order is the
//! vendor's ([`FallbackConfig::chain`]) or the call's own; this is the default:
//!
//! ```text
//!   failed or denied --> cache --miss--> queue for later --not allowed--> local function --no answer--> dead letter
//!                          |                   |                                |
//!                          v                   v                                v
//!                   fresh | stale        due at retry_at                 marked as local
//!                       | very_stale
//! ```
//!
//! # Denied calls
//!
//! A call is denied when a guard refuses it and nothing was sent: an open breaker, an empty budget, a full lane, a vendor
//! that is down. It goes down the same chain, and [`FallbackConfig::on_denied`] says how that ends:
//!
//! | `on_denied` | the step `queue` of the chain | when nothing stood in |
//! | --- | --- | --- |
//! | `queue` (default) | keeps it for later | kept for later, though the chain has no `queue` |
//! | `dead_letter` | is passed over | a dead letter |
//! | `refuse` | is passed over | the caller gets the refusal, nothing is kept |
//!
//! Queue is the default because a denied call is in order and only came at the wrong moment: the guard says when to come
//! back, and then it goes through all guards and is paid for like every call. A call that is wrong in itself is always
//! refused, and what a guardrail denies is refused too, unless dead letters are wanted. One that expired, or that crashed a guard again and again, is not queued but a dead letter.
//!
//! [`Situation`] says what an end allows and which step is next, [`Cache`] holds the last good answers, and
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
//! | a key, all its texts | 256 bytes | not cached, counted as `skipped` |
//! | fresh, stale, kept | 1 h, 24 h, 7 days | forgotten after the last |
//!
//! The cache is off unless [`CacheConfig`] is given.
//!
//! # What happens on restart
//!
//! The cache lives in the vault: a crash of the actor loses the message in hand, which is one answer not remembered or one
//! question asked again. The cache is in memory: a restart of the process begins with an empty one.
//!
//! # What it never does
//!
//! It never stands in for the caller's own mistake, never for an effect that may have happened, never merges a cached
//! answer into the caller's data, never shares an answer between tenants or targets, never turns a success into a failure because
//! the cache is full or down, and never lets a failure vanish: the last step is the dead letter.

#[cfg(feature = "runtime")]
mod actor;
mod cache;
mod chain;
mod config;
mod key;
#[cfg(feature = "runtime")]
mod message;

#[cfg(feature = "runtime")]
pub use actor::{FallbackActor, FallbackParts};
pub use cache::{Cache, FallbackSnapshot, Hit, Staleness};
pub use chain::{LocalFn, Next, Situation, is_worth_keeping, run_local};
pub use config::{CacheConfig, FallbackConfig, check_chain};
pub use key::{CacheKey, KEY_MAX_BYTES, KeyTemplate, normalise};
#[cfg(feature = "runtime")]
pub use message::{Recall, Remember};
