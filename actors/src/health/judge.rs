//! The rules: what the figures mean, and how to say it. Pure.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    config::HealthConfig,
    report::{Code, HealthSnapshot, Reason, Status, VendorHealth},
    score::Counts,
    state::{Health, Mark, Vendor},
};
use crate::{
    fact::BreakerState,
    ids::{LaneId, VendorId},
};

impl Health {
    /// How each vendor is doing at `now`. Reading changes nothing.
    pub fn report(&self, now: Instant) -> Vec<VendorHealth> {
        self.vendors.iter().map(|(id, vendor)| judge(id, vendor, &self.config, now)).collect()
    }

    /// What to show at `now`, which the calendar calls `at`.
    pub fn decide_snapshot(&self, now: Instant, at: Timestamp) -> HealthSnapshot {
        let vendors = self.report(now);
        let status = vendors.iter().map(|vendor| vendor.status).max().unwrap_or_default();
        HealthSnapshot { at: Some(at), status, vendors, missed_facts: self.missed_facts() }
    }
}

fn judge(id: &VendorId, vendor: &Vendor, config: &HealthConfig, now: Instant) -> VendorHealth {
    let counts = vendor.window.sum(now);
    let score = counts.score(config.minimum);
    let scored = score.map_or(Status::Unknown, |score| of_score(score, config));
    let reasons = Findings { vendor, config, counts, now, found: Vec::new() }.gather(scored);
    let worst = reasons.iter().filter_map(|reason| reason.at_best).max().unwrap_or_default();
    VendorHealth {
        vendor: id.clone(),
        status: scored.max(worst),
        score,
        samples: counts.samples(),
        reasons,
        breaker: worst_breaker(vendor),
        denied: counts.denied(),
        letters: vendor.letters,
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
    config: &'a HealthConfig,
    counts: Counts,
    now: Instant,
    found: Vec<Reason>,
}

impl Findings<'_> {
    fn gather(mut self, scored: Status) -> Vec<Reason> {
        self.supervision();
        self.calls(scored);
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

    fn calls(&mut self, scored: Status) {
        let Counts { failing, credentials, .. } = self.counts;
        let (samples, window) = (self.counts.samples(), self.window());
        if matches!(scored, Status::Degraded | Status::Unhealthy) {
            self.limits(Code::FailingCalls, scored, format!("{failing} of {samples} calls failed in {window}"));
        }
        if scored == Status::Unknown && samples == 0 {
            self.remark(Code::TooFewCalls, format!("no call that tells anything in {window}"));
        } else if scored == Status::Unknown {
            let minimum = self.config.minimum;
            self.remark(Code::TooFewCalls, format!("too few calls for a score in {window}: {samples} of {minimum}"));
        }
        if credentials > 0 {
            let text = format!("{} rejected for wrong credentials in {window}", calls(credentials));
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
        let (letters, limit) = (self.vendor.letters.dead, self.config.dead_letters_max);
        if letters > limit {
            let text = format!("{letters} dead letters (limit {limit})");
            self.limits(Code::DeadLetters, Status::Degraded, text);
        }
        let (overdue, limit) = (self.vendor.overdue(self.now), self.config.overdue_max);
        if overdue > 0 {
            let at_best = (overdue > limit).then_some(Status::Degraded);
            let callbacks = if overdue == 1 { "callback" } else { "callbacks" };
            self.add(Code::CallbacksOverdue, at_best, format!("{overdue} {callbacks} overdue (limit {limit})"));
        }
    }

    fn remarks(&mut self) {
        let Counts { throttled, given_up, restarts, .. } = self.counts;
        let window = self.window();
        if self.counts.denied() > 0 {
            let text = format!("{} denied in {window} ({})", calls(self.counts.denied()), self.deniers());
            self.remark(Code::Denied, text);
        }
        let full = self.full_lanes();
        if !full.is_empty() {
            self.remark(Code::LaneFull, format!("queue full in {window}: lane {full}"));
        }
        if throttled > 0 {
            self.remark(Code::Throttled, format!("{} throttled by the vendor in {window}", calls(throttled)));
        }
        if given_up > 0 {
            let letters = if given_up == 1 { "letter" } else { "letters" };
            let text = format!("{given_up} dead {letters} given up in {window}: a person must look");
            self.remark(Code::GivenUp, text);
        }
        if restarts > 0 {
            let actors = if restarts == 1 { "restart" } else { "restarts" };
            self.remark(Code::Restarts, format!("{restarts} {actors} of its actors in {window}"));
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

fn calls(n: u64) -> String {
    if n == 1 { "1 call".into() } else { format!("{n} calls") }
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
