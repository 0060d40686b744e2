//! What a caller gets: an answer that says where it comes from, or an error that says what to do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use mainstay_actors::{
    credits::Credits,
    dlq::{Failure, LetterId},
    fallback::Staleness,
    ids::{CallId, MeterId},
    outcome::{Class, Effect, Outcome, Phase},
    profile::Ended,
    refusal::{Guard, Reason, Refusal},
};
use serde::Serialize;
use serde_json::Value;

/// Why the vendor's answer is not there.
#[derive(Debug, Clone, PartialEq)]
pub enum Because {
    /// A guard refused: nothing was sent.
    Refused(Refusal),
    /// Attempts were made and the vendor did not do it.
    Failed {
        /// The kind of the last end.
        class: Class,
        /// What is known of the effect.
        effect: Effect,
        /// The vendor's status, if it answered.
        status: Option<u16>,
        /// In words.
        detail: Arc<str>,
        /// How long the vendor asks to be left alone.
        retry_after: Option<Duration>,
        /// For a timeout: where it struck. Before a connection stood nothing was sent; after that it was.
        phase: Option<Phase>,
    },
}

impl Because {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        Self::Failed {
            class: outcome.class,
            effect: outcome.effect,
            status: outcome.status,
            detail: outcome.detail.as_str().into(),
            retry_after: outcome.retry_after,
            phase: outcome.phase,
        }
    }

    /// The same, of a call whose earlier attempt may have had its effect.
    pub(crate) fn of_unknown_effect(mut self) -> Self {
        if let Self::Failed { effect, .. } = &mut self {
            *effect = Effect::Unknown;
        }
        self
    }

    /// As it is written down.
    pub(crate) fn failure(&self) -> Failure {
        let status = match self {
            Self::Failed { status, .. } => *status,
            Self::Refused(_) => None,
        };
        Failure::new(self.class(), status, self.to_string())
    }

    /// The kind, for records and statistics. A refusal of ours is `abandoned` only when it was a crash.
    pub fn class(&self) -> Class {
        match self {
            Self::Failed { class, .. } => *class,
            Self::Refused(refusal) => match refusal.reason {
                Reason::NotWritten { .. } | Reason::KeyTooOld { .. } | Reason::OutsideHours { .. } => Class::Abandoned,
                _ => class_of(refusal.by),
            },
        }
    }
}

/// The class under which a call that a guard refused is parked: by what the operator would look at.
fn class_of(guard: Guard) -> Class {
    match guard {
        Guard::Budget => Class::Exhausted,
        Guard::Breaker | Guard::Lane | Guard::Gate => Class::Overload,
        Guard::Gateway | Guard::Guardrail | Guard::Client | Guard::Idempotency => Class::CallerError,
        Guard::Supervisor => Class::Abandoned,
    }
}

impl std::fmt::Display for Because {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Failed { class, detail, .. } => write!(f, "{class}: {detail}"),
        }
    }
}

/// The vendor's own answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The call whose effect it is; of a joined or repeated call, the first one.
    pub call: CallId,
    /// The vendor's answer. `Null` where a repeat is answered after a restart and the answer was longer than 64 KiB: the
    /// effect is done, its answer is with its first caller.
    pub body: Value,
    /// The vendor's own name for the effect.
    pub vendor_ref: Option<String>,
    /// True when the vendor only took it on: its end comes by callback, to be passed to `complete`.
    pub pending: bool,
    /// Attempts it took.
    pub attempts: u32,
    /// What it cost, where the answer says so.
    pub cost: Option<Credits>,
}

/// What the application gets for a call that was served.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// By the vendor.
    Delivered(Arc<Delivered>),
    /// From the cache of last good answers.
    Cached {
        /// The vendor's answer of then, apart from the payload; see [`Answer::merged_into`].
        body: Arc<Value>,
        /// How old it is.
        age: Duration,
        /// Its age as a grade.
        staleness: Staleness,
        /// Why the vendor was not asked, or did not do it.
        because: Because,
    },
    /// Later: it waits on disk for the vendor to come back.
    Queued {
        /// The entry's public id.
        letter: LetterId,
        /// When it is tried.
        due: Timestamp,
        /// Why not now.
        because: Because,
    },
    /// By the application's own local function.
    Local {
        /// Its answer.
        body: Value,
        /// Why the vendor was not asked, or did not do it.
        because: Because,
    },
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The vendor.
    Vendor,
    /// The cache of its last good answers.
    Cache,
    /// Nobody yet: it waits for the vendor to come back.
    Queue,
    /// The application's own local function.
    Local,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Vendor => "vendor",
            Self::Cache => "cache",
            Self::Queue => "queue",
            Self::Local => "local function",
        })
    }
}

impl Answer {
    /// Who answered. Everybody but the vendor is a fallback.
    pub fn source(&self) -> Source {
        match self {
            Self::Delivered(_) => Source::Vendor,
            Self::Cached { .. } => Source::Cache,
            Self::Queued { .. } => Source::Queue,
            Self::Local { .. } => Source::Local,
        }
    }

    /// How old the answer is, if it is from the cache.
    pub fn age(&self) -> Option<Duration> {
        match self {
            Self::Cached { age, .. } => Some(*age),
            Self::Delivered(_) | Self::Queued { .. } | Self::Local { .. } => None,
        }
    }

    /// The error that something stands in for: the guard's or the vendor's, whatever happened on the way down the chain.
    pub fn because(&self) -> Option<&Because> {
        match self {
            Self::Delivered(_) => None,
            Self::Cached { because, .. } | Self::Queued { because, .. } | Self::Local { because, .. } => Some(because),
        }
    }

    /// The payload with what the answer adds to it. A field that the payload has, and that is not null, stays: the caller's
    /// data is newer than the cache's. Fields are those of the outermost object; an answer that is no object adds nothing.
    pub fn merged_into(&self, payload: &Value) -> Value {
        let mut merged = payload.clone();
        if let (Some(Value::Object(added)), Value::Object(own)) = (self.body(), &mut merged) {
            for (name, value) in added {
                if own.get(name).is_none_or(Value::is_null) {
                    own.insert(name.clone(), value.clone());
                }
            }
        }
        merged
    }

    /// The JSON, if there is one now.
    pub fn body(&self) -> Option<&Value> {
        match self {
            Self::Delivered(delivered) => Some(&delivered.body),
            Self::Cached { body, .. } => Some(body),
            Self::Local { body, .. } => Some(body),
            Self::Queued { .. } => None,
        }
    }
}

/// What the application gets for a call that was not served.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// A guard refused; nothing was sent, nothing was spent, nothing is kept.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is in the dead letter queue.
    #[error("call {call} is in the dead letter queue as {letter}: {because}; replay it with dead_letters().replay(..)")]
    DeadLettered {
        /// The call.
        call: CallId,
        /// The entry's public id.
        letter: LetterId,
        /// Why.
        because: Because,
    },
    /// It may have happened. It is parked and is never sent again by itself; its money stays reserved.
    #[error(
        "call {call} may have happened ({because}); it is parked as unknown and not sent again: pass its callback to complete(..), or look it up at the vendor"
    )]
    Unknown {
        /// The call.
        call: CallId,
        /// What is known.
        because: Because,
    },
    /// The caller's deadline passed while the request was on the wire. The call goes on, and ends where `subscribe` and the
    /// snapshot show it.
    #[error("call {call} was still on the wire after {waited:?}; it goes on, ask for its end by its id")]
    StillUnderWay {
        /// The call.
        call: CallId,
        /// How long the caller waited.
        waited: Duration,
    },
    /// It ended, and could not be written down anywhere. The caller still holds it.
    #[error("call {call} could not be parked: {problem}; offer it again")]
    NotParked {
        /// The call.
        call: CallId,
        /// What the store said.
        problem: String,
    },
    /// The runtime ended under it.
    #[error("the runtime ended before call {call} did")]
    RuntimeGone {
        /// The call.
        call: CallId,
    },
}

impl CallError {
    /// The guard's refusal, if it was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::DeadLettered { because: Because::Refused(refusal), .. } => Some(refusal),
            _ => None,
        }
    }
}

/// How an effect ended, as a callback or a person says.
#[derive(Debug, Clone, PartialEq)]
pub enum Completion {
    /// It happened.
    Happened {
        /// The real cost on the main meter; `None` takes what was reserved.
        cost: Option<Credits>,
        /// The real cost on other meters; of those that are not there, what was reserved.
        also: BTreeMap<MeterId, Credits>,
        /// The vendor's final answer, if the callback carried one: remembered for the cache.
        answer: Option<Value>,
    },
    /// It did not happen: the money goes back.
    DidNotHappen,
    /// The vendor took it on, and then it went wrong.
    Failed {
        /// The kind of its end.
        class: Class,
        /// [`Effect::None`] when nothing came of it: then the money goes back.
        effect: Effect,
        /// The real cost; `None` takes what was reserved, where it had an effect.
        cost: Option<Credits>,
        /// The real cost on other meters.
        also: BTreeMap<MeterId, Credits>,
        /// What the vendor said of it.
        answer: Option<Value>,
    },
}

impl Completion {
    /// It happened, at this cost.
    pub fn happened(cost: impl Into<Option<Credits>>) -> Self {
        Self::Happened { cost: cost.into(), also: BTreeMap::new(), answer: None }
    }

    /// Says what it cost on another meter than the main one.
    #[must_use]
    pub fn also(mut self, meter: MeterId, cost: Credits) -> Self {
        if let Self::Happened { also, .. } | Self::Failed { also, .. } = &mut self {
            also.insert(meter, cost);
        }
        self
    }

    /// Carries the vendor's final answer along.
    #[must_use]
    pub fn with_answer(mut self, body: Value) -> Self {
        if let Self::Happened { answer, .. } | Self::Failed { answer, .. } = &mut self {
            *answer = Some(body);
        }
        self
    }

    /// As an end was read by a profile's rules.
    pub(crate) fn read(ended: Ended, body: Value) -> Self {
        let Ended { class, effect, cost, also } = ended;
        match (class, effect) {
            (Class::Success, Effect::Done) => Self::Happened { cost, also, answer: Some(body) },
            _ => Self::Failed { class, effect, cost, also, answer: Some(body) },
        }
    }

    /// Its kind, what is known of the effect, and what it cost.
    pub(crate) fn ended(&self) -> Ended {
        match self.clone() {
            Self::Happened { cost, also, .. } => Ended { class: Class::Success, effect: Effect::Done, cost, also },
            // The vendor gave no answer that it could charge for.
            Self::DidNotHappen => {
                Ended { class: Class::Abandoned, effect: Effect::None, cost: None, also: BTreeMap::new() }
            }
            Self::Failed { class, effect, cost, also, .. } => Ended { class, effect, cost, also },
        }
    }
}

/// What a key stands for, once its first call has ended.
#[derive(Debug, Clone)]
pub(crate) enum Shared {
    /// The vendor did it.
    Delivered(Arc<Delivered>),
    /// It is parked, and will be done from there.
    Parked { call: CallId, letter: LetterId, because: Because },
    /// It may have happened.
    Unknown { call: CallId },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cached(body: Value) -> Answer {
        let because = Because::of(&Outcome::without_answer(Class::Server, Effect::None, "500"));
        Answer::Cached { body: Arc::new(body), age: Duration::from_secs(60), staleness: Staleness::Fresh, because }
    }

    #[test]
    fn a_cached_answer_never_overwrites_what_the_caller_knows_and_adds_the_rest() {
        let lead = json!({ "domain": "acme.com", "name": "Acme New", "size": null });
        let answer = cached(json!({ "name": "Acme Old", "size": 7, "city": "Bonn" }));
        let merged = json!({ "domain": "acme.com", "name": "Acme New", "size": 7, "city": "Bonn" });
        assert_eq!(answer.merged_into(&lead), merged);
        assert_eq!(cached(json!("text")).merged_into(&lead), lead);
        assert_eq!(answer.merged_into(&json!([1])), json!([1]));
    }

    #[test]
    fn an_answer_says_its_source_its_age_and_the_first_error() {
        let answer = cached(json!({}));
        assert_eq!((answer.source(), answer.age()), (Source::Cache, Some(Duration::from_secs(60))));
        assert_eq!(
            (answer.source().to_string(), Staleness::VeryStale.to_string()),
            ("cache".into(), "very stale".into())
        );
        assert_eq!(answer.because().map(ToString::to_string).as_deref(), Some("server: 500"));
    }
}
