//! While calls pass: what their ends change, and what it changes that some do not end.

use std::time::Instant;

use super::{Breaker, Outage, Step, verdict_of};
use crate::{
    breaker::{
        trip::{Counts, Trip, trip, trip_under_way},
        window::Counted,
    },
    fact::BreakerMode,
    grant::{GrantEnd, GrantReport},
    outcome::Verdict,
};

impl Breaker {
    pub(super) fn closed_step(
        &self,
        counts: &Counts,
        now: Instant,
        report: &GrantReport,
        spread: impl FnOnce() -> f64,
    ) -> Step {
        let grant = report.grant;
        let failed = match verdict_of(&self.config, &report.end) {
            Verdict::Silent => return Step::TakeBack(grant),
            Verdict::Healthy => false,
            Verdict::Failing => true,
        };
        let call = Counted { failed, slow: self.is_slow(&report.end) };
        let overdue = self.passes.overdue(now, Some(grant));
        let tripped = self.may_judge(now).then(|| trip(&self.config, counts, now, call, overdue)).flatten();
        match tripped {
            Some(trip) => self.tripped(trip, Some(report), now, spread),
            None => Step::Counted { grant, at: now, call },
        }
    }

    /// A pass has just been out too long.
    pub(super) fn overdue_step(&self, counts: &Counts, now: Instant, spread: impl FnOnce() -> f64) -> Step {
        let overdue = self.passes.overdue(now, None);
        let tripped = self.may_judge(now).then(|| trip_under_way(&self.config, counts, now, overdue)).flatten();
        match tripped {
            Some(trip) => self.tripped(trip, None, now, spread),
            None => Step::SeenOverdue(now),
        }
    }

    /// Took longer than a call may. What is silent of the vendor is never asked.
    pub(super) fn is_slow(&self, end: &GrantEnd) -> bool {
        let limit = self.config.slower_than();
        matches!((end, limit), (GrantEnd::Ended(ending), Some(limit)) if ending.elapsed > limit)
    }

    /// Not while an operator holds it closed, nor while it would be open already.
    fn may_judge(&self, now: Instant) -> bool {
        self.hold.as_ref().is_none_or(|hold| {
            hold.mode == BreakerMode::MetricsOnly && hold.would_be_open_until.is_none_or(|until| until <= now)
        })
    }

    /// It opens, or says that it would.
    fn tripped(&self, trip: Trip, report: Option<&GrantReport>, now: Instant, spread: impl FnOnce() -> f64) -> Step {
        let Trip { open_for, cause, figures } = trip;
        let outage = Outage { cause, open_for, reopenings: 0 };
        let until = self.open_until(&outage, now, spread, report.map(|report| &report.end));
        if self.hold.is_none() {
            return self.opening(outage, figures, now, until);
        }
        Step::WouldOpen { grant: report.map(|report| report.grant), at: now, until, cause: outage.cause, figures }
    }
}
