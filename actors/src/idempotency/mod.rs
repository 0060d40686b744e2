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
//! For a call by operation id ([`operation_key`]) the vendor gets a random UUID instead: the id of the call that owns the
//! key. No second table is needed for it: the key's owner does not change while it is in flight, parked or unknown, through
//! replay and restart; a repeat gets the stored end and sends nothing; and when its time is over, or after a definite
//! failure, the next owner is another call, with another UUID.
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
//! | answer of a done key on disk | 64 KiB ([`ANSWER_MAX_BYTES`]) | a repeat after a restart is done, with no body |
//! | wait for the store | 5 s | see below |
//!
//! Keys in flight, parked and unknown ones are never forgotten to make room.
//!
//! # On disk
//!
//! One row a key in `keys`, and rows behind it for an answer above 3 KiB; the engine counts them (`Table::counter`).
//! Records carry a version byte; one of an unknown version is set aside, never a panic. Written are
//!
//! - a *claim*, before the first byte of a call that may not always be repeated leaves (`Ticket::write_ahead`). A process
//!   that dies then leaves an unknown key behind, not a free one. A call that a guard refuses before costs no write;
//! - the *end* of a call, before anybody hears of it: done with its answer; or nothing any more, after a definite failure
//!   and when the call is parked, for then its letter says what stands for the key. An unknown end leaves the claim.
//!
//! A store that is full or does not answer: a call that may never be repeated is refused before it is sent
//! (`Reason::NotWritten`); all others go on, and what was not written is logged and counted (`not_written_total`).
//! A done key leaves the disk when it leaves memory, 256 in a set, so no index by time is needed and no sweep reads the disk;
//! a start reads every row once, 512 at a time, and deletes those whose time is over by the calendar.
//!
//! # What happens on restart
//!
//! The table and the callers who joined live in the vault: a crash of the actor loses neither. Ends of claims are reports,
//! which are delivered until they are applied. A report that crashes the actor again and again is set aside by the kernel;
//! its key then stays in flight, which blocks that key and sends nothing twice.
//!
//! Of the process: done keys answer repeats until their time is over, as the calendar says. A claim that was written and has no
//! end is unknown. A parked call, which the runtime puts back by [`KeyReport::Restored`], says better than its own claim what
//! stands for its key. Since when a key may have been sent is kept too ([`ClaimGrant::sent_before`]): a vendor's window does
//! not begin anew with a restart or a replay.
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
mod disk;
#[cfg(feature = "runtime")]
mod grant;
#[cfg(feature = "runtime")]
mod message;
mod protocol;
#[cfg_attr(not(feature = "runtime"), allow(dead_code, reason = "only the disk writes and reads records"))]
mod record;
mod snapshot;
mod state;

#[cfg(feature = "runtime")]
pub use actor::{IdempotencyActor, KeyParts};
pub use canonical::{
    Fingerprint, SCHEME_VERSION, TARGET_SCHEME_VERSION, caller_key, canonical_json, content_key, fingerprint,
    operation_key,
};
pub use config::IdempotencyConfig;
#[cfg(feature = "runtime")]
pub use disk::{ANSWER_MAX_BYTES, FoundKey, Keep, load};
#[cfg(feature = "runtime")]
pub use grant::ClaimGrant;
#[cfg(feature = "runtime")]
pub use message::{Claim, Claimed, Response};
pub use protocol::{Answered, Asked, Decision, End, Forgotten, KeyReport, LeftKey, Mine, Told, Waiter};
pub use snapshot::{KeySnapshot, KeyTotals};
pub use state::Keys;
