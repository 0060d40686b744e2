//! How calls ended lately, in bounded memory: those of the last while, or the last so many.
//!
//! A window over time is cut into ten buckets. A bucket begins with its first call and falls out when that call is as old as
//! the window, so a call counts for at least nine tenths of the window and never longer than it. A pause of any length costs
//! ten steps at most. A window over a number of calls keeps each of them, and forgets the oldest when another ends.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Window;

/// Into how many parts a window over time is cut; the most it ever holds.
pub const BUCKETS: u32 = 10;

/// How one call ended, as far as it speaks of the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// It failed.
    pub(super) failed: bool,
    /// It took longer than the limit for slow calls. A call may be both.
    pub(super) slow: bool,
}

/// Calls, and what was wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls that ended with a verdict.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, whether or not they failed.
    pub slow: u64,
}

impl Tally {
    /// With one call more.
    #[must_use]
    pub(super) fn plus(self, call: Counted) -> Self {
        Self {
            calls: self.calls + 1,
            failures: self.failures + u64::from(call.failed),
            slow: self.slow + u64::from(call.slow),
        }
    }

    fn minus(self, call: Counted) -> Self {
        Self {
            calls: self.calls.saturating_sub(1),
            failures: self.failures.saturating_sub(call.failed.into()),
            slow: self.slow.saturating_sub(call.slow.into()),
        }
    }

    fn and(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, failures: self.failures + other.failures, slow: self.slow + other.slow }
    }

    /// Failures divided by calls; 0 without calls. Divided, not multiplied: 11 of 20 is 0.55 to the last bit.
    pub fn failure_ratio(self) -> f64 {
        share(self.failures, self.calls)
    }

    /// Slow calls divided by calls, where `overdue` more are under way and too long already.
    pub fn slow_ratio(self, overdue: u64) -> f64 {
        share(self.slow + overdue, self.calls + overdue)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A sliding window over the ends of calls.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recent {
    /// Over a time.
    Time(Buckets),
    /// Over a number of calls.
    Count(LastCalls),
}

impl Recent {
    /// An empty window.
    pub(super) fn new(window: Window) -> Self {
        match window {
            Window::Time(length) => Self::Time(Buckets::new(length)),
            Window::Count(calls) => Self::Count(LastCalls::new(calls)),
        }
    }

    /// What it holds at `now`.
    pub(super) fn tally(&self, now: Instant) -> Tally {
        match self {
            Self::Time(buckets) => buckets.tally(now),
            Self::Count(calls) => calls.tally,
        }
    }

    /// What it would hold, had another call ended at `now`.
    pub(super) fn tally_with(&self, now: Instant, call: Counted) -> Tally {
        match self {
            Self::Time(buckets) => buckets.tally(now).plus(call),
            Self::Count(calls) => calls.tally_with(call),
        }
    }

    /// Counts a call that ended at `now`.
    pub(super) fn record(&mut self, now: Instant, call: Counted) {
        match self {
            Self::Time(buckets) => buckets.record(now, call),
            Self::Count(calls) => calls.record(call),
        }
    }
}

/// The last so many calls, however long ago.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LastCalls {
    limit: usize,
    ends: VecDeque<Counted>,
    tally: Tally,
}

impl LastCalls {
    fn new(calls: u32) -> Self {
        Self { limit: usize::try_from(calls).unwrap_or(usize::MAX), ends: VecDeque::new(), tally: Tally::default() }
    }

    /// The call that another one would push out.
    fn leaving(&self) -> Option<Counted> {
        self.ends.front().copied().filter(|_| self.ends.len() >= self.limit)
    }

    fn tally_with(&self, call: Counted) -> Tally {
        self.leaving().map_or(self.tally, |oldest| self.tally.minus(oldest)).plus(call)
    }

    fn record(&mut self, call: Counted) {
        self.tally = self.tally_with(call);
        if self.leaving().is_some() {
            self.ends.pop_front();
        }
        self.ends.push_back(call);
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Bucket {
    begin: Instant,
    tally: Tally,
}

/// The calls of the last while.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Buckets {
    length: Duration,
    width: Duration,
    buckets: VecDeque<Bucket>,
}

impl Buckets {
    fn new(length: Duration) -> Self {
        // Rounded up: ten buckets always cover the length, so there are never more than ten.
        let width = length.saturating_add(Duration::from_nanos(u64::from(BUCKETS) - 1)) / BUCKETS;
        Self { length, width: width.max(Duration::from_nanos(1)), buckets: VecDeque::new() }
    }

    fn tally(&self, now: Instant) -> Tally {
        let fresh = self.buckets.iter().filter(|bucket| !self.is_over(bucket, now));
        fresh.fold(Tally::default(), |sum, bucket| sum.and(bucket.tally))
    }

    fn record(&mut self, now: Instant, call: Counted) {
        while self.buckets.front().is_some_and(|oldest| self.is_over(oldest, now)) {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            Some(last) if now.saturating_duration_since(last.begin) < self.width => last.tally = last.tally.plus(call),
            _ => self.buckets.push_back(Bucket { begin: now, tally: Tally::default().plus(call) }),
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
        Tally { calls, failures, slow: 0 }
    }

    fn ended(failed: bool) -> Counted {
        Counted { failed, slow: false }
    }

    #[test]
    fn a_sample_exactly_at_the_edge_is_outside_and_one_tick_before_it_is_inside() {
        let (t0, mut window) = (some_moment(), Buckets::new(10 * SECOND));
        window.record(t0, ended(true));
        assert_eq!(window.tally(t0 + 10 * SECOND - Duration::from_nanos(1)), tally(1, 1));
        assert_eq!(window.tally(t0 + 10 * SECOND), tally(0, 0));
    }

    #[test]
    fn samples_leave_one_by_one_as_they_came() {
        let (t0, mut window) = (some_moment(), Buckets::new(10 * SECOND));
        for i in 0..10 {
            window.record(t0 + i * SECOND, ended(false));
        }
        assert_eq!(window.tally(t0 + 9 * SECOND).calls, 10);
        assert_eq!(window.tally(t0 + 10 * SECOND).calls, 9);
        assert_eq!(window.tally(t0 + 11 * SECOND).calls, 8);
    }

    #[test]
    fn peers_16_an_idle_gap_of_sixty_days_neither_wedges_nor_loops() {
        let (t0, mut window) = (some_moment(), Buckets::new(Duration::from_millis(10)));
        window.record(t0, ended(true));
        let later = t0 + Duration::from_secs(60 * 24 * 3600);
        for failed in [true, true, false, false, false] {
            window.record(later, ended(failed));
        }
        assert_eq!(window.tally(later), tally(5, 2));
        assert_eq!(window.buckets.len(), 1);
    }

    #[test]
    fn a_window_of_no_length_or_of_all_time_is_harmless() {
        for length in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let (t0, mut window) = (some_moment(), Buckets::new(length));
            for i in 0..100 {
                window.record(t0 + Duration::from_nanos(i), ended(true));
            }
            assert!(window.buckets.len() <= BUCKETS as usize, "{length:?}");
        }
    }

    #[test]
    fn a_window_over_a_number_of_calls_lets_the_oldest_go() {
        let (t0, mut window) = (some_moment(), Recent::new(Window::Count(10)));
        let ends = |window: &mut Recent, ends: &str| {
            ends.chars().for_each(|end| window.record(t0, ended(end == 'F')));
            window.tally(t0)
        };
        assert_eq!(ends(&mut window, "SSFF"), tally(4, 2));
        assert_eq!(ends(&mut window, "FFFFSSSS"), tally(10, 6));
        assert_eq!(window.tally_with(t0, ended(false)), tally(10, 5));
        assert_eq!(ends(&mut window, "SSS"), tally(10, 3));
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
            let (mut now, mut window) = (some_moment(), Buckets::new(length));
            let mut samples = Vec::new();
            for (gap, failed) in steps {
                now += Duration::from_millis(gap);
                window.record(now, ended(failed));
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
