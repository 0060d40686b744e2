//! The actor of one lane.

use std::{sync::Arc, time::Instant};

use actix::{Actor, Context, Handler};

use super::{
    control::{ChangeError, LaneChange},
    lane::{Lane, LaneStepped},
    message::{Circuits, CircuitsChanged},
    queue::Out,
    snapshot::LaneSnapshot,
};
use crate::{
    clock::Clock,
    fact::{Fact, FactSink},
    grant::GrantReport,
    ids::{GrantId, LaneId, VendorId},
    kernel::{Door, DoorFull, Hop, Incarnation, Published, Resident},
    refusal::Guard,
    ticket::{Grant, Ticket},
};

/// Most steps in one go; the rest is done after the messages that have come meanwhile.
const STEPS_MAX: usize = 256;

/// What a lane works with.
#[derive(Clone)]
pub struct LaneParts {
    /// The vendor.
    pub vendor: VendorId,
    /// Where a ticket with a permit goes: the vendor's gate.
    pub next: Door<Ticket>,
    /// What the vendor's breakers said last.
    pub circuits: Published<Circuits>,
    /// Where it states facts.
    pub facts: Arc<dyn FactSink>,
    /// The clocks.
    pub clock: Clock,
    /// Where it shows itself.
    pub shown: Published<LaneSnapshot>,
}

/// One lane of a vendor: it keeps tickets until one of its permits is free.
pub struct BulkheadActor {
    inc: Incarnation<Self>,
    parts: LaneParts,
    lane: LaneId,
}

impl BulkheadActor {
    /// An incarnation; the state is in the vault.
    pub fn new(inc: Incarnation<Self>, parts: LaneParts) -> Self {
        let lane = inc.read(|lane| lane.name().clone());
        Self { inc, parts, lane }
    }

    /// Does what there is to do: refuses, dispatches, tells. One ticket at a time, so that a panic can only lose the one in
    /// hand.
    fn advance(&self, now: Instant) {
        let wanted = |ticket: &Ticket| ticket.is_wanted(now);
        let circuits = self.parts.circuits.get();
        for _ in 0..STEPS_MAX {
            let stepped = self
                .inc
                .commit(|lane| lane.decide_step(now, &circuits, &wanted), |lane, step| lane.apply_step(now, step));
            match stepped {
                Ok(LaneStepped::Run { item, grant }) => self.dispatch(item, grant),
                Ok(LaneStepped::Out(out)) => self.refuse(out),
                Ok(LaneStepped::Tell(refused)) => self.tell(refused),
                Ok(LaneStepped::Rest) | Err(_) => return,
            }
        }
    }

    fn dispatch(&self, mut ticket: Ticket, grant: GrantId) {
        ticket.collect(Grant::new(Guard::Lane, grant, self.inc.reports()));
        if let Err(DoorFull { body, held, limit }) = self.parts.next.pass(ticket) {
            body.refuse_full(Guard::Gate, "mailbox of the vendor gate", held, limit);
        }
    }

    fn refuse(&self, out: Out<Ticket>) {
        let Out { item: ticket, refusal } = out;
        tracing::debug!(
            target: "mainstay::lane", vendor = %self.parts.vendor, lane = %self.lane, call = %ticket.call().id, %refusal,
            "{} lane {} refused a call", self.parts.vendor, self.lane
        );
        ticket.refuse(refusal);
    }

    fn tell(&self, refused: u64) {
        let (vendor, lane) = (&self.parts.vendor, &self.lane);
        self.parts.facts.state(Fact::LaneSaturated { vendor: vendor.clone(), lane: lane.clone(), refused });
    }
}

impl Actor for BulkheadActor {
    type Context = Context<Self>;
}

impl Handler<Hop<Ticket>> for BulkheadActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<Ticket>, _: &mut Context<Self>) {
        let mut ticket = hop.body;
        ticket.arrive(Guard::Lane);
        self.inc.begin("Ticket", Some(ticket.call().id));
        let now = self.parts.clock.now();
        let (circuit, deadline) = (ticket.circuit().clone(), ticket.deadline());
        let circuits = self.parts.circuits.get();
        let arrived = self.inc.commit(
            |lane| lane.decide_arrive(&circuit, now, &circuits, &|waiting: &Ticket| waiting.is_wanted(now)),
            |lane, arrival| lane.apply_arrive(ticket, circuit.clone(), deadline, now, arrival),
        );
        let Ok(out) = arrived else { return };
        if let Some(out) = out {
            self.refuse(out);
        }
        self.advance(now);
    }
}

impl Handler<Hop<CircuitsChanged>> for BulkheadActor {
    type Result = ();

    fn handle(&mut self, _: Hop<CircuitsChanged>, _: &mut Context<Self>) {
        self.inc.begin("CircuitsChanged", None);
        self.advance(self.parts.clock.now());
    }
}

impl Handler<LaneChange> for BulkheadActor {
    type Result = Result<(), ChangeError>;

    fn handle(&mut self, change: LaneChange, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("LaneChange", None);
        let changed = self
            .inc
            .commit(|lane| lane.decide_change(change), |lane, force| force.map(|force| lane.apply_change(force)));
        let news = changed.map_err(|_| ChangeError::Restarting)??;
        if let Some(what) = news {
            let (vendor, lane) = (&self.parts.vendor, &self.lane);
            tracing::warn!(target: "mainstay::lane", %vendor, %lane, %what, "{vendor} lane {lane} was changed: {what}");
            self.parts.facts.state(Fact::LimitsChanged { vendor: vendor.clone(), lane: Some(lane.clone()), what });
        }
        self.advance(self.parts.clock.now());
        Ok(())
    }
}

impl Resident for BulkheadActor {
    type State = Lane<Ticket>;
    type Report = GrantReport;

    /// However it ended, the permit is back: a lane bounds our own work, which is over. What may still go on at the vendor
    /// is the gate's to bound.
    fn on_report(&mut self, report: &GrantReport, _: &mut Context<Self>) {
        self.inc.begin("GrantReport", None);
        if self.inc.commit(|_| (), |lane, ()| lane.release(report.grant)).is_ok() {
            self.advance(self.parts.clock.now());
        }
    }

    /// A permit must not stay out because its report crashed the lane; the tickets that wait go on with the next message.
    fn on_set_aside(&mut self, report: &GrantReport) {
        let _ = self.inc.commit(|_| (), |lane, ()| lane.release(report.grant));
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = self.parts.clock.now();
        let circuits = self.parts.circuits.get();
        self.inc.read(|lane| lane.next_deadline(now, &circuits))
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("deadline", None);
        self.advance(self.parts.clock.now());
    }

    fn publish(&mut self) {
        let now = self.parts.clock.now();
        let circuits = self.parts.circuits.get();
        self.parts.shown.set(self.inc.read(|lane| lane.snapshot(&self.parts.vendor, now, &circuits)));
    }
}
