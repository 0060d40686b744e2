//! The actor on a paused clock, with a store in memory: what is promised to those who park, take, finish and replay.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::LocalSet, time};
use uuid::Uuid;

use super::*;
use crate::{
    call::IdempotencyKey,
    clock::{Clock, Rng, SteadyWall},
    credits::Credits,
    fact::{Fact, FactSink},
    ids::{ActorId, CallId, LaneId, OperationId, VendorId},
    kernel::{Child, Hazard, Launch, Lost, Published, Vault, Worker, ask, testing::Restarts},
    outcome::Class,
    store::{Op, Row, Store, StoreError, Table, VALUE_MAX_BYTES, Waiting, WriteSet},
};

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

const SECOND: Duration = Duration::from_secs(1);
const LETTER_TABLES: [Table; 4] = [Table::Letters, Table::LetterState, Table::LetterDue, Table::LetterIndex];

/// A store in memory. It does what it is asked in the order of asking, and yields before it answers, so that pieces of work
/// overlap.
#[derive(Clone, Default)]
struct Memory {
    rows: Arc<Mutex<Rows>>,
    fails: Arc<AtomicU32>,
}

impl Memory {
    fn apply(&self, set: WriteSet) -> Result<(), StoreError> {
        let mut rows = self.rows.lock();
        for op in &set.ops {
            let (table, key, should_be) = match op {
                Op::Absent(table, key) => (table, key, false),
                Op::Present(table, key) => (table, key, true),
                Op::Put(_, _, value) if value.len() > VALUE_MAX_BYTES => {
                    return Err(StoreError::ValueTooLarge { bytes: value.len() });
                }
                _ => continue,
            };
            if rows.contains_key(&(*table, key.clone())) != should_be {
                let found = if should_be { "not there" } else { "there" };
                return Err(StoreError::Precondition { table: table.as_str(), found });
            }
        }
        for op in set.ops {
            match op {
                Op::Put(table, key, value) => drop(rows.insert((table, key), value)),
                Op::Delete(table, key) => drop(rows.remove(&(table, key))),
                Op::Add(table, key, by) => {
                    let count = rows.entry((table, key)).or_insert_with(|| vec![0; 8]);
                    let now = u64::from_be_bytes(count[..].try_into().unwrap());
                    *count =
                        now.checked_add_signed(by).expect("a counter never goes below nothing").to_be_bytes().into();
                }
                Op::Absent(..) | Op::Present(..) => {}
            }
        }
        Ok(())
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError>,
    ) -> Waiting<'static, Result<T, StoreError>> {
        let fails = self.fails.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let answer = if fails { Err(StoreError::Full) } else { work(self) };
        Box::pin(async move {
            tokio::task::yield_now().await;
            answer
        })
    }

    /// How many letters the store says there are.
    fn counted(&self) -> u64 {
        let found = self.rows.lock().get(&(Table::Meta, b"letters.count".to_vec())).cloned();
        found.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
    }

    fn count(&self, table: Table) -> usize {
        self.rows.lock().keys().filter(|(there, _)| *there == table).count()
    }

    /// Makes a record one of a version that nobody knows yet.
    fn spoil(&self, table: Table, seq: u64) {
        let mut rows = self.rows.lock();
        let mut found = rows.iter_mut().filter(|((there, _), _)| *there == table);
        found.find(|((_, key), _)| key.starts_with(&seq.to_be_bytes())).unwrap().1[0] = 99;
    }
}

impl Store for Memory {
    fn commit(&self, set: WriteSet) -> Waiting<'static, Result<(), StoreError>> {
        self.answer(|me| me.apply(set))
    }

    fn get(&self, table: Table, key: Vec<u8>) -> Waiting<'static, Result<Option<Vec<u8>>, StoreError>> {
        self.answer(|me| Ok(me.rows.lock().get(&(table, key)).cloned()))
    }

    fn scan(
        &self,
        table: Table,
        from: Vec<u8>,
        to: Vec<u8>,
        max: usize,
    ) -> Waiting<'static, Result<VecDeque<Row>, StoreError>> {
        self.answer(|me| {
            let rows = me.rows.lock();
            let range = rows.range((table, from)..(table, to)).take(max);
            Ok(range.map(|((_, key), value)| (key.clone(), value.clone())).collect())
        })
    }
}

#[derive(Default)]
struct Facts(Mutex<Vec<Fact>>);

impl FactSink for Facts {
    fn state(&self, fact: Fact) {
        self.0.lock().push(fact);
    }
}

impl Facts {
    fn count(&self, fits: impl Fn(&Fact) -> bool) -> usize {
        self.0.lock().iter().filter(|fact| fits(fact)).count()
    }
}

/// Panics when the named message is begun, so many times.
#[derive(Default)]
struct Strike(Mutex<Option<(&'static str, u32)>>);

impl Hazard for Strike {
    fn strike(&self, _: &ActorId, message: &'static str) {
        let mut plan = self.0.lock();
        match plan.as_mut() {
            Some((name, left)) if *name == message && *left > 0 => *left -= 1,
            _ => return,
        }
        drop(plan);
        panic!("struck at {message}");
    }
}

struct Bench {
    store: Memory,
    vault: Arc<Vault<DlqActor>>,
    queue: Addr<DlqActor>,
    shown: Published<DlqSnapshot>,
    wake: Arc<Notify>,
    facts: Arc<Facts>,
    strike: Arc<Strike>,
    clock: Clock,
}

async fn bench(config: DlqConfig) -> Bench {
    bench_on(Memory::default(), config).await
}

async fn bench_on(store: Memory, config: DlqConfig) -> Bench {
    let clock = Clock::new(SteadyWall::starting_at(Timestamp::from_second(1_800_000_000).unwrap()));
    let state = DlqActor::load(&store, &config).await.unwrap();
    let (shown, wake) = (Published::new(state.snapshot(clock.now())), Arc::new(Notify::new()));
    let (facts, strike) = (Arc::new(Facts::default()), Arc::new(Strike::default()));
    let parts = DlqParts {
        store: Arc::new(store.clone()),
        config,
        facts: facts.clone(),
        clock: clock.clone(),
        rng: Rng::seeded(1),
        shown: shown.clone(),
        wake: wake.clone(),
    };
    let launch = Launch {
        id: ActorId::new("dlq"),
        worker: Worker::here("test"),
        overseer: Restarts::at_once(),
        hazard: strike.clone(),
    };
    let vault = Vault::new(launch, state, move |inc| DlqActor::new(inc, parts.clone()));
    vault.launch();
    let queue = vault.address().clone();
    Bench { store, vault, queue, shown, wake, facts, strike, clock }
}

fn id(n: u128) -> LetterId {
    LetterId(Uuid::from_u128(n))
}

fn vendor(name: &str) -> VendorId {
    VendorId::new(name).unwrap()
}

/// Even ones are of clay, odd ones of retell.
fn letter(n: u128) -> Letter {
    Letter {
        id: id(n),
        call: CallId(Uuid::from_u128(n)),
        vendor: vendor(if n.is_multiple_of(2) { "clay" } else { "retell" }),
        operation: OperationId::new("push-row").unwrap(),
        lane: LaneId::new("bulk").unwrap(),
        payload: serde_json::json!({ "n": n as u64 }),
        key: Some(IdempotencyKey(format!("lead-{n}").into())),
        tenant: None,
        estimate: Credits::whole(6),
        fallback: true,
        holds_slot: false,
        expires_at: None,
        accepted_at: Timestamp::from_second(1_799_999_000).unwrap(),
        parked_at: Timestamp::from_second(1_800_000_000 + n as i64).unwrap(),
    }
}

fn ids(letters: &[ParkedLetter]) -> Vec<LetterId> {
    letters.iter().map(|parked| parked.letter.id).collect()
}

impl Bench {
    /// Asks as those who use the queue do: again with the same question when the actor crashed with it in hand.
    async fn ask<M>(&self, question: M) -> M::Result
    where
        M: Message<Result: Send> + Clone + Send + 'static,
        DlqActor: Handler<M>,
        actix::Context<DlqActor>: ToEnvelope<DlqActor, M>,
    {
        loop {
            match ask(&self.queue, question.clone()).await {
                Ok(answer) => return answer,
                Err(Lost::Crashed) => {}
                Err(Lost::Stopped) => panic!("the queue was stopped"),
            }
        }
    }

    /// `due`: in so many seconds.
    async fn park(&self, n: u128, kind: Kind, class: Class, due: Option<u64>) -> Result<Parked, DlqError> {
        self.park_letter(letter(n), kind, class, due).await
    }

    async fn park_letter(
        &self,
        letter: Letter,
        kind: Kind,
        class: Class,
        due: Option<u64>,
    ) -> Result<Parked, DlqError> {
        let now = self.clock.wall();
        let due = due.map(|secs| now.checked_add(Duration::from_secs(secs)).unwrap());
        self.ask(Park { letter, state: LetterState::new(kind, class, "words".into(), due, now) }).await
    }

    async fn take(&self, max: usize) -> Vec<ParkedLetter> {
        self.try_take(max).await.unwrap()
    }

    async fn try_take(&self, max: usize) -> Result<Vec<ParkedLetter>, DlqError> {
        self.ask(TakeDue { now: self.clock.wall(), max }).await
    }

    /// Takes one as soon as it may, and says how long that took.
    async fn take_when_due(&self) -> (ParkedLetter, u64) {
        let from = self.clock.now();
        loop {
            if let Some(taken) = self.take(1).await.pop() {
                return (taken, (self.clock.now() - from).as_secs());
            }
            self.wake.notified().await;
        }
    }

    async fn finish(&self, n: u128, end: Ended) -> Result<(), DlqError> {
        self.ask(Finish { id: id(n), end }).await
    }

    async fn replay(&self, filter: Filter) -> u64 {
        self.ask(Replay { filter, max: 100 }).await.unwrap()
    }

    async fn purge(&self, numbers: impl IntoIterator<Item = u128>) -> Result<u64, DlqError> {
        let ids = numbers.into_iter().map(id).collect();
        let purged = self.ask(Purge { ids }).await?;
        purged.failed.map_or(Ok(purged.gone.len() as u64), |error| Err(error.into()))
    }

    async fn list(&self, filter: Filter) -> Vec<ParkedLetter> {
        self.ask(List { filter, after: None, max: PAGE_MAX }).await.unwrap().letters
    }

    /// The snapshot after everything under way was applied.
    async fn seen(&self) -> Arc<DlqSnapshot> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.shown.get()
    }

    async fn total(&self) -> u64 {
        let seen = self.seen().await;
        seen.dead + seen.later + seen.unknown
    }

    /// Whether the wake rings within so long.
    async fn rings_within(&self, within: Duration) -> bool {
        time::timeout(within, self.wake.notified()).await.is_ok()
    }

    /// What is on disk is what is shown, and the rows are those of the letters.
    async fn is_even(&self) {
        let total = self.total().await;
        assert_eq!(self.store.counted(), total);
        for table in [Table::LetterState, Table::LetterIndex] {
            assert_eq!(self.store.count(table) as u64, total, "{table:?}");
        }
        let read = DlqActor::load(&self.store, &DlqConfig::default()).await.unwrap();
        let (read, seen) = (read.snapshot(self.clock.now()), self.seen().await);
        // On disk, what is taken is unknown until it is finished.
        let taken = read.unknown - seen.unknown;
        assert!(taken <= seen.taken as u64, "{read:?} {seen:?}");
        assert_eq!((read.dead + read.later + taken, read.given_up), (seen.dead + seen.later, seen.given_up));
        assert_eq!(read.by_class, seen.by_class);
    }
}

fn again(class: Class) -> Ended {
    let not_before = Timestamp::from_second(0).unwrap();
    Ended::Again { not_before, class, detail: "late".into(), counts_as_attempt: true }
}

fn became(kind: Kind, class: Class) -> Ended {
    Ended::Became { kind, class, detail: "found out".into() }
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_call_is_on_disk_counted_and_shown() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let parked = bench.park(2, Kind::Dead, Class::Server, Some(30)).await.unwrap();
        assert_eq!(parked, Parked { id: id(2), total: 1 });
        assert_eq!((bench.store.counted(), bench.store.count(Table::Letters)), (1, 1), "on disk when it is answered");
        bench.park(3, Kind::Unknown, Class::Timeout, Some(30)).await.unwrap();
        bench.park(5, Kind::Later, Class::Connect, None).await.unwrap();
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.later, seen.unknown, seen.given_up, seen.taken), (1, 1, 1, 0, 0));
        let retell = BTreeMap::from([(Class::Connect, 1), (Class::Timeout, 1)]);
        let by_class = [("clay".to_owned(), BTreeMap::from([(Class::Server, 1)])), ("retell".to_owned(), retell)];
        assert_eq!(seen.by_class, BTreeMap::from(by_class));
        assert_eq!(seen.oldest_at, Some(letter(2).parked_at));
        assert_eq!(seen.next_due_at, Some(bench.clock.wall().checked_add(30 * SECOND).unwrap()));
        assert_eq!(bench.store.count(Table::LetterDue), 1, "an unknown call has no date");
        bench.is_even().await;
        let all = bench.list(Filter::ids([id(2), id(3), id(5)])).await;
        assert_eq!(all.iter().map(|parked| &parked.letter).collect::<Vec<_>>(), [&letter(2), &letter(3), &letter(5)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn parking_the_same_letter_again_changes_nothing_and_a_full_queue_knows_what_it_holds() {
    local(async {
        let bench = bench(DlqConfig { letters_max: 2, ..DlqConfig::default() }).await;
        bench.park(2, Kind::Dead, Class::Server, None).await.unwrap();
        bench.seen().await;
        let again = bench.park(2, Kind::Dead, Class::Timeout, None).await.unwrap();
        assert_eq!(again, Parked { id: id(2), total: 1 });
        bench.park(3, Kind::Dead, Class::Server, None).await.unwrap();
        let full = bench.park(4, Kind::Dead, Class::Server, None).await;
        assert_eq!(full, Err(DlqError::Full { held: 2, limit: 2 }));
        assert!(bench.park(3, Kind::Dead, Class::Server, None).await.is_ok());
        assert_eq!(bench.total().await, 2);
        bench.is_even().await;
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::DeadLettered { .. })), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_parks_twice_at_once_hears_yes_only_when_it_is_on_disk() {
    local(async {
        let bench = bench(DlqConfig { letters_max: 1, ..DlqConfig::default() }).await;
        let park = || bench.park(2, Kind::Dead, Class::Server, None);
        bench.store.fails.store(2, SeqCst);
        let (a, b) = tokio::join!(park(), park());
        assert_eq!((a, b), (Err(StoreError::Full.into()), Err(StoreError::Full.into())));
        assert_eq!((bench.total().await, bench.store.counted()), (0, 0));
        bench.store.fails.store(1, SeqCst);
        let (a, b) = tokio::join!(park(), park());
        assert_eq!((a, b.is_ok()), (Err(StoreError::Full.into()), true));
        assert_eq!((bench.total().await, bench.store.counted()), (1, 1));
        bench.purge([2]).await.unwrap();
        let (a, b) = tokio::join!(park(), park());
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(bench.total().await, 1);
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_wake_comes_when_a_letter_is_due_and_not_before_and_again_while_nobody_comes() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let start = bench.clock.now();
        bench.park(2, Kind::Dead, Class::Server, Some(30)).await.unwrap();
        // Parking itself may ring: a look too many finds nothing.
        bench.rings_within(Duration::ZERO).await;
        assert!(bench.take(10).await.is_empty());
        bench.wake.notified().await;
        let waited = bench.clock.now() - start;
        assert!((30 * SECOND..31 * SECOND).contains(&waited), "{waited:?}");
        for _ in 0..5 {
            assert!(bench.rings_within(SECOND).await, "nobody came, and nobody was reminded");
        }
        let taken = bench.take(10).await;
        assert_eq!(taken[0].letter, letter(2));
        // Nothing more is due: the timer must not spin.
        bench.rings_within(SECOND).await;
        assert!(!bench.rings_within(200 * SECOND).await, "woken for a letter that is out");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn overlapping_takers_never_get_one_letter_twice_and_an_expired_lease_comes_back() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..20 {
            bench.park(n, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        }
        let (a, b, c) = tokio::join!(bench.take(8), bench.take(8), bench.take(8));
        let all: BTreeSet<LetterId> = [&a, &b, &c].into_iter().flat_map(|taken| ids(taken)).collect();
        assert_eq!((a.len() + b.len() + c.len(), all.len()), (20, 20), "somebody got one that another had");
        assert_eq!(bench.seen().await.taken, 20);
        for taken in [&a, &b].into_iter().flatten() {
            bench.ask(Finish { id: taken.letter.id, end: Ended::Delivered }).await.unwrap();
        }
        assert_eq!(bench.total().await, 4);
        time::advance(599 * SECOND).await;
        assert!(bench.take(20).await.is_empty(), "the lease has not ended");
        time::advance(SECOND).await;
        assert_eq!(ids(&bench.take(20).await), ids(&c));
        for _ in 0..2 {
            let late = bench.ask(Finish { id: c[0].letter.id, end: Ended::Delivered }).await;
            assert_eq!(late, Ok(()), "delivered is delivered, however late, and may be told again");
        }
        assert_eq!(bench.total().await, 3);
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failed_replays_come_back_later_and_later_and_are_then_given_up_once() {
    local(async {
        let bench = bench(DlqConfig { jitter: 0.0, ..DlqConfig::default() }).await;
        bench.park(2, Kind::Dead, Class::Server, Some(0)).await.unwrap();
        let mut pauses = Vec::new();
        for attempt in 1..=5 {
            let (taken, pause) = bench.take_when_due().await;
            assert_eq!(taken.state.attempts, attempt - 1);
            pauses.push(pause);
            bench.finish(2, again(Class::Timeout)).await.unwrap();
        }
        assert_eq!(pauses, [0, 30, 60, 120, 240]);
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.given_up, seen.next_due_at), (1, 1, None));
        assert_eq!(seen.by_class["clay"], BTreeMap::from([(Class::Timeout, 1)]));
        let is_given_up = |fact: &Fact| matches!(fact, Fact::GivenUp { attempts: 5, .. });
        assert_eq!(bench.facts.count(is_given_up), 1);
        assert_eq!(bench.store.count(Table::LetterDue), 0);
        bench.is_even().await;
        assert!(!bench.rings_within(7200 * SECOND).await || bench.take(1).await.is_empty());
        assert_eq!(bench.replay(Filter::default()).await, 1, "a person may still ask for it, with fresh attempts");
        assert_eq!(bench.take(1).await[0].state.attempts, 0);
        bench.finish(2, Ended::GivenUp { class: Class::Auth, detail: "hopeless".into() }).await.unwrap();
        assert_eq!(
            (bench.seen().await.given_up, bench.facts.count(|fact| matches!(fact, Fact::GivenUp { .. }))),
            (1, 2)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_attempt_and_what_was_said_about_the_time_holds() {
    local(async {
        let bench = bench(DlqConfig { jitter: 0.0, ..DlqConfig::default() }).await;
        bench.park(2, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        for _ in 0..20 {
            let (taken, _) = bench.take_when_due().await;
            assert_eq!(taken.state.attempts, 0);
            let not_before = bench.clock.wall().checked_add(7 * SECOND).unwrap();
            let end =
                Ended::Again { not_before, class: Class::Overload, detail: "open".into(), counts_as_attempt: false };
            bench.finish(2, end).await.unwrap();
            assert_eq!(bench.seen().await.next_due_at, Some(not_before));
        }
        assert_eq!(bench.seen().await.given_up, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_takes_what_it_names_and_an_unknown_call_only_by_its_id() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..10 {
            let class = if n < 5 { Class::Server } else { Class::Timeout };
            bench.park(n, Kind::Dead, class, None).await.unwrap();
        }
        bench.park(10, Kind::Unknown, Class::Timeout, None).await.unwrap();
        bench.seen().await;
        let clay = Filter::default().class(Class::Timeout).vendor("clay").unwrap();
        assert_eq!(bench.replay(clay).await, 2, "6 and 8, not the unknown 10");
        assert_eq!(ids(&bench.take(100).await), [id(6), id(8)]);
        assert_eq!(bench.ask(Replay { filter: Filter::default(), max: 3 }).await, Ok(3));
        assert_eq!(ids(&bench.take(100).await), [id(0), id(1), id(2)]);
        assert_eq!(bench.replay(Filter::default()).await, 5, "what is out is left alone");
        assert_eq!(bench.replay(Filter::ids([id(0), id(99)])).await, 0);
        assert_eq!(bench.take(100).await.len(), 5);
        assert_eq!(bench.replay(Filter::ids([id(10)])).await, 1);
        assert_eq!(ids(&bench.take(100).await), [id(10)]);
        bench.finish(10, became(Kind::Dead, Class::Abandoned)).await.unwrap();
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.unknown, seen.taken), (11, 0, 10));
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_removes_what_it_names_for_good_and_leaves_alone_what_is_being_done() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..4 {
            bench.park(n, Kind::Dead, Class::Server, (n == 0).then_some(0)).await.unwrap();
        }
        bench.park(4, Kind::Unknown, Class::Timeout, None).await.unwrap();
        assert_eq!(bench.take(9).await.len(), 1);
        assert_eq!(bench.purge([]).await, Ok(0), "nothing named, nothing removed");
        assert_eq!(bench.purge([0, 1, 4, 99]).await, Ok(2));
        assert_eq!(bench.purge([1, 4]).await, Ok(0));
        assert_eq!(ids(&bench.list(Filter::default()).await), [id(0), id(2), id(3)]);
        assert_eq!(bench.finish(1, Ended::Delivered).await, Ok(()), "one that is gone is no error");
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 0);
        bench.is_even().await;
        bench.park(1, Kind::Dead, Class::Server, None).await.unwrap();
        let last = bench.list(Filter::default()).await.pop().unwrap();
        assert_eq!((last.seq, last.letter.id), (5, id(1)), "its id may be parked anew, at a place of its own");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_the_store_fails_keeps_nothing_out() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..4 {
            bench.park(n, Kind::Dead, Class::Server, None).await.unwrap();
        }
        bench.seen().await;
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.purge([0, 1, 2, 3]).await, Err(StoreError::Full.into()));
        let left = bench.total().await;
        assert!(left > 0);
        assert_eq!(
            (bench.seen().await.taken, bench.purge([0, 1, 2, 3]).await),
            (0, Ok(left)),
            "the rest is still to be had"
        );
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_drained_page_by_page_without_a_lost_wake() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..100 {
            bench.park(n, Kind::Later, Class::Connect, Some(1)).await.unwrap();
        }
        let mut delivered = 0;
        while delivered < 100 {
            assert!(bench.rings_within(2 * SECOND).await, "asleep with {delivered} done");
            for taken in bench.take(16).await {
                bench.ask(Finish { id: taken.letter.id, end: Ended::Delivered }).await.unwrap();
                delivered += 1;
            }
        }
        assert_eq!(*bench.seen().await, DlqSnapshot { letters_max: 100_000, ..DlqSnapshot::default() });
        for table in LETTER_TABLES {
            assert_eq!(bench.store.count(table), 0, "{table:?}");
        }
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_export_by_pages_gives_every_letter_once_in_order() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..30 {
            bench.park(n, Kind::Dead, Class::Server, (n < 8).then_some(0)).await.unwrap();
        }
        assert_eq!(bench.take(8).await.len(), 8, "those that are out are listed too");
        let (mut after, mut seqs) = (None, Vec::new());
        loop {
            let page = bench.ask(List { filter: Filter::default(), after, max: 5 }).await.unwrap();
            assert!(page.letters.len() <= 5);
            seqs.extend(page.letters.iter().map(|parked| parked.seq));
            // What was exported may go meanwhile.
            bench.purge(seqs.last().map(|seq| u128::from(*seq))).await.unwrap();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seqs, (0..30).collect::<Vec<_>>());
        assert_eq!(ids(&bench.list(Filter::ids([id(7), id(6), id(99)])).await), [id(6), id(7)]);
        let page = bench.ask(List { filter: Filter::default(), after: None, max: usize::MAX }).await.unwrap();
        assert!(page.next.is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_ends_of_one_letter_at_once_are_counted_once_each() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.park(2, Kind::Unknown, Class::Timeout, None).await.unwrap();
        let end = |class| bench.finish(2, became(Kind::Dead, class));
        assert_eq!(tokio::join!(end(Class::Server), end(Class::Broken)), (Ok(()), Ok(())));
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.unknown, seen.taken), (1, 0, 0));
        assert_eq!(seen.by_class["clay"], BTreeMap::from([(Class::Broken, 1)]), "the last one stands");
        bench.is_even().await;
        bench.replay(Filter::default()).await;
        assert_eq!(bench.take(1).await.len(), 1);
        let deliver = || bench.finish(2, Ended::Delivered);
        assert_eq!(tokio::join!(deliver(), deliver()), (Ok(()), Ok(())));
        assert_eq!((bench.total().await, bench.store.counted()), (0, 0));
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 1);
        for table in LETTER_TABLES {
            assert_eq!(bench.store.count(table), 0, "{table:?}");
        }
        assert_eq!(deliver().await, Ok(()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn facts_are_stated_once_each() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in [2, 2, 4, 4] {
            bench.park(n, Kind::Dead, Class::Server, Some(0)).await.unwrap();
            bench.seen().await;
        }
        bench.park(6, Kind::Later, Class::Connect, None).await.unwrap();
        bench.take(1).await;
        for _ in 0..2 {
            bench.finish(2, Ended::Delivered).await.unwrap();
            bench.purge([4]).await.unwrap();
            bench.seen().await;
        }
        let (clay, call) = (vendor("clay"), |n| CallId(Uuid::from_u128(n)));
        let dead = |n, total| Fact::DeadLettered { vendor: clay.clone(), call: call(n), class: Class::Server, total };
        let left = |total| Fact::DeadLettersLeft { vendor: clay.clone(), total };
        let done = Fact::Reprocessed { vendor: clay.clone(), call: call(2) };
        assert_eq!(*bench.facts.0.lock(), [dead(2, 1), dead(4, 2), done, left(1), left(0)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_message_loses_no_letter_and_no_count() {
    for message in ["park", "written", "take_due", "finish", "replay", "list", "purge", "due"] {
        local(async {
            let bench = bench(DlqConfig::default()).await;
            *bench.strike.0.lock() = Some((message, 2));
            for n in 0..5 {
                bench.park(n, Kind::Dead, Class::Server, None).await.unwrap();
            }
            assert_eq!(bench.total().await, 5, "{message}");
            assert_eq!(bench.replay(Filter::default()).await, 5, "{message}");
            time::advance(SECOND).await;
            bench.seen().await;
            assert_eq!(bench.list(Filter::default()).await.len(), 5, "{message}");
            assert_eq!(bench.purge([4]).await, Ok(1), "{message}");
            assert_eq!(bench.take(9).await.len(), 4, "{message}");
            bench.finish(0, Ended::Delivered).await.unwrap();
            bench.finish(1, Ended::Delivered).await.unwrap();
            bench.finish(2, again(Class::Timeout)).await.unwrap();
            bench.finish(3, Ended::GivenUp { class: Class::Auth, detail: "no key".into() }).await.unwrap();
            let seen = bench.seen().await;
            assert_eq!((seen.dead, seen.given_up, seen.taken), (2, 1, 0), "{message}");
            assert_eq!(bench.store.counted(), 2, "{message}");
            bench.is_even().await;
            let facts = &bench.facts;
            assert_eq!(facts.count(|fact| matches!(fact, Fact::DeadLettered { .. })), 5, "{message}");
            assert_eq!(facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 2, "{message}");
            assert_eq!(facts.count(|fact| matches!(fact, Fact::GivenUp { .. })), 1, "{message}");
            assert_eq!(bench.vault.status().restarts, 2, "{message}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_an_error_and_the_letter_stays_to_be_taken() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let full = DlqError::Store(StoreError::Full);
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.park(3, Kind::Dead, Class::Server, None).await, Err(full.clone()));
        assert_eq!((bench.total().await, bench.store.counted()), (0, 0));
        bench.park(2, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        for _ in 0..3 {
            bench.wake.notified().await;
            bench.store.fails.store(1, SeqCst);
            assert_eq!(bench.try_take(1).await, Err(full.clone()));
        }
        assert!(bench.rings_within(SECOND).await, "the letter is due, and nobody hears of it");
        assert_eq!(bench.take(1).await.len(), 1);
        for end in [Ended::Delivered, again(Class::Server)] {
            bench.store.fails.store(1, SeqCst);
            assert_eq!(bench.finish(2, end).await, Err(full.clone()));
            assert_eq!(bench.total().await, 1);
        }
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.ask(Replay { filter: Filter::default(), max: 9 }).await, Err(full.clone()));
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.ask(List { filter: Filter::default(), after: None, max: 9 }).await, Err(full));
        bench.seen().await;
        let taken = bench.take(1).await;
        assert_eq!((taken[0].state.class, taken[0].state.attempts), (Class::Connect, 0), "nothing was changed");
        assert_eq!(bench.finish(2, Ended::Delivered).await, Ok(()));
        assert_eq!(bench.total().await, 0);
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_of_an_unknown_version_is_set_aside_and_stops_nobody() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..3 {
            bench.park(n, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        }
        bench.store.spoil(Table::Letters, 0);
        assert_eq!(ids(&bench.take(9).await), [id(1), id(2)]);
        assert!(bench.take(9).await.is_empty());
        let seen = bench.seen().await;
        assert_eq!((seen.later, seen.taken, seen.next_due_at), (3, 2, None));
        assert_eq!(seen.by_class["clay"], BTreeMap::from([(Class::Connect, 1), (Class::Malformed, 1)]));
        assert_eq!(bench.list(Filter::default()).await.len(), 2);
        assert_eq!(bench.store.count(Table::Letters), 3, "its bytes stay on disk");
        assert_eq!(bench.finish(1, Ended::Delivered).await, Ok(()));
        assert_eq!(bench.purge([0]).await, Ok(1), "a person may remove it");
        assert_eq!((bench.total().await, bench.store.count(Table::Letters)), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_state_of_an_unknown_version_does_not_stop_the_start() {
    local(async {
        let first = bench(DlqConfig::default()).await;
        for n in 0..3 {
            first.park(n, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        }
        first.store.spoil(Table::LetterState, 1);
        first.vault.stop();
        let second = bench_on(first.store.clone(), DlqConfig::default()).await;
        assert_eq!(ids(&second.take(9).await), [id(0), id(2)]);
        let before = first.store.rows.lock().clone();
        second.park(1, Kind::Dead, Class::Server, None).await.unwrap();
        assert_eq!(*first.store.rows.lock(), before, "it is not written over");
        assert_eq!((second.total().await, second.store.counted()), (2, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn loading_shows_what_was_there_and_finds_missing_letters() {
    local(async {
        let config = DlqConfig::default();
        let first = bench(config.clone()).await;
        for n in 0..5 {
            first.park(n, Kind::Dead, Class::Server, Some(9)).await.unwrap();
        }
        let (store, before, letters) = (first.store.clone(), first.seen().await, first.list(Filter::default()).await);
        first.vault.stop();
        let second = bench_on(store.clone(), config.clone()).await;
        assert_eq!(*second.seen().await, *before, "a new process shows what the old one did");
        assert_eq!(second.list(Filter::default()).await, letters);
        let parked = second.park(7, Kind::Dead, Class::Server, None).await.unwrap();
        assert_eq!((parked.total, second.list(Filter::default()).await.pop().unwrap().seq), (3, 5));
        second.vault.stop();
        let gone = store.rows.lock().keys().find(|(table, _)| *table == Table::LetterState).cloned().unwrap();
        store.rows.lock().remove(&gone);
        let error = DlqActor::load(&store, &config).await.unwrap_err();
        assert_eq!(error, StoreError::Damaged("6 parked calls were written, 5 are there".into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_larger_than_one_value_is_cut_into_parts_and_comes_back_whole() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let large = Letter { payload: serde_json::json!("ü".repeat(10_000)), ..letter(2) };
        bench.park(1, Kind::Dead, Class::Server, None).await.unwrap();
        bench.park_letter(large.clone(), Kind::Later, Class::Connect, Some(0)).await.unwrap();
        bench.park(3, Kind::Dead, Class::Server, None).await.unwrap();
        assert_eq!(bench.store.count(Table::Letters), 1 + 5 + 1);
        assert_eq!(bench.take(1).await[0].letter, large);
        let listed: Vec<Letter> = bench.list(Filter::default()).await.into_iter().map(|parked| parked.letter).collect();
        assert_eq!(listed, [letter(1), large, letter(3)]);
        bench.finish(2, Ended::Delivered).await.unwrap();
        assert_eq!(bench.store.count(Table::Letters), 2, "all its parts went, and nobody else's");
    })
    .await;
}
