//! Which step comes next, and what an end allows. Pure.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Value;

use super::FallbackConfig;
use crate::{
    call::{OnDenied, Step},
    outcome::{Class, Effect, Outcome, cut},
    refusal::{Guard, Reason, Refusal},
};

/// What is done next for a call that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This step is tried. The last two steps always serve: a queued call and a dead letter are kept.
    Try(Step),
    /// The caller is told, and nothing is kept.
    Refuse,
}

/// What an end allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Another answer may stand in: a cached one, a local one.
    pub stand_in: bool,
    /// The call may be tried later by itself.
    pub queue: bool,
    /// What is done when no step of the chain served it.
    pub last: Next,
}

impl Situation {
    /// Nothing may stand in: straight to the dead letter.
    pub const NOTHING: Self = Self { stand_in: false, queue: false, last: Next::Try(Step::DeadLetter) };

    /// What an attempt's end allows: what the configuration lists, and never anything for an effect that happened or may
    /// have happened. What only a person can cure is not tried later by itself.
    pub fn after(config: &FallbackConfig, class: Class, effect: Effect) -> Self {
        if effect != Effect::None || !config.on_classes.contains(&class) {
            return Self::NOTHING;
        }
        Self { stand_in: true, queue: !matches!(class, Class::CallerError | Class::Auth), ..Self::NOTHING }
    }

    /// What a denial allows. Nothing was sent, so only the guard and its reason count.
    pub fn denied(config: &FallbackConfig, refusal: &Refusal, on_denied: OnDenied) -> Self {
        let (stand_in, queue) = match refusal.reason {
            // A call that crashes its guard again and again would do so from the queue as well.
            Reason::CrashedTooOften { .. } => (false, false),
            // A store that does not take a key takes no call for later either.
            Reason::NotWritten { .. } => (true, false),
            // The application's own rule would say no again; and what it forbids, nothing stands in for.
            Reason::Denied { .. } => (false, false),
            // No reset would help: only a person does.
            Reason::OverBudget { .. } if refusal.retry_at.is_none() => (true, false),
            // Too late to begin; an answer from here is still an answer.
            Reason::Expired => (true, false),
            _ => (true, true),
        };
        let queue = queue && on_denied == OnDenied::Queue;
        let last = match on_denied {
            _ if matches!(refusal.reason, Reason::NotWritten { .. }) => Next::Refuse,
            OnDenied::Refuse => Next::Refuse,
            OnDenied::Queue if queue => Next::Try(Step::Queue),
            OnDenied::Queue if refusal.by == Guard::Guardrail => Next::Refuse,
            OnDenied::Queue | OnDenied::DeadLetter => Next::Try(Step::DeadLetter),
        };
        Self { stand_in: stand_in && config.on_guards.contains(&refusal.by), queue, last }
    }

    /// The next step of the chain that is there, allowed and not yet tried; behind the last one, what the situation says.
    /// `is_there`: whether the vendor has a cache, a local function.
    pub fn next(&self, chain: &[Step], tried: &[Step], is_there: impl Fn(Step) -> bool) -> Next {
        let may = |step: &&Step| match step {
            Step::Cache | Step::Local => self.stand_in && is_there(**step),
            Step::Queue => self.queue,
            Step::DeadLetter => false,
        };
        chain.iter().filter(may).find(|step| !tried.contains(step)).map_or(self.last, |step| Next::Try(*step))
    }
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
