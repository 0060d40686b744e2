//! Health: how each vendor is doing, and why, in sentences a person understands.
//!
//! # Why it exists
//!
//! The guards know their own part; nobody else can say in one word whether a vendor may be relied on. Health reads the facts
//! that guards and supervisors state and judges from them. It asks no vendor: a probe would be billed, could hang, and would
//! only prove that the probe works. The application's own calls are the probe.
//!
//! # What a vendor is
//!
//! ```text
//!   down, parked, or score <= 0.80 ............................................ unhealthy
//!   breaker not closed | score <= 0.95 | budget exhausted | wrong credentials
//!     | more dead letters, or more overdue callbacks, than allowed ............ degraded at best
//!   score > 0.95 .............................................................. healthy
//!   too few calls for a score, and none of the above .......................... unknown
//! ```
//!
//! The bounds are strict, as in the documents this comes from: 95 % is degraded, 80 % is unhealthy. The score is the part of
//! the attempts of the last 5 minutes (a window that slides) that show that the vendor works. An attempt that says nothing of
//! the vendor (the caller's error, a throttle, our own loss) is not counted. Refused tickets are not attempts: they are shown
//! beside the score, and the guard that refuses has a rule of its own above.
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
//! number of dead letters is on disk, so whoever opens the store says it at once with [`LettersFound`].
//!
//! # What it never does
//!
//! It never calls a vendor, never refuses a call, never changes what it judges by being read, and never shows a vendor as
//! healthy while its breaker is open.

#[cfg(feature = "runtime")]
mod actor;
mod config;
mod judge;
#[cfg(feature = "runtime")]
mod message;
mod report;
mod score;
mod state;

#[cfg(feature = "runtime")]
pub use actor::{HealthActor, HealthParts, REFRESH};
pub use config::{HealthConfig, OVERDUE_KEPT_MAX};
#[cfg(feature = "runtime")]
pub use message::LettersFound;
pub use report::{Code, HealthSnapshot, Reason, Status, VendorHealth};
pub use score::{BUCKETS, Counts, Window};
pub use state::{Health, NAMES_KEPT_MAX, Noted, OVERDUE_KEPT, StatusChange};

#[cfg(test)]
mod tests;
