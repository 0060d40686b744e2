use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    bulkhead::{BreakerNews, OpenCircuit},
    clock,
    ids::TargetId,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(concurrency: usize, queue_max: usize) -> LaneConfig {
    LaneConfig { queue_max, wait_max: ms(1_000), ..LaneConfig::new(LaneId::new("bulk").unwrap(), concurrency) }
}

/// The circuits that numbers take turns on.
fn circuit(item: u32) -> Circuit {
    let names = [None, TargetId::new("leads").ok(), TargetId::new("accounts").ok()];
    Circuit { target: names[item as usize % 3].clone(), group: None }
}

/// A lane of numbers, with what came out of it.
struct Bench {
    lane: Lane<u32>,
    now: Instant,
    gone: BTreeSet<u32>,
    ran: Vec<(u32, GrantId)>,
    out: Vec<(u32, Reason)>,
    told: Vec<u64>,
    circuits: Circuits,
    generation: u64,
}

impl Bench {
    fn new(concurrency: usize, queue_max: usize) -> Self {
        Self {
            lane: Lane::new(config(concurrency, queue_max)),
            now: clock::now(),
            gone: BTreeSet::new(),
            ran: Vec::new(),
            out: Vec::new(),
            told: Vec::new(),
            circuits: Circuits::default(),
            generation: 0,
        }
    }

    fn offer(&mut self, item: u32) {
        self.offer_for(item, ms(60_000));
    }

    fn offer_for(&mut self, item: u32, patience: Duration) {
        self.offer_on(Circuit::default(), item, patience);
    }

    fn offer_on(&mut self, circuit: Circuit, item: u32, patience: Duration) {
        let arrival = self.lane.decide_arrive(&circuit, self.now, &self.circuits, &|item| !self.gone.contains(item));
        let out = self.lane.apply_arrive(item, circuit, self.now + patience, self.now, arrival);
        self.out.extend(out.map(|out| (out.item, out.refusal.reason)));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let step = self.lane.decide_step(self.now, &self.circuits, &|item| !self.gone.contains(item));
            match self.lane.apply_step(self.now, step) {
                LaneStepped::Tell(refused) => self.told.push(refused),
                LaneStepped::Out(out) => self.out.push((out.item, out.refusal.reason)),
                LaneStepped::Run { item, grant } => self.ran.push((item, grant)),
                LaneStepped::Rest => break,
            }
        }
        assert!(self.next_deadline().is_none_or(|at| at > self.now), "no work is left behind");
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.lane.next_deadline(self.now, &self.circuits)
    }

    fn release(&mut self, grant: GrantId) -> bool {
        let back = self.lane.release(grant);
        self.settle();
        back
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    fn news(&mut self, closed_for: Option<Duration>) {
        self.news_of(Circuit::default(), closed_for);
    }

    fn news_of(&mut self, circuit: Circuit, closed_for: Option<Duration>) {
        self.generation += 1;
        self.news_of_period(self.generation, circuit, closed_for);
    }

    fn news_of_period(&mut self, generation: u64, circuit: Circuit, closed_for: Option<Duration>) {
        let closed_until = closed_for.map(|time| self.now + time);
        self.circuits.hear(BreakerNews { circuit, generation, closed_until, cause: "5 of 5 failed".into() });
        self.settle();
    }

    fn change(&mut self, change: LaneChange) -> Option<Arc<str>> {
        let force = self.lane.decide_change(change).unwrap();
        let news = self.lane.apply_change(force);
        self.settle();
        news
    }

    fn items_run(&self) -> Vec<u32> {
        self.ran.iter().map(|(item, _)| *item).collect()
    }

    fn seen(&self) -> LaneSnapshot {
        self.lane.snapshot(&VendorId::new("clay").unwrap(), self.now, &self.circuits)
    }
}

#[test]
fn items_run_in_the_order_of_their_arrival() {
    let mut bench = Bench::new(1, 10);
    (0..4).for_each(|item| bench.offer(item));
    assert_eq!(bench.items_run(), [0]);
    for at in 0..3 {
        bench.release(bench.ran[at].1);
    }
    assert_eq!(bench.items_run(), [0, 1, 2, 3]);
}

#[test]
fn a_full_queue_refuses_with_its_figures() {
    let mut bench = Bench::new(2, 3);
    (0..6).for_each(|item| bench.offer(item));
    assert_eq!(bench.items_run(), [0, 1]);
    assert_eq!(bench.out, [(5, Reason::Full { what: "queue of the lane", held: 3, limit: 3 })]);
    assert_eq!((bench.seen().queued, bench.seen().refused_total), (3, 1));
}

#[test]
fn a_lane_without_a_queue_runs_or_refuses() {
    let mut bench = Bench::new(1, 0);
    bench.offer(0);
    bench.offer(1);
    assert_eq!((bench.items_run(), bench.out.len()), (vec![0], 1));
    bench.release(bench.ran[0].1);
    bench.offer(2);
    assert_eq!(bench.items_run(), [0, 2]);
}

#[test]
fn nobody_waits_longer_than_the_lane_or_its_caller_allows() {
    let mut bench = Bench::new(1, 10);
    bench.offer(0);
    bench.offer(1);
    bench.offer_for(2, ms(300));
    assert_eq!(bench.next_deadline(), Some(bench.now + ms(300)));
    bench.pass(ms(300));
    assert_eq!(bench.out, [(2, Reason::WaitedTooLong { waited: ms(300), limit: ms(300) })]);
    bench.pass(ms(699));
    assert_eq!(bench.out.len(), 1);
    bench.pass(ms(1));
    assert_eq!(bench.out[1], (1, Reason::WaitedTooLong { waited: ms(1_000), limit: ms(1_000) }));
    assert_eq!(bench.seen().expired_total, 2);
}

#[test]
fn who_left_makes_room_before_anybody_is_refused() {
    let mut bench = Bench::new(1, 3);
    (0..4).for_each(|item| bench.offer(item));
    bench.gone.insert(2);
    bench.offer(4);
    assert_eq!(bench.out.iter().map(|(item, _)| *item).collect::<Vec<_>>(), [2]);
    bench.offer(5);
    assert_eq!(bench.out.last().unwrap().0, 5, "nobody else has left");
}

#[test]
fn in_a_long_queue_who_left_is_found_by_a_few_arrivals() {
    let mut bench = Bench::new(1, 2_000);
    (0..2_001).for_each(|item| bench.offer(item));
    bench.gone.insert(1_999);
    let mut arrivals = 0;
    while !bench.out.iter().any(|(item, _)| *item == 1_999) {
        bench.offer(5_000 + arrivals);
        arrivals += 1;
        assert!(arrivals <= 4, "2,000 by 512 each");
    }
    bench.gone.insert(1);
    for arrival in 0..4 {
        bench.offer(6_000 + arrival);
    }
    assert!(bench.out.iter().any(|(item, _)| *item == 1), "the look goes round");
}

#[test]
fn who_left_is_skipped_in_its_turn_and_takes_no_permit() {
    let mut bench = Bench::new(1, 10);
    (0..4).for_each(|item| bench.offer(item));
    bench.gone.extend([1, 2]);
    bench.release(bench.ran[0].1);
    assert_eq!(bench.items_run(), [0, 3]);
    assert_eq!(bench.seen().running, 1);
}

#[test]
fn an_open_breaker_empties_the_queue_at_once_and_only_until_its_time() {
    let mut bench = Bench::new(1, 10);
    (0..3).for_each(|item| bench.offer(item));
    bench.news(Some(ms(500)));
    bench.offer(3);
    let cause: Arc<str> = "5 of 5 failed".into();
    let refused: Vec<_> = [1, 2, 3].map(|item| (item, Reason::BreakerOpen { cause: cause.clone() })).into();
    assert_eq!(bench.out, refused);
    assert_eq!(bench.seen().closed_by, [OpenCircuit { circuit: Circuit::default(), cause }]);
    bench.pass(ms(500));
    bench.offer(4);
    assert_eq!((bench.seen().queued, bench.seen().closed_by), (1, vec![]), "lost news wedge nothing");
}

#[test]
fn an_open_breaker_concerns_only_those_of_its_own_circuit() {
    let mut bench = Bench::new(1, 10);
    for item in 0..7 {
        bench.offer_on(circuit(item), item, ms(60_000));
    }
    bench.news_of(circuit(1), Some(ms(500)));
    assert_eq!(bench.out.iter().map(|(item, _)| *item).collect::<Vec<_>>(), [1, 4]);
    bench.offer_on(circuit(7), 7, ms(60_000));
    bench.offer_on(circuit(8), 8, ms(60_000));
    assert_eq!((bench.out.len(), bench.out[2].0, bench.seen().queued), (3, 7, 5));
    bench.news_of(circuit(2), Some(ms(500)));
    bench.news_of(circuit(1), None);
    bench.offer_on(circuit(10), 10, ms(60_000));
    assert_eq!(bench.seen().closed_by.len(), 1);
    for at in 0..4 {
        bench.release(bench.ran[at].1);
    }
    assert_eq!(bench.items_run(), [0, 3, 6, 10], "in the order of their arrival");
}

#[test]
fn news_that_the_breaker_closed_lets_calls_pass_again() {
    let mut bench = Bench::new(1, 10);
    bench.news(Some(ms(500)));
    bench.news(None);
    bench.offer(0);
    assert_eq!(bench.items_run(), [0]);
}

#[test]
fn news_of_an_earlier_period_that_come_late_close_nothing() {
    let mut bench = Bench::new(1, 10);
    bench.news_of_period(3, Circuit::default(), None);
    bench.news_of_period(2, Circuit::default(), Some(ms(500)));
    bench.offer(0);
    assert_eq!((bench.items_run(), bench.seen().closed_by), (vec![0], vec![]));
}

#[test]
fn saturation_is_told_once_a_second_with_the_number_refused() {
    let mut bench = Bench::new(1, 0);
    (0..5).for_each(|item| bench.offer(item));
    assert_eq!(bench.told, [1]);
    assert_eq!(bench.next_deadline(), Some(bench.now + ms(1_000)));
    bench.pass(ms(999));
    assert_eq!(bench.told, [1]);
    bench.pass(ms(1));
    assert_eq!(bench.told, [1, 3]);
    assert_eq!(bench.next_deadline(), None);
}

#[test]
fn a_permit_comes_back_once_however_often_it_is_reported() {
    let mut bench = Bench::new(2, 10);
    (0..6).for_each(|item| bench.offer(item));
    let first = bench.ran[0].1;
    assert!(bench.release(first));
    assert!(!bench.release(first), "a second report of the same end");
    assert!(!bench.release(GrantId(99)), "a grant that was never given");
    assert_eq!(bench.items_run(), [0, 1, 2]);
    assert_eq!(bench.seen().running, 2);
}

#[test]
fn the_waits_of_those_that_ran_are_shown() {
    let mut bench = Bench::new(1, 100);
    (0..100).for_each(|item| bench.offer(item));
    for at in 0..99 {
        bench.pass(ms(5));
        bench.release(bench.ran[at].1);
    }
    let seen = bench.seen();
    assert_eq!((seen.wait_p50_ms, seen.wait_p95_ms, seen.wait_max_ms), (245, 470, 495));
    assert_eq!(seen.oldest_wait_ms, 0);
}

#[test]
fn a_paused_lane_keeps_who_waits_takes_who_comes_and_starts_nothing() {
    let mut bench = Bench::new(1, 2);
    bench.offer(0);
    bench.offer(1);
    assert_eq!(bench.change(LaneChange::Pause("maintenance".into())).as_deref(), Some("paused: maintenance"));
    assert_eq!(bench.change(LaneChange::Pause("maintenance".into())), None, "twice is once");
    bench.release(bench.ran[0].1);
    bench.offer(2);
    bench.offer(3);
    assert_eq!(
        (bench.items_run(), bench.seen().queued),
        (vec![0], 2),
        "a free permit is no place while nothing starts"
    );
    assert_eq!(bench.out, [(3, Reason::Full { what: "queue of the lane", held: 2, limit: 2 })]);
    assert_eq!(bench.seen().paused.as_deref(), Some("maintenance"));
    assert_eq!(bench.change(LaneChange::Resume).as_deref(), Some("resumed"));
    bench.release(bench.ran[1].1);
    assert_eq!(bench.items_run(), [0, 1, 2]);
}

#[test]
fn who_waits_too_long_in_a_paused_lane_is_told_why() {
    let mut bench = Bench::new(1, 2);
    bench.change(LaneChange::Pause("maintenance".into()));
    bench.offer(0);
    bench.pass(ms(1_000));
    assert_eq!(bench.out, [(0, Reason::Paused { why: "maintenance".into(), waited: ms(1_000) })]);
    assert_eq!(bench.seen().expired_total, 1);
}

/// Resilience4j blocks whoever lowers a limit; others count below zero, or give the permit of a lowered bulkhead out again.
#[test]
fn peers_25_after_a_lowering_nothing_starts_until_a_permit_is_truly_back() {
    let mut bench = Bench::new(1, 10);
    (0..4).for_each(|item| bench.offer(item));
    assert_eq!(bench.change(LaneChange::Concurrency(2)).as_deref(), Some("concurrency 1 -> 2"));
    assert_eq!(bench.items_run(), [0, 1], "raised: at once");
    bench.change(LaneChange::Concurrency(1));
    assert_eq!((bench.seen().running, bench.seen().concurrency), (2, 1));
    bench.release(bench.ran[0].1);
    assert_eq!((bench.items_run().len(), bench.seen().running), (2, 1), "that permit is gone");
    bench.release(bench.ran[1].1);
    assert_eq!((bench.items_run(), bench.seen().running), (vec![0, 1, 2], 1));
}

#[test]
fn a_shorter_queue_keeps_who_waits_and_a_value_out_of_range_changes_nothing() {
    let mut bench = Bench::new(1, 3);
    (0..4).for_each(|item| bench.offer(item));
    bench.change(LaneChange::QueueMax(1));
    bench.offer(4);
    assert_eq!((bench.seen().queued, bench.out.len()), (3, 1));
    for bad in [LaneChange::Concurrency(0), LaneChange::Concurrency(1_025), LaneChange::QueueMax(1_000_001)] {
        let error = bench.lane.decide_change(bad).unwrap_err();
        assert!(error.to_string().contains("is not within"), "{error}");
    }
    assert_eq!(bench.seen().concurrency, 1);
}

#[derive(Debug, Clone)]
enum Act {
    Change(LaneChange),
    Offer { patience: u64 },
    Release(usize),
    ReleaseAgain(usize),
    Leave(u32),
    Pass(u64),
    News(u32, Option<u64>),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1u64..3_000).prop_map(|patience| Act::Offer { patience }),
        4 => (0usize..8).prop_map(Act::Release),
        1 => (0usize..50).prop_map(Act::ReleaseAgain),
        2 => (0u32..60).prop_map(Act::Leave),
        2 => (0u64..600).prop_map(Act::Pass),
        1 => (0u32..3, proptest::option::of(0u64..500)).prop_map(|(of, time)| Act::News(of, time)),
        1 => prop_oneof![
            Just(LaneChange::Pause("".into())),
            Just(LaneChange::Resume),
            (1usize..4).prop_map(LaneChange::Concurrency),
            (0usize..5).prop_map(LaneChange::QueueMax),
        ].prop_map(Act::Change),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens: never more than the permits, never more than the places, everyone counted once, in order, and nobody
    /// waits for an open breaker or suffers from another's.
    #[test]
    fn permits_places_and_counts_always_add_up(
        concurrency in 1usize..4,
        queue_max in 0usize..5,
        acts in proptest::collection::vec(act(), 0..80),
    ) {
        let mut bench = Bench::new(concurrency, queue_max);
        let (mut offered, mut out, mut open_until) = (0u32, BTreeSet::new(), [bench.now; 3]);
        for act in acts {
            let before = bench.seen();
            let running = |bench: &Bench| bench.ran.iter().map(|(_, grant)| *grant)
                .filter(|grant| bench.lane.running.contains(grant)).collect::<Vec<_>>();
            let out_before = bench.out.len();
            match act {
                Act::Offer { patience } => {
                    bench.offer_on(circuit(offered), offered, ms(patience));
                    offered += 1;
                }
                Act::Release(at) => if let Some(grant) = running(&bench).get(at) {
                    prop_assert!(bench.release(*grant));
                },
                Act::ReleaseAgain(at) => if let Some((_, grant)) = bench.ran.get(at).copied() {
                    bench.release(grant);
                    prop_assert!(!bench.release(grant));
                },
                Act::Leave(item) => drop(bench.gone.insert(item)),
                Act::Pass(time) => bench.pass(ms(time)),
                Act::News(of, time) => {
                    open_until[of as usize] = bench.now + ms(time.unwrap_or(0));
                    bench.news_of(circuit(of), time.map(ms));
                }
                Act::Change(change) => drop(bench.change(change)),
            }
            let is_open = |item: u32| bench.now < open_until[item as usize % 3];
            prop_assert!((0..3).all(|of| !is_open(of) || bench.lane.queue.first_of(&circuit(of)).is_none()));
            let by_breaker = |reason: &Reason| matches!(reason, Reason::BreakerOpen { .. });
            prop_assert!(bench.out[out_before..].iter().all(|(item, reason)| !by_breaker(reason) || is_open(*item)));
            let seen = bench.seen();
            // After a lowering those that run and wait stay, and nobody joins them.
            prop_assert!(seen.running <= seen.concurrency.max(before.running));
            prop_assert!(seen.queued <= seen.queue_max.max(before.queued));
            prop_assert_eq!(running(&bench).len(), seen.running);
            let idle = seen.paused.is_some() || seen.running >= seen.concurrency;
            prop_assert!(seen.queued == 0 || idle, "a free permit is used");
            prop_assert!(seen.paused.is_none() || bench.ran.len() as u64 == before.dispatched_total || before.paused.is_none());
            prop_assert_eq!(bench.ran.len() + bench.out.len() + seen.queued, offered as usize);
            prop_assert_eq!(seen.refused_total + seen.expired_total, bench.out.len() as u64);
            prop_assert!(bench.ran.is_sorted(), "first in, first out");
        }
        out.extend(bench.out.iter().map(|(item, _)| *item));
        prop_assert_eq!(out.len(), bench.out.len(), "nobody comes out twice");
    }
}
