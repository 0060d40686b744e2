//! The hours in which an effect may begin: no phone rings at 3 a.m. because a queue was drained then. Pure.
//!
//! What counts is the clock on the wall of the stated zone: a moment is inside when that clock shows a time from `from` on and
//! before `until`, on one of the days. So summer time needs no rule of its own. Where the clock is put forward, the times it
//! skips do not come that day; where it is put back, those it shows twice are inside twice.

use std::{collections::BTreeSet, fmt};

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// How many days are looked through for the next opening: two weeks, should the only hour of a week be skipped by the clock.
const LOOK_DAYS: i32 = 16;

/// A day of the week.
// The order is the format on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// Every day.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// Monday to Friday.
    pub const WORKDAYS: [Self; 5] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri];

    fn of(date: Date) -> Self {
        match date.weekday() {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

/// Hours of the day, in a time zone.
///
/// ```
/// use mainstay_actors::hours::{Day, Hours};
///
/// let office = Hours::between("America/New_York", "09:00", "17:30")?.on(Day::WORKDAYS);
/// assert_eq!(office.to_string(), "09:00 to 17:30 in America/New_York, mon tue wed thu fri");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// The IANA name of the zone, `America/New_York`: where the phone rings.
    pub time_zone: String,
    /// The first time inside.
    pub from: Time,
    /// The first time that is not inside any more; before `from` it is on the next day, so `00:00` is midnight.
    pub until: Time,
    /// The days on which the hours begin; default every day.
    #[serde(default = "every_day")]
    pub days: BTreeSet<Day>,
}

fn every_day() -> BTreeSet<Day> {
    Day::ALL.into()
}

impl Hours {
    /// Every day from one time to another, written as `09:00`. The zone is checked where the hours are used.
    ///
    /// # Errors
    ///
    /// A text that is no time of the day.
    pub fn between(time_zone: &str, from: &str, until: &str) -> Result<Self, jiff::Error> {
        Ok(Self { time_zone: time_zone.into(), from: from.parse()?, until: until.parse()?, days: every_day() })
    }

    /// Only when they begin on one of these days.
    #[must_use]
    pub fn on(mut self, days: impl IntoIterator<Item = Day>) -> Self {
        self.days = days.into_iter().collect();
        self
    }

    /// Notes everything that is wrong with it.
    pub fn check(&self, faults: &mut Faults) {
        let Self { time_zone, from, until, days } = self;
        faults.require(self.zone().is_some(), "time_zone", || {
            format!("{time_zone:?} is not an IANA time zone such as \"UTC\" or \"Europe/Berlin\"")
        });
        faults.require(from != until, "until", || format!("{until} is `from` too: leave the hours out for always"));
        faults.require(!days.is_empty(), "days", || "at least one day is needed".into());
    }

    fn zone(&self) -> Option<TimeZone> {
        TimeZone::get(&self.time_zone).ok().filter(|zone| !zone.is_unknown())
    }

    /// Whether a moment is inside. In a zone that is not known no moment is.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.zone().is_some_and(|zone| self.is_open_in(&zone, at))
    }

    fn is_open_in(&self, zone: &TimeZone, at: Timestamp) -> bool {
        let shown = zone.to_datetime(at);
        let (time, today) = (shown.time(), Day::of(shown.date()));
        if self.from < self.until {
            return self.days.contains(&today) && self.from <= time && time < self.until;
        }
        let yesterday = shown.date().yesterday().map_or(today, Day::of);
        (time >= self.from && self.days.contains(&today)) || (time < self.until && self.days.contains(&yesterday))
    }

    /// The first moment from `at` on that is inside. `None` when none is in the next two weeks.
    pub fn next_opening(&self, at: Timestamp) -> Option<Timestamp> {
        self.first_edge(at, true)
    }

    /// The first moment from `at` on that is not inside. `None` when all of the next two weeks is.
    pub fn next_closing(&self, at: Timestamp) -> Option<Timestamp> {
        self.first_edge(at, false)
    }

    /// The clock passes from outside to inside or back only at `from`, at `until`, or where it is set.
    fn first_edge(&self, at: Timestamp, open: bool) -> Option<Timestamp> {
        let zone = self.zone()?;
        let today = zone.to_datetime(at).date();
        let end = at.checked_add((i64::from(LOOK_DAYS) * 24).hours()).ok()?;
        let days = (-1..=LOOK_DAYS).filter_map(|n| today.checked_add(n.days()).ok());
        let times = days.flat_map(|day| [day.to_datetime(self.from), day.to_datetime(self.until)]);
        let shown = times.flat_map(|time| {
            let moment = zone.to_ambiguous_timestamp(time);
            [moment.earlier(), moment.later()]
        });
        let set = zone.following(at).map(|transition| transition.timestamp()).take_while(|moment| *moment <= end);
        let edges = shown.flatten().chain(set).chain([at]).filter(|moment| *moment >= at);
        edges.filter(|moment| self.is_open_in(&zone, *moment) == open).min()
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |time: Time| time.strftime("%H:%M").to_string();
        write!(f, "{} to {} in {}", short(self.from), short(self.until), self.time_zone)?;
        if self.days.len() < Day::ALL.len() {
            let days: Vec<_> = self.days.iter().map(|day| format!("{day:?}").to_lowercase()).collect();
            write!(f, ", {}", days.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn hours(zone: &str, from: &str, until: &str) -> Hours {
        Hours::between(zone, from, until).unwrap()
    }

    #[test]
    fn the_first_moment_is_inside_and_the_last_is_not() {
        let hours = hours("UTC", "09:00", "17:30");
        let open = |time: &str| hours.is_open(at(&format!("2026-11-24T{time}Z")));
        assert_eq!(["08:59:59", "09:00:00", "17:29:59", "17:30:00"].map(open), [false, true, true, false]);
        assert_eq!(hours.next_opening(at("2026-11-24T17:30:00Z")), Some(at("2026-11-25T09:00:00Z")));
        assert_eq!(hours.next_opening(at("2026-11-24T10:00:00Z")), Some(at("2026-11-24T10:00:00Z")), "it is");
        assert_eq!(hours.next_closing(at("2026-11-24T10:00:00Z")), Some(at("2026-11-24T17:30:00Z")));
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_they_begin_on() {
        let night = hours("UTC", "22:00", "06:00").on([Day::Fri]);
        assert!(night.is_open(at("2026-11-28T05:59:00Z")), "Saturday morning");
        assert!(!night.is_open(at("2026-11-27T05:59:00Z")), "Friday morning");
        let evening = hours("UTC", "18:00", "00:00");
        assert!(evening.is_open(at("2026-11-24T23:59:59Z")) && !evening.is_open(at("2026-11-25T00:00:00Z")));
    }

    #[test]
    fn on_a_friday_evening_the_next_opening_of_the_office_is_on_monday() {
        let office = hours("America/New_York", "09:00", "17:00").on(Day::WORKDAYS);
        let friday = at("2026-11-27T22:00:00Z"); // 17:00 in New York
        assert_eq!(office.next_opening(friday), Some(at("2026-11-30T14:00:00Z")));
    }

    /// New York puts its clock forward on 8 March 2026 at 2:00 and back on 1 November at 2:00.
    #[test]
    fn nine_o_clock_is_nine_o_clock_on_both_sides_of_either_switch() {
        let office = hours("America/New_York", "09:00", "17:00");
        for (asked, opening) in [
            ("2026-03-07T23:00:00Z", "2026-03-08T13:00:00Z"),
            ("2026-03-06T23:00:00Z", "2026-03-07T14:00:00Z"),
            ("2026-10-31T23:00:00Z", "2026-11-01T14:00:00Z"),
            ("2026-10-30T23:00:00Z", "2026-10-31T13:00:00Z"),
        ] {
            assert_eq!(office.next_opening(at(asked)), Some(at(opening)), "{asked}");
        }
    }

    #[test]
    fn hours_that_the_clock_skips_do_not_come_that_day() {
        let early = hours("America/New_York", "02:15", "02:45");
        let (before, next_day) = (at("2026-03-08T05:00:00Z"), at("2026-03-09T06:15:00Z"));
        assert_eq!(early.next_opening(before), Some(next_day));
        let late = hours("America/New_York", "02:15", "04:00");
        assert_eq!(late.next_opening(before), Some(at("2026-03-08T07:00:00Z")), "3:00, where the clock goes on");
        let until_the_gap = hours("America/New_York", "01:00", "02:30");
        assert_eq!(until_the_gap.next_closing(at("2026-03-08T06:30:00Z")), Some(at("2026-03-08T07:00:00Z")));
    }

    #[test]
    fn hours_that_the_clock_shows_twice_are_inside_twice() {
        let early = hours("America/New_York", "01:30", "03:00");
        assert_eq!(early.next_opening(at("2026-11-01T05:00:00Z")), Some(at("2026-11-01T05:30:00Z")));
        assert_eq!(
            early.next_closing(at("2026-11-01T05:30:00Z")),
            Some(at("2026-11-01T06:00:00Z")),
            "put back to 1:00"
        );
        assert_eq!(early.next_opening(at("2026-11-01T06:00:00Z")), Some(at("2026-11-01T06:30:00Z")));
    }

    #[test]
    fn hours_are_read_as_people_write_them_and_every_fault_is_named() {
        let read: Hours =
            serde_json::from_str(r#"{"time_zone":"Europe/Berlin","from":"09:00","until":"20:00","days":["mon"]}"#)
                .unwrap();
        assert_eq!(read, hours("Europe/Berlin", "09:00", "20:00").on([Day::Mon]));
        let wrong = hours("Mars/Olympus", "09:00", "09:00").on([]);
        let mut faults = Faults::default();
        wrong.check(&mut faults);
        assert_eq!(faults.into_result().unwrap_err().len(), 3);
        assert!(!wrong.is_open(at("2026-11-24T09:00:00Z")) && wrong.next_opening(at("2026-11-24T09:00:00Z")).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The slow model looks at the clock every five minutes. Lord Howe puts its clock by half an hour.
        #[test]
        fn the_next_opening_and_closing_are_what_one_sees_who_looks_at_the_clock_all_the_time(
            zone in prop_oneof!["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"],
            from in 0i8..24,
            until in 0i8..24,
            odd in 0i8..12,
            days in proptest::collection::btree_set(proptest::sample::select(&Day::ALL), 1..4),
            start in 0i64..400 * 288,
        ) {
            let time = |hour, minute| Time::new(hour, minute, 0, 0).unwrap();
            let hours = Hours { time_zone: zone, from: time(from, odd * 5), until: time(until, 0), days };
            let start = at("2026-01-01T00:00:00Z").checked_add((start * 5).minutes()).unwrap();
            let zone = hours.zone().unwrap();
            let every = (0..LOOK_DAYS as i64 * 288).map(|n| start.checked_add((n * 5).minutes()).unwrap());
            let first = |open| every.clone().find(|moment| hours.is_open_in(&zone, *moment) == open);
            prop_assert_eq!(hours.next_opening(start), first(true));
            prop_assert_eq!(hours.next_closing(start), first(false));
        }
    }
}
