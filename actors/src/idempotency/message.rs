//! What the table of keys is asked, and what it gives out.

use std::{fmt, marker::PhantomData};

use actix::{
    Message,
    dev::{MessageResponse, OneshotSender},
};
use tokio::sync::oneshot;

use super::{Answered, Asked, End, Fingerprint, IdempotencyActor, KeyReport};
use crate::{
    call::IdempotencyKey,
    ids::{CallId, GrantId},
    kernel::{Incarnation, Reports},
    ticket::Flight,
};

/// May this call send the effect of this key? Asked with `kernel::ask`; after `Lost::Crashed` it is simply asked again, by
/// the same call: what it owns already it gets again.
#[derive(Debug)]
pub struct Claim<V> {
    pub(super) asked: Asked,
    answer: PhantomData<fn() -> V>,
}

impl<V> Claim<V> {
    /// `call` wants `key` for the payload of this fingerprint.
    pub fn new(key: IdempotencyKey, fingerprint: Fingerprint, call: CallId) -> Self {
        Self { asked: Asked { key, fingerprint, call, again: false }, answer: PhantomData }
    }

    /// This call's own unknown effect may be tried again: the profile lets it be repeated, or a person ordered it.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.asked.again = true;
        self
    }
}

impl<V: Clone + 'static> Message for Claim<V> {
    type Result = Claimed<V>;
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed<V: Clone> {
    /// Send it, and say how it ended.
    Mine(ClaimGrant<V>),
    /// Another call is at it: wait here. If the sender is gone without a word (the table was stopped), claim again.
    Joined(oneshot::Receiver<Answered<V>>),
    /// It is done already.
    Stored {
        /// The call that did it.
        call: CallId,
        /// What it came to.
        answer: V,
    },
    /// The key stands for another payload.
    Conflict,
    /// Its effect is unknown; nothing may be sent.
    Unknown {
        /// The call that left it so; may be the asking call itself, see [`Claim::again`].
        call: CallId,
    },
    /// No room for another key, or for another caller waiting for this one.
    Full {
        /// Which of the two.
        what: &'static str,
        /// How many there are.
        held: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// How a claim travels back. An incarnation that was replaced has no answer: the asker hears `Lost::Crashed` and asks again.
#[derive(Debug)]
pub struct Response<V: Clone>(pub(super) Option<Claimed<V>>);

impl<V: Clone + Send + Sync + 'static> MessageResponse<IdempotencyActor<V>, Claim<V>> for Response<V> {
    fn handle(self, _: &mut actix::Context<IdempotencyActor<V>>, tx: Option<OneshotSender<Claimed<V>>>) {
        if let (Some(tx), Some(claimed)) = (tx, self.0) {
            // An asker that is gone drops the answer, and a claim in it reports for itself.
            let _ = tx.send(claimed);
        }
    }
}

/// A key in this call's hand. Say how it ended with [`Self::finish`]. Dropped without a word, it frees the key if nothing
/// can have been sent, and parks it as unknown otherwise.
pub struct ClaimGrant<V: Clone> {
    key: IdempotencyKey,
    claim: GrantId,
    sent: bool,
    flight: Option<Flight>,
    home: Option<Reports<KeyReport<V>>>,
}

impl<V: Clone + Send + Sync + 'static> ClaimGrant<V> {
    pub(super) fn new(key: IdempotencyKey, claim: GrantId, inc: &Incarnation<IdempotencyActor<V>>) -> Self {
        Self { key, claim, sent: false, flight: None, home: Some(inc.reports().clone()) }
    }
}

impl<V: Clone> ClaimGrant<V> {
    /// The key.
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// From now on the effect may have begun: a drop without a word means unknown. There is no way back but `finish`.
    pub fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// The attempt under way, in place of the one before it. If this grant is dropped, that attempt is taken back: where
    /// that succeeds nothing was sent, where it fails the effect may have begun. Before following the next attempt, an
    /// attempt that left the effect unknown must be noted with [`Self::mark_sent`], one that had none with
    /// [`Self::unfollow`].
    pub fn follow(&mut self, flight: Flight) {
        self.flight = Some(flight);
    }

    /// The attempt it follows had no effect: a drop without a word frees the key again, unless [`Self::mark_sent`] was said.
    pub fn unfollow(&mut self) {
        self.flight = None;
    }

    /// Says how it ended.
    pub fn finish(mut self, end: End<V>) {
        self.report(end);
    }

    fn report(&mut self, end: End<V>) {
        let Some(home) = self.home.take() else { return };
        home.push(KeyReport::Ended { key: self.key.clone(), claim: self.claim, end });
    }
}

impl<V: Clone> Drop for ClaimGrant<V> {
    fn drop(&mut self) {
        if self.home.is_none() {
            return;
        }
        let may_be_sent = self.sent || self.flight.as_ref().is_some_and(|flight| !flight.revoke());
        self.report(if may_be_sent { End::Unknown } else { End::Free });
    }
}

impl<V: Clone> fmt::Debug for ClaimGrant<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimGrant({:?}, sent: {})", self.claim, self.sent)
    }
}
