//! The breaker's rule: closed, open or half-open, who may pass, and what a result changes.
//!
//! Each `decide_*` looks at the state and changes nothing; each `apply_*` carries a decision out and cannot panic. Before a
//! call, a report or an order is decided, the deadline is: see [`Breaker::next_deadline`].

mod closed;
mod control;
mod half_open;
mod view;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use control::{BadOrder, Control, Hold, ORDER_MAX, ORDER_REASON_MAX_BYTES, Order};

use super::{
    BreakerConfig, Figures, GRANTS_MAX, later,
    passes::Passes,
    trip::{Counts, open_time, words},
    window::Counted,
};
use crate::{
    fact::{BreakerMode, BreakerState},
    grant::{GrantEnd, GrantReport},
    ids::GrantId,
    outcome::{Class, Verdict},
    refusal::{Guard, Reason, Refusal},
};

/// When to come back to a half-open breaker whose probes are all out: their answers usually come long before their lease ends.
pub const PROBING_PAUSE: Duration = Duration::from_secs(1);

/// What is decided about one call.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// It passes; its end is counted.
    Allow,
    /// It passes as a probe; its end decides.
    Probe,
    /// It does not pass.
    Refuse(Refusal),
}

/// What a report, a deadline or an operator changes. Made by [`Breaker`], carried out by [`Breaker::apply`].
#[derive(Debug, Clone, PartialEq)]
pub struct Change(Step);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Nothing,
    TakeBack(GrantId),
    Counted { grant: GrantId, at: Instant, call: Counted },
    ProbeSucceeded(GrantId),
    SeenOverdue(Instant),
    WouldOpen { grant: Option<GrantId>, at: Instant, until: Instant, cause: Arc<str>, figures: Figures },
    Move(Move),
}

#[derive(Debug, Clone, PartialEq)]
struct Move {
    to: Position,
    hold: Option<Hold>,
    at: Instant,
    cause: Arc<str>,
    figures: Figures,
}

/// Something happened that others want to know. Each is said once.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The state changed, or an operator ordered an open breaker open.
    Changed(Transition),
    /// An operator's order began or ended.
    Mode {
        /// Who decides now.
        mode: BreakerMode,
        /// When the order ends, if one is in force.
        until: Option<Instant>,
        /// Why.
        reason: Arc<str>,
    },
    /// It would have opened, but for an order to count only.
    WouldOpen {
        /// Why, with the numbers.
        cause: Arc<str>,
        /// The numbers.
        figures: Figures,
        /// Until when. Before that it is not said again.
        until: Instant,
    },
}

/// A change of state that took place, or of the time until which it is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// From.
    pub from: BreakerState,
    /// To.
    pub to: BreakerState,
    /// The period that begins with it.
    pub generation: u64,
    /// Why, with the numbers.
    pub cause: Arc<str>,
    /// The numbers.
    pub figures: Figures,
    /// For open: when a probe may pass.
    pub retry_at: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq)]
enum Position {
    Closed(Counts),
    Open { until: Instant, outage: Outage },
    HalfOpen { succeeded: u32, outage: Outage },
}

/// What is remembered from the opening until the closing.
#[derive(Debug, Clone, PartialEq)]
struct Outage {
    cause: Arc<str>,
    /// The open time of the rule that opened it.
    open_for: Duration,
    /// How often it opened again without having closed.
    reopenings: u32,
}

/// The state of one breaker. It lives in the actor's vault.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    config: BreakerConfig,
    position: Position,
    /// An operator's order: with `ForcedOpen` it is open until the order ends, with the others it is closed.
    hold: Option<Hold>,
    generation: u64,
    since: Instant,
    /// The passes of this generation.
    passes: Passes,
    admitted: u64,
    refused: u64,
    opened: u64,
}

impl Breaker {
    /// A closed breaker with nothing counted. The configuration must have been checked.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            position: Position::Closed(Counts::new(&config)),
            hold: None,
            passes: Passes::new(config.probe_lease, config.slower_than()),
            config,
            generation: 1,
            since: now,
            admitted: 0,
            refused: 0,
            opened: 0,
        }
    }

    /// Whether a call may pass at `now`.
    pub fn decide_admit(&self, now: Instant) -> Admission {
        match &self.position {
            Position::Closed(_) if self.passes.has_room(now) => Admission::Allow,
            Position::Closed(_) => {
                let reason = Reason::Full { what: "passes", held: self.passes.len(), limit: GRANTS_MAX };
                Admission::Refuse(Refusal::new(Guard::Breaker, reason))
            }
            Position::Open { until, outage } => {
                let reason = Reason::BreakerOpen { cause: outage.cause.clone() };
                Admission::Refuse(Refusal::new(Guard::Breaker, reason).retry_at(*until))
            }
            Position::HalfOpen { .. } if self.probes_in_flight() < self.config.probes => Admission::Probe,
            Position::HalfOpen { .. } => {
                let reason = Reason::Probing { probes: self.probes_in_flight(), limit: self.config.probes };
                let soon = later(now, PROBING_PAUSE);
                let free = self.next_deadline().map_or(soon, |lease| lease.min(soon));
                Admission::Refuse(Refusal::new(Guard::Breaker, reason).retry_at(free))
            }
        }
    }

    /// Issues a pass, or counts the refusal.
    pub fn apply_admit(&mut self, admission: Admission, now: Instant) -> Result<GrantId, Refusal> {
        if let Admission::Refuse(refusal) = admission {
            self.refused += 1;
            return Err(refusal);
        }
        self.admitted += 1;
        Ok(self.passes.issue(now))
    }

    /// What a report changes: nothing if its pass is not out in this generation. `spread` gives a number in `0.0..1.0` and is
    /// asked only when the breaker opens.
    pub fn decide_report(&self, now: Instant, report: &GrantReport, spread: impl FnOnce() -> f64) -> Change {
        if !self.passes.is_out(report.grant) {
            return Change(Step::Nothing);
        }
        Change(match &self.position {
            Position::Closed(counts) => self.closed_step(counts, now, report, spread),
            Position::HalfOpen { succeeded, outage } => self.probe_step(*succeeded, outage, now, report, spread),
            Position::Open { .. } => Step::TakeBack(report.grant),
        })
    }

    /// When the breaker wants to be asked next: the end of its open time or of an order, the end of the first probe's lease, or
    /// the moment when a call will have been under way too long.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.position {
            Position::Closed(_) => {
                let order_ends = self.hold.as_ref().map(|hold| hold.until);
                order_ends.into_iter().chain(self.passes.next_overdue()).min()
            }
            Position::Open { until, .. } => Some(*until),
            Position::HalfOpen { .. } => self.passes.first_lease_end(),
        }
    }

    /// What the passing of time changes: open becomes half-open, an order ends, a probe past its lease counts as failed, a call
    /// that is under way too long counts as slow.
    pub fn decide_deadline(&self, now: Instant, spread: impl FnOnce() -> f64) -> Change {
        if self.next_deadline().is_none_or(|due| now < due) {
            return Change(Step::Nothing);
        }
        Change(match &self.position {
            _ if self.hold.as_ref().is_some_and(|hold| hold.until <= now) => self.order_ended(now),
            Position::Closed(counts) => self.overdue_step(counts, now, spread),
            Position::Open { outage, .. } => {
                let waited = words(now.saturating_duration_since(self.since));
                self.half_opening(now, outage, format!("open for {waited}"))
            }
            Position::HalfOpen { succeeded, outage } => self.probe_lost(*succeeded, outage, now, spread),
        })
    }

    /// Carries out a change, and says what happened.
    pub fn apply(&mut self, change: Change) -> Vec<Notice> {
        match change.0 {
            Step::Nothing => {}
            Step::TakeBack(grant) => self.passes.take_back(grant),
            Step::Counted { grant, at, call } => {
                self.passes.take_back(grant);
                if let Position::Closed(counts) = &mut self.position {
                    counts.record(at, call);
                }
            }
            Step::ProbeSucceeded(grant) => {
                self.passes.take_back(grant);
                if let Position::HalfOpen { succeeded, .. } = &mut self.position {
                    *succeeded = succeeded.saturating_add(1);
                }
            }
            Step::SeenOverdue(at) => self.passes.mark_overdue(at),
            Step::WouldOpen { grant, at, until, cause, figures } => {
                grant.into_iter().for_each(|grant| self.passes.take_back(grant));
                self.passes.mark_overdue(at);
                self.position = Position::Closed(Counts::new(&self.config));
                self.hold.iter_mut().for_each(|hold| hold.would_be_open_until = Some(until));
                return vec![Notice::WouldOpen { cause, figures, until }];
            }
            Step::Move(change) => return self.enter(change),
        }
        Vec::new()
    }

    fn enter(&mut self, change: Move) -> Vec<Notice> {
        let Move { to, hold, at, cause, figures } = change;
        let from = self.state();
        let mode = (hold.is_some() || self.hold.is_some()).then(|| Notice::Mode {
            mode: hold.as_ref().map_or(BreakerMode::Automatic, |hold| hold.mode),
            until: hold.as_ref().map(|hold| hold.until),
            reason: hold.as_ref().map_or_else(|| cause.clone(), |hold| hold.reason.clone()),
        });
        self.position = to;
        self.hold = hold;
        self.since = at;
        self.generation += 1;
        self.passes.disown();
        let (to, retry_at) = (self.state(), self.retry_at());
        self.opened += u64::from(from != to && to == BreakerState::Open);
        let changed = Transition { from, to, generation: self.generation, cause, figures, retry_at };
        // An open breaker that is ordered open is open until another moment now, for another reason.
        let is_news = from != to || to == BreakerState::Open;
        mode.into_iter().chain(is_news.then_some(Notice::Changed(changed))).collect()
    }

    fn opening(&self, outage: Outage, figures: Figures, now: Instant, until: Instant) -> Step {
        let cause = outage.cause.clone();
        Step::Move(Move { to: Position::Open { until, outage }, hold: None, at: now, cause, figures })
    }

    fn half_opening(&self, now: Instant, outage: &Outage, cause: String) -> Step {
        let figures = Figures { limit: self.config.probes.into(), ..Figures::default() };
        let to = Position::HalfOpen { succeeded: 0, outage: outage.clone() };
        Step::Move(Move { to, hold: None, at: now, cause: cause.into(), figures })
    }

    fn closing(&self, now: Instant, cause: String, figures: Figures) -> Step {
        let to = Position::Closed(Counts::new(&self.config));
        Step::Move(Move { to, hold: None, at: now, cause: cause.into(), figures })
    }

    /// `spread` is asked here, and only here. The failure that opens it may carry the vendor's wish.
    fn open_until(
        &self,
        outage: &Outage,
        now: Instant,
        spread: impl FnOnce() -> f64,
        end: Option<&GrantEnd>,
    ) -> Instant {
        let asked = match end {
            Some(GrantEnd::Ended(ending)) => ending.retry_after,
            _ => None,
        };
        later(now, open_time(&self.config, outage.open_for, outage.reopenings, spread(), asked))
    }
}

fn verdict_of(config: &BreakerConfig, end: &GrantEnd) -> Verdict {
    match end {
        GrantEnd::Unused => Verdict::Silent,
        GrantEnd::Ended(ending) if ending.class == Class::Throttled && config.throttle_counts => Verdict::Failing,
        GrantEnd::Ended(ending) => ending.class.verdict(),
        GrantEnd::Unknown => Verdict::Failing,
    }
}

#[cfg(test)]
mod tests;
