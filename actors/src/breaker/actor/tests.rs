mod crashes;
mod orders;

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

use super::*;
use crate::{
    breaker::{BreakerConfig, Order, RateTrip, SlowTrip},
    call::AcceptedCall,
    clock,
    ids::{ActorId, CallId, Circuit, OperationId},
    kernel::{Child, Hazard, Launch, Vault, Worker, ask, testing::Restarts},
    outcome::{Class, Effect, Outcome},
    refusal::{Reason, Refusal},
    ticket::{Flight, Reply},
};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Facts(Mutex<Vec<Fact>>);

impl FactSink for Facts {
    fn state(&self, fact: Fact) {
        self.0.lock().push(fact);
    }
}

impl Facts {
    fn changes(&self) -> Vec<String> {
        let facts = self.0.lock();
        let changes = facts.iter().filter_map(|fact| match fact {
            Fact::BreakerChanged { from, to, cause, .. } => Some(format!("{from} -> {to}: {cause}")),
            Fact::BreakerModeChanged { mode, reason, .. } => Some(format!("{mode}: {reason}")),
            Fact::BreakerWouldOpen { cause, .. } => Some(format!("would open: {cause}")),
            _ => None,
        });
        changes.collect()
    }
}

/// Panics the next so many times a message of this name is begun.
#[derive(Default)]
struct Strikes(Mutex<BTreeMap<&'static str, u32>>);

impl Strikes {
    fn arm(&self, message: &'static str, times: u32) {
        self.0.lock().insert(message, times);
    }
}

impl Hazard for Strikes {
    fn strike(&self, _: &ActorId, message: &'static str) {
        let mut armed = self.0.lock();
        let Some(left) = armed.get_mut(message).filter(|left| **left > 0) else { return };
        *left -= 1;
        drop(armed);
        panic!("struck at {message}");
    }
}

struct House {
    vault: Arc<Vault<BreakerActor>>,
    door: Door<Ticket>,
    passed: mpsc::UnboundedReceiver<Ticket>,
    facts: Arc<Facts>,
    strikes: Arc<Strikes>,
    overseer: Arc<Restarts>,
    shown: Published<BreakerSnapshot>,
    calls: u128,
}

/// 50 % of at least 4 calls, open for 30 s exactly, one probe with a lease of 60 s.
fn config() -> BreakerConfig {
    BreakerConfig {
        rate: Some(RateTrip { minimum_calls: 4, ..RateTrip::default() }),
        streak: None,
        probe_lease: 60 * SECOND,
        jitter: 0.0,
        ..BreakerConfig::default()
    }
}

fn vendor() -> VendorId {
    VendorId::new("retell").unwrap()
}

impl House {
    fn build(next_limit: usize) -> Self {
        Self::with(config(), next_limit)
    }

    fn with(config: BreakerConfig, next_limit: usize) -> Self {
        let (next, passed) = Door::to_channel(next_limit);
        let (facts, strikes, overseer) = (Arc::<Facts>::default(), Arc::<Strikes>::default(), Restarts::tolerant());
        let (clock, state) = (Clock::default(), Breaker::new(config, clock::now()));
        let first = BreakerSnapshot::of(&vendor(), &Circuit::default(), &state, clock.now(), |at| clock.wall_of(at));
        let shown = Published::new(first);
        let parts = BreakerParts {
            vendor: vendor(),
            circuit: Circuit::default(),
            next,
            facts: facts.clone(),
            clock,
            rng: Rng::seeded(1),
            shown: shown.clone(),
        };
        let launch = Launch {
            id: ActorId::new("retell/breaker"),
            worker: Worker::here("test"),
            overseer: overseer.clone(),
            hazard: strikes.clone(),
        };
        let vault = Vault::new(launch, state, move |inc| BreakerActor::new(inc, parts.clone()));
        vault.launch();
        let door = vault.door(1_000);
        Self { vault, door, passed, facts, strikes, overseer, shown, calls: 0 }
    }

    fn send(&mut self) -> (Flight, oneshot::Receiver<Reply>) {
        self.calls += 1;
        let id = CallId(uuid::Uuid::from_u128(self.calls));
        let operation = OperationId::new("create").unwrap();
        let payload = serde_json::Value::Null;
        let call = AcceptedCall::new(id, vendor(), operation, payload, jiff::Timestamp::UNIX_EPOCH);
        let deadline = clock::now() + 3_600 * SECOND;
        let (ticket, flight, reply) =
            Ticket::issue(Arc::new(call), Circuit::default(), 1, deadline, tracing::Span::none());
        self.door.pass(ticket).unwrap();
        (flight, reply)
    }

    /// Sends a call that must get through, and gives the ticket as the next stage has it.
    async fn through(&mut self) -> Ticket {
        let (_, reply) = self.send();
        // The caller goes on waiting, whatever the test does with the ticket.
        tokio::task::spawn_local(reply);
        self.passed.recv().await.unwrap()
    }

    /// Sends a call that must be refused.
    async fn refused(&mut self) -> Refusal {
        let (_, reply) = self.send();
        match reply.await.unwrap() {
            Reply::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn end(&mut self, class: Class) {
        self.through().await.settle(Outcome::without_answer(class, Effect::None, ""));
        self.quiet().await;
    }

    /// Lets the actor handle everything it has been given.
    async fn quiet(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(self.vault.reports().is_empty());
    }

    async fn open(&mut self) {
        for _ in 0..4 {
            self.end(Class::Server).await;
        }
        assert_eq!(self.shown.get().state, BreakerState::Open);
    }

    async fn half_open(&mut self) {
        self.open().await;
        tokio::time::sleep(30 * SECOND).await;
        self.quiet().await;
        assert_eq!(self.shown.get().state, BreakerState::HalfOpen);
    }
}

async fn local<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

#[tokio::test(start_paused = true)]
async fn a_failing_vendor_is_refused_probed_and_served_again_and_each_change_is_stated_once() {
    local(async {
        let mut house = House::build(100);
        house.open().await;
        let refusal = house.refused().await;
        assert_eq!(refusal.by, Guard::Breaker);
        assert!(matches!(refusal.reason, Reason::BreakerOpen { .. }), "{refusal}");
        assert_eq!(refusal.retry_after(clock::now()), Some(30 * SECOND));
        tokio::time::sleep(30 * SECOND).await;
        house.end(Class::Success).await;
        house.end(Class::Success).await;
        let expected = [
            "closed -> open: 4 of 4 calls failed (100 %, limit 50 %) within 240 s",
            "open -> half-open: open for 30 s",
            "half-open -> closed: a probe succeeded",
        ];
        assert_eq!(house.facts.changes(), expected);
        let shown = house.shown.get();
        assert_eq!((shown.generation, shown.calls, shown.failure_ratio), (4, 1, None));
        assert_eq!((shown.admitted_total, shown.refused_total, shown.opened_total), (6, 1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_timer_makes_it_half_open_without_a_call() {
    local(async {
        let mut house = House::build(100);
        house.half_open().await;
        assert_eq!(house.facts.changes().len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_eight_calls_at_once_exactly_one_is_the_probe() {
    local(async {
        let mut house = House::build(100);
        house.half_open().await;
        let replies: Vec<_> = (0..8).map(|_| house.send()).collect();
        house.quiet().await;
        let probe = house.passed.try_recv().unwrap();
        assert!(house.passed.try_recv().is_err());
        let mut refused = 0;
        for (_, mut reply) in replies {
            if let Ok(Reply::Refused(refusal)) = reply.try_recv() {
                assert_eq!(refusal.reason, Reason::Probing { probes: 1, limit: 1 });
                refused += 1;
            }
        }
        assert_eq!(refused, 7);
        assert_eq!(house.shown.get().probes_in_flight, 1);
        drop(probe);
        house.quiet().await;
        assert_eq!((house.shown.get().state, house.shown.get().probes_in_flight), (BreakerState::HalfOpen, 0));
        house.end(Class::Success).await;
        assert_eq!(house.shown.get().state, BreakerState::Closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_lost_on_the_wire_opens_again() {
    local(async {
        let mut house = House::build(100);
        house.half_open().await;
        let probe = house.through().await;
        assert!(probe.begin_sending());
        drop(probe);
        house.quiet().await;
        assert_eq!(house.shown.get().state, BreakerState::Open);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_ends_wedges_nothing() {
    local(async {
        let mut house = House::build(100);
        house.half_open().await;
        let hung = house.through().await;
        tokio::time::sleep(60 * SECOND).await;
        house.quiet().await;
        assert_eq!(house.shown.get().state, BreakerState::Open);
        tokio::time::sleep(30 * SECOND).await;
        house.end(Class::Success).await;
        assert_eq!(house.shown.get().state, BreakerState::Closed);
        hung.settle(Outcome::without_answer(Class::Server, Effect::None, ""));
        house.quiet().await;
        assert_eq!((house.shown.get().state, house.shown.get().calls), (BreakerState::Closed, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_takes_no_place() {
    local(async {
        let mut house = House::build(100);
        let (flight, reply) = house.send();
        assert!(flight.revoke());
        let (_, gone) = house.send();
        drop(gone);
        assert!(matches!(reply.await.unwrap(), Reply::Abandoned { at: Guard::Breaker }));
        house.quiet().await;
        assert_eq!(house.shown.get().admitted_total, 0);
        assert!(house.passed.try_recv().is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_stage_behind_it_is_a_refusal_and_the_place_comes_back() {
    local(async {
        let mut house = House::build(0);
        let refusal = house.refused().await;
        assert!(matches!(refusal.reason, Reason::Full { limit: 0, .. }), "{refusal}");
        house.quiet().await;
        let state = house.shown.get();
        assert_eq!((state.state, state.calls), (BreakerState::Closed, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn peers_08_a_call_that_its_caller_takes_back_counts_as_nothing() {
    local(async {
        let mut house = House::build(100);
        let (flight, reply) = house.send();
        let travelling = house.passed.recv().await.unwrap();
        assert!(flight.revoke());
        drop((reply, travelling));
        house.quiet().await;
        let shown = house.shown.get();
        assert_eq!((shown.state, shown.calls, shown.failures, shown.refused_total), (BreakerState::Closed, 0, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn peers_b15_the_timer_opens_it_while_twenty_calls_hang_and_none_has_ended() {
    local(async {
        let slow = Some(SlowTrip { slower_than: 10 * SECOND, slow_ratio: 0.5 });
        let rate = Some(RateTrip { slow, minimum_calls: 20, ..RateTrip::default() });
        let mut house = House::with(BreakerConfig { rate, ..config() }, 100);
        let mut hung = Vec::new();
        for _ in 0..20 {
            hung.push(house.through().await);
        }
        tokio::time::sleep(9 * SECOND).await;
        house.quiet().await;
        assert_eq!((house.shown.get().state, house.shown.get().overdue), (BreakerState::Closed, 0));
        tokio::time::sleep(SECOND).await;
        house.quiet().await;
        assert_eq!(house.shown.get().state, BreakerState::Open);
        drop(hung);
        house.quiet().await;
        assert_eq!(house.facts.changes().len(), 1, "the late ends change nothing");
    })
    .await;
}
