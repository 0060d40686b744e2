//! The actor of the vendor's gate.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use actix::{Actor, Context, Handler};

use super::{
    control::{ChangeError, GateChange},
    gate::{Gate, GateStepped},
    message::{Circuits, CircuitsChanged},
    queue::Out,
    snapshot::GateSnapshot,
};
use crate::{
    clock::Clock,
    fact::{Fact, FactSink},
    grant::GrantReport,
    ids::{Circuit, GrantId, VendorId},
    kernel::{Door, DoorFull, Hop, Incarnation, Published, Resident},
    refusal::{Guard, Reason, Refusal},
    ticket::{Grant, Ticket},
};

/// Most steps in one go; the rest is done after the messages that have come meanwhile.
const STEPS_MAX: usize = 256;

/// What a gate works with.
#[derive(Clone)]
pub struct GateParts {
    /// The vendor.
    pub vendor: VendorId,
    /// Where a ticket with a slot and a token goes: the breaker of its circuit.
    pub next: BTreeMap<Circuit, Door<Ticket>>,
    /// What the vendor's breakers said last.
    pub circuits: Published<Circuits>,
    /// Where it states facts.
    pub facts: Arc<dyn FactSink>,
    /// The clocks.
    pub clock: Clock,
    /// Where it shows itself.
    pub shown: Published<GateSnapshot>,
}

/// The gate of a vendor: it lets tickets of all lanes through, by weighted turn, as many and as fast as the vendor allows.
pub struct VendorGateActor {
    inc: Incarnation<Self>,
    parts: GateParts,
}

impl VendorGateActor {
    /// An incarnation; the state is in the vault.
    pub fn new(inc: Incarnation<Self>, parts: GateParts) -> Self {
        Self { inc, parts }
    }

    /// Does what there is to do: refuses, lets through, frees. One ticket at a time, so that a panic can only lose the one
    /// in hand.
    fn advance(&self, now: Instant) {
        let wanted = |ticket: &Ticket| ticket.is_wanted(now);
        let circuits = self.parts.circuits.get();
        for _ in 0..STEPS_MAX {
            let stepped = self
                .inc
                .commit(|gate| gate.decide_step(now, &circuits, &wanted), |gate, step| gate.apply_step(now, step));
            match stepped {
                Ok(GateStepped::Granted { item, grant }) => self.let_through(item, grant),
                Ok(GateStepped::Out(out)) => self.refuse(out),
                Ok(GateStepped::LeaseEnded { grant, unknown }) => self.note_lease(grant, unknown),
                Ok(GateStepped::Rest) | Err(_) => return,
            }
        }
    }

    fn let_through(&self, mut ticket: Ticket, grant: GrantId) {
        ticket.collect(Grant::new(Guard::Gate, grant, self.inc.reports()));
        let Some(next) = self.parts.next.get(ticket.circuit()) else {
            let refusal = self.unknown(ticket.circuit());
            return ticket.refuse(refusal);
        };
        if let Err(DoorFull { body, held, limit }) = next.pass(ticket) {
            body.refuse_full(Guard::Breaker, "mailbox of the circuit breaker", held, limit);
        }
    }

    fn unknown(&self, circuit: &Circuit) -> Refusal {
        let known = self.parts.next.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Refusal::new(Guard::Gate, Reason::UnknownName { what: "circuit", name: circuit.to_string(), known })
    }

    fn refuse(&self, out: Out<Ticket>) {
        let Out { item: ticket, refusal } = out;
        tracing::debug!(
            target: "mainstay::gate", vendor = %self.parts.vendor, call = %ticket.call().id, %refusal,
            "the gate of {} refused a call", self.parts.vendor
        );
        ticket.refuse(refusal);
    }

    fn note_lease(&self, grant: GrantId, unknown: bool) {
        tracing::warn!(
            target: "mainstay::gate", vendor = %self.parts.vendor, grant = grant.0, unknown,
            "a slot of {} is free because its lease ran out; nobody reported the end of its call", self.parts.vendor
        );
    }
}

impl Actor for VendorGateActor {
    type Context = Context<Self>;
}

impl Handler<Hop<Ticket>> for VendorGateActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<Ticket>, _: &mut Context<Self>) {
        let mut ticket = hop.body;
        ticket.arrive(Guard::Gate);
        self.inc.begin("Ticket", Some(ticket.call().id));
        let now = self.parts.clock.now();
        let (call, circuit, deadline) = (ticket.call().clone(), ticket.circuit().clone(), ticket.deadline());
        let circuits = self.parts.circuits.get();
        let arrived = self.inc.commit(
            |gate| gate.decide_arrive(&call.lane, &circuit, now, &circuits, &|waiting: &Ticket| waiting.is_wanted(now)),
            |gate, arrival| gate.apply_arrive(ticket, circuit.clone(), deadline, now, arrival),
        );
        let Ok(out) = arrived else { return };
        if let Some(out) = out {
            self.refuse(out);
        }
        self.advance(now);
    }
}

impl Handler<Hop<CircuitsChanged>> for VendorGateActor {
    type Result = ();

    fn handle(&mut self, _: Hop<CircuitsChanged>, _: &mut Context<Self>) {
        self.inc.begin("CircuitsChanged", None);
        self.advance(self.parts.clock.now());
    }
}

impl Handler<GateChange> for VendorGateActor {
    type Result = Result<(), ChangeError>;

    fn handle(&mut self, change: GateChange, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("GateChange", None);
        let now = self.parts.clock.now();
        let changed = self
            .inc
            .commit(|gate| gate.decide_change(change), |gate, force| force.map(|force| gate.apply_change(now, force)));
        let news = changed.map_err(|_| ChangeError::Restarting)??;
        if let Some(what) = news {
            let vendor = &self.parts.vendor;
            tracing::warn!(target: "mainstay::gate", %vendor, %what, "the gate of {vendor} was changed: {what}");
            self.parts.facts.state(Fact::LimitsChanged { vendor: vendor.clone(), lane: None, what });
        }
        self.advance(now);
        Ok(())
    }
}

impl Resident for VendorGateActor {
    type State = Gate<Ticket>;
    type Report = GrantReport;

    fn on_report(&mut self, report: &GrantReport, _: &mut Context<Self>) {
        self.inc.begin("GrantReport", None);
        let now = self.parts.clock.now();
        if self.inc.commit(|_| (), |gate, ()| gate.apply_report(report, now)).is_ok() {
            self.advance(now);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = self.parts.clock.now();
        let circuits = self.parts.circuits.get();
        self.inc.read(|gate| gate.next_deadline(now, &circuits))
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("deadline", None);
        self.advance(self.parts.clock.now());
    }

    fn publish(&mut self) {
        let now = self.parts.clock.now();
        let circuits = self.parts.circuits.get();
        self.parts.shown.set(self.inc.read(|gate| gate.snapshot(&self.parts.vendor, now, &circuits)));
    }
}
