use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn day(zone: &str, moment: &str) -> Span {
    Calendar::of(zone).unwrap().day_of(at(moment))
}

/// Zone, a moment, and its day: the date, first moment, end, length in minutes.
const TABLE: &[(&str, &str, &str, &str, &str, i64)] = &[
    ("UTC", "2026-02-28T23:59:59.999Z", "2026-02-28", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z", 1440),
    // Summer time begins and ends at 2 in the night.
    ("America/New_York", "2026-03-08T12:00:00Z", "2026-03-08", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z", 1380),
    ("America/New_York", "2026-11-01T12:00:00Z", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", 1500),
    ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 1380),
    ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 1500),
    // Half an hour off the full hour, no summer time.
    ("Asia/Kolkata", "2026-01-01T18:29:59Z", "2026-01-01", "2025-12-31T18:30:00Z", "2026-01-01T18:30:00Z", 1440),
    ("Asia/Kolkata", "2026-01-01T18:30:00Z", "2026-01-02", "2026-01-01T18:30:00Z", "2026-01-02T18:30:00Z", 1440),
    // 30 December 2011 did not exist: the 29th is followed by the 31st.
    ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", 1440),
    ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z", 1440),
    // Summer time began at midnight: 00:00 was skipped, the day began at 01:00.
    ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z", 1380),
    ("America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-03", "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", 1440),
    // And ended at midnight: 23:00 came twice.
    ("America/Sao_Paulo", "2018-02-18T01:30:00Z", "2018-02-17", "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z", 1500),
    ("America/Sao_Paulo", "2018-02-18T02:30:00Z", "2018-02-17", "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z", 1500),
    // Set back at 00:01: midnight came twice, and the hour in between shows yesterday's date.
    ("America/St_Johns", "2010-11-07T02:31:30Z", "2010-11-07", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z", 1500),
    ("America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-06", "2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z", 1440),
    // The jump began before midnight, from 23:30 to 00:30: the day began at the jump.
    ("America/Toronto", "1919-03-31T12:00:00Z", "1919-03-31", "1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z", 1410),
];

#[test]
fn a_day_is_the_zones_day_whatever_its_clock_does() {
    for (zone, moment, date, start, end, minutes) in TABLE {
        let day = day(zone, moment);
        let row = format!("{zone} {moment}");
        assert_eq!((day.date.to_string().as_str(), day.start, day.end), (*date, at(start), at(end)), "{row}");
        assert_eq!(day.end.duration_since(day.start), SignedDuration::from_mins(*minutes), "{row}");
    }
}

#[test]
fn the_end_of_a_day_is_the_first_moment_of_the_next() {
    for (zone, moment, ..) in TABLE {
        let today = day(zone, moment);
        let next = Calendar::of(zone).unwrap().day_of(today.end);
        assert_eq!(next.start, today.end, "{zone} {moment}");
        assert!(next.date > today.date, "{zone} {moment}");
    }
}

#[test]
fn a_clock_that_steps_back_stays_in_the_day_until_it_has_caught_up() {
    let calendar = Calendar::utc();
    let today = calendar.day_of(at("2026-05-02T00:00:01Z"));
    for earlier in ["2026-05-01T23:59:59Z", "2026-05-01T00:00:00Z", "1970-01-01T00:00:00Z", "2026-05-02T23:59:59Z"] {
        assert_eq!(calendar.turn(&today, at(earlier)), None, "{earlier}");
    }
    assert_eq!(calendar.turn(&today, at("2026-05-03T00:00:00Z")).unwrap().date.to_string(), "2026-05-03");
}

#[test]
fn a_clock_that_steps_ahead_begins_one_new_day() {
    let calendar = Calendar::of("Europe/Berlin").unwrap();
    let today = calendar.day_of(at("2026-05-01T12:00:00Z"));
    let new = calendar.turn(&today, at("2026-05-09T12:00:00Z")).unwrap();
    assert_eq!(new.date.to_string(), "2026-05-09");
    assert_eq!(calendar.turn(&new, at("2026-05-09T12:00:01Z")), None);
}

#[test]
fn the_ends_of_time_have_a_day() {
    for zone in ["UTC", "Pacific/Apia", "America/New_York"] {
        let calendar = Calendar::of(zone).unwrap();
        for moment in [Timestamp::MIN, Timestamp::MAX] {
            let day = calendar.day_of(moment);
            assert!(day.start <= moment && moment <= day.end, "{zone} {day:?}");
            assert_eq!(calendar.turn(&day, moment), None);
        }
    }
}

#[test]
fn a_zone_that_does_not_exist_has_no_calendar() {
    for name in ["", "Mars/Olympus", "Etc/Unknown", "+02:00"] {
        assert!(Calendar::of(name).is_none(), "{name}");
    }
}

const ZONES: &[&str] = &[
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Toronto",
    "America/Havana",
    "Asia/Gaza",
    "Australia/Lord_Howe",
];

prop_compose! {
    /// A moment of 1900 to 2100, often next to a change of the zone's clock.
    fn moment(zone: &'static str)(second in -2_208_988_800i64..4_102_444_800, near in any::<bool>(), off in -100_000i64..100_000) -> Timestamp {
        let moment = Timestamp::from_second(second).unwrap();
        let calendar = Calendar::of(zone).unwrap();
        let jump = calendar.zone.following(moment).next().map(|jump| jump.timestamp()).filter(|_| near);
        jump.unwrap_or(moment) + SignedDuration::from_secs(off)
    }
}

fn zone_and_moments() -> impl Strategy<Value = (&'static str, Vec<Timestamp>)> {
    proptest::sample::select(ZONES).prop_flat_map(|zone| (Just(zone), prop::collection::vec(moment(zone), 1..12)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_moment_is_in_exactly_one_day((zone, moments) in zone_and_moments()) {
        let calendar = Calendar::of(zone).unwrap();
        for moment in moments {
            let day = calendar.day_of(moment);
            prop_assert!(day.start <= moment && moment < day.end, "{day:?}");
            let last = day.end - SignedDuration::from_nanos(1);
            prop_assert_eq!(calendar.day_of(day.start), day);
            prop_assert_eq!(calendar.day_of(last), day);
            let next = calendar.day_of(day.end);
            prop_assert!(next.start == day.end && next.date > day.date, "{day:?} {next:?}");
            let hours = day.end.duration_since(day.start).as_hours();
            prop_assert!((22..=48).contains(&hours), "{day:?}");
        }
    }

    #[test]
    fn a_walk_of_the_wall_clock_never_goes_back_a_day_and_ends_where_its_highest_moment_is((zone, moments) in zone_and_moments()) {
        let calendar = Calendar::of(zone).unwrap();
        let mut today = calendar.day_of(moments[0]);
        let mut highest = moments[0];
        for wall in moments {
            highest = highest.max(wall);
            if let Some(next) = calendar.turn(&today, wall) {
                prop_assert!(next.date > today.date && next.start >= today.end);
                today = next;
            }
            prop_assert_eq!(today, calendar.day_of(highest));
        }
    }
}

/// Zone, a moment, and its month: the first date, first moment, end.
const MONTHS: &[(&str, &str, &str, &str, &str)] = &[
    // A leap day is the last of its month, and in other years 28 February is.
    ("UTC", "2028-02-29T23:59:59.999Z", "2028-02-01", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
    ("UTC", "2026-02-28T23:59:59.999Z", "2026-02-01", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
    ("UTC", "2026-12-31T23:59:59.999Z", "2026-12-01", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    // Summer time begins and ends within the month: an hour less, an hour more.
    ("Europe/Berlin", "2026-03-15T12:00:00Z", "2026-03-01", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
    ("America/New_York", "2026-11-15T12:00:00Z", "2026-11-01", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"),
    // It is another month than in UTC.
    ("Asia/Kolkata", "2026-04-30T18:30:00Z", "2026-05-01", "2026-04-30T18:30:00Z", "2026-05-31T18:30:00Z"),
];

#[test]
fn a_month_is_the_zones_month_with_its_leap_days_and_its_summer_time() {
    for (zone, moment, date, start, end) in MONTHS {
        let calendar = Calendar::of(zone).unwrap();
        let month = calendar.span(Period::Month, &calendar.day_of(at(moment)));
        assert_eq!(
            (month.date.to_string().as_str(), month.start, month.end),
            (*date, at(start), at(end)),
            "{zone} {moment}"
        );
        assert_eq!(month.reset(), Some(at(end)));
    }
}

#[test]
fn a_lifetime_is_never_reset() {
    let calendar = Calendar::utc();
    let (early, late) = (calendar.day_of(Timestamp::MIN), calendar.day_of(at("2026-05-02T00:00:00Z")));
    assert_eq!(calendar.span(Period::Lifetime, &early), calendar.span(Period::Lifetime, &late));
    assert_eq!(calendar.span(Period::Lifetime, &late).reset(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_month_begins_and_ends_with_a_day((zone, moments) in zone_and_moments()) {
        let calendar = Calendar::of(zone).unwrap();
        for moment in moments {
            let day = calendar.day_of(moment);
            let month = calendar.span(Period::Month, &day);
            prop_assert!(month.start <= day.start && day.end <= month.end, "{day:?} {month:?}");
            let first = calendar.day_of(month.start);
            prop_assert_eq!(calendar.span(Period::Month, &first), month);
            let next = calendar.span(Period::Month, &calendar.day_of(month.end));
            prop_assert!(next.start == month.end && next.date > month.date, "{month:?} {next:?}");
        }
    }
}
