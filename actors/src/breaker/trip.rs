//! The rules that open the breaker, and for how long.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BreakerConfig, RateTrip, SlowTrip, Window,
    window::{Counted, Recent, Tally},
};

/// The window of a breaker without a rate rule: for people to look at.
const SHOWN_WINDOW: Window = Window::Time(Duration::from_secs(60));

/// How long a streak is shown without a streak rule.
const SHOWN_STREAK: Duration = Duration::from_secs(60);

/// The numbers behind a change, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Failures that were counted.
    pub failures: u64,
    /// Slow calls that were counted, with those under way.
    pub slow: u64,
    /// Calls that were counted.
    pub calls: u64,
    /// What they were compared with: a share for the rate rule, a number for the streak and for probes.
    pub limit: f64,
}

/// What a closed breaker has counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    recent: Recent,
    forget_after: Duration,
    streak: u32,
    last_failure: Option<Instant>,
}

impl Counts {
    pub(super) fn new(config: &BreakerConfig) -> Self {
        Self {
            recent: Recent::new(config.rate.as_ref().map_or(SHOWN_WINDOW, |rate| rate.window)),
            forget_after: config.streak.as_ref().map_or(SHOWN_STREAK, |streak| streak.forget_after),
            streak: 0,
            last_failure: None,
        }
    }

    pub(super) fn tally(&self, now: Instant) -> Tally {
        self.recent.tally(now)
    }

    /// Failures in a row, as far as they are not forgotten.
    pub(super) fn streak(&self, now: Instant) -> u32 {
        let fresh = self.last_failure.is_some_and(|at| now.saturating_duration_since(at) < self.forget_after);
        if fresh { self.streak } else { 0 }
    }

    pub(super) fn record(&mut self, now: Instant, call: Counted) {
        self.recent.record(now, call);
        self.streak = self.streak_with(now, call.failed);
        self.last_failure = call.failed.then_some(now);
    }

    fn streak_with(&self, now: Instant, failed: bool) -> u32 {
        if failed { self.streak(now).saturating_add(1) } else { 0 }
    }
}

/// A rule says "open".
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trip {
    pub(super) open_for: Duration,
    pub(super) cause: Arc<str>,
    pub(super) figures: Figures,
}

/// Whether one call more, ended at `now`, opens the breaker, while `overdue` others are under way for too long already. Of
/// several rules that say so, the longest open time holds.
pub(super) fn trip(config: &BreakerConfig, counts: &Counts, now: Instant, call: Counted, overdue: u64) -> Option<Trip> {
    let tally = counts.recent.tally_with(now, call);
    let streak = counts.streak_with(now, call.failed);
    let says = [by_slowness(config, tally, overdue), by_failures(config, tally), by_streak(config, streak)];
    says.into_iter().flatten().max_by_key(|trip| trip.open_for)
}

/// Whether calls under way open it that have taken too long already, before any of them ends.
pub(super) fn trip_under_way(config: &BreakerConfig, counts: &Counts, now: Instant, overdue: u64) -> Option<Trip> {
    by_slowness(config, counts.tally(now), overdue)
}

fn by_failures(config: &BreakerConfig, tally: Tally) -> Option<Trip> {
    let rate = config.rate.as_ref()?;
    let (calls, failures, ratio) = (tally.calls, tally.failures, tally.failure_ratio());
    if calls < u64::from(rate.minimum_calls) || ratio < rate.failure_ratio {
        return None;
    }
    let cause = of_recent(rate, failures, calls, "failed", ratio, rate.failure_ratio);
    let figures = Figures { failures, slow: tally.slow, calls, limit: rate.failure_ratio };
    Some(Trip { open_for: rate.open_for, cause: cause.into(), figures })
}

/// Calls that are under way for too long already are slow, whatever their end will be.
fn by_slowness(config: &BreakerConfig, tally: Tally, overdue: u64) -> Option<Trip> {
    let rate = config.rate.as_ref()?;
    let SlowTrip { slower_than, slow_ratio } = rate.slow.as_ref()?;
    let (calls, slow, ratio) = (tally.calls + overdue, tally.slow + overdue, tally.slow_ratio(overdue));
    if calls < u64::from(rate.minimum_calls) || ratio < *slow_ratio {
        return None;
    }
    let mut cause =
        of_recent(rate, slow, calls, &format!("took longer than {}", words(*slower_than)), ratio, *slow_ratio);
    if overdue > 0 {
        cause = format!("{cause}, {overdue} of them still under way");
    }
    let figures = Figures { failures: tally.failures, slow, calls, limit: *slow_ratio };
    Some(Trip { open_for: rate.open_for, cause: cause.into(), figures })
}

fn of_recent(rate: &RateTrip, part: u64, calls: u64, did: &str, ratio: f64, limit: f64) -> String {
    let share = format!("({:.0} %, limit {:.0} %)", ratio * 100.0, limit * 100.0);
    match rate.window {
        Window::Time(time) => format!("{part} of {calls} calls {did} {share} within {}", words(time)),
        Window::Count(_) => format!("{part} of the last {calls} calls {did} {share}"),
    }
}

fn by_streak(config: &BreakerConfig, streak: u32) -> Option<Trip> {
    let rule = config.streak.as_ref()?;
    // A rule of 0 failures is not allowed; unchecked, it must not open on a success.
    if streak == 0 || streak < rule.failures {
        return None;
    }
    let number = u64::from(streak);
    let figures = Figures { failures: number, calls: number, limit: rule.failures.into(), ..Figures::default() };
    Some(Trip { open_for: rule.open_for, cause: format!("{streak} failures in a row").into(), figures })
}

/// How long it stays open: `open_for` grown by the openings in a row before this one, spread, and at least as long as the
/// vendor asks, within the limit for that.
pub(super) fn open_time(
    config: &BreakerConfig,
    open_for: Duration,
    reopenings: u32,
    spread: f64,
    retry_after: Option<Duration>,
) -> Duration {
    let steps = i32::try_from(reopenings).unwrap_or(i32::MAX);
    let grown = seconds(open_for.as_secs_f64() * config.growth.powi(steps), config.open_max);
    let jitter = (config.jitter * spread).clamp(0.0, 1.0);
    let spread_out = seconds(grown.as_secs_f64() * (1.0 + jitter), Duration::MAX);
    let asked = retry_after.unwrap_or(Duration::ZERO).min(config.retry_after_max);
    spread_out.max(asked)
}

/// `most` for what is larger, or is no number.
fn seconds(seconds: f64, most: Duration) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(most).min(most)
}

/// A duration as people write it.
pub(super) fn words(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        return format!("{} s", duration.as_secs());
    }
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_13_the_open_time_grows_to_its_limit_and_never_overflows() {
        let day = Duration::from_secs(24 * 3600);
        let config = BreakerConfig { growth: 2.0, open_max: 2 * day, jitter: 0.0, ..BreakerConfig::default() };
        assert_eq!(open_time(&config, day, 0, 0.0, None), day);
        for reopenings in [1, 2, 1_000, 1_024, u32::MAX] {
            assert_eq!(open_time(&config, day, reopenings, 0.9, None), 2 * day, "{reopenings}");
        }
    }

    #[test]
    fn jitter_only_lengthens_and_by_a_tenth_at_most() {
        let config = BreakerConfig::default();
        let second = Duration::from_secs(1);
        assert_eq!(open_time(&config, 30 * second, 0, 0.0, None), 30 * second);
        assert_eq!(open_time(&config, 30 * second, 0, 1.0, None), 33 * second);
    }

    #[test]
    fn a_retry_after_is_obeyed_up_to_its_limit_and_never_shortens() {
        let config = BreakerConfig::default();
        let second = Duration::from_secs(1);
        let asked = |secs| open_time(&config, 30 * second, 0, 0.0, Some(Duration::from_secs(secs)));
        assert_eq!(asked(5), 30 * second);
        assert_eq!(asked(120), 120 * second);
        assert_eq!(asked(86_400), config.retry_after_max);
    }

    #[test]
    fn a_share_is_compared_to_the_last_bit() {
        let config = BreakerConfig {
            rate: Some(RateTrip { failure_ratio: 0.55, ..Default::default() }),
            ..BreakerConfig::default()
        };
        let failed = |failures| by_failures(&config, Tally { calls: 20, failures, slow: 0 });
        assert!(failed(11).is_some() && failed(10).is_none());
    }
}
