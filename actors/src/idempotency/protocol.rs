//! What the table of keys is asked and told, and what it says. Plain values.

use std::time::Instant;

use jiff::Timestamp;

use super::Fingerprint;
use crate::{
    call::IdempotencyKey,
    ids::{CallId, GrantId},
};

/// A caller that waits for the end of a key it does not own.
pub trait Waiter {
    /// True when nobody waits there any more.
    fn is_gone(&self) -> bool;
}

/// What a call says when it wants a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which key.
    pub key: IdempotencyKey,
    /// Of the payload it stands for.
    pub fingerprint: Fingerprint,
    /// Who asks.
    pub call: CallId,
    /// When it asks, by the calendar: before anything is sent.
    pub at: Timestamp,
    /// True when this call's own unknown effect may be tried again with the same key: the profile allows it
    /// (`Repeat::WithKey`, `Repeat::Always`), or a person ordered it. It never opens another call's unknown key.
    pub again: bool,
}

/// A key in a call's hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mine {
    /// Under which claim.
    pub claim: GrantId,
    /// When it was first claimed for this effect, which is before it was first sent: a vendor's window counts from here.
    pub since: Timestamp,
    /// True when its effect is unknown: it may have been sent since then.
    pub unknown: bool,
    /// True when this call has had it before, and may have left a record on disk.
    pub again: bool,
}

/// What the table says to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<V> {
    /// The key is the caller's, under this claim. A call that already owns it gets it again under a new claim, so that
    /// what a lost answer still reports is of an old period.
    Mine(Mine),
    /// Another call has it in flight: wait for its end.
    Join,
    /// It is done; this is the stored answer.
    Stored {
        /// The call that did it.
        call: CallId,
        /// What it came to.
        answer: V,
    },
    /// The key stands for another payload.
    Conflict,
    /// Its effect is unknown: nobody may send it again before somebody finds out.
    Unknown {
        /// The call that left it so; may be the caller itself.
        call: CallId,
    },
    /// No room.
    Full {
        /// `keys`, or `callers joined to one key`.
        what: &'static str,
        /// How many there are.
        held: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// How a claim ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<V> {
    /// The effect is done, or the vendor took it on: this answer answers every repeat.
    Done(V),
    /// There was no effect yet, and the call is parked: this answer answers every repeat, until the same call takes the key
    /// up again. Never forgotten to make room.
    Parked(V),
    /// There was definitely no effect: the key may be claimed anew.
    Free,
    /// There may have been an effect: the key is blocked until somebody finds out.
    Unknown,
}

/// What the table must hear, at least once; applied exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyReport<V> {
    /// A claim ended.
    Ended {
        /// Which key.
        key: IdempotencyKey,
        /// Under which claim; one that is not the present one is ignored.
        claim: GrantId,
        /// How.
        end: End<V>,
    },
    /// An unknown effect was found out, by the vendor's callback, by a query, or by a person; or a parked call was given up.
    Resolved {
        /// Which key.
        key: IdempotencyKey,
        /// The call that left it so; ignored if the key is not unknown or parked by this call.
        call: CallId,
        /// What it came to. `Unknown` changes nothing.
        end: End<V>,
    },
    /// Found at the start: a call of an earlier process is parked, and left the key so. Ignored when there is no room, when it
    /// says anything but `Unknown` or `Parked`, or when the key is there already: but that a call is parked is known after
    /// that its effect was unknown.
    Restored {
        /// Which key.
        key: IdempotencyKey,
        /// Of the payload it stands for.
        fingerprint: Fingerprint,
        /// The call that left it so.
        call: CallId,
        /// When that call was accepted: before the key was first sent.
        since: Timestamp,
        /// How.
        end: End<V>,
    },
    /// The store did not take what was to be remembered of a key. Counted.
    NotWritten,
}

/// What a joined caller hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered<V> {
    /// The owner's answer is its answer.
    Done {
        /// The owner.
        call: CallId,
        /// What it came to.
        answer: V,
    },
    /// The owner had no effect: claim the key again.
    Freed,
    /// The owner's effect is unknown.
    Unknown {
        /// The owner.
        call: CallId,
    },
}

/// Keys whose time is over, with the answers they had: what of them is on disk may go.
pub type Forgotten<V> = Vec<(IdempotencyKey, V)>;

/// A key that an earlier process left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftKey<V> {
    /// Which key.
    pub key: IdempotencyKey,
    /// Of the payload it stands for.
    pub fingerprint: Fingerprint,
    /// The call that had it.
    pub call: CallId,
    /// When it was claimed.
    pub since: Timestamp,
    /// Its answer, and until when it answers repeats; `None`: it may have been sent, and nobody knows what came of it.
    pub done: Option<(V, Instant)>,
}

/// What is to be told to whom after a report was applied.
#[derive(Debug, PartialEq, Eq)]
pub struct Told<V, W> {
    /// The callers who joined.
    pub joined: Vec<W>,
    /// What they hear, each the same.
    pub answer: Answered<V>,
    /// What had to make room.
    pub forgotten: Forgotten<V>,
}
