//! What the table of keys is asked, and what it gives out.

use std::marker::PhantomData;

use actix::{
    Message,
    dev::{MessageResponse, OneshotSender},
};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Answered, Asked, ClaimGrant, IdempotencyActor, Keep, fingerprint};
use crate::{
    call::{AcceptedCall, IdempotencyKey},
    ids::{CallId, OperationId},
    profile::Repeat,
};

/// May this call send the effect of this key? Asked with `kernel::ask`; after `Lost::Crashed` it is simply asked again, by
/// the same call: what it owns already it gets again.
#[derive(Debug)]
pub struct Claim<V> {
    pub(super) asked: Asked,
    pub(super) operation: OperationId,
    pub(super) repeat: Repeat,
    answer: PhantomData<fn() -> V>,
}

impl<V> Claim<V> {
    /// `call` wants `key` for its payload at `at`. Its own unknown effect it may try again as far as the operation may be
    /// repeated.
    pub fn new(key: IdempotencyKey, call: &AcceptedCall, repeat: Repeat, at: Timestamp) -> Self {
        let again = repeat != Repeat::Never;
        let asked = Asked { key, fingerprint: fingerprint(&call.payload), call: call.id, at, again };
        Self { asked, operation: call.operation.clone(), repeat, answer: PhantomData }
    }

    /// This call's own unknown effect may be tried again although the operation may not be repeated: a person ordered it,
    /// or it comes back to an attempt of its own.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.asked.again = true;
        self
    }
}

impl<V: Keep> Message for Claim<V> {
    type Result = Claimed<V>;
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed<V: Keep> {
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
pub struct Response<V: Keep>(pub(super) Option<Claimed<V>>);

impl<V: Keep> MessageResponse<IdempotencyActor<V>, Claim<V>> for Response<V> {
    fn handle(self, _: &mut actix::Context<IdempotencyActor<V>>, tx: Option<OneshotSender<Claimed<V>>>) {
        if let (Some(tx), Some(claimed)) = (tx, self.0) {
            // An asker that is gone drops the answer, and a claim in it reports for itself.
            let _ = tx.send(claimed);
        }
    }
}
