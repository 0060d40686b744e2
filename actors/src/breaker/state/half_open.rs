//! While a few probes pass: which of their ends close it, and which open it again.

use std::time::Instant;

use super::{Breaker, Outage, Step, verdict_of};
use crate::{
    breaker::{Figures, trip::words},
    grant::{GrantEnd, GrantReport},
    ids::GrantId,
    outcome::{Effect, Verdict},
};

impl Breaker {
    pub(super) fn probe_step(
        &self,
        succeeded: u32,
        outage: &Outage,
        now: Instant,
        report: &GrantReport,
        spread: impl FnOnce() -> f64,
    ) -> Step {
        let cause = match (&report.end, verdict_of(&self.config, &report.end)) {
            (GrantEnd::Ended(ending), Verdict::Healthy) if self.is_slow(&report.end) => {
                let limit = self.config.slower_than().unwrap_or_default();
                format!("a probe was too slow: {}, limit {}", words(ending.elapsed), words(limit))
            }
            (_, Verdict::Healthy) => return self.probe_succeeded(succeeded, now, report.grant),
            // A probe that was lost after its first byte failed; another silent end only frees its place.
            (GrantEnd::Ended(ending), Verdict::Silent) if ending.effect != Effect::Unknown => {
                return Step::TakeBack(report.grant);
            }
            (GrantEnd::Unused, _) => return Step::TakeBack(report.grant),
            (GrantEnd::Ended(ending), _) => format!("a probe failed: {}", ending.class),
            (GrantEnd::Unknown, _) => "a probe failed: its end is not known".to_owned(),
        };
        self.reopening(succeeded, outage, cause, now, spread, Some(&report.end))
    }

    /// A probe has been out longer than its lease.
    pub(super) fn probe_lost(
        &self,
        succeeded: u32,
        outage: &Outage,
        now: Instant,
        spread: impl FnOnce() -> f64,
    ) -> Step {
        let cause = format!("a probe did not report within {}", words(self.config.probe_lease));
        self.reopening(succeeded, outage, cause, now, spread, None)
    }

    fn probe_succeeded(&self, succeeded: u32, now: Instant, grant: GrantId) -> Step {
        let succeeded = succeeded.saturating_add(1);
        if succeeded < self.config.probes_to_close {
            return Step::ProbeSucceeded(grant);
        }
        let cause = if succeeded == 1 { "a probe succeeded".into() } else { format!("{succeeded} probes succeeded") };
        let limit = self.config.probes_to_close.into();
        self.closing(now, cause, Figures { calls: succeeded.into(), limit, ..Figures::default() })
    }

    fn reopening(
        &self,
        succeeded: u32,
        outage: &Outage,
        cause: String,
        now: Instant,
        spread: impl FnOnce() -> f64,
        end: Option<&GrantEnd>,
    ) -> Step {
        let figures = Figures { failures: 1, calls: u64::from(succeeded) + 1, limit: 1.0, ..Figures::default() };
        let outage =
            Outage { cause: cause.into(), open_for: outage.open_for, reopenings: outage.reopenings.saturating_add(1) };
        let until = self.open_until(&outage, now, spread, end);
        self.opening(outage, figures, now, until)
    }
}
