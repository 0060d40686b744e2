//! The shell, with tokio's clock paused.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use jiff::Timestamp;
use tokio::task::LocalSet;

use super::*;
use crate::{
    clock::SteadyWall,
    fact::{BreakerState, Fact, LetterCounts},
    health::{
        HealthConfig,
        tests::{CLAY, attempt, event, turned, vendor},
    },
    ids::ActorId,
    kernel::{Child, Door, Hazard, Launch, NoHazard, Vault, Worker, testing::Restarts},
    outcome::Class,
};

/// Panics at the nth fact.
struct PanicAt(AtomicU32);

impl Hazard for PanicAt {
    fn strike(&self, _: &ActorId, message: &'static str) {
        if message == "fact" && self.0.fetch_sub(1, SeqCst) == 1 {
            panic!("injected");
        }
    }
}

struct World {
    vault: Arc<Vault<HealthActor>>,
    facts: Door<Event>,
    shown: Published<HealthSnapshot>,
    seq: u64,
}

impl World {
    fn start(hazard: Arc<dyn Hazard>) -> Self {
        let clock = Clock::new(SteadyWall::starting_at(Timestamp::UNIX_EPOCH));
        let shown = Published::default();
        let launch = Launch {
            id: ActorId::new("health"),
            worker: Worker::here("test"),
            overseer: Restarts::after(Duration::from_millis(50)),
            hazard,
        };
        let state = Health::new(HealthConfig::default(), [vendor(CLAY)], clock.now());
        let parts = HealthParts { clock, callbacks: Arc::new(|_| Callbacks::default()), shown: shown.clone() };
        let vault = Vault::new(launch, state, move |inc| HealthActor::new(inc, parts.clone()));
        vault.launch();
        let facts = vault.door(1_000);
        Self { vault, facts, shown, seq: 0 }
    }

    fn state(&mut self, fact: Fact) {
        self.facts.pass(event(self.seq, fact)).unwrap();
        self.seq += 1;
    }

    fn states(&mut self, times: usize, fact: &Fact) {
        for _ in 0..times {
            self.state(fact.clone());
        }
    }
}

/// Lets what is ready run, on a clock that barely moves.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_there_before_the_first_fact() {
    LocalSet::new()
        .run_until(async {
            let world = World::start(Arc::new(NoHazard));
            settle().await;
            let shown = world.shown.get();
            assert!(shown.at.is_some());
            assert_eq!((shown.status, shown.vendors.len()), (Status::Unknown, 1));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_fact_is_shown_with_its_batch() {
    LocalSet::new()
        .run_until(async {
            let mut world = World::start(Arc::new(NoHazard));
            settle().await;
            world.states(9, &attempt(Class::Success));
            world.state(turned(BreakerState::Open, 1));
            settle().await;
            let shown = world.shown.get();
            assert_eq!((shown.status, shown.vendors[0].samples), (Status::Degraded, 9));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn time_alone_changes_what_is_shown_and_then_the_timer_rests() {
    LocalSet::new()
        .run_until(async {
            let mut world = World::start(Arc::new(NoHazard));
            world.states(5, &attempt(Class::Server));
            settle().await;
            assert_eq!(world.shown.get().status, Status::Unhealthy);
            tokio::time::sleep(Duration::from_secs(320)).await;
            let shown = world.shown.get();
            assert_eq!((shown.status, shown.vendors[0].samples), (Status::Unknown, 0));
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            assert_eq!(world.shown.get().at, shown.at);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_loses_the_fact_in_hand_and_says_so_and_keeps_all_others() {
    LocalSet::new()
        .run_until(async {
            let mut world = World::start(Arc::new(PanicAt(AtomicU32::new(7))));
            world.states(20, &attempt(Class::Success));
            settle().await;
            let shown = world.shown.get();
            assert_eq!((shown.vendors[0].samples, shown.missed_facts), (19, 1));
            assert_eq!((shown.status, world.vault.status().restarts), (Status::Healthy, 1));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_incarnation_after_a_crash_goes_on_refreshing() {
    LocalSet::new()
        .run_until(async {
            let mut world = World::start(Arc::new(PanicAt(AtomicU32::new(6))));
            world.states(6, &attempt(Class::Server));
            settle().await;
            assert_eq!(world.shown.get().status, Status::Unhealthy);
            tokio::time::sleep(Duration::from_secs(320)).await;
            assert_eq!(world.shown.get().status, Status::Unknown);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_number_of_letters_found_at_the_start_is_shown() {
    LocalSet::new()
        .run_until(async {
            let world = World::start(Arc::new(NoHazard));
            let letters: Door<LettersFound> = world.vault.door(8);
            let found = LetterCounts { dead: 214, ..LetterCounts::default() };
            letters.pass(LettersFound { vendor: vendor(CLAY), letters: found }).unwrap();
            settle().await;
            let clay = &world.shown.get().vendors[0];
            assert_eq!(
                (clay.status, clay.reasons[0].text.as_str()),
                (Status::Degraded, "214 dead letters (limit 100)")
            );
        })
        .await;
}
