//! Does parked calls again when they are due: through the same gateway, paid for and judged like everybody else.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use mainstay_actors::{
    call::AcceptedCall,
    dlq::{Ended, Kind, ParkedLetter, TakeDue},
    fact::FinalState,
    idempotency::End,
    kernel::{ask, panic_text},
    outcome::Class,
    profile::Completion as Owed,
    refusal::Reason,
};
use tokio::sync::{Notify, Semaphore};

use crate::{
    answer::{Because, Shared},
    attempts,
    config::RedriveConfig,
    effects,
    endings::{QUEUE_PAUSE, delivered, due_of, finish, operation_of},
    entry::{Entry, Origin},
    gateway::Gateway,
    letters::state_of,
    live::NotTaken,
    verdict::{Judged, Verdict},
};

/// How long an attempt of a parked call may take over queues and retries.
const DEADLINE: Duration = Duration::from_secs(300);

/// A call that was not done is not tried again at the same moment, whatever its refusal says: that would never end.
const SOONEST: Duration = Duration::from_secs(1);

/// Takes due calls until the gateway closes.
pub(crate) async fn redrive_for_ever(gateway: Arc<Gateway>, config: RedriveConfig, wake: Arc<Notify>) {
    let places = Arc::new(Semaphore::new(config.at_a_time));
    while !gateway.live.is_closed() {
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(config.every) => {}
        }
        while take_some(&gateway, &places, config.at_a_time).await {}
    }
}

/// Takes as many due calls as there are places. True when there may be more.
async fn take_some(gateway: &Arc<Gateway>, places: &Arc<Semaphore>, at_a_time: usize) -> bool {
    let Ok(first) = places.clone().acquire_owned().await else { return false };
    let free = places.available_permits() + 1;
    if gateway.live.is_closed() {
        return false;
    }
    let now = gateway.clock.wall();
    let Ok(Ok(due)) = ask(&gateway.dlq, TakeDue { now, max: free.min(at_a_time) }).await else { return false };
    let more = !due.is_empty();
    let mut place = Some(first);
    for parked in due {
        let held = match place.take() {
            Some(held) => held,
            None => match places.clone().acquire_owned().await {
                Ok(held) => held,
                Err(_) => return false,
            },
        };
        let gateway_of_task = gateway.clone();
        gateway.tasks.spawn(Box::pin(async move {
            again(&gateway_of_task, parked).await;
            drop(held);
        }));
    }
    more
}

/// One parked call, once more. It keeps its place in the table until its letter says how it ended, so that it is never
/// under way twice, a shutdown waits for the letter, and an end that comes meanwhile is heard after it.
async fn again(gateway: &Arc<Gateway>, parked: ParkedLetter) {
    let letter = parked.letter.id;
    let from = state_of(parked.state.kind);
    let entry = match gateway.live.take_on(parked.letter.to_call(), Origin::Redrive(letter), DEADLINE) {
        Ok((entry, _)) => entry,
        // Its lease ran out under it. It stays out, and writes down its end itself.
        Err(NotTaken::UnderWay) => return,
        Err(NotTaken::Full(refusal)) => {
            let because = Because::Refused(refusal);
            let end = not_by_itself(from, later(gateway, &because, false));
            return gateway.finish_letter(letter, end).await;
        }
    };
    let place = gateway.live.place(entry.call.id);
    let (state, end) = match AssertUnwindSafe(run(gateway, &entry, from)).catch_unwind().await {
        Ok(end) => end,
        Err(panic) => lost(&entry, &panic_text(&*panic)),
    };
    if state != from {
        gateway.tally.moved(&entry.call.vendor, from, state);
        gateway.ended(&entry.call, state);
    }
    gateway.finish_letter(letter, not_by_itself(from, end)).await;
    gateway.end_of_call(place).await;
}

/// The task panicked behind its attempts: what they did is not known any more.
fn lost(entry: &Entry, detail: &str) -> (FinalState, Ended) {
    tracing::error!(target: "mainstay::call", call = %entry.call.id, %detail, "the end of a parked call panicked");
    let detail = detail.to_owned();
    (FinalState::Unknown, Ended::Became { kind: Kind::Unknown, class: Class::Abandoned, detail })
}

/// An unknown call is done again only when a person says so, each time.
fn not_by_itself(from: FinalState, end: Ended) -> Ended {
    match end {
        Ended::Again { class, detail, .. } if from == FinalState::Unknown => {
            Ended::Became { kind: Kind::Unknown, class, detail }
        }
        end => end,
    }
}

async fn run(gateway: &Arc<Gateway>, entry: &Arc<Entry>, from: FinalState) -> (FinalState, Ended) {
    let call = &entry.call;
    let (Some(route), Some(operation)) = (gateway.routes.get(&call.vendor), operation_of(gateway, entry)) else {
        return (from, Ended::GivenUp { class: Class::CallerError, detail: not_configured(call) });
    };
    let Judged { verdict, claim } = attempts::run(gateway, route, operation, entry).await;
    match verdict {
        Verdict::Delivered { outcome, lease } => {
            let delivered = delivered(gateway, operation, entry, outcome, lease);
            finish(claim, End::Done(Shared::Delivered(delivered)));
            (FinalState::Delivered, Ended::Delivered)
        }
        Verdict::Shared(Shared::Delivered(_)) => {
            gateway.effects.forget(call.id);
            (FinalState::Delivered, Ended::Delivered)
        }
        Verdict::Shared(Shared::Unknown { .. }) => {
            let detail = "the effect of its key is unknown".to_owned();
            (FinalState::Unknown, Ended::Became { kind: Kind::Unknown, class: Class::Abandoned, detail })
        }
        Verdict::Shared(Shared::Parked { because, .. }) => (from, after_another(gateway, &because)),
        Verdict::Cancelled => {
            let end = if from == FinalState::Unknown { End::Unknown } else { End::Free };
            finish(claim, end);
            (from, now_again(gateway))
        }
        Verdict::Unknown { because, lease } => {
            finish(claim, End::Unknown);
            let within = match operation.completion {
                Owed::Callback { within, .. } => within,
                Owed::Answer => DEADLINE,
            };
            let Origin::Redrive(letter) = entry.origin else { return (from, now_again(gateway)) };
            gateway.effects.hold(call, effects::Kind::Unknown(letter), lease, within);
            let (class, detail) = (because.class(), because.to_string());
            (FinalState::Unknown, Ended::Became { kind: Kind::Unknown, class, detail })
        }
        Verdict::NotDone(because) => {
            match entry.origin {
                // What may have happened before may have happened still.
                Origin::Redrive(_) if from == FinalState::Unknown => finish(claim, End::Unknown),
                Origin::Redrive(letter) => {
                    let parked = Shared::Parked { call: call.id, letter, because: because.clone() };
                    finish(claim, End::Parked(parked));
                }
                Origin::Application => finish(claim, End::Free),
            }
            (from, not_done(gateway, &because))
        }
    }
}

/// What it needs is gone from the configuration. It stays parked, for a person to bring that back or to purge it.
fn not_configured(call: &AcceptedCall) -> String {
    let AcceptedCall { vendor, operation, .. } = call;
    match &call.target {
        Some(target) => {
            format!("vendor {vendor}, its target {target} or its operation {operation} is not configured any more")
        }
        None => format!("vendor {vendor} or its operation {operation} is not configured any more"),
    }
}

fn not_done(gateway: &Gateway, because: &Because) -> Ended {
    let hopeless = match because {
        Because::Failed { class, .. } => matches!(class, Class::CallerError | Class::Auth),
        Because::Refused(refusal) => {
            refusal.is_callers_fault() || matches!(refusal.reason, Reason::Expired | Reason::CrashedTooOften { .. })
        }
    };
    if hopeless {
        return Ended::GivenUp { class: because.class(), detail: because.to_string() };
    }
    // A refusal is no attempt: nothing was sent, so it does not count towards giving up.
    later(gateway, because, matches!(because, Because::Failed { .. }))
}

fn later(gateway: &Gateway, because: &Because, counts_as_attempt: bool) -> Ended {
    let (class, detail) = (because.class(), because.to_string());
    let soonest = gateway.clock.wall_of(gateway.clock.now() + SOONEST);
    let not_before = due_of(gateway, because).max(soonest);
    Ended::Again { not_before, class, detail, counts_as_attempt }
}

/// Another parked call stands for the key, and is done from there. When that one is due says nothing of when it is done.
fn after_another(gateway: &Gateway, because: &Because) -> Ended {
    let not_before = gateway.clock.wall_of(gateway.clock.now() + QUEUE_PAUSE);
    Ended::Again { not_before, class: because.class(), detail: because.to_string(), counts_as_attempt: false }
}

fn now_again(gateway: &Gateway) -> Ended {
    let detail = "the runtime was shutting down".to_owned();
    Ended::Again { not_before: gateway.clock.wall(), class: Class::Abandoned, detail, counts_as_attempt: false }
}
