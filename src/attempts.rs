//! The loop of one call: a ticket, its reply, the retry rule; again, or a verdict. It runs outside the guards and owns the
//! call, so whatever happens to a ticket, the call is still there.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use mainstay_actors::{
    fact::{Fact, FactSink},
    grant::Ending,
    idempotency::ClaimGrant,
    kernel::panic_text,
    outcome::{Class, Effect, Outcome, cut},
    profile::{Next, Operation, Repeat, Standing, next, not_repeated},
    refusal::{Guard, Reason},
    ticket::{Flight, Lease, Reply, Ticket},
};

use crate::{
    answer::{Because, Shared},
    claims,
    entry::Entry,
    gateway::Gateway,
    guardrail,
    route::Route,
    verdict::{CRASHES_MAX, Judged, Verdict, given_up, not_begun, refused},
};

/// Runs the attempts of a call. A loop that panics loses nothing: what it knew, and the ticket it had under way, are in the
/// table, and the call is taken up again from there.
pub(crate) async fn run(gateway: &Gateway, route: &Route, operation: &Operation, entry: &Entry) -> Judged {
    loop {
        let attempt = AssertUnwindSafe(drive(gateway, route, operation, entry)).catch_unwind();
        let panic = match attempt.await {
            Ok(judged) => {
                gateway.journal.judged(&entry.call, &judged.verdict);
                return judged;
            }
            Err(panic) => panic,
        };
        let detail = panic_text(&*panic);
        let vendor = &entry.call.vendor;
        tracing::error!(target: "mainstay::call", %vendor, call = %entry.call.id, %detail, "the attempt loop of a call to {vendor} panicked");
        gateway.facts.state(Fact::AttemptLoopLost { call: entry.call.id, detail: detail.clone() });
        let lost = entry.note(|progress| {
            progress.loops_lost += 1;
            progress.loops_lost
        });
        if let Some(verdict) = after_lost_loop(entry, &detail, lost >= CRASHES_MAX) {
            return verdict.into();
        }
    }
}

/// Runs a call to its verdict.
async fn drive(gateway: &Gateway, route: &Route, operation: &Operation, entry: &Entry) -> Judged {
    // Before the key: the table of keys of a vendor that is down does not answer.
    let denied = guardrail_denies(gateway, entry);
    if let Some(verdict) = denied.or_else(|| may_not_begin(gateway, route, operation, entry)) {
        return with_earlier(entry, verdict, None).into();
    }
    let mut claim = match claims::claim(&gateway.clock, route, operation, entry).await {
        Ok(claim) => claim,
        // What a lost loop left on the wire is waited for all the same; its key stays blocked.
        Err(_) if entry.progress().flight.is_some() => None,
        Err(verdict) => return verdict.into(),
    };
    let verdict = attempt_until_settled(gateway, route, operation, entry, claim.as_mut()).await;
    Judged { verdict, claim }
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
        if let Some(verdict) = may_not_begin(gateway, route, operation, entry) {
            return with_earlier(entry, verdict, earlier);
        }
        let until = may_be_sent_until(gateway, operation, entry);
        let step = one_ticket(gateway, route, entry, until, claim.as_deref_mut()).await;
        let (mut outcome, lease) = match step {
            Step::Settled(outcome, lease) => {
                gateway.journal.timed_out(&entry.call, &outcome);
                (outcome, lease)
            }
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
        let standing = Standing { attempt: progress.attempts, key_age, now, deadline: entry.deadline };
        match what_next(gateway, route, operation, &mut outcome, standing) {
            Next::Deliver => return Verdict::Delivered { outcome, lease },
            Next::GiveUp => return with_earlier(entry, Verdict::NotDone(Because::of(&outcome)), earlier),
            Next::Unknown => return Verdict::Unknown { because: Because::of(&outcome), lease },
            Next::Again { at } => {
                earlier = lease.or(earlier);
                entry.note(|progress| progress.failed = Some(Because::of(&outcome)));
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    verdict = not_begun(entry) => return with_earlier(entry, verdict, earlier),
                }
            }
        }
    }
}

/// What the application's own rules say. A ticket that a lost loop left under way was allowed.
fn guardrail_denies(gateway: &Gateway, entry: &Entry) -> Option<Verdict> {
    if entry.progress().flight.is_some() {
        return None;
    }
    guardrail::denial(&gateway.guardrails, &entry.call).map(|refusal| Verdict::NotDone(Because::Refused(refusal)))
}

/// Why no ticket may be sent now. One that a lost loop left under way is not begun any more, but waited for.
fn may_not_begin(gateway: &Gateway, route: &Route, operation: &Operation, entry: &Entry) -> Option<Verdict> {
    if entry.progress().flight.is_some() {
        return None;
    }
    if let Some(refusal) = gateway.not_now(route, &entry.call) {
        return Some(Verdict::NotDone(Because::Refused(refusal)));
    }
    let Repeat::WithKey { window } = operation.repeat else { return None };
    let is_over = window_end(gateway, operation, entry).is_some_and(|end| end <= gateway.clock.now());
    is_over.then(|| refused(Guard::Idempotency, Reason::KeyTooOld { window }))
}

/// What follows an attempt: what the retry rule says, as far as the vendor's retry budget grants it. Where it does not, the call
/// ends with what the vendor said.
fn what_next(
    gateway: &Gateway,
    route: &Route,
    operation: &Operation,
    outcome: &mut Outcome,
    standing: Standing,
) -> Next {
    let mut retries = route.retries.lock();
    if standing.attempt == 1 {
        retries.note_call(standing.now);
    }
    let next = next(&route.profile.retry, operation.repeat, outcome, standing, gateway.rng.unit());
    if !matches!(next, Next::Again { .. }) {
        return next;
    }
    let Err(spent) = retries.take(standing.now) else { return next };
    drop(retries);
    if spent.is_news {
        let vendor = &route.profile.vendor;
        tracing::warn!(
            target: "mainstay::call", %vendor, retries = spent.retries, calls = spent.calls,
            "calls to {vendor} are not tried again for a while: {spent}"
        );
        gateway.facts.state(Fact::RetriesSpent { vendor: vendor.clone(), retries: spent.retries, calls: spent.calls });
    }
    outcome.detail = cut(format!("not tried again, {spent}: {}", outcome.detail));
    not_repeated(outcome)
}

/// The end of the vendor's window, once the key may have had its effect: after it the vendor takes the key for a new one. An
/// earlier run of the call, in this process or the one before, began it.
fn window_end(gateway: &Gateway, operation: &Operation, entry: &Entry) -> Option<Instant> {
    let Repeat::WithKey { window } = operation.repeat else { return None };
    let progress = entry.progress();
    let first_sent = progress.first_sent.filter(|_| progress.may_have_happened);
    let earlier = progress.sent_before.and_then(|at| at.checked_add(window).ok());
    let earlier = earlier.map(|end| gateway.clock.instant_of(end));
    first_sent.and_then(|first| first.checked_add(window)).into_iter().chain(earlier).min()
}

/// A ticket may wait long on its way, so it carries every limit of its start with it.
fn may_be_sent_until(gateway: &Gateway, operation: &Operation, entry: &Entry) -> Instant {
    let closes = entry.begin_by.as_ref().map(|(at, _)| *at);
    window_end(gateway, operation, entry).into_iter().chain(closes).fold(entry.deadline, Instant::min)
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
pub(crate) fn replaced(operation: &Operation, lease: Option<Lease>) {
    let Some(lease) = lease.filter(|_| matches!(operation.repeat, Repeat::WithKey { .. })) else { return };
    lease.end(Ending {
        class: Class::Abandoned,
        effect: Effect::None,
        cost: None,
        also: BTreeMap::new(),
        retry_after: None,
        elapsed: Duration::ZERO,
    });
}

enum Step {
    Settled(Outcome, Option<Lease>),
    Again,
    Stop(Verdict),
}

/// Sends one ticket on its way, or comes back to one that a lost loop left there, and waits for its reply or takes it back.
async fn one_ticket(
    gateway: &Gateway,
    route: &Route,
    entry: &Entry,
    until: Instant,
    claim: Option<&mut ClaimGrant<Shared>>,
) -> Step {
    let flight = match entry.progress().flight {
        Some(flight) => follow(claim, flight),
        None => {
            let number = entry.progress().attempts + 1;
            let circuit = route.profile.circuit(entry.call.target.as_ref(), &entry.call.operation);
            let (mut ticket, flight, reply) =
                Ticket::issue(entry.call.clone(), circuit, number, until, entry.span.clone());
            claim.as_deref().and_then(ClaimGrant::write_ahead).into_iter().for_each(|ahead| ticket.wait_for(ahead));
            entry.sending_note().into_iter().for_each(|note| ticket.wait_for(note));
            entry.sent_out(flight.clone(), reply);
            gateway.hazard.strike(&route.loops, "ticket");
            let flight = follow(claim, flight);
            route.enter(&entry.call.lane, ticket);
            flight
        }
    };
    let arrived = tokio::select! {
        biased;
        () = entry.arrived() => Ok(()),
        verdict = not_begun(entry) => Err(verdict),
    };
    gateway.hazard.strike(&route.loops, "reply");
    if let Err(verdict) = arrived {
        if flight.revoke() {
            entry.let_go();
            return Step::Stop(verdict);
        }
        on_the_wire(gateway, entry).await;
    }
    after_reply(gateway, entry)
}

fn follow(claim: Option<&mut ClaimGrant<Shared>>, flight: Flight) -> Flight {
    if let Some(claim) = claim {
        claim.follow(flight.clone());
    }
    flight
}

/// Waits for the reply of a request that cannot be taken back; its caller hears so when its time is over. A runtime that
/// stops waits no longer than it may.
async fn on_the_wire(gateway: &Gateway, entry: &Entry) {
    tokio::select! {
        biased;
        () = entry.arrived() => return,
        _ = given_up(entry) => gateway.still_under_way(entry),
    }
    tokio::select! {
        biased;
        () = entry.arrived() => {}
        () = gateway.live.until_abandoned() => {}
    }
}

fn after_reply(gateway: &Gateway, entry: &Entry) -> Step {
    let now = gateway.clock.now();
    // The flight is let go in the same breath as its end is noted: a loop that is lost finds the one or the other.
    let reply = entry.take_reply(|progress, reply| {
        let Ok(Reply::Settled { outcome, .. }) = reply else { return };
        let sent = now.checked_sub(outcome.elapsed).unwrap_or(now);
        progress.attempts += 1;
        progress.crashes = 0;
        progress.first_sent.get_or_insert(sent);
        progress.may_have_happened |= outcome.effect != Effect::None;
    });
    match reply {
        Some(Ok(Reply::Settled { outcome, lease })) => Step::Settled(outcome, lease),
        Some(Ok(Reply::Refused(refusal))) => {
            let (vendor, call) = (entry.call.vendor.clone(), entry.call.id);
            gateway.facts.state(Fact::Refused { vendor, call, by: refusal.by });
            // One that waited until its effect may not begin any more hears that, whichever guard noticed it first.
            let closed = entry.begin_by.as_ref().filter(|(at, _)| *at <= now).map(|(_, refusal)| refusal.clone());
            Step::Stop(Verdict::NotDone(Because::Refused(closed.unwrap_or(refusal))))
        }
        Some(Ok(Reply::Abandoned { at })) => lost_at(entry, at),
        // A ticket answers when it is dropped; only a leak could end here.
        Some(Err(_)) => lost_at(entry, Guard::Supervisor),
        None => abandoned_on_the_wire(entry),
    }
}

/// The runtime stops, and the request is on the wire to the very end: then it is not known what came of it.
fn abandoned_on_the_wire(entry: &Entry) -> Step {
    entry.let_go();
    entry.note(|progress| progress.may_have_happened = true);
    let detail = "the runtime was stopped while the request was on the wire";
    Step::Settled(Outcome::without_answer(Class::Abandoned, Effect::Unknown, detail), None)
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

/// What becomes of a call whose loop was lost. `None`: it is taken up again, with a new ticket when nothing was sent, or by
/// waiting for the reply of the one that is on the wire.
fn after_lost_loop(entry: &Entry, detail: &str, is_last: bool) -> Option<Verdict> {
    let progress = entry.progress();
    let sent = progress.flight.is_some_and(|flight| !flight.revoke());
    if sent && !is_last {
        return None;
    }
    entry.let_go();
    if sent || progress.may_have_happened {
        let outcome = Outcome::without_answer(Class::Abandoned, Effect::Unknown, detail);
        return Some(Verdict::Unknown { because: Because::of(&outcome), lease: None });
    }
    let lost = progress.loops_lost;
    is_last.then(|| refused(Guard::Gateway, Reason::CrashedTooOften { guard: Guard::Gateway, lost }))
}
