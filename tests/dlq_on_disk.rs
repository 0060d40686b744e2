//! The dead letter queue over the real store: what a restart of the process keeps.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use actix::Addr;
use jiff::Timestamp;
use mainstay::store::{Durability, SledStore, Store, StoreHandle, Table};
use mainstay_actors::{
    call::IdempotencyKey,
    clock::{Clock, Rng},
    credits::Credits,
    dlq::{
        Choose, DlqActor, DlqConfig, DlqParts, DlqSnapshot, Ended, Failure, Filter, Finish, Kind, Letter, LetterId,
        LetterState, List, NoteSending, Park, ParkedLetter, TakeChosen, TakeDue,
    },
    fact::NoFacts,
    ids::{ActorId, CallId, LaneId, OperationId, VendorId},
    kernel::{Child, Exit, Launch, NoHazard, Overseer, Published, Vault, Verdict, Worker, ask},
    outcome::Class,
};
use tempfile::TempDir;
use tokio::{sync::Notify, task::LocalSet};
use uuid::Uuid;

struct Leave;

impl Overseer for Leave {
    fn on_exit(&self, _: &ActorId, _: &Exit) -> Verdict {
        Verdict::Leave
    }
    fn on_start(&self, _: &ActorId, _: u64) {}
    fn on_report_set_aside(&self, _: &ActorId, _: u32) {}
}

/// The queue as one process has it.
struct Process {
    store: StoreHandle,
    thread: JoinHandle<()>,
    vault: Arc<Vault<DlqActor>>,
    queue: Addr<DlqActor>,
    shown: Published<DlqSnapshot>,
}

impl Process {
    async fn start(dir: &Path) -> Self {
        let (store, thread) = StoreHandle::spawn(SledStore::open(dir, Durability::Power).unwrap()).unwrap();
        let config = DlqConfig::default();
        let state = DlqActor::load(&store, &config).await.unwrap();
        let shown = Published::new(state.snapshot(Clock::default().now()));
        let parts = DlqParts {
            store: Arc::new(store.clone()),
            config,
            letters: Arc::default(),
            facts: Arc::new(NoFacts),
            clock: Clock::default(),
            rng: Rng::seeded(1),
            shown: shown.clone(),
            wake: Arc::new(Notify::new()),
        };
        let launch = Launch {
            id: ActorId::new("dlq"),
            worker: Worker::here("test"),
            overseer: Arc::new(Leave),
            hazard: Arc::new(NoHazard),
        };
        let vault = Vault::new(launch, state, move |inc| DlqActor::new(inc, parts.clone()));
        vault.launch();
        let queue = vault.address().clone();
        Self { store, thread, vault, queue, shown }
    }

    /// Ends without a word to the queue: what is not on disk is gone.
    fn end(self) {
        self.vault.stop();
        self.store.close();
        self.thread.join().unwrap();
    }

    async fn park(&self, n: u128, kind: Kind, payload: usize) {
        let state = LetterState::new(
            kind,
            Failure::new(Class::Server, Some(500), "the vendor answered 500"),
            3,
            Some(now()),
            now(),
        );
        ask(&self.queue, Park { letter: letter(n, payload), state }).await.unwrap().unwrap();
    }

    async fn take(&self, max: usize) -> Vec<ParkedLetter> {
        // What became due in this very millisecond is due.
        let now = now().checked_add(Duration::from_millis(1)).unwrap();
        ask(&self.queue, TakeDue { now, max, but: Default::default() }).await.unwrap().unwrap()
    }

    async fn send(&self, taken: &ParkedLetter) {
        ask(&self.queue, NoteSending { id: taken.letter.id, replayed: false }).await.unwrap().unwrap();
    }

    async fn finish(&self, taken: &ParkedLetter, end: Ended) {
        ask(&self.queue, Finish { requests: 1, ..Finish::new(taken.letter.id, end) }).await.unwrap().unwrap();
    }

    /// Everything that may be listed without being named, page by page.
    async fn export(&self) -> Vec<ParkedLetter> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = ask(&self.queue, List { filter: Filter::default(), after, max: 20 }).await.unwrap().unwrap();
            all.extend(page.letters);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// Waits until the snapshot shows it.
    async fn shows(&self, what: impl Fn(&DlqSnapshot) -> bool) {
        let waiting = async {
            while !what(&self.shown.get()) {
                tokio::task::yield_now().await;
            }
        };
        let shown = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(shown.is_ok(), "it shows {:?}", self.shown.get());
    }
}

/// Whole milliseconds, as on disk.
fn now() -> Timestamp {
    Timestamp::from_millisecond(Clock::default().wall().as_millisecond()).unwrap()
}

/// Times on disk are whole milliseconds.
fn on_disk(parked: &ParkedLetter) -> ParkedLetter {
    let mut parked = parked.clone();
    let whole = |at: &mut Timestamp| *at = Timestamp::from_millisecond(at.as_millisecond()).unwrap();
    whole(&mut parked.state.updated_at);
    whole(&mut parked.state.parked_at);
    parked.state.history.iter_mut().for_each(|attempt| whole(&mut attempt.at));
    parked
}

fn letter(n: u128, payload: usize) -> Letter {
    Letter {
        id: LetterId(Uuid::from_u128(n)),
        call: CallId(Uuid::from_u128(n)),
        vendor: VendorId::new("clay").unwrap(),
        operation: OperationId::new("push-row").unwrap(),
        target: None,
        lane: LaneId::new("normal").unwrap(),
        payload: "x".repeat(payload).into(),
        key: Some(IdempotencyKey(format!("lead-{n}").into())),
        tenant: None,
        estimate: Credits::whole(6),
        fallback: true,
        holds_slot: false,
        expires_at: None,
        accepted_at: Timestamp::from_second(1_800_000_000).unwrap(),
        hours: None,
    }
}

#[tokio::test]
async fn letters_their_dates_and_their_counts_survive_the_process() {
    let test = async {
        let dir = TempDir::new().unwrap();
        let first = Process::start(dir.path()).await;
        for n in 0..50 {
            first.park(n, Kind::Dead, 30_000 * usize::from(n == 7)).await;
        }
        first.park(50, Kind::Unknown, 10).await;
        let taken = first.take(10).await;
        assert_eq!(taken.len(), 10);
        for taken in &taken[..4] {
            first.finish(taken, Ended::Delivered).await;
        }
        let not_before = now().checked_add(Duration::from_secs(3600)).unwrap();
        let again = Ended::Again { not_before, error: Failure::new(Class::Timeout, None, "late") };
        first.finish(&taken[4], again).await;
        for taken in &taken[5..] {
            first.send(taken).await;
        }
        first.shows(|seen| (seen.dead, seen.unknown, seen.taken) == (46, 1, 5)).await;
        let before = first.export().await;
        let changed = &before.iter().find(|parked| parked.letter.id == taken[4].letter.id).unwrap().state;
        assert_eq!((changed.attempts, changed.error.class, changed.due), (1, Class::Timeout, Some(not_before)));
        first.end();

        let second = Process::start(dir.path()).await;
        // Five were being sent, and the first process never said what became of them: they may have happened.
        second.shows(|now| (now.dead, now.unknown, now.taken) == (41, 6, 0)).await;
        let never_finished: Vec<_> = taken[5..].iter().map(|taken| taken.letter.id).collect();
        let kept: Vec<_> = before.iter().filter(|parked| !never_finished.contains(&parked.letter.id)).collect();
        let after = second.export().await;
        assert_eq!(after.iter().map(on_disk).collect::<Vec<_>>(), kept.into_iter().map(on_disk).collect::<Vec<_>>());
        let big = before.iter().find(|parked| parked.letter.id == LetterId(Uuid::from_u128(7))).unwrap();
        assert_eq!(big.letter, letter(7, 30_000), "a letter in parts is whole");

        let mut delivered = 0;
        loop {
            let taken = second.take(100).await;
            if taken.is_empty() {
                break;
            }
            delivered += taken.len();
            for taken in &taken {
                second.finish(taken, Ended::Delivered).await;
            }
        }
        assert_eq!(delivered, 40, "all but the one that comes later, and the unknown ones");
        let all = Filter::ids((0..51).map(|n| LetterId(Uuid::from_u128(n))));
        let chosen = ask(&second.queue, Choose { filter: all, max: 100 }).await.unwrap().unwrap();
        assert_eq!(chosen.len(), 7);
        for chosen in chosen {
            let taken = ask(&second.queue, TakeChosen(chosen)).await.unwrap().unwrap().unwrap();
            second.finish(&taken, Ended::Delivered).await;
        }
        second.shows(|seen| (seen.dead, seen.unknown, seen.by_class.len()) == (0, 0, 0)).await;
        for table in [Table::Letters, Table::LetterState, Table::LetterDue, Table::LetterIndex] {
            let rows = second.store.scan(table, vec![], vec![0xff; 32], 10).await.unwrap();
            assert!(rows.is_empty(), "{table:?}");
        }
        second.end();
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn many_senders_at_once_share_flushes_and_number_their_letters_without_holes() {
    let test = async {
        let dir = TempDir::new().unwrap();
        let process = Arc::new(Process::start(dir.path()).await);
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..50u128 {
            let process = process.clone();
            senders.spawn_local(async move {
                for n in 0..10 {
                    process.park(sender * 10 + n, Kind::Later, 900).await;
                }
            });
        }
        while let Some(done) = senders.join_next().await {
            done.unwrap();
        }
        process.shows(|seen| seen.later == 500).await;
        assert_eq!(
            process.export().await.iter().map(|parked| parked.seq).collect::<Vec<_>>(),
            (0..500).collect::<Vec<_>>()
        );
        let status = process.store.status();
        assert!(status.groups * 3 < status.sets, "{status:?}");
        let Ok(process) = Arc::try_unwrap(process) else { panic!("a sender still runs") };
        process.end();
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_letter_that_was_being_sent_again_when_the_process_ended_is_unknown_to_the_next_one() {
    LocalSet::new()
        .run_until(async {
            let dir = TempDir::new().unwrap();
            let first = Process::start(dir.path()).await;
            first.park(1, Kind::Later, 10).await;
            first.park(2, Kind::Dead, 10).await;
            first.park(3, Kind::Dead, 10).await;
            let taken = first.take(2).await;
            assert_eq!(taken.len(), 2);
            first.send(&taken[0]).await;
            let error = Failure::new(Class::Overload, None, "still away");
            let again = Ended::Again { not_before: now(), error };
            ask(&first.queue, Finish::new(taken[1].letter.id, again)).await.unwrap().unwrap();
            first.end();

            let second = Process::start(dir.path()).await;
            second.shows(|shown| (shown.unknown, shown.dead + shown.later) == (1, 2)).await;
            let due: Vec<_> = second.take(10).await.into_iter().map(|parked| parked.letter.id).collect();
            assert!(!due.contains(&taken[0].letter.id), "it may have happened");
            assert_eq!(due.len(), 2, "the others go on");
            second.end();
        })
        .await;
}
