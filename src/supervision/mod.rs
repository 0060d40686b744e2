//! Supervision: who is started again, how often, and what follows when that does not help.
//!
//! # Why not `actix::Supervisor`
//!
//! It restarts an actor that *stopped*, not one that panicked: the unwind takes the actor and its mailbox, and with them
//! everything queued (100,000 queued, one panic at the 500th: 99,500 lost). It has no limit (an actor that stops itself in
//! `started` is restarted for ever inside one poll) and no pause. So the kernel keeps the mailbox outside the actor
//! (`mainstay_actors::kernel`), and this module decides what becomes of an actor that ended.
//!
//! ```text
//!   root  3 vendors down in 10 min ------------------------------> on_fatal, once
//!    |                                                                ^
//!    +-- runtime (no vendor)     down -------------------------------- +
//!    |     +-- dlq, health, ...
//!    +-- clay  50 restarts in 60 s -> all children parked, clay is down, calls are refused in words
//!    +-- retell
//!          +-- breaker  10 restarts in 60 s -> breaker parked with its queue, retell is down,
//!          +-- budget                          its other actors go on
//!          +-- ...
//! ```
//!
//! # What becomes of an exit
//!
//! | cause | permanent (default) | transient | temporary |
//! | --- | --- | --- | --- |
//! | a panic, in the factory too | restart, counted | restart, counted | left |
//! | a hang | moved to a spare thread, counted | the same | stopped |
//! | it stopped itself | restart, counted | left | left |
//! | relaunched by a sibling or a person | restart at once, not counted | the same | the same |
//!
//! "Left" and "stopped" are for good: what is queued is dropped, which answers it.
//!
//! # Limits and what happens there
//!
//! | limit | default | past it |
//! | --- | --- | --- |
//! | restarts of one child | 10 in 60 s | it is parked with its queue, its supervisor is *down* with the reason |
//! | restarts of the cache, which the others do without | the same | it is parked; its vendor serves on, without cached answers |
//! | restarts under one supervisor | 50 in 60 s | all its children are parked, it is down |
//! | vendors down | 3 in 10 min | `on_fatal` is called, once |
//! | a supervisor without a vendor down | none | `on_fatal` is called, once |
//! | a thread that does not turn | 2 s | its actors go to a spare thread; the one at work has a hang counted |
//! | spare threads | 2 | `on_fatal` is called, once |
//! | log lines of one child | 10 a second | one line says how many were left out |
//!
//! A limit of *n* is passed by event *n* + 1. The pause before a restart starts at 5 ms, doubles with each restart in the
//! window up to 1 s, is spread by 25 %, and lies outside the actor: its mailbox takes messages meanwhile.
//!
//! # What it never does
//!
//! It never drops a queue by itself, never ends the process, never holds its lock while it calls a child, a sink or the
//! application, and never restarts what was parked: that takes [`Tree::revive`] or [`Tree::relaunch`].

pub mod intensity;
mod records;
pub mod spec;
pub mod status;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod watchdog;

pub use spec::{Backoff, ChildSpec, Intensity, Restart, RootSpec, Strategy, SupervisorSpec};
pub use status::{SupervisorStatus, Totals, TreeStatus};
pub use tree::{OnFatal, SupervisorKey, Tree};
pub use watchdog::{Watchdog, WatchdogConfig};
