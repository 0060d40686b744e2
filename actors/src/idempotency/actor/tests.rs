mod on_disk;
mod shelf;

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::task::LocalSet;
use uuid::Uuid;

use self::shelf::Shelf;
use super::*;
use crate::{
    call::{AcceptedCall, IdempotencyKey},
    clock::SteadyWall,
    ids::{ActorId, CallId, Circuit},
    kernel::{Child, Hazard, Launch, Lost, Vault, Worker, ask, testing::Restarts},
    ticket::{Flight, Ticket},
};

type Table = IdempotencyActor<Arc<str>>;

impl Keep for Arc<str> {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(_: CallId, bytes: Option<&[u8]>) -> Self {
        bytes.map_or("not kept", |bytes| std::str::from_utf8(bytes).unwrap()).into()
    }
}

const KEEP: Duration = Duration::from_secs(60);

/// Panics at the next so many messages of a name, or replaces the incarnation under its own hands.
#[derive(Default)]
struct Trap {
    claims: AtomicUsize,
    ends: AtomicUsize,
    replace: Mutex<Option<Arc<Vault<Table>>>>,
}

impl Hazard for Trap {
    fn strike(&self, _: &ActorId, message: &'static str) {
        if let Some(vault) = self.replace.lock().take() {
            vault.launch();
        }
        let left = if message == "claim" { &self.claims } else { &self.ends };
        if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            panic!("injected at {message}");
        }
    }
}

struct Scene {
    vault: Arc<Vault<Table>>,
    trap: Arc<Trap>,
    shown: Published<KeySnapshot>,
    shelf: Shelf,
    clock: Clock,
}

impl Scene {
    fn new() -> Self {
        let noon = "2026-11-24T12:00:00Z".parse().unwrap();
        Self::on(Shelf::default(), Clock::new(SteadyWall::starting_at(noon)), Vec::new())
    }

    /// A process on what an earlier one left on the shelf.
    async fn after(earlier: &Self) -> Self {
        let (shelf, clock) = (earlier.shelf.clone(), earlier.clock.clone());
        let found = super::super::load(&shelf, clock.wall(), |_| KEEP).await.unwrap();
        Self::on(shelf, clock, found)
    }

    fn on(shelf: Shelf, clock: Clock, found: Vec<FoundKey>) -> Self {
        Self::under(Restarts::after(Duration::from_millis(1)), shelf, clock, found)
    }

    fn under(overseer: Arc<Restarts>, shelf: Shelf, clock: Clock, found: Vec<FoundKey>) -> Self {
        let config = IdempotencyConfig { keep: KEEP, keys_max: 10, joined_max: 3 };
        let vendor = VendorId::new("retell").unwrap();
        let shown = Published::new(KeySnapshot::empty(vendor.clone(), &config));
        let parts = KeyParts { vendor, store: Arc::new(shelf.clone()), clock: clock.clone(), shown: shown.clone() };
        let trap = Arc::new(Trap::default());
        let launch = Launch {
            id: ActorId::new("retell/idempotency"),
            worker: Worker::here("test"),
            overseer,
            hazard: trap.clone(),
        };
        let state = Table::table(config, found, &parts);
        let vault = Vault::new(launch, state, move |inc| Table::new(inc, parts.clone()));
        vault.launch();
        Self { vault, trap, shown, shelf, clock }
    }

    async fn claim_once(&self, by: u128) -> Result<Claimed<Arc<str>>, Lost> {
        self.claim_as(by, Repeat::Never).await
    }

    async fn claim_as(&self, by: u128, repeat: Repeat) -> Result<Claimed<Arc<str>>, Lost> {
        let key = IdempotencyKey("key".into());
        ask(self.vault.address(), Claim::new(key, &accepted(by), repeat, self.clock.wall())).await
    }

    /// As the attempt loop does: a question lost with a crash is asked again.
    async fn claim(&self, by: u128) -> Claimed<Arc<str>> {
        loop {
            match self.claim_once(by).await {
                Ok(claimed) => return claimed,
                Err(Lost::Crashed) => {}
                Err(Lost::Stopped) => panic!("stopped"),
            }
        }
    }

    async fn mine(&self, by: u128) -> ClaimGrant<Arc<str>> {
        match self.claim(by).await {
            Claimed::Mine(grant) => grant,
            other => panic!("not mine: {other:?}"),
        }
    }

    async fn joined(&self, by: u128) -> oneshot::Receiver<Answered<Arc<str>>> {
        match self.claim(by).await {
            Claimed::Joined(answer) => answer,
            other => panic!("did not join: {other:?}"),
        }
    }

    fn restarts(&self) -> u64 {
        self.vault.status().restarts
    }
}

fn call(number: u128) -> CallId {
    CallId(Uuid::from_u128(number))
}

fn accepted(number: u128) -> AcceptedCall {
    let (vendor, operation) = (VendorId::new("retell").unwrap(), OperationId::new("create-phone-call").unwrap());
    AcceptedCall::new(call(number), vendor, operation, serde_json::json!({}), Clock::default().wall())
}

fn done(text: &str) -> End<Arc<str>> {
    End::Done(text.into())
}

async fn on_stage(play: impl AsyncFnOnce(Scene)) {
    LocalSet::new().run_until(async { play(Scene::new()).await }).await;
}

#[tokio::test(start_paused = true)]
async fn concurrent_repeats_join_and_a_later_one_gets_the_stored_answer() {
    on_stage(async |scene| {
        let grant = scene.mine(1).await;
        let (second, third) = (scene.joined(2).await, scene.joined(3).await);
        grant.finish(done("ring")).await;
        let expected = Answered::Done { call: call(1), answer: "ring".into() };
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (expected.clone(), expected));
        let Claimed::Stored { call: first, answer } = scene.claim(4).await else { panic!("not stored") };
        assert_eq!((first, &*answer), (call(1), "ring"));
        tokio::task::yield_now().await;
        let shown = scene.shown.get();
        assert_eq!((shown.stored, shown.totals.joined_total, shown.totals.replayed_total), (1, 2, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_who_joined_survive_the_restart_of_the_table() {
    on_stage(async |scene| {
        let grant = scene.mine(1).await;
        let second = scene.joined(2).await;
        scene.trap.claims.store(2, SeqCst);
        let third = scene.joined(3).await;
        assert_eq!(scene.restarts(), 2);
        scene.trap.ends.store(2, SeqCst);
        grant.finish(done("ring")).await;
        assert!(matches!(second.await.unwrap(), Answered::Done { .. }));
        assert!(matches!(third.await.unwrap(), Answered::Done { .. }));
        assert_eq!(scene.restarts(), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_crashes_the_table_until_it_is_set_aside_leaves_no_key_in_flight() {
    let play = async {
        let scene = Scene::under(Restarts::tolerant(), Shelf::default(), Clock::default(), Vec::new());
        let first = scene.mine(1).await;
        let joined = scene.joined(2).await;
        scene.trap.ends.store(usize::try_from(crate::kernel::REPORT_ATTEMPTS_MAX).unwrap(), SeqCst);
        first.finish(done("ring")).await;
        assert!(matches!(joined.await, Ok(Answered::Done { .. })));
        assert!(matches!(scene.claim(3).await, Claimed::Stored { .. }));
    };
    LocalSet::new().run_until(play).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_lost_with_a_crash_is_asked_again_and_granted() {
    on_stage(async |scene| {
        scene.trap.claims.store(1, SeqCst);
        assert_eq!(scene.claim_once(1).await.unwrap_err(), Lost::Crashed);
        let grant = scene.mine(1).await;
        let again = scene.mine(1).await;
        drop(grant);
        let second = scene.joined(2).await;
        again.finish(done("ring")).await;
        assert!(matches!(second.await.unwrap(), Answered::Done { .. }), "the lost grant could not free the key");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_table_replaced_in_the_middle_of_a_message_changes_nothing_and_its_successor_does_it() {
    on_stage(async |scene| {
        *scene.trap.replace.lock() = Some(scene.vault.clone());
        assert_eq!(scene.claim_once(1).await.unwrap_err(), Lost::Crashed);
        let grant = scene.mine(1).await;
        let second = scene.joined(2).await;
        *scene.trap.replace.lock() = Some(scene.vault.clone());
        grant.finish(done("ring")).await;
        assert!(matches!(second.await.unwrap(), Answered::Done { .. }));
        assert_eq!(scene.restarts(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_dropped_before_anything_was_sent_frees_the_key() {
    on_stage(async |scene| {
        let grant = scene.mine(1).await;
        let second = scene.joined(2).await;
        drop(grant);
        assert_eq!(second.await.unwrap(), Answered::Freed);
        scene.mine(2).await.finish(End::Free).await;
        scene.mine(3).await.finish(End::Free).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_dropped_after_sending_blocks_the_key_until_it_is_resolved() {
    on_stage(async |scene| {
        let mut grant = scene.mine(1).await;
        let second = scene.joined(2).await;
        grant.mark_sent();
        drop(grant);
        assert_eq!(second.await.unwrap(), Answered::Unknown { call: call(1) });
        assert!(matches!(scene.claim(3).await, Claimed::Unknown { .. }));
        let key = IdempotencyKey("key".into());
        scene.trap.ends.store(1, SeqCst);
        scene.vault.reports().push(KeyReport::Resolved { key, call: call(1), end: done("rang after all") });
        assert!(matches!(scene.claim(3).await, Claimed::Stored { .. }));
    })
    .await;
}

fn ticket() -> (Ticket, Flight) {
    let deadline = crate::clock::now() + Duration::from_secs(60);
    let (ticket, flight, _) =
        Ticket::issue(Arc::new(accepted(1)), Circuit::default(), 1, deadline, tracing::Span::none());
    (ticket, flight)
}

#[tokio::test(start_paused = true)]
async fn dropping_a_claim_takes_its_attempt_back_or_admits_that_it_may_be_out() {
    on_stage(async |scene| {
        let (early, flight) = ticket();
        let mut grant = scene.mine(1).await;
        grant.follow(flight);
        drop(grant);
        assert!(!early.begin_sending(), "an attempt whose claim is gone is never sent");
        let (late, flight) = ticket();
        let mut grant = scene.mine(1).await;
        grant.follow(flight);
        assert!(late.begin_sending());
        drop(grant);
        assert!(matches!(scene.claim(2).await, Claimed::Unknown { .. }));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_asker_that_went_away_leaves_no_key_in_flight() {
    on_stage(async |scene| {
        let (mut asking, waiting) = (Box::pin(scene.claim_once(1)), std::future::ready(()));
        tokio::select! { biased; _ = &mut asking => panic!("too fast"), () = waiting => {} }
        drop(asking);
        scene.mine(2).await.finish(End::Free).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn too_many_joined_callers_are_refused_with_the_figures_and_those_who_left_make_room() {
    on_stage(async |scene| {
        let grant = scene.mine(1).await;
        let (first, _second, _third) = (scene.joined(2).await, scene.joined(3).await, scene.joined(4).await);
        let Claimed::Full { what, held, limit } = scene.claim(5).await else { panic!("not full") };
        assert_eq!((what, held, limit), ("callers joined to one key", 3, 3));
        drop(first);
        let fifth = scene.joined(5).await;
        grant.finish(done("ring")).await;
        assert!(matches!(fifth.await.unwrap(), Answered::Done { .. }));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stored_answer_is_forgotten_by_itself() {
    on_stage(async |scene| {
        scene.mine(1).await.finish(done("ring")).await;
        assert!(matches!(scene.claim(2).await, Claimed::Stored { .. }));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(matches!(scene.claim(2).await, Claimed::Stored { .. }));
        assert_eq!(scene.vault.status().restarts, 0);
        scene.trap.ends.store(1, SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((scene.shown.get().stored, scene.restarts()), (0, 1), "after a crash at it, too");
        scene.mine(3).await.finish(End::Free).await;
    })
    .await;
}
