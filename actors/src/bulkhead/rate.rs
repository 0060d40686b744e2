//! The vendor's rate: never more than `burst + rate * t` calls in any time `t`. Pure.
//!
//! A bucket of tokens in the form of one number (GCRA): the moment at which it is full again. Each call moves that moment by
//! one gap. A token that was not used comes back exactly: its call is struck from the list of recent calls and the moment is
//! reckoned anew, so a token that would have been there anyway is not there twice.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{config::Rate, queue::later};
use crate::ids::GrantId;

/// Recent calls that are kept for tokens that come back. A token older than these is not given back.
const RECENT_MAX: usize = 1024;

/// The bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// From one token to the next, rounded up.
    gap: Duration,
    /// The bucket may be this far from full and still have one token.
    slack: Duration,
    burst: u32,
    recent: VecDeque<(GrantId, Instant)>,
    /// When the bucket would be full without the recent calls.
    full_before: Option<Instant>,
    /// When it is full.
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: Rate) -> Self {
        // Rounded up: a gap that is a little too short would let through one call more in a long time.
        let gap = Duration::from_nanos((1e9 / rate.per_second).ceil().max(1.0) as u64);
        let slack = gap.saturating_mul(rate.burst.saturating_sub(1));
        Self { gap, slack, burst: rate.burst, recent: VecDeque::new(), full_before: None, full_at: None }
    }

    /// A bucket of another rate, with the whole tokens that are there as far as it has room for them; full if there was none.
    /// From the change on, the new rate's promise holds. Tokens taken before it do not come back.
    pub(super) fn changed(before: Option<Self>, rate: Rate, now: Instant) -> Self {
        let bucket = Self::new(rate);
        let Some(before) = before else { return bucket };
        let missing = rate.burst.saturating_sub(before.whole(now));
        let full_at = (missing > 0).then(|| later(now, bucket.gap.saturating_mul(missing)));
        Self { full_before: full_at, full_at, ..bucket }
    }

    /// How long until it is full.
    fn ahead(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full| full.saturating_duration_since(now))
    }

    /// When there is a token; `now` if there is one.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        later(now, self.ahead(now).saturating_sub(self.slack))
    }

    /// Takes a token.
    pub(super) fn take(&mut self, grant: GrantId, now: Instant) {
        if self.recent.len() == RECENT_MAX
            && let Some((_, at)) = self.recent.pop_front()
        {
            self.full_before = Some(after(self.full_before, at, self.gap));
        }
        self.recent.push_back((grant, now));
        self.full_at = Some(after(self.full_at, now, self.gap));
    }

    /// Takes a token back that was not used. True when the bucket gained by it.
    pub(super) fn give_back(&mut self, grant: GrantId) -> bool {
        let Ok(at) = self.recent.binary_search_by_key(&grant, |(id, _)| *id) else { return false };
        self.recent.remove(at);
        let full_at = self.recent.iter().fold(self.full_before, |full, (_, at)| Some(after(full, *at, self.gap)));
        let gained = full_at < self.full_at;
        self.full_at = full_at;
        gained
    }

    /// Whole tokens in the bucket.
    pub(super) fn whole(&self, now: Instant) -> u32 {
        let missing = self.ahead(now).as_nanos().div_ceil(self.gap.as_nanos());
        self.burst.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }
}

/// When the bucket is full after a call at `at`.
fn after(full: Option<Instant>, at: Instant, gap: Duration) -> Instant {
    later(full.map_or(at, |full| full.max(at)), gap)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock;

    impl Bucket {
        fn is_ready(&self, now: Instant) -> bool {
            self.ready_at(now) <= now
        }
    }

    fn clay() -> Rate {
        Rate { per_second: 10.0, burst: 20 }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn clays_burst_goes_at_once_and_then_ten_a_second() {
        let (mut bucket, start) = (Bucket::new(clay()), clock::now());
        let mut sent = 0;
        for tick in 0..=10_000 {
            let now = start + ms(tick);
            while bucket.is_ready(now) {
                bucket.take(GrantId(sent), now);
                sent += 1;
            }
            if tick == 0 {
                assert_eq!(sent, 20);
            }
        }
        assert_eq!(sent, 120);
    }

    #[test]
    fn retell_starts_one_call_a_second() {
        let (mut bucket, now) = (Bucket::new(Rate { per_second: 1.0, burst: 1 }), clock::now());
        bucket.take(GrantId(0), now);
        assert_eq!(bucket.whole(now), 0);
        assert!(!bucket.is_ready(now + ms(999)));
        assert_eq!(bucket.ready_at(now), now + ms(1_000));
        assert!(bucket.is_ready(now + ms(1_000)));
    }

    #[test]
    fn an_unused_token_comes_back_but_not_when_it_would_be_there_anyway() {
        let (mut bucket, start) = (Bucket::new(Rate { per_second: 1.0, burst: 1 }), clock::now());
        bucket.take(GrantId(0), start);
        assert!(bucket.give_back(GrantId(0)) && bucket.is_ready(start));
        assert!(!bucket.give_back(GrantId(0)), "once");
        bucket.take(GrantId(1), start);
        let next = bucket.ready_at(start);
        bucket.take(GrantId(2), next);
        assert!(!bucket.give_back(GrantId(1)), "its token had been refilled and used");
        assert!(!bucket.is_ready(next));
    }

    #[test]
    fn another_rate_keeps_the_tokens_that_are_there_and_no_more() {
        let (mut bucket, start) = (Bucket::new(clay()), clock::now());
        (0..15).for_each(|n| bucket.take(GrantId(n), start));
        let slower = Bucket::changed(Some(bucket), Rate { per_second: 1.0, burst: 2 }, start);
        assert_eq!(slower.whole(start), 2);
        let mut bucket = Bucket::new(clay());
        (0..20).for_each(|n| bucket.take(GrantId(n), start));
        let mut slower = Bucket::changed(Some(bucket), Rate { per_second: 1.0, burst: 2 }, start);
        assert_eq!((slower.whole(start), slower.ready_at(start)), (0, start + ms(1_000)));
        assert!(!slower.give_back(GrantId(19)), "taken under the old rate");
        assert_eq!(Bucket::changed(None, clay(), start).whole(start), 20);
    }

    #[test]
    fn the_list_of_recent_calls_is_bounded() {
        let (mut bucket, start) = (Bucket::new(Rate { per_second: 1000.0, burst: 10_000 }), clock::now());
        for n in 0..5_000 {
            bucket.take(GrantId(n), start);
        }
        assert_eq!(bucket.recent.len(), RECENT_MAX);
        assert!(!bucket.give_back(GrantId(0)) && bucket.give_back(GrantId(4_999)));
        assert_eq!(bucket.whole(start), 10_000 - 4_999);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Calls come in bursts and pauses; some are not sent and give their token back after a while.
        #[test]
        fn no_window_has_more_sends_than_burst_and_rate_allow(
            burst in 1u32..6,
            per_second in 0.5f64..50.0,
            script in proptest::collection::vec((0u64..400, proptest::option::of(0usize..12)), 1..150),
        ) {
            let rate = Rate { per_second, burst };
            let (mut bucket, start) = (Bucket::new(rate), clock::now());
            let mut now = start;
            let mut sends: Vec<(GrantId, Instant)> = Vec::new();
            let mut next = 0;
            for (pause, unused) in script {
                now += ms(pause);
                if bucket.is_ready(now) {
                    bucket.take(GrantId(next), now);
                    sends.push((GrantId(next), now));
                    next += 1;
                }
                // One of the last dozen turns out not to have been sent.
                if let Some(back) = unused.and_then(|back| sends.len().checked_sub(back + 1)) {
                    let (grant, _) = sends.remove(back);
                    bucket.give_back(grant);
                }
                prop_assert!(bucket.whole(now) <= burst);
                prop_assert_eq!(bucket.whole(now) > 0, bucket.is_ready(now));
            }
            for (first, (_, from)) in sends.iter().enumerate() {
                for (last, (_, to)) in sends.iter().enumerate().skip(first) {
                    let allowed = f64::from(burst) + per_second * (*to - *from).as_secs_f64() + 1e-6;
                    prop_assert!((last - first + 1) as f64 <= allowed, "{} within {:?}", last - first + 1, *to - *from);
                }
            }
        }

        /// A bucket whose unused tokens came back is the bucket that never gave them.
        #[test]
        fn giving_back_is_as_if_it_had_never_been_taken(
            pauses in proptest::collection::vec((0u64..300, any::<bool>()), 1..60),
        ) {
            let rate = Rate { per_second: 10.0, burst: 3 };
            let (mut bucket, mut other, start) = (Bucket::new(rate), Bucket::new(rate), clock::now());
            let mut now = start;
            for (n, (pause, used)) in pauses.iter().enumerate() {
                now += ms(*pause);
                let grant = GrantId(n as u64);
                if !bucket.is_ready(now) {
                    continue;
                }
                bucket.take(grant, now);
                if *used {
                    other.take(grant, now);
                } else {
                    bucket.give_back(grant);
                }
                prop_assert_eq!(bucket.ready_at(now), other.ready_at(now));
            }
        }
    }
}
