//! The actor on a paused clock, with a store in memory: what is promised to those who park, take, finish and replay.

mod accepted;
mod queue;
mod trouble;

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
    fact::{Fact, FactSink, LetterCounts},
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
        letters: Arc::new(BTreeMap::from([("clay", 5), ("retell", 3)].map(|(name, attempts_max)| {
            (vendor(name), LetterConfig { attempts_max, jitter: 0.0, ..LetterConfig::default() })
        }))),
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
        target: None,
        lane: LaneId::new("bulk").unwrap(),
        payload: serde_json::json!({ "n": n as u64 }),
        key: Some(IdempotencyKey(format!("lead-{n}").into())),
        tenant: None,
        estimate: Credits::whole(6),
        fallback: true,
        holds_slot: false,
        expires_at: None,
        accepted_at: Timestamp::from_second(1_799_999_000).unwrap(),
        hours: None,
    }
}

fn parked_at(n: u128) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + n as i64).unwrap()
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
        let state = LetterState::new(kind, Failure::new(class, None, "words"), 1, due, now);
        let state = LetterState { parked_at: parked_at(letter.id.0.as_u128()), ..state };
        self.ask(Park { letter, state }).await
    }

    async fn take(&self, max: usize) -> Vec<ParkedLetter> {
        self.try_take(max).await.unwrap()
    }

    async fn try_take(&self, max: usize) -> Result<Vec<ParkedLetter>, DlqError> {
        self.ask(TakeDue { now: self.clock.wall(), max, but: BTreeSet::new() }).await
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

    /// After one request.
    async fn finish(&self, n: u128, end: Ended) -> Result<Option<LetterState>, DlqError> {
        self.ask(Finish { requests: 1, ..Finish::new(id(n), end) }).await
    }

    /// After one request of a replay.
    async fn finish_replay(&self, n: u128, end: Ended) -> Option<LetterState> {
        self.ask(Finish { requests: 1, replayed: true, ..Finish::new(id(n), end) }).await.unwrap()
    }

    async fn choose(&self, filter: Filter, max: usize) -> Vec<Chosen> {
        self.ask(Choose { filter, max }).await.unwrap()
    }

    /// Takes all that it means.
    async fn replay(&self, filter: Filter) -> Vec<ParkedLetter> {
        let mut taken = Vec::new();
        for chosen in self.choose(filter, usize::MAX).await {
            taken.extend(self.ask(TakeChosen(chosen)).await.unwrap());
        }
        taken
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
        let counts = |shown: &DlqSnapshot| (shown.dead, shown.later, shown.unknown, shown.given_up);
        assert_eq!(counts(&read), counts(&seen));
        assert_eq!(read.by_class, seen.by_class);
    }
}

fn again(class: Class) -> Ended {
    let not_before = Timestamp::from_second(0).unwrap();
    Ended::Again { not_before, error: Failure::new(class, None, "late") }
}

fn became(kind: Kind, class: Class) -> Ended {
    Ended::Became { kind, due: None, error: Failure::new(class, None, "found out") }
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}
