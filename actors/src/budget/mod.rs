//! The budget of one vendor account: what may be spent in a period, what is spent, and what calls under way may still cost.
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
//! # Limits and meters
//!
//! A *meter* is what the vendor counts, named by its unit: `credits` or `cents`, its main one, and perhaps `actions` or
//! `rows`. An operation says what it takes of each ([`estimate`](crate::profile::Operation::estimate) and
//! [`also`](crate::profile::Operation::also)). A *limit* bounds one meter in one period (day, month, lifetime) for the account,
//! for each tenant, or for each target. A call reserves in every limit that touches it, or in none. An answer or an
//! end states what was really spent of each; where it states nothing, what was reserved counts.
//!
//! A call passes a limit when `settled + reserved + its estimate <= limit` (equality passes); lanes other than `critical` keep
//! away from the share that is kept for that one. A call without an estimate passes on the same terms, unless its operation
//! is free for sure: then no limit touches it. Of several limits that refuse, the caller hears of the one that keeps it away
//! longest. The vendor's own word that the account is used up (402, a quota) blocks every reservation until the reset that the
//! vendor states, else for its `Retry-After`, else for the rest of the day.
//!
//! What a vendor charges for an answer that is no success is the operation's [`charge`](crate::profile::Operation::charge):
//! nothing, what was reserved, or a fixed amount, by class.
//!
//! # A period
//!
//! ```text
//!   today --(the wall clock reaches the reset)--> today + 1      yesterday's reservations do not count any more
//!     |                                                          its late ends change yesterday's figures only
//!     +--(the wall clock steps back)--> today                    until the clock catches up
//! ```
//!
//! A day is a calendar day in the stated time zone: 23 hours long in spring, 25 in autumn, and one that the zone skipped
//! never begins. A month is the days that have its name, and turns with the first of them; a lifetime never turns. A wall
//! clock that is set far ahead takes the budget with it, and one that is set back then does not return it: the ledger would
//! rather refuse than give one day's money twice. A restart of the process begins again from the clock and from
//! [`used_before`](Limit::used_before).
//!
//! # An operator
//!
//! [`BudgetChange`] raises a limit until its reset, sets what was really spent (as the vendor's own page says), or lifts the
//! vendor's *exhausted* after a top-up. It needs a reason, is a fact, and ends with the period or the process.
//!
//! # Limits and defaults
//!
//! | what | default | at the limit |
//! | --- | --- | --- |
//! | money of the account | none: it must be stated | refused with the limit, the figures and the reset |
//! | soft marks | 80 %, 95 % of each limit | a fact, once a period |
//! | further limits | none, at most 16 | more are a fault of the configuration |
//! | tenants or targets of one limit | 10,000 | those that used nothing in the period, and whose earlier calls ended, are forgotten, else refused: `budget tenants full` |
//! | reservations, over all periods kept | 50,000 | refused: `budget reservations full` |
//! | periods kept for late ends | 3 days, or 2 months | older reservations are written off as spent, their ends ignored |
//! | the vendor's wait after *exhausted* | at most 31 days | longer waits are cut |
//! | an operator's raise | until the reset | at most ten times the configured amount |
//! | a forecast | the last hour's pace | says nothing before ten minutes |
//! | denials in the log | one line a second | the rest are counted in the next line |
//!
//! # What happens on restart
//!
//! Of the actor: nothing changes. The ledger is in the vault; an admission is committed before its ticket goes on, and an
//! end waits beside the mailbox until it is applied, once by grant id. Of the process: the ledger begins anew; what was
//! spent before it is not known here but by `used_before`.
//!
//! # What it never does
//!
//! It never lets `settled + reserved` of a limit pass it by admission: only a cost above its estimate can. It never refunds
//! what may have been spent. It never moves money from one period to another. It awaits nothing and reads no store.
//!
//! # The seed's texts
//!
//! The credit sample answers "Daily credit limit reached: 498/500" and "Circuit OPEN. Cooldown until ...". Both are one
//! refusal each here, told apart by guard: [`Reason::OverBudget`](crate::refusal::Reason::OverBudget) names the limit with its
//! figures and `retry_at`; used and limit of the seed's text are `settled + reserved` and `limit`.

#[cfg(feature = "runtime")]
mod actor;
mod ask;
mod book;
mod config;
mod control;
mod exhausted;
mod forecast;
mod ledger;
mod limit;
mod page;
mod period;
mod shelf;
mod snapshot;

#[cfg(feature = "runtime")]
pub use actor::{BudgetActor, BudgetParts};
pub use ask::Ask;
pub use config::{BudgetConfig, CRITICAL_LANE};
pub use control::{BudgetChange, BudgetChangeError, BudgetWhat, Force, RAISE_MAX};
pub use exhausted::EXHAUSTED_MAX;
pub use forecast::Forecast;
pub use ledger::{Ledger, Posting, Reserve, Turn};
pub use limit::{Limit, Own, Scope};
pub use page::{Mark, Note, Page};
pub use period::{Calendar, Span, first_of};
pub use shelf::{DAYS_KEPT, HOLDERS_MAX};
pub use snapshot::{BudgetSnapshot, HOLDERS_SHOWN, LimitSnapshot};
