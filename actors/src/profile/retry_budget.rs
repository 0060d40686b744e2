//! How many of a vendor's calls may be repeated at a time. Pure.
//!
//! Three attempts a call are fine while a call fails now and then. When the vendor fails for everybody they are three times
//! the load on a vendor that is down, and three times the price where failures are billed. So retries are bounded by what is
//! called: a share of the calls of the last while, and a few in any case, or a vendor that is called ten times an hour would
//! never be asked twice. (Envoy, linkerd and failsafe-go bound retries by such a share too.) A call whose retry is not granted
//! ends with what the vendor said, never with an error of the budget's own.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// The window moves on in so many steps, so it is as much shorter than it says at times, and never longer.
const STEPS: u32 = 10;

/// Retries in proportion to calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudgetConfig {
    /// Retries, as a share of the calls of the window. 0 to 10; default 0.2, as in Envoy, linkerd and failsafe-go.
    pub share: f64,
    /// Retries in a window that are granted in any case. 0 to 10,000; default 3, as in Envoy and failsafe-go.
    pub at_least: u32,
    /// The window. 1 s to an hour; default 1 min, ours (an attempt of a phone call takes up to two).
    #[serde(with = "crate::duration")]
    pub window: Duration,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { share: 0.2, at_least: 3, window: Duration::from_secs(60) }
    }
}

impl RetryBudgetConfig {
    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let Self { share, at_least, window } = self;
        faults.require((0.0..=10.0).contains(share), "share", || format!("{share} is not within 0.0..=10.0"));
        faults.require(*at_least <= 10_000, "at_least", || format!("{at_least} is not within 0..=10000"));
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        faults.require(range.contains(window), "window", || format!("{window:?} is not within 1s..=1h"));
    }
}

/// Why a retry was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the vendor's retry budget is used up ({retries} retries and {calls} calls in the last {window:?})")]
pub struct Spent {
    /// Retries granted in the window.
    pub retries: u64,
    /// Calls made in it.
    pub calls: u64,
    /// The window.
    pub window: Duration,
    /// True once in a window: the time to say so aloud.
    pub is_news: bool,
}

/// What others may see of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RetrySnapshot {
    /// Calls made in the window.
    pub calls: u64,
    /// Retries granted in the window.
    pub retries: u64,
    /// Retries that the window allows at this number of calls.
    pub allowed: u64,
    /// Retries granted so far.
    pub granted_total: u64,
    /// Retries not granted so far.
    pub denied_total: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Step {
    number: u128,
    calls: u64,
    retries: u64,
}

/// The calls and retries of one vendor, of the last window. It holds ten numbers of each, however many calls there are.
#[derive(Debug)]
pub struct RetryBudget {
    config: RetryBudgetConfig,
    origin: Instant,
    steps: VecDeque<Step>,
    granted_total: u64,
    denied_total: u64,
    quiet_until: Option<Instant>,
}

impl RetryBudget {
    /// Nothing was called yet.
    pub fn new(config: RetryBudgetConfig, now: Instant) -> Self {
        let steps = VecDeque::with_capacity(STEPS as usize);
        Self { config, origin: now, steps, granted_total: 0, denied_total: 0, quiet_until: None }
    }

    fn number(&self, now: Instant) -> u128 {
        let step = (self.config.window / STEPS).as_nanos().max(1);
        now.saturating_duration_since(self.origin).as_nanos() / step
    }

    /// Calls and retries of the window.
    fn sums(&self, now: Instant) -> (u64, u64) {
        let number = self.number(now);
        let recent = self.steps.iter().filter(|step| step.number + u128::from(STEPS) > number);
        recent.fold((0, 0), |(calls, retries), step| (calls + step.calls, retries + step.retries))
    }

    fn allowed(&self, calls: u64) -> u64 {
        // Rounded down; a share of an exact number of calls is not lost to the last bit.
        let share = (calls as f64 * self.config.share + 1e-9) as u64;
        share.max(u64::from(self.config.at_least))
    }

    fn count(&mut self, now: Instant, count: impl FnOnce(&mut Step)) {
        let number = self.number(now);
        if self.steps.back().is_none_or(|step| step.number < number) {
            if self.steps.len() >= STEPS as usize {
                self.steps.pop_front();
            }
            self.steps.push_back(Step { number, ..Step::default() });
        }
        if let Some(step) = self.steps.back_mut() {
            count(step);
        }
    }

    /// A call made its first attempt.
    pub fn note_call(&mut self, now: Instant) {
        self.count(now, |step| step.calls += 1);
    }

    /// Asks for a retry, and counts it if it is granted.
    ///
    /// # Errors
    ///
    /// [`Spent`] with the figures.
    pub fn take(&mut self, now: Instant) -> Result<(), Spent> {
        let (calls, retries) = self.sums(now);
        if retries < self.allowed(calls) {
            self.granted_total += 1;
            self.count(now, |step| step.retries += 1);
            return Ok(());
        }
        self.denied_total += 1;
        let window = self.config.window;
        let is_news = self.quiet_until.is_none_or(|until| until <= now);
        if is_news {
            self.quiet_until = now.checked_add(window);
        }
        Err(Spent { retries, calls, window, is_news })
    }

    /// What others may see.
    pub fn snapshot(&self, now: Instant) -> RetrySnapshot {
        let (calls, retries) = self.sums(now);
        let (granted_total, denied_total) = (self.granted_total, self.denied_total);
        RetrySnapshot { calls, retries, allowed: self.allowed(calls), granted_total, denied_total }
    }
}

#[cfg(all(test, feature = "runtime"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn one_call_in_five_may_be_repeated_and_three_in_any_case() {
        let start = crate::clock::now();
        let mut budget = RetryBudget::new(RetryBudgetConfig::default(), start);
        let granted = |budget: &mut RetryBudget| (0..100).filter(|_| budget.take(start).is_ok()).count();
        assert_eq!(granted(&mut budget), 3, "before anything was called");
        (0..50).for_each(|_| budget.note_call(start));
        assert_eq!(granted(&mut budget), 7, "10 of 50");
        let spent = budget.take(start + s(1)).unwrap_err();
        assert_eq!((spent.retries, spent.calls, spent.is_news), (10, 50, false), "the first of 98 was the news");
        assert_eq!(budget.snapshot(start).denied_total, 97 + 93 + 1);
        assert!(budget.take(start + s(60)).is_ok(), "another window");
    }

    #[test]
    fn a_share_of_nothing_grants_nothing() {
        let start = crate::clock::now();
        let mut budget = RetryBudget::new(RetryBudgetConfig { share: 0.0, at_least: 0, window: s(60) }, start);
        (0..50).for_each(|_| budget.note_call(start));
        assert!(budget.take(start).unwrap_err().is_news);
    }

    #[test]
    fn every_wrong_value_is_named() {
        let mut faults = crate::faults::Faults::default();
        RetryBudgetConfig { share: f64::NAN, at_least: 10_001, window: s(0) }.check(&mut faults);
        assert_eq!(faults.into_result().unwrap_err().len(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The slow model keeps every moment, and adds up what lies in the last ten steps.
        #[test]
        fn in_no_window_are_there_more_retries_than_its_calls_allow(
            share in 0.0f64..1.5,
            at_least in 0u32..4,
            script in proptest::collection::vec((0u64..20_000, any::<bool>()), 1..300),
        ) {
            let (window, start) = (s(10), crate::clock::now());
            let mut budget = RetryBudget::new(RetryBudgetConfig { share, at_least, window }, start);
            let (mut calls, mut retries): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
            let mut at = 0;
            for (pause, is_call) in script {
                // Mostly within the window, at times beyond it.
                at += if pause < 18_000 { pause / 20 } else { pause };
                let now = start + Duration::from_millis(at);
                let recent = |moments: &[u64]| moments.iter().filter(|then| **then / 1_000 + 10 > at / 1_000).count();
                if is_call {
                    budget.note_call(now);
                    calls.push(at);
                } else {
                    let allowed = ((recent(&calls) as f64 * share + 1e-9) as usize).max(at_least as usize);
                    let grants = recent(&retries) < allowed;
                    prop_assert_eq!(budget.take(now).is_ok(), grants);
                    if grants {
                        retries.push(at);
                    }
                }
                prop_assert!(budget.steps.len() <= STEPS as usize);
                prop_assert_eq!(budget.snapshot(now).calls as usize, recent(&calls));
            }
        }
    }
}
