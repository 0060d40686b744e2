//! How many calls a lane runs and keeps waiting, and what the vendor allows over all lanes.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{faults::Faults, ids::LaneId};

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Most lanes one vendor may have: the turn looks at each of them.
pub const LANES_MAX: usize = 16;

/// Most permits one lane may have, and so most that wait in its line at the gate.
pub const CONCURRENCY_MAX: usize = 1024;

/// One lane: calls of one importance to one vendor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneConfig {
    /// Its name, which calls choose it by.
    pub name: LaneId,
    /// Calls of this lane under way at the same time. 1 to 1,024; the seeds have 10, 5 and 2.
    pub concurrency: usize,
    /// Calls that may wait; one more is refused. 0 to 1,000,000; default 256 (ours: the seeds' p-queue has no bound).
    #[serde(default = "queue_max")]
    pub queue_max: usize,
    /// How long a call may wait for a permit; its own deadline counts too. 1 ms to an hour; default 30 s (the request
    /// timeout of the seeds: a call that waits longer than it may run is better refused).
    #[serde(default = "wait_max", with = "crate::duration")]
    pub wait_max: Duration,
    /// Its share of the vendor's slots and rate when they are short, relative to the other lanes'. 1 to 100; default 1.
    #[serde(default = "weight")]
    pub weight: u32,
}

fn queue_max() -> usize {
    256
}

fn wait_max() -> Duration {
    Duration::from_secs(30)
}

fn weight() -> u32 {
    1
}

impl LaneConfig {
    /// A lane of this concurrency with the defaults.
    pub fn new(name: LaneId, concurrency: usize) -> Self {
        Self { name, concurrency, queue_max: queue_max(), wait_max: wait_max(), weight: weight() }
    }

    /// Names every field that is out of its range.
    pub fn check(&self, faults: &mut Faults) {
        let Self { name: _, concurrency, queue_max, wait_max, weight } = self;
        faults.require((1..=CONCURRENCY_MAX).contains(concurrency), "concurrency", || {
            format!("{concurrency} is not within 1..={CONCURRENCY_MAX}")
        });
        faults.require(*queue_max <= 1_000_000, "queue_max", || format!("{queue_max} is not within 0..=1000000"));
        faults
            .require((MILLI..=HOUR).contains(wait_max), "wait_max", || format!("{wait_max:?} is not within 1ms..=1h"));
        faults.require((1..=100).contains(weight), "weight", || format!("{weight} is not within 1..=100"));
    }
}

/// The lanes of the seeds (A and C): `critical` 10, `normal` 5, `bulk` 2. Ours are the weights, which repeat the
/// concurrency, and the queues of 256, 512 and 4,096: what matters most must not stand in a long queue, bulk may.
pub fn patterns_lanes() -> Vec<LaneConfig> {
    let lane = |(name, concurrency, queue_max, weight)| {
        let name = LaneId::new(name).ok()?;
        Some(LaneConfig { queue_max, weight, ..LaneConfig::new(name, concurrency) })
    };
    [("critical", 10, 256, 10), ("normal", 5, 512, 5), ("bulk", 2, 4096, 2)].into_iter().filter_map(lane).collect()
}

/// Checks the lanes of one vendor, each under its own name.
pub fn check_lanes(lanes: &[LaneConfig], faults: &mut Faults) {
    let count = lanes.len();
    faults
        .require((1..=LANES_MAX).contains(&count), "lanes", || format!("{count} lanes are not within 1..={LANES_MAX}"));
    let mut names = BTreeSet::new();
    for lane in lanes {
        let mut faults = faults.under(lane.name.as_str());
        faults.require(names.insert(&lane.name), "name", || "two lanes have this name".into());
        lane.check(&mut faults);
    }
}

/// How fast the vendor may be called: a bucket of `burst` tokens, filled by `per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls a second, in the long run. 0.0001 to 100,000. Clay's webhook takes 10, Retell starts 1 phone call.
    pub per_second: f64,
    /// Calls at once after a pause. 1 to 10,000. Clay's webhook takes 20, Retell 1. The timer turns once a millisecond, so
    /// a rate over 1,000 needs a burst of a thousandth of it to be reached.
    pub burst: u32,
}

impl Rate {
    fn check(self, faults: &mut Faults) {
        let Self { per_second, burst } = self;
        faults.require((0.0001..=100_000.0).contains(&per_second), "per_second", || {
            format!("{per_second} is not within 0.0001..=100000")
        });
        faults.require((1..=10_000).contains(&burst), "burst", || format!("{burst} is not within 1..=10000"));
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s (burst {})", self.per_second, self.burst)
    }
}

/// Never more than so many calls in any stretch of so much time, wherever it begins. Without it a bucket lets its burst
/// through on top of its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrictWindow {
    /// Calls. 1 to 10,000.
    pub most: u32,
    /// The stretch. 1 ms to an hour.
    #[serde(with = "crate::duration")]
    pub within: Duration,
}

impl StrictWindow {
    fn check(self, faults: &mut Faults) {
        let Self { most, within } = self;
        faults.require((1..=10_000).contains(&most), "most", || format!("{most} is not within 1..=10000"));
        faults.require((MILLI..=HOUR).contains(&within), "within", || format!("{within:?} is not within 1ms..=1h"));
    }
}

impl fmt::Display for StrictWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in any {:?}", self.most, self.within)
    }
}

/// What the vendor allows over all lanes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Slots: calls under way at the vendor at the same time; for an operation that holds its slot, until its effect ends.
    /// 1 to 10,000; default 20 (the live phone calls of a Retell workspace).
    pub cap: usize,
    /// How fast; default no limit of our own (a vendor's profile states its vendor's).
    pub rate: Option<Rate>,
    /// A strict window beside the rate; both must allow a call. Default none: no vendor known here counts that way in public.
    pub window: Option<StrictWindow>,
    /// How long a slot is kept for an effect whose end nobody reports. It must be longer than the longest effect, or the
    /// cap is passed. 1 s to a day; default 65 min (Retell's longest phone call by default, 1 h, and 5 min for its way).
    #[serde(with = "crate::duration")]
    pub slot_lease: Duration,
    /// How long a call may wait for a slot and a token, after its wait in the lane. 1 ms to an hour; default 30 s (ours,
    /// like the lane's: 17 waiting for one start a second take 17 s).
    #[serde(with = "crate::duration")]
    pub line_wait_max: Duration,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            cap: 20,
            rate: None,
            window: None,
            slot_lease: Duration::from_secs(65 * 60),
            line_wait_max: Duration::from_secs(30),
        }
    }
}

impl GateConfig {
    /// Names every field that is out of its range.
    pub fn check(&self, faults: &mut Faults) {
        let Self { cap, rate, window, slot_lease, line_wait_max } = self;
        faults.require((1..=10_000).contains(cap), "cap", || format!("{cap} is not within 1..=10000"));
        faults.require((Duration::from_secs(1)..=DAY).contains(slot_lease), "slot_lease", || {
            format!("{slot_lease:?} is not within 1s..=24h")
        });
        faults.require((MILLI..=HOUR).contains(line_wait_max), "line_wait_max", || {
            format!("{line_wait_max:?} is not within 1ms..=1h")
        });
        if let Some(rate) = rate {
            rate.check(&mut faults.under("rate"));
        }
        if let Some(window) = window {
            window.check(&mut faults.under("window"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_and_the_seeds_lanes_are_within_their_ranges() {
        let mut faults = Faults::default();
        check_lanes(&patterns_lanes(), &mut faults);
        GateConfig::default().check(&mut faults);
        faults.into_result().unwrap();
        assert_eq!(patterns_lanes().len(), 3);
    }

    #[test]
    fn every_wrong_value_is_named_with_its_range() {
        let mut lanes = patterns_lanes();
        lanes[0].concurrency = 0;
        lanes[1].weight = 101;
        lanes[2].name = lanes[0].name.clone();
        let gate = GateConfig {
            cap: 0,
            rate: Some(Rate { per_second: f64::NAN, burst: 0 }),
            window: Some(StrictWindow { most: 0, within: Duration::ZERO }),
            ..GateConfig::default()
        };
        let mut faults = Faults::default();
        check_lanes(&lanes, &mut faults);
        gate.check(&mut faults);
        let found: Vec<_> = faults.into_result().unwrap_err().iter().map(ToString::to_string).collect();
        let fields: Vec<_> = found.iter().filter_map(|fault| fault.split(':').next()).collect();
        assert_eq!(
            fields,
            [
                "critical.concurrency",
                "normal.weight",
                "critical.name",
                "cap",
                "rate.per_second",
                "rate.burst",
                "window.most",
                "window.within"
            ]
        );
        assert!(found.iter().all(|fault| fault.contains("within") || fault.contains("two lanes")), "{found:?}");
    }

    #[test]
    fn a_lane_needs_only_its_name_and_concurrency() {
        let lane: LaneConfig = serde_json::from_str(r#"{"name":"calls","concurrency":3}"#).unwrap();
        assert_eq!(lane, LaneConfig::new(LaneId::new("calls").unwrap(), 3));
        assert!(serde_json::from_str::<LaneConfig>(r#"{"name":"calls","concurrency":3,"priority":1}"#).is_err());
    }
}
