//! What an application asks for, and what the runtime makes of it once accepted.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    credits::Credits,
    hours::Hours,
    ids::{CallId, LaneId, OperationId, TargetId, VendorId},
    refusal::Reason,
};

/// How long a caller waits when it does not say: the longest request timeout of the seeds (120 s) with room for one retry.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(300);

/// One call to a vendor, as the application describes it. Nothing is checked before it is offered to the runtime.
///
/// ```
/// use mainstay_actors::call::Call;
/// use std::time::Duration;
///
/// let call = Call::new("clay", "push-row", serde_json::json!({ "domain": "acme.com" }))
///     .lane("bulk")
///     .key("lead-42")
///     .deadline(Duration::from_secs(20));
/// assert_eq!(call.vendor, "clay");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Call {
    /// The vendor's configured name.
    pub vendor: String,
    /// One of the vendor's operations.
    pub operation: String,
    /// One of the vendor's named targets, such as a Clay table; default none: the vendor's own address.
    pub target: Option<String>,
    /// One of the vendor's lanes; default `normal`.
    pub lane: String,
    /// The JSON the vendor gets; its size and fields are checked against the operation before anything is spent.
    pub payload: Value,
    /// The application's own name for this effect. Needed by operations that may never be repeated.
    pub key: Option<String>,
    /// In place of a key: the application's name for an operation that it means once a day.
    pub operation_id: Option<String>,
    /// Whose call this is; part of the idempotency key.
    pub tenant: Option<String>,
    /// What it may cost at most, if it differs from the operation's estimate.
    pub estimate: Option<Credits>,
    /// How long the caller waits, over queues, retries and backoff; default five minutes.
    #[serde(with = "crate::duration")]
    pub deadline: Duration,
    /// The effect may not begin after this moment, in a drain or replay either; default never.
    pub expires_at: Option<Timestamp>,
    /// The hours in which the effect may begin, in a drain or replay too; default those of the operation.
    pub hours: Option<Hours>,
    /// What may stand in for the vendor, in this order; default the vendor's own chain.
    pub chain: Option<Vec<Step>>,
    /// What becomes of it when a guard denies it and nothing stands in; default the vendor's own choice.
    pub on_denied: Option<OnDenied>,
    /// What it outlives; default [`Delivery::Durable`] when it is submitted, [`Delivery::InMemory`] when its caller waits.
    #[serde(default)]
    pub delivery: Option<Delivery>,
}

impl Call {
    /// A call on the lane `normal`, with the default deadline and the operation's own estimate.
    pub fn new(vendor: impl Into<String>, operation: impl Into<String>, payload: Value) -> Self {
        Self {
            vendor: vendor.into(),
            operation: operation.into(),
            target: None,
            lane: "normal".into(),
            payload,
            key: None,
            operation_id: None,
            tenant: None,
            estimate: None,
            deadline: DEFAULT_DEADLINE,
            expires_at: None,
            hours: None,
            chain: None,
            on_denied: None,
            delivery: None,
        }
    }

    /// Chooses one of the vendor's named targets.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Chooses the lane.
    #[must_use]
    pub fn lane(mut self, lane: impl Into<String>) -> Self {
        self.lane = lane.into();
        self
    }

    /// Names the effect: the same key never causes two.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Names the effect by an operation of the application's, instead of a key. What the vendor gets as its key is a random
    /// UUID, the same through retry, queue, dead letter, replay and restart. A repeat gets the stored answer until `keep`
    /// (24 h by default) is over after the end; from then on, and after a definite failure, the id stands for a new effect
    /// with a new UUID. While its call is in flight, parked or unknown it is never renewed.
    ///
    /// Choose [`Self::key`] for what may happen once and never again at the vendor, this for what may happen again tomorrow.
    #[must_use]
    pub fn operation_id(mut self, id: impl Into<String>) -> Self {
        self.operation_id = Some(id.into());
        self
    }

    /// Says whose call it is.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Reserves this much instead of the operation's estimate.
    #[must_use]
    pub fn estimate(mut self, most: Credits) -> Self {
        self.estimate = Some(most);
        self
    }

    /// Bounds the caller's wait.
    #[must_use]
    pub fn deadline(mut self, wait: Duration) -> Self {
        self.deadline = wait;
        self
    }

    /// Bounds the start of the effect.
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// Bounds the start of the effect to hours of the day, instead of the operation's own: those where the phone rings.
    #[must_use]
    pub fn hours(mut self, hours: Hours) -> Self {
        self.hours = Some(hours);
        self
    }

    /// Chooses what may stand in for the vendor, in this order, instead of the vendor's own chain. The dead letter queue
    /// comes last, named or not.
    #[must_use]
    pub fn chain(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.chain = Some(steps.into_iter().collect());
        self
    }

    /// Chooses what becomes of it when a guard denies it and nothing stands in.
    #[must_use]
    pub fn on_denied(mut self, then: OnDenied) -> Self {
        self.on_denied = Some(then);
        self
    }

    /// Chooses what it outlives.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Wants the vendor's answer or an error, nothing in its place: an empty chain, and a refusal when it is denied.
    #[must_use]
    pub fn without_fallback(self) -> Self {
        self.chain([]).on_denied(OnDenied::Refuse)
    }
}

/// What an accepted call outlives. Without a data directory there is nothing that outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The death of the process: it is on disk before it is accepted, and stays there until it has ended. The next process takes
    /// it up where this one left it.
    Durable,
    /// Crashes of actors, not that of the process: whoever waits for it dies with it.
    InMemory,
}

/// A step of the chain of what stands in for a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The last good answer.
    Cache,
    /// Wait on disk for the vendor to come back, and be done then.
    Queue,
    /// The application's own function.
    Local,
    /// Nothing stands in: the call is kept for a person or a replay.
    DeadLetter,
}

/// What becomes of a call that a guard denied, when nothing stood in for it. Denied means: nothing was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDenied {
    /// The caller is told; nothing is kept.
    Refuse,
    /// It waits on disk, and is done by itself when the guard says, through all guards and paid for like every call.
    #[default]
    Queue,
    /// It is a dead letter, for a person or a replay (seed B).
    DeadLetter,
}

/// The name of one effect, the same through retry, queue, dead letter, replay and restart. What the vendor gets of it says
/// [`AcceptedCall::key_for_vendor`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(pub Arc<str>);

impl IdempotencyKey {
    /// How a key begins that stands for an operation id.
    pub const OF_OPERATION_ID: &str = "op-";
}

impl std::fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A call that was checked against its vendor's profile and accepted. It is owned by its attempt loop; tickets only share it.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedCall {
    /// Its id, through every attempt and replay.
    pub id: CallId,
    /// The vendor.
    pub vendor: VendorId,
    /// The operation.
    pub operation: OperationId,
    /// Where the vendor gets it; none: at the vendor's own address.
    pub target: Option<TargetId>,
    /// The lane it waits in.
    pub lane: LaneId,
    /// What the vendor gets.
    pub payload: Value,
    /// Its key towards the vendor and towards repeats of itself.
    pub key: Option<IdempotencyKey>,
    /// Whose call it is.
    pub tenant: Option<Arc<str>>,
    /// What is reserved for it.
    pub estimate: Credits,
    /// No effect may begin after this.
    pub expires_at: Option<Timestamp>,
    /// The hours in which its effect may begin, if not the operation's own.
    pub hours: Option<Hours>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What may stand in for the vendor, if not the vendor's own chain. Not written down: nothing stands in for a parked call.
    pub chain: Option<Arc<[Step]>>,
    /// What becomes of it when it is denied, if not the vendor's own choice. Not written down either.
    pub on_denied: Option<OnDenied>,
    /// Whether a slot is held until the effect ends, not only until the answer (a phone call).
    pub holds_slot: bool,
}

impl AcceptedCall {
    /// What the vendor gets as the key: 64 hexadecimal digits, the same whenever this effect is meant; or for a call by
    /// operation id the UUID of the call, which alone may send while the id is its own.
    pub fn key_for_vendor(&self) -> Option<IdempotencyKey> {
        let key = self.key.as_ref()?;
        let by_operation = key.0.starts_with(IdempotencyKey::OF_OPERATION_ID);
        Some(if by_operation { IdempotencyKey(self.id.to_string().into()) } else { key.clone() })
    }

    /// Why its effect may not begin at a moment of the calendar, and when it may again. `usual`: the operation's own hours.
    pub fn closed(&self, usual: Option<&Hours>, at: Timestamp) -> Option<(Reason, Option<Timestamp>)> {
        if self.expires_at.is_some_and(|end| end <= at) {
            return Some((Reason::Expired, None));
        }
        let hours = self.hours.as_ref().or(usual).filter(|hours| !hours.is_open(at))?;
        Some((Reason::OutsideHours { hours: hours.to_string().into() }, hours.next_opening(at)))
    }

    /// The first moment from `at` on at which its effect may not begin any more.
    pub fn closes(&self, usual: Option<&Hours>, at: Timestamp) -> Option<Timestamp> {
        let closing = self.hours.as_ref().or(usual).and_then(|hours| hours.next_closing(at));
        self.expires_at.into_iter().chain(closing).min()
    }

    /// The first moment from `at` on that is within its hours; `at` where it has none.
    pub fn opens(&self, usual: Option<&Hours>, at: Timestamp) -> Timestamp {
        self.hours.as_ref().or(usual).and_then(|hours| hours.next_opening(at)).unwrap_or(at)
    }

    /// A call on the lane `normal` with no target, key, tenant or estimate. The gateway fills in the
    /// rest by `..`, and so does a record that is read back.
    pub fn new(id: CallId, vendor: VendorId, operation: OperationId, payload: Value, accepted_at: Timestamp) -> Self {
        Self {
            id,
            vendor,
            operation,
            target: None,
            lane: LaneId::normal(),
            payload,
            key: None,
            tenant: None,
            estimate: Credits::ZERO,
            expires_at: None,
            hours: None,
            accepted_at,
            chain: None,
            on_denied: None,
            holds_slot: false,
        }
    }
}

/// The end of an accepted call. Exclusive: a call is in exactly one of these, and a replay moves it from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalState {
    /// The vendor did it or took it on.
    Delivered,
    /// A cached answer was served.
    Cached,
    /// It waits for the vendor to come back.
    Queued,
    /// A local function answered.
    Local,
    /// It is in the dead letter queue.
    DeadLettered,
    /// It may have happened: parked for a person or a callback.
    Unknown,
    /// The caller went away, or its deadline passed, before anything was sent.
    Cancelled,
    /// Nothing is known of it any more. Must stay 0.
    Lost,
}

impl FinalState {
    /// Every final state, in the order of the summary.
    pub const ALL: [Self; 8] = [
        Self::Delivered,
        Self::Cached,
        Self::Queued,
        Self::Local,
        Self::DeadLettered,
        Self::Unknown,
        Self::Cancelled,
        Self::Lost,
    ];
}
