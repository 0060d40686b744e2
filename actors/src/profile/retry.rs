//! What comes after an attempt. Pure: the loop that owns the call obeys.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Repeat, RetryBudgetConfig};
use crate::{
    call::DEFAULT_DEADLINE,
    faults::Faults,
    outcome::{Class, Effect, Outcome},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Doubled so often, a nanosecond is longer than any [`Duration`].
const DOUBLINGS_MAX: u32 = 96;

/// When and how often an attempt is repeated. The defaults are those of Retell's own SDK: two retries, 0.5 s doubling to 8 s,
/// of which up to a quarter is left out by chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Attempts in all, the first included. 1 to 20; default 3.
    pub attempts_max: u32,
    /// Pause after the first. Up to `backoff_max`; default 500 ms. It doubles each time.
    #[serde(with = "crate::duration")]
    pub backoff_first: Duration,
    /// Longest pause of our own. Up to a day; default 8 s. A vendor's `Retry-After` may be longer.
    #[serde(with = "crate::duration")]
    pub backoff_max: Duration,
    /// The part of a pause that chance may leave out, so that calls that failed together do not come back together. 0 to 1;
    /// default 0.25 (that SDK's). 0.5 is known as equal jitter, 1 as full jitter. A pause is never longer by it.
    pub jitter: f64,
    /// Longest `Retry-After` that a call waits out. Asked for more, or for longer than its deadline, it is not tried again
    /// but given up, with the moment to come back. Up to an hour; default 5 min, as long as a call waits by default.
    #[serde(with = "crate::duration")]
    pub retry_after_max: Duration,
    /// How many calls of the vendor may be repeated at a time.
    pub budget: RetryBudgetConfig,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(8),
            jitter: 0.25,
            retry_after_max: DEFAULT_DEADLINE,
            budget: RetryBudgetConfig::default(),
        }
    }
}

impl RetryConfig {
    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let Self { attempts_max, backoff_first, backoff_max, jitter, retry_after_max, budget } = self;
        faults.require((1..=20).contains(attempts_max), "attempts_max", || {
            format!("{attempts_max} is not within 1..=20")
        });
        faults.require(backoff_first <= backoff_max, "backoff_first", || {
            format!("{backoff_first:?} is over backoff_max {backoff_max:?}")
        });
        faults.require(*backoff_max <= DAY, "backoff_max", || format!("{backoff_max:?} is not within 0s..=24h"));
        faults.require((0.0..=1.0).contains(jitter), "jitter", || format!("{jitter} is not within 0.0..=1.0"));
        faults.require(*retry_after_max <= HOUR, "retry_after_max", || {
            format!("{retry_after_max:?} is not within 0s..=1h")
        });
        budget.check(&mut faults.under("budget"));
    }

    /// The pause after attempt number `attempt` (from 1). `chance`, `0.0..1.0`, says how much of it jitter leaves out. Never
    /// overflows.
    pub fn pause(&self, attempt: u32, chance: f64) -> Duration {
        let mut pause = self.backoff_first;
        for _ in 1..attempt.min(DOUBLINGS_MAX) {
            if pause >= self.backoff_max {
                break;
            }
            pause = pause.saturating_mul(2);
        }
        let longest = pause.min(self.backoff_max);
        let part = 1.0 - self.jitter.clamp(0.0, 1.0) * chance.clamp(0.0, 1.0);
        Duration::try_from_secs_f64(longest.as_secs_f64() * part).unwrap_or(longest).min(longest)
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

/// Where a call stands after an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How long ago its key was first sent.
    pub key_age: Duration,
    /// The present moment.
    pub now: Instant,
    /// When its caller waits no longer.
    pub deadline: Instant,
}

/// What follows an attempt. `chance`, `0.0..1.0`, is for the jitter. Whether the vendor's retry budget grants it, the loop asks.
///
/// A vendor that says whether to try again (`x-should-retry`) is believed over the class of its answer, and never over what may
/// be repeated: an effect that may have happened is sent again only as the operation allows.
pub fn next(config: &RetryConfig, repeat: Repeat, outcome: &Outcome, standing: Standing, chance: f64) -> Next {
    if outcome.is_success() {
        return Next::Deliver;
    }
    let repeatable = match (outcome.effect, repeat) {
        (Effect::None, _) | (_, Repeat::Always) => true,
        (_, Repeat::WithKey { window }) => standing.key_age < window,
        (_, Repeat::Never) => false,
    };
    let by_class = !matches!(outcome.class, Class::CallerError | Class::Auth | Class::Exhausted);
    let worth_it = outcome.should_retry.unwrap_or(by_class);
    if !repeatable || !worth_it || standing.attempt >= config.attempts_max {
        return not_repeated(outcome);
    }
    let pause = match outcome.retry_after {
        Some(asked) if asked > config.retry_after_max => return not_repeated(outcome),
        Some(asked) => asked,
        None => config.pause(standing.attempt, chance),
    };
    match standing.now.checked_add(pause) {
        Some(at) if at < standing.deadline => Next::Again { at },
        _ => not_repeated(outcome),
    }
}

/// What an attempt that failed comes to when it is not repeated.
pub fn not_repeated(outcome: &Outcome) -> Next {
    if outcome.effect == Effect::None { Next::GiveUp } else { Next::Unknown }
}

#[cfg(all(test, feature = "runtime"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome(class: Class, effect: Effect) -> Outcome {
        Outcome::without_answer(class, effect, "")
    }

    /// With a minute to go.
    fn standing(attempt: u32, key_age: Duration) -> Standing {
        let now = crate::clock::now();
        Standing { attempt, key_age, now, deadline: now + Duration::from_secs(60) }
    }

    fn decide(repeat: Repeat, outcome: &Outcome, attempt: u32) -> Next {
        next(&RetryConfig::default(), repeat, outcome, standing(attempt, Duration::ZERO), 0.0)
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
        let after = |age| next(&RetryConfig::default(), WITH_KEY, &lost, standing(1, age), 0.0);
        assert!(matches!(after(Duration::from_secs(3599)), Next::Again { .. }));
        assert_eq!(after(Duration::from_secs(3600)), Next::Unknown);
    }

    /// Resilience4j's circuit has no such rule, and failsafe-go reads no date; here every form comes to one number.
    #[test]
    fn peers_b13_a_retry_after_is_obeyed_to_the_end_or_the_call_is_given_up() {
        let now = crate::clock::now();
        let mut throttled = outcome(Class::Throttled, Effect::None);
        throttled.retry_after = Some(Duration::from_secs(120));
        let ask = |config: RetryConfig, deadline: u64| {
            let deadline = now + Duration::from_secs(deadline);
            let standing = Standing { attempt: 1, key_age: Duration::ZERO, now, deadline };
            next(&config, Repeat::Never, &throttled, standing, 0.9)
        };
        assert_eq!(ask(RetryConfig::default(), 300), Next::Again { at: now + Duration::from_secs(120) }, "not before");
        assert_eq!(ask(RetryConfig::default(), 120), Next::GiveUp, "the caller would not hear of it");
        let capped = RetryConfig { retry_after_max: Duration::from_secs(119), ..RetryConfig::default() };
        assert_eq!(ask(capped, 300), Next::GiveUp, "longer than a call may wait for it");
    }

    #[test]
    fn a_vendor_that_says_whether_to_try_again_is_believed_but_not_about_what_may_be_repeated() {
        let said = |class, effect, said| Outcome { should_retry: Some(said), ..outcome(class, effect) };
        let conflict = said(Class::CallerError, Effect::None, true);
        assert!(matches!(decide(Repeat::Never, &conflict, 1), Next::Again { .. }));
        assert_eq!(decide(Repeat::Always, &said(Class::Overload, Effect::None, false), 1), Next::GiveUp);
        assert_eq!(decide(Repeat::Always, &said(Class::Server, Effect::Unknown, false), 1), Next::Unknown);
        assert_eq!(decide(Repeat::Never, &said(Class::Server, Effect::Unknown, true), 1), Next::Unknown);
    }

    /// Polly's test of its own overflow.
    #[test]
    fn peers_13_the_thousandth_pause_of_a_day_doubling_is_the_longest_there_is() {
        let day = |days: u64| Duration::from_secs(days * 24 * 3600);
        let first = RetryConfig { backoff_first: day(1), jitter: 0.0, ..RetryConfig::default() };
        let endless = RetryConfig { backoff_max: Duration::MAX, ..first };
        let capped = RetryConfig { backoff_max: day(2), ..first };
        for attempt in [1_000, 1_024, u32::MAX] {
            assert_eq!(endless.pause(attempt, 0.5), Duration::MAX);
            assert_eq!(capped.pause(attempt, 0.5), day(2));
        }
        assert!(RetryConfig { jitter: 1.0, ..endless }.pause(1_000, 0.5) > day(1));
    }

    #[test]
    fn the_pauses_are_those_of_the_vendors_sdk() {
        let config = RetryConfig::default();
        let ms = |attempt, chance| config.pause(attempt, chance).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 6].map(|n| ms(n, 0.0)), [500, 1_000, 2_000, 4_000, 8_000, 8_000]);
        assert_eq!(ms(5, 1.0), 6_000, "down to 75 %");
        let full = RetryConfig { jitter: 1.0, ..config };
        assert_eq!(full.pause(5, 0.99).as_millis(), 80);
    }

    #[test]
    fn every_wrong_value_is_named() {
        let (hour, day) = (HOUR + Duration::from_nanos(1), DAY + Duration::from_nanos(1));
        let budget = RetryBudgetConfig { share: -1.0, ..RetryBudgetConfig::default() };
        let config = RetryConfig {
            attempts_max: 0,
            backoff_first: day * 2,
            backoff_max: day,
            jitter: f64::NAN,
            retry_after_max: hour,
            budget,
        };
        let mut faults = Faults::default();
        config.check(&mut faults);
        let fields: Vec<_> = faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect();
        let expected = ["attempts_max", "backoff_first", "backoff_max", "jitter", "retry_after_max", "budget.share"];
        assert_eq!(fields, expected);
    }

    proptest! {
        #[test]
        fn a_pause_never_overflows_and_never_passes_its_maximum(
            attempt in 0u32..,
            first in 0u64..u64::MAX,
            max in 0u64..u64::MAX,
            jitter in 0.0f64..=1.0,
            chance in 0.0f64..1.0,
        ) {
            let config = RetryConfig {
                backoff_first: Duration::from_secs(first.min(max)),
                backoff_max: Duration::from_secs(max),
                jitter,
                ..RetryConfig::default()
            };
            let pause = config.pause(attempt, chance);
            prop_assert!(pause <= config.backoff_max);
            prop_assert!(pause.as_secs_f64() >= config.backoff_first.as_secs_f64() * (1.0 - jitter) * 0.999);
        }
    }
}
