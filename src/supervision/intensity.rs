//! The rules: when a restart is one too many, and how long the pause before it is. Pure; they take `now`.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use mainstay_actors::kernel::Cause;

use super::spec::{Backoff, ChildSpec, Intensity, Restart};

/// A sliding window of events. It holds at most `max_restarts + 1` moments.
#[derive(Debug, Clone)]
pub struct Window {
    limit: Intensity,
    recent: VecDeque<Instant>,
}

impl Window {
    /// An empty window.
    pub fn new(limit: Intensity) -> Self {
        Self { limit, recent: VecDeque::new() }
    }

    /// How many events are in the period that ends now.
    pub fn held(&self, now: Instant) -> u32 {
        let inside = self.recent.iter().filter(|at| self.is_inside(**at, now)).count();
        u32::try_from(inside).unwrap_or(u32::MAX)
    }

    /// Takes an event in. True when the limit is passed with it.
    pub fn note(&mut self, now: Instant) -> bool {
        while self.recent.front().is_some_and(|at| !self.is_inside(*at, now)) {
            self.recent.pop_front();
        }
        let max = usize::try_from(self.limit.max_restarts).unwrap_or(usize::MAX);
        if self.recent.len() > max {
            // Passed already: the oldest says no more than the newest.
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() > max
    }

    /// Forgets everything: somebody looked at the cause.
    pub fn forget(&mut self) {
        self.recent.clear();
    }

    /// The limit in words, as in "passed 10 restarts in 60 s".
    pub fn in_words(&self, what: &str) -> String {
        format!("passed {} {what} in {}", self.limit.max_restarts, words(self.limit.period))
    }

    fn is_inside(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) < self.limit.period
    }
}

fn words(period: Duration) -> String {
    match (period.as_secs(), period.subsec_millis()) {
        (secs, 0) if secs >= 120 && secs % 60 == 0 => format!("{} min", secs / 60),
        (secs, 0) => format!("{secs} s"),
        _ => format!("{} ms", period.as_millis()),
    }
}

/// What a child's rule says of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start it again.
    Restart {
        /// The pause, before jitter.
        after: Duration,
        /// False for a restart that somebody wanted: it weighs on no limit.
        counted: bool,
    },
    /// It passed its limit.
    Park,
    /// It ended as it should.
    Leave,
}

/// The rule of one child.
#[derive(Debug, Clone)]
pub struct ChildRule {
    spec: ChildSpec,
    window: Window,
}

impl ChildRule {
    /// A rule that has seen nothing.
    pub fn new(spec: ChildSpec) -> Self {
        Self { spec, window: Window::new(spec.intensity) }
    }

    /// An incarnation ended: what now?
    pub fn on_exit(&mut self, now: Instant, cause: Cause) -> Decision {
        match (cause, self.spec.restart) {
            (Cause::Relaunched, _) => return Decision::Restart { after: Duration::ZERO, counted: false },
            (_, Restart::Temporary) | (Cause::Stopped, Restart::Transient) => return Decision::Leave,
            _ => {}
        }
        let before = self.window.held(now);
        if self.window.note(now) {
            return Decision::Park;
        }
        Decision::Restart { after: pause(&self.spec.backoff, before), counted: true }
    }

    /// How its pauses are spread.
    pub fn jitter(&self) -> f64 {
        self.spec.backoff.jitter
    }

    /// Its window.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Forgets the past: it was revived.
    pub fn forget(&mut self) {
        self.window.forget();
    }
}

/// The pause after `before` restarts in the window. It falls back to the first as the window empties, so a child that crashes
/// once an hour always comes back at once.
fn pause(backoff: &Backoff, before: u32) -> Duration {
    let grown = u64::from(backoff.factor).saturating_pow(before);
    let factor = u32::try_from(grown).unwrap_or(u32::MAX);
    backoff.first.saturating_mul(factor).min(backoff.max)
}

/// Log lines of one child: at most [`Self::A_SECOND`] a second, then one with the number left out.
#[derive(Debug, Clone, Default)]
pub struct LogGate {
    since: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl LogGate {
    /// Lines a second.
    pub const A_SECOND: u32 = 10;

    /// May one more line be written?
    pub fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said >= Self::A_SECOND {
            self.left_out += 1;
            return false;
        }
        self.said += 1;
        true
    }

    /// How many lines were left out in a second that is over; each is told once.
    pub fn left_out(&mut self, now: Instant) -> Option<u64> {
        let over = self.since.is_some_and(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        (over && self.left_out > 0).then(|| std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests;
