//! A strict window: never more than so many calls in any stretch of so much time. Pure.
//!
//! The bucket of `rate.rs` lets a burst through on top of its rate; some vendors count by a window that slides, and punish one
//! call too many. Here the calls of the last window are kept by their moments, so no window of that length has more, wherever
//! it begins. The count is of calls let through: on the way to the vendor two may come closer to each other.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{config::StrictWindow, queue::later};
use crate::ids::GrantId;

/// The calls of the last window.
#[derive(Debug)]
pub(super) struct WindowLog {
    most: usize,
    within: Duration,
    /// Oldest first; those that count no more leave when the next one comes. Never more than the largest `most` so far.
    calls: VecDeque<(GrantId, Instant)>,
}

impl WindowLog {
    /// Nothing was called yet.
    pub(super) fn new(window: StrictWindow) -> Self {
        let most = usize::try_from(window.most).unwrap_or(usize::MAX);
        Self { most, within: window.within, calls: VecDeque::new() }
    }

    /// The same calls under another limit.
    pub(super) fn changed(self, window: StrictWindow) -> Self {
        Self { calls: self.calls, ..Self::new(window) }
    }

    /// When the next call may pass; `now` if it may.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        let fills = self.calls.len().checked_sub(self.most).and_then(|at| self.calls.get(at));
        fills.map_or(now, |(_, at)| later(*at, self.within).max(now))
    }

    /// A call passes.
    pub(super) fn take(&mut self, grant: GrantId, now: Instant) {
        while self.calls.front().is_some_and(|(_, at)| later(*at, self.within) <= now) {
            self.calls.pop_front();
        }
        self.calls.push_back((grant, now));
    }

    /// A call that passed was not sent: it does not count. True when it had counted until now.
    pub(super) fn give_back(&mut self, grant: GrantId) -> bool {
        let Ok(at) = self.calls.binary_search_by_key(&grant, |(id, _)| *id) else { return false };
        self.calls.remove(at).is_some()
    }

    /// Calls that may pass at this moment.
    pub(super) fn left(&self, now: Instant) -> u32 {
        let counted = self.calls.iter().filter(|(_, at)| later(*at, self.within) > now).count();
        u32::try_from(self.most.saturating_sub(counted)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
#[cfg(feature = "runtime")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn window(most: u32, within: u64) -> StrictWindow {
        StrictWindow { most, within: ms(within) }
    }

    #[test]
    fn ten_in_any_second_means_any_second() {
        let (mut log, start) = (WindowLog::new(window(10, 1_000)), clock::now());
        // Nine at the end of one second of the clock and one at the beginning of the next fill the window between them.
        for n in 0..9 {
            log.take(GrantId(n), start + ms(990));
        }
        log.take(GrantId(9), start + ms(1_010));
        assert_eq!(log.ready_at(start + ms(1_020)), start + ms(1_990));
        assert_eq!((log.left(start + ms(1_989)), log.left(start + ms(1_990))), (0, 9));
    }

    #[test]
    fn a_lower_limit_counts_the_calls_that_were_made_under_the_higher_one() {
        let (mut log, start) = (WindowLog::new(window(10, 1_000)), clock::now());
        (0..10).for_each(|n| log.take(GrantId(n), start + ms(n * 10)));
        let mut log = log.changed(window(2, 1_000));
        assert_eq!(log.ready_at(start + ms(100)), start + ms(1_080), "when one of the last two is out of the window");
        assert!(log.give_back(GrantId(9)) && !log.give_back(GrantId(9)));
        assert_eq!(log.ready_at(start + ms(100)), start + ms(1_070));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The slow model keeps every call for ever and tries each millisecond.
        #[test]
        fn no_window_has_more_calls_than_it_may_and_none_waits_longer_than_it_must(
            most in 1u32..5,
            within in 1u64..200,
            script in proptest::collection::vec((0u64..120, proptest::option::of(0usize..8)), 1..120),
        ) {
            let (mut log, start) = (WindowLog::new(window(most, within)), clock::now());
            let mut now = start;
            let mut sends: Vec<(GrantId, Instant)> = Vec::new();
            for (n, (pause, unused)) in script.into_iter().enumerate() {
                now += ms(pause);
                let free = |at: Instant| sends.iter().filter(|(_, sent)| *sent + ms(within) > at).count() < most as usize;
                let first = (0..).map(|n| now + ms(n)).find(|at| free(*at)).unwrap();
                prop_assert_eq!(log.ready_at(now), first);
                prop_assert_eq!(log.left(now) > 0, first == now);
                if first == now {
                    log.take(GrantId(n as u64), now);
                    sends.push((GrantId(n as u64), now));
                }
                if let Some(at) = unused.and_then(|back| sends.len().checked_sub(back + 1)) {
                    let (grant, _) = sends.remove(at);
                    log.give_back(grant);
                }
                prop_assert!(log.calls.len() <= most as usize);
            }
        }
    }
}
