//! How a call went, before anything stands in for it.

use mainstay_actors::{
    idempotency::ClaimGrant,
    outcome::Outcome,
    refusal::{Guard, Reason, Refusal},
    ticket::Lease,
};

use crate::{
    answer::{Because, Shared},
    entry::{Entry, Leaving},
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

pub(crate) fn refused(by: Guard, reason: Reason) -> Verdict {
    Verdict::NotDone(Because::Refused(Refusal::new(by, reason)))
}

/// Waits until nobody waits for the call any more.
pub(crate) async fn given_up(entry: &Entry) -> Verdict {
    tokio::select! {
        why = entry.left() => match why {
            Leaving::CallerGone => Verdict::Cancelled,
            Leaving::Shutdown => refused(Guard::Gateway, Reason::ShuttingDown),
        },
        () = tokio::time::sleep_until(entry.deadline.into()) => too_late(entry),
    }
}

/// Waits until the effect may not begin any more.
pub(crate) async fn not_begun(entry: &Entry) -> Verdict {
    let closed = async {
        let Some((at, refusal)) = &entry.begin_by else { return std::future::pending().await };
        tokio::time::sleep_until((*at).into()).await;
        Verdict::NotDone(Because::Refused(refusal.clone()))
    };
    tokio::select! {
        biased;
        verdict = closed => verdict,
        verdict = given_up(entry) => verdict,
    }
}

pub(crate) fn too_late(entry: &Entry) -> Verdict {
    let limit = entry.deadline.saturating_duration_since(entry.offered_at);
    refused(Guard::Gateway, Reason::Deadline { limit })
}
