//! The circuit breaker of one vendor: it stops calls to a vendor that does not work, and finds out when it works again.
//!
//! # Why
//!
//! A vendor that is down costs a timeout, a slot and often money for each call that is sent to it all the same. The breaker
//! counts how calls end; when too many fail it refuses at once, with the time to come back, and later lets a few probes
//! through. It has no timeout of its own: it is told outcomes.
//!
//! ```text
//!                too many failures (rate or streak)
//!     Closed ------------------------------------------> Open { until }
//!        ^                                                |       ^
//!        | `probes_to_close` probes                       | at    | the first probe that fails,
//!        | succeeded                                      | until | or that did not report within its lease
//!        +---------------- HalfOpen { probes } <----------+       |
//!                               |                                 |
//!                               +---------------------------------+
//! ```
//!
//! # What counts
//!
//! - Calls count **when they end**, by [`Class::verdict`](crate::outcome::Class::verdict): a timeout or a 5xx is a failure, an
//!   answer is a success. What says nothing of the vendor (a caller's error, 401, 402, 429, our own loss) gives the place back
//!   and counts as neither; so does a pass that was not used. An end nobody knows is a failure.
//! - Calls that were refused, here or elsewhere, and calls served from a cache never count.
//! - The comparison is `>=`: exactly at the limit opens.
//! - The rule is asked after **every** counted call, so a *success* that completes the minimum can open it when the rate is
//!   over the limit: three failures and two successes, with a minimum of five, are 60 % and open. As Resilience4j does, unlike
//!   Polly: the minimum says when the rate is known, not which call may speak.
//! - The window slides in ten steps. A sample exactly as old as the window is outside it.
//! - A streak is broken by any success, and by a pause between two failures ([`StreakTrip::forget_after`]): failures weeks
//!   apart do not add up.
//! - When both rules say "open", the longer open time holds.
//! - A `Retry-After` is obeyed when the failure that carries it opens the breaker, up to [`BreakerConfig::retry_after_max`].
//!   A 429 does not open it.
//!
//! # Generations
//!
//! Each change of state begins a new generation, with an empty window and an empty table of passes. A result is looked up in
//! that table, so a result of an earlier generation finds nothing and changes nothing: no count, no timer, no probe. The same
//! look-up makes a report that is delivered twice count once.
//!
//! # Half-open
//!
//! The change from open happens by the timer, at its time, whether or not a call is there. At most `probes` passes are out at
//! any moment; the first failure opens again at once, `probes_to_close` successes close. A probe that said nothing (unused,
//! throttled, a caller's error) frees its place and the next call is the probe. A probe that was lost after its first byte
//! counts as failed, like one that does not report within `probe_lease`; so a lost probe never wedges the breaker.
//! The open time may grow with each opening in a row (`growth`, off by default) up to `open_max`; closing resets that.
//!
//! # Limits and defaults
//!
//! | what | limit or default | beyond it |
//! | --- | --- | --- |
//! | passes out in one generation | [`GRANTS_MAX`] 10,000 | refused with `Full`; passes past their lease are forgotten first |
//! | memory of the window | [`BUCKETS`](window::BUCKETS) 10 buckets | the oldest falls out |
//! | rate | 50 % of >= 10 calls, open 30 s | see [`BreakerConfig::patterns`] |
//! | streak | 5 in a row, open 15 min | see [`BreakerConfig::credit`] |
//! | probes | 1 out, 1 to close | refused with `Probing` |
//!
//! # After a restart
//!
//! The state lives in the actor's vault: a crashed or replaced actor goes on in the same state and generation, with the same
//! timer and probes, and no report is lost. A restart of the process begins closed and with nothing counted.
//!
//! # What it never does
//!
//! Send, wait, retry, change an outcome, count money, or keep a call.

mod config;
mod snapshot;
mod state;
mod trip;
pub mod window;

#[cfg(feature = "runtime")]
mod actor;
#[cfg(feature = "runtime")]
mod message;

#[cfg(feature = "runtime")]
pub use actor::{BreakerActor, BreakerParts};
pub use config::{BreakerConfig, RateTrip, StreakTrip};
#[cfg(feature = "runtime")]
pub use message::Reset;
pub use snapshot::BreakerSnapshot;
pub use state::{Admission, Breaker, Change, GRANTS_MAX, PROBING_PAUSE, Transition};
pub use trip::Figures;

/// A moment for the rules' tests, which then run without the feature `runtime` too: they move it by hand.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any moment will do")]
fn some_moment() -> std::time::Instant {
    std::time::Instant::now()
}
