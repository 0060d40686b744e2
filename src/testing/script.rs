//! The script of faults: what goes wrong with which vendor, when, how often, decided by a seed.

use std::{fmt, time::Duration};

use mainstay_actors::faults::Faults;
use serde::{Deserialize, Serialize};

use super::rng_of;

/// Most episodes in one script; each is looked at for each request.
pub const EPISODES_MAX: usize = 1_000;

/// A vendor the simulator plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// Clay, by its table webhook.
    Clay,
    /// Retell AI, by its REST interface.
    Retell,
}

impl Vendor {
    /// The name used in ledgers and seeds.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clay => "clay",
            Self::Retell => "retell",
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What goes wrong with a request. Where there is an `effect`, it says whether the vendor did the work all the same (if its
/// own rules allow it: a request over the rate limit has no effect, whatever the script says).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The work is done at once, the answer comes after `min ..= max`.
    Latency {
        /// The shortest delay.
        #[serde(with = "mainstay_actors::duration")]
        min: Duration,
        /// The longest delay.
        #[serde(with = "mainstay_actors::duration")]
        max: Duration,
    },
    /// The request is read and never answered. The connection is held until the peer gives up, at most
    /// [`SimulatorConfig::hold_max`](super::SimulatorConfig::hold_max).
    BlackHole {
        /// Whether the work is done.
        effect: bool,
    },
    /// The connection is reset without an answer.
    Reset {
        /// Whether the work is done.
        effect: bool,
    },
    /// Headers and half of the body, then the connection is closed.
    CutBody {
        /// Whether the work is done.
        effect: bool,
    },
    /// 429, without effect.
    TooMany {
        /// The `Retry-After` header, in seconds; none without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_secs: Option<u64>,
    },
    /// This status with the vendor's error envelope.
    Status {
        /// An HTTP status, 200 to 599.
        code: u16,
        /// Whether the work is done.
        effect: bool,
    },
    /// 200 or 201 with a body that says failure; without effect.
    FalseSuccess,
    /// 200 with bytes that are no JSON. The work is done: it is the answer that is broken.
    Malformed,
}

impl Fault {
    /// The name used in the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::BlackHole { .. } => "black_hole",
            Self::Reset { .. } => "reset",
            Self::CutBody { .. } => "cut_body",
            Self::TooMany { .. } => "too_many",
            Self::Status { .. } => "status",
            Self::FalseSuccess => "false_success",
            Self::Malformed => "malformed",
        }
    }

    /// Whether the vendor does its work in spite of the fault.
    pub const fn works(&self) -> bool {
        match *self {
            Self::Latency { .. } | Self::Malformed => true,
            Self::BlackHole { effect }
            | Self::Reset { effect }
            | Self::CutBody { effect }
            | Self::Status { effect, .. } => effect,
            Self::TooMany { .. } | Self::FalseSuccess => false,
        }
    }
}

/// One fault over one stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Episode {
    /// When it begins, counted from the moment the script was set.
    #[serde(with = "mainstay_actors::duration")]
    pub from: Duration,
    /// When it is over (this moment not included).
    #[serde(with = "mainstay_actors::duration")]
    pub until: Duration,
    /// Whose requests.
    pub vendor: Vendor,
    /// What happens to them.
    pub fault: Fault,
    /// To which share of them, `0.0 ..= 1.0`.
    pub share: f64,
}

impl Episode {
    /// A fault that strikes every request of a vendor, from the start and for ever (a year).
    pub fn always(vendor: Vendor, fault: Fault) -> Self {
        Self { from: Duration::ZERO, until: Duration::from_secs(365 * 86_400), vendor, fault, share: 1.0 }
    }
}

/// A seed and its episodes. Where several episodes overlap, the first one that strikes wins.
///
/// ```
/// use mainstay::testing::Script;
///
/// let script: Script = serde_json::from_str(
///     r#"{
///         "seed": 7,
///         "episodes": [{
///             "from": "1s", "until": "2m", "vendor": "retell", "share": 0.25,
///             "fault": { "kind": "black_hole", "effect": true }
///         }]
///     }"#,
/// )
/// .unwrap();
/// assert_eq!(script.episodes.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// What the draws depend on.
    pub seed: u64,
    /// What may go wrong, in order of precedence; at most [`EPISODES_MAX`].
    pub episodes: Vec<Episode>,
}

/// What befalls one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// The fault.
    pub fault: Fault,
    /// The delay of a [`Fault::Latency`]; zero for the others.
    pub wait: Duration,
}

impl Script {
    /// A script without episodes.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, episodes: Vec::new() }
    }

    /// Adds an episode after those it has.
    #[must_use]
    pub fn episode(mut self, episode: Episode) -> Self {
        self.episodes.push(episode);
        self
    }

    /// What befalls the `number`th request for `operation`, `since` the script was set. The same arguments give the same
    /// answer: requests to one operation do not disturb the draws of another, nor does an episode those of the next.
    pub fn draw(&self, vendor: Vendor, operation: &str, number: u64, since: Duration) -> Option<Drawn> {
        let mut rng = rng_of(self.seed, &[vendor.as_str(), operation, &number.to_string()]);
        let mut struck = None;
        for episode in &self.episodes {
            let (luck, place) = (rng.f64(), rng.f64());
            let on = episode.vendor == vendor && (episode.from..episode.until).contains(&since);
            if on && struck.is_none() && luck < episode.share {
                struck = Some(Drawn { fault: episode.fault, wait: wait_of(&episode.fault, place) });
            }
        }
        struck
    }

    /// Names every value outside its range.
    pub fn check(&self, faults: &mut Faults) {
        faults.require(self.episodes.len() <= EPISODES_MAX, "episodes", || {
            format!("{} episodes are more than {EPISODES_MAX}", self.episodes.len())
        });
        for (at, episode) in self.episodes.iter().take(EPISODES_MAX).enumerate() {
            episode.check(&mut faults.under(&format!("episodes[{at}]")));
        }
    }
}

impl Episode {
    fn check(&self, faults: &mut Faults) {
        faults
            .require((0.0..=1.0).contains(&self.share), "share", || format!("{} is not within 0.0..=1.0", self.share));
        faults.require(self.from < self.until, "until", || "must be later than `from`".into());
        match self.fault {
            Fault::Latency { min, max } => {
                faults.require(min <= max, "fault.max", || "must not be shorter than `min`".into());
            }
            Fault::Status { code, .. } => {
                faults.require((200..=599).contains(&code), "fault.code", || format!("{code} is not within 200..=599"));
            }
            _ => {}
        }
    }
}

fn wait_of(fault: &Fault, place: f64) -> Duration {
    match *fault {
        Fault::Latency { min, max } => min + max.saturating_sub(min).mul_f64(place),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(from: u64, until: u64, fault: Fault, share: f64) -> Episode {
        Episode {
            from: Duration::from_secs(from),
            until: Duration::from_secs(until),
            vendor: Vendor::Clay,
            fault,
            share,
        }
    }

    fn every_fault() -> Vec<Fault> {
        vec![
            Fault::Latency { min: Duration::from_millis(10), max: Duration::from_secs(2) },
            Fault::BlackHole { effect: true },
            Fault::Reset { effect: false },
            Fault::CutBody { effect: true },
            Fault::TooMany { retry_after_secs: Some(3) },
            Fault::TooMany { retry_after_secs: None },
            Fault::Status { code: 503, effect: false },
            Fault::FalseSuccess,
            Fault::Malformed,
        ]
    }

    #[test]
    fn a_script_survives_json() {
        let mut script = Script::seeded(3);
        script.episodes = every_fault().into_iter().map(|fault| second(0, 9, fault, 0.5)).collect();
        let text = serde_json::to_string(&script).unwrap();
        assert_eq!(serde_json::from_str::<Script>(&text).unwrap(), script, "{text}");
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(serde_json::from_str::<Script>(r#"{"seed":1,"episode":[]}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"reset","efect":true}"#).is_err());
    }

    #[test]
    fn an_episode_strikes_only_its_vendor_and_its_time() {
        let script = Script::seeded(1).episode(second(1, 2, Fault::Malformed, 1.0));
        let draw = |vendor, millis| script.draw(vendor, "webhook", 0, Duration::from_millis(millis));
        assert_eq!(draw(Vendor::Clay, 999), None);
        assert_eq!(draw(Vendor::Clay, 1_000).unwrap().fault, Fault::Malformed);
        assert_eq!(draw(Vendor::Clay, 2_000), None);
        assert_eq!(draw(Vendor::Retell, 1_500), None);
    }

    #[test]
    fn every_wrong_value_is_named_at_once() {
        let script = Script::seeded(1).episode(second(2, 1, Fault::Malformed, f64::NAN)).episode(second(
            0,
            1,
            Fault::Status { code: 42, effect: false },
            1.5,
        ));
        let mut faults = Faults::default();
        script.check(&mut faults);
        let fields: Vec<_> = faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["episodes[0].share", "episodes[0].until", "episodes[1].share", "episodes[1].fault.code"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_same_request_meets_the_same_fault(seed: u64, number in 0..1_000u64, share in 0.0..=1.0f64) {
            let mut script = Script::seeded(seed);
            script.episodes = every_fault().into_iter().map(|fault| second(0, 9, fault, share)).collect();
            let draw = || script.draw(Vendor::Clay, "webhook", number, Duration::from_secs(1));
            prop_assert_eq!(draw(), draw());
        }

        #[test]
        fn an_episode_does_not_disturb_the_draws_of_the_next(seed: u64, number in 0..1_000u64) {
            let (first, next) = (second(5, 6, Fault::FalseSuccess, 1.0), second(0, 9, Fault::Malformed, 0.5));
            let with = Script::seeded(seed).episode(first.clone()).episode(next.clone());
            let mut never = first;
            never.share = 0.0;
            let without = Script::seeded(seed).episode(never).episode(next);
            let draw = |script: &Script| script.draw(Vendor::Clay, "webhook", number, Duration::from_secs(1));
            prop_assert_eq!(draw(&with), draw(&without));
        }

        #[test]
        fn a_delay_stays_within_its_range(seed: u64, min in 0..500u64, more in 0..500u64) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let script = Script::seeded(seed).episode(second(0, 9, Fault::Latency { min, max }, 1.0));
            let drawn = script.draw(Vendor::Clay, "webhook", 0, Duration::ZERO).unwrap();
            prop_assert!((min..=max).contains(&drawn.wait));
        }
    }

    #[test]
    fn a_share_is_met_on_average() {
        let script = Script::seeded(9).episode(second(0, 9, Fault::Malformed, 0.3));
        let hits = (0..10_000).filter(|n| script.draw(Vendor::Clay, "webhook", *n, Duration::ZERO).is_some()).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
    }
}
