//! The dead letter queue: every call that could not be done now and must not be lost, on disk.
//!
//! # Why it exists
//!
//! A call that the vendor did not do, that no retry cured and for which nothing stood in, is written down with everything
//! needed to do it again: later by itself, or when a person says so. The caller hears of it only after it is on disk.
//!
//! ```text
//!               +-- Later:   due when the vendor is back, done by itself  --+
//!   Park ------>+-- Dead:    waits for a replay                           --+--> taken when due --> delivered: removed
//!               +-- Unknown: may have happened; never done by itself        |         |  not done: due again, later
//!                       |                                                   |         |  too often: given up, no due time
//!                       +-- found out: removed, or becomes Dead ------------+         +- may have happened: becomes Unknown
//! ```
//!
//! A durable call is a letter from its acceptance on, of the kind [`Kind::Accepted`]: not parked, and nobody's to replay or purge. It
//! is removed when it has ended, or becomes a parked one. So *on disk before it is acknowledged* and *on disk until it has ended* are
//! one table.
//!
//! A letter keeps the call's id and key through every replay, so it stays linked to its origin; it says why it was parked, how it
//! ended last, how the last [`HISTORY_MAX`] attempts ended, how many requests were sent and how often a person replayed it. It
//! names its vendor and target; their addresses and keys are secrets and are not in it. *Given up* is what the documents call a
//! permanent failure: it stays, a fact tells of it once, and a person replays or purges it.
//!
//! # On disk
//!
//! `letters` (id, part -> record, written once), `letter.state` (id -> what changes), `letter.due` (due time, id),
//! `letter.index` (public id -> id), `meta` (the next id, the number of letters). Records carry a version byte; an unknown version is set aside, never a panic.
//! In memory there is a short entry a letter (about 400 bytes), so that counting, filtering and finding what is due read no
//! disk; payloads stay on disk.
//!
//! # Limits and defaults ([`DlqConfig`], and a [`LetterConfig`] for each vendor)
//!
//! | limit | default | beyond it |
//! | --- | --- | --- |
//! | durable calls that have not ended | 100,000 | [`DlqError::AcceptedFull`]: the call is refused |
//! | letters | 100,000 | parking is refused with [`DlqError::Full`]: the caller is told, and still has the call |
//! | attempts by itself | 5 (`patterns`), 3 (`credit`) | given up: it stays, without a due time, until a person replays it |
//! | pause after a failed attempt | 30 s, doubling to 1 h, 25 % jitter | |
//! | attempts remembered | 5 | the oldest is forgotten |
//! | lease of a letter that was taken | 10 min | it comes back, as after a crash of whoever took it |
//!
//! # On restart
//!
//! Of the actor: nothing is lost, the entries are in the vault, and a write that was under way reports by itself. Of the
//! process: the entries are read back from disk before the actor starts. A letter that was
//! taken is what it was; one of which it was noted that it was about to be sent ([`NoteSending`]) is unknown: it may have happened.
//! Where it may be sent again, it goes on ([`Ended::Resumed`]), at the price of an attempt; else it waits for a person.
//!
//! # What it never does
//!
//! Drop a letter by itself; send anything; do an unknown call again unless it is named by its id.

mod config;
mod filter;
mod index;
mod letter;
#[cfg_attr(not(feature = "runtime"), allow(dead_code, reason = "only the disk writes and reads records"))]
mod record;
mod schedule;
mod snapshot;

#[cfg(feature = "runtime")]
mod actor;
#[cfg(feature = "runtime")]
mod disk;
#[cfg(feature = "runtime")]
mod handlers;
#[cfg(feature = "runtime")]
mod message;
#[cfg(feature = "runtime")]
mod probe;
#[cfg(feature = "runtime")]
mod writes;

#[cfg(feature = "runtime")]
pub use actor::{DlqActor, DlqParts, PAGE_MAX};
pub use config::{DlqConfig, LetterConfig};
#[cfg(feature = "runtime")]
pub use disk::{LETTERS_COUNT, LETTERS_NEXT};
pub use filter::Filter;
pub use index::{Change, Dlq, Entry, Meant};
pub use letter::{Attempt, Ended, Failure, HISTORY_MAX, Kind, Letter, LetterState, ParkedLetter, Sending};
#[cfg(feature = "runtime")]
pub use message::{
    Choose, Chosen, DlqError, Finish, List, NoteSending, Page, Park, Parked, Purge, Purged, TakeChosen, TakeDue,
};
#[cfg(feature = "runtime")]
pub use probe::{Probed, probe};
pub use record::RecordError;
pub use schedule::{due_after, state_after};
pub use snapshot::DlqSnapshot;

pub use crate::ids::LetterId;

#[cfg(test)]
#[cfg(feature = "runtime")]
mod tests;
