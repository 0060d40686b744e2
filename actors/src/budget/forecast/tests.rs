use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A day that began at noon and is reset at midnight, with a limit of 500.
struct Day {
    pace: Pace,
    now: Instant,
    wall: Timestamp,
    used: Credits,
}

impl Day {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a rule takes any moment; this is where its time begins")]
        let now = Instant::now();
        let wall = "2026-05-02T12:00:00Z".parse().unwrap();
        Self { pace: Pace::begin(now, Credits::ZERO), now, wall, used: Credits::ZERO }
    }

    /// Spends evenly, a minute at a time.
    fn minutes(mut self, minutes: u64, each: u64) -> Self {
        for _ in 0..minutes {
            self.now += MINUTE;
            self.wall += MINUTE;
            self.pace.sample(self.now, self.used);
            self.used = self.used.plus(Credits::whole(each));
        }
        self
    }

    fn outlook(&self) -> Option<Forecast> {
        let reset = "2026-05-03T00:00:00Z".parse().unwrap();
        self.pace.outlook((self.now, self.wall), self.used, Credits::whole(500), Some(reset))
    }

    fn for_life(&self) -> Option<Forecast> {
        self.pace.outlook((self.now, self.wall), self.used, Credits::whole(500), None)
    }
}

#[test]
fn at_a_credit_a_minute_500_credits_last_from_noon_until_a_quarter_past_eight() {
    let day = Day::new().minutes(120, 1);
    let Some(Forecast::UsedUpAt(at)) = day.outlook() else { panic!("{:?}", day.outlook()) };
    let expected: Timestamp = "2026-05-02T20:20:00Z".parse().unwrap();
    assert!(at.duration_since(expected).as_mins().abs() < 10, "{at}");
    assert!(day.outlook().unwrap().to_string().starts_with("at this pace used up at 2026-05-02T20:"));
}

#[test]
fn a_pace_that_leaves_money_over_says_how_much_is_used_at_the_reset() {
    let day = Day::new().minutes(60, 2).minutes(90, 0);
    assert_eq!(day.outlook(), Some(Forecast::AtReset(0.24)), "nothing was spent in the last hour");
    assert_eq!(day.outlook().unwrap().to_string(), "at this pace 24 % used at the reset");
    assert_eq!(day.for_life(), None);
}

#[test]
fn ten_minutes_are_needed_to_tell_anything() {
    assert_eq!(Day::new().minutes(9, 5).outlook(), None);
    assert!(Day::new().minutes(10, 5).outlook().is_some());
}

#[test]
fn a_burst_after_hours_of_silence_is_not_spread_over_them() {
    let mut day = Day::new().minutes(10, 1);
    day.now += 300 * MINUTE;
    day.wall += 300 * MINUTE;
    let day = day.minutes(60, 5);
    // 310 of 500 at 17:10 + 1 h, 5 a minute: 38 minutes more.
    let Some(Forecast::UsedUpAt(at)) = day.outlook() else { panic!("{:?}", day.outlook()) };
    let minutes = at.duration_since(day.wall).as_mins();
    assert!((36..=43).contains(&minutes), "{minutes}");
}

#[test]
fn what_is_used_up_already_is_used_up_now() {
    let day = Day::new().minutes(60, 10);
    assert_eq!(day.outlook(), Some(Forecast::UsedUpAt(day.wall)));
    let later = day.minutes(90, 0);
    assert_eq!(later.for_life(), Some(Forecast::UsedUpAt(later.wall)));
}

#[test]
fn a_lifetime_has_no_reset_and_is_foreseen_all_the_same() {
    let day = Day::new().minutes(120, 1);
    assert!(matches!(day.for_life(), Some(Forecast::UsedUpAt(_))));
}

proptest! {
    #[test]
    fn samples_stay_few_and_a_forecast_is_a_number(steps in prop::collection::vec((0u64..90, 0u64..9), 1..200)) {
        let mut day = Day::new();
        for (minutes, units) in steps {
            day.now += minutes as u32 * MINUTE;
            day.wall += minutes as u32 * MINUTE;
            day.pace.sample(day.now, day.used);
            day.used = day.used.plus(Credits::whole(units));
            prop_assert!(day.pace.samples.len() <= 14);
            if let Some(Forecast::AtReset(share)) = day.outlook() {
                prop_assert!((0.0..=1.0).contains(&share));
            }
        }
    }
}
