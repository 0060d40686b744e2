//! The shell around the ledger: reads the clocks once, asks, enters, tells.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler};

use super::{
    Ask, BudgetChange, BudgetChangeError, BudgetSnapshot, Ledger, LimitSnapshot, Mark, Note, snapshot::name_of,
};
use crate::{
    clock::Clock,
    credits::Credits,
    fact::{Fact, FactSink},
    grant::GrantReport,
    ids::VendorId,
    kernel::{Door, Fenced, Hop, Incarnation, Published, Resident},
    meter::LimitId,
    profile::Profile,
    refusal::Guard,
    ticket::{Grant, Ticket},
};

/// How often a kind of trouble that can come with every call is worth a line in the log.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// What a budget is wired to.
#[derive(Clone)]
pub struct BudgetParts {
    /// Whose account.
    pub vendor: VendorId,
    /// What its operations cost.
    pub profile: Arc<Profile>,
    /// Where a ticket goes that has its reservation.
    pub next: Door<Ticket>,
    /// Who hears of marks.
    pub facts: Arc<dyn FactSink>,
    /// Both clocks: the monotonic one for waits, the calendar for the day.
    pub clock: Clock,
    /// What others see; its first value is [`Ledger::snapshot`].
    pub shown: Published<BudgetSnapshot>,
}

/// The budget of one vendor account. Its state is a [`Ledger`] in the vault.
pub struct BudgetActor {
    inc: Incarnation<Self>,
    parts: BudgetParts,
    overages: Seldom<Credits>,
}

impl BudgetActor {
    /// One incarnation.
    pub fn new(inc: Incarnation<Self>, parts: BudgetParts) -> Self {
        Self { inc, parts, overages: Seldom::default() }
    }

    /// Reserves for the ticket and lets it go on, or refuses it. Fenced, the ticket is dropped, which answers it.
    fn admit(&mut self, mut ticket: Ticket, now: Instant) -> Result<(), Fenced> {
        let (wall, call) = (self.parts.clock.wall(), ticket.call().clone());
        let operation = self.parts.profile.operation(call.target.as_ref(), &call.operation);
        let (verdict, notes) = self.inc.commit(
            |ledger| ledger.decide_reserve(wall, now, Ask::of(&call, operation, ledger.main_meter())),
            |ledger, it| ledger.apply_reserve(it),
        )?;
        match verdict {
            Ok(grant) => {
                // Before anything else: from here on the ticket gives the reservation back, whatever happens.
                ticket.collect(Grant::new(Guard::Budget, grant, self.inc.reports()));
                self.tell(notes, now);
                if let Err(full) = self.parts.next.pass(ticket) {
                    full.body.refuse_full(Guard::Budget, "queue behind the budget", full.held, full.limit);
                }
            }
            Err(refusal) => {
                ticket.refuse(refusal);
                self.tell(notes, now);
            }
        }
        Ok(())
    }

    fn tell(&mut self, notes: Vec<Note>, now: Instant) {
        let vendor = self.parts.vendor.clone();
        for note in notes {
            match note {
                Note::Marked { mark, which, used, limit } => {
                    self.log_mark(mark, &which, used, limit);
                    self.parts.facts.state(Fact::BudgetMarked {
                        vendor: vendor.clone(),
                        which,
                        used,
                        limit,
                        mark: mark.as_str(),
                    });
                }
                Note::Ended(which, page) => {
                    let period = name_of(which.period, page.span.date);
                    tracing::info!(target: "mainstay::budget", %vendor, %which, period, settled = %page.settled,
                        reserved = %page.reserved, unknown = %page.unknown, overage = %page.overage,
                        "{vendor}: {period} is over, the budget of {which} begins anew");
                }
                Note::WrittenOff(reservations) => {
                    tracing::warn!(target: "mainstay::budget", %vendor, reservations,
                        "{vendor}: the end of some calls never came, what was reserved for them counts as spent");
                }
            }
        }
        self.log_seldom(now);
    }

    fn log_mark(&mut self, mark: Mark, which: &LimitId, used: Credits, limit: Credits) {
        let vendor = &self.parts.vendor;
        match mark {
            Mark::Soft(share) => {
                let percent = (share * 100.0).round();
                tracing::warn!(target: "mainstay::budget", %vendor, %which, %used, %limit, share,
                    "{vendor} used {percent} % of its budget of {limit} {which}");
            }
            Mark::Hard => {
                tracing::warn!(target: "mainstay::budget", %vendor, %which, %used, %limit,
                    "the budget of {limit} {which} for {vendor} refuses calls until its reset");
            }
            Mark::Exhausted => {
                tracing::warn!(target: "mainstay::budget", %vendor, %which, %used, %limit,
                    "{vendor} says that its account is used up: no call until the reset");
            }
            // May come with every call, so it is counted and logged seldom.
            Mark::Overage(excess) => self.overages.hold(excess),
        }
    }

    fn log_seldom(&mut self, now: Instant) {
        let vendor = &self.parts.vendor;
        if let Some((calls, excess)) = self.overages.take(now) {
            tracing::warn!(target: "mainstay::budget", %vendor, calls, last_excess = %excess,
                "calls to {vendor} cost more than was reserved for them");
        }
    }
}

impl Actor for BudgetActor {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        self.publish();
    }
}

impl Handler<Hop<Ticket>> for BudgetActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<Ticket>, _ctx: &mut Self::Context) {
        let mut ticket = hop.body;
        ticket.arrive(Guard::Budget);
        self.inc.begin("ticket", Some(ticket.call().id));
        let now = self.parts.clock.now();
        if ticket.is_wanted(now) {
            // Fenced: the successor has the mailbox, and this ticket was answered by its drop.
            let _ = self.admit(ticket, now);
        }
    }
}

impl Handler<BudgetChange> for BudgetActor {
    type Result = Result<LimitSnapshot, BudgetChangeError>;

    fn handle(&mut self, change: BudgetChange, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("BudgetChange", None);
        let (now, wall) = (self.parts.clock.now(), self.parts.clock.wall());
        let made = self.inc.commit(
            |ledger| ledger.decide_change(&change, wall, now),
            |ledger, force| force.map(|force| ledger.apply_change(force)),
        );
        let notes = made.map_err(|_| BudgetChangeError::Restarting)??;
        let which = self.inc.read(|ledger| ledger.limit_of(&change.what));
        let shown = self.inc.read(|ledger| ledger.show(&which, wall, now)).ok_or(BudgetChangeError::Restarting)?;
        let (vendor, what) = (self.parts.vendor.clone(), change.what.as_str());
        let (used, limit, reason) = (shown.settled.plus(shown.reserved), shown.limit, change.reason);
        tracing::warn!(target: "mainstay::budget", %vendor, %which, what, %used, %limit, %reason,
            "the budget of {vendor} was changed by hand: {what}");
        self.parts.facts.state(Fact::BudgetChanged { vendor, which, what, used, limit, reason });
        self.tell(notes, now);
        Ok(shown)
    }
}

impl Resident for BudgetActor {
    type State = Ledger;
    type Report = GrantReport;

    fn on_report(&mut self, report: &GrantReport, _ctx: &mut Context<Self>) {
        self.inc.begin("report", None);
        let (now, wall) = (self.parts.clock.now(), self.parts.clock.wall());
        let posted = self.inc.commit(|ledger| ledger.decide_report(report, wall, now), Ledger::apply_report);
        self.tell(posted.unwrap_or_default(), now);
    }

    /// The day's reset, so that the snapshot turns with it; the end of the vendor's block; a sample for the forecast; a line
    /// that is owed to the log.
    fn next_deadline(&self) -> Option<Instant> {
        let (reset, due) = self.inc.read(|ledger| (ledger.today().end, ledger.due()));
        let reset = Some(self.parts.clock.instant_of(reset));
        [reset, due, self.overages.due()].into_iter().flatten().min()
    }

    fn on_deadline(&mut self, _ctx: &mut Context<Self>) {
        self.inc.begin("deadline", None);
        let (now, wall) = (self.parts.clock.now(), self.parts.clock.wall());
        let turned = self.inc.commit(|ledger| ledger.decide_turn(wall, now), Ledger::apply_turn);
        self.tell(turned.unwrap_or_default(), now);
    }

    fn publish(&mut self) {
        let (now, wall) = (self.parts.clock.now(), self.parts.clock.wall());
        self.parts.shown.set(self.inc.read(|ledger| ledger.snapshot(&self.parts.vendor, wall, now)));
    }
}

/// Counts what happens too often for a line each: the first is due at once, then one line every [`LOG_EVERY`].
struct Seldom<T> {
    held: u64,
    last: Option<T>,
    quiet_until: Option<Instant>,
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self { held: 0, last: None, quiet_until: None }
    }
}

impl<T> Seldom<T> {
    fn hold(&mut self, what: T) {
        self.held += 1;
        self.last = Some(what);
    }

    fn take(&mut self, now: Instant) -> Option<(u64, T)> {
        if self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        let last = self.last.take()?;
        self.quiet_until = Some(now + LOG_EVERY);
        Some((mem::take(&mut self.held), last))
    }

    fn due(&self) -> Option<Instant> {
        self.quiet_until.filter(|_| self.last.is_some())
    }
}

#[cfg(test)]
mod tests;
