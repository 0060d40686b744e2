//! What an operator changes while calls run: pause, resume, other limits. Pure.
//!
//! The same change twice is one, so that it may be sent again after a crash. A value out of its range changes nothing. What
//! is under way is never taken back: where a limit was lowered, nothing starts until enough of it has ended. A change lives
//! as long as the runtime; the next one begins with its configuration.

use std::{fmt::Display, sync::Arc};

use super::config::{GateConfig, LaneConfig, Rate, StrictWindow};
use crate::faults::{Fault, Faults};

/// A change of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneChange {
    /// Nothing starts. Whoever waits goes on waiting, and whoever comes waits too, within the limits of the queue. Says why.
    Pause(Arc<str>),
    /// Calls start again.
    Resume,
    /// So many at the same time; see [`LaneConfig::concurrency`].
    Concurrency(usize),
    /// So many may wait; see [`LaneConfig::queue_max`]. Those that wait already stay.
    QueueMax(usize),
}

/// A change of the vendor's gate.
#[derive(Debug, Clone, PartialEq)]
pub enum GateChange {
    /// Nothing starts on any lane. Says why.
    Pause(Arc<str>),
    /// Calls start again.
    Resume,
    /// So many slots; see [`GateConfig::cap`].
    Cap(usize),
    /// Another rate, or none; see [`GateConfig::rate`]. The tokens that are there stay, as far as the new burst has room.
    Rate(Option<Rate>),
    /// Another strict window, or none; see [`GateConfig::window`]. Calls of the last window count in the new one.
    Window(Option<StrictWindow>),
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// A value is out of its range.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    OutOfRange(Vec<Fault>),
    /// The actor was being replaced; ask again.
    #[error("the actor was being restarted; ask again")]
    Restarting,
}

/// The limits that are in force, and why nothing starts, if nothing does.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce<C> {
    pub(super) config: C,
    pub(super) paused: Option<Arc<str>>,
}

impl<C> InForce<C> {
    pub(super) fn new(config: C) -> Self {
        Self { config, paused: None }
    }
}

impl InForce<LaneConfig> {
    /// After a change.
    pub(super) fn with(&self, change: LaneChange) -> Result<Self, ChangeError> {
        let mut to = self.clone();
        match change {
            LaneChange::Pause(why) => to.paused = Some(why),
            LaneChange::Resume => to.paused = None,
            LaneChange::Concurrency(permits) => to.config.concurrency = permits,
            LaneChange::QueueMax(places) => to.config.queue_max = places,
        }
        checked(|faults| to.config.check(faults))?;
        Ok(to)
    }

    /// What is different from an earlier one, in words; `None` when nothing is.
    pub(super) fn news(&self, before: &Self) -> Option<Arc<str>> {
        let (now, before_config) = (&self.config, &before.config);
        joined([
            pause_news(&self.paused, &before.paused),
            differs("concurrency", before_config.concurrency, now.concurrency),
            differs("queue_max", before_config.queue_max, now.queue_max),
        ])
    }
}

impl InForce<GateConfig> {
    /// After a change.
    pub(super) fn with(&self, change: GateChange) -> Result<Self, ChangeError> {
        let mut to = self.clone();
        match change {
            GateChange::Pause(why) => to.paused = Some(why),
            GateChange::Resume => to.paused = None,
            GateChange::Cap(slots) => to.config.cap = slots,
            GateChange::Rate(rate) => to.config.rate = rate,
            GateChange::Window(window) => to.config.window = window,
        }
        checked(|faults| to.config.check(faults))?;
        Ok(to)
    }

    /// What is different from an earlier one, in words; `None` when nothing is.
    pub(super) fn news(&self, before: &Self) -> Option<Arc<str>> {
        let (now, before_config) = (&self.config, &before.config);
        let rate = |config: &GateConfig| config.rate.map_or("none".into(), |rate| rate.to_string());
        let window = |config: &GateConfig| config.window.map_or("none".into(), |window| window.to_string());
        joined([
            pause_news(&self.paused, &before.paused),
            differs("cap", before_config.cap, now.cap),
            differs("rate", rate(before_config), rate(now)),
            differs("window", window(before_config), window(now)),
        ])
    }
}

fn checked(check: impl FnOnce(&mut Faults)) -> Result<(), ChangeError> {
    let mut faults = Faults::default();
    check(&mut faults);
    faults.into_result().map_err(ChangeError::OutOfRange)
}

fn pause_news(now: &Option<Arc<str>>, before: &Option<Arc<str>>) -> Option<String> {
    match now {
        _ if now == before => None,
        Some(why) => Some(format!("paused: {why}")),
        None => Some("resumed".into()),
    }
}

fn differs<T: PartialEq + Display>(what: &str, before: T, now: T) -> Option<String> {
    (before != now).then(|| format!("{what} {before} -> {now}"))
}

fn joined<const N: usize>(news: [Option<String>; N]) -> Option<Arc<str>> {
    let news: Vec<_> = news.into_iter().flatten().collect();
    (!news.is_empty()).then(|| news.join(", ").into())
}

#[cfg(feature = "runtime")]
impl actix::Message for LaneChange {
    type Result = Result<(), ChangeError>;
}

#[cfg(feature = "runtime")]
impl actix::Message for GateChange {
    type Result = Result<(), ChangeError>;
}
