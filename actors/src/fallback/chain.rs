//! Which step comes next, and what a failure allows. Pure.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use serde::Serialize;
use serde_json::Value;

use super::FallbackConfig;
use crate::{
    outcome::{Class, Effect, Outcome, cut},
    refusal::{Reason, Refusal},
};

/// A step of the chain, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The last good answer.
    Cache,
    /// Wait for the vendor to come back, and try then.
    Queue,
    /// The application's own function.
    Local,
    /// Nothing stands in: the call is kept for a person or a replay.
    DeadLetter,
}

/// What a failure allows. The default allows nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Situation {
    /// Another answer may stand in: a cached one, a local one.
    pub stand_in: bool,
    /// The call may be tried later by itself.
    pub queue: bool,
    /// When later is, if that is known.
    pub due: Option<Instant>,
}

impl Situation {
    /// Nothing may stand in: straight to the dead letter.
    pub const NOTHING: Self = Self { stand_in: false, queue: false, due: None };

    /// What an attempt's end allows. Only an outage without any effect may be stood in for: not the caller's own mistake,
    /// not wrong credentials, and never an effect that happened or may have happened.
    pub fn after(outcome: &Outcome, now: Instant) -> Self {
        if outcome.effect != Effect::None {
            return Self::NOTHING;
        }
        match outcome.class {
            Class::Success | Class::NotFound | Class::CallerError | Class::Auth => Self::NOTHING,
            Class::Exhausted
            | Class::Throttled
            | Class::Overload
            | Class::Server
            | Class::Connect
            | Class::Timeout
            | Class::Broken
            | Class::Malformed
            | Class::Abandoned => {
                let due = outcome.retry_after.and_then(|after| now.checked_add(after));
                Self { stand_in: true, queue: true, due }
            }
        }
    }

    /// What a refusal allows. Nothing was sent, so only the reason counts.
    pub fn refused(refusal: &Refusal) -> Self {
        match refusal.reason {
            Reason::UnknownName { .. }
            | Reason::PayloadTooLarge { .. }
            | Reason::BadField { .. }
            | Reason::KeyRequired { .. }
            | Reason::KeyConflict { .. } => Self::NOTHING,
            // A call that crashes its guard again and again would do so from the queue as well.
            Reason::CrashedTooOften { .. } => Self::NOTHING,
            // Too late to begin; an answer from here is still an answer.
            Reason::Expired => Self { stand_in: true, queue: false, due: None },
            Reason::Full { .. }
            | Reason::WaitedTooLong { .. }
            | Reason::BreakerOpen { .. }
            | Reason::Probing { .. }
            | Reason::OverBudget { .. }
            | Reason::VendorExhausted
            | Reason::VendorDown { .. }
            | Reason::Deadline { .. }
            | Reason::ShuttingDown => Self { stand_in: true, queue: true, due: refusal.retry_at },
        }
    }
}

/// The next step that is configured, allowed and not yet tried. `has_local`: the application gave a local function.
/// Ends in [`Step::DeadLetter`], always. A call that wants no fallback is given [`Situation::NOTHING`].
pub fn next_step(config: &FallbackConfig, has_local: bool, tried: &[Step], situation: &Situation) -> Step {
    let may = |step: Step| match step {
        Step::Cache => situation.stand_in && config.cache.is_some(),
        Step::Queue => situation.queue && config.queue,
        Step::Local => situation.stand_in && has_local,
        Step::DeadLetter => true,
    };
    [Step::Cache, Step::Queue, Step::Local]
        .into_iter()
        .find(|step| may(*step) && !tried.contains(step))
        .unwrap_or(Step::DeadLetter)
}

/// True when an answer is worth keeping for an outage: final, good, and with something in it. "Accepted" is no answer yet.
pub fn is_worth_keeping(outcome: &Outcome) -> bool {
    outcome.class == Class::Success && outcome.effect == Effect::Done && !outcome.pending && !outcome.body.is_null()
}

/// The application's own answer to a payload; `None` when it has none. It runs in the attempt's own task, must not block,
/// and may panic.
pub type LocalFn = Arc<dyn Fn(&Value) -> Option<Value> + Send + Sync>;

/// Runs a local function. A panic in it is its failure, in words, and nobody else's.
pub fn run_local(local: &LocalFn, payload: &Value) -> Result<Option<Value>, String> {
    catch_unwind(AssertUnwindSafe(|| local(payload))).map_err(|panic| {
        let text = text_of(&*panic);
        // A panic's value may itself panic when it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
        cut(format!("the local function panicked: {text}"))
    })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text: Option<&dyn fmt::Display> = match panic.downcast_ref::<&str>() {
        Some(text) => Some(text),
        None => panic.downcast_ref::<String>().map(|text| text as &dyn fmt::Display),
    };
    text.map_or_else(|| "without a text".into(), ToString::to_string)
}

#[cfg(test)]
mod tests;
