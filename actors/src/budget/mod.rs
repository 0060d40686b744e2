//! The budget of one vendor account: what may be spent in a day, what is spent, and what calls under way may still cost.
//!
//! # Why it exists
//!
//! A check before a call and a record after it is a race: with a limit of 500, 1,000 calls at once all pass the check and
//! spend 6,000. So a call *reserves* what it may cost before it goes on, and its end settles, refunds or keeps that
//! reservation. A retry, a replay and a drain reserve like everybody else.
//!
//! # A reservation
//!
//! ```text
//!                         +-- Unused, or ended without an effect --> refunded
//!   ticket --> reserved --+-- ended, done -----------------------> settled at its cost, else at what was reserved
//!                |        +-- cost above the reservation ---------> settled, and the excess is overage
//!                v
//!             unknown  (sent, no answer: it stays reserved; a later end settles or refunds it)
//! ```
//!
//! # A day
//!
//! ```text
//!   today --(the wall clock reaches the reset)--> today + 1      yesterday's reservations do not count any more
//!     |                                                          its late ends change yesterday's figures only
//!     +--(the wall clock steps back)--> today                    until the clock catches up
//! ```
//!
//! A day is a calendar day in the stated time zone: 23 hours long in spring, 25 in autumn, and one that the zone skipped
//! never begins. A wall clock that is set far ahead takes the budget with it, and one that is set back then does not return
//! it: the ledger would rather refuse than give one day's money twice. A restart of the process begins again from the clock.
//!
//! # Admission
//!
//! A call passes when `settled + reserved + its estimate <= limit` (equality passes); lanes other than `critical` keep away
//! from the share that is kept for that one. A call without an estimate passes on the same terms. The vendor's own word that
//! the account is used up (402, a quota) blocks every reservation until the day's reset, or longer if the vendor says so.
//!
//! # Limits and defaults
//!
//! | what | default | at the limit |
//! | --- | --- | --- |
//! | money of a day | none: it must be stated | refused with the figures and the reset |
//! | reservations, over all days kept | 10,000 | refused: `budget reservations full` |
//! | days kept for late ends | 3, today included | older reservations are written off as spent, their ends ignored |
//! | the vendor's wait after *exhausted* | at most 31 days | longer waits are cut |
//! | denials in the log | one line a second | the rest are counted in the next line |
//!
//! # What happens on restart
//!
//! Of the actor: nothing changes. The ledger is in the vault; an admission is committed before its ticket goes on, and an
//! end waits beside the mailbox until it is applied, once by grant id. Of the process: the ledger begins anew; what was
//! spent before it is not known here.
//!
//! # What it never does
//!
//! It never lets `settled + reserved` of a day pass the limit by admission: only a cost above its estimate can. It never
//! refunds what may have been spent. It never moves money from one day to another. It awaits nothing and reads no store.

#[cfg(feature = "runtime")]
mod actor;
mod config;
mod day;
mod ledger;
mod page;
mod snapshot;

#[cfg(feature = "runtime")]
pub use actor::{BudgetActor, BudgetParts};
pub use config::{BudgetConfig, CRITICAL_LANE};
pub use day::{Calendar, Day};
pub use ledger::{DAYS_KEPT, Ledger, Posting, RETRY_AFTER_MAX, Reserve, Turn};
pub use page::{Mark, Note, Page};
pub use snapshot::BudgetSnapshot;
