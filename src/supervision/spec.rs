//! What is wanted of supervision, as data.

use std::time::Duration;

use mainstay_actors::{
    faults::Faults,
    ids::{ActorId, VendorId},
};
use serde::{Deserialize, Serialize};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// When a child is started again. The words are OTP's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always. The default: every guard is needed as long as the runtime lives.
    #[default]
    Permanent,
    /// After a crash or a hang; an orderly end is an end.
    Transient,
    /// Never.
    Temporary,
}

/// Who else is started again when a child is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Nobody. The default: addresses outlive incarnations, so one's crash is no reason to restart another.
    #[default]
    OneForOne,
    /// Those adopted after it: for children that hold more of an earlier one than its address.
    RestForOne,
}

/// How many events a period may hold. The limit is passed by one more than `max_restarts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intensity {
    /// Allowed within any `period`: 0..=1000. 0 allows none.
    pub max_restarts: u32,
    /// The length of the sliding window: 100 ms..=24 h.
    #[serde(with = "mainstay_actors::duration")]
    pub period: Duration,
}

impl Intensity {
    /// 10 restarts in 60 s. OTP's 1 in 5 s stops a child for what one poisoned batch does; 10 leaves room for a few poison
    /// messages (each is set aside after 3 attempts) and still ends a crash loop within about 4 s of pauses.
    pub const CHILD: Self = Self { max_restarts: 10, period: MINUTE };
    /// 50 restarts in 60 s over all children of one supervisor: five children at their own limit.
    pub const SUPERVISOR: Self = Self { max_restarts: 50, period: MINUTE };
    /// 3 vendors down in 10 min: one bad vendor is the vendor, more than three are the process.
    pub const ROOT: Self = Self { max_restarts: 3, period: Duration::from_secs(600) };

    /// Checks the ranges named at the fields.
    pub fn check(&self, faults: &mut Faults) {
        faults.require(self.max_restarts <= 1_000, "max_restarts", || {
            format!("{} is not within 0..=1000", self.max_restarts)
        });
        faults.require((100 * MS..=DAY).contains(&self.period), "period", || {
            format!("{:?} is not within 100 ms..=24 h", self.period)
        });
    }
}

/// The pause before a restart: `first`, then `factor` times as long for each restart that is still in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The first pause: 0..=60 s; default 5 ms, about a thousand times what a restart costs (4 us measured).
    #[serde(with = "mainstay_actors::duration")]
    pub first: Duration,
    /// Growth: 1..=10; default 2.
    pub factor: u32,
    /// The longest pause before jitter: `first`..=1 h; default 1 s, because callers wait behind it.
    #[serde(with = "mainstay_actors::duration")]
    pub max: Duration,
    /// The share by which a pause is spread to both sides: 0.0..=1.0; default 0.25, so that siblings do not restart in step.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: 5 * MS, factor: 2, max: Duration::from_secs(1), jitter: 0.25 }
    }
}

impl Backoff {
    /// Checks the ranges named at the fields.
    pub fn check(&self, faults: &mut Faults) {
        faults.require(self.first <= MINUTE, "first", || format!("{:?} is not within 0..=60 s", self.first));
        faults.require((1..=10).contains(&self.factor), "factor", || format!("{} is not within 1..=10", self.factor));
        faults.require(self.max >= self.first && self.max <= 60 * MINUTE, "max", || {
            format!("{:?} is not within first..=1 h", self.max)
        });
        faults.require((0.0..=1.0).contains(&self.jitter), "jitter", || {
            format!("{} is not within 0.0..=1.0", self.jitter)
        });
    }
}

/// How one child is supervised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChildSpec {
    /// When it is started again; default always.
    pub restart: Restart,
    /// How often; default [`Intensity::CHILD`].
    pub intensity: Intensity,
    /// After which pause.
    pub backoff: Backoff,
}

impl Default for ChildSpec {
    fn default() -> Self {
        Self { restart: Restart::default(), intensity: Intensity::CHILD, backoff: Backoff::default() }
    }
}

impl ChildSpec {
    /// Checks all parts.
    pub fn check(&self, faults: &mut Faults) {
        self.intensity.check(&mut faults.under("intensity"));
        self.backoff.check(&mut faults.under("backoff"));
    }
}

/// One supervisor: a vendor's, or one of the runtime's own.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisorSpec {
    /// Its path in the tree.
    pub id: ActorId,
    /// Whose actors it holds. `None` for the runtime's own: it going down is fatal at once.
    pub vendor: Option<VendorId>,
    /// Who else is started again.
    pub strategy: Strategy,
    /// How often, over all its children.
    pub intensity: Intensity,
}

impl SupervisorSpec {
    /// A vendor's supervisor with the defaults.
    pub fn of_vendor(vendor: VendorId) -> Self {
        Self { vendor: Some(vendor.clone()), ..Self::of_runtime(ActorId::new(vendor.as_str())) }
    }

    /// A supervisor of the runtime's own actors with the defaults.
    pub fn of_runtime(id: ActorId) -> Self {
        Self { id, vendor: None, strategy: Strategy::default(), intensity: Intensity::SUPERVISOR }
    }

    /// Checks the ranges.
    pub fn check(&self, faults: &mut Faults) {
        self.intensity.check(&mut faults.under("intensity"));
    }
}

/// The root: how many vendors may go down before the process is taken for broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RootSpec {
    /// Vendors down; default [`Intensity::ROOT`].
    pub intensity: Intensity,
}

impl Default for RootSpec {
    fn default() -> Self {
        Self { intensity: Intensity::ROOT }
    }
}

impl RootSpec {
    /// Checks the ranges.
    pub fn check(&self, faults: &mut Faults) {
        self.intensity.check(&mut faults.under("intensity"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_own_ranges() {
        let mut faults = Faults::default();
        ChildSpec::default().check(&mut faults);
        RootSpec::default().check(&mut faults);
        SupervisorSpec::of_runtime(ActorId::new("runtime")).check(&mut faults);
        assert_eq!(faults.into_result(), Ok(()));
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let intensity = Intensity { max_restarts: 1_001, period: Duration::ZERO };
        let backoff = Backoff { first: 61 * Duration::from_secs(1), factor: 0, max: Duration::ZERO, jitter: f64::NAN };
        let mut faults = Faults::default();
        ChildSpec { intensity, backoff, ..ChildSpec::default() }.check(&mut faults.under("child"));
        let named: Vec<_> = faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect();
        let expected = [
            "intensity.max_restarts",
            "intensity.period",
            "backoff.first",
            "backoff.factor",
            "backoff.max",
            "backoff.jitter",
        ];
        assert_eq!(named, expected.map(|field| format!("child.{field}")));
    }
}
