//! What comes after an attempt. Pure: the loop that owns the call obeys.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Repeat;
use crate::{
    faults::Faults,
    outcome::{Class, Effect, Outcome},
};

/// When and how often an attempt is repeated. The defaults are those of Retell's own SDK (two retries, 0.5 s doubling to 8 s,
/// 25 % jitter).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Attempts in all, the first included; default 3.
    pub attempts_max: u32,
    /// Pause after the first; default 500 ms. It doubles each time.
    #[serde(with = "crate::duration")]
    pub backoff_first: Duration,
    /// Longest pause of our own; default 8 s. A vendor's `Retry-After` may be longer.
    #[serde(with = "crate::duration")]
    pub backoff_max: Duration,
    /// Spread of the pause, 0 to 1; default 0.25.
    pub jitter: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(8),
            jitter: 0.25,
        }
    }
}

impl RetryConfig {
    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        faults.require((1..=20).contains(&self.attempts_max), "attempts_max", || {
            format!("{} is not within 1..=20", self.attempts_max)
        });
        faults.require(self.backoff_first <= self.backoff_max, "backoff_first", || {
            format!("{:?} is over backoff_max {:?}", self.backoff_first, self.backoff_max)
        });
        faults.require((0.0..=1.0).contains(&self.jitter), "jitter", || {
            format!("{} is not within 0.0..=1.0", self.jitter)
        });
    }

    /// The pause after attempt number `attempt` (from 1), before jitter. Never overflows.
    pub fn pause(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        self.backoff_first.saturating_mul(1 << doublings).min(self.backoff_max)
    }
}

/// What to do with a call after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The vendor did it, or took it on.
    Deliver,
    /// Try again at this moment, with a new ticket.
    Again {
        /// When.
        at: Instant,
    },
    /// Nothing happened at the vendor and trying again now does not help: something else must stand in.
    GiveUp,
    /// It may have happened and may not be repeated: park it for a person or a callback.
    Unknown,
}

/// What follows an attempt. `jittered` spreads a pause; `key_age` is how long ago the key was first sent.
pub fn next(
    config: &RetryConfig,
    repeat: Repeat,
    outcome: &Outcome,
    attempt: u32,
    key_age: Duration,
    times: (Instant, Instant),
    jittered: impl FnOnce(Duration) -> Duration,
) -> Next {
    if outcome.is_success() {
        return Next::Deliver;
    }
    let repeatable = match (outcome.effect, repeat) {
        (Effect::None, _) | (_, Repeat::Always) => true,
        (_, Repeat::WithKey { window }) => key_age < window,
        (_, Repeat::Never) => false,
    };
    if !repeatable {
        return Next::Unknown;
    }
    let exhausted = if outcome.effect == Effect::None { Next::GiveUp } else { Next::Unknown };
    let worth_it = !matches!(outcome.class, Class::CallerError | Class::Auth | Class::Exhausted);
    if !worth_it || attempt >= config.attempts_max {
        return exhausted;
    }
    let (now, deadline) = times;
    let pause = outcome.retry_after.unwrap_or_else(|| jittered(config.pause(attempt)));
    match now.checked_add(pause) {
        Some(at) if at < deadline => Next::Again { at },
        _ => exhausted,
    }
}

#[cfg(all(test, feature = "runtime"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome(class: Class, effect: Effect) -> Outcome {
        Outcome::without_answer(class, effect, "")
    }

    fn decide(repeat: Repeat, outcome: &Outcome, attempt: u32) -> Next {
        let now = crate::clock::now();
        let times = (now, now + Duration::from_secs(60));
        next(&RetryConfig::default(), repeat, outcome, attempt, Duration::ZERO, times, |pause| pause)
    }

    const WITH_KEY: Repeat = Repeat::WithKey { window: Duration::from_secs(3600) };

    #[test]
    fn an_unknown_effect_that_may_never_be_repeated_is_never_sent_again() {
        for class in Class::ALL.into_iter().filter(|c| !matches!(c, Class::Success | Class::NotFound)) {
            assert_eq!(decide(Repeat::Never, &outcome(class, Effect::Unknown), 1), Next::Unknown, "{class}");
        }
    }

    #[test]
    fn what_certainly_did_not_happen_is_tried_again_and_then_given_up() {
        let refused = outcome(Class::Overload, Effect::None);
        assert!(matches!(decide(Repeat::Never, &refused, 1), Next::Again { .. }));
        assert_eq!(decide(Repeat::Never, &refused, 3), Next::GiveUp);
    }

    #[test]
    fn the_callers_fault_is_given_up_at_once() {
        assert_eq!(decide(WITH_KEY, &outcome(Class::CallerError, Effect::None), 1), Next::GiveUp);
        assert_eq!(decide(WITH_KEY, &outcome(Class::Exhausted, Effect::None), 1), Next::GiveUp);
    }

    #[test]
    fn a_key_repeats_an_unknown_effect_only_inside_the_vendors_window() {
        let lost = outcome(Class::Timeout, Effect::Unknown);
        let now = crate::clock::now();
        let times = (now, now + Duration::from_secs(60));
        let after = |age| next(&RetryConfig::default(), WITH_KEY, &lost, 1, age, times, |p| p);
        assert!(matches!(after(Duration::from_secs(3599)), Next::Again { .. }));
        assert_eq!(after(Duration::from_secs(3600)), Next::Unknown);
    }

    #[test]
    fn a_vendors_retry_after_is_obeyed_or_the_call_is_given_up() {
        let mut throttled = outcome(Class::Throttled, Effect::None);
        throttled.retry_after = Some(Duration::from_secs(20));
        let Next::Again { at } = decide(Repeat::Never, &throttled, 1) else { panic!("not again") };
        assert!(at >= crate::clock::now() + Duration::from_secs(19));
        throttled.retry_after = Some(Duration::from_secs(61));
        assert_eq!(decide(Repeat::Never, &throttled, 1), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn a_pause_never_overflows_and_never_passes_its_maximum(attempt in 0u32.., first in 0u64..1_000_000, max in 0u64..u64::MAX) {
            let config = RetryConfig {
                backoff_first: Duration::from_secs(first.min(max)),
                backoff_max: Duration::from_secs(max),
                ..RetryConfig::default()
            };
            prop_assert!(config.pause(attempt) <= config.backoff_max);
        }
    }
}
