//! What a delivered operation really cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pointer;
use crate::{credits::Credits, faults::Faults, ids::MeterId};

/// A number in an answer that is an amount.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// A JSON pointer to it. With a `*` in it, the sum of all.
    pub at: String,
    /// What one of it is in the profile's unit: 100 where the vendor says dollars and is billed in cents. Above 0; default 1.
    #[serde(default = "one")]
    pub scale: f64,
}

const fn one() -> f64 {
    1.0
}

impl Amount {
    /// The number at a pointer, in the profile's unit.
    pub fn at(pointer: impl Into<String>) -> Self {
        Self { at: pointer.into(), scale: one() }
    }

    /// The amount that a body states. `None`: it states none that can be read.
    pub fn read(&self, body: &Value) -> Option<Credits> {
        let found = pointer::find(body, &self.at);
        if found.is_empty() {
            return None;
        }
        found.into_iter().map(|value| self.amount(value.as_f64()?)).sum()
    }

    fn amount(&self, number: f64) -> Option<Credits> {
        Credits::from_decimal(number * self.scale).ok()
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        pointer::check(&self.at, "at", faults);
        check_scale(self.scale, faults);
    }
}

/// What a body says of several meters. What it does not say, or cannot be read, is not in it.
pub fn read_amounts(amounts: &BTreeMap<MeterId, Amount>, body: &Value) -> BTreeMap<MeterId, Credits> {
    amounts.iter().filter_map(|(meter, amount)| Some((meter.clone(), amount.read(body)?))).collect()
}

pub(super) fn check_amounts(amounts: &BTreeMap<MeterId, Amount>, field: &str, faults: &mut Faults) {
    for (meter, amount) in amounts {
        amount.check(&mut faults.under(&format!("{field}.{meter}")));
    }
}

fn check_scale(scale: f64, faults: &mut Faults) {
    faults.require(scale.is_finite() && scale > 0.0, "scale", || format!("{scale} is not above 0"));
}

/// Where the real cost of an operation is found.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CostRule {
    /// Nowhere: the estimate is the cost.
    Estimate,
    /// It costs nothing.
    Free,
    /// In the answer's body.
    Body(Amount),
    /// In a header of the answer.
    Header {
        /// Its name.
        name: String,
        /// As [`Amount::scale`].
        #[serde(default = "one")]
        scale: f64,
    },
    /// It comes with the end of the effect, by callback or poll.
    Later,
}

/// What the vendor charges for an answer that is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// Nothing, on no meter.
    Nothing,
    /// What was reserved.
    Estimate,
    /// This much on the main meter, what was reserved on others.
    Fixed(Credits),
}

impl Charge {
    /// On the main meter.
    pub fn of(self, estimate: Credits) -> Credits {
        match self {
            Self::Nothing => Credits::ZERO,
            Self::Estimate => estimate,
            Self::Fixed(cost) => cost,
        }
    }
}

impl CostRule {
    /// The cost an answer states. `None`: not known yet, or not readable; what was reserved is then taken for spent.
    pub fn read<'a>(
        &self,
        estimate: Credits,
        body: &Value,
        header: impl FnOnce(&str) -> Option<&'a str>,
    ) -> Option<Credits> {
        match self {
            Self::Estimate => Some(estimate),
            Self::Free => Some(Credits::ZERO),
            Self::Body(amount) => amount.read(body),
            Self::Header { name, scale } => {
                let number: f64 = header(name)?.trim().parse().ok()?;
                Credits::from_decimal(number * scale).ok()
            }
            Self::Later => None,
        }
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        match self {
            Self::Body(amount) => amount.check(faults),
            Self::Header { scale, .. } => check_scale(*scale, faults),
            Self::Estimate | Self::Free | Self::Later => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cost_that_cannot_be_read_is_not_free() {
        let rule = CostRule::Body(Amount::at("/cost/total"));
        let read = |body| rule.read(Credits::whole(6), &body, |_| None);
        assert_eq!(read(json!({"cost": {"total": 1.5}})), Some(Credits::from_micros(1_500_000)));
        for bad in [json!({}), json!({"cost": {"total": "1.5"}}), json!({"cost": {"total": -1}}), Value::Null] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn a_cost_in_another_unit_and_in_several_parts_is_the_sum_in_ours() {
        let amount = Amount { scale: 100.0, ..Amount::at("/items/*/usd") };
        assert_eq!(amount.read(&json!({"items": [{"usd": 0.1}, {"usd": 0.25}]})), Some(Credits::whole(35)));
        assert_eq!(amount.read(&json!({"items": [{"usd": 0.1}, {"usd": "?"}]})), None);
        assert_eq!(amount.read(&json!({"items": []})), None);
    }

    #[test]
    fn a_cost_may_stand_in_a_header() {
        let rule: CostRule = serde_json::from_value(json!({"header": {"name": "x-credits"}})).unwrap();
        let read = |text: Option<&'static str>| {
            rule.read(Credits::whole(6), &Value::Null, move |name| text.filter(|_| name == "x-credits"))
        };
        assert_eq!(read(Some(" 2.5 ")), Some(Credits::from_micros(2_500_000)));
        assert_eq!((read(Some("many")), read(None)), (None, None));
    }
}
