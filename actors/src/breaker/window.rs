//! How calls ended lately, in bounded memory.
//!
//! The window is cut into ten buckets. A bucket begins with its first call and falls out when that call is as old as the
//! window, so a call counts for at least nine tenths of the window and never longer than it. A pause of any length costs
//! ten steps at most.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Into how many parts a window is cut; the most it ever holds.
pub const BUCKETS: u32 = 10;

/// Calls and failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls that ended with a verdict.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
}

impl Tally {
    /// With one call more.
    #[must_use]
    pub fn plus(self, failed: bool) -> Self {
        Self { calls: self.calls + 1, failures: self.failures + u64::from(failed) }
    }

    /// Failures divided by calls; 0 without calls. Divided, not multiplied: 11 of 20 is 0.55 to the last bit.
    pub fn failure_ratio(self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.failures as f64 / self.calls as f64 }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Bucket {
    begin: Instant,
    tally: Tally,
}

/// A sliding window over the ends of calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    length: Duration,
    width: Duration,
    buckets: VecDeque<Bucket>,
}

impl Window {
    /// An empty window of this length.
    pub fn new(length: Duration) -> Self {
        // Rounded up: ten buckets always cover the length, so there are never more than ten.
        let width = length.saturating_add(Duration::from_nanos(u64::from(BUCKETS) - 1)) / BUCKETS;
        Self { length, width: width.max(Duration::from_nanos(1)), buckets: VecDeque::new() }
    }

    /// How far back it looks.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// What it holds at `now`.
    pub fn tally(&self, now: Instant) -> Tally {
        let fresh = self.buckets.iter().filter(|bucket| !self.is_over(bucket, now));
        fresh.fold(Tally::default(), |sum, bucket| Tally {
            calls: sum.calls + bucket.tally.calls,
            failures: sum.failures + bucket.tally.failures,
        })
    }

    /// Counts a call that ended at `now`.
    pub fn record(&mut self, now: Instant, failed: bool) {
        while self.buckets.front().is_some_and(|oldest| self.is_over(oldest, now)) {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            Some(last) if now.saturating_duration_since(last.begin) < self.width => {
                last.tally = last.tally.plus(failed)
            }
            _ => self.buckets.push_back(Bucket { begin: now, tally: Tally::default().plus(failed) }),
        }
    }

    fn is_over(&self, bucket: &Bucket, now: Instant) -> bool {
        now.saturating_duration_since(bucket.begin) >= self.length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::breaker::some_moment;

    const SECOND: Duration = Duration::from_secs(1);

    fn tally(calls: u64, failures: u64) -> Tally {
        Tally { calls, failures }
    }

    #[test]
    fn a_sample_exactly_at_the_edge_is_outside_and_one_tick_before_it_is_inside() {
        let (t0, mut window) = (some_moment(), Window::new(10 * SECOND));
        window.record(t0, true);
        assert_eq!(window.tally(t0 + 10 * SECOND - Duration::from_nanos(1)), tally(1, 1));
        assert_eq!(window.tally(t0 + 10 * SECOND), tally(0, 0));
    }

    #[test]
    fn samples_leave_one_by_one_as_they_came() {
        let (t0, mut window) = (some_moment(), Window::new(10 * SECOND));
        for i in 0..10 {
            window.record(t0 + i * SECOND, false);
        }
        assert_eq!(window.tally(t0 + 9 * SECOND).calls, 10);
        assert_eq!(window.tally(t0 + 10 * SECOND).calls, 9);
        assert_eq!(window.tally(t0 + 11 * SECOND).calls, 8);
    }

    #[test]
    fn an_idle_gap_of_sixty_days_neither_wedges_nor_loops() {
        let (t0, mut window) = (some_moment(), Window::new(Duration::from_millis(10)));
        window.record(t0, true);
        let later = t0 + Duration::from_secs(60 * 24 * 3600);
        for failed in [true, true, false, false, false] {
            window.record(later, failed);
        }
        assert_eq!(window.tally(later), tally(5, 2));
        assert_eq!(window.buckets.len(), 1);
    }

    #[test]
    fn a_window_of_no_length_or_of_all_time_is_harmless() {
        for length in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let (t0, mut window) = (some_moment(), Window::new(length));
            for i in 0..100 {
                window.record(t0 + Duration::from_nanos(i), true);
            }
            assert!(window.buckets.len() <= BUCKETS as usize, "{length:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Against the plain list of samples: nothing older than the window counts, everything younger than nine tenths does.
        #[test]
        fn the_tally_lies_between_nine_tenths_of_the_window_and_the_whole(
            steps in prop::collection::vec((0u64..40, any::<bool>()), 1..120),
            length in 1u64..200,
        ) {
            let length = Duration::from_millis(length);
            let (mut now, mut window) = (some_moment(), Window::new(length));
            let mut samples = Vec::new();
            for (gap, failed) in steps {
                now += Duration::from_millis(gap);
                window.record(now, failed);
                samples.push((now, failed));
                let within = |age: Duration| samples.iter().filter(|(at, _)| now - *at < age).count() as u64;
                let held = window.tally(now);
                prop_assert!(held.calls <= within(length) && held.calls >= within(length - window.width));
                prop_assert!(held.failures <= held.calls);
                prop_assert!(window.buckets.len() <= BUCKETS as usize);
            }
        }
    }
}
