//! What is seen of a breaker from outside.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::{Breaker, SlowTrip};
use crate::{
    fact::{BreakerMode, BreakerState},
    ids::{Circuit, VendorId},
};

/// A breaker as it was after its last batch of messages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BreakerSnapshot {
    /// The vendor.
    pub vendor: VendorId,
    /// What it guards of that vendor.
    pub circuit: Circuit,
    /// Closed, open or half-open.
    pub state: BreakerState,
    /// Who decides: the rules, or an operator's order.
    pub mode: BreakerMode,
    /// When that order ends.
    pub mode_until: Option<Timestamp>,
    /// Why it was given, and who says so.
    pub mode_reason: Option<Arc<str>>,
    /// The number of the present period, from 1.
    pub generation: u64,
    /// When it began.
    pub since: Timestamp,
    /// While open: when a probe may pass.
    pub retry_at: Option<Timestamp>,
    /// While open or half-open: why it opened last, with the numbers.
    pub cause: Option<Arc<str>>,
    /// Failures in the window; 0 unless closed.
    pub failures: u64,
    /// Calls in the window; 0 unless closed.
    pub calls: u64,
    /// Their share; `None` below the minimum, and without a rate rule.
    pub failure_ratio: Option<f64>,
    /// The share at which it opens.
    pub limit: Option<f64>,
    /// Slow calls in the window; 0 unless closed, and without a rule for them.
    pub slow: u64,
    /// Calls under way that have taken too long already.
    pub overdue: u64,
    /// The share of both; `None` below the minimum, and without a rule for slow calls.
    pub slow_ratio: Option<f64>,
    /// The share at which it opens.
    pub slow_limit: Option<f64>,
    /// Failures in a row; 0 unless closed.
    pub streak: u32,
    /// The number in a row at which it opens.
    pub streak_limit: Option<u32>,
    /// Probes under way.
    pub probes_in_flight: u32,
    /// Probes that may be under way.
    pub probes_limit: u32,
    /// Calls refused since the process began.
    pub refused_total: u64,
    /// Openings since the process began.
    pub opened_total: u64,
    /// Calls let through since the process began.
    pub admitted_total: u64,
}

impl BreakerSnapshot {
    /// The breaker of this circuit of `vendor` at `now`; `wall` gives the calendar time of a moment.
    pub fn of(
        vendor: &VendorId,
        circuit: &Circuit,
        breaker: &Breaker,
        now: Instant,
        wall: impl Fn(Instant) -> Timestamp,
    ) -> Self {
        let (config, tally, overdue) = (breaker.config(), breaker.tally(now), breaker.overdue(now));
        let known = |calls: u64| config.rate.as_ref().filter(|rate| calls >= u64::from(rate.minimum_calls));
        let slow_rule = |slow: &Option<SlowTrip>| slow.as_ref().map(|slow| slow.slow_ratio);
        let hold = breaker.hold();
        let (admitted_total, refused_total, opened_total) = breaker.totals();
        Self {
            vendor: vendor.clone(),
            circuit: circuit.clone(),
            state: breaker.state(),
            mode: hold.map_or(BreakerMode::Automatic, |hold| hold.mode),
            mode_until: hold.map(|hold| wall(hold.until)),
            mode_reason: hold.map(|hold| hold.reason.clone()),
            generation: breaker.generation(),
            since: wall(breaker.since()),
            retry_at: breaker.retry_at().map(&wall),
            cause: breaker.cause().cloned(),
            failures: tally.failures,
            calls: tally.calls,
            failure_ratio: known(tally.calls).map(|_| tally.failure_ratio()),
            limit: config.rate.as_ref().map(|rate| rate.failure_ratio),
            slow: tally.slow,
            overdue,
            slow_ratio: known(tally.calls + overdue)
                .filter(|rate| rate.slow.is_some())
                .map(|_| tally.slow_ratio(overdue)),
            slow_limit: config.rate.as_ref().and_then(|rate| slow_rule(&rate.slow)),
            streak: breaker.streak(now),
            streak_limit: config.streak.as_ref().map(|streak| streak.failures),
            probes_in_flight: breaker.probes_in_flight(),
            probes_limit: config.probes,
            refused_total,
            opened_total,
            admitted_total,
        }
    }

    /// With the calendar times of `earlier`, if both are of one period: a clock that is read twice never agrees with itself
    /// to the microsecond.
    #[cfg(feature = "runtime")]
    pub(super) fn dated_like(mut self, earlier: &Self) -> Self {
        if earlier.generation == self.generation {
            (self.since, self.retry_at) = (earlier.since, earlier.retry_at);
            self.mode_until = earlier.mode_until;
        }
        self
    }
}
