//! When an effect is done: with the answer, or later. What comes later is told by a callback or asked for by a poll, and is
//! read by the same rules. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{Amount, Answer, Rule, When, check_rules, classify, cost::check_amounts, read_amounts};
use crate::{
    credits::Credits,
    faults::Faults,
    ids::{MeterId, OperationId},
    outcome::{Class, Effect},
};

/// Longest time within which an end may be owed.
const WITHIN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// When an operation's effect is done.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Completion {
    /// The answer is the end.
    #[default]
    Answer,
    /// The answer says "accepted"; the end comes by callback. Overdue when none came in time.
    Callback {
        /// How long after the answer the end is owed. Up to 7 days.
        #[serde(with = "crate::duration")]
        within: Duration,
        /// Whether a slot is held until then (a phone call) or only the money (a table row); default only the money.
        #[serde(default)]
        holds_slot: bool,
    },
    /// The answer says "accepted"; the end is asked for. A callback that comes first ends it as well.
    Poll(Poll),
}

/// How the end of an effect is asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// The operation that asks: one that may always be repeated, with one name in its path, for which the vendor's own name
    /// of the effect is put.
    pub operation: OperationId,
    /// The first pause before asking; each further one is longer by half. 100 ms up to `every_max`; default 2 s, ours.
    #[serde(default = "every", with = "crate::duration")]
    pub every: Duration,
    /// The longest pause. Up to an hour; default 1 min, ours.
    #[serde(default = "every_max", with = "crate::duration")]
    pub every_max: Duration,
    /// How long after the answer the end is owed; then it is overdue. Up to 7 days.
    #[serde(with = "crate::duration")]
    pub within: Duration,
    /// Whether a slot is held until then; default only the money.
    #[serde(default)]
    pub holds_slot: bool,
    /// Answers that say: not yet. Any other answer that is a success is the end.
    pub pending: Vec<When>,
}

const fn every() -> Duration {
    Duration::from_secs(2)
}

const fn every_max() -> Duration {
    Duration::from_secs(60)
}

/// What is owed after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// How long after the answer the end is owed.
    pub within: Duration,
    /// Whether a slot is held until then.
    pub holds_slot: bool,
}

impl Completion {
    /// What is owed after the answer. `None`: nothing, it is the end.
    pub fn owed(&self) -> Option<Owed> {
        match *self {
            Self::Answer => None,
            Self::Callback { within, holds_slot } | Self::Poll(Poll { within, holds_slot, .. }) => {
                Some(Owed { within, holds_slot })
            }
        }
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        if let Some(Owed { within, .. }) = self.owed() {
            faults.require(!within.is_zero() && within <= WITHIN_MAX, "within", || {
                format!("{within:?} is not above 0s and up to 7d")
            });
        }
        let Self::Poll(poll) = self else { return };
        let Poll { every, every_max, pending, .. } = poll;
        faults.require(*every >= Duration::from_millis(100) && every <= every_max, "every", || {
            format!("{every:?} is not within 100ms..=every_max")
        });
        faults.require(*every_max <= Duration::from_secs(3600), "every_max", || format!("{every_max:?} is over 1h"));
        faults.require(!pending.is_empty(), "pending", || "must say which answers mean: not yet".into());
        for (number, when) in pending.iter().enumerate() {
            when.check(&mut faults.under(&format!("pending[{number}]")));
        }
    }
}

impl Poll {
    /// The pause before asking for the `asked`th time, from 0. Never overflows.
    pub fn pause(&self, asked: u32) -> Duration {
        let growth = 1.5f64.powi(i32::try_from(asked).unwrap_or(i32::MAX));
        let pause = Duration::try_from_secs_f64(self.every.as_secs_f64() * growth).unwrap_or(self.every_max);
        pause.min(self.every_max)
    }

    /// Whether an answer means: not yet.
    pub fn is_pending(&self, answer: Answer<'_>) -> bool {
        self.pending.iter().any(|when| when.matches(answer))
    }
}

/// How the end of an effect is read, from a callback's body or the answer of a poll.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndRules {
    /// What kind of end it was, by the first rule that is about it; default that it was a good one.
    pub rules: Vec<Rule>,
    /// What it cost, where the end says so; default nowhere, and what was reserved is taken for spent.
    pub cost: Option<Amount>,
    /// What it cost on other meters; default nowhere.
    pub also: BTreeMap<MeterId, Amount>,
}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its kind: [`Class::Success`], or what went wrong after the vendor had taken it on.
    pub class: Class,
    /// Whether it happened: [`Effect::None`] gives its money back.
    pub effect: Effect,
    /// What it cost on the main meter, where the end says so.
    pub cost: Option<Credits>,
    /// What it cost on other meters, where the end says so.
    pub also: BTreeMap<MeterId, Credits>,
}

impl EndRules {
    /// Reads an end.
    pub fn read(&self, body: &Value) -> Ended {
        let read = classify(&self.rules, Answer::new(200, body));
        let cost = self.cost.as_ref().and_then(|amount| amount.read(body));
        Ended { class: read.class, effect: read.effect, cost, also: read_amounts(&self.also, body) }
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        check_rules(&self.rules, "rules", faults);
        if let Some(amount) = &self.cost {
            amount.check(&mut faults.under("cost"));
        }
        check_amounts(&self.also, "also", faults);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn poll(text: Value) -> Poll {
        match serde_json::from_value(text) {
            Ok(Completion::Poll(poll)) => poll,
            other => panic!("{other:?}"),
        }
    }

    fn results() -> Poll {
        poll(json!({"poll": {"operation": "results", "within": "1h", "pending": [{"status": 202}]}}))
    }

    #[test]
    fn an_answer_that_says_not_yet_is_no_end() {
        let none = Value::Null;
        assert!(results().is_pending(Answer::new(202, &none)));
        assert!(!results().is_pending(Answer::new(200, &none)));
    }

    #[test]
    fn an_end_says_its_kind_whether_it_happened_and_its_cost() {
        let end: EndRules = serde_json::from_value(json!({
            "rules": [{"when": {"body": {"at": "/reason", "is": ["dial_failed"]}}, "class": "caller_error"}],
            "cost": {"at": "/cents"},
            "also": {"minutes": {"at": "/minutes"}},
        }))
        .unwrap();
        let ended = end.read(&json!({"reason": "dial_failed", "cents": 0}));
        assert_eq!(
            ended,
            Ended { class: Class::CallerError, effect: Effect::None, cost: Some(Credits::ZERO), also: BTreeMap::new() }
        );
        let ended = end.read(&json!({"reason": "user_hangup", "minutes": 3}));
        let also = [(MeterId::new("minutes").unwrap(), Credits::whole(3))].into();
        assert_eq!(ended, Ended { class: Class::Success, effect: Effect::Done, cost: None, also });
    }

    #[test]
    fn a_poll_that_cannot_be_is_a_fault_by_field() {
        let poll = Poll { every: Duration::ZERO, every_max: Duration::from_secs(7200), pending: vec![], ..results() };
        let poll = Poll { within: Duration::ZERO, ..poll };
        let mut faults = Faults::default();
        Completion::Poll(poll).check(&mut faults);
        let fields: Vec<_> = faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["within", "every", "every_max", "pending"]);
    }

    proptest! {
        #[test]
        fn a_pause_grows_up_to_its_longest_and_never_overflows(asked: u32, every in 1u64..100_000, more in 0u64..1 << 40) {
            let (every, most) = (Duration::from_millis(every), Duration::from_millis(every + more));
            let poll = Poll { every, every_max: most, ..results() };
            let pause = poll.pause(asked);
            prop_assert!(pause >= every && pause <= most && poll.pause(asked.saturating_add(1)) >= pause);
        }
    }
}
