//! When the breaker opens, for how long, and how it finds out that the vendor is back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::Faults;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The longest request timeout that the defaults are made for: Retell's own, for creating a call.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Shortest window a preset uses, so that a quiet vendor's few calls still meet in it.
const WINDOW_MIN: Duration = Duration::from_secs(60);

/// The seeds' reset timeout.
const OPEN_FOR: Duration = Duration::from_secs(30);

/// What a preset allows a probe beyond the longest timeout: its way through budget and client, and back.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// Which calls are recent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Those that ended within this time. Longer than the longest timeout, or an outage empties the window as fast as it fills
    /// it; at most a day.
    Time(#[serde(with = "crate::duration")] Duration),
    /// The last so many, however long ago. At least `minimum_calls`, at most 10,000.
    Count(u32),
}

/// Opens when a share of the recent calls failed, or was slow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateTrip {
    /// Failures divided by calls; at this share or above it opens. Over 0.0, up to 1.0; default 0.5 (the seeds).
    pub failure_ratio: f64,
    /// Calls in the window before the share means anything. 1 to 10,000; default 10 (the seeds).
    pub minimum_calls: u32,
    /// Which calls count. Default the time of 60 s or twice the longest timeout, whichever is longer (ours; with opossum's 10 s
    /// and timeouts of 30 s it never opened).
    pub window: Window,
    /// The same for slow calls, over the same window, minimum and open time. Default none (the seeds).
    pub slow: Option<SlowTrip>,
    /// How long it stays open. 1 ms to a day, at most `open_max`; default 30 s (the seeds).
    #[serde(with = "crate::duration")]
    pub open_for: Duration,
}

impl RateTrip {
    fn lasting(longest_timeout: Duration) -> Self {
        Self {
            failure_ratio: 0.5,
            minimum_calls: 10,
            window: Window::Time(Self::window_of(longest_timeout)),
            slow: None,
            open_for: OPEN_FOR,
        }
    }

    fn window_of(longest_timeout: Duration) -> Duration {
        longest_timeout.saturating_mul(2).max(WINDOW_MIN)
    }
}

impl Default for RateTrip {
    fn default() -> Self {
        Self::lasting(LONGEST_TIMEOUT)
    }
}

/// Slow calls, whether they succeeded, failed, or are still under way. A vendor whose calls hang is found out before the first
/// of them times out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlowTrip {
    /// A call that took longer, from its first byte to its end, is slow; so is one that has been out as long and has not ended.
    /// 1 ms or more and shorter than `probe_lease`, after which a call counts as lost; at the longest timeout or above it no call
    /// is slow. Default 60 s (Resilience4j).
    #[serde(with = "crate::duration")]
    pub slower_than: Duration,
    /// Slow calls divided by calls; at this share or above it opens. Over 0.0, up to 1.0; default 1.0 (Resilience4j).
    pub slow_ratio: f64,
}

impl SlowTrip {
    fn check(&self, probe_lease: Duration, faults: &mut Faults) {
        let fine = self.slower_than >= Duration::from_millis(1) && self.slower_than < probe_lease;
        faults.require(fine, "slower_than", || {
            format!("{:?} must be 1ms or more and shorter than probe_lease, {probe_lease:?}", self.slower_than)
        });
        check_ratio(faults, "slow_ratio", self.slow_ratio);
    }
}

impl Default for SlowTrip {
    fn default() -> Self {
        Self { slower_than: Duration::from_secs(60), slow_ratio: 1.0 }
    }
}

/// Opens when so many calls in a row failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreakTrip {
    /// Failures in a row. 1 to 10,000; default 5 (the credit seed).
    pub failures: u32,
    /// How long it stays open. 1 ms to a day, at most `open_max`; default 15 min (the credit seed).
    #[serde(with = "crate::duration")]
    pub open_for: Duration,
    /// A failure this long after the one before begins a new streak. 1 ms to 30 days; default 1 h (ours: the seed adds up
    /// failures that are weeks apart).
    #[serde(with = "crate::duration")]
    pub forget_after: Duration,
}

impl Default for StreakTrip {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(15 * 60), forget_after: Duration::from_secs(3600) }
    }
}

/// The breaker of a vendor, or of one group of its operations. Without a rule it never opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// The rule over recent calls.
    pub rate: Option<RateTrip>,
    /// The rule over calls in a row.
    pub streak: Option<StreakTrip>,
    /// Whether a 429 counts as a failure. Default false: the rate of the vendor's gate deals with it, and it is no outage. Say
    /// true for a vendor that answers 429 when it is overloaded. (A profile may also read some of its answers as
    /// [`Class::Overload`](crate::outcome::Class::Overload), which always counts.)
    pub throttle_counts: bool,
    /// Probes under way at the same time while half-open. 1 to 100; default 1 (opossum, Polly).
    pub probes: u32,
    /// Successful probes that close it. 1 to 1,000; default 1 (opossum, Polly).
    pub probes_to_close: u32,
    /// A probe that has not reported by then counts as failed. Longer than the longest timeout, at most a day; default 30 s
    /// more than that (ours; a peer without it stays half-open for ever).
    #[serde(with = "crate::duration")]
    pub probe_lease: Duration,
    /// Each opening in a row lasts this many times as long as the one before. 1.0 to 10.0; default 1.0, no growth (the seeds).
    pub growth: f64,
    /// Growth stops here. At least every `open_for`, at most 7 days; default 1 h (ours).
    #[serde(with = "crate::duration")]
    pub open_max: Duration,
    /// Each open time is longer by up to this share, by chance, so that many processes do not probe at once; it comes on top
    /// of `open_max`, and the open time is never shorter than stated. 0.0 to 1.0; default 0.1 (ours).
    pub jitter: f64,
    /// The longest `Retry-After` that is obeyed when a failure opens the breaker. At most a day; default 15 min (the longest
    /// open time of the seeds).
    #[serde(with = "crate::duration")]
    pub retry_after_max: Duration,
}

impl BreakerConfig {
    /// The percentage breaker of the seeds: half of at least 10 calls, open for 30 s.
    ///
    /// Ten failures in a row open it too. With few calls and long timeouts the minimum is never met within the window (two
    /// workers, 30 s each, make four calls a minute), and an outage would go unseen.
    pub fn patterns(longest_timeout: Duration) -> Self {
        let rate = RateTrip::lasting(longest_timeout);
        let forget_after = RateTrip::window_of(longest_timeout);
        let streak = StreakTrip { failures: rate.minimum_calls, open_for: rate.open_for, forget_after };
        Self {
            rate: Some(rate),
            streak: Some(streak),
            throttle_counts: false,
            probes: 1,
            probes_to_close: 1,
            probe_lease: longest_timeout.saturating_add(LEASE_MARGIN),
            growth: 1.0,
            open_max: Duration::from_secs(3600),
            jitter: 0.1,
            retry_after_max: Duration::from_secs(15 * 60),
        }
    }

    /// The credit breaker of the seeds: the same rate rule, and 15 minutes after five failures in a row.
    pub fn credit(longest_timeout: Duration) -> Self {
        Self { streak: Some(StreakTrip::default()), ..Self::patterns(longest_timeout) }
    }

    /// The open time after an operator's order, where no rule has opened it.
    pub(super) fn first_open_time(&self) -> Duration {
        let streak = self.streak.as_ref().map(|streak| streak.open_for);
        self.rate.as_ref().map(|rate| rate.open_for).or(streak).unwrap_or(OPEN_FOR)
    }

    pub(super) fn slower_than(&self) -> Option<Duration> {
        let slow = self.rate.as_ref()?.slow.as_ref()?;
        Some(slow.slower_than)
    }

    /// Notes everything that is wrong with it. Some bounds hang on the vendor's longest request timeout.
    pub fn check(&self, longest_timeout: Duration, faults: &mut Faults) {
        if let Some(rate) = &self.rate {
            self.check_rate(rate, longest_timeout, &mut faults.under("rate"));
        }
        if let Some(streak) = &self.streak {
            self.check_streak(streak, &mut faults.under("streak"));
        }
        within(faults, "probes", self.probes, 1, 100);
        within(faults, "probes_to_close", self.probes_to_close, 1, 1_000);
        faults.require(self.probe_lease > longest_timeout && self.probe_lease <= DAY, "probe_lease", || {
            format!("{:?} must be longer than the longest timeout, {longest_timeout:?}, up to a day", self.probe_lease)
        });
        faults.require((1.0..=10.0).contains(&self.growth), "growth", || {
            format!("{} is not within 1.0..=10.0", self.growth)
        });
        faults.require((0.0..=1.0).contains(&self.jitter), "jitter", || {
            format!("{} is not within 0.0..=1.0", self.jitter)
        });
        faults.require(self.open_max <= 7 * DAY, "open_max", || format!("{:?} is over 7 days", self.open_max));
        faults.require(self.retry_after_max <= DAY, "retry_after_max", || {
            format!("{:?} is over a day", self.retry_after_max)
        });
    }

    fn check_rate(&self, rate: &RateTrip, longest_timeout: Duration, faults: &mut Faults) {
        check_ratio(faults, "failure_ratio", rate.failure_ratio);
        within(faults, "minimum_calls", rate.minimum_calls, 1, 10_000);
        match rate.window {
            Window::Time(time) => faults.require(time > longest_timeout && time <= DAY, "window.time", || {
                format!("{time:?} must be longer than the longest timeout, {longest_timeout:?}, up to a day")
            }),
            Window::Count(calls) => within(faults, "window.count", calls, rate.minimum_calls, 10_000),
        }
        if let Some(slow) = &rate.slow {
            slow.check(self.probe_lease, &mut faults.under("slow"));
        }
        self.check_open_for(rate.open_for, faults);
    }

    fn check_streak(&self, streak: &StreakTrip, faults: &mut Faults) {
        within(faults, "failures", streak.failures, 1, 10_000);
        let fine = streak.forget_after >= Duration::from_millis(1) && streak.forget_after <= 30 * DAY;
        faults.require(fine, "forget_after", || format!("{:?} is not within 1ms..=30 days", streak.forget_after));
        self.check_open_for(streak.open_for, faults);
    }

    fn check_open_for(&self, open_for: Duration, faults: &mut Faults) {
        let most = self.open_max.min(DAY);
        faults.require(open_for >= Duration::from_millis(1) && open_for <= most, "open_for", || {
            format!("{open_for:?} is not within 1ms..={most:?} (open_max, and a day)")
        });
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self::patterns(LONGEST_TIMEOUT)
    }
}

fn check_ratio(faults: &mut Faults, field: &str, ratio: f64) {
    faults.require(ratio > 0.0 && ratio <= 1.0, field, || format!("{ratio} is not over 0.0 and up to 1.0"));
}

fn within(faults: &mut Faults, field: &str, value: u32, least: u32, most: u32) {
    faults.require((least..=most).contains(&value), field, || format!("{value} is not within {least}..={most}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(config: &BreakerConfig, longest: Duration) -> Vec<String> {
        let mut faults = Faults::default();
        config.check(longest, &mut faults);
        faults.into_result().err().unwrap_or_default().into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn the_presets_are_allowed_for_every_timeout_up_to_an_hour() {
        for secs in [1, 10, 30, 120, 300, 3600] {
            let longest = Duration::from_secs(secs);
            for config in [BreakerConfig::patterns(longest), BreakerConfig::credit(longest)] {
                assert_eq!(faults_of(&config, longest), Vec::<String>::new(), "{secs} s");
            }
        }
    }

    #[test]
    fn the_presets_hold_the_numbers_of_the_seeds() {
        let patterns = BreakerConfig::patterns(Duration::from_secs(30)).rate.unwrap();
        assert_eq!((patterns.failure_ratio, patterns.minimum_calls), (0.5, 10));
        assert_eq!(
            (patterns.open_for, patterns.window),
            (Duration::from_secs(30), Window::Time(Duration::from_secs(60)))
        );
        let credit = BreakerConfig::credit(Duration::from_secs(30));
        assert_eq!(credit.rate, Some(patterns));
        let streak = credit.streak.unwrap();
        assert_eq!((streak.failures, streak.open_for), (5, Duration::from_secs(900)));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let longest = Duration::from_secs(120);
        let config = BreakerConfig {
            rate: Some(RateTrip {
                failure_ratio: f64::NAN,
                minimum_calls: 0,
                window: Window::Time(longest),
                slow: Some(SlowTrip { slower_than: longest, slow_ratio: 0.0 }),
                open_for: Duration::from_secs(7200),
            }),
            streak: Some(StreakTrip { failures: 0, open_for: Duration::ZERO, forget_after: Duration::ZERO }),
            throttle_counts: true,
            probes: 0,
            probes_to_close: 0,
            probe_lease: longest,
            growth: 0.5,
            open_max: Duration::from_secs(3600),
            jitter: f64::NAN,
            retry_after_max: Duration::MAX,
        };
        let expected = [
            "rate.failure_ratio",
            "rate.minimum_calls",
            "rate.window.time",
            "rate.slow.slower_than",
            "rate.slow.slow_ratio",
            "rate.open_for",
            "streak.failures",
            "streak.forget_after",
            "streak.open_for",
            "probes",
            "probes_to_close",
            "probe_lease",
            "growth",
            "jitter",
            "retry_after_max",
        ];
        assert_eq!(faults_of(&config, longest), expected);
    }

    #[test]
    fn a_window_over_calls_holds_at_least_the_minimum() {
        let counting = |calls| BreakerConfig {
            rate: Some(RateTrip { window: Window::Count(calls), ..RateTrip::default() }),
            ..BreakerConfig::default()
        };
        assert_eq!(faults_of(&counting(10), LONGEST_TIMEOUT), Vec::<String>::new());
        for calls in [9, 10_001] {
            assert_eq!(faults_of(&counting(calls), LONGEST_TIMEOUT), ["rate.window.count"], "{calls}");
        }
    }

    #[test]
    fn a_window_is_written_as_a_time_or_as_a_number_of_calls() {
        let read = |window: &str| serde_json::from_str::<RateTrip>(&format!(r#"{{"window": {window}}}"#));
        assert_eq!(read(r#"{"count": 100}"#).unwrap().window, Window::Count(100));
        let minute = Window::Time(Duration::from_secs(60));
        assert_eq!(read(r#"{"time": "1m"}"#).unwrap().window, minute);
        assert!(read(r#"{"calls": 100}"#).is_err());
    }

    #[test]
    fn an_unknown_field_is_refused_and_a_missing_one_has_its_default() {
        let config: BreakerConfig = serde_json::from_str(r#"{"streak": null, "probes": 3}"#).unwrap();
        assert_eq!(config, BreakerConfig { streak: None, probes: 3, ..BreakerConfig::default() });
        assert!(serde_json::from_str::<BreakerConfig>(r#"{"probe": 3}"#).is_err());
    }
}
