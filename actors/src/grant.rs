//! What a guard hears of a permit, pass or reservation it gave out.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    credits::Credits,
    ids::{GrantId, MeterId},
    outcome::{Class, Effect, Outcome},
};

/// How an attempt, or the effect it began, ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// Its kind.
    pub class: Class,
    /// What is known of the effect.
    pub effect: Effect,
    /// What it cost on the main meter, where that is known.
    pub cost: Option<Credits>,
    /// What it cost on other meters, where that is known.
    pub also: BTreeMap<MeterId, Credits>,
    /// How long the vendor asks to be left alone.
    pub retry_after: Option<Duration>,
    /// From the first byte to the end.
    pub elapsed: Duration,
}

impl From<&Outcome> for Ending {
    fn from(outcome: &Outcome) -> Self {
        Self {
            class: outcome.class,
            effect: outcome.effect,
            cost: outcome.cost,
            also: outcome.also.clone(),
            retry_after: outcome.retry_after,
            elapsed: outcome.elapsed,
        }
    }
}

/// The three ends of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// Nothing was sent with it: give everything back.
    Unused,
    /// It was used, and this is what came of it.
    Ended(Ending),
    /// It was used, and nobody knows: keep the money, keep the slot until its lease runs out, count the probe as failed.
    Unknown,
}

/// A report to the guard that issued a grant. Applied once by grant id, however often it is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantReport {
    /// Which grant.
    pub grant: GrantId,
    /// What became of it.
    pub end: GrantEnd,
}
