//! What a limit comes to if spending goes on at the present pace.
//!
//! The pace is what `spent and reserved` grew in the last hour, or since the period or the process began if that is shorter.
//! An hour is long enough that one batch does not make a trend, and short enough to follow the morning. Below ten minutes too
//! little is known to say anything. A night is not foreseen: "at this pace" means just that.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::credits::Credits;

/// How far back the pace is taken.
const WINDOW: Duration = Duration::from_secs(3600);
/// How often a sample is taken: 14 of them cover the window.
const STEP: Duration = Duration::from_secs(300);
/// Less than this tells nothing.
const KNOWN_AFTER: Duration = Duration::from_secs(600);

/// What a limit comes to at the present pace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forecast {
    /// Used up at this moment, before its reset.
    UsedUpAt(Timestamp),
    /// So much of it is used when it is reset, as a share of the limit.
    AtReset(f64),
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsedUpAt(at) => write!(f, "at this pace used up at {at:.0}"),
            Self::AtReset(share) => write!(f, "at this pace {:.0} % used at the reset", share * 100.0),
        }
    }
}

/// What was used when, over the last hour of the present period.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Oldest first, never empty; the first is the last one from before the window, if there is one.
    samples: VecDeque<(Instant, Credits)>,
}

impl Pace {
    /// A period, or the process, begins with this much used.
    pub(super) fn begin(now: Instant, used: Credits) -> Self {
        Self { samples: VecDeque::from([(now, used)]) }
    }

    /// Takes a sample of what is used, before it changes, if one is due.
    pub(super) fn sample(&mut self, now: Instant, used: Credits) {
        if self.samples.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < STEP) {
            return;
        }
        self.samples.push_back((now, used));
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// When the next sample is due; `None` while nothing moves.
    pub(super) fn due(&self, used: Credits) -> Option<Instant> {
        let moves = self.samples.front().is_some_and(|(_, then)| *then != used);
        let (last, _) = self.samples.back().filter(|_| moves)?;
        last.checked_add(STEP)
    }

    /// What the limit comes to, this far from its reset; `None` when too little is known, or it is never reset and nothing is
    /// spent.
    pub(super) fn outlook(
        &self,
        (now, wall): (Instant, Timestamp),
        used: Credits,
        limit: Credits,
        reset: Option<Timestamp>,
    ) -> Option<Forecast> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let (began, _) = self.samples.front()?;
        if since(*began) < KNOWN_AFTER {
            return None;
        }
        let outside = self.samples.iter().rev().find(|(at, _)| since(*at) >= WINDOW);
        let (at, before) = outside.or(self.samples.front())?;
        // A sample from long ago stands for the whole silence after it.
        let over = since(*at).min(WINDOW + STEP).as_secs_f64();
        let pace = used.minus(*before).as_decimal() / over;
        let left = reset.map(|reset| reset.duration_since(wall).as_secs_f64().max(0.0));
        let until_used_up = limit.minus(used).as_decimal() / pace;
        // No pace divides to infinity, or to NaN at a limit that is used up.
        if limit <= used || until_used_up <= left.unwrap_or(f64::MAX) {
            let ahead = Duration::try_from_secs_f64(until_used_up.max(0.0)).unwrap_or(Duration::ZERO);
            return wall.checked_add(ahead).ok().map(Forecast::UsedUpAt);
        }
        let share = (used.as_decimal() + pace * left?) / limit.as_decimal();
        Some(Forecast::AtReset(share))
    }
}

#[cfg(test)]
mod tests;
