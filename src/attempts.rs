//! The loop of one call: a ticket, its reply, the retry rule; again, or a verdict. It runs outside the guards and owns the
//! call, so whatever happens to a ticket, the call is still there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay_actors::{
    fact::{Fact, FactSink},
    grant::Ending,
    idempotency::{Answered, Claim, ClaimGrant, Claimed, fingerprint},
    kernel::{Lost, ask},
    outcome::{Class, Effect, Outcome},
    profile::{Next, Operation, Repeat, next},
    refusal::{Guard, Reason, Refusal},
    ticket::{Lease, Reply, Ticket},
};

use tokio::sync::oneshot::{self, error::RecvError};

use crate::{
    answer::Because,
    entry::{Entry, Leaving, Origin},
    gateway::{Gateway, Shared},
    route::Route,
};

/// A call whose tickets are lost by this many crashes in a row is poison: it goes into the dead letter queue.
pub const CRASHES_MAX: u32 = 5;

/// How a call went, before anything stands in for it.
pub(crate) enum Verdict {
    /// The vendor did it or took it on.
    Delivered { outcome: Outcome, lease: Option<Lease> },
    /// Another call with this key did it, or stands for it.
    Shared(Shared),
    /// It certainly did not happen.
    NotDone(Because),
    /// It may have happened, and may not be sent again.
    Unknown { because: Because, lease: Option<Lease> },
    /// The caller went away before anything was sent.
    Cancelled,
}

/// A verdict, with the claim on the key that must be finished by it.
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) claim: Option<ClaimGrant<Shared>>,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, claim: None }
    }
}

fn refused(by: Guard, reason: Reason) -> Verdict {
    Verdict::NotDone(Because::Refused(Refusal::new(by, reason)))
}

/// Runs a call to its verdict.
pub(crate) async fn drive(gateway: &Gateway, route: &Route, operation: &Operation, entry: &Entry) -> Judged {
    let mut claim = match claim(route, operation, entry).await {
        Ok(claim) => claim,
        Err(verdict) => return verdict.into(),
    };
    let verdict = attempt_until_settled(gateway, route, operation, entry, claim.as_mut()).await;
    Judged { verdict, claim }
}

/// Claims the call's key, or finds out who has it.
async fn claim(route: &Route, operation: &Operation, entry: &Entry) -> Result<Option<ClaimGrant<Shared>>, Verdict> {
    let call = &entry.call;
    let Some(key) = &call.key else { return Ok(None) };
    let fingerprint = fingerprint(&call.payload);
    // A redrive comes back to what it left behind itself; a first offer never finds anything of its own but after a lost loop.
    let again = matches!(entry.origin, Origin::Redrive(_)) || operation.repeat != Repeat::Never;
    let mut crashes = 0;
    loop {
        let question = Claim::new(key.clone(), fingerprint, call.id);
        let question = if again { question.again() } else { question };
        // Nobody waits for a table of keys that is parked longer than for anything else.
        let asked = tokio::select! {
            biased;
            asked = ask(&route.keys, question) => asked,
            verdict = not_begun(entry) => return Err(verdict),
        };
        let claimed = match asked {
            Ok(claimed) => claimed,
            Err(Lost::Crashed) if crashes < CRASHES_MAX => {
                crashes += 1;
                continue;
            }
            Err(Lost::Crashed) => {
                let reason = Reason::CrashedTooOften { guard: Guard::Idempotency, lost: crashes };
                return Err(refused(Guard::Idempotency, reason));
            }
            Err(Lost::Stopped) => return Err(refused(Guard::Idempotency, Reason::ShuttingDown)),
        };
        let joined = match claimed {
            Claimed::Mine(grant) => return Ok(Some(grant)),
            Claimed::Stored { answer, .. } => return Err(Verdict::Shared(answer)),
            Claimed::Unknown { call } => return Err(Verdict::Shared(Shared::Unknown { call })),
            Claimed::Conflict => {
                return Err(refused(Guard::Idempotency, Reason::KeyConflict { key: key.to_string() }));
            }
            Claimed::Full { what, held, limit } => {
                return Err(refused(Guard::Idempotency, Reason::Full { what, held, limit }));
            }
            Claimed::Joined(answer) => answer,
        };
        tokio::select! {
            answer = joined => match answer {
                Ok(Answered::Done { answer, .. }) => return Err(Verdict::Shared(answer)),
                Ok(Answered::Unknown { call }) => return Err(Verdict::Shared(Shared::Unknown { call })),
                // The first one did not do it: the key is free again, and may be ours now.
                Ok(Answered::Freed) | Err(_) => {}
            },
            verdict = not_begun(entry) => return Err(verdict),
        }
    }
}

/// Waits until nobody waits for the call any more.
async fn given_up(entry: &Entry) -> Verdict {
    tokio::select! {
        why = entry.left() => match why {
            Leaving::CallerGone => Verdict::Cancelled,
            Leaving::Shutdown => refused(Guard::Gateway, Reason::ShuttingDown),
        },
        () = tokio::time::sleep_until(entry.deadline.into()) => too_late(entry),
    }
}

/// Waits until the effect may not begin any more.
async fn not_begun(entry: &Entry) -> Verdict {
    let expired = async {
        match entry.begin_by {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = expired => refused(Guard::Gateway, Reason::Expired),
        verdict = given_up(entry) => verdict,
    }
}

fn too_late(entry: &Entry) -> Verdict {
    let limit = entry.deadline.saturating_duration_since(entry.offered_at);
    refused(Guard::Gateway, Reason::Deadline { limit })
}

async fn attempt_until_settled(
    gateway: &Gateway,
    route: &Route,
    operation: &Operation,
    entry: &Entry,
    mut claim: Option<&mut ClaimGrant<Shared>>,
) -> Verdict {
    // The lease of an attempt that may have had its effect, until a later one may have had it in its place.
    let mut earlier: Option<Lease> = None;
    loop {
        if let Some(refusal) = gateway.not_now(route, &entry.call) {
            return with_earlier(entry, Verdict::NotDone(Because::Refused(refusal)), earlier);
        }
        if key_is_too_old(gateway, operation, entry) {
            return with_earlier(entry, too_late(entry), earlier);
        }
        let until = may_be_sent_until(operation, entry);
        let step = one_ticket(gateway, route, entry, until, claim.as_deref_mut()).await;
        let (outcome, lease) = match step {
            Step::Settled(outcome, lease) => (outcome, lease),
            Step::Again => continue,
            Step::Stop(verdict) => return with_earlier(entry, verdict, earlier),
        };
        if let Some(claim) = claim.as_deref_mut() {
            if outcome.effect == Effect::None { claim.unfollow() } else { claim.mark_sent() }
        }
        if outcome.effect != Effect::None {
            replaced(operation, earlier.take());
        }
        let now = gateway.clock.now();
        let progress = entry.progress();
        let key_age = progress.first_sent.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        let jitter = operation_jitter(gateway, route);
        let retry = &route.profile.retry;
        match next(retry, operation.repeat, &outcome, progress.attempts, key_age, (now, entry.deadline), jitter) {
            Next::Deliver => return Verdict::Delivered { outcome, lease },
            Next::GiveUp => return with_earlier(entry, Verdict::NotDone(Because::of(&outcome)), earlier),
            Next::Unknown => return Verdict::Unknown { because: Because::of(&outcome), lease },
            Next::Again { at } => {
                earlier = lease.or(earlier);
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    verdict = not_begun(entry) => return with_earlier(entry, verdict, earlier),
                }
            }
        }
    }
}

fn operation_jitter<'a>(gateway: &'a Gateway, route: &'a Route) -> impl FnOnce(Duration) -> Duration + 'a {
    move |pause| gateway.rng.jitter(pause, route.profile.retry.jitter)
}

/// The end of the vendor's window, once the key may have had its effect: after it the vendor takes the key for a new one.
fn window_end(operation: &Operation, entry: &Entry) -> Option<Instant> {
    let progress = entry.progress();
    match operation.repeat {
        Repeat::WithKey { window } if progress.may_have_happened => progress.first_sent?.checked_add(window),
        _ => None,
    }
}

fn key_is_too_old(gateway: &Gateway, operation: &Operation, entry: &Entry) -> bool {
    window_end(operation, entry).is_some_and(|end| end <= gateway.clock.now())
}

/// A ticket may wait long on its way, so it carries every limit of its start with it.
fn may_be_sent_until(operation: &Operation, entry: &Entry) -> Instant {
    window_end(operation, entry).into_iter().chain(entry.begin_by).fold(entry.deadline, Instant::min)
}

/// Once an attempt may have had its effect, the call is not "not done", however its later attempts end.
fn with_earlier(entry: &Entry, verdict: Verdict, earlier: Option<Lease>) -> Verdict {
    if !entry.progress().may_have_happened {
        return verdict;
    }
    match verdict {
        Verdict::NotDone(because) => Verdict::Unknown { because: because.of_unknown_effect(), lease: earlier },
        Verdict::Cancelled => {
            let outcome = Outcome::without_answer(Class::Timeout, Effect::Unknown, "given up between two attempts");
            Verdict::Unknown { because: Because::of(&outcome), lease: earlier }
        }
        verdict => verdict,
    }
}

/// A later attempt may have had the effect in place of this one. With the same key there is one effect, and the later one
/// pays for it; without a key there may be two, so the money of the first stays reserved, as for any unknown effect.
fn replaced(operation: &Operation, lease: Option<Lease>) {
    let Some(lease) = lease.filter(|_| matches!(operation.repeat, Repeat::WithKey { .. })) else { return };
    lease.end(Ending {
        class: Class::Abandoned,
        effect: Effect::None,
        cost: None,
        retry_after: None,
        elapsed: Duration::ZERO,
    });
}

enum Step {
    Settled(Outcome, Option<Lease>),
    Again,
    Stop(Verdict),
}

/// Sends one ticket on its way and waits for its reply, or takes it back.
async fn one_ticket(
    gateway: &Gateway,
    route: &Route,
    entry: &Entry,
    until: Instant,
    claim: Option<&mut ClaimGrant<Shared>>,
) -> Step {
    let number = entry.progress().attempts + 1;
    let (ticket, flight, mut reply) = Ticket::issue(entry.call.clone(), number, until, entry.span.clone());
    entry.note(|progress| progress.flight = Some(flight.clone()));
    gateway.hazard.strike(&route.loops, "ticket");
    if let Some(claim) = claim {
        claim.follow(flight.clone());
    }
    route.enter(&entry.call.lane, ticket);
    let first = tokio::select! {
        biased;
        reply = &mut reply => Ok(reply),
        verdict = not_begun(entry) => Err(verdict),
    };
    gateway.hazard.strike(&route.loops, "reply");
    let reply = match first {
        Ok(reply) => reply,
        Err(verdict) if flight.revoke() => return Step::Stop(verdict),
        Err(_) => on_the_wire(gateway, entry, reply).await,
    };
    after_reply(gateway, entry, reply)
}

/// Waits for the reply of a request that cannot be taken back; its caller hears so when its time is over. A runtime that
/// stops waits no longer than it may: then it is not known what came of it.
async fn on_the_wire(
    gateway: &Gateway,
    entry: &Entry,
    mut reply: oneshot::Receiver<Reply>,
) -> Result<Reply, RecvError> {
    tokio::select! {
        biased;
        reply = &mut reply => return reply,
        _ = given_up(entry) => gateway.still_under_way(entry),
    }
    tokio::select! {
        biased;
        reply = reply => reply,
        () = gateway.is_abandoned() => {
            let detail = "the runtime was stopped while the request was on the wire";
            let outcome = Outcome::without_answer(Class::Abandoned, Effect::Unknown, detail);
            Ok(Reply::Settled { outcome, lease: None })
        }
    }
}

fn after_reply(gateway: &Gateway, entry: &Entry, reply: Result<Reply, RecvError>) -> Step {
    match reply {
        Ok(Reply::Settled { outcome, lease }) => {
            let now = gateway.clock.now();
            let sent = now.checked_sub(outcome.elapsed).unwrap_or(now);
            // The flight is let go in the same breath as its end is noted: a loop that is lost finds the one or the other.
            entry.note(|progress| {
                progress.attempts += 1;
                progress.crashes = 0;
                progress.first_sent.get_or_insert(sent);
                progress.may_have_happened |= outcome.effect != Effect::None;
                progress.flight = None;
            });
            Step::Settled(outcome, lease)
        }
        Ok(Reply::Refused(refusal)) => {
            let (vendor, call) = (entry.call.vendor.clone(), entry.call.id);
            gateway.facts.state(Fact::Refused { vendor, call, by: refusal.by });
            Step::Stop(Verdict::NotDone(Because::Refused(refusal)))
        }
        Ok(Reply::Abandoned { at }) => lost_at(entry, at),
        // A ticket answers when it is dropped; only a leak could end here.
        Err(_) => lost_at(entry, Guard::Supervisor),
    }
}

fn lost_at(entry: &Entry, at: Guard) -> Step {
    let crashes = entry.note(|progress| {
        progress.crashes += 1;
        progress.crashes
    });
    tracing::debug!(target: "mainstay::call", call = %entry.call.id, %at, crashes, "a ticket was lost before anything was sent");
    if crashes < CRASHES_MAX {
        return Step::Again;
    }
    Step::Stop(refused(at, Reason::CrashedTooOften { guard: at, lost: crashes }))
}

/// The verdict on a call whose loop was lost, by what its last ticket did. `None`: nothing was sent, take it up again.
pub(crate) fn after_lost_loop(entry: &Arc<Entry>, detail: &str) -> Option<Verdict> {
    let (happened, flight) = entry.note(|progress| (progress.may_have_happened, progress.flight.take()));
    let sent = happened | flight.is_some_and(|flight| !flight.revoke());
    sent.then(|| {
        let outcome = Outcome::without_answer(Class::Abandoned, Effect::Unknown, detail);
        Verdict::Unknown { because: Because::of(&outcome), lease: None }
    })
}
