//! The breaker as one would write it without a thought for time or memory: every call of the period in a list.

use super::*;

struct Sample {
    at: Instant,
    failed: bool,
    slow: bool,
}

/// What can be seen of a breaker.
#[derive(Debug, PartialEq)]
pub(super) struct Looks {
    state: BreakerState,
    generation: u64,
    retry_at: Option<Instant>,
    mode: Option<(BreakerMode, Instant)>,
    calls: usize,
    failures: usize,
    slow: usize,
    overdue: usize,
    streak: usize,
    probes: usize,
    said_would_open: usize,
}

pub(super) struct Model {
    config: BreakerConfig,
    now: Instant,
    state: BreakerState,
    generation: u64,
    open_until: Option<Instant>,
    /// The open time of the rule that opened it, and the openings in a row since.
    outage: (Duration, u32),
    mode: Option<(BreakerMode, Instant)>,
    would_be_open_until: Option<Instant>,
    said_would_open: usize,
    samples: Vec<Sample>,
    out: Vec<(GrantId, Instant)>,
    issued: u64,
    good_probes: u32,
}

impl Model {
    pub(super) fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            config,
            now,
            state: BreakerState::Closed,
            generation: 1,
            open_until: None,
            outage: (Duration::ZERO, 0),
            mode: None,
            would_be_open_until: None,
            said_would_open: 0,
            samples: Vec::new(),
            out: Vec::new(),
            issued: 0,
            good_probes: 0,
        }
    }

    pub(super) fn look_at(rig: &Rig) -> Looks {
        let (breaker, now) = (&rig.breaker, rig.now);
        let tally = breaker.tally(now);
        Looks {
            state: breaker.state(),
            generation: breaker.generation(),
            retry_at: breaker.retry_at(),
            mode: breaker.hold().map(|hold| (hold.mode, hold.until)),
            calls: tally.calls as usize,
            failures: tally.failures as usize,
            slow: tally.slow as usize,
            overdue: breaker.overdue(now) as usize,
            streak: breaker.streak(now) as usize,
            probes: breaker.probes_in_flight() as usize,
            said_would_open: rig.heard.iter().filter(|said| matches!(said, Notice::WouldOpen { .. })).count(),
        }
    }

    pub(super) fn looks(&self) -> Looks {
        let (recent, closed) = (self.recent(), self.state == BreakerState::Closed);
        Looks {
            state: self.state,
            generation: self.generation,
            retry_at: self.open_until,
            mode: self.mode,
            calls: recent.len(),
            failures: recent.iter().filter(|sample| sample.failed).count(),
            slow: recent.iter().filter(|sample| sample.slow).count(),
            overdue: if closed { self.overdue() } else { 0 },
            streak: self.streak(),
            probes: if self.state == BreakerState::HalfOpen { self.out.len() } else { 0 },
            said_would_open: self.said_would_open,
        }
    }

    pub(super) fn admit(&mut self) -> Option<GrantId> {
        let passes = match self.state {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => self.out.len() < self.config.probes as usize,
        };
        passes.then(|| {
            self.issued += 1;
            self.out.push((GrantId(self.issued), self.now));
            GrantId(self.issued)
        })
    }

    pub(super) fn report(&mut self, grant: GrantId, end: &GrantEnd) {
        let Some(at) = self.out.iter().position(|(known, _)| *known == grant) else { return };
        self.out.remove(at);
        let (verdict, slow, asked) = self.read(end);
        match (self.state, verdict) {
            (BreakerState::HalfOpen, Verdict::Silent) if *end == lost() => self.reopen(asked),
            (_, Verdict::Silent) | (BreakerState::Open, _) => {}
            (BreakerState::Closed, _) => {
                self.samples.push(Sample { at: self.now, failed: verdict == Verdict::Failing, slow });
                self.judge(true, asked);
            }
            (BreakerState::HalfOpen, Verdict::Healthy) if !slow => {
                self.good_probes += 1;
                if self.good_probes >= self.config.probes_to_close {
                    self.begin(BreakerState::Closed, None);
                }
            }
            (BreakerState::HalfOpen, _) => self.reopen(asked),
        }
    }

    pub(super) fn wait(&mut self, by: Duration) {
        let before = self.now;
        self.now += by;
        let (now, limit, lease) = (self.now, self.limit(), self.config.probe_lease);
        if let Some((mode, _)) = self.mode.filter(|(_, until)| *until <= now) {
            return self.order_ended(mode);
        }
        match self.state {
            BreakerState::Closed => {
                let new = |(_, at): &(GrantId, Instant)| {
                    limit.is_some_and(|limit| *at + limit > before && *at + limit <= now)
                };
                if self.out.iter().any(new) {
                    self.judge(false, None);
                }
            }
            BreakerState::Open if self.open_until.is_some_and(|until| until <= now) => {
                self.begin(BreakerState::HalfOpen, None);
            }
            BreakerState::Open => {}
            BreakerState::HalfOpen if self.out.iter().any(|(_, at)| *at + lease <= now) => self.reopen(None),
            BreakerState::HalfOpen => {}
        }
    }

    pub(super) fn control(&mut self, control: &Control) {
        let until = |order: &Order| self.now + order.lasting();
        match control {
            Control::ForceOpen(order) => {
                let until = until(order);
                let rules = [
                    self.config.rate.as_ref().map(|rate| rate.open_for),
                    self.config.streak.as_ref().map(|s| s.open_for),
                ];
                self.outage = (rules.into_iter().flatten().next().unwrap_or(30 * SECOND), 0);
                self.begin(BreakerState::Open, Some(until));
                self.mode = Some((BreakerMode::ForcedOpen, until));
            }
            Control::ForceClosed(order) => self.hold_closed(BreakerMode::ForcedClosed, until(order)),
            Control::MetricsOnly(order) => self.hold_closed(BreakerMode::MetricsOnly, until(order)),
            Control::Automatic => {
                if let Some((mode, _)) = self.mode {
                    self.order_ended(mode);
                }
            }
            Control::Reset => self.begin(BreakerState::Closed, None),
        }
    }

    fn hold_closed(&mut self, mode: BreakerMode, until: Instant) {
        self.begin(BreakerState::Closed, None);
        self.mode = Some((mode, until));
    }

    fn order_ended(&mut self, mode: BreakerMode) {
        let forced_open = mode == BreakerMode::ForcedOpen;
        self.begin(if forced_open { BreakerState::HalfOpen } else { BreakerState::Closed }, None);
    }

    /// A new period, in which nothing has happened yet.
    fn begin(&mut self, state: BreakerState, open_until: Option<Instant>) {
        (self.state, self.open_until, self.mode, self.would_be_open_until) = (state, open_until, None, None);
        self.generation += 1;
        self.good_probes = 0;
        self.samples.clear();
        self.out.clear();
    }

    fn reopen(&mut self, asked: Option<Duration>) {
        self.outage.1 += 1;
        let until = self.now + self.open_time(asked);
        self.begin(BreakerState::Open, Some(until));
    }

    fn open_time(&self, asked: Option<Duration>) -> Duration {
        let (mut time, openings) = self.outage;
        for _ in 0..openings {
            time = time.mul_f64(self.config.growth).min(self.config.open_max);
        }
        time.max(asked.unwrap_or_default().min(self.config.retry_after_max))
    }

    /// Asks every rule; those about calls that ended only when one did.
    fn judge(&mut self, a_call_ended: bool, asked: Option<Duration>) {
        let would_be_open = self.would_be_open_until.is_some_and(|until| until > self.now);
        let mode = self.mode.map(|(mode, _)| mode);
        if mode == Some(BreakerMode::ForcedClosed) || would_be_open {
            return;
        }
        let Some(open_for) = self.rules_that_open(a_call_ended).into_iter().max() else { return };
        self.outage = (open_for, 0);
        let until = self.now + self.open_time(asked);
        if mode == Some(BreakerMode::MetricsOnly) {
            self.would_be_open_until = Some(until);
            self.said_would_open += 1;
            self.samples.clear();
            return;
        }
        self.begin(BreakerState::Open, Some(until));
    }

    fn rules_that_open(&self, a_call_ended: bool) -> Vec<Duration> {
        let (recent, overdue) = (self.recent(), self.overdue());
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let mut open = Vec::new();
        if let Some(rate) = &self.config.rate {
            let enough = |calls: usize| calls >= rate.minimum_calls as usize;
            let failed = recent.iter().filter(|sample| sample.failed).count();
            if a_call_ended && enough(recent.len()) && share(failed, recent.len()) >= rate.failure_ratio {
                open.push(rate.open_for);
            }
            let slow = recent.iter().filter(|sample| sample.slow).count() + overdue;
            let calls = recent.len() + overdue;
            if rate.slow.as_ref().is_some_and(|rule| enough(calls) && share(slow, calls) >= rule.slow_ratio) {
                open.push(rate.open_for);
            }
        }
        let streak = self.config.streak.as_ref().filter(|rule| self.streak() >= rule.failures as usize);
        open.extend(streak.filter(|_| a_call_ended).map(|rule| rule.open_for));
        open
    }

    /// The samples that the window holds. Those of a tenth of it leave with the first of them.
    fn recent(&self) -> Vec<&Sample> {
        let window = self.config.rate.as_ref().map_or(Window::Time(60 * SECOND), |rate| rate.window);
        let length = match window {
            Window::Count(calls) => {
                return self.samples.iter().rev().take(calls as usize).collect();
            }
            Window::Time(length) => length,
        };
        let (mut begin, mut recent) = (None, Vec::new());
        for sample in &self.samples {
            let first = begin.filter(|begin| sample.at - *begin < length / 10).unwrap_or(sample.at);
            begin = Some(first);
            if self.now - first < length {
                recent.push(sample);
            }
        }
        recent
    }

    fn streak(&self) -> usize {
        let forget_after = self.config.streak.as_ref().map_or(60 * SECOND, |streak| streak.forget_after);
        let (mut next, mut streak) = (self.now, 0);
        for sample in self.samples.iter().rev() {
            if !sample.failed || next - sample.at >= forget_after {
                break;
            }
            next = sample.at;
            streak += 1;
        }
        streak
    }

    fn overdue(&self) -> usize {
        let Some(limit) = self.limit() else { return 0 };
        let lease = self.config.probe_lease;
        self.out.iter().filter(|(_, at)| *at + limit <= self.now && self.now < *at + lease).count()
    }

    fn limit(&self) -> Option<Duration> {
        Some(self.config.rate.as_ref()?.slow.as_ref()?.slower_than)
    }

    fn read(&self, end: &GrantEnd) -> (Verdict, bool, Option<Duration>) {
        match end {
            GrantEnd::Unused => (Verdict::Silent, false, None),
            GrantEnd::Unknown => (Verdict::Failing, false, None),
            GrantEnd::Ended(ending) => {
                let counts = ending.class == Class::Throttled && self.config.throttle_counts;
                let verdict = if counts { Verdict::Failing } else { ending.class.verdict() };
                (verdict, self.limit().is_some_and(|limit| ending.elapsed > limit), ending.retry_after)
            }
        }
    }
}
