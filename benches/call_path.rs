//! What the guards cost: a plain actix ask, the same actor in a vault, a whole guarded call, a durable parked letter.
//!
//! ```text
//! cargo bench --bench call_path             # quick, about a minute
//! cargo bench --bench call_path -- --long   # five times the rounds
//! ```
//!
//! Timed, each from the outside and in one process, in rounds that take turns, so that a noisy machine disturbs all alike:
//!
//! - *plain ask*: `Addr::send` to an ordinary actix actor on the same thread that adds a number up, one question at a time;
//! - *ask in a vault*: the same actor behind the kernel: detached mailbox, `begin`, `commit`, snapshot hook;
//! - *guarded call*: `Handle::call` from the checks at the door to the caller's answer: key, lane, gate, breaker, budget,
//!   client, settling, facts, counts. The wire answers at once, so what is timed is ours alone. K callers go on side by side,
//!   each waiting for its answer before the next call; the figure is elapsed time by number of calls, so with K = 100 it is
//!   throughput. On the caller's thread (`Local`), and with the actors on a thread of their own (`Threads`);
//! - *durable call*: the same with a data directory, `Durability::Power`: of a call that may never be repeated its key is
//!   on disk before it is sent and its end before its caller is answered, two writes; of one that may always be, only its
//!   end. **That one measures the machine's disk**;
//! - *parked letter*: `StoreHandle::commit` of a set of the shape that the dead letter queue writes, 1 KiB of record, from
//!   one sender and from a hundred. **That one measures the machine's disk.**
//!
//! Not timed: starting and stopping, HTTP and TLS, a vendor's time, retries, refusals, restarts, reading letters back.
//!
//! The ratio to the plain ask is the figure to compare between machines. Seeds are fixed; nothing else is random.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program to be read, not a part of the runtime"
)]

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, Message};
use mainstay::{
    Answer, Call, Credits, Durability, Handle, Placement, Profile, Runtime, VendorConfig,
    actors::{
        bulkhead::LaneConfig,
        client::{Transport, WireAnswer, WireError, WireRequest},
        clock,
        ids::{ActorId, LaneId},
        kernel::{Child, Exit, Incarnation, Launch, NoHazard, Overseer, Resident, Vault, Verdict, Worker, ask},
        profile::{Operation, Repeat},
        store::{Store, Table, WriteSet},
    },
    store::{SledStore, StoreHandle},
};
use serde_json::json;

/// Rounds of each measurement.
const ROUNDS: usize = 15;
/// Questions in a round of asks.
const ASKS: u64 = 20_000;
/// Calls in a round of guarded calls.
const CALLS: u64 = 2_000;
/// Callers and senders side by side.
const MANY: u64 = 100;
/// Bytes of a parked letter's record.
const RECORD: usize = 1_024;

fn main() {
    let long = std::env::args().any(|arg| arg == "--long");
    let rounds = if long { 5 * ROUNDS } else { ROUNDS };
    call_path(rounds);
    durable_calls(rounds.div_ceil(3));
    parked_letters(rounds.div_ceil(3));
}

fn call_path(rounds: usize) {
    let local = actix::System::new();
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (plain, vault) = local.block_on(async { (Plain(0).start(), Guarded::launched()) });
    let (here, there) =
        (local.block_on(started(Placement::Local)), threads.block_on(started(Placement::Threads { threads: 1 })));

    let mut lines = [
        "plain actix ask, same thread",
        "the same actor in a vault",
        "guarded call, Local, K = 1",
        "guarded call, Local, K = 100",
        "guarded call, Threads, K = 1",
        "guarded call, Threads, K = 100",
    ]
    .map(Line::of);
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        let took = [
            local.block_on(asks(&plain)),
            local.block_on(asks_of_a_vault(vault.address())),
            local.block_on(calls_here(&here, 1)),
            local.block_on(calls_here(&here, MANY)),
            threads.block_on(calls_there(&there, 1)),
            threads.block_on(calls_there(&there, MANY)),
        ];
        if round > 0 {
            lines.iter_mut().zip(took).for_each(|(line, took)| line.rounds.push(took));
        }
    }
    print(&lines);
    let patience = Duration::from_secs(5);
    local.block_on(here.shutdown(patience));
    threads.block_on(there.shutdown(patience));
    vault.stop();
}

fn durable_calls(rounds: usize) {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("\n{:<32} {:>11}  {:>23}  (this machine's disk)", "durable calls, in µs", "median", "fastest to slowest");
    for repeat in [Repeat::Never, Repeat::Always] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let builder = Runtime::builder().vendor(vendor(repeat)).placement(Placement::Threads { threads: 1 });
        let handle = threads.block_on(builder.data_dir(dir.path()).seed(7).start()).unwrap().handle();
        for callers in [1, MANY] {
            let mut line = Line::of("");
            line.rounds = (0..rounds).map(|_| threads.block_on(calls_there(&handle, callers))).collect();
            let (name, spread) =
                (format!("{repeat:?} repeated, K = {callers}"), format!("{:.0} to {:.0}", line.least(), line.most()));
            println!("{name:<32} {:>11.0}  {spread:>23}", line.median());
        }
        threads.block_on(handle.shutdown(Duration::from_secs(5)));
    }
}

fn print(lines: &[Line]) {
    println!("{:<32} {:>11}  {:>23}  {:>8}", "one, in microseconds", "median", "fastest to slowest", "ratio");
    let base = lines.first().map_or(1.0, Line::median);
    for line in lines {
        let spread = format!("{:.2} to {:.2}", line.least(), line.most());
        println!("{:<32} {:>11.2}  {spread:>23}  {:>8.1}", line.name, line.median(), line.median() / base);
    }
}

/// One measurement: microseconds for one, round by round.
struct Line {
    name: &'static str,
    rounds: Vec<f64>,
}

impl Line {
    fn of(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }

    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn least(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn most(&self) -> f64 {
        self.rounds.iter().copied().fold(0.0, f64::max)
    }
}

/// Microseconds for one of `number`.
async fn timed(number: u64, work: impl Future<Output = ()>) -> f64 {
    let begun = clock::now();
    work.await;
    clock::now().duration_since(begun).as_secs_f64() * 1e6 / number as f64
}

// Asks.

struct Add(u64);

impl Message for Add {
    type Result = u64;
}

/// The actor as actix would have it.
struct Plain(u64);

impl Actor for Plain {
    type Context = Context<Self>;
}

impl Handler<Add> for Plain {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

/// The same actor as the kernel has it.
struct Guarded(Incarnation<Self>);

impl Guarded {
    fn launched() -> Arc<Vault<Self>> {
        let (worker, overseer, hazard) = (Worker::here("bench"), Arc::new(NobodyExits), Arc::new(NoHazard));
        let vault = Vault::new(Launch { id: ActorId::new("bench"), worker, overseer, hazard }, 0, Self);
        vault.launch();
        vault
    }
}

impl Actor for Guarded {
    type Context = Context<Self>;
}

impl Resident for Guarded {
    type State = u64;
    type Report = ();

    fn on_report(&mut self, (): &(), _: &mut Context<Self>) {}
}

impl Handler<Add> for Guarded {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0.begin("add", None);
        let added = self.0.commit(
            |sum| sum + n,
            |sum, new| {
                *sum = new;
                new
            },
        );
        added.unwrap_or_default()
    }
}

struct NobodyExits;

impl Overseer for NobodyExits {
    fn on_exit(&self, _: &ActorId, exit: &Exit) -> Verdict {
        panic!("{exit:?}")
    }

    fn on_start(&self, _: &ActorId, _: u64) {}

    fn on_report_set_aside(&self, _: &ActorId, _: u32) {}
}

async fn asks(to: &Addr<Plain>) -> f64 {
    timed(ASKS, async {
        for n in 0..ASKS {
            to.send(Add(n)).await.unwrap();
        }
    })
    .await
}

async fn asks_of_a_vault(to: &Addr<Guarded>) -> f64 {
    timed(ASKS, async {
        for n in 0..ASKS {
            ask(to, Add(n)).await.unwrap();
        }
    })
    .await
}

// Guarded calls.

/// A wire that has the answer already.
struct AtOnce;

impl Transport for AtOnce {
    fn send(&self, _: WireRequest) -> Pin<Box<dyn Future<Output = Result<WireAnswer, WireError>> + Send>> {
        Box::pin(async { Ok(WireAnswer { status: 200, headers: Vec::new(), body: b"{\"ok\":true}".to_vec() }) })
    }
}

/// A vendor whose answer is the end, with limits that do not get in the way.
fn vendor(repeat: Repeat) -> VendorConfig {
    let echo = Operation { estimate: Credits::whole(1), repeat, ..Operation::post("/echo") };
    let profile = Profile::http("bench", "http://bench.invalid", [("echo", echo)]);
    VendorConfig::new(profile).daily_limit(Credits::whole(1_000_000_000)).transport(AtOnce).with(|config| {
        config.lanes = vec![LaneConfig::new(LaneId::new("normal").unwrap(), 1_000)];
        config.gate.cap = 1_000;
    })
}

async fn started(placement: Placement) -> Handle {
    Runtime::builder().vendor(vendor(Repeat::Never)).placement(placement).seed(7).start().await.unwrap().handle()
}

/// No two payloads are alike, or the second call would be answered by its key.
async fn calls(handle: Handle, number: u64) {
    static N: AtomicU64 = AtomicU64::new(0);
    for _ in 0..number {
        let payload = json!({ "n": N.fetch_add(1, Relaxed), "domain": "example.com" });
        let answer = handle.call(Call::new("bench", "echo", payload)).await;
        assert!(matches!(answer, Ok(Answer::Delivered(_))), "{answer:?}");
    }
}

async fn calls_here(handle: &Handle, callers: u64) -> f64 {
    timed(CALLS, async {
        let all: Vec<_> =
            (0..callers).map(|_| tokio::task::spawn_local(calls(handle.clone(), CALLS / callers))).collect();
        for caller in all {
            caller.await.unwrap();
        }
    })
    .await
}

async fn calls_there(handle: &Handle, callers: u64) -> f64 {
    timed(CALLS, async {
        let all: Vec<_> = (0..callers).map(|_| tokio::spawn(calls(handle.clone(), CALLS / callers))).collect();
        for caller in all {
            caller.await.unwrap();
        }
    })
    .await
}

// Parked letters.

fn parked_letters(rounds: usize) {
    println!(
        "\n{:<32} {:>11}  {:>23}  (this machine's disk)",
        "parked letters a second", "median", "slowest to fastest"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for durability in [Durability::Power, Durability::Process] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (store, thread) = StoreHandle::spawn(SledStore::open(dir.path(), durability).unwrap()).unwrap();
        let (mut next, mut one, mut many) = (0, Line::of("one sender"), Line::of("a hundred senders"));
        for round in 0..=rounds {
            let took = [
                runtime.block_on(letters(&store, &mut next, 1, 200)),
                runtime.block_on(letters(&store, &mut next, MANY, 50)),
            ];
            if round > 0 {
                one.rounds.push(took[0]);
                many.rounds.push(took[1]);
            }
        }
        for line in [one, many] {
            let (name, a_second) = (format!("{durability:?}, {}", line.name), |us: f64| 1e6 / us);
            let spread = format!("{:.0} to {:.0}", a_second(line.most()), a_second(line.least()));
            println!("{name:<32} {:>11.0}  {spread:>23}", a_second(line.median()));
        }
        store.close();
        thread.join().unwrap();
    }
}

/// `each` letters from each sender, one after another; acknowledged means durable.
async fn letters(store: &StoreHandle, next: &mut u64, senders: u64, each: u64) -> f64 {
    let first = *next;
    *next += senders * each;
    timed(senders * each, async {
        let mut all = tokio::task::JoinSet::new();
        for sender in 0..senders {
            let store = store.clone();
            all.spawn(async move {
                for n in 0..each {
                    store.commit(letter(first + sender * each + n)).await.unwrap();
                }
            });
        }
        all.join_all().await;
    })
    .await
}

/// As the dead letter queue writes one: the record, what changes, when it is due, its public id, and two counters.
fn letter(n: u64) -> WriteSet {
    let (seq, public) = (n.to_be_bytes(), u128::from(n).to_le_bytes());
    WriteSet::new()
        .absent(Table::LetterIndex, public)
        .put(Table::LetterIndex, public, seq)
        .put(Table::LetterState, seq, vec![7; 150])
        .put(Table::LetterDue, [seq, seq].concat(), *b"")
        .put(Table::Letters, [&seq[..], &[0, 0]].concat(), vec![7; RECORD])
        .put(Table::Meta, *b"next", (n + 1).to_be_bytes())
        .add(Table::Meta, *b"count", 1)
}
