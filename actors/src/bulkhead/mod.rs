//! Lanes and the vendor's gate: how much runs at the same time, how fast, who waits, and whose turn it is.
//!
//! # Why
//!
//! A flood of bulk work must not hold up a critical call, so each vendor has lanes that share no permits ([`BulkheadActor`],
//! one a lane). Lanes add up, though, and a vendor has limits of its own: live calls, calls a second. So all lanes of a vendor
//! go through one gate ([`VendorGateActor`]). Both keep the waiting tickets, because nothing else can keep them in order,
//! refuse the one too many, and let nobody wait without end.
//!
//! ```text
//!             queue, <= queue_max               line, <= the lane's permits
//!   ticket -> [ critical ......... ] --permit--> [ ....  ] \
//!   ticket -> [ normal   ......... ] --permit--> [ ..    ]  > --weighted turn: slot and token--> breaker
//!   ticket -> [ bulk     ......... ] --permit--> [ ..... ] /
//!
//!   waiting --+--> runs                         in its turn, with a grant on the ticket
//!             +--> refused, WaitedTooLong       at min(caller's deadline, entered + wait_max)
//!             +--> refused, Paused              at the same time, when an operator has paused it
//!             +--> refused, BreakerOpen         at once, all of its circuit, when their breaker opens
//!             +--> leaves                       its caller is gone: skipped in its turn, or makes room for an arrival
//!   arriving ----> refused, Full                when nobody who waits has left
//! ```
//!
//! # Permits, slots, tokens
//!
//! - A **permit** of the lane is back when the ticket's grant reports, however it ended: the lane bounds our own work.
//! - A **slot** of the vendor is back when its effect ended or was not begun. If nobody knows, the vendor may still be at
//!   work: the slot is kept until its lease runs out, counted from the grant. The lease also frees a slot whose report never
//!   came, so it must be longer than the longest effect.
//! - A rate **token** that was not used for a send comes back, unless it would have been refilled by then. Who waits in vain
//!   takes none. In any time t there are at most burst + rate * t sends. A vendor that counts by a window that slides gets a
//!   [`StrictWindow`] beside it: at most so many in any such stretch; places that were not used come back too.
//! - All of them are counted by grant id, each report once: there are no negative and no phantom permits.
//!
//! # Whose turn it is
//!
//! Within a lane: first in, first out. Between lanes, when slots or tokens are short: shares by weight; what a lane does not
//! use the others have; and while one of the lowest lanes waits, it has at least one of every ceil(sum of weights / its weight)
//! turns (9 for `bulk` of the seeds: 10 + 5 + 2 over 2). Any other lane waits its own such number, and one turn for each lane.
//!
//! So slots and rate are lent, permits are not: an idle `critical` leaves its share of the vendor to `bulk`, but `bulk` still
//! runs no more than its own 2. A lent permit would come back only when a call of up to two minutes ends, and that is what a
//! lane is there to prevent. Who wants `bulk` wider at night resizes it.
//!
//! A flood fills its own lane's queue and is refused there, so the least important work is shed first. More permits do not
//! cure a rate that is too high: they only move the wait from the lane to the gate.
//!
//! # While calls run
//!
//! A lane and the gate can be paused, resumed and given other limits ([`LaneChange`], [`GateChange`]). A pause starts nothing;
//! who waits or comes waits within the limits above. A lowered limit takes nothing back: nothing starts until enough of what
//! runs has ended, and nobody waits for that but those in the queue.
//!
//! # Limits and defaults
//!
//! | what | default | at the limit |
//! | --- | --- | --- |
//! | changes | live as long as the runtime | out of range: refused, nothing changed |
//! | lanes | critical 10, normal 5, bulk 2 ([`patterns_lanes`]); at most 16 | refused by `check_lanes` |
//! | queue of a lane | 256, 512, 4,096 | `Full`, after looking for one that left |
//! | wait in a lane, in the gate's line | 30 s each | `WaitedTooLong` |
//! | line of a lane at the gate | 1,024, the most permits a lane may have | `Full`; not met by calls, which hold a permit each |
//! | slots of a vendor | 20, leased for 65 min | they wait |
//! | rate, strict window | none | they wait |
//! | pause the vendor asks for with a 429 | what it asks, at most 60 s | they wait |
//! | saturation facts | one a second and lane, with the number refused | summed up |
//!
//! An arrival at a full queue looks at no more than 512 of those who wait for one that left, and the next one goes on there.
//!
//! # After a restart
//!
//! Queue, permits, slots, tokens and changed limits are in the vault: a crashed or replaced actor goes on with the same ones, and begins by
//! doing what became due meanwhile. Only a ticket in hand is lost, which its attempt hears of. A report that panics is
//! delivered again. After a restart of the process everything is free and as configured; phone calls that are still live are not known here.
//!
//! # What it never does
//!
//! Send, retry, look at an outcome but for its end and a vendor's wish for a pause, hold money, or decide about the breaker:
//! it only reads what that said last, and believes it no longer than it says.

mod config;
mod control;
mod gate;
mod lane;
mod message;
mod queue;
mod rate;
mod snapshot;
mod turns;
mod window;

#[cfg(feature = "runtime")]
mod gate_actor;
#[cfg(feature = "runtime")]
mod lane_actor;

pub use config::{CONCURRENCY_MAX, GateConfig, LANES_MAX, LaneConfig, Rate, StrictWindow, check_lanes, patterns_lanes};
pub use control::{ChangeError, GateChange, InForce, LaneChange};
pub use gate::{Gate, GateStep, GateStepped};
#[cfg(feature = "runtime")]
pub use gate_actor::{GateParts, VendorGateActor};
pub use lane::{Lane, LaneStep, LaneStepped};
#[cfg(feature = "runtime")]
pub use lane_actor::{BulkheadActor, LaneParts};
pub use message::{BreakerNews, Circuits, CircuitsChanged, OpenCircuit};
pub use queue::{Arrival, Out};
pub use snapshot::{GateSnapshot, LaneSnapshot, LineSnapshot};

#[cfg(test)]
#[cfg(feature = "runtime")]
mod tests;
