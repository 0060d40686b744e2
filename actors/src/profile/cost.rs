//! What a delivered operation really cost.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::credits::Credits;

/// Where the real cost of an operation is found.
#[derive(Debug, Clone, PartialEq)]
pub enum CostRule {
    /// Nowhere: the estimate is the cost.
    Estimate,
    /// It costs nothing.
    Free,
    /// In the answer, at a JSON pointer.
    Body {
        /// Where.
        pointer: String,
    },
    /// It comes with the callback that ends the effect.
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
    pub fn read(&self, estimate: Credits, body: &Value) -> Option<Credits> {
        match self {
            Self::Estimate => Some(estimate),
            Self::Free => Some(Credits::ZERO),
            Self::Body { pointer } => Credits::from_decimal(body.pointer(pointer)?.as_f64()?).ok(),
            Self::Later => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cost_that_cannot_be_read_is_not_free() {
        let rule = CostRule::Body { pointer: "/cost/total".into() };
        assert_eq!(
            rule.read(Credits::whole(6), &json!({"cost": {"total": 1.5}})),
            Some(Credits::from_micros(1_500_000))
        );
        for bad in [json!({}), json!({"cost": {"total": "1.5"}}), json!({"cost": {"total": -1}}), Value::Null] {
            assert_eq!(rule.read(Credits::whole(6), &bad), None, "{bad}");
        }
    }
}
