//! Health: how each vendor is doing, and why, in sentences a person understands.
//!
//! # Why it exists
//!
//! The guards know their own part; nobody else can say in one word whether a vendor may be relied on. Health reads the facts
//! that guards and supervisors state and judges from them. The application's own calls are the probe; where there are few, a
//! [`ProbeConfig`] asks the vendor beside them, by an operation that is free, past every guard, and states the answer as a
//! fact that is good until the next.
//!
//! # What a vendor is
//!
//! The worst of two rules: the score of seed B, and the list of seeds A and C. Every reason is shown, the gravest first, also those
//! that change nothing.
//!
//! ```text
//!   down, parked, probe failed, or score <= 0.80 .............................. unhealthy
//!   breaker not closed | score <= 0.95 | budget exhausted | wrong credentials
//!     | more dead letters, or more overdue callbacks, than allowed ............ degraded at best
//!   score > 0.95, or probe worked ............................................. healthy
//!   too few calls for a score, no probe, and none of the above ................ unknown
//!
//!   shown beside it: calls denied, by guard | lanes that were full | throttling | the budget's soft mark | callbacks owed
//!     | dead letters and their age | letters given up, unknown calls: a person must look | restarts
//! ```
//!
//! The bounds are strict, as in the documents this comes from: 95 % is degraded, 80 % is unhealthy. The score is the part of
//! the attempts of the last 5 minutes (a window that slides) that show that the vendor works. One that was taken on, and whose
//! end says later that the vendor failed, is from then on a failure and no success. An attempt that says nothing of the vendor
//! (the caller's error, a throttle, our own loss) is not counted, and neither is a probe. Refused tickets are not attempts: they
//! are shown beside the score, and the guard that refuses has a rule of its own above. A vendor that takes everything on and never reports
//! back is seen by what it owes, and is degraded when that is overdue, whatever its score.
//!
//! The whole is as bad as its worst vendor. A vendor nobody calls says nothing: the whole is unknown only when all are.
//!
//! # Limits and defaults
//!
//! The limits and the source of each are in [`HealthConfig`]. Only configured vendors are kept. For each: 30 buckets, at most
//! [`OVERDUE_KEPT_MAX`] overdue callbacks (the oldest are forgotten first; each is forgotten after [`OVERDUE_KEPT`], or when
//! its call ends), [`NAMES_KEPT_MAX`] parked actors and as many full lanes by name. What is shown is refreshed with each batch
//! of facts, and every 10 seconds while time alone can change it.
//!
//! # What happens on restart
//!
//! Of the actor: the state is in its vault and nothing is lost but a fact that was in hand. Facts that never arrived are
//! counted and shown as `missed_facts`; the figures are then lower bounds. Of the process: health begins as unknown. The
//! parked calls are on disk, so whoever opens the store says their numbers at once with [`LettersFound`].
//!
//! # What it never does
//!
//! It never refuses a call, never changes what it judges by being read, and never shows a vendor as
//! healthy while its breaker is open.

#[cfg(feature = "runtime")]
mod actor;
mod config;
mod judge;
#[cfg(feature = "runtime")]
mod message;
mod read;
mod report;
mod score;
mod state;

#[cfg(feature = "runtime")]
pub use actor::{CallbackBook, HealthActor, HealthParts, REFRESH};
pub use config::{HealthConfig, OVERDUE_KEPT_MAX, ProbeConfig};
pub use judge::Moment;
#[cfg(feature = "runtime")]
pub use message::LettersFound;
pub use report::{Callbacks, Code, HealthSnapshot, Reason, Status, VendorHealth};
pub use score::{BUCKETS, Counts, Window};
pub use state::{Health, NAMES_KEPT_MAX, Noted, OVERDUE_KEPT, StatusChange};

#[cfg(test)]
mod tests;
