//! The shell around the wire.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};
use serde::Serialize;

use super::{Client, Function, Transport, WireError, WireFault, WireRequest, build, read};
use crate::{
    call::AcceptedCall,
    clock::Clock,
    fact::{Fact, FactSink},
    grant::GrantReport,
    ids::OperationId,
    kernel::{Hop, Incarnation, Published, Resident, Spawn},
    outcome::{Class, Outcome, cut},
    profile::{Operation, Profile},
    refusal::{Guard, Reason, Refusal},
    ticket::{Grant, Ticket},
};

/// How much longer than its timeout a request is waited for. The wire keeps the timeout; one that does not must not hold a
/// call for ever.
const WIRE_GRACE: Duration = Duration::from_secs(5);

const OVERDUE: &str = "no whole answer in time, and the wire did not say so; the request may have been sent";

/// What the wiring gives a client.
#[derive(Clone)]
pub struct ClientParts {
    /// The vendor's interface.
    pub profile: Arc<Profile>,
    /// The wire.
    pub transport: Arc<dyn Transport>,
    /// Operations that the application does itself.
    pub functions: Arc<BTreeMap<OperationId, Function>>,
    /// Where requests run.
    pub spawner: Arc<dyn Spawn>,
    /// Where facts are stated.
    pub facts: Arc<dyn FactSink>,
    /// Both clocks.
    pub clock: Clock,
    /// What others see.
    pub shown: Published<ClientSnapshot>,
}

/// A client as an operator sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClientSnapshot {
    /// Requests under way.
    pub under_way: usize,
    /// Attempts by the kind of their end.
    pub ended: BTreeMap<Class, u64>,
    /// Taken back before their first byte.
    pub unused: u64,
    /// The slowest attempt.
    pub slowest_ms: u64,
}

/// Sends one vendor's requests.
pub struct ClientActor {
    inc: Incarnation<Self>,
    parts: ClientParts,
}

impl ClientActor {
    /// An incarnation.
    pub fn new(inc: Incarnation<Self>, parts: ClientParts) -> Self {
        Self { inc, parts }
    }

    fn prepare(&self, ticket: &Ticket) -> Result<(Operation, Way), Refusal> {
        let (call, profile) = (ticket.call(), &self.parts.profile);
        let unknown = || {
            let known = profile.operations.keys().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
            Reason::UnknownName { what: "operation", name: call.operation.to_string(), known }
        };
        let operation = profile
            .operation(call.target.as_ref(), &call.operation)
            .ok_or_else(|| Refusal::new(Guard::Client, unknown()))?;
        if let Some(function) = self.parts.functions.get(&call.operation) {
            return Ok((operation.clone(), Way::Function(function.clone())));
        }
        let request = build(profile, operation, call).map_err(|error| {
            Refusal::new(Guard::Client, Reason::BadField { field: error.field, problem: error.problem })
        })?;
        Ok((operation.clone(), Way::Wire(request)))
    }
}

impl Actor for ClientActor {
    type Context = Context<Self>;
}

impl Resident for ClientActor {
    type State = Client;
    type Report = GrantReport;

    fn on_report(&mut self, report: &GrantReport, _: &mut Context<Self>) {
        self.inc.begin("report", None);
        let _ = self.inc.commit(|_| (), |client, ()| client.apply_report(report));
    }

    fn publish(&mut self) {
        let snapshot = self.inc.read(|client| ClientSnapshot {
            under_way: client.under_way(),
            ended: client.ended().clone(),
            unused: client.unused(),
            slowest_ms: u64::try_from(client.slowest().as_millis()).unwrap_or(u64::MAX),
        });
        self.parts.shown.set(snapshot);
    }
}

impl Handler<Hop<Ticket>> for ClientActor {
    type Result = ();

    fn handle(&mut self, hop: Hop<Ticket>, _: &mut Context<Self>) {
        let mut ticket = hop.body;
        ticket.arrive(Guard::Client);
        self.inc.begin("send", Some(ticket.call().id));
        if !ticket.is_wanted(self.parts.clock.now()) {
            return;
        }
        let (operation, way) = match self.prepare(&ticket) {
            Ok(prepared) => prepared,
            Err(refusal) => return ticket.refuse(refusal),
        };
        // Asked here again, by the calendar: it may have waited long, and the calendar may have stepped.
        let clock = &self.parts.clock;
        if let Some((reason, opens)) = ticket.call().closed(operation.hours.as_ref(), clock.wall()) {
            let retry_at = opens.map(|at| clock.instant_of(at));
            return ticket.refuse(Refusal { retry_at, ..Refusal::new(Guard::Client, reason) });
        }
        let begun = self.inc.commit(Client::decide_begin, |client, grant| {
            client.apply_begin(grant);
            grant
        });
        let Ok(grant) = begun else { return };
        ticket.collect(Grant::new(Guard::Client, grant, self.inc.reports()));
        self.parts.spawner.spawn(Box::pin(attempt(self.parts.clone(), operation, ticket, way)));
    }
}

/// How an attempt is made.
enum Way {
    Wire(WireRequest),
    Function(Function),
}

/// One attempt, as a task of its own: what happens to it happens to nobody else.
async fn attempt(parts: ClientParts, operation: Operation, ticket: Ticket, way: Way) {
    let is_wanted = || ticket.is_wanted(parts.clock.now());
    if !is_wanted() {
        return;
    }
    if let Err(refusal) = ticket.write_ahead().await {
        return ticket.refuse(refusal);
    }
    if !is_wanted() || !ticket.begin_sending() {
        return;
    }
    let begun = parts.clock.now();
    let mut outcome = match way {
        Way::Wire(request) => over_the_wire(&parts, &operation, ticket.call(), request).await,
        Way::Function(function) => function.attempt(&operation, ticket.call(), ticket.attempt()).await,
    };
    outcome.elapsed = parts.clock.now().saturating_duration_since(begun);
    if outcome.phase.is_some() {
        let (vendor, operation) = (&parts.profile.vendor, &ticket.call().operation);
        outcome.detail = cut(format!("{vendor} {operation} timeout: {}", outcome.detail));
    }
    let elapsed_ms = u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(
        target: "mainstay::client", vendor = %parts.profile.vendor, call = %ticket.call().id, attempt = ticket.attempt(),
        class = %outcome.class, effect = ?outcome.effect, status = outcome.status, elapsed_ms, "the attempt ended"
    );
    parts.facts.state(Fact::AttemptEnded {
        vendor: parts.profile.vendor.clone(),
        operation: ticket.call().operation.clone(),
        call: ticket.call().id,
        class: outcome.class,
        effect: outcome.effect,
        phase: outcome.phase,
        elapsed_ms,
    });
    ticket.settle(outcome);
}

/// Sends one request and reads what comes back, whoever wants it.
pub(super) async fn over_the_wire(
    parts: &ClientParts,
    operation: &Operation,
    call: &AcceptedCall,
    request: WireRequest,
) -> Outcome {
    let patience = request.timeout.saturating_add(WIRE_GRACE);
    let result = tokio::time::timeout(patience, parts.transport.send(request)).await;
    let result = result.unwrap_or_else(|_| Err(WireError { fault: WireFault::Timeout, detail: OVERDUE.into() }));
    read(&parts.profile, operation, call, result, parts.clock.wall())
}
