//! One attempt on its way: it carries its way home and what it has collected.
//!
//! ```text
//!   attempt loop --Ticket--> lane -> gate -> breaker -> budget -> client --> vendor
//!        ^                   +Permit  +Slot   +Pass     +Reservation  |
//!        +--------------------- Reply <------------- settle ----------+
//! ```
//!
//! Dropping a ticket before [`Ticket::begin_sending`] answers [`Reply::Abandoned`] and gives every grant back. After that
//! moment its effect may have begun: dropping it then answers an *unknown* outcome, and what belongs to the effect (the
//! reservation, a leased slot) goes on as a [`Lease`]. So a refusal, a panic, a cancellation and a shutdown are one path.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Instant,
};

use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use crate::{
    call::AcceptedCall,
    grant::{Ending, GrantEnd, GrantReport},
    ids::{CallId, Circuit, GrantId},
    kernel::Reports,
    outcome::{Class, Effect, Outcome},
    refusal::{Guard, Reason, Refusal},
    store::Waiting,
};

/// A permit, pass or reservation. It reports to the guard that issued it, once, whatever happens to it.
#[derive(Debug)]
pub struct Grant {
    guard: Guard,
    id: GrantId,
    home: Option<Reports<GrantReport>>,
}

impl Grant {
    /// A grant of `guard` that reports to `home`.
    pub fn new(guard: Guard, id: GrantId, home: &Reports<GrantReport>) -> Self {
        Self { guard, id, home: Some(home.clone()) }
    }

    /// Who issued it.
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// Its number within its guard.
    pub fn id(&self) -> GrantId {
        self.id
    }

    fn report(&mut self, end: GrantEnd) {
        if let Some(home) = self.home.take() {
            home.push(GrantReport { grant: self.id, end });
        }
    }

    fn end(mut self, end: GrantEnd) {
        self.report(end);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.report(GrantEnd::Unused);
    }
}

/// What outlives an attempt: the grants that belong to the effect it began. Dropped without a word, it reports *unknown*.
#[derive(Debug)]
pub struct Lease {
    call: CallId,
    grants: Vec<Grant>,
}

impl Lease {
    /// Whose effect it is.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// The effect ended.
    pub fn end(mut self, ending: Ending) {
        for grant in self.grants.drain(..) {
            grant.end(GrantEnd::Ended(ending.clone()));
        }
    }

    /// Lets the slots go and keeps the money: a live call whose end never came. It was started all the same, so its start
    /// still counts in the vendor's rate.
    pub fn release_slots(&mut self) {
        let (money, slots): (Vec<_>, Vec<_>) = self.grants.drain(..).partition(|grant| grant.guard == Guard::Budget);
        self.grants = money;
        let lost = Outcome::without_answer(Class::Abandoned, Effect::Unknown, "");
        for slot in slots {
            slot.end(GrantEnd::Ended(Ending::from(&lost)));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        for grant in self.grants.drain(..) {
            grant.end(GrantEnd::Unknown);
        }
    }
}

/// What the attempt loop hears.
#[derive(Debug)]
pub enum Reply {
    /// The attempt was made. A lease is there when the effect goes on, or may have begun.
    Settled {
        /// What came of it.
        outcome: Outcome,
        /// What the effect holds.
        lease: Option<Lease>,
    },
    /// A guard refused; nothing was sent.
    Refused(Refusal),
    /// The ticket was lost before anything was sent: an actor crashed with it in hand, or was stopped.
    Abandoned {
        /// The guard that had it.
        at: Guard,
    },
}

const TRAVELLING: u8 = 0;
const SENDING: u8 = 1;
const REVOKED: u8 = 2;

/// The attempt loop's hold on a ticket under way.
#[derive(Debug, Clone)]
pub struct Flight(Arc<AtomicU8>);

impl Flight {
    /// Takes the ticket back. True: it will not be sent. False: it may be on the wire already.
    pub fn revoke(&self) -> bool {
        self.0.compare_exchange(TRAVELLING, REVOKED, SeqCst, SeqCst).is_ok() || self.0.load(SeqCst) == REVOKED
    }

    /// True when its effect may have begun.
    pub fn is_sent(&self) -> bool {
        self.0.load(SeqCst) == SENDING
    }
}

/// What must be on disk before the first byte of an attempt leaves.
pub trait WriteAhead: std::fmt::Debug + Send + Sync {
    /// Writes it, once; done when it is durable. A refusal means that nothing may be sent.
    fn write_ahead(self: Arc<Self>) -> Waiting<'static, Result<(), Refusal>>;
}

/// One attempt of one call.
#[derive(Debug)]
pub struct Ticket {
    call: Arc<AcceptedCall>,
    circuit: Circuit,
    attempt: u32,
    deadline: Instant,
    flight: Flight,
    reply: Option<oneshot::Sender<Reply>>,
    grants: Vec<Grant>,
    at: Guard,
    span: tracing::Span,
    ahead: Vec<Arc<dyn WriteAhead>>,
}

impl Ticket {
    /// Issues a ticket: the ticket travels, the flight and the receiver stay with the attempt loop.
    pub fn issue(
        call: Arc<AcceptedCall>,
        circuit: Circuit,
        attempt: u32,
        deadline: Instant,
        span: tracing::Span,
    ) -> (Self, Flight, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        let flight = Flight(Arc::new(AtomicU8::new(TRAVELLING)));
        let ticket = Self {
            call,
            circuit,
            attempt,
            deadline,
            flight: flight.clone(),
            reply: Some(reply),
            grants: Vec::with_capacity(4),
            at: Guard::Gateway,
            span,
            ahead: Vec::new(),
        };
        (ticket, flight, answer)
    }

    /// Nothing is sent before this is on disk, too.
    pub fn wait_for(&mut self, ahead: Arc<dyn WriteAhead>) {
        self.ahead.push(ahead);
    }

    /// Waits until all that must be on disk is there. Before [`Self::begin_sending`]. The writes are begun together, so that
    /// they share a group commit.
    pub async fn write_ahead(&self) -> Result<(), Refusal> {
        match self.ahead.as_slice() {
            [] => Ok(()),
            [one] => one.clone().write_ahead().await,
            all => try_join_all(all.iter().map(|ahead| ahead.clone().write_ahead())).await.map(drop),
        }
    }

    /// The call, which the attempt loop owns.
    pub fn call(&self) -> &Arc<AcceptedCall> {
        &self.call
    }

    /// Whose breaker judges it.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Nothing may be sent after this.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The call's span.
    pub fn span(&self) -> &tracing::Span {
        &self.span
    }

    /// Notes which guard has it, so that a loss can be placed.
    pub fn arrive(&mut self, at: Guard) {
        self.at = at;
    }

    /// False when nobody waits for it any more: taken back, its caller gone, or past its deadline.
    pub fn is_wanted(&self, now: Instant) -> bool {
        let travelling = self.flight.0.load(SeqCst) == TRAVELLING;
        travelling && now < self.deadline && self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// Adds a grant.
    pub fn collect(&mut self, grant: Grant) {
        self.grants.push(grant);
    }

    /// Refuses: the caller is answered, every grant goes back.
    pub fn refuse(mut self, refusal: Refusal) {
        self.answer(Reply::Refused(refusal));
    }

    /// Refuses because a queue behind a door is full.
    pub fn refuse_full(self, by: Guard, what: &'static str, held: usize, limit: usize) {
        self.refuse(Refusal::new(by, Reason::Full { what, held, limit }));
    }

    /// The last step before the first byte. After `true` the effect may have begun; after `false` the ticket was taken back
    /// and must be dropped.
    pub fn begin_sending(&self) -> bool {
        self.flight.0.compare_exchange(TRAVELLING, SENDING, SeqCst, SeqCst).is_ok()
    }

    /// The attempt was made: each grant reports to its issuer, what belongs to a lasting effect goes on as a lease.
    pub fn settle(mut self, outcome: Outcome) {
        let lease = self.end_grants(&outcome);
        self.answer(Reply::Settled { outcome, lease });
    }

    fn end_grants(&mut self, outcome: &Outcome) -> Option<Lease> {
        let lasting = outcome.pending || outcome.effect == Effect::Unknown;
        let ending = Ending::from(outcome);
        let mut kept = Vec::new();
        for grant in self.grants.drain(..) {
            let of_effect = match grant.guard {
                Guard::Budget => true,
                Guard::Lane | Guard::Gate => self.call.holds_slot,
                _ => false,
            };
            if lasting && of_effect { kept.push(grant) } else { grant.end(GrantEnd::Ended(ending.clone())) }
        }
        lasting.then(|| Lease { call: self.call.id, grants: kept })
    }

    fn answer(&mut self, reply: Reply) {
        if let Some(home) = self.reply.take() {
            // A caller that is gone drops the reply, and with it the lease, which reports for itself.
            let _ = home.send(reply);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.reply.is_none() {
            return;
        }
        if !self.flight.is_sent() {
            self.answer(Reply::Abandoned { at: self.at });
            return;
        }
        let detail = "the attempt was lost after its first byte may have been sent";
        let outcome = Outcome::without_answer(Class::Abandoned, Effect::Unknown, detail);
        let lease = self.end_grants(&outcome);
        self.answer(Reply::Settled { outcome, lease });
    }
}
