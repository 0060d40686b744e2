//! Does parked calls again when they are due: through the same gateway, paid for and judged like everybody else.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use mainstay_actors::{
    call::AcceptedCall,
    dlq::{Ended, Failure, Finish, Kind, LetterState, ParkedLetter, TakeDue},
    fact::{BreakerMode, BreakerState, Fact, FinalState},
    idempotency::End,
    ids::VendorId,
    kernel::panic_text,
    outcome::Class,
    refusal::{Guard, Reason},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    answer::{Because, Shared},
    asking, attempts,
    config::RedriveConfig,
    drain::{Drain, Found},
    effects,
    endings::{QUEUE_PAUSE, delivered, due_of, finish, not_configured_any_more, operation_of},
    entry::{Entry, Origin},
    gateway::Gateway,
    letters::{Replayed, state_of},
    live::NotTaken,
    restore,
    sending::SendingNote,
    verdict::{Judged, Verdict},
};

/// How long an attempt of a parked call may take over queues and retries.
const DEADLINE: Duration = Duration::from_secs(300);

/// A call that was not done is not tried again at the same moment, whatever its refusal says: that would never end.
const SOONEST: Duration = Duration::from_secs(1);

/// Takes due calls until the gateway closes.
pub(crate) async fn redrive_for_ever(gateway: Arc<Gateway>, config: RedriveConfig, wake: Arc<Notify>) {
    let every = config.every;
    let drain = Arc::new(Mutex::new(Drain::new(config)));
    listen_for_openings(&gateway, &drain, &wake);
    while !gateway.live.is_closed() {
        let now = gateway.clock.now();
        let next = drain.lock().next(now).map_or(now + every, |next| next.min(now + every));
        tokio::select! {
            // Or else one seed would have many histories.
            biased;
            () = wake.notified() => {}
            () = tokio::time::sleep_until(next.into()) => {}
        }
        while let Some((parked, taking)) = take_one(&gateway, &drain).await {
            begin(parked, taking, drain.clone(), wake.clone());
        }
    }
}

/// A vendor that is open before anybody expected it: somebody else's call closed its breaker, or a person revived it.
fn listen_for_openings(gateway: &Gateway, drain: &Arc<Mutex<Drain>>, wake: &Arc<Notify>) {
    let (drain, wake) = (drain.clone(), wake.clone());
    gateway.facts.listen(move |event| {
        let vendor = match &event.fact {
            Fact::BreakerChanged { vendor, to: BreakerState::Closed, .. } | Fact::VendorUp { vendor } => vendor,
            Fact::BreakerModeChanged { vendor, mode: BreakerMode::ForcedClosed | BreakerMode::MetricsOnly, .. } => {
                vendor
            }
            _ => return,
        };
        drain.lock().opened(vendor);
        wake.notify_one();
    });
}

/// A letter on its way from the queue to the table of live calls. A shutdown waits for it.
pub(crate) struct Taking(Arc<Gateway>);

impl Taking {
    /// `None`: the runtime takes nothing on any more.
    pub(crate) fn begin(gateway: &Arc<Gateway>) -> Option<Self> {
        gateway.live.begin_taking();
        let taking = Self(gateway.clone());
        (!gateway.live.is_closed()).then_some(taking)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.live.end_taking();
    }
}

/// The call that is due longest of those that may be begun now.
async fn take_one(gateway: &Arc<Gateway>, drain: &Mutex<Drain>) -> Option<(ParkedLetter, Taking)> {
    let taking = Taking::begin(gateway)?;
    let but = drain.lock().busy(gateway.clock.now());
    let due = gateway.ask_dlq(TakeDue { now: gateway.clock.wall(), max: 1, but }).await;
    Some((due.ok()?.ok()?.pop()?, taking))
}

fn begin(parked: ParkedLetter, taking: Taking, drain: Arc<Mutex<Drain>>, wake: Arc<Notify>) {
    let (gateway, vendor) = (taking.0.clone(), parked.letter.vendor.clone());
    drain.lock().begun(gateway.clock.now(), &vendor);
    let place = Place { drain, wake, vendor, found: Found::Open };
    gateway.tasks.spawn(Box::pin(async move {
        let mut place = place;
        place.found = again(parked, taking, false).await.0;
    }));
}

/// A begun call's place in its vendor's queue. Given up in the end, whatever happens to its task.
struct Place {
    drain: Arc<Mutex<Drain>>,
    wake: Arc<Notify>,
    vendor: VendorId,
    found: Found,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.drain.lock().ended(&self.vendor, self.found);
        self.wake.notify_one();
    }
}

/// One parked call, because a person says so. `None`: what came of it could not be written down.
pub(crate) async fn replay(parked: ParkedLetter, taking: Taking) -> Option<Replayed> {
    again(parked, taking, true).await.1
}

/// One parked call, once more. It keeps its place in the table until its letter says how it ended, so that it is never
/// under way twice, a shutdown waits for the letter, and an end that comes meanwhile is heard after it.
async fn again(parked: ParkedLetter, taking: Taking, replayed: bool) -> (Found, Option<Replayed>) {
    let gateway = &taking.0.clone();
    let from = state_of(parked.state.kind);
    let finish = |end| Finish { replayed, ..Finish::new(parked.letter.id, not_by_itself(from, end)) };
    let origin = Origin::Redrive(parked.letter.id);
    gateway.live.until_handed_over(parked.letter.call).await;
    let entry = match gateway.take_on(parked.letter.to_call(), origin, DEADLINE) {
        Ok((entry, _)) => entry,
        // Its lease ran out under it. It stays out, and writes down its end itself.
        Err(NotTaken::UnderWay) => return (Found::Open, None),
        Err(NotTaken::Refused(refusal)) => {
            let because = Because::Refused(refusal);
            let end = later(gateway, &parked.letter.to_call(), &because, because.failure());
            return (Found::Open, not_done_now(gateway.finish_letter(finish(end)).await));
        }
    };
    let place = gateway.live.place(entry.call.id);
    let note = SendingNote::new(gateway, parked.letter.id, replayed);
    entry.note_first(note, parked.state.sending.map(|sending| sending.since));
    drop(taking);
    let mut found = Found::Open;
    let (state, end) = match AssertUnwindSafe(run(gateway, &entry, from, &mut found)).catch_unwind().await {
        Ok(end) => end,
        Err(panic) => lost(&entry, &panic_text(&*panic)),
    };
    if state != from {
        gateway.tally.moved(&entry.call.vendor, from, state);
    }
    let finish = Finish { requests: entry.progress().attempts, ..finish(end) };
    let letter = gateway.finish_letter(finish).await;
    // What an earlier process may have done is unknown, whatever became of it here.
    let state = match letter.as_ref().map(|letter| state_of(letter.kind)) {
        Some(FinalState::Unknown) if state != FinalState::Unknown => {
            gateway.tally.moved(&entry.call.vendor, state, FinalState::Unknown);
            restore::hold(gateway, &entry.call, Some(parked.letter.id));
            FinalState::Unknown
        }
        _ => state,
    };
    // Whoever hears of it finds the letter as it is now.
    if state != from {
        gateway.ended(&entry.call, state);
    }
    gateway.end_of_call(place).await;
    let came = if state == FinalState::Delivered { Some(Replayed::Delivered) } else { not_done_now(letter) };
    (found, came)
}

fn not_done_now(letter: Option<LetterState>) -> Option<Replayed> {
    letter.map(|state| Replayed::NotDone(Box::new(state)))
}

/// The task panicked behind its attempts: what they did is not known any more.
fn lost(entry: &Entry, detail: &str) -> (FinalState, Ended) {
    let vendor = &entry.call.vendor;
    tracing::error!(target: "mainstay::call", %vendor, call = %entry.call.id, %detail, "the end of a parked call to {vendor} panicked");
    (FinalState::Unknown, unknown(Failure::new(Class::Abandoned, None, detail)))
}

fn unknown(error: Failure) -> Ended {
    Ended::Became { kind: Kind::Unknown, due: None, error }
}

/// An unknown call is done again only when a person says so, each time; until it is known it is not given up either.
fn not_by_itself(from: FinalState, end: Ended) -> Ended {
    match end {
        Ended::Again { error, .. } | Ended::GivenUp { error } if from == FinalState::Unknown => unknown(error),
        end => end,
    }
}

async fn run(gateway: &Arc<Gateway>, entry: &Arc<Entry>, from: FinalState, found: &mut Found) -> (FinalState, Ended) {
    let call = &entry.call;
    let (Some(route), Some(operation)) = (gateway.routes.get(&call.vendor), operation_of(gateway, entry)) else {
        let error = Failure::new(Class::CallerError, None, not_configured_any_more(call));
        return (from, Ended::GivenUp { error });
    };
    let Judged { verdict, claim } = attempts::run(gateway, route, operation, entry).await;
    match verdict {
        Verdict::Delivered { outcome, lease } => {
            let delivered = delivered(gateway, operation, entry, outcome, lease);
            finish(claim, End::Done(Shared::Delivered(delivered))).await;
            (FinalState::Delivered, Ended::Delivered)
        }
        Verdict::Shared(Shared::Delivered(_)) => {
            gateway.effects.forget(call.id);
            (FinalState::Delivered, Ended::Delivered)
        }
        Verdict::Shared(Shared::Unknown { .. }) => {
            let error = Failure::new(Class::Abandoned, None, "the effect of its key is unknown");
            (FinalState::Unknown, unknown(error))
        }
        Verdict::Shared(Shared::Parked { because, .. }) => (from, after_another(gateway, &because)),
        Verdict::Cancelled => {
            let end = if from == FinalState::Unknown { End::Unknown } else { End::Free };
            finish(claim, end).await;
            (from, now_again(gateway))
        }
        Verdict::Unknown { because, lease } => {
            finish(claim, End::Unknown).await;
            let within = operation.completion.owed().map_or(DEADLINE, |owed| owed.within);
            let Origin::Redrive(letter) = entry.origin else { return (from, now_again(gateway)) };
            let earlier = gateway.effects.hold(call, effects::Kind::Unknown(Some(letter)), lease, within);
            attempts::replaced(operation, earlier);
            asking::reconcile(gateway, operation, call, Some(letter));
            (FinalState::Unknown, unknown(entry.failure(&because)))
        }
        Verdict::NotDone(because) => {
            *found = what_it_found(gateway, call, &because);
            match entry.origin {
                // What may have happened before may have happened still.
                Origin::Redrive(_) if from == FinalState::Unknown => finish(claim, End::Unknown).await,
                Origin::Redrive(letter) => {
                    let parked = Shared::Parked { call: call.id, letter, because: because.clone() };
                    finish(claim, End::Parked(parked)).await;
                }
                Origin::Application | Origin::Durable { .. } => finish(claim, End::Free).await,
            }
            (from, not_done(gateway, call, &because, entry.failure(&because)))
        }
    }
}

/// The vendor's only breaker and actors that are down are closed to every call of the vendor. Any other guard may let the next
/// one pass, and so may another target's breaker, or that of another group of operations.
fn what_it_found(gateway: &Gateway, call: &AcceptedCall, because: &Because) -> Found {
    let Because::Refused(refusal) = because else { return Found::Open };
    let is_closed = match refusal.by {
        Guard::Supervisor => true,
        Guard::Breaker => gateway.routes.get(&call.vendor).is_some_and(|route| route.profile.circuits().len() == 1),
        _ => false,
    };
    if !is_closed {
        return Found::Open;
    }
    let now = gateway.clock.now();
    Found::Closed(now + refusal.retry_after(now).unwrap_or(QUEUE_PAUSE).max(SOONEST))
}

fn not_done(gateway: &Gateway, call: &AcceptedCall, because: &Because, error: Failure) -> Ended {
    let hopeless = match because {
        Because::Failed { class, .. } => matches!(class, Class::CallerError | Class::Auth),
        Because::Refused(refusal) => {
            let no_reset_helps = refusal.retry_at.is_none() && matches!(refusal.reason, Reason::OverBudget { .. });
            refusal.is_callers_fault()
                || no_reset_helps
                || matches!(refusal.reason, Reason::Expired | Reason::Denied { .. } | Reason::CrashedTooOften { .. })
        }
    };
    if hopeless { Ended::GivenUp { error } } else { later(gateway, call, because, error) }
}

fn later(gateway: &Gateway, call: &AcceptedCall, because: &Because, error: Failure) -> Ended {
    let soonest = gateway.clock.wall_of(gateway.clock.now() + SOONEST);
    Ended::Again { not_before: due_of(gateway, call, because).max(soonest), error }
}

/// Another parked call stands for the key, and is done from there. When that one is due says nothing of when it is done.
fn after_another(gateway: &Gateway, because: &Because) -> Ended {
    let not_before = gateway.clock.wall_of(gateway.clock.now() + QUEUE_PAUSE);
    Ended::Again { not_before, error: because.failure() }
}

fn now_again(gateway: &Gateway) -> Ended {
    let error = Failure::new(Class::Abandoned, None, "the runtime was shutting down");
    Ended::Again { not_before: gateway.clock.wall(), error }
}
