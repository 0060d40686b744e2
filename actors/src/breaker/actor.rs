//! The actor around the rule: reads the clock once, asks the rule, does what it says.

use std::{sync::Arc, time::Instant};

use actix::{Actor, Context, Handler};

use super::{Breaker, BreakerSnapshot, Control, Figures, Notice, Transition};
use crate::{
    clock::{Clock, Rng},
    fact::{BreakerMode, BreakerState, Fact, FactSink},
    grant::GrantReport,
    ids::{Circuit, GrantId, VendorId},
    kernel::{Door, DoorFull, Fenced, Hop, Incarnation, Published, Resident},
    refusal::Guard,
    ticket::{Grant, Ticket},
};

/// What a breaker works with. Its configuration is in its state.
#[derive(Clone)]
pub struct BreakerParts {
    /// Whose breaker it is.
    pub vendor: VendorId,
    /// What it guards of that vendor.
    pub circuit: Circuit,
    /// The stage behind it.
    pub next: Door<Ticket>,
    /// Where its changes are stated.
    pub facts: Arc<dyn FactSink>,
    /// The clocks.
    pub clock: Clock,
    /// For the spread of open times.
    pub rng: Rng,
    /// Where its snapshot is shown; first shown by whoever makes it.
    pub shown: Published<BreakerSnapshot>,
}

/// Guards one circuit of a vendor.
pub struct BreakerActor {
    inc: Incarnation<Self>,
    parts: BreakerParts,
}

impl BreakerActor {
    /// One incarnation.
    pub fn new(inc: Incarnation<Self>, parts: BreakerParts) -> Self {
        Self { inc, parts }
    }

    /// Does what is due by now, so that calls and reports are judged by the state of this moment. A busy mailbox may hold up
    /// the timer.
    fn catch_up(&self, now: Instant) -> Result<(), Fenced> {
        let spread = || self.parts.rng.unit();
        let notices = self.inc.commit(|s| s.decide_deadline(now, spread), Breaker::apply)?;
        self.announce(notices);
        Ok(())
    }

    fn report(&self, report: &GrantReport) -> Result<(), Fenced> {
        let now = self.parts.clock.now();
        self.catch_up(now)?;
        let spread = || self.parts.rng.unit();
        let notices = self.inc.commit(|s| s.decide_report(now, report, spread), Breaker::apply)?;
        self.announce(notices);
        Ok(())
    }

    fn control(&self, control: &Control) -> Result<BreakerState, Fenced> {
        let now = self.parts.clock.now();
        self.catch_up(now)?;
        let decide = |s: &Breaker| (s.state(), s.decide_control(now, control));
        let (was, notices) = self.inc.commit(decide, |s, (was, change)| (was, s.apply(change)))?;
        self.announce(notices);
        Ok(was)
    }

    fn pass(&self, mut ticket: Ticket, grant: GrantId) {
        ticket.collect(Grant::new(Guard::Breaker, grant, self.inc.reports()));
        if let Err(DoorFull { body, held, limit }) = self.parts.next.pass(ticket) {
            body.refuse_full(Guard::Breaker, "mailbox behind the breaker", held, limit);
        }
    }

    fn announce(&self, notices: Vec<Notice>) {
        let (vendor, wall_of) = (self.parts.vendor.clone(), |at| self.parts.clock.wall_of(at));
        for notice in notices {
            log(&vendor, &self.parts.circuit, &notice);
            let (vendor, circuit) = (vendor.clone(), self.parts.circuit.clone());
            self.parts.facts.state(match notice {
                Notice::Changed(Transition { from, to, generation, cause, retry_at, .. }) => {
                    let retry_at = retry_at.map(wall_of);
                    Fact::BreakerChanged { vendor, circuit, from, to, generation, cause, retry_at }
                }
                Notice::Mode { mode, until, reason } => {
                    Fact::BreakerModeChanged { vendor, circuit, mode, until: until.map(wall_of), reason }
                }
                Notice::WouldOpen { cause, until, .. } => {
                    Fact::BreakerWouldOpen { vendor, circuit, cause, until: wall_of(until) }
                }
            });
        }
    }
}

impl Actor for BreakerActor {
    type Context = Context<Self>;
}

impl Handler<Hop<Ticket>> for BreakerActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<Ticket>, _: &mut Context<Self>) {
        let mut ticket = hop.body;
        // Before anything can fail: a ticket that is lost here names this guard.
        ticket.arrive(Guard::Breaker);
        self.inc.begin("ticket", Some(ticket.call().id));
        let now = self.parts.clock.now();
        if !ticket.is_wanted(now) || self.catch_up(now).is_err() {
            return;
        }
        match self.inc.commit(|s| s.decide_admit(now), |s, admission| s.apply_admit(admission, now)) {
            Ok(Ok(grant)) => self.pass(ticket, grant),
            Ok(Err(refusal)) => ticket.refuse(refusal),
            Err(Fenced) => {}
        }
    }
}

impl Handler<Control> for BreakerActor {
    type Result = Result<BreakerState, Fenced>;

    fn handle(&mut self, control: Control, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("control", None);
        let was = self.control(&control)?;
        // Whoever hears the answer may look at once.
        self.publish();
        Ok(was)
    }
}

impl Resident for BreakerActor {
    type State = Breaker;
    type Report = GrantReport;

    fn on_report(&mut self, report: &GrantReport, _: &mut Context<Self>) {
        self.inc.begin("report", None);
        // Fenced: the report stays in the vault for the next incarnation.
        let _ = self.report(report);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inc.read(Breaker::next_deadline)
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("deadline", None);
        let _ = self.catch_up(self.parts.clock.now());
    }

    fn publish(&mut self) {
        let BreakerParts { vendor, circuit, clock, shown, .. } = &self.parts;
        let now = clock.now();
        let snapshot = self.inc.read(|s| BreakerSnapshot::of(vendor, circuit, s, now, |at| clock.wall_of(at)));
        shown.set(snapshot.dated_like(&shown.get()));
    }
}

/// One line for each notice, which comes once per change.
fn log(vendor: &VendorId, circuit: &Circuit, notice: &Notice) {
    let whose = circuit.named(vendor.as_str());
    match notice {
        Notice::Changed(change) => log_change(vendor, circuit, change),
        Notice::Mode { mode: BreakerMode::Automatic, reason, .. } => tracing::info!(
            target: "mainstay::breaker", %vendor, %circuit, reason = &**reason,
            "the circuit breaker of {whose} decides by its rules again"
        ),
        Notice::Mode { mode, reason, .. } => tracing::warn!(
            target: "mainstay::breaker", %vendor, %circuit, reason = &**reason,
            "the circuit breaker of {whose} is {mode} by an operator"
        ),
        Notice::WouldOpen { cause, figures: Figures { failures, slow, calls, limit }, .. } => tracing::warn!(
            target: "mainstay::breaker", %vendor, %circuit, cause = &**cause, failures, slow, calls, limit,
            "the circuit breaker of {whose} would have opened, but only counts, by an operator's order: {cause}"
        ),
    }
}

fn log_change(vendor: &VendorId, circuit: &Circuit, change: &Transition) {
    let whose = circuit.named(vendor.as_str());
    let (generation, cause) = (change.generation, &*change.cause);
    let Figures { failures, slow, calls, limit } = change.figures;
    match change.to {
        // An operator's order, which has a line of its own.
        BreakerState::Open if change.from == BreakerState::Open => {}
        BreakerState::Open => tracing::warn!(
            target: "mainstay::breaker", %vendor, %circuit, generation, cause, failures, slow, calls, limit,
            "the circuit breaker of {whose} opened, calls are refused: {cause}"
        ),
        BreakerState::HalfOpen => tracing::info!(
            target: "mainstay::breaker", %vendor, %circuit, generation, cause, failures, slow, calls, limit,
            "the circuit breaker of {whose} is half-open, a probe may pass: {cause}"
        ),
        BreakerState::Closed => tracing::info!(
            target: "mainstay::breaker", %vendor, %circuit, generation, cause, failures, slow, calls, limit,
            "the circuit breaker of {whose} closed, calls pass again: {cause}"
        ),
    }
}

#[cfg(test)]
mod tests;
