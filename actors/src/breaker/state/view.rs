//! What an observer may ask of the breaker.

use std::{sync::Arc, time::Instant};

use super::{Breaker, Hold, Position};
use crate::{
    breaker::{BreakerConfig, window::Tally},
    fact::BreakerState,
};

impl Breaker {
    /// Closed, open or half-open.
    pub fn state(&self) -> BreakerState {
        match self.position {
            Position::Closed(_) => BreakerState::Closed,
            Position::Open { .. } => BreakerState::Open,
            Position::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// The number of the present period, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When the present state began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// While open: when a probe may pass.
    pub fn retry_at(&self) -> Option<Instant> {
        if let Position::Open { until, .. } = self.position { Some(until) } else { None }
    }

    /// While open or half-open: why it opened last.
    pub fn cause(&self) -> Option<&Arc<str>> {
        match &self.position {
            Position::Closed(_) => None,
            Position::Open { outage, .. } | Position::HalfOpen { outage, .. } => Some(&outage.cause),
        }
    }

    /// While closed: what the window holds.
    pub fn tally(&self, now: Instant) -> Tally {
        if let Position::Closed(counts) = &self.position { counts.tally(now) } else { Tally::default() }
    }

    /// While closed: failures in a row.
    pub fn streak(&self, now: Instant) -> u32 {
        if let Position::Closed(counts) = &self.position { counts.streak(now) } else { 0 }
    }

    /// Calls under way that have taken too long already; 0 unless closed, and without a rule for slow calls.
    pub fn overdue(&self, now: Instant) -> u64 {
        if self.state() == BreakerState::Closed { self.passes.overdue(now, None) } else { 0 }
    }

    /// The operator's order in force.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// While half-open: probes under way.
    pub fn probes_in_flight(&self) -> u32 {
        let out = if self.state() == BreakerState::HalfOpen { self.passes.len() } else { 0 };
        u32::try_from(out).unwrap_or(u32::MAX)
    }

    /// Passes of this generation that are out.
    pub fn passes_out(&self) -> usize {
        self.passes.len()
    }

    /// Calls that passed, that were refused, and openings, since the process began.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.admitted, self.refused, self.opened)
    }

    /// What it was made with.
    pub fn config(&self) -> &BreakerConfig {
        &self.config
    }
}
