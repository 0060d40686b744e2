//! One effect, one key. The table of keys answers a repeat with the stored end and lets concurrent repeats join.
//!
//! # Why it exists
//!
//! Vendors forget a key after an hour (Retell) or know none (Clay), and a caller that heard nothing asks again. So the
//! runtime itself remembers which effect is under way, done, or unknown, and sends no second one.
//!
//! # The key
//!
//! SHA-256 over canonical JSON of scheme version, vendor, target if one is named, tenant, operation, and either the
//! caller's own key or the params ([`content_key`], [`caller_key`]). It is the same through retry, queue, dead letter and
//! replay. Beside it the table keeps a [`Fingerprint`] of the payload: the same key with another payload is a conflict.
//!
//! # States of a key
//!
//! ```text
//!                 claim: Mine                    finish(Done)               `keep` is over, or
//!   (not there) --------------->  in flight  ------------------->  done  -- room is needed -->  (not there)
//!        ^                        | claim: Join |                 claim: Stored    ^
//!        |      finish(Free)      |             | finish(Unknown)                  | resolved: Done
//!        +------------------------+             v                                  |
//!        +----- resolved: Free ----------  unknown  -------------------------------+
//!                                        claim: Unknown
//! ```
//!
//! A call that is parked for later ends its claim as *parked*: repeats get that answer ("it waits as letter X"), and only
//! the same call takes the key up again, when it is done from where it is parked.
//!
//! A claim that is dropped without a word is Free if nothing can have been sent, else Unknown.
//!
//! # Limits and defaults ([`IdempotencyConfig`])
//!
//! | what | default | at the limit |
//! | --- | --- | --- |
//! | keys | 100,000 | the oldest done key is forgotten; if none is done, the claim is refused as full |
//! | callers joined to one key | 1,000 | refused as full |
//! | life of a done key | 24 h | forgotten |
//!
//! Keys in flight, parked and unknown ones are never forgotten to make room.
//!
//! # What happens on restart
//!
//! The table and the callers who joined live in the vault: a crash of the actor loses neither. Ends of claims are reports,
//! which are delivered until they are applied. A report that crashes the actor again and again is set aside by the kernel;
//! its key then stays in flight, which blocks that key and sends nothing twice. After a restart of the *process* the table
//! is empty but for the keys of unknown and parked calls, which the runtime puts back by [`KeyReport::Restored`].
//!
//! # What it never does
//!
//! It never lets two calls own one key, never turns an unknown effect into a free key by itself, never shows or logs a key
//! or a payload, and never sends anything.

#[cfg(feature = "runtime")]
mod actor;
mod canonical;
mod config;
#[cfg(feature = "runtime")]
mod message;
mod snapshot;
mod state;

#[cfg(feature = "runtime")]
pub use actor::{IdempotencyActor, KeyParts};
pub use canonical::{
    Fingerprint, SCHEME_VERSION, TARGET_SCHEME_VERSION, caller_key, canonical_json, content_key, fingerprint,
};
pub use config::IdempotencyConfig;
#[cfg(feature = "runtime")]
pub use message::{Claim, ClaimGrant, Claimed, Response};
pub use snapshot::{KeySnapshot, KeyTotals};
pub use state::{Answered, Asked, Decision, End, KeyReport, Keys, Told, Waiter};
