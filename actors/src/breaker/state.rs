//! The breaker's rule: closed, open or half-open, who may pass, and what a result changes.
//!
//! Each `decide_*` looks at the state and changes nothing; each `apply_*` carries a decision out and cannot panic. Before a
//! call or a report is decided, the deadline is: see [`Breaker::next_deadline`].

mod view;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BreakerConfig, Figures,
    trip::{Counts, open_time, trip, words},
};
use crate::{
    fact::BreakerState,
    grant::{GrantEnd, GrantReport},
    ids::GrantId,
    outcome::{Effect, Verdict},
    refusal::{Guard, Reason, Refusal},
};

/// Passes that may be out in one generation. The lanes bound them far below; this bounds the table if they do not.
pub const GRANTS_MAX: usize = 10_000;

/// When to come back to a half-open breaker whose probes are all out: their answers usually come long before their lease ends.
pub const PROBING_PAUSE: Duration = Duration::from_secs(1);

/// Stands for "longer than any process runs", where a sum would overflow.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

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
    PlaceBack(GrantId),
    Counted { grant: GrantId, at: Instant, failed: bool },
    ProbeSucceeded(GrantId),
    Move(Move),
}

#[derive(Debug, Clone, PartialEq)]
struct Move {
    to: Mode,
    at: Instant,
    cause: Arc<str>,
    figures: Figures,
}

/// A change of state that took place.
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
enum Mode {
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

/// The state of one vendor's breaker. It lives in the actor's vault.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    config: BreakerConfig,
    mode: Mode,
    generation: u64,
    since: Instant,
    /// The passes of this generation that are out, with the end of their lease. Ids and lease ends rise together.
    issued: BTreeMap<GrantId, Instant>,
    last_grant: u64,
    admitted: u64,
    refused: u64,
    opened: u64,
}

impl Breaker {
    /// A closed breaker with nothing counted. The configuration must have been checked.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            mode: Mode::Closed(Counts::new(&config)),
            config,
            generation: 1,
            since: now,
            issued: BTreeMap::new(),
            last_grant: 0,
            admitted: 0,
            refused: 0,
            opened: 0,
        }
    }

    /// Whether a call may pass at `now`.
    pub fn decide_admit(&self, now: Instant) -> Admission {
        match &self.mode {
            Mode::Closed(_) if self.issued.len() < GRANTS_MAX || self.has_lost_pass(now) => Admission::Allow,
            Mode::Closed(_) => {
                let reason = Reason::Full { what: "passes", held: self.issued.len(), limit: GRANTS_MAX };
                Admission::Refuse(Refusal::new(Guard::Breaker, reason))
            }
            Mode::Open { until, outage } => {
                let reason = Reason::BreakerOpen { cause: outage.cause.clone() };
                Admission::Refuse(Refusal::new(Guard::Breaker, reason).retry_at(*until))
            }
            Mode::HalfOpen { .. } if self.probes_in_flight() < self.config.probes => Admission::Probe,
            Mode::HalfOpen { .. } => {
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
        while self.issued.len() >= GRANTS_MAX && self.has_lost_pass(now) {
            self.issued.pop_first();
        }
        self.admitted += 1;
        self.last_grant += 1;
        let grant = GrantId(self.last_grant);
        self.issued.insert(grant, later(now, self.config.probe_lease));
        Ok(grant)
    }

    /// What a report changes: nothing if its pass is not out in this generation. `spread` gives a number in `0.0..1.0` and is
    /// asked only when the breaker opens.
    pub fn decide_report(&self, now: Instant, report: &GrantReport, spread: impl FnOnce() -> f64) -> Change {
        let grant = report.grant;
        if !self.issued.contains_key(&grant) {
            return Change(Step::Nothing);
        }
        match &self.mode {
            Mode::Closed(counts) => Change(self.closed_step(counts, now, report, spread)),
            Mode::HalfOpen { succeeded, outage } => Change(self.probe_step(*succeeded, outage, now, report, spread)),
            Mode::Open { .. } => Change(Step::PlaceBack(grant)),
        }
    }

    fn closed_step(&self, counts: &Counts, now: Instant, report: &GrantReport, spread: impl FnOnce() -> f64) -> Step {
        let failed = match verdict_of(&report.end) {
            Verdict::Silent => return Step::PlaceBack(report.grant),
            Verdict::Healthy => false,
            Verdict::Failing => true,
        };
        let Some(trip) = trip(&self.config, counts, now, failed) else {
            return Step::Counted { grant: report.grant, at: now, failed };
        };
        let (open_for, figures) = (trip.open_for, trip.figures);
        self.opening(
            now,
            Outage { cause: trip.cause, open_for, reopenings: 0 },
            figures,
            spread,
            retry_after(&report.end),
        )
    }

    fn probe_step(
        &self,
        succeeded: u32,
        outage: &Outage,
        now: Instant,
        report: &GrantReport,
        spread: impl FnOnce() -> f64,
    ) -> Step {
        let cause = match &report.end {
            GrantEnd::Ended(ending) => match ending.class.verdict() {
                Verdict::Healthy => return self.probe_succeeded(succeeded, now, report.grant),
                // A probe that was lost after its first byte failed; another silent end only frees its place.
                Verdict::Silent if ending.effect != Effect::Unknown => return Step::PlaceBack(report.grant),
                Verdict::Silent | Verdict::Failing => format!("a probe failed: {}", ending.class),
            },
            GrantEnd::Unused => return Step::PlaceBack(report.grant),
            GrantEnd::Unknown => "a probe failed: its end is not known".to_owned(),
        };
        self.reopening(now, outage, succeeded, cause, spread, retry_after(&report.end))
    }

    fn probe_succeeded(&self, succeeded: u32, now: Instant, grant: GrantId) -> Step {
        let succeeded = succeeded.saturating_add(1);
        if succeeded < self.config.probes_to_close {
            return Step::ProbeSucceeded(grant);
        }
        let cause = if succeeded == 1 { "a probe succeeded".into() } else { format!("{succeeded} probes succeeded") };
        let limit = self.config.probes_to_close.into();
        self.closing(now, cause, Figures { failures: 0, calls: succeeded.into(), limit })
    }

    /// When the breaker wants to be asked next: the end of its open time, or of the first probe's lease.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.mode {
            Mode::Closed(_) => None,
            Mode::Open { until, .. } => Some(*until),
            Mode::HalfOpen { .. } => self.first_lease_end(),
        }
    }

    /// What the passing of time changes: open becomes half-open, a probe past its lease counts as failed.
    pub fn decide_deadline(&self, now: Instant, spread: impl FnOnce() -> f64) -> Change {
        if self.next_deadline().is_none_or(|due| now < due) {
            return Change(Step::Nothing);
        }
        match &self.mode {
            Mode::Closed(_) => Change(Step::Nothing),
            Mode::Open { outage, .. } => {
                let waited = words(now.saturating_duration_since(self.since));
                let figures = Figures { limit: self.config.probes.into(), ..Figures::default() };
                let to = Mode::HalfOpen { succeeded: 0, outage: outage.clone() };
                Change(Step::Move(Move { to, at: now, cause: format!("open for {waited}").into(), figures }))
            }
            Mode::HalfOpen { succeeded, outage } => {
                let cause = format!("a probe did not report within {}", words(self.config.probe_lease));
                Change(self.reopening(now, outage, *succeeded, cause, spread, None))
            }
        }
    }

    /// What an operator's reset changes: closed, a new generation, nothing counted.
    pub fn decide_reset(&self, now: Instant) -> Change {
        Change(self.closing(now, "reset by an operator".into(), Figures::default()))
    }

    /// Carries out a change. A transition comes out once for each change of state.
    pub fn apply(&mut self, change: Change) -> Option<Transition> {
        match change.0 {
            Step::Nothing => {}
            Step::PlaceBack(grant) => drop(self.issued.remove(&grant)),
            Step::Counted { grant, at, failed } => {
                self.issued.remove(&grant);
                if let Mode::Closed(counts) = &mut self.mode {
                    counts.record(at, failed);
                }
            }
            Step::ProbeSucceeded(grant) => {
                self.issued.remove(&grant);
                if let Mode::HalfOpen { succeeded, .. } = &mut self.mode {
                    *succeeded = succeeded.saturating_add(1);
                }
            }
            Step::Move(change) => return self.enter(change),
        }
        None
    }

    fn enter(&mut self, change: Move) -> Option<Transition> {
        let Move { to, at, cause, figures } = change;
        let from = self.state();
        self.mode = to;
        self.since = at;
        self.generation += 1;
        // Whatever is still out belongs to the past.
        self.issued.clear();
        let (to, retry_at) = (self.state(), self.retry_at());
        self.opened += u64::from(to == BreakerState::Open);
        (from != to).then_some(Transition { from, to, generation: self.generation, cause, figures, retry_at })
    }

    fn opening(
        &self,
        now: Instant,
        outage: Outage,
        figures: Figures,
        spread: impl FnOnce() -> f64,
        retry_after: Option<Duration>,
    ) -> Step {
        let time = open_time(&self.config, outage.open_for, outage.reopenings, spread(), retry_after);
        let cause = outage.cause.clone();
        Step::Move(Move { to: Mode::Open { until: later(now, time), outage }, at: now, cause, figures })
    }

    fn reopening(
        &self,
        now: Instant,
        outage: &Outage,
        succeeded: u32,
        cause: String,
        spread: impl FnOnce() -> f64,
        retry_after: Option<Duration>,
    ) -> Step {
        let figures = Figures { failures: 1, calls: u64::from(succeeded) + 1, limit: 1.0 };
        let outage =
            Outage { cause: cause.into(), open_for: outage.open_for, reopenings: outage.reopenings.saturating_add(1) };
        self.opening(now, outage, figures, spread, retry_after)
    }

    fn closing(&self, now: Instant, cause: String, figures: Figures) -> Step {
        Step::Move(Move { to: Mode::Closed(Counts::new(&self.config)), at: now, cause: cause.into(), figures })
    }

    fn first_lease_end(&self) -> Option<Instant> {
        self.issued.first_key_value().map(|(_, lease)| *lease)
    }

    fn has_lost_pass(&self, now: Instant) -> bool {
        self.first_lease_end().is_some_and(|lease| lease <= now)
    }
}

fn verdict_of(end: &GrantEnd) -> Verdict {
    match end {
        GrantEnd::Unused => Verdict::Silent,
        GrantEnd::Ended(ending) => ending.class.verdict(),
        GrantEnd::Unknown => Verdict::Failing,
    }
}

fn retry_after(end: &GrantEnd) -> Option<Duration> {
    if let GrantEnd::Ended(ending) = end { ending.retry_after } else { None }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or_else(|| now + FAR)
}

#[cfg(test)]
mod tests;
