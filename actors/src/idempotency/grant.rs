//! A key in a call's hand, and what must be on disk for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::{
    End, KeyReport, Mine,
    disk::{Disk, Keep, Owner},
};
use crate::{
    call::IdempotencyKey,
    ids::OperationId,
    kernel::Reports,
    profile::Repeat,
    refusal::{Guard, Reason, Refusal},
    store::{Waiting, WriteSet},
    ticket::{Flight, WriteAhead},
};

/// How long a call waits for the store. Past it the write goes on, and the call without it.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A key in this call's hand. Say how it ended with [`Self::finish`]. Dropped without a word, it frees the key if nothing
/// can have been sent, and parks it as unknown otherwise.
pub struct ClaimGrant<V: Keep> {
    held: Arc<Held<V>>,
    mine: Mine,
    sent: bool,
    flight: Option<Flight>,
    reported: bool,
}

impl<V: Keep> ClaimGrant<V> {
    pub(super) fn new(held: Held<V>, mine: Mine) -> Self {
        Self { held: Arc::new(held), mine, sent: false, flight: None, reported: false }
    }

    /// The key.
    pub fn key(&self) -> &IdempotencyKey {
        &self.held.key
    }

    /// When the key was claimed before this claim, if it may have been sent since: the vendor's window began then.
    pub fn sent_before(&self) -> Option<Timestamp> {
        self.mine.unknown.then_some(self.mine.since)
    }

    /// What must be on disk before the first byte of this call leaves: the key, unless the call may always be repeated.
    /// A process that dies then leaves an unknown key behind, not a free one. Where the store does not take it, a call
    /// that may never be repeated is refused; one with a key goes on.
    pub fn write_ahead(&self) -> Option<Arc<dyn WriteAhead>> {
        match self.held.repeat {
            Repeat::Always => None,
            Repeat::Never | Repeat::WithKey { .. } => Some(self.held.clone()),
        }
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

    /// Says how it ended, on disk first: whoever hears of an end after this hears the same after a restart. A store that
    /// does not take it within 5 s is logged and counted, and holds nobody up.
    pub async fn finish(mut self, end: End<V>) {
        if let Some(set) = self.held.at_the_end(&end) {
            // An end that is not on disk is still an end.
            let _ = self.held.write(set).await;
        }
        self.report(end);
    }

    fn report(&mut self, end: End<V>) {
        self.reported = true;
        let (key, claim) = (self.held.key.clone(), self.mine.claim);
        self.held.reports.push(KeyReport::Ended { key, claim, end });
    }
}

impl<V: Keep> Drop for ClaimGrant<V> {
    fn drop(&mut self) {
        if self.reported {
            return;
        }
        let may_be_sent = self.sent || self.flight.as_ref().is_some_and(|flight| !flight.revoke());
        let end = if may_be_sent { End::Unknown } else { End::Free };
        if let Some(set) = self.held.at_the_end(&end) {
            drop(self.held.disk.store.commit(set)); // queued when asked for
        }
        self.report(end);
    }
}

impl<V: Keep> fmt::Debug for ClaimGrant<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimGrant({:?}, sent: {})", self.mine.claim, self.sent)
    }
}

/// Whose key it is, and the way to the disk.
pub(super) struct Held<V: Keep> {
    pub(super) disk: Disk,
    pub(super) key: IdempotencyKey,
    pub(super) owner: Owner,
    pub(super) since: Timestamp,
    pub(super) operation: OperationId,
    pub(super) repeat: Repeat,
    pub(super) reports: Reports<KeyReport<V>>,
    /// True once a record may be there.
    pub(super) may_be_on_disk: AtomicBool,
    /// True once this claim is there.
    pub(super) written: AtomicBool,
}

impl<V: Keep> Held<V> {
    /// What an end changes on disk. An unknown one changes nothing: the claim is there, or the parked call says it.
    fn at_the_end(&self, end: &End<V>) -> Option<WriteSet> {
        match end {
            End::Done(answer) => {
                self.disk.done(&self.key, self.owner, answer).map_err(|error| self.failed(&error)).ok()
            }
            End::Free | End::Parked(_) => self.may_be_on_disk.load(SeqCst).then(|| self.disk.freed(&self.key)),
            End::Unknown => None,
        }
    }

    async fn write(&self, set: WriteSet) -> Result<(), String> {
        let written = match tokio::time::timeout(STORE_ANSWERS_WITHIN, self.disk.store.commit(set)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the store did not answer within {STORE_ANSWERS_WITHIN:?}")),
        };
        written.inspect_err(|error| self.failed(error))
    }

    fn failed(&self, error: &str) {
        let (vendor, call) = (self.disk.vendor.as_str(), self.owner.call);
        tracing::error!(target: "mainstay::idempotency", vendor, %call, %error, "{vendor}: what stands for a key was not written down; after a restart it is not known");
        self.reports.push(KeyReport::NotWritten);
    }

    async fn write_claim(&self) -> Result<(), Refusal> {
        if self.written.load(SeqCst) {
            return Ok(());
        }
        self.may_be_on_disk.store(true, SeqCst);
        let written = match self.disk.claimed(&self.key, self.owner, self.since, &self.operation) {
            Ok(set) => self.write(set).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => self.written.store(true, SeqCst),
            Err(problem) if self.repeat == Repeat::Never => {
                return Err(Refusal::new(Guard::Idempotency, Reason::NotWritten { problem }));
            }
            Err(_) => {}
        }
        Ok(())
    }
}

impl<V: Keep> WriteAhead for Held<V> {
    fn write_ahead(self: Arc<Self>) -> Waiting<'static, Result<(), Refusal>> {
        Box::pin(async move { self.write_claim().await })
    }
}

impl<V: Keep> fmt::Debug for Held<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held(call {})", self.owner.call)
    }
}
