//! How a call of the application ends: the vendor's answer, or what stands in for it: cache, queue, local function, dead
//! letter queue, in the order of the chain.

use std::{sync::Arc, time::Duration};

use mainstay_actors::{
    call::{AcceptedCall, Step},
    dlq::{Ended, Finish, Kind, Letter, LetterId, LetterState, Park},
    fact::FinalState,
    fallback::{self, Next, Recall, Situation},
    idempotency::{ClaimGrant, End},
    kernel::{ChildState, ask},
    outcome::{Class, Effect, Outcome},
    profile::Operation,
    refusal::{Guard, Reason, Refusal},
    ticket::Lease,
};

use crate::{
    answer::{Answer, Because, CallError, Delivered, Shared},
    asking, attempts, effects,
    entry::{CallResult, Entry},
    gateway::Gateway,
    restore,
    route::Route,
    verdict::{Judged, Verdict},
};

/// How long a call that the vendor was too busy for waits, when nobody said how long.
pub(crate) const QUEUE_PAUSE: Duration = Duration::from_secs(30);

/// Longest pause that a vendor's wish puts a call away for. It may be a broken header; if it is not, the next try says so again.
const QUEUE_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// How long an unknown effect without a callback of its own holds its slots.
pub(crate) const UNKNOWN_HOLDS: Duration = Duration::from_secs(300);

/// How long the cache has to answer. It reads memory: one that does not is parked or stuck, and the next step stands in.
const CACHE_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The end of a call: its place among the final states, and what its caller hears. `None`: refused, nothing of it is kept.
pub(crate) type End_ = (Option<FinalState>, CallResult);

pub(crate) async fn to_its_end(gateway: &Arc<Gateway>, entry: &Arc<Entry>) -> End_ {
    let call = &entry.call;
    let (Some(route), Some(operation)) = (gateway.routes.get(&call.vendor), operation_of(gateway, entry)) else {
        // The gateway accepts calls for known vendors and operations only; an earlier process knew others.
        return not_configured(gateway, entry).await;
    };
    let judged = attempts::run(gateway, route, operation, entry).await;
    let (state, result) = conclude(gateway, route, operation, entry, judged).await;
    if let Some(letter) = entry.origin.durable().filter(|_| !is_parked(state)) {
        gateway.finish_letter(Finish::new(letter, Ended::Delivered)).await;
    }
    (state, result)
}

async fn not_configured(gateway: &Gateway, entry: &Entry) -> End_ {
    let call = &entry.call;
    let outcome = Outcome::without_answer(Class::CallerError, Effect::None, not_configured_any_more(call));
    let because = Because::of(&outcome);
    match park(gateway, entry, Kind::Dead, &because, None).await {
        Ok((letter, _)) => {
            (Some(FinalState::DeadLettered), Err(CallError::DeadLettered { call: call.id, letter, because }))
        }
        Err(problem) => (Some(FinalState::Lost), Err(CallError::NotParked { call: call.id, problem })),
    }
}

/// What it needs is gone from the configuration. It stays parked, for a person to bring that back or to purge it.
pub(crate) fn not_configured_any_more(call: &AcceptedCall) -> String {
    let AcceptedCall { vendor, operation, .. } = call;
    match &call.target {
        Some(target) => {
            format!("vendor {vendor}, its target {target} or its operation {operation} is not configured any more")
        }
        None => format!("vendor {vendor} or its operation {operation} is not configured any more"),
    }
}

fn is_parked(state: Option<FinalState>) -> bool {
    matches!(state, Some(FinalState::Queued | FinalState::DeadLettered | FinalState::Unknown))
}

pub(crate) fn operation_of<'a>(gateway: &'a Gateway, entry: &Entry) -> Option<&'a Operation> {
    let call = &entry.call;
    gateway.routes.get(&call.vendor)?.profile.operation(call.target.as_ref(), &call.operation)
}

async fn conclude(
    gateway: &Arc<Gateway>,
    route: &Route,
    operation: &Operation,
    entry: &Arc<Entry>,
    judged: Judged,
) -> End_ {
    let Judged { verdict, claim } = judged;
    match verdict {
        Verdict::Delivered { outcome, lease } => {
            let delivered = delivered(gateway, operation, entry, outcome, lease);
            finish(claim, End::Done(Shared::Delivered(delivered.clone()))).await;
            (Some(FinalState::Delivered), Ok(Answer::Delivered(delivered)))
        }
        Verdict::Shared(shared) => of_another(shared),
        Verdict::Cancelled => {
            finish(claim, End::Free).await;
            let reason = Reason::Deadline { limit: entry.deadline.saturating_duration_since(entry.offered_at) };
            let refusal = Refusal::new(Guard::Gateway, reason);
            (Some(FinalState::Cancelled), Err(CallError::Refused(refusal)))
        }
        Verdict::Unknown { because, lease } => unknown(gateway, operation, entry, because, lease, claim).await,
        Verdict::NotDone(because) => not_done(gateway, route, entry, because, claim).await,
    }
}

/// Whoever is answered after this hears the same after a restart.
pub(crate) async fn finish(claim: Option<ClaimGrant<Shared>>, end: End<Shared>) {
    if let Some(claim) = claim {
        claim.finish(end).await;
    }
}

/// The vendor did it or took it on: what it owes is held open, what it said is remembered.
pub(crate) fn delivered(
    gateway: &Arc<Gateway>,
    operation: &Operation,
    entry: &Entry,
    outcome: Outcome,
    lease: Option<Lease>,
) -> Arc<Delivered> {
    let call = &entry.call;
    if let Some(owed) = operation.completion.owed() {
        let earlier = gateway.effects.hold(call, effects::Kind::Accepted, lease, owed.within);
        attempts::replaced(operation, earlier);
        asking::follow(gateway, operation, call, outcome.vendor_ref.as_deref());
    } else {
        attempts::replaced(operation, gateway.effects.forget(call.id));
    }
    if fallback::is_worth_keeping(&outcome) {
        gateway.remember(call, outcome.body.clone());
    }
    Arc::new(Delivered {
        call: call.id,
        body: outcome.body,
        vendor_ref: outcome.vendor_ref,
        pending: outcome.pending,
        attempts: entry.progress().attempts,
        cost: outcome.cost,
    })
}

/// Another call with this key stands for it. Only a shared answer counts as an end of its own: a parked or unknown effect is
/// counted where its first call is.
fn of_another(shared: Shared) -> End_ {
    match shared {
        Shared::Delivered(delivered) => (Some(FinalState::Delivered), Ok(Answer::Delivered(delivered))),
        Shared::Parked { call, letter, because } => (None, Err(CallError::DeadLettered { call, letter, because })),
        Shared::Unknown { call } => {
            let detail = "the first call with this key may have happened";
            let outcome = Outcome::without_answer(Class::Abandoned, Effect::Unknown, detail);
            (None, Err(CallError::Unknown { call, because: Because::of(&outcome) }))
        }
    }
}

async fn unknown(
    gateway: &Arc<Gateway>,
    operation: &Operation,
    entry: &Arc<Entry>,
    because: Because,
    lease: Option<Lease>,
    claim: Option<ClaimGrant<Shared>>,
) -> End_ {
    let call = &entry.call;
    finish(claim, End::Unknown).await;
    let parked = park(gateway, entry, Kind::Unknown, &because, None).await;
    let letter = match parked {
        Ok((letter, _)) => letter,
        Err(problem) => {
            // The money stays reserved: dropping the lease says "unknown".
            drop(lease);
            return (Some(FinalState::Lost), Err(CallError::NotParked { call: call.id, problem }));
        }
    };
    let within = operation.completion.owed().map_or(UNKNOWN_HOLDS, |owed| owed.within);
    gateway.effects.hold(call, effects::Kind::Unknown(Some(letter)), lease, within);
    asking::reconcile(gateway, operation, call, Some(letter));
    (Some(FinalState::Unknown), Err(CallError::Unknown { call: call.id, because }))
}

async fn not_done(
    gateway: &Arc<Gateway>,
    route: &Route,
    entry: &Arc<Entry>,
    because: Because,
    claim: Option<ClaimGrant<Shared>>,
) -> End_ {
    let call = &entry.call;
    let situation = match &because {
        Because::Refused(refusal) if refusal.is_callers_fault() => return refused(claim, refusal.clone()).await,
        Because::Refused(refusal) => {
            let on_denied = call.on_denied.unwrap_or(route.fallback.on_denied);
            Situation::denied(&route.fallback, refusal, on_denied)
        }
        Because::Failed { class, effect, .. } => Situation::after(&route.fallback, *class, *effect),
    };
    let chain = call.chain.as_deref().unwrap_or(&route.fallback.chain);
    let mut tried = Vec::new();
    loop {
        let (step, answer) = match (situation.next(chain, &tried, |step| route.has(step)), &because) {
            (Next::Try(Step::Cache), _) => (Step::Cache, from_cache(gateway, route, entry, &because).await),
            (Next::Try(Step::Local), _) => (Step::Local, from_local(route, entry, &because)),
            (Next::Try(Step::Queue), _) => return parked(gateway, entry, Kind::Later, because, claim).await,
            (Next::Refuse, Because::Refused(refusal)) => return refused(claim, refusal.clone()).await,
            (Next::Try(Step::DeadLetter) | Next::Refuse, _) => {
                return parked(gateway, entry, Kind::Dead, because, claim).await;
            }
        };
        if let Some(answer) = answer {
            gateway.journal.fell_back(call, &answer);
            finish(claim, End::Free).await;
            let state = if step == Step::Cache { FinalState::Cached } else { FinalState::Local };
            return (Some(state), Ok(answer));
        }
        tried.push(step);
    }
}

/// Nothing of it is kept.
async fn refused(claim: Option<ClaimGrant<Shared>>, refusal: Refusal) -> End_ {
    finish(claim, End::Free).await;
    (None, Err(CallError::Refused(refusal)))
}

async fn parked(
    gateway: &Arc<Gateway>,
    entry: &Arc<Entry>,
    kind: Kind,
    because: Because,
    claim: Option<ClaimGrant<Shared>>,
) -> End_ {
    let call = &entry.call;
    let due = (kind == Kind::Later).then(|| due_of(gateway, call, &because));
    let parked = match park(gateway, entry, kind, &because, due).await {
        Ok(parked) => parked,
        Err(problem) => {
            finish(claim, End::Free).await;
            return (Some(FinalState::Lost), Err(CallError::NotParked { call: call.id, problem }));
        }
    };
    let (letter, kind) = parked;
    if kind == Kind::Unknown {
        // An earlier process may have sent it, and nothing was sent since.
        finish(claim, End::Unknown).await;
        restore::hold(gateway, call, Some(letter));
        return (Some(FinalState::Unknown), Err(CallError::Unknown { call: call.id, because }));
    }
    finish(claim, End::Parked(Shared::Parked { call: call.id, letter, because: because.clone() })).await;
    match due {
        Some(due) => {
            let answer = Answer::Queued { letter, due, because };
            gateway.journal.fell_back(call, &answer);
            (Some(FinalState::Queued), Ok(answer))
        }
        None => (Some(FinalState::DeadLettered), Err(CallError::DeadLettered { call: call.id, letter, because })),
    }
}

/// When a call that waits for the vendor is tried: when the refusal or the vendor says, else after a pause; within its hours.
pub(crate) fn due_of(gateway: &Gateway, call: &AcceptedCall, because: &Because) -> jiff::Timestamp {
    let now = gateway.clock.now();
    let pause = match because {
        Because::Refused(refusal) => refusal.retry_after(now),
        // A quota's reset may be far off, and is no broken header.
        Because::Failed { class: Class::Exhausted, retry_after, .. } => *retry_after,
        Because::Failed { retry_after, .. } => retry_after.map(|asked| asked.min(QUEUE_PAUSE_MAX)),
    };
    gateway.due(call, gateway.clock.wall_of(now + pause.unwrap_or(QUEUE_PAUSE)))
}

/// Writes a call down, and says where and as what. A durable one is on disk already: what it became is written when the store
/// takes it.
async fn park(
    gateway: &Gateway,
    entry: &Entry,
    kind: Kind,
    because: &Because,
    due: Option<jiff::Timestamp>,
) -> Result<(LetterId, Kind), String> {
    let (error, requests) = (entry.failure(because), entry.progress().attempts);
    if let Some(letter) = entry.origin.durable() {
        let end = Ended::Became { kind, due, error };
        let state = gateway.finish_letter(Finish { requests, ..Finish::new(letter, end) }).await;
        return Ok((letter, state.map_or(kind, |state| state.kind)));
    }
    // The id is chosen here, so that asking again after a crash writes nothing twice.
    let letter = LetterId(gateway.rng.uuid());
    let state = LetterState::new(kind, error, requests, due, gateway.clock.wall());
    let parked = gateway.park(Park { letter: Letter::of_call(letter, &entry.call), state }).await;
    parked.map(|parked| (parked.id, kind)).map_err(|problem| problem.to_string())
}

async fn from_cache(gateway: &Gateway, route: &Route, entry: &Entry, because: &Because) -> Option<Answer> {
    if gateway.tree.state_of(&route.cache_actor) == Some(ChildState::Parked) {
        return None;
    }
    let question = Recall { call: entry.call.clone() };
    let asked = tokio::time::timeout(CACHE_ANSWERS_WITHIN, ask(&route.cache, question));
    let hit = asked.await.ok()?.ok()??;
    Some(Answer::Cached { body: hit.value, age: hit.age, staleness: hit.staleness, because: because.clone() })
}

fn from_local(route: &Route, entry: &Entry, because: &Because) -> Option<Answer> {
    let local = route.local.as_ref()?;
    match fallback::run_local(local, &entry.call.payload) {
        Ok(body) => Some(Answer::Local { body: body?, because: because.clone() }),
        Err(panic) => {
            let vendor = &entry.call.vendor;
            tracing::error!(target: "mainstay::fallback", %vendor, call = %entry.call.id, %panic, "the local function of {vendor} panicked");
            None
        }
    }
}
