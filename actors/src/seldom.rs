//! What repeats is said once, then summarised. Pure: it takes `now`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Most keys that are remembered. Beyond it those that are quiet are forgotten; if none is, a new one is always said.
const KEYS_MAX: usize = 4_096;

#[derive(Debug)]
struct Held {
    quiet_until: Instant,
    left_out: u64,
}

/// Says the first of its kind at once, then at most one a period, with the number that was left out in between.
///
/// ```
/// use mainstay_actors::{clock::now, seldom::Seldom};
/// use std::time::Duration;
///
/// let (mut seldom, now) = (Seldom::new(Duration::from_secs(10)), now());
/// assert_eq!(seldom.admit(now, "breaker of clay"), Some(0));
/// assert_eq!(seldom.admit(now, "breaker of clay"), None);
/// assert_eq!(seldom.admit(now, "budget of clay"), Some(0));
/// assert_eq!(seldom.owed(now + Duration::from_secs(10)), [("breaker of clay", 1)]);
/// ```
#[derive(Debug)]
pub struct Seldom<K> {
    period: Duration,
    held: BTreeMap<K, Held>,
}

impl<K: Ord + Clone> Seldom<K> {
    /// With this period for each key.
    pub fn new(period: Duration) -> Self {
        Self { period, held: BTreeMap::new() }
    }

    /// `Some`: say it now; so many were left out before it. `None`: it is left out, and counted.
    pub fn admit(&mut self, now: Instant, key: K) -> Option<u64> {
        let quiet_until = now + self.period;
        if let Some(held) = self.held.get_mut(&key) {
            if now < held.quiet_until {
                held.left_out += 1;
                return None;
            }
            held.quiet_until = quiet_until;
            return Some(std::mem::take(&mut held.left_out));
        }
        if self.held.len() >= KEYS_MAX {
            self.held.retain(|_, held| now < held.quiet_until || held.left_out > 0);
        }
        if self.held.len() < KEYS_MAX {
            self.held.insert(key, Held { quiet_until, left_out: 0 });
        }
        Some(0)
    }

    /// When the first of them are owed.
    pub fn due(&self) -> Option<Instant> {
        self.held.values().filter(|held| held.left_out > 0).map(|held| held.quiet_until).min()
    }

    /// Those of which some were left out in a period that is over, with their number: nothing is left out for good. A new
    /// period begins for them; those that were quiet are forgotten.
    pub fn owed(&mut self, now: Instant) -> Vec<(K, u64)> {
        let mut owed = Vec::new();
        let period = self.period;
        self.held.retain(|key, held| {
            if now < held.quiet_until {
                return true;
            }
            if held.left_out == 0 {
                return false;
            }
            owed.push((key.clone(), std::mem::take(&mut held.left_out)));
            held.quiet_until = now + period;
            true
        });
        owed
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn some_moment() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_thousand_of_a_kind_are_two_lines_with_their_number() {
        let (mut seldom, now) = (Seldom::new(PERIOD), some_moment());
        let said: Vec<_> = (0..1_000).filter_map(|_| seldom.admit(now, "a")).collect();
        assert_eq!(said, [0]);
        assert_eq!((seldom.due(), seldom.owed(now + PERIOD / 2)), (Some(now + PERIOD), vec![]));
        assert_eq!(seldom.owed(now + PERIOD), [("a", 999)]);
        assert_eq!((seldom.due(), seldom.owed(now + 2 * PERIOD)), (None, vec![]));
        assert_eq!(seldom.admit(now + 2 * PERIOD, "a"), Some(0));
    }

    #[test]
    fn what_finds_no_room_is_said_each_time() {
        let (mut seldom, now) = (Seldom::new(PERIOD), some_moment());
        (0..KEYS_MAX).for_each(|n| assert_eq!(seldom.admit(now, n), Some(0)));
        assert_eq!((seldom.admit(now, KEYS_MAX), seldom.admit(now, KEYS_MAX)), (Some(0), Some(0)));
        assert_eq!((seldom.admit(now + PERIOD, KEYS_MAX), seldom.admit(now + PERIOD, KEYS_MAX)), (Some(0), None));
    }

    proptest! {
        /// Every event is in exactly one line, and no two lines of a key are closer than the period.
        #[test]
        fn nothing_is_lost_and_nothing_is_said_too_often(steps in vec((0u8..3, 0u64..4, any::<bool>()), 1..100)) {
            let (mut seldom, mut now) = (Seldom::new(PERIOD), some_moment());
            let (mut events, mut told) = ([0u64; 3], [0u64; 3]);
            let mut last: [Option<Instant>; 3] = [None; 3];
            let mut say = |now: Instant, key: u8, number: u64| {
                let (told, last) = (&mut told[key as usize], &mut last[key as usize]);
                *told += number;
                let early = last.is_some_and(|last| now - last < PERIOD);
                *last = Some(now);
                !early
            };
            for (key, wait, flush) in steps {
                now += Duration::from_secs(wait);
                events[key as usize] += 1;
                if let Some(left_out) = seldom.admit(now, key) {
                    prop_assert!(say(now, key, 1 + left_out));
                }
                if flush {
                    for (key, number) in seldom.owed(now) {
                        prop_assert!(say(now, key, number));
                    }
                }
            }
            for (key, number) in seldom.owed(now + PERIOD) {
                say(now + PERIOD, key, number);
            }
            prop_assert_eq!(events, told);
        }
    }
}
