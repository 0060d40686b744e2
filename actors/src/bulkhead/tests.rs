//! The actors, under a paused clock: tickets go in, and the stage behind is a channel.

mod crashes;
mod openings;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot},
    task::LocalSet,
};

use super::*;
use crate::{
    call::AcceptedCall,
    clock::{self, Clock},
    fact::{Fact, FactSink, NoFacts},
    grant::Ending,
    ids::{ActorId, CallId, Circuit, LaneId, OperationId, TargetId, VendorId},
    kernel::{Child, Door, Hazard, Launch, NoHazard, Published, Vault, Worker, testing::Restarts},
    outcome::{Class, Effect, Outcome},
    refusal::{Guard, Reason},
    ticket::{Reply, Ticket},
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn vendor() -> VendorId {
    VendorId::new("retell").unwrap()
}

/// Lets everything run until it is idle; a paused clock moves on by a millisecond then.
async fn until_idle() {
    tokio::time::sleep(ms(1)).await;
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

/// Panics at every second beginning of the message, so that what is delivered again gets through.
struct EverySecond(&'static str, AtomicU32);

impl Hazard for EverySecond {
    fn strike(&self, _: &ActorId, message: &'static str) {
        if message == self.0 && self.1.fetch_add(1, SeqCst).is_multiple_of(2) {
            panic!("injected");
        }
    }
}

fn every_second(message: &'static str) -> Arc<EverySecond> {
    Arc::new(EverySecond(message, AtomicU32::new(0)))
}

#[derive(Default)]
struct Facts(Mutex<Vec<Fact>>);

impl FactSink for Facts {
    fn state(&self, fact: Fact) {
        self.0.lock().push(fact);
    }
}

fn launch(path: &str, hazard: Arc<dyn Hazard>) -> Launch {
    Launch { id: ActorId::new(path), worker: Worker::here("test"), overseer: Restarts::at_once(), hazard }
}

/// One lane before a channel.
struct OneLane {
    vault: Arc<Vault<BulkheadActor>>,
    door: Door<Ticket>,
    shown: Published<LaneSnapshot>,
    circuits: Published<Circuits>,
    facts: Arc<Facts>,
}

impl OneLane {
    fn start(config: LaneConfig, next: Door<Ticket>, hazard: Arc<dyn Hazard>) -> Self {
        let (clock, facts) = (Clock::default(), Arc::new(Facts::default()));
        let lane = Lane::new(config);
        let shown = Published::new(lane.snapshot(&vendor(), clock.now(), &Circuits::default()));
        let circuits = Published::<Circuits>::default();
        let (of_lane, sink) = (circuits.clone(), facts.clone());
        let parts = LaneParts { vendor: vendor(), next, circuits: of_lane, facts: sink, clock, shown: shown.clone() };
        let vault = Vault::new(launch("retell/lane", hazard), lane, move |inc| BulkheadActor::new(inc, parts.clone()));
        vault.launch();
        Self { door: vault.door(10_000), vault, shown, circuits, facts }
    }
}

/// The vendor's breaker says that it is open.
fn open_until(until: Instant) -> Circuits {
    let cause = "5 of 5 calls failed".into();
    let mut circuits = Circuits::default();
    circuits.hear(BreakerNews { circuit: Circuit::default(), generation: 1, closed_until: Some(until), cause });
    circuits
}

/// A gate before a channel.
struct OneGate {
    vault: Arc<Vault<VendorGateActor>>,
    door: Door<Ticket>,
    shown: Published<GateSnapshot>,
    circuits: Published<Circuits>,
}

impl OneGate {
    fn start(config: GateConfig, next: Door<Ticket>, hazard: Arc<dyn Hazard>) -> Self {
        Self::before([(Circuit::default(), next)].into(), config, hazard)
    }

    fn before(next: BTreeMap<Circuit, Door<Ticket>>, config: GateConfig, hazard: Arc<dyn Hazard>) -> Self {
        let clock = Clock::default();
        let gate = Gate::new(config, &patterns_lanes());
        let shown = Published::new(gate.snapshot(&vendor(), clock.now(), &Circuits::default()));
        let circuits = Published::<Circuits>::default();
        let (of_gate, facts) = (circuits.clone(), Arc::new(NoFacts));
        let parts = GateParts { vendor: vendor(), next, circuits: of_gate, facts, clock, shown: shown.clone() };
        let vault =
            Vault::new(launch("retell/gate", hazard), gate, move |inc| VendorGateActor::new(inc, parts.clone()));
        vault.launch();
        Self { door: vault.door(10_000), vault, shown, circuits }
    }
}

fn lane(name: &str) -> LaneConfig {
    patterns_lanes().into_iter().find(|lane| lane.name.as_str() == name).unwrap()
}

fn no_hazard() -> Arc<dyn Hazard> {
    Arc::new(NoHazard)
}

type Answer = oneshot::Receiver<Reply>;

/// A ticket of call number `n`, with five minutes to go.
fn ticket(n: u128, lane: &str) -> (Ticket, Answer) {
    ticket_on(Circuit::default(), n, lane)
}

fn ticket_on(circuit: Circuit, n: u128, lane: &str) -> (Ticket, Answer) {
    let (id, operation) = (CallId(uuid::Uuid::from_u128(n)), OperationId::new("create-phone-call").unwrap());
    let call = AcceptedCall {
        lane: LaneId::new(lane).unwrap(),
        holds_slot: true,
        ..AcceptedCall::new(id, vendor(), operation, serde_json::Value::Null, Timestamp::UNIX_EPOCH)
    };
    let (ticket, _, answer) =
        Ticket::issue(Arc::new(call), circuit, 1, clock::now() + ms(300_000), tracing::Span::none());
    (ticket, answer)
}

fn offer(door: &Door<Ticket>, lane: &str, calls: std::ops::Range<u128>) -> Vec<Answer> {
    let pass = |n| {
        let (ticket, answer) = ticket(n, lane);
        door.pass(ticket).unwrap();
        answer
    };
    calls.map(pass).collect()
}

fn arrived(rx: &mut UnboundedReceiver<Ticket>) -> Vec<Ticket> {
    std::iter::from_fn(|| rx.try_recv().ok()).collect()
}

fn numbers(tickets: &[Ticket]) -> Vec<u128> {
    tickets.iter().map(|ticket| ticket.call().id.0.as_u128()).collect()
}

fn refusal(answer: &mut Answer) -> (Guard, Reason) {
    match answer.try_recv() {
        Ok(Reply::Refused(refusal)) => (refusal.by, refusal.reason),
        other => panic!("{other:?}"),
    }
}

/// The call was made and lives on: its slot goes on as a lease.
fn live(ticket: Ticket, answer: &mut Answer) -> crate::ticket::Lease {
    assert!(ticket.begin_sending());
    ticket.settle(Outcome { pending: true, ..Outcome::without_answer(Class::Success, Effect::Done, "registered") });
    match answer.try_recv() {
        Ok(Reply::Settled { lease: Some(lease), .. }) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bulk_leaves_critical_untouched() {
    local(async {
        let (next, mut breaker) = Door::to_channel(100);
        let gate = OneGate::start(GateConfig::default(), next, no_hazard());
        let lanes: BTreeMap<_, _> = ["critical", "normal", "bulk"]
            .map(|name| (name, OneLane::start(lane(name), gate.door.clone(), no_hazard())))
            .into();
        let mut bulk = offer(&lanes["bulk"].door, "bulk", 0..5_000);
        until_idle().await;
        let _critical = offer(&lanes["critical"].door, "critical", 10_000..10_010);
        until_idle().await;

        let running = arrived(&mut breaker);
        assert_eq!(numbers(&running).into_iter().filter(|n| *n >= 10_000).count(), 10);
        assert_eq!(running.len(), 12);
        let seen = lanes["bulk"].shown.get();
        assert_eq!((seen.running, seen.queued, seen.refused_total), (2, 4_096, 902));
        assert_eq!(refusal(&mut bulk[4_999]).0, Guard::Lane);
        assert_eq!(lanes["critical"].shown.get().wait_max_ms, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_waited_too_long_is_refused_at_its_time() {
    local(async {
        let (next, mut gate) = Door::to_channel(100);
        let lane = OneLane::start(LaneConfig { concurrency: 1, ..lane("bulk") }, next, no_hazard());
        let start = clock::now();
        let mut answers = offer(&lane.door, "bulk", 0..2);
        let reply = answers.pop().unwrap().await.unwrap();
        let waited = clock::now() - start;
        assert!(matches!(reply, Reply::Refused(refusal) if matches!(refusal.reason, Reason::WaitedTooLong { .. })));
        assert!((ms(30_000)..=ms(30_010)).contains(&waited), "{waited:?}");
        assert_eq!(arrived(&mut gate).len(), 1);
        until_idle().await;
        assert_eq!(lane.shown.get().expired_total, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_went_away_give_their_places_to_others() {
    local(async {
        let (next, mut gate) = Door::to_channel(100);
        let lane = OneLane::start(LaneConfig { queue_max: 3, ..lane("bulk") }, next, no_hazard());
        let mut answers = offer(&lane.door, "bulk", 0..5);
        until_idle().await;
        answers.drain(2..4);
        let mut more = offer(&lane.door, "bulk", 5..8);
        until_idle().await;
        assert!(matches!(refusal(&mut more[2]), (Guard::Lane, Reason::Full { .. })));
        assert_eq!(numbers(&arrived(&mut gate)), [0, 1]);
        until_idle().await;
        assert_eq!(numbers(&arrived(&mut gate)), [4, 5]);
        until_idle().await;
        assert_eq!(numbers(&arrived(&mut gate)), [6]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn saturation_is_stated_once_a_second_with_the_number_refused() {
    local(async {
        let (next, _gate) = Door::to_channel(100);
        let lane = OneLane::start(LaneConfig { queue_max: 0, ..lane("bulk") }, next, no_hazard());
        let _answers = offer(&lane.door, "bulk", 0..12);
        tokio::time::sleep(ms(2_500)).await;
        let said: Vec<_> = lane.facts.0.lock().iter().cloned().collect();
        let refused: Vec<_> = said
            .iter()
            .map(|fact| match fact {
                Fact::LaneSaturated { refused, .. } => *refused,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(refused, [1, 9]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn phone_calls_start_one_a_second() {
    local(async {
        let (next, mut breaker) = Door::to_channel(100);
        let rate = Some(Rate { per_second: 1.0, burst: 1 });
        let gate = OneGate::start(GateConfig { rate, ..GateConfig::default() }, next, no_hazard());
        let start = clock::now();
        let _answers = offer(&gate.door, "critical", 0..6);
        let mut held = Vec::new();
        for nth in 0..6 {
            held.push(breaker.recv().await.unwrap());
            let at = (clock::now() - start).as_millis();
            assert!((nth * 1_000..nth * 1_000 + 10).contains(&at), "start {nth} at {at} ms");
        }
        drop(held.pop());
        let _next = offer(&gate.door, "critical", 6..7);
        until_idle().await;
        assert_eq!(arrived(&mut breaker).len(), 1, "the start that was not made is there for the next one");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_live_call_keeps_its_slot_until_it_ends_and_an_unknown_one_until_its_lease_does() {
    local(async {
        let (next, mut breaker) = Door::to_channel(100);
        let gate = OneGate::start(GateConfig { cap: 1, ..GateConfig::default() }, next, no_hazard());
        let mut answers = offer(&gate.door, "critical", 0..2);
        let lease = live(breaker.recv().await.unwrap(), &mut answers[0]);
        tokio::time::sleep(ms(20_000)).await;
        assert!(breaker.try_recv().is_err(), "the call is still live");
        lease.end(Ending::from(&Outcome::without_answer(Class::Success, Effect::Done, "")));

        let started = clock::now();
        drop(live(breaker.recv().await.unwrap(), &mut answers[1]));
        until_idle().await;
        assert_eq!(gate.shown.get().leased_unknown, 1);
        tokio::time::sleep(ms(65 * 60_000 - 1_000)).await;
        let _next = offer(&gate.door, "critical", 2..3);
        breaker.recv().await.unwrap();
        let held = clock::now() - started;
        assert!((ms(65 * 60_000)..ms(65 * 60_000 + 100)).contains(&held), "{held:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_let_go_does_not_give_back_the_start_that_was_made() {
    local(async {
        let (next, mut breaker) = Door::to_channel(100);
        let window = Some(StrictWindow { most: 1, within: ms(3_600_000) });
        let gate = OneGate::start(GateConfig { window, ..GateConfig::default() }, next, no_hazard());
        let mut answers = offer(&gate.door, "critical", 0..1);
        let mut lease = live(breaker.recv().await.unwrap(), &mut answers[0]);
        tokio::time::sleep(ms(60_000)).await;
        lease.release_slots();
        let _next = offer(&gate.door, "critical", 1..2);
        until_idle().await;
        assert_eq!((gate.shown.get().in_use, gate.shown.get().window_left), (0, Some(0)));
        assert!(breaker.try_recv().is_err(), "a second start within the hour");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_door_behind_refuses_and_gives_everything_back() {
    local(async {
        let (next, _breaker) = Door::to_channel(0);
        let gate = OneGate::start(GateConfig::default(), next, no_hazard());
        let lane = OneLane::start(lane("critical"), gate.door.clone(), no_hazard());
        let mut answers = offer(&lane.door, "critical", 0..30);
        until_idle().await;
        assert!(answers.iter_mut().all(|answer| matches!(refusal(answer), (Guard::Breaker, Reason::Full { .. }))));
        until_idle().await;
        assert_eq!((lane.shown.get().running, gate.shown.get().in_use), (0, 0));
    })
    .await;
}
