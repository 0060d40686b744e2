//! Asks the vendor about its own effects, where a profile says how: for the end of one that was taken on (a poll), and
//! whether one happened of which nobody knows (a reconciliation).
//!
//! A question is a ticket like any other: it waits at the vendor's gate in the line of its call's lane, keeps to the vendor's
//! rate, and is refused by an open breaker. It needs no permit of the lane: live calls hold those until their ends are known,
//! which may be what is asked for. It is no call of the application: it is not counted, has no key, and is asked again at its
//! next turn whatever became of it. Each open effect has at most one task that asks, so there are at most
//! [`OPEN_MAX`](crate::OPEN_MAX); [`ASKING_MAX`] of a vendor's ask at a time, so that calls do not stand behind all of them.

use std::{sync::Arc, time::Duration};

use mainstay_actors::{
    call::AcceptedCall,
    dlq::LetterId,
    ids::OperationId,
    outcome::Outcome,
    profile::{Answer as Seen, Completion as When, Operation, Poll, Reconcile},
    ticket::{Reply, Ticket},
};
use serde_json::{Map, Value};

use crate::{
    answer::{Completion, Delivered},
    effects::Kind,
    gateway::Gateway,
};

/// How many questions to one vendor are under way at a time, ours.
pub(crate) const ASKING_MAX: usize = 8;

/// How long a question may take over gate and wire.
const PATIENCE: Duration = Duration::from_secs(300);

/// Spread of the pauses, so that effects which began together are not asked about together.
const JITTER: f64 = 0.1;

/// Asks for the end of an effect that the vendor took on.
pub(crate) fn follow(
    gateway: &Arc<Gateway>,
    operation: &Operation,
    call: &Arc<AcceptedCall>,
    vendor_ref: Option<&str>,
) {
    let (When::Poll(poll), Some(vendor_ref)) = (&operation.completion, vendor_ref) else { return };
    let (poll, call, vendor_ref) = (poll.clone(), call.clone(), vendor_ref.to_owned());
    spawn(gateway, |gateway| async move { poll_until_ended(&gateway, &call, &poll, &vendor_ref).await });
}

/// Asks whether an effect happened of which nobody knows.
pub(crate) fn reconcile(
    gateway: &Arc<Gateway>,
    operation: &Operation,
    call: &Arc<AcceptedCall>,
    letter: Option<LetterId>,
) {
    let Some(reconcile) = operation.reconcile.clone() else { return };
    let (operation, call) = (operation.clone(), call.clone());
    spawn(gateway, |gateway| async move { look_for(&gateway, &operation, &call, letter, &reconcile).await });
}

fn spawn<F>(gateway: &Arc<Gateway>, task: impl FnOnce(Arc<Gateway>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (held, task) = (gateway.clone(), task(gateway.clone()));
    gateway.tasks.spawn(Box::pin(async move { held.live.until_stopped(task).await }));
}

async fn poll_until_ended(gateway: &Arc<Gateway>, call: &Arc<AcceptedCall>, poll: &Poll, vendor_ref: &str) {
    let Some(payload) = about(gateway, call, &poll.operation, vendor_ref) else { return };
    let mut wanted = Duration::ZERO;
    for asked in 0.. {
        tokio::time::sleep(spread(gateway, poll.pause(asked)).max(wanted)).await;
        if gateway.live.is_closed() || !gateway.effects.is_open(call.id, Kind::Accepted) {
            return;
        }
        let Some(outcome) = ask(gateway, call, &poll.operation, payload.clone()).await else { continue };
        wanted = outcome.retry_after.unwrap_or_default();
        let Some(status) = outcome.status.filter(|_| outcome.is_success()) else { continue };
        if poll.is_pending(Seen::new(status, &outcome.body)) {
            continue;
        }
        if let Some(completion) = gateway.read_end(call, outcome.body) {
            // The callback may have been first.
            let _ = gateway.complete(call.id, completion).await;
        }
        return;
    }
}

/// The payload that asks about one effect: its name, where the path of the question has its only place.
fn about(gateway: &Gateway, call: &AcceptedCall, asking: &OperationId, vendor_ref: &str) -> Option<Value> {
    let profile = &gateway.routes.get(&call.vendor)?.profile;
    let member = profile.operation(call.target.as_ref(), asking)?.path_members().next()?.to_owned();
    Some(Value::Object(Map::from_iter([(member, Value::from(vendor_ref))])))
}

async fn look_for(
    gateway: &Arc<Gateway>,
    operation: &Operation,
    call: &Arc<AcceptedCall>,
    letter: Option<LetterId>,
    reconcile: &Reconcile,
) {
    for asked in 0..reconcile.times {
        tokio::time::sleep(spread(gateway, reconcile.pause(asked))).await;
        if gateway.live.is_closed() || !gateway.effects.is_open(call.id, Kind::Unknown(letter)) {
            return;
        }
        // A person tries it again: what comes of that counts.
        if gateway.live.contains(call.id) {
            continue;
        }
        let question = reconcile.question(call.id);
        let Some(outcome) = ask(gateway, call, &reconcile.operation, question).await else { continue };
        if let Some(found) = reconcile.read(&outcome.body).filter(|_| outcome.is_success())
            && found_out(gateway, operation, call, letter, found.clone()).await
        {
            return;
        }
    }
    let vendor = &call.vendor;
    tracing::warn!(target: "mainstay::effects", %vendor, call = %call.id, asked = reconcile.times, "{vendor} does not show a call that may have happened; it stays unknown");
}

/// It happened. What it owes is waited for from now on. False when it was not
/// waited for any more, or the call is under way again.
async fn found_out(
    gateway: &Arc<Gateway>,
    operation: &Operation,
    call: &Arc<AcceptedCall>,
    letter: Option<LetterId>,
    found: Value,
) -> bool {
    let vendor = &call.vendor;
    tracing::info!(target: "mainstay::effects", %vendor, call = %call.id, "{vendor} shows a call that may have happened: it did");
    let Some(owed) = operation.completion.owed() else {
        let _ = gateway.complete(call.id, Completion::happened(None).with_answer(found)).await;
        return true;
    };
    let under_way = || gateway.live.contains(call.id);
    if !gateway.effects.found(call.id, Kind::Unknown(letter), owed.within, under_way) {
        return false;
    }
    let vendor_ref = operation.vendor_ref.as_ref().and_then(|at| found.pointer(at)?.as_str()).map(ToOwned::to_owned);
    follow(gateway, operation, call, vendor_ref.as_deref());
    let delivered = Delivered { call: call.id, body: found, vendor_ref, pending: true, attempts: 1, cost: None };
    gateway.was_done(call, letter, delivered).await;
    true
}

fn spread(gateway: &Gateway, pause: Duration) -> Duration {
    gateway.rng.jitter(pause, JITTER)
}

/// Asks once. `None`: the question did not come to the vendor.
async fn ask(gateway: &Gateway, call: &AcceptedCall, asking: &OperationId, payload: Value) -> Option<Outcome> {
    let route = gateway.routes.get(&call.vendor)?;
    let question = AcceptedCall {
        target: call.target.clone(),
        lane: call.lane.clone(),
        tenant: call.tenant.clone(),
        ..AcceptedCall::new(call.id, call.vendor.clone(), asking.clone(), payload, gateway.clock.wall())
    };
    let circuit = route.profile.circuit(call.target.as_ref(), asking);
    let _turn = route.asking.acquire().await.ok()?;
    let deadline = gateway.clock.now() + PATIENCE;
    let span = tracing::debug_span!(target: "mainstay::effects", "question", call = %call.id, operation = %asking);
    let (ticket, _flight, reply) = Ticket::issue(Arc::new(question), circuit, 1, deadline, span);
    route.enter_question(ticket);
    match reply.await {
        Ok(Reply::Settled { outcome, .. }) => Some(outcome),
        Ok(Reply::Refused(_) | Reply::Abandoned { .. }) | Err(_) => None,
    }
}
