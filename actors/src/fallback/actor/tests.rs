use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use uuid::Uuid;

use super::*;
use crate::{
    call::AcceptedCall,
    clock::SteadyWall,
    fallback::{CacheConfig, Staleness},
    ids::{ActorId, CallId, OperationId},
    kernel::{Child, Door, Hazard, Launch, Lost, Vault, Worker, ask, testing::Restarts},
};

/// Panics at the next so many messages.
#[derive(Default)]
struct Trap(AtomicUsize);

impl Hazard for Trap {
    fn strike(&self, _: &ActorId, message: &'static str) {
        if self.0.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            panic!("injected at {message}");
        }
    }
}

struct Scene {
    vault: Arc<Vault<FallbackActor>>,
    door: Door<Remember>,
    trap: Arc<Trap>,
    shown: Published<FallbackSnapshot>,
}

impl Scene {
    fn new() -> Self {
        let vendor = VendorId::new("clay").unwrap();
        let shown = Published::new(FallbackSnapshot::empty(vendor.clone()));
        let clock = Clock::new(SteadyWall::starting_at(Timestamp::UNIX_EPOCH));
        let parts = FallbackParts { vendor, clock, shown: shown.clone() };
        let trap = Arc::new(Trap::default());
        let launch = Launch {
            id: ActorId::new("clay/fallback"),
            worker: Worker::here("test"),
            overseer: Restarts::after(Duration::from_millis(1)),
            hazard: trap.clone(),
        };
        let cache = Cache::new(Some(CacheConfig::default()));
        let vault = Vault::new(launch, cache, move |inc| FallbackActor::new(inc, parts.clone()));
        vault.launch();
        Self { door: vault.door(4), vault, trap, shown }
    }

    fn remember(&self, domain: &str, answer: Value) {
        self.door.pass(Remember { call: call(json!({ "domain": domain })), answer: Arc::new(answer) }).unwrap();
    }

    async fn recall(&self, payload: Value) -> Result<Option<Hit>, Lost> {
        ask(self.vault.address(), Recall { call: call(payload) }).await
    }
}

fn call(payload: Value) -> Arc<AcceptedCall> {
    let (vendor, operation) = (VendorId::new("clay").unwrap(), OperationId::new("enrich").unwrap());
    Arc::new(AcceptedCall::new(CallId(Uuid::from_u128(1)), vendor, operation, payload, Timestamp::UNIX_EPOCH))
}

async fn on_stage(play: impl AsyncFnOnce(Scene)) {
    LocalSet::new().run_until(async { play(Scene::new()).await }).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_apart_from_the_callers_data_and_with_its_age() {
    on_stage(async |scene| {
        scene.remember("www.Acme.com", json!({ "name": "Acme" }));
        assert!(scene.recall(json!({ "domain": "other.com" })).await.unwrap().is_none());
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        let hit = scene.recall(json!({ "domain": "acme.com", "name": "Acme New" })).await.unwrap().unwrap();
        assert_eq!((&*hit.value, hit.staleness), (&json!({ "name": "Acme" }), Staleness::Stale));
        assert_eq!((hit.age, hit.stored_at), (Duration::from_secs(2 * 3600), Timestamp::UNIX_EPOCH));
        tokio::task::yield_now().await;
        let shown = scene.shown.get();
        assert_eq!((shown.entries, shown.hits_stale, shown.misses), (1, 1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn payloads_without_a_key_share_no_answer() {
    on_stage(async |scene| {
        scene.door.pass(Remember { call: call(json!({})), answer: Arc::new(json!("whose?")) }).unwrap();
        assert!(scene.recall(json!({})).await.unwrap().is_none());
        tokio::task::yield_now().await;
        assert_eq!((scene.shown.get().entries, scene.shown.get().skipped), (0, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_the_cache_and_the_queue() {
    on_stage(async |scene| {
        scene.remember("a.com", json!(1));
        assert!(scene.recall(json!({ "domain": "a.com" })).await.unwrap().is_some());
        scene.trap.0.store(1, SeqCst);
        scene.remember("lost.com", json!(2));
        scene.remember("b.com", json!(3));
        assert!(scene.recall(json!({ "domain": "a.com" })).await.unwrap().is_some());
        assert!(scene.recall(json!({ "domain": "b.com" })).await.unwrap().is_some());
        assert!(scene.recall(json!({ "domain": "lost.com" })).await.unwrap().is_none());
        scene.trap.0.store(1, SeqCst);
        assert_eq!(scene.recall(json!({ "domain": "a.com" })).await.unwrap_err(), Lost::Crashed);
        assert_eq!(scene.vault.status().restarts, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_door_hands_the_answer_back_and_blocks_nobody() {
    on_stage(async |scene| {
        for number in 0..4 {
            scene.remember(&format!("{number}.com"), json!(number));
        }
        let more = Remember { call: call(json!({ "domain": "more.com" })), answer: Arc::new(json!(5)) };
        assert_eq!(scene.door.pass(more).unwrap_err().limit, 4);
        assert!(scene.recall(json!({ "domain": "3.com" })).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_forgotten_by_itself() {
    on_stage(async |scene| {
        scene.remember("a.com", json!(1));
        assert!(scene.recall(json!({ "domain": "a.com" })).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_secs(7 * 24 * 3600 + 1)).await;
        assert_eq!((scene.shown.get().entries, scene.shown.get().bytes), (0, 0));
    })
    .await;
}
