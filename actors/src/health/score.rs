//! What happened in the last few minutes, in a window that slides.
//!
//! Time is cut into buckets of a thirtieth of the window. Only buckets in which something happened are kept, at most
//! [`BUCKETS`] of them, so an idle hour costs nothing. What is older than the window is never counted; what is younger than
//! the window less one bucket always is. Reading changes nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Buckets in a window: a window of 5 minutes slides in steps of 10 seconds.
pub const BUCKETS: u64 = 30;

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts that show that the vendor works.
    pub healthy: u64,
    /// Attempts that show that it does not.
    pub failing: u64,
    /// Effects that the vendor had taken on, and that failed later. Each takes one healthy attempt back.
    pub failed_later: u64,
    /// Attempts that failed for wrong credentials.
    pub credentials: u64,
    /// Attempts the vendor throttled.
    pub throttled: u64,
    /// Tickets the breaker refused.
    pub by_breaker: u64,
    /// Tickets the budget refused.
    pub by_budget: u64,
    /// Tickets a lane or the vendor's gate refused.
    pub by_lane: u64,
    /// Tickets refused because the vendor's actors were down.
    pub by_supervisor: u64,
    /// Restarts of the vendor's actors.
    pub restarts: u64,
}

impl Counts {
    /// Attempts that say something about the vendor.
    pub fn samples(&self) -> u64 {
        self.working().saturating_add(self.failed())
    }

    /// Those that show that it does not work, whether they failed at once or later.
    pub fn failed(&self) -> u64 {
        self.failing.saturating_add(self.failed_later)
    }

    /// What was taken on may have slid out of the window before it failed.
    fn working(&self) -> u64 {
        self.healthy.saturating_sub(self.failed_later)
    }

    /// The part of them that shows that it works, within `0.0..=1.0`; `None` with fewer than `minimum`.
    pub fn score(&self, minimum: u32) -> Option<f64> {
        let samples = self.samples();
        if samples == 0 || samples < u64::from(minimum) {
            return None;
        }
        Some(self.working() as f64 / samples as f64)
    }

    /// Tickets that were turned away before anything was sent.
    pub fn denied(&self) -> u64 {
        [self.by_breaker, self.by_budget, self.by_lane, self.by_supervisor]
            .iter()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.healthy, other.healthy),
            (&mut self.failing, other.failing),
            (&mut self.failed_later, other.failed_later),
            (&mut self.credentials, other.credentials),
            (&mut self.throttled, other.throttled),
            (&mut self.by_breaker, other.by_breaker),
            (&mut self.by_budget, other.by_budget),
            (&mut self.by_lane, other.by_lane),
            (&mut self.by_supervisor, other.by_supervisor),
            (&mut self.restarts, other.restarts),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

#[derive(Debug, Clone)]
struct Bucket {
    number: u64,
    counts: Counts,
}

/// A sliding window of [`Counts`].
#[derive(Debug, Clone)]
pub struct Window {
    origin: Instant,
    step: Duration,
    buckets: VecDeque<Bucket>,
}

impl Window {
    /// An empty window of this length that begins at `now`.
    pub fn new(length: Duration, now: Instant) -> Self {
        let step = (length / BUCKETS as u32).max(Duration::from_nanos(1));
        Self { origin: now, step, buckets: VecDeque::new() }
    }

    /// Adds to the present bucket and lets go of those that have slid out.
    pub fn add(&mut self, now: Instant, counts: &Counts) {
        let number = self.number(now);
        while self.buckets.front().is_some_and(|oldest| !is_inside(oldest.number, number)) {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            // `>=`: a clock that was read a moment earlier does not put the buckets out of order.
            Some(last) if last.number >= number => last.counts.add(counts),
            _ => self.buckets.push_back(Bucket { number, counts: *counts }),
        }
    }

    /// What the window holds at `now`.
    pub fn sum(&self, now: Instant) -> Counts {
        let number = self.number(now);
        let mut sum = Counts::default();
        for bucket in self.buckets.iter().filter(|bucket| is_inside(bucket.number, number)) {
            sum.add(&bucket.counts);
        }
        sum
    }

    /// True when nothing is in the window at `now`, so that time alone changes nothing any more.
    pub fn is_empty(&self, now: Instant) -> bool {
        let number = self.number(now);
        !self.buckets.iter().any(|bucket| is_inside(bucket.number, number))
    }

    fn number(&self, now: Instant) -> u64 {
        let gone = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(gone / self.step.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

fn is_inside(bucket: u64, present: u64) -> bool {
    bucket.saturating_add(BUCKETS) > present
}

#[cfg(test)]
mod tests;
