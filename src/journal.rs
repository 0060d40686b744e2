//! The lines of the log that an outage brings with every call. The first of a kind about a vendor is written at once, then one
//! every [`LOG_EVERY`] with the number that was left out. What comes once per change is written where it happens.

use std::{fmt, sync::Arc, time::Duration};

use mainstay_actors::{
    call::AcceptedCall,
    clock::Clock,
    fact::{Fact, FinalState},
    ids::VendorId,
    outcome::{Class, Effect, Outcome, Phase},
    refusal::{Guard, Refusal},
    seldom::Seldom,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    answer::{Answer, Because, Source},
    facts::FactBus,
    verdict::Verdict,
};

/// How often lines of one kind about one vendor are written.
pub const LOG_EVERY: Duration = Duration::from_secs(10);

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Denied(Guard),
    ServedBy(Source),
    TimedOut,
    Unknown,
    Overdue,
    DeadLettered(Class),
    Reprocessed,
    GivenUp,
    Purged,
}

/// As in "3 more calls to clay were ...".
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(by) => write!(f, "refused by the {by}"),
            Self::ServedBy(source) => write!(f, "{}", served_by(*source)),
            Self::TimedOut => f.write_str("not answered in time"),
            Self::Unknown => f.write_str("parked as unknown"),
            Self::Overdue => f.write_str("not ended in time"),
            Self::DeadLettered(class) => write!(f, "dead-lettered as {class}"),
            Self::Reprocessed => f.write_str("done from the parked calls"),
            Self::GivenUp => f.write_str("given up"),
            Self::Purged => f.write_str("purged"),
        }
    }
}

fn served_by(source: Source) -> &'static str {
    match source {
        Source::Vendor => "served by the vendor",
        Source::Cache => "served from the cache of its last good answers",
        Source::Queue => "queued for later",
        Source::Local => "served by the local function",
    }
}

/// Writes them.
pub(crate) struct Journal {
    clock: Clock,
    lines: Mutex<Seldom<(VendorId, Line)>>,
    left_out: Notify,
}

impl Journal {
    /// A journal that hears the facts from now on.
    pub(crate) fn of(facts: &FactBus, clock: Clock) -> Arc<Self> {
        let journal = Arc::new(Self { clock, lines: Mutex::new(Seldom::new(LOG_EVERY)), left_out: Notify::new() });
        let ear = journal.clone();
        facts.listen(move |event| ear.hear(&event.fact));
        journal
    }

    /// A verdict that is a denial. The caller's own mistakes are the caller's to log.
    pub(crate) fn judged(&self, call: &AcceptedCall, verdict: &Verdict) {
        let Verdict::NotDone(Because::Refused(refusal)) = verdict else { return };
        if refusal.is_callers_fault() {
            tracing::debug!(target: "mainstay::call", vendor = %call.vendor, call = %call.id, %refusal, "a call was wrong");
            return;
        }
        let Some(left_out) = self.admit(&call.vendor, Line::Denied(refusal.by)) else { return };
        let (vendor, guard, limit) = (&call.vendor, refusal.by, &refusal.reason);
        let retry_at = refusal.retry_at.map(|at| self.clock.wall_of(at).to_string());
        tracing::warn!(
            target: "mainstay::call", %vendor, call = %call.id, operation = %call.operation, %guard, %limit, retry_at, left_out,
            "a call to {vendor} was {refusal}"
        );
    }

    /// Something stands in for a vendor.
    pub(crate) fn fell_back(&self, call: &AcceptedCall, answer: &Answer) {
        let (vendor, source) = (&call.vendor, answer.source());
        let Some(because) = answer.because() else { return };
        let Some(left_out) = self.admit(vendor, Line::ServedBy(source)) else { return };
        let (class, age_s) = (because.class(), answer.age().map(|age| age.as_secs()));
        tracing::warn!(
            target: "mainstay::fallback", %vendor, call = %call.id, ?source, %class, error = %because, age_s, left_out,
            "a call to {vendor} was {}, because of this: {because}", served_by(source)
        );
    }

    /// An attempt ran out of time.
    pub(crate) fn timed_out(&self, call: &AcceptedCall, outcome: &Outcome) {
        let Some(phase) = outcome.phase else { return };
        let Some(left_out) = self.admit(&call.vendor, Line::TimedOut) else { return };
        let (vendor, operation, sent) = (&call.vendor, &call.operation, outcome.effect != Effect::None);
        let elapsed_ms = u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
        let what = match (phase, sent) {
            (Phase::Connect, _) => "could not be reached in time: nothing was sent",
            (_, false) => "did not answer in time: nothing happened",
            (_, true) => "did not answer in time: it was sent, and may have happened",
        };
        tracing::warn!(
            target: "mainstay::client", %vendor, call = %call.id, %operation, ?phase, sent, elapsed_ms, left_out,
            "{vendor} {operation} {what}"
        );
    }

    /// A call that found no room at the door, or came too late.
    pub(crate) fn refused_at_the_door(&self, vendor: Option<&VendorId>, refusal: &Refusal) {
        let Some(vendor) = vendor.filter(|_| !refusal.is_callers_fault()) else {
            tracing::debug!(target: "mainstay::gateway", %refusal, "a call was refused at the door");
            return;
        };
        if let Some(left_out) = self.admit(vendor, Line::Denied(refusal.by)) {
            tracing::warn!(target: "mainstay::gateway", %vendor, %refusal, left_out, "a call to {vendor} was {refusal}");
        }
    }

    /// A fact that may come with every call.
    fn hear(&self, fact: &Fact) {
        match fact {
            Fact::CallEnded { vendor, call, state: FinalState::Unknown } => {
                let Some(left_out) = self.admit(vendor, Line::Unknown) else { return };
                tracing::warn!(
                    target: "mainstay::call", %vendor, %call, left_out,
                    "a call to {vendor} may have happened: it is parked as unknown, and not sent again"
                );
            }
            Fact::CallbackOverdue { vendor, call } => {
                let Some(left_out) = self.admit(vendor, Line::Overdue) else { return };
                tracing::warn!(
                    target: "mainstay::effects", %vendor, %call, left_out,
                    "the end of a call to {vendor} is overdue: its reservation counts as spent"
                );
            }
            Fact::DeadLettered { vendor, call, letter, class, total } => {
                let Some(left_out) = self.admit(vendor, Line::DeadLettered(*class)) else { return };
                tracing::warn!(
                    target: "mainstay::dlq", %vendor, %call, %letter, %class, total, left_out,
                    "a call to {vendor} is a dead letter, one of {total}: {class}"
                );
            }
            Fact::Reprocessed { vendor, call, letter } => {
                let Some(left_out) = self.admit(vendor, Line::Reprocessed) else { return };
                tracing::info!(target: "mainstay::dlq", %vendor, %call, %letter, left_out, "a parked call to {vendor} was done");
            }
            Fact::GivenUp { vendor, call, letter, class, attempts } => {
                let Some(left_out) = self.admit(vendor, Line::GivenUp) else { return };
                tracing::error!(
                    target: "mainstay::dlq", %vendor, %call, %letter, %class, attempts, left_out,
                    "a parked call to {vendor} is given up after {attempts} attempts, and waits for a person: {class}"
                );
            }
            Fact::Purged { vendor, call, letter } => {
                let Some(left_out) = self.admit(vendor, Line::Purged) else { return };
                tracing::warn!(target: "mainstay::dlq", %vendor, %call, %letter, left_out, "a parked call to {vendor} was purged");
            }
            _ => {}
        }
    }

    /// Writes what was left out when its time has come, for ever.
    pub(crate) async fn sum_up(&self) {
        loop {
            let left_out = self.left_out.notified();
            let due = self.lines.lock().due();
            match due {
                Some(due) => tokio::select! {
                    biased;
                    () = left_out => {}
                    () = tokio::time::sleep_until(due.into()) => self.write_owed(Duration::ZERO),
                },
                None => left_out.await,
            }
        }
    }

    /// Writes what was left out: nobody writes it later.
    pub(crate) fn last_words(&self) {
        self.write_owed(LOG_EVERY);
    }

    fn write_owed(&self, ahead: Duration) {
        let owed = self.lines.lock().owed(self.clock.now() + ahead);
        for ((vendor, line), left_out) in owed {
            let text = format!("{left_out} more calls to {vendor} were {line}");
            match line {
                Line::GivenUp => tracing::error!(target: "mainstay::call", %vendor, left_out, "{text}"),
                Line::Reprocessed => tracing::info!(target: "mainstay::call", %vendor, left_out, "{text}"),
                _ => tracing::warn!(target: "mainstay::call", %vendor, left_out, "{text}"),
            }
        }
    }

    fn admit(&self, vendor: &VendorId, line: Line) -> Option<u64> {
        let admitted = self.lines.lock().admit(self.clock.now(), (vendor.clone(), line));
        if admitted.is_none() {
            self.left_out.notify_one();
        }
        admitted
    }
}
