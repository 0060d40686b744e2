use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    bulkhead::{BreakerNews, Rate, StrictWindow, patterns_lanes},
    clock,
    outcome::{Effect, Outcome},
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const LANES: [&str; 3] = ["critical", "normal", "bulk"];

/// A gate of (lane, number), with what came out of it.
struct Bench {
    gate: Gate<(usize, u32)>,
    now: Instant,
    gone: BTreeSet<u32>,
    next: u32,
    granted: Vec<(usize, u32, GrantId, Instant)>,
    out: Vec<(u32, Refusal)>,
    leases_ended: usize,
    circuits: Circuits,
}

impl Bench {
    fn new(config: GateConfig) -> Self {
        Self {
            gate: Gate::new(config, &patterns_lanes()),
            now: clock::now(),
            gone: BTreeSet::new(),
            next: 0,
            granted: Vec::new(),
            out: Vec::new(),
            leases_ended: 0,
            circuits: Circuits::default(),
        }
    }

    fn offer(&mut self, lane: usize) -> u32 {
        self.offer_on(Circuit::default(), lane)
    }

    fn offer_on(&mut self, circuit: Circuit, lane: usize) -> u32 {
        let item = self.next;
        self.next += 1;
        let name = LaneId::new(LANES[lane]).unwrap();
        let arrival =
            self.gate.decide_arrive(&name, &circuit, self.now, &self.circuits, &|(_, item)| !self.gone.contains(item));
        let out = self.gate.apply_arrive((lane, item), circuit, self.now + ms(600_000), self.now, arrival);
        self.out.extend(out.map(|out| (out.item.1, out.refusal)));
        self.settle();
        item
    }

    fn offer_all(&mut self, lane: usize, number: usize) {
        for _ in 0..number {
            self.offer(lane);
        }
    }

    /// Fills the lane's line up to what its permits allow.
    fn fill(&mut self, lane: usize) {
        let max = patterns_lanes()[lane].concurrency;
        while self.gate.lines[lane].queue.len() < max {
            self.offer(lane);
        }
    }

    fn settle(&mut self) {
        loop {
            let step = self.gate.decide_step(self.now, &self.circuits, &|(_, item)| !self.gone.contains(item));
            match self.gate.apply_step(self.now, step) {
                GateStepped::LeaseEnded { .. } => self.leases_ended += 1,
                GateStepped::Out(out) => self.out.push((out.item.1, out.refusal)),
                GateStepped::Granted { item: (lane, item), grant } => self.granted.push((lane, item, grant, self.now)),
                GateStepped::Rest => break,
            }
        }
        assert!(self.next_deadline().is_none_or(|at| at > self.now), "no work is left behind");
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.gate.next_deadline(self.now, &self.circuits)
    }

    /// The breaker of this circuit opened, for half a second.
    fn open(&mut self, circuit: Circuit) -> Instant {
        let until = self.now + ms(500);
        let cause = "timeouts".into();
        self.circuits.hear(BreakerNews { circuit, generation: 1, closed_until: Some(until), cause });
        self.settle();
        until
    }

    fn report(&mut self, grant: GrantId, end: GrantEnd) {
        self.gate.apply_report(&GrantReport { grant, end }, self.now);
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    fn change(&mut self, change: GateChange) -> Option<Arc<str>> {
        let force = self.gate.decide_change(change).unwrap();
        let news = self.gate.apply_change(self.now, force);
        self.settle();
        news
    }

    fn last(&self) -> GrantId {
        self.granted.last().unwrap().2
    }

    fn seen(&self) -> GateSnapshot {
        self.gate.snapshot(&VendorId::new("retell").unwrap(), self.now, &self.circuits)
    }
}

fn cap(cap: usize) -> GateConfig {
    GateConfig { cap, ..GateConfig::default() }
}

fn rate(per_second: f64, burst: u32) -> GateConfig {
    GateConfig { cap: 1_000, rate: Some(Rate { per_second, burst }), ..GateConfig::default() }
}

fn ended(class: Class, retry_after: Option<Duration>) -> GrantEnd {
    let outcome = Outcome { retry_after, ..Outcome::without_answer(class, Effect::Done, "") };
    GrantEnd::Ended(Ending::from(&outcome))
}

#[test]
fn the_cap_holds_over_all_lanes() {
    let mut bench = Bench::new(cap(12));
    for lane in [0; 10].into_iter().chain([1; 5]) {
        bench.offer(lane);
    }
    assert_eq!(bench.granted.len(), 12);
    bench.report(bench.granted[3].2, ended(Class::Success, None));
    assert_eq!((bench.granted.len(), bench.seen().in_use), (13, 12));
}

#[test]
fn saturated_higher_lanes_leave_the_lowest_one_of_nine_turns() {
    let mut bench = Bench::new(cap(1));
    let mut gap = 0;
    for turn in 0..2_000 {
        (0..3).for_each(|lane| bench.fill(lane));
        bench.report(bench.last(), ended(Class::Success, None));
        gap = if bench.granted.last().unwrap().0 == 2 { 0 } else { gap + 1 };
        assert!(turn < 9 || gap < 9, "{gap} turns without bulk");
    }
    let share = |lane| bench.granted.iter().filter(|grant| grant.0 == lane).count();
    assert!((1_150..1_200).contains(&share(0)) && (570..610).contains(&share(1)) && share(2) >= 220, "{}", share(0));
}

#[test]
fn an_idle_share_is_borrowed() {
    let mut bench = Bench::new(cap(1));
    for _ in 0..50 {
        bench.fill(2);
        bench.report(bench.last(), ended(Class::Success, None));
    }
    assert!(bench.granted.iter().all(|grant| grant.0 == 2) && bench.granted.len() == 51);
    bench.offer(0);
    bench.report(bench.last(), ended(Class::Success, None));
    assert_eq!(bench.granted.last().unwrap().0, 0, "and given back at the first turn");
}

#[test]
fn an_unknown_end_keeps_the_slot_until_its_lease_runs_out() {
    let mut bench = Bench::new(cap(1));
    bench.offer(0);
    bench.report(bench.last(), GrantEnd::Unknown);
    assert_eq!((bench.seen().in_use, bench.seen().leased_unknown), (1, 1));
    bench.pass(ms(65 * 60_000 - 1));
    bench.offer(1);
    assert_eq!(bench.granted.len(), 1);
    bench.pass(ms(1));
    assert_eq!((bench.granted.len(), bench.leases_ended, bench.seen().leased_unknown), (2, 1, 0));
    bench.report(bench.granted[0].2, ended(Class::Success, None));
    assert_eq!(bench.seen().in_use, 1, "a report after the lease changes nothing");
}

#[test]
fn a_slot_that_nobody_reports_is_free_when_its_lease_runs_out() {
    let mut bench = Bench::new(GateConfig { slot_lease: ms(5_000), ..cap(1) });
    bench.offer(0);
    bench.offer(0);
    bench.pass(ms(5_000));
    assert_eq!((bench.granted.len(), bench.leases_ended), (2, 1));
}

#[test]
fn who_left_or_waited_in_vain_takes_no_token() {
    let mut bench = Bench::new(GateConfig { line_wait_max: ms(40), ..rate(10.0, 1) });
    let items: Vec<_> = (0..5).map(|_| bench.offer(0)).collect();
    bench.gone.extend([items[1], items[2]]);
    bench.pass(ms(40));
    assert_eq!(bench.out.len(), 4, "two left, two waited too long");
    let item = bench.offer(0);
    bench.pass(ms(60));
    assert_eq!(bench.out.last().unwrap().0, item);
    assert_eq!((bench.granted.len(), bench.seen().tokens), (1, Some(1)));
}

#[test]
fn a_token_that_was_not_used_goes_to_the_next_one() {
    let mut bench = Bench::new(rate(1.0, 1));
    bench.offer(0);
    bench.offer(0);
    assert_eq!(bench.granted.len(), 1);
    bench.report(bench.last(), GrantEnd::Unused);
    assert_eq!((bench.granted.len(), bench.seen().returned_tokens_total), (2, 1));
    bench.report(bench.granted[0].2, GrantEnd::Unused);
    assert_eq!(bench.seen().returned_tokens_total, 1, "once");
}

#[test]
fn the_gate_wakes_for_the_next_token_only_if_it_can_be_used() {
    let mut bench = Bench::new(rate(1.0, 1));
    bench.offer(0);
    let lease = bench.next_deadline();
    assert_eq!(lease, Some(bench.now + GateConfig::default().slot_lease), "nobody waits");
    bench.offer(0);
    assert_eq!(bench.next_deadline(), Some(bench.now + ms(1_000)));
    bench.change(GateChange::Cap(1));
    assert_eq!(bench.next_deadline(), Some(bench.now + ms(30_000)), "no slot: only the wait ends");
}

#[test]
fn a_vendor_that_asks_for_a_pause_is_left_alone_by_all_lanes() {
    let mut bench = Bench::new(cap(10));
    bench.offer(0);
    bench.report(bench.last(), ended(Class::Throttled, Some(ms(2_000))));
    bench.offer(0);
    bench.offer(2);
    assert_eq!((bench.granted.len(), bench.seen().paused_ms), (1, 2_000));
    bench.pass(ms(2_000));
    assert_eq!(bench.granted.len(), 3);
    bench.report(bench.last(), ended(Class::Throttled, Some(ms(3_600_000))));
    assert_eq!(bench.seen().paused_ms, 60_000, "bounded");
}

#[test]
fn an_open_breaker_empties_every_line_at_once() {
    let mut bench = Bench::new(cap(1));
    (0..3).for_each(|lane| bench.fill(lane));
    let waiting = bench.gate.lines.iter().map(|line| line.queue.len()).sum::<usize>();
    let until = bench.open(Circuit::default());
    assert_eq!((bench.out.len(), waiting), (17, 17));
    assert!(bench.out.iter().all(|(_, refusal)| refusal.by == Guard::Breaker && refusal.retry_at == Some(until)));
    bench.offer(0);
    assert_eq!(bench.out.len(), 18);
    bench.pass(ms(500));
    bench.report(bench.last(), ended(Class::Success, None));
    bench.offer(0);
    assert_eq!((bench.out.len(), bench.granted.len()), (18, 2));
}

#[test]
fn an_open_breaker_empties_the_lines_of_its_own_circuit_only() {
    let leads = || Circuit { target: crate::ids::TargetId::new("leads").ok(), group: None };
    let mut bench = Bench::new(cap(1));
    bench.offer(0);
    let others: Vec<_> = [1, 2].map(|lane| bench.offer(lane)).into();
    let of_leads: Vec<_> = [0, 1, 2].map(|lane| bench.offer_on(leads(), lane)).into();
    bench.open(leads());
    assert_eq!(bench.out.iter().map(|(item, _)| *item).collect::<Vec<_>>(), of_leads);
    for _ in others {
        bench.report(bench.last(), ended(Class::Success, None));
    }
    assert_eq!((bench.granted.len(), bench.out.len()), (3, 3));
    assert_eq!(bench.seen().closed_by.len(), 1);
    bench.offer_on(leads(), 0);
    assert_eq!(bench.out.len(), 4);
}

#[test]
fn an_unknown_lane_is_refused_with_the_known_ones() {
    let gate: Gate<u32> = Gate::new(cap(1), &patterns_lanes());
    let (_, arrival) = gate.decide_arrive(
        &LaneId::new("vip").unwrap(),
        &Circuit::default(),
        clock::now(),
        &Circuits::default(),
        &|_| true,
    );
    let Arrival::Refuse(refusal) = arrival else { panic!("{arrival:?}") };
    assert!(refusal.to_string().contains("critical, normal, bulk"), "{refusal}");
}

#[test]
fn a_line_holds_as_many_as_any_lane_may_have_permits() {
    let mut bench = Bench::new(cap(1));
    bench.offer_all(2, CONCURRENCY_MAX + 1);
    bench.offer(2);
    let (held, limit) = (CONCURRENCY_MAX, CONCURRENCY_MAX);
    assert_eq!(bench.out.pop().unwrap().1.reason, Reason::Full { what: "line of the vendor gate", held, limit });
    bench.gone.extend(0..bench.next);
    let item = bench.offer(2);
    assert_ne!(bench.out.pop().unwrap().0, item, "who left makes room");
}

fn strict(most: u32, within: u64) -> Option<StrictWindow> {
    Some(StrictWindow { most, within: ms(within) })
}

#[test]
fn a_bucket_lets_its_burst_through_on_top_of_its_rate_and_a_strict_window_beside_it_does_not() {
    for (window, within_a_second) in [(None, 29), (strict(10, 1_000), 10)] {
        let mut bench = Bench::new(GateConfig { window, ..rate(10.0, 20) });
        bench.offer_all(0, 60);
        (0..999).for_each(|_| bench.pass(ms(1)));
        assert_eq!(bench.granted.len(), within_a_second);
        bench.pass(ms(1));
        assert_eq!(bench.granted.len(), within_a_second + if window.is_some() { 10 } else { 1 });
    }
}

/// p-queue lets aborted jobs burn its interval cap.
#[test]
fn peers_23_who_leaves_before_its_start_takes_nothing_from_the_window() {
    let mut bench = Bench::new(GateConfig { window: strict(1, 100), ..cap(1) });
    let items: Vec<_> = (0..7).map(|_| bench.offer(0)).collect();
    bench.report(bench.last(), ended(Class::Success, None));
    bench.gone.extend(&items[1..6]);
    bench.pass(ms(100));
    assert_eq!(bench.granted.last().unwrap().1, items[6], "the five that left were skipped");
    assert_eq!((bench.out.len(), bench.seen().window_left), (5, Some(0)));
    // One that was let through and not sent gives its place back at once.
    bench.report(bench.last(), GrantEnd::Unused);
    bench.offer(0);
    assert_eq!((bench.granted.len(), bench.seen().returned_tokens_total), (3, 1));
    bench.pass(ms(50));
    assert!(bench.gate.lines.iter().all(|line| line.queue.is_empty()));
}

#[test]
fn a_paused_gate_starts_nothing_on_any_lane_and_those_who_waited_go_first_when_it_is_resumed() {
    let mut bench = Bench::new(cap(10));
    assert_eq!(bench.change(GateChange::Pause("vendor asks".into())).as_deref(), Some("paused: vendor asks"));
    let first = bench.offer(2);
    bench.pass(ms(29_999));
    let second = bench.offer(2);
    bench.pass(ms(1));
    assert_eq!(bench.out.pop().map(|(item, refusal)| (item, refusal.reason)), {
        Some((first, Reason::Paused { why: "vendor asks".into(), waited: ms(30_000) }))
    });
    assert_eq!((bench.granted.len(), bench.seen().paused.as_deref()), (0, Some("vendor asks")));
    bench.change(GateChange::Resume);
    assert_eq!(bench.granted.last().unwrap().1, second);
}

#[test]
fn a_lower_cap_takes_no_slot_back_and_gives_none_out_before_enough_are_back() {
    let mut bench = Bench::new(cap(3));
    bench.offer_all(0, 5);
    assert_eq!(bench.change(GateChange::Cap(1)).as_deref(), Some("cap 3 -> 1"));
    for back in 0..2 {
        bench.report(bench.granted[back].2, ended(Class::Success, None));
        assert_eq!(bench.granted.len(), 3);
    }
    bench.report(bench.granted[2].2, ended(Class::Success, None));
    assert_eq!((bench.granted.len(), bench.seen().in_use), (4, 1));
}

#[test]
fn a_rate_is_changed_while_calls_wait_for_it() {
    let mut bench = Bench::new(rate(1.0, 1));
    bench.offer_all(0, 12);
    assert_eq!(bench.granted.len(), 1);
    let rate = Rate { per_second: 10.0, burst: 1 };
    assert_eq!(bench.change(GateChange::Rate(Some(rate))).as_deref(), Some("rate 1/s (burst 1) -> 10/s (burst 1)"));
    bench.pass(ms(100));
    assert_eq!(bench.granted.len(), 2);
    bench.change(GateChange::Rate(None));
    assert_eq!(bench.granted.len(), 12);
    let error = bench.gate.decide_change(GateChange::Rate(Some(Rate { per_second: 0.0, burst: 1 }))).unwrap_err();
    assert!(error.to_string().contains("rate.per_second: 0 is not within"), "{error}");
}

#[derive(Debug, Clone)]
enum Act {
    Change(GateChange),
    Offer(usize),
    Report(usize, u8),
    Leave(u32),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (0usize..3).prop_map(Act::Offer),
        4 => (0usize..6, 0u8..4).prop_map(|(at, end)| Act::Report(at, end)),
        1 => (0u32..60).prop_map(Act::Leave),
        3 => (0u64..300).prop_map(Act::Pass),
        1 => prop_oneof![
            Just(GateChange::Pause("".into())),
            Just(GateChange::Resume),
            (1usize..5).prop_map(GateChange::Cap),
        ].prop_map(Act::Change),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens: never more slots than the cap, never more sends than the rate allows, everyone counted once.
    #[test]
    fn cap_rate_window_and_counts_always_hold(
        cap in 1usize..5,
        burst in 1u32..4,
        acts in proptest::collection::vec(act(), 0..100),
    ) {
        let (slot_lease, line_wait_max, window) = (ms(2_000), ms(1_000), strict(3, 250));
        let mut bench = Bench::new(GateConfig { cap, slot_lease, line_wait_max, window, ..rate(10.0, burst) });
        let mut unused = BTreeSet::new();
        for act in acts {
            let before = bench.seen();
            match act {
                Act::Change(change) => drop(bench.change(change)),
                Act::Offer(lane) => {
                    bench.offer(lane);
                }
                Act::Leave(item) => drop(bench.gone.insert(item)),
                Act::Pass(time) => bench.pass(ms(time)),
                Act::Report(back, end) => {
                    let Some(at) = bench.granted.len().checked_sub(back + 1) else { continue };
                    let grant = bench.granted[at].2;
                    let known = bench.gate.slots.get(&grant).is_some_and(|slot| !slot.unknown);
                    if !known {
                        continue; // a grant reports once
                    }
                    match end {
                        0 | 1 => {
                            unused.insert(grant);
                            bench.report(grant, GrantEnd::Unused);
                        }
                        2 => bench.report(grant, GrantEnd::Unknown),
                        _ => bench.report(grant, ended(Class::Success, None)),
                    }
                }
            }
            let seen = bench.seen();
            prop_assert!(seen.in_use <= seen.cap.max(before.in_use) && seen.leased_unknown <= seen.in_use);
            let waiting: usize = seen.waiting.iter().map(|line| line.waiting).sum();
            prop_assert_eq!(waiting + bench.granted.len() + bench.out.len(), bench.next as usize);
        }
        let sends: Vec<_> = bench.granted.iter().filter(|grant| !unused.contains(&grant.2)).map(|grant| grant.3).collect();
        for (first, from) in sends.iter().enumerate() {
            for (last, to) in sends.iter().enumerate().skip(first) {
                let allowed = f64::from(burst) + 10.0 * (*to - *from).as_secs_f64() + 1e-6;
                prop_assert!((last - first + 1) as f64 <= allowed);
                prop_assert!(last - first < 3 || *to - *from >= ms(250), "more than 3 in 250 ms");
            }
        }
    }
}
