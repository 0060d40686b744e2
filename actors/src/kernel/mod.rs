//! The mailbox that outlives its actor, and the future that keeps one incarnation alive. The kernel knows no concern.
//!
//! # Why not `actix::Supervisor`
//!
//! It does not survive a panic: the unwind takes the actor *and its mailbox*, and everything queued is lost (100,000 queued,
//! one panic at the 500th: 99,500 lost). Here the mailbox is detached. [`Vault`] holds the receiving end, the actor's state
//! and the reports it has not applied yet, outside every task; callers hold an [`actix::Addr`] that stays valid for ever.
//!
//! ```text
//!   callers --Addr--> [ mailbox | reports | state ]  Vault, outlives every incarnation
//!                            |  one envelope at a time, generation checked under the same lock
//!                       Pump, inside the context of
//!                       the incarnation  <-- built by the factory, polled under catch_unwind by
//!                       Keeper           --> asks the Overseer: restart after a pause, or park
//! ```
//!
//! # What happens when
//!
//! | event | the queue | the message in hand | the state |
//! | --- | --- | --- | --- |
//! | a handler panics | kept | dropped: its sender hears of it | as before the handler, or after its commit |
//! | a report's handler panics | kept | delivered again, set aside after [`REPORT_ATTEMPTS_MAX`] | as before, or after its commit |
//! | timer, `started`, `Drop`, `stopping`, the factory panic | kept | nothing | kept |
//! | a handler hangs | taken over by a new incarnation on a spare thread | stays with the stuck one, which is fenced | kept |
//! | the restart limit is passed | kept, not served | | kept |
//!
//! # What an actor must do
//!
//! Keep nothing of value in itself. Decide on `&State` and apply a change that cannot panic, by [`Incarnation::commit`].
//! Await nothing: what waits runs as a task of its own and reports back. Begin each handler with [`Incarnation::begin`].

mod fence;
mod hop;
mod incarnation;
mod keeper;
mod overseer;
mod published;
mod pump;
mod reports;
#[cfg(test)]
pub(crate) mod testing;
mod vault;
mod worker;

pub use fence::{Fence, Fenced};
pub use hop::{Depth, Door, DoorFull, Hop, Lost, ask};
pub use incarnation::Incarnation;
pub use keeper::panic_text;
pub use overseer::{Cause, Child, ChildState, ChildStatus, Exit, Fate, Hazard, NoHazard, Overseer, Verdict};
pub use published::Published;
pub use reports::{REPORT_ATTEMPTS_MAX, Reports};
pub use vault::{Launch, Resident, Vault};
pub use worker::{Pulse, Spawn, Worker};
