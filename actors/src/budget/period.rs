//! Calendar days and months in a time zone, as partitions of time: every moment is in exactly one of each, and later moments
//! are never in an earlier one.
//!
//! A day begins when the zone's clock first shows its date. That is midnight, but for three cases: midnight is skipped (the
//! day begins at the jump), midnight comes twice (the day begins at the first one, and the hour that shows yesterday's date
//! again is still of this day), or the whole date is skipped (that day is empty and never entered). A month is the days whose
//! dates are in it.

use jiff::{
    Timestamp,
    civil::Date,
    tz::{AmbiguousOffset, TimeZone},
};

use crate::meter::Period;

/// One day, one month, or all of time: `start <= moment < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first date in the zone.
    pub date: Date,
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next one: when the budget is reset.
    pub end: Timestamp,
}

impl Span {
    /// When the next one begins; `None` for what has no end.
    pub fn reset(&self) -> Option<Timestamp> {
        (self.end < Timestamp::MAX).then_some(self.end)
    }
}

/// The first date of the period that a date is in: what tells one page of a book from another.
pub fn first_of(period: Period, date: Date) -> Date {
    match period {
        Period::Day => date,
        Period::Month => date.first_of_month(),
        Period::Lifetime => Date::MIN,
    }
}

/// The calendar of one time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    /// The calendar of a zone by its IANA name; `None` when there is no such zone.
    pub fn of(zone: &str) -> Option<Self> {
        let zone = TimeZone::get(zone).ok().filter(|zone| !zone.is_unknown())?;
        Some(Self { zone })
    }

    /// The calendar of UTC.
    pub fn utc() -> Self {
        Self { zone: TimeZone::UTC }
    }

    /// The day that a moment is in.
    pub fn day_of(&self, at: Timestamp) -> Span {
        let mut date = self.zone.to_datetime(at).date();
        let mut end = self.end_of(date);
        // Only where the clock was set back over midnight: it shows yesterday's date in a day that has begun.
        while end <= at && end < Timestamp::MAX {
            date = date.tomorrow().unwrap_or(date);
            end = self.end_of(date);
        }
        Span { date, start: self.start_of(date), end }
    }

    /// The day that follows `today` once `wall` has reached its end: the next one, or a later one if the clock was set ahead.
    /// `None` before, also when the clock was set back: a day is never left for an earlier one, so it is never given twice.
    pub fn turn(&self, today: &Span, wall: Timestamp) -> Option<Span> {
        if wall < today.end {
            return None;
        }
        let day = self.day_of(wall);
        (day.date > today.date).then_some(day)
    }

    /// The period that a day is in: the day itself, its month, or all of time.
    pub fn span(&self, period: Period, day: &Span) -> Span {
        let date = first_of(period, day.date);
        match period {
            Period::Day => *day,
            Period::Month => Span { date, start: self.start_of(date), end: self.end_of(day.date.last_of_month()) },
            Period::Lifetime => Span { date, start: Timestamp::MIN, end: Timestamp::MAX },
        }
    }

    fn end_of(&self, date: Date) -> Timestamp {
        date.tomorrow().map_or(Timestamp::MAX, |next| self.start_of(next))
    }

    fn start_of(&self, date: Date) -> Timestamp {
        let midnight = date.at(0, 0, 0, 0);
        let shown = self.zone.to_ambiguous_timestamp(midnight);
        if let AmbiguousOffset::Gap { after, .. } = shown.offset() {
            // Read with the offset of after the jump, a skipped time lies before the jump.
            let jump = after.to_timestamp(midnight).ok().and_then(|before| self.zone.following(before).next());
            if let Some(jump) = jump {
                return jump.timestamp();
            }
        }
        // The first of two midnights; out of range only at the ends of time.
        shown.compatible().unwrap_or(if date.year() < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }
}

#[cfg(test)]
mod tests;
