//! The rules: what the figures mean, and how to say it. Pure.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    config::HealthConfig,
    report::{Callbacks, Code, HealthSnapshot, Reason, Status, VendorHealth},
    score::Counts,
    state::{Health, Mark, Vendor},
};
use crate::{
    fact::{BreakerState, LetterCounts},
    ids::{LaneId, VendorId},
};

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The one that never steps.
    pub now: Instant,
    /// What the calendar calls it.
    pub at: Timestamp,
}

impl Health {
    /// How each vendor is doing at a moment, by what is known and by what it owes. Reading changes nothing.
    pub fn report(&self, moment: Moment, callbacks: impl Fn(&VendorId) -> Callbacks) -> Vec<VendorHealth> {
        self.vendors.iter().map(|(id, vendor)| judge(id, vendor, callbacks(id), &self.config, moment)).collect()
    }

    /// What to show at a moment.
    pub fn decide_snapshot(&self, moment: Moment, callbacks: impl Fn(&VendorId) -> Callbacks) -> HealthSnapshot {
        let vendors = self.report(moment, callbacks);
        let status = vendors.iter().map(|vendor| vendor.status).max().unwrap_or_default();
        HealthSnapshot { at: Some(moment.at), status, vendors, missed_facts: self.missed_facts() }
    }
}

fn judge(id: &VendorId, vendor: &Vendor, callbacks: Callbacks, config: &HealthConfig, moment: Moment) -> VendorHealth {
    let now = moment.now;
    let counts = vendor.window.sum(now);
    let score = counts.score(config.minimum);
    let scored = score.map_or(config.without_score, |score| of_score(score, config));
    let reasons = Findings { vendor, callbacks, config, counts, now, at: moment.at, found: Vec::new() }
        .gather(scored, score.is_none());
    let worst = reasons.iter().filter_map(|reason| reason.at_best).max().unwrap_or_default();
    // A vendor that nobody calls, and that answers when it is asked, is there.
    let answers = vendor.probe.as_ref().is_some_and(|probe| probe.works);
    let asked = if answers { Status::Healthy } else { Status::Unknown };
    VendorHealth {
        vendor: id.clone(),
        status: scored.max(asked).max(worst),
        score,
        samples: counts.samples(),
        reasons,
        probe_works: vendor.probe.as_ref().map(|probe| probe.works),
        breaker: worst_breaker(vendor),
        denied: counts.denied(),
        letters: vendor.letters,
        callbacks_owed: callbacks.owed,
        callbacks_overdue: vendor.overdue(now),
        restarts: counts.restarts,
        last_success: vendor.last_success,
    }
}

/// Open if one is, else half-open if one is.
fn worst_breaker(vendor: &Vendor) -> BreakerState {
    let is = |state| vendor.breakers.values().any(|breaker| breaker.state == state);
    [BreakerState::Open, BreakerState::HalfOpen].into_iter().find(|state| is(*state)).unwrap_or(BreakerState::Closed)
}

/// Strict bounds: a score equal to a bound is on its worse side.
fn of_score(score: f64, config: &HealthConfig) -> Status {
    if score > config.healthy_above {
        Status::Healthy
    } else if score > config.degraded_above {
        Status::Degraded
    } else {
        Status::Unhealthy
    }
}

struct Findings<'a> {
    vendor: &'a Vendor,
    callbacks: Callbacks,
    config: &'a HealthConfig,
    counts: Counts,
    now: Instant,
    at: Timestamp,
    found: Vec<Reason>,
}

impl Findings<'_> {
    fn gather(mut self, scored: Status, unscored: bool) -> Vec<Reason> {
        self.supervision();
        self.probe();
        self.calls(scored, unscored);
        self.breakers();
        self.budget();
        self.debts();
        self.remarks();
        self.found.sort_by_key(|reason| Reverse(reason.at_best));
        self.found
    }

    fn supervision(&mut self) {
        if let Some((since, cause)) = &self.vendor.down {
            self.limits(
                Code::VendorDown,
                Status::Unhealthy,
                format!("vendor is down since {}: {cause}", self.age(*since)),
            );
        }
        for (actor, cause) in &self.vendor.parked {
            self.limits(Code::ActorParked, Status::Unhealthy, format!("{actor} is parked: {cause}"));
        }
    }

    fn probe(&mut self) {
        let Some(probe) = &self.vendor.probe else { return };
        let (operation, age) = (&probe.operation, self.age(probe.at));
        if probe.works {
            return self.remark(Code::Probe, format!("probe {operation} worked {age} ago"));
        }
        let text = format!("probe {operation} failed {age} ago: {}", probe.detail);
        self.limits(Code::Probe, Status::Unhealthy, text);
    }

    fn calls(&mut self, scored: Status, unscored: bool) {
        let Counts { failed_later, credentials, .. } = self.counts;
        let (samples, window) = (self.counts.samples(), self.window());
        if matches!(scored, Status::Degraded | Status::Unhealthy) {
            let failed = self.counts.failed();
            let later =
                if failed_later > 0 { format!(", {failed_later} after they were taken on") } else { String::new() };
            self.limits(Code::FailingCalls, scored, format!("{failed} of {samples} calls failed in {window}{later}"));
        }
        if unscored && samples == 0 {
            self.remark(Code::TooFewCalls, format!("no call that tells anything in {window}"));
        } else if unscored {
            let minimum = self.config.minimum;
            self.remark(Code::TooFewCalls, format!("too few calls for a score in {window}: {samples} of {minimum}"));
        }
        if credentials > 0 {
            let text = format!("{} rejected for wrong credentials in {window}", many(credentials, "call"));
            self.limits(Code::Credentials, Status::Degraded, text);
        }
    }

    fn breakers(&mut self) {
        for (circuit, breaker) in &self.vendor.breakers {
            let code = match breaker.state {
                BreakerState::Closed => continue,
                BreakerState::Open => Code::BreakerOpen,
                BreakerState::HalfOpen => Code::BreakerHalfOpen,
            };
            let (state, age, cause) = (breaker.state, self.age(breaker.since), &breaker.cause);
            let (which, colon) = (circuit.named("circuit breaker"), if cause.is_empty() { "" } else { ": " });
            self.limits(code, Status::Degraded, format!("{which} {state} since {age}{colon}{cause}"));
        }
    }

    fn budget(&mut self) {
        let Some(mark) = self.vendor.mark.as_ref().filter(|mark| mark.speaks(self.now)) else { return };
        let (used, age) = (used(mark), self.age(mark.since));
        let text = match mark.name {
            "soft" => return self.remark(Code::BudgetUsed, format!("{used} when it passed its soft mark {age} ago")),
            "exhausted" => format!("the vendor said {age} ago that its account is used up; {used}"),
            "overage" => format!("a call cost more than it had reserved {age} ago; {used}"),
            _ => format!("{used} since {age}: calls are refused"),
        };
        self.limits(Code::BudgetExhausted, Status::Degraded, text);
    }

    /// What is owed: letters to be dealt with, callbacks to come.
    fn debts(&mut self) {
        self.letters();
        let (overdue, limit) = (self.vendor.overdue(self.now), self.config.overdue_max);
        if overdue > 0 {
            let at_best = (overdue > limit).then_some(Status::Degraded);
            let callbacks = many(overdue, "callback");
            self.add(Code::CallbacksOverdue, at_best, format!("{callbacks} overdue (limit {limit})"));
        }
        if let Callbacks { acknowledged, owed, oldest: Some(oldest) } = self.callbacks {
            let (taken_on, age) = (many(acknowledged, "call"), self.age(oldest));
            let text = format!("{owed} of {taken_on} that it took on still owed a callback, the oldest for {age}");
            self.remark(Code::CallbacksOwed, text);
        }
    }

    fn letters(&mut self) {
        let LetterCounts { dead, unknown, given_up, oldest_at, .. } = self.vendor.letters;
        let limit = self.config.dead_letters_max;
        let age = oldest_at.map(|at| words(self.at.duration_since(at).unsigned_abs()));
        let age = age.map(|age| format!(", the oldest parked call is of {age} ago")).unwrap_or_default();
        if dead > 0 {
            let at_best = (dead > limit).then_some(Status::Degraded);
            self.add(Code::DeadLetters, at_best, format!("{} (limit {limit}){age}", many(dead, "dead letter")));
        }
        if unknown > 0 {
            let text = format!("{} may have happened: a callback or a person must say", many(unknown, "call"));
            self.remark(Code::UnknownCalls, text);
        }
        if given_up > 0 {
            let text = format!("{} given up: a person must look", many(given_up, "parked call"));
            self.remark(Code::GivenUp, text);
        }
    }

    fn remarks(&mut self) {
        let Counts { throttled, restarts, .. } = self.counts;
        let window = self.window();
        if self.counts.denied() > 0 {
            let text = format!("{} denied in {window} ({})", many(self.counts.denied(), "call"), self.deniers());
            self.remark(Code::Denied, text);
        }
        let full = self.full_lanes();
        if !full.is_empty() {
            self.remark(Code::LaneFull, format!("queue full in {window}: lane {full}"));
        }
        if throttled > 0 {
            self.remark(Code::Throttled, format!("{} throttled by the vendor in {window}", many(throttled, "call")));
        }
        if restarts > 0 {
            self.remark(Code::Restarts, format!("{} of its actors in {window}", many(restarts, "restart")));
        }
    }

    fn deniers(&self) -> String {
        let counts = &self.counts;
        [
            ("circuit breaker", counts.by_breaker),
            ("budget", counts.by_budget),
            ("lanes", counts.by_lane),
            ("vendor down", counts.by_supervisor),
        ]
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(who, n)| format!("{who} {n}"))
        .collect::<Vec<_>>()
        .join(", ")
    }

    fn full_lanes(&self) -> String {
        let lanes = self.vendor.full_lanes(self.now, self.config.window);
        lanes.map(LaneId::as_str).collect::<Vec<_>>().join(", ")
    }

    fn window(&self) -> String {
        format!("the last {}", words(self.config.window))
    }

    fn age(&self, since: Instant) -> String {
        words(self.now.saturating_duration_since(since))
    }

    fn limits(&mut self, code: Code, at_best: Status, text: String) {
        self.add(code, Some(at_best), text);
    }

    fn remark(&mut self, code: Code, text: String) {
        self.add(code, None, text);
    }

    fn add(&mut self, code: Code, at_best: Option<Status>, text: String) {
        self.found.push(Reason { code, at_best, text });
    }
}

fn many(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

/// Rounded down, so that 99.9 % does not read as all of it.
fn used(mark: &Mark) -> String {
    let (used, limit) = (mark.used, mark.limit);
    match (u128::from(used.micros()) * 100).checked_div(u128::from(limit.micros())) {
        Some(percent) => format!("budget {percent} % used ({used} of {limit})"),
        None => format!("budget is nothing ({used} used)"),
    }
}

/// A duration as a person says it: the largest unit that leaves at least two of it, or fits exactly.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fits = |unit: u64| seconds >= 2 * unit || (seconds > 0 && seconds.is_multiple_of(unit));
    if fits(3_600) {
        format!("{} h", seconds / 3_600)
    } else if fits(60) {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}
