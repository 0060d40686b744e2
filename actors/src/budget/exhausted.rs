//! The vendor's own word that the account is used up.

use std::time::{Duration, Instant};

use jiff::{Timestamp, civil::Date};

use super::Span;

/// The longest wait a vendor's *exhausted* can ask for: a month, the longest period that the known vendors bill by. A
/// mistaken answer must not close an account for years.
pub const EXHAUSTED_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// Nothing is reserved before the moment that the vendor stated, or for the rest of the day when it stated none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// The day on which a vendor stated no moment.
    day: Option<Date>,
    until: Instant,
    shown: Timestamp,
}

impl Exhausted {
    /// As the vendor said it just now.
    pub(super) fn said(wait: Option<Duration>, today: &Span, wall: Timestamp, now: Instant) -> Self {
        let Some(wait) = wait.map(|wait| wait.min(EXHAUSTED_MAX)) else {
            return Self { day: Some(today.date), until: now, shown: today.end };
        };
        let shown = wall.checked_add(wait).unwrap_or(today.end);
        Self { day: None, until: now.checked_add(wait).unwrap_or(now), shown }
    }

    /// Two words of the vendor: the later one holds.
    pub(super) fn and(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self { day: self.day.max(other.day), until: self.until.max(other.until), shown: self.shown.max(other.shown) }
    }

    pub(super) fn blocks(&self, today: Date, now: Instant) -> bool {
        self.day == Some(today) || now < self.until
    }

    /// When it is over; `reset` is the end of today.
    pub(super) fn over_at(&self, today: Date, reset: Instant, now: Instant) -> Instant {
        let day_over = if self.day == Some(today) { reset } else { now };
        day_over.max(self.until)
    }

    /// When it has to be lifted by a timer; otherwise it ends with its day.
    pub(super) fn lift_at(&self, today: Date) -> Option<Instant> {
        (self.day != Some(today)).then_some(self.until)
    }

    pub(super) fn shown(&self) -> Timestamp {
        self.shown
    }
}
