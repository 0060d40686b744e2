//! What a vendor account may spend, and when it is worth a warning.

use serde::{Deserialize, Serialize};

use super::{Calendar, Limit, Scope};
use crate::{credits::Credits, faults::Faults, ids::MeterId, meter::Period};

/// The lane that [`BudgetConfig::critical_share`] is kept for.
pub const CRITICAL_LANE: &str = "critical";

/// Most soft marks; each is stated once a period.
const SOFT_MARKS_MAX: usize = 8;
/// Largest limit, in units: what [`Credits::from_decimal`] takes.
pub(super) const LIMIT_MAX_UNITS: u64 = 1_000_000_000_000;
/// Most limits: each is looked at with every call.
const LIMITS_MAX: usize = 16;
/// Most reservations at a time: about 200 MB.
const OUTSTANDING_LIMIT: usize = 1_000_000;

/// The budget of one vendor account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Most that may be spent in a day, in the vendor's unit, written as a decimal number: `500` or `0.5`. It has no default,
    /// because no number is right for every account: left out it reads as 0, which is refused unless `limits` has a limit of
    /// the account in its place. (The seeds' example for Clay is 500 credits a day at about 6 a lead.)
    pub daily_limit: Credits,
    /// Further limits: by month or for life, on other meters, for each tenant or target; default none, at most 16.
    pub limits: Vec<Limit>,
    /// The main meter, named by what the vendor bills in; default `credits`, the word of the seeds.
    pub unit: MeterId,
    /// The IANA name of the zone whose midnight begins a day and, on the first, a month; default `UTC`, which has no summer
    /// time.
    pub time_zone: String,
    /// Shares of a limit at which spending is worth a warning, each once a period; default 0.8 (time to act before the
    /// reset) and 0.95 (nearly used up). Ours, no vendor's.
    pub soft_marks: Vec<f64>,
    /// The share of every limit that only the lane `critical` may use, `0.0..=0.9`; default 0, nothing kept.
    pub critical_share: f64,
    /// Most reservations at a time, those of unknown end included; default 50,000, about 10 MB: a Clay table takes
    /// 18,000 rows in the half hour in which the end of the first is owed.
    pub outstanding_max: usize,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            daily_limit: Credits::ZERO,
            limits: Vec::new(),
            unit: MeterId::default(),
            time_zone: "UTC".into(),
            soft_marks: vec![0.8, 0.95],
            critical_share: 0.0,
            outstanding_max: 50_000,
        }
    }
}

impl BudgetConfig {
    /// A budget of this much a day, and the defaults.
    pub fn per_day(limit: Credits) -> Self {
        Self { daily_limit: limit, ..Self::default() }
    }

    /// Every limit, the account's own on the main meter first.
    pub fn all_limits(&self) -> Vec<Limit> {
        let daily = (self.daily_limit > Credits::ZERO).then(|| Limit::new(Period::Day, self.daily_limit));
        let mut all: Vec<_> = daily.into_iter().chain(self.limits.iter().cloned()).collect();
        all.sort_by_key(|limit| !self.is_of_the_account(limit));
        all
    }

    /// The meter of a limit.
    pub fn meter_of<'a>(&'a self, limit: &'a Limit) -> &'a MeterId {
        limit.meter.as_ref().unwrap_or(&self.unit)
    }

    fn is_of_the_account(&self, limit: &Limit) -> bool {
        limit.scope == Scope::Account && *self.meter_of(limit) == self.unit
    }

    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let limit = self.daily_limit;
        let bounded = limit > Credits::ZERO || self.limits.iter().any(|limit| self.is_of_the_account(limit));
        faults.require(bounded, "daily_limit", || format!("must be stated and above 0, in {} a day", self.unit));
        faults.require(limit < Credits::whole(LIMIT_MAX_UNITS), "daily_limit", || {
            format!("{limit} is not below {LIMIT_MAX_UNITS}")
        });
        self.check_limits(faults);
        faults.require(Calendar::of(&self.time_zone).is_some(), "time_zone", || {
            format!("{:?} is not an IANA time zone such as \"UTC\" or \"Europe/Berlin\"", self.time_zone)
        });
        self.check_shares(faults);
        faults.require((1..=OUTSTANDING_LIMIT).contains(&self.outstanding_max), "outstanding_max", || {
            format!("{} is not within 1..={OUTSTANDING_LIMIT}", self.outstanding_max)
        });
    }

    fn check_limits(&self, faults: &mut Faults) {
        faults.require(self.limits.len() <= LIMITS_MAX, "limits", || {
            format!("{} limits are more than {LIMITS_MAX}", self.limits.len())
        });
        let name = |limit: &Limit| (self.meter_of(limit).clone(), limit.period, limit.scope);
        let all = self.all_limits();
        for (at, limit) in all.iter().enumerate() {
            let twice = all.iter().take(at).any(|other| name(other) == name(limit));
            faults.require(!twice, "limits", || {
                format!("two limits of {} by {} and {:?}", self.meter_of(limit), limit.period.as_str(), limit.scope)
            });
        }
        for (at, limit) in self.limits.iter().enumerate() {
            limit.check(&mut faults.under(&format!("limits[{at}]")));
        }
    }

    fn check_shares(&self, faults: &mut Faults) {
        faults.require(self.soft_marks.len() <= SOFT_MARKS_MAX, "soft_marks", || {
            format!("{} marks are more than {SOFT_MARKS_MAX}", self.soft_marks.len())
        });
        // Written so that NaN is refused.
        for mark in &self.soft_marks {
            faults.require(*mark > 0.0 && *mark <= 1.0, "soft_marks", || {
                format!("{mark} is not above 0.0 and up to 1.0")
            });
        }
        faults.require((0.0..=0.9).contains(&self.critical_share), "critical_share", || {
            format!("{} is not within 0.0..=0.9", self.critical_share)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Own;

    fn faults_of(config: &BudgetConfig) -> Vec<String> {
        let mut faults = Faults::default();
        config.check(&mut faults.under("budget"));
        faults.into_result().err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_budget_of_500_a_day_is_fine() {
        assert!(faults_of(&BudgetConfig::per_day(Credits::whole(500))).is_empty());
    }

    #[test]
    fn a_budget_without_a_limit_is_refused_by_name() {
        let config: BudgetConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(faults_of(&config), ["budget.daily_limit: must be stated and above 0, in credits a day"]);
    }

    #[test]
    fn a_limit_of_the_month_may_take_the_place_of_the_day() {
        let text = r#"{ "limits": [{ "period": "month", "amount": 10000 }, { "scope": "tenant", "amount": 0.5 }] }"#;
        let config: BudgetConfig = serde_json::from_str(text).unwrap();
        assert!(faults_of(&config).is_empty());
        let tenants_alone = BudgetConfig { limits: config.limits[1..].to_vec(), ..config.clone() };
        assert_eq!(faults_of(&tenants_alone).len(), 1, "tenants are any number, so they bound nothing together");
        let rows = Limit::new(Period::Lifetime, Credits::whole(50_000)).of(MeterId::new("rows").unwrap());
        let config = BudgetConfig { limits: vec![rows], ..BudgetConfig::per_day(Credits::whole(500)) };
        assert!(faults_of(&config).is_empty());
    }

    #[test]
    fn every_wrong_value_is_named_at_once() {
        let config = BudgetConfig {
            daily_limit: Credits::MAX,
            limits: vec![
                Limit { scope: Scope::Tenant, used_before: Credits::whole(1), ..Limit::default() },
                Limit {
                    own: [("acme".to_owned(), Own::default())].into(),
                    ..Limit::new(Period::Day, Credits::whole(1))
                },
            ],
            unit: MeterId::default(),
            time_zone: "Mars/Olympus".into(),
            soft_marks: vec![0.5, f64::NAN, 0.0, 1.1],
            critical_share: f64::NAN,
            outstanding_max: 0,
        };
        let found = faults_of(&config);
        assert_eq!(found.len(), 11, "{found:#?}");
    }

    #[test]
    fn a_limit_is_written_as_a_person_writes_it() {
        let config: BudgetConfig = serde_json::from_str(r#"{ "daily_limit": 500 }"#).unwrap();
        assert_eq!(config.daily_limit, Credits::whole(500));
        let again: BudgetConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn a_limit_that_is_no_amount_and_an_unknown_field_are_refused() {
        for bad in [r#"{ "daily_limit": -1 }"#, r#"{ "daily_limit": 1e12 }"#, r#"{ "dayly_limit": 5 }"#] {
            assert!(serde_json::from_str::<BudgetConfig>(bad).is_err(), "{bad}");
        }
    }
}
