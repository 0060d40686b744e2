//! The entry: checks a call and takes it on; and what everything that runs calls shares.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::Addr;
use mainstay_actors::{
    call::{AcceptedCall, Call, IdempotencyKey},
    clock::{Clock, Rng},
    dlq::DlqActor,
    fact::{Fact, FactSink, FinalState},
    fallback::check_chain,
    faults::Faults,
    hours::Hours,
    idempotency,
    ids::{LaneId, OperationId, TargetId, VendorId},
    kernel::{Hazard, Spawn},
    profile::{KeySource, Operation, Profile},
    refusal::{Guard, Reason, Refusal},
};
use tokio::sync::oneshot;

use crate::{
    answer::CallError,
    effects::OpenEffects,
    entry::{CallResult, Entry, Origin},
    facts::FactBus,
    guardrail::Guardrail,
    journal::Journal,
    live::{LiveCalls, NotTaken, Taken},
    payload::{self, PAYLOAD_DEPTH_MAX},
    route::Route,
    supervision::Tree,
    tally::Tally,
};

/// Longest wait a caller may ask for.
pub const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Longest key, and longest name of a tenant, that a caller may give, in bytes.
pub const KEY_MAX_BYTES: usize = 255;

/// The entry, and what is shared behind it.
pub(crate) struct Gateway {
    pub(crate) routes: BTreeMap<VendorId, Route>,
    pub(crate) dlq: Addr<DlqActor>,
    pub(crate) effects: Arc<OpenEffects>,
    pub(crate) tally: Tally,
    pub(crate) facts: FactBus,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) tree: Tree,
    pub(crate) tasks: Arc<dyn Spawn>,
    pub(crate) hazard: Arc<dyn Hazard>,
    pub(crate) live: LiveCalls,
    pub(crate) guardrails: Vec<Guardrail>,
    pub(crate) journal: Arc<Journal>,
}

/// A caller's hold on its call.
pub(crate) struct Waiting {
    pub(crate) entry: Arc<Entry>,
    pub(crate) answer: oneshot::Receiver<CallResult>,
}

impl Gateway {
    /// Takes a call on, or refuses it with a reason. Whoever takes it on runs it.
    pub(crate) fn admit(&self, call: Call, origin: Origin) -> Result<Waiting, Refusal> {
        let deadline = call.deadline;
        let vendor = VendorId::new(&call.vendor).ok().filter(|vendor| self.routes.contains_key(vendor));
        let accepted = self.accept(call);
        let taken = accepted.and_then(|call| {
            self.take_on(call, origin, deadline).map_err(|not| match not {
                NotTaken::Refused(refusal) => refusal,
                NotTaken::UnderWay => self.live.full(self.live.len()),
            })
        });
        match taken {
            Ok((entry, answer)) => {
                self.tally.accepted(&entry.call.vendor);
                Ok(Waiting { entry, answer })
            }
            Err(refusal) => {
                self.tally.refused_at_once(vendor.as_ref());
                self.journal.refused_at_the_door(vendor.as_ref(), &refusal);
                Err(refusal)
            }
        }
    }

    /// Why a call may not be tried now, if so.
    pub(crate) fn not_now(&self, route: &Route, call: &AcceptedCall) -> Option<Refusal> {
        if let Some(refusal) = self.closed(call, self.clock.wall()) {
            return Some(refusal);
        }
        let cause = self.tree.down_cause(route.supervisor)?;
        Some(Refusal::new(Guard::Supervisor, Reason::VendorDown { cause }))
    }

    /// Puts a call into the table of live calls, with the end of the time in which its effect may begin.
    pub(crate) fn take_on(&self, call: AcceptedCall, origin: Origin, deadline: Duration) -> Result<Taken, NotTaken> {
        let end = call.closes(self.hours_of(&call), self.clock.wall());
        let begin_by = end.and_then(|at| Some((self.clock.instant_of(at), self.closed(&call, at)?)));
        self.live.take_on(call, origin, deadline, begin_by)
    }

    /// When a parked call is due that is worth trying from this moment on: within its hours.
    pub(crate) fn due(&self, call: &AcceptedCall, from: jiff::Timestamp) -> jiff::Timestamp {
        call.opens(self.hours_of(call), from)
    }

    /// Why a call may not begin its effect at a moment of the calendar.
    fn closed(&self, call: &AcceptedCall, at: jiff::Timestamp) -> Option<Refusal> {
        let (reason, opens) = call.closed(self.hours_of(call), at)?;
        let retry_at = opens.map(|at| self.clock.instant_of(at));
        Some(Refusal { retry_at, ..Refusal::new(Guard::Gateway, reason) })
    }

    fn hours_of(&self, call: &AcceptedCall) -> Option<&Hours> {
        let profile = &self.routes.get(&call.vendor)?.profile;
        profile.operation(call.target.as_ref(), &call.operation)?.hours.as_ref()
    }

    /// The caller's time is over, and the request is on the wire: it hears so, and the call goes on.
    pub(crate) fn still_under_way(&self, entry: &Entry) {
        let waited = self.clock.now().saturating_duration_since(entry.offered_at);
        entry.answer(Err(CallError::StillUnderWay { call: entry.call.id, waited }));
    }

    /// States a call's end.
    pub(crate) fn ended(&self, call: &AcceptedCall, state: FinalState) {
        self.facts.state(Fact::CallEnded { vendor: call.vendor.clone(), call: call.id, state });
    }

    fn accept(&self, mut call: Call) -> Result<AcceptedCall, Refusal> {
        // Before anything else: whatever refuses a call drops it, and so recurses into its payload.
        if !payload::fits_in(&call.payload, PAYLOAD_DEPTH_MAX) {
            payload::take_apart(call.payload.take());
            return Err(bad("payload", format!("is nested deeper than {PAYLOAD_DEPTH_MAX} levels")));
        }
        let (vendor, route) = self.find_vendor(&call.vendor)?;
        let target = target_of(&call, &route.profile)?;
        let operations = route.profile.operations_at(target.as_ref()).unwrap_or(&route.profile.operations);
        let (operation_id, operation) = find(operations, "operation", &call.operation)?;
        let (lane, _) = find::<LaneId, _>(&route.lanes, "lane", &call.lane)?;
        check(&call, operation, self.clock.wall())?;
        let key = key_of(&call, vendor, target.as_ref(), operation_id, operation)?;
        let (vendor, operation_id) = (vendor.clone(), operation_id.clone());
        Ok(AcceptedCall {
            target,
            lane: lane.clone(),
            key,
            estimate: call.estimate.unwrap_or_else(|| operation.estimate_of(&call.payload)),
            tenant: call.tenant.map(Into::into),
            expires_at: call.expires_at,
            hours: call.hours,
            chain: call.chain.map(Into::into),
            on_denied: call.on_denied,
            holds_slot: operation.holds_slot(),
            ..AcceptedCall::new(self.rng.call_id(), vendor, operation_id, call.payload, self.clock.wall())
        })
    }

    /// Whether a parked call from elsewhere could be done here.
    pub(crate) fn could_do(&self, call: &AcceptedCall) -> Result<(), Refusal> {
        if !payload::fits_in(&call.payload, PAYLOAD_DEPTH_MAX) {
            return Err(bad("payload", format!("is nested deeper than {PAYLOAD_DEPTH_MAX} levels")));
        }
        let (_, route) = self.find_vendor(call.vendor.as_str())?;
        if let Some(target) = &call.target {
            find(&route.profile.targets, "target", target.as_str())?;
        }
        let operations = route.profile.operations_at(call.target.as_ref()).unwrap_or(&route.profile.operations);
        let (_, operation) = find(operations, "operation", call.operation.as_str())?;
        find::<LaneId, _>(&route.lanes, "lane", call.lane.as_str())?;
        check_hours(call.hours.as_ref())?;
        check_size(&call.payload, operation)
    }

    fn find_vendor(&self, name: &str) -> Result<(&VendorId, &Route), Refusal> {
        find(&self.routes, "vendor", name)
    }
}

fn find<'a, K, V>(known: &'a BTreeMap<K, V>, what: &'static str, name: &str) -> Result<(&'a K, &'a V), Refusal>
where
    K: Ord + std::fmt::Display + std::str::FromStr,
{
    let found = name.parse::<K>().ok().and_then(|id| known.get_key_value(&id));
    found.ok_or_else(|| {
        let known = names(known);
        let name = name.chars().take(80).collect();
        Refusal::new(Guard::Gateway, Reason::UnknownName { what, name, known })
    })
}

/// Where it goes. A vendor without an address of its own must be told.
fn target_of(call: &Call, profile: &Profile) -> Result<Option<TargetId>, Refusal> {
    match &call.target {
        Some(name) => find(&profile.targets, "target", name).map(|(target, _)| Some(target.clone())),
        None if !profile.needs_target() => Ok(None),
        None => Err(bad(
            "target",
            format!("{} has only named targets: name one of {}", profile.vendor, names(&profile.targets)),
        )),
    }
}

fn names<K: std::fmt::Display, V>(known: &BTreeMap<K, V>) -> String {
    known.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn bad(field: &str, problem: impl Into<String>) -> Refusal {
    Refusal::new(Guard::Gateway, Reason::BadField { field: field.into(), problem: problem.into() })
}

fn check_hours(hours: Option<&Hours>) -> Result<(), Refusal> {
    let Some(hours) = hours else { return Ok(()) };
    let mut faults = Faults::default();
    hours.check(&mut faults.under("hours"));
    let first = faults.into_result().err().and_then(|all| all.into_iter().next());
    first.map_or(Ok(()), |fault| Err(bad(&fault.field, fault.problem)))
}

/// Everything about a call that can be wrong before it costs.
fn check(call: &Call, operation: &Operation, wall: jiff::Timestamp) -> Result<(), Refusal> {
    if call.deadline.is_zero() || call.deadline > DEADLINE_MAX {
        return Err(bad("deadline", format!("{:?} is not within 1ns..=24h", call.deadline)));
    }
    if call.expires_at.is_some_and(|at| at <= wall) {
        return Err(Refusal::new(Guard::Gateway, Reason::Expired));
    }
    check_hours(call.hours.as_ref())?;
    if let Some(tenant) = call.tenant.as_ref().filter(|tenant| !(1..=KEY_MAX_BYTES).contains(&tenant.len())) {
        return Err(bad("tenant", format!("{} bytes is not within 1..={KEY_MAX_BYTES}", tenant.len())));
    }
    if !call.payload.is_object() {
        return Err(bad("payload", "must be a JSON object"));
    }
    operation.check_payload(&call.payload).map_err(|error| bad(&error.field, error.problem))?;
    if let Some(problem) = call.chain.as_deref().and_then(check_chain) {
        return Err(bad("chain", problem));
    }
    check_size(&call.payload, operation)
}

fn check_size(payload: &serde_json::Value, operation: &Operation) -> Result<(), Refusal> {
    let bytes = payload::json_bytes(payload);
    if bytes > operation.payload_max_bytes {
        let reason = Reason::PayloadTooLarge { bytes, limit: operation.payload_max_bytes };
        return Err(Refusal::new(Guard::Gateway, reason));
    }
    Ok(())
}

fn key_of(
    call: &Call,
    vendor: &VendorId,
    target: Option<&TargetId>,
    operation_id: &OperationId,
    operation: &Operation,
) -> Result<Option<IdempotencyKey>, Refusal> {
    let tenant = call.tenant.as_deref();
    let fits = |name: &str| (1..=KEY_MAX_BYTES).contains(&name.len());
    for (field, name) in [("key", &call.key), ("operation_id", &call.operation_id)] {
        if let Some(name) = name.as_ref().filter(|name| !fits(name)) {
            return Err(bad(field, format!("{} bytes is not within 1..={KEY_MAX_BYTES}", name.len())));
        }
    }
    Ok(Some(match (&call.key, &call.operation_id, operation.key_source) {
        (Some(_), Some(_), _) => return Err(bad("operation_id", "is given beside a key: an effect has one name")),
        (Some(key), None, _) => idempotency::caller_key(vendor, target, tenant, operation_id, key),
        (None, Some(id), _) => idempotency::operation_key(vendor, target, tenant, operation_id, id),
        (None, None, KeySource::Content) => {
            idempotency::content_key(vendor, target, tenant, operation_id, &call.payload)
        }
        (None, None, KeySource::None) => return Ok(None),
        (None, None, KeySource::Caller) => {
            let operation = operation_id.to_string();
            return Err(Refusal::new(Guard::Gateway, Reason::KeyRequired { operation }));
        }
    }))
}
