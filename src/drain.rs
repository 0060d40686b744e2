//! When the next parked call of a vendor may be begun. Pure: it takes `now` and sends nothing.
//!
//! Each vendor's queue runs by itself, so that one that is away holds up no other: so many at a time, one a `pace`. A call that
//! finds its vendor closed (an open breaker, actors that are down) holds the whole queue until the guard says when to come back, in
//! place of each letter finding out for itself. The first one after that goes alone: it may be the probe.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use mainstay_actors::ids::VendorId;

use crate::config::RedriveConfig;

/// What a parked call found when it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A way to the vendor, whatever came of it.
    Open,
    /// A vendor that is closed to every call until then.
    Closed(Instant),
}

#[derive(Debug, Default)]
struct Queue {
    under_way: usize,
    /// By the pace.
    paced_until: Option<Instant>,
    /// By what the last one found.
    closed_until: Option<Instant>,
    /// The vendor was closed, and nobody has found it open since.
    alone: bool,
}

/// The queues of all vendors. Bounded by the vendors whose calls are parked.
#[derive(Debug)]
pub(crate) struct Drain {
    config: RedriveConfig,
    queues: BTreeMap<VendorId, Queue>,
}

impl Drain {
    pub(crate) fn new(config: RedriveConfig) -> Self {
        Self { config, queues: BTreeMap::new() }
    }

    /// The vendors for which nothing may be begun now.
    pub(crate) fn busy(&self, now: Instant) -> BTreeSet<VendorId> {
        let busy = self.queues.iter().filter(|(_, queue)| self.is_busy(queue, now));
        busy.map(|(vendor, _)| vendor.clone()).collect()
    }

    /// When the next of them may begin again by itself.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let begins = self.queues.values().filter_map(|queue| queue.paced_until.max(queue.closed_until));
        begins.filter(|at| *at > now).min()
    }

    /// A call was begun.
    pub(crate) fn begun(&mut self, now: Instant, vendor: &VendorId) {
        let pace = now + self.config.pace;
        let queue = self.queues.entry(vendor.clone()).or_default();
        queue.under_way += 1;
        queue.paced_until = Some(pace);
    }

    /// A call that was begun has ended.
    pub(crate) fn ended(&mut self, vendor: &VendorId, found: Found) {
        let Some(queue) = self.queues.get_mut(vendor) else { return };
        queue.under_way -= 1;
        queue.alone = found != Found::Open;
        if let Found::Closed(until) = found {
            queue.closed_until = queue.closed_until.max(Some(until));
        }
    }

    /// The vendor is open again before anybody expected it.
    pub(crate) fn opened(&mut self, vendor: &VendorId) {
        if let Some(queue) = self.queues.get_mut(vendor) {
            (queue.closed_until, queue.alone) = (None, false);
        }
    }

    fn is_busy(&self, queue: &Queue, now: Instant) -> bool {
        let most = if queue.alone { 1 } else { self.config.at_a_time };
        let held = queue.paced_until.max(queue.closed_until).is_some_and(|at| now < at);
        queue.under_way >= most || held
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_actors::clock;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const PACE: Duration = Duration::from_millis(200);

    fn drain() -> Drain {
        Drain::new(RedriveConfig { at_a_time: 3, pace: PACE, ..RedriveConfig::default() })
    }

    fn vendor(name: &str) -> VendorId {
        VendorId::new(name).unwrap()
    }

    fn may(drain: &Drain, now: Instant, name: &str) -> bool {
        !drain.busy(now).contains(&vendor(name))
    }

    #[test]
    fn a_vendor_begins_one_call_a_pace_and_so_many_at_a_time_and_others_are_not_held_up() {
        let (mut drain, mut now) = (drain(), clock::now());
        for _ in 0..3 {
            assert!(may(&drain, now, "clay"));
            drain.begun(now, &vendor("clay"));
            assert!(!may(&drain, now, "clay") && may(&drain, now, "retell"));
            assert_eq!(drain.next(now), Some(now + PACE));
            now += PACE;
        }
        assert!(!may(&drain, now, "clay"), "three at a time");
        drain.ended(&vendor("clay"), Found::Open);
        assert!(may(&drain, now, "clay"));
    }

    #[test]
    fn a_closed_vendor_holds_its_queue_and_the_first_call_after_it_goes_alone() {
        let (mut drain, start) = (drain(), clock::now());
        let until = start + Duration::from_secs(30);
        drain.begun(start, &vendor("clay"));
        drain.ended(&vendor("clay"), Found::Closed(until));
        assert!(!may(&drain, until - PACE, "clay") && may(&drain, until, "clay"));
        drain.begun(until, &vendor("clay"));
        assert!(!may(&drain, until + 5 * PACE, "clay"), "the probe is alone");
        drain.ended(&vendor("clay"), Found::Open);
        drain.begun(until + PACE, &vendor("clay"));
        assert!(may(&drain, until + 2 * PACE, "clay"));
    }

    #[test]
    fn a_vendor_that_opens_early_is_drained_early() {
        let (mut drain, now) = (drain(), clock::now());
        drain.begun(now, &vendor("clay"));
        drain.ended(&vendor("clay"), Found::Closed(now + Duration::from_secs(900)));
        drain.opened(&vendor("clay"));
        assert!(!may(&drain, now, "clay") && may(&drain, now + PACE, "clay"), "at its pace");
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Wait(u64),
        Try,
        EndOpen,
        EndClosed(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0u64..500).prop_map(Step::Wait),
            4 => Just(Step::Try),
            3 => Just(Step::EndOpen),
            1 => (0u64..2_000).prop_map(Step::EndClosed),
        ]
    }

    proptest! {
        /// The model: every begin and every end of one vendor, looked through from the start each time.
        #[test]
        fn a_queue_keeps_its_pace_its_width_and_its_holds_under_any_history(steps in vec(any_step(), 1..60)) {
            let (mut drain, mut now, clay) = (drain(), clock::now(), vendor("clay"));
            let (mut begins, mut holds, mut last_found): (Vec<Instant>, Vec<Instant>, _) = (vec![], vec![], Found::Open);
            let mut under_way = 0;
            for step in steps {
                match step {
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Try => {
                        let paced = begins.iter().all(|at| now >= *at + PACE);
                        let held = holds.iter().any(|until| now < *until);
                        let most = if last_found == Found::Open { 3 } else { 1 };
                        let expected = paced && !held && under_way < most;
                        prop_assert_eq!(may(&drain, now, "clay"), expected);
                        if expected {
                            drain.begun(now, &clay);
                            begins.push(now);
                            under_way += 1;
                        }
                    }
                    Step::EndOpen | Step::EndClosed(_) if under_way == 0 => {}
                    Step::EndOpen => {
                        under_way -= 1;
                        last_found = Found::Open;
                        drain.ended(&clay, Found::Open);
                    }
                    Step::EndClosed(ms) => {
                        under_way -= 1;
                        let until = now + Duration::from_millis(ms);
                        last_found = Found::Closed(until);
                        holds.push(until);
                        drain.ended(&clay, last_found);
                    }
                }
            }
        }
    }
}
