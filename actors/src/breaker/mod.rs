//! The circuit breaker: it stops calls to a vendor that does not work, and finds out when it works again.
//!
//! # Why
//!
//! A vendor that is down costs a timeout, a slot and often money for each call that is sent to it all the same. The breaker
//! counts how calls end; when too many fail, or are slow, or hang, it refuses at once, with the time to come back, and later
//! lets a few probes through. It has no timeout of its own: it is told outcomes.
//!
//! ```text
//!                a rule says so, or an operator
//!     Closed ------------------------------------------> Open { until }
//!        ^                                                |       ^
//!        | `probes_to_close` probes                       | at    | the first probe that fails or is slow,
//!        | succeeded                                      | until | or that did not report within its lease
//!        +---------------- HalfOpen { probes } <----------+       |
//!                               |                                 |
//!                               +---------------------------------+
//! ```
//!
//! # Circuits
//!
//! What fails together has one breaker. A table that is full says nothing of the table beside it, and a slow `create` nothing of
//! `get`: so each group of operations ([`Operation::group`](crate::profile::Operation::group)) at each place (the vendor's own
//! address, each named target) is a [`Circuit`](crate::ids::Circuit) with a breaker of its own, up to
//! [`CIRCUITS_MAX`](crate::profile::CIRCUITS_MAX) a vendor. Budget, rate and lanes stay the vendor's. A vendor without targets
//! and groups has one circuit. All are set by the vendor's one configuration, or by that of their group.
//!
//! # The rules, and which file has them
//!
//! | it opens when | configured by | in |
//! | --- | --- | --- |
//! | a share of the recent calls failed | [`RateTrip::failure_ratio`] | `trip.rs` |
//! | a share of them was slow, those under way for too long included | [`RateTrip::slow`] | `trip.rs`, `passes.rs` |
//! | so many failed in a row | [`StreakTrip`] | `trip.rs` |
//! | an operator says so | [`Control`] | `state/control.rs` |
//!
//! Recent are the calls of the last while, or the last so many ([`Window`], `window.rs`); both windows let old calls go. A
//! share means nothing below `minimum_calls`. What ends change is in `state/closed.rs` and `state/half_open.rs`, everything
//! else in `state.rs`. Of several rules that say "open", the longest open time holds.
//!
//! # What counts
//!
//! - Calls count **when they end**, by [`Class::verdict`](crate::outcome::Class::verdict): a timeout or a 5xx is a failure, an
//!   answer is a success. What says nothing of the vendor (a caller's error, 401, 402, 429, our own loss) gives the place back
//!   and counts as neither; so does a pass that was not used. An end nobody knows is a failure.
//! - A call that took longer than `slower_than` is slow, whether it failed or not. One that has been **under way** as long is
//!   slow already: twenty calls that hang open the breaker before the first of them times out. The timer sees to that, and
//!   each call and report asks first what is due. When such a call ends after all, it is counted once: in the window if its
//!   period still lasts, else nowhere.
//! - A streak is broken by any success, and by a pause between two failures ([`StreakTrip::forget_after`]).
//!
//! # Choices
//!
//! Libraries differ in these. Each is decided here, on purpose.
//!
//! | question | here | why |
//! | --- | --- | --- |
//! | Does a rate of exactly the limit open? | Yes, `>=` | as Resilience4j, Polly, Failsafe; "50 %" means 50 % |
//! | Can a success open it, when it completes the minimum? | Yes: three failures and two successes, minimum five, are 60 % | as Resilience4j, unlike Polly: the minimum says when the rate is known, not which call may speak |
//! | What is a silent end (a caller's error) in half-open? | The place comes back, no verdict; the next call is the probe | closing on it, as opossum and Polly do, lets everything through to a vendor of whom nothing is known |
//! | Do our own refusals, and answers from cache or key, count? | Never; they do not come here | a full lane is no outage, a cache hit no health |
//! | When does a call count, at its start or its end? | At its end; too long without one is slow | calls under way must not thin out the rate |
//! | Does an end count that comes after the vendor took the effect on? | No; health counts it | its pass has reported, and its period may be over; whether the next call is answered it does not say |
//! | When is a call slow? | `duration > slower_than`; still under way at `slower_than` | as Resilience4j; whoever is out at the limit ends above it |
//! | Does a 429 count? | No; where a vendor means an outage by it, `throttle_counts` | the gate's rate deals with it; the profile's rules may read some as overload |
//! | Which clock times the open state? | The monotonic one; the calendar is only shown | a step of the wall clock opens and closes nothing |
//! | Do listeners run inside the lock? | No: facts are stated after the change is made, and do not block | a slow listener holds up no call |
//! | How do probes decide? | The first failure opens again, `probes_to_close` successes close | a rate over N probes, as in Resilience4j, sends N calls to a vendor whose first answer said enough |
//! | How long does it hold a `Retry-After`? | Exactly, with no spread, up to [`BreakerConfig::retry_after_max`]; never shorter than its own open time | the vendor may ask for more rest, and cannot talk a cooldown away |
//! | What is a probe that never ends? | Failed, when its lease ends; its late result is ignored | else one lost call wedges it for ever |
//! | What ends an operator's order? | Its time, at most a day, or the operator; after forced open a probe decides | an order that is forgotten outlives its reason |
//!
//! # The seeds' presets
//!
//! [`BreakerConfig::patterns`] and [`BreakerConfig::credit`]; the second is both together: the rate rule and the streak rule.
//! What the sample code did differently, and how to have it back:
//!
//! | sample code | here | the original |
//! | --- | --- | --- |
//! | opens above 50 %, not at it | at 50 % | `failure_ratio: 0.500001` |
//! | window of 10 s, shorter than its own timeouts: never opened | twice the longest timeout | `window: Window::Time(10 s)` where every timeout is shorter |
//! | calls under way and refused calls thin out the rate | ended calls only | not to be had |
//! | each error is a failure, 401 and 422 too | by class | rules of the profile may read them as `Class::Server` |
//! | a timeout of 30 s around every call, whatever its own | none: [`Operation::timeout`](crate::profile::Operation::timeout) is per operation | `timeout: 30 s` there |
//! | "in a row" was never reset by a success, nor by time | a success, or an hour, breaks a streak | not to be had |
//! | half-open let everything through | one probe with a lease | `probes: 100` |
//! | refused with the text "Circuit OPEN. Cooldown until ..." | [`Reason::BreakerOpen`](crate::refusal::Reason::BreakerOpen) with the cause, and [`Refusal::retry_at`](crate::refusal::Refusal::retry_at) | the time of day is in [`BreakerSnapshot::retry_at`] |
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
//! any moment. A probe that said nothing (unused, throttled, a caller's error) frees its place and the next call is the probe.
//! A probe that was lost after its first byte counts as failed, like one that does not report within `probe_lease`; so a lost
//! probe never wedges the breaker. The open time may grow with each opening in a row (`growth`, off by default) up to
//! `open_max`; closing resets that. It is spread by `jitter`, so that many processes do not probe at once.
//!
//! # Operators
//!
//! [`Control`] holds it open, holds it closed, or lets it count only: then every call passes, and it is stated when it would
//! have opened, once for each opening there would have been. An [`Order`] has an end, at most [`ORDER_MAX`], and a reason.
//! Each begins a new generation. When it ends the rules decide again: half-open after forced open, else closed with nothing
//! counted. Refusals, the snapshot, the facts and the log say which order is in force, until when and why.
//!
//! # Limits and defaults
//!
//! | what | limit or default | beyond it |
//! | --- | --- | --- |
//! | passes out in one generation | [`GRANTS_MAX`] 10,000 | refused with `Full`; passes past their lease are forgotten first |
//! | memory of the window | [`BUCKETS`] 10 buckets, or 10,000 calls | the oldest falls out |
//! | rate | 50 % of >= 10 calls, open 30 s | see [`BreakerConfig::patterns`] |
//! | slow calls | no rule | see [`SlowTrip`] |
//! | streak | 5 in a row, open 15 min | see [`BreakerConfig::credit`] |
//! | probes | 1 out, 1 to close | refused with `Probing` |
//! | an order | 24 h, a reason of 200 bytes | cannot be given ([`BadOrder`]) |
//!
//! # After a restart
//!
//! The state lives in the actor's vault: a crashed or replaced actor goes on in the same state and generation, with the same
//! timer, probes and order, and no report is lost. A restart of the process begins closed, with nothing counted and no order.
//!
//! # What it never does
//!
//! Send, wait, retry, change an outcome, count money, or keep a call.

mod config;
mod passes;
mod snapshot;
mod state;
mod trip;
mod window;

#[cfg(feature = "runtime")]
mod actor;
#[cfg(feature = "runtime")]
mod message;

#[cfg(feature = "runtime")]
pub use actor::{BreakerActor, BreakerParts};
pub use config::{BreakerConfig, RateTrip, SlowTrip, StreakTrip, Window};
pub use passes::GRANTS_MAX;
pub use snapshot::BreakerSnapshot;
pub use state::{
    Admission, BadOrder, Breaker, Change, Control, Hold, Notice, ORDER_MAX, ORDER_REASON_MAX_BYTES, Order,
    PROBING_PAUSE, Transition,
};
pub use trip::Figures;
pub use window::{BUCKETS, Tally};

/// Stands for "longer than any process runs", where a sum would overflow.
const FAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

fn later(now: std::time::Instant, by: std::time::Duration) -> std::time::Instant {
    now.checked_add(by).unwrap_or_else(|| now + FAR)
}

/// A moment for the rules' tests, which then run without the feature `runtime` too: they move it by hand.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any moment will do")]
fn some_moment() -> std::time::Instant {
    std::time::Instant::now()
}
