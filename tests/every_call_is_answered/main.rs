//! Seeded histories of the whole runtime under a paused clock: vendors that fail in every way, actors and attempt loops that
//! panic, callers that go away, ends that come early, twice or not at all. Whatever happens, every call is answered, nothing
//! is done twice, and the money adds up. A failure names its seed; `MAINSTAY_SEED=n` runs that one alone,
//! `MAINSTAY_SEED=150..1000` runs others.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod offered;
#[path = "../support/mod.rs"]
mod support;
mod vendor;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Once},
    time::Duration,
};

use mainstay::{
    Answer, Call, CallError, CallId, Completion, Credits, Fact, Handle, OnDenied, Snapshot, Step,
    actors::{
        breaker::StreakTrip,
        client::{Transport, WireAnswer, WireError, WireFault, WireRequest},
        clock::Rng,
        dlq::{Filter, Kind},
    },
    testing::{Action, Chaos, Rule},
};
use offered::{Draw, random_call};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Wire, builder, clay, paused, phone, retell, s};
use vendor::{Ledger, Truth};

const HISTORIES: u64 = 150;
const CALLS: usize = 60;
const VENDORS: [(&str, &str, u64); 2] = [("clay", "push-row", 6), ("retell", "create-phone-call", 310)];

/// Everything that was seen of one history, in words that two runs share.
#[derive(Default)]
struct Log {
    answers: BTreeMap<usize, String>,
    facts: Vec<String>,
    loops_lost: u64,
    downs: u64,
    reports_lost: u64,
    panics: u64,
    ends: BTreeMap<&'static str, u64>,
}

impl Log {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.answers.hash(&mut hasher);
        self.facts.hash(&mut hasher);
        hasher.finish()
    }
}

/// An answer without what differs from run to run (monotonic moments).
fn words(answer: &Result<Answer, CallError>) -> (&'static str, String) {
    match answer {
        Ok(Answer::Delivered(delivered)) => ("delivered", delivered.call.to_string()),
        Ok(Answer::Queued { letter, due, because }) => ("queued", format!("{letter} {due} {because}")),
        Ok(Answer::Cached { age, because, .. }) => ("cached", format!("{age:?} {because}")),
        Ok(Answer::Local { because, .. }) => ("local", because.to_string()),
        Ok(other) => ("other", format!("{other:?}")),
        Err(error @ CallError::Refused(_)) => ("refused", error.to_string()),
        Err(error @ CallError::DeadLettered { .. }) => ("dead-lettered", error.to_string()),
        Err(error @ CallError::Unknown { .. }) => ("unknown", error.to_string()),
        Err(error @ CallError::StillUnderWay { .. }) => ("still under way", error.to_string()),
        Err(error) => ("lost", error.to_string()),
    }
}

/// Panics in every actor and every attempt loop; in some histories messages are lost or late as well, in some histories one vendor's actors crash until it is down.
fn accidents(seed: u64) -> Chaos {
    let chaos = Chaos::seeded(seed);
    match seed % 6 {
        0 => chaos,
        1 => {
            let rule = |actor: &str, probability| Rule {
                actor: actor.into(),
                message: None,
                probability,
                max: None,
                action: Action::Panic,
            };
            chaos.rule(rule("retell/*", 0.2)).rule(rule("clay/*", 0.005))
        }
        2 | 3 => chaos.panic_every(40, "*"),
        _ => chaos.panic_every(60, "*").lose_every(60, "*").delay_every(60, "*/*", s(2)),
    }
}

fn start_with(seed: u64, chaos: &Arc<Chaos>, ledgers: &[Ledger; 2]) -> mainstay::Builder {
    let unused = Wire::default();
    let local = seed.is_multiple_of(4);
    let of_clay = clay(&unused).transport(ledgers[0].clone()).cache_by("/domain").with(|config| {
        config.breaker.streak = Some(StreakTrip { open_for: s(60), ..StreakTrip::default() });
        config.lanes.iter_mut().for_each(|lane| lane.queue_max = 4);
    });
    let mut of_retell = retell(&unused).transport(ledgers[1].clone()).with(|config| config.gate.cap = 6);
    if local {
        of_retell = of_retell.local(|payload| {
            assert!(payload["metadata"]["key"] != 3, "chaos: the local function");
            Some(json!({ "callback": "later" }))
        });
    }
    builder().seed(seed).hazard(chaos.clone()).vendor(of_clay).vendor(of_retell).with(|config| {
        config.redrive.every = s(30);
        if seed % 6 != 1 {
            config.child.intensity.max_restarts = 1_000;
            config.supervisor.max_restarts = 1_000;
        }
    })
}

async fn history(seed: u64) -> Log {
    let chaos = Arc::new(accidents(seed));
    let ledgers = [Ledger::new(0, seed), Ledger::new(1, seed)];
    let runtime = start_with(seed, &chaos, &ledgers).start().await.unwrap();
    let mainstay = runtime.handle();
    let log = Rc::new(RefCell::new(Log::default()));
    let listener = listen(&mainstay, log.clone());
    let draw = Draw(Rng::seeded(seed.wrapping_mul(0x9E37_79B9)));
    let offered = live(seed, &mainstay, &draw, &ledgers, &log).await;

    // The vendors are back, nobody panics any more, a person revives what is down and replays what is dead.
    chaos.stop();
    ledgers.iter().for_each(|ledger| ledger.books.lock().recovered = true);
    tokio::time::sleep(s(1_200)).await;
    VENDORS.iter().for_each(|(vendor, ..)| mainstay.revive(vendor).unwrap());
    tokio::time::sleep(s(60)).await;
    check_calls(seed, &mainstay.snapshot(), offered, &log.borrow());
    if !seed.is_multiple_of(3) {
        tokio::task::spawn_local(mainstay.dead_letters().replay(Filter::kind(Kind::Dead)).run());
    }
    // What was begun before is overdue in the end; what is done again ends in time.
    let marks = ledgers.each_ref().map(|ledger| ledger.books.lock().order.len());
    for _ in 0..180 {
        tokio::time::sleep(s(60)).await;
        for (ledger, mark) in ledgers.iter().zip(marks) {
            let again = ledger.books.lock().order[mark..].to_vec();
            for call in again {
                ledger.report(&mainstay, call).await;
            }
        }
    }
    tokio::time::sleep(s(4000)).await;
    check_calls(seed, &mainstay.snapshot(), offered, &log.borrow());
    for (ledger, (vendor, ..)) in ledgers.iter().zip(VENDORS) {
        check_vendor(seed, &mainstay.snapshot(), vendor, ledger, &log.borrow());
    }
    for (vendor, operation, _) in VENDORS {
        let mut payload = phone();
        payload["domain"] = json!("fresh.example");
        let call = Call::new(vendor, operation, payload).key("fresh").deadline(s(20));
        let answer = mainstay.call(call).await;
        let exhausted = mainstay.snapshot().vendors[vendor].budget.exhausted_until.is_some();
        assert!(exhausted || matches!(answer, Ok(Answer::Delivered(_))), "seed {seed}: {vendor} is wedged: {answer:?}");
    }
    let report = runtime.shutdown(s(1)).await;
    assert!(report.drained && report.calls.add_up(), "seed {seed}: {report:?}");
    listener.abort();
    log.borrow_mut().panics = chaos.total();
    log.take()
}

fn listen(mainstay: &Handle, log: Rc<RefCell<Log>>) -> tokio::task::JoinHandle<()> {
    let mut heard = mainstay.subscribe();
    tokio::task::spawn_local(async move {
        while let Ok(event) = heard.recv().await {
            let mut log = log.borrow_mut();
            match &event.fact {
                Fact::AttemptLoopLost { .. } => log.loops_lost += 1,
                Fact::VendorDown { .. } => log.downs += 1,
                Fact::ReportSetAside { .. } => log.reports_lost += 1,
                _ => {}
            }
            log.facts.push(format!("{event:?}"));
        }
    })
}

/// The calls, the callers that go away, and the ends that come. Returns how many were offered.
async fn live(seed: u64, mainstay: &Handle, draw: &Draw, ledgers: &[Ledger; 2], log: &Rc<RefCell<Log>>) -> u64 {
    let mut calls = Vec::new();
    for n in 0..CALLS {
        let call = random_call(draw, mainstay.snapshot().at);
        let (of_task, log_of_task, submits) = (mainstay.clone(), log.clone(), draw.chance(0.2));
        let task = tokio::task::spawn_local(async move {
            let answer = match submits {
                true => match of_task.submit(call).await {
                    Ok(receipt) => receipt.outcome().await,
                    Err(refusal) => Err(CallError::Refused(refusal)),
                },
                false => of_task.call(call).await,
            };
            let (end, text) = words(&answer);
            let mut log = log_of_task.borrow_mut();
            *log.ends.entry(end).or_default() += 1;
            log.answers.insert(n, format!("{end}: {text}"));
        });
        // A future that was never polled is no call.
        let goes_away = draw.chance(0.1).then(|| Duration::from_millis(1) + draw.up_to(s(10)));
        calls.push((
            n,
            task,
            goes_away.map(|after| tokio::time::Instant::from_std(mainstay::actors::clock::now()) + after),
        ));
        tokio::time::sleep(draw.up_to(s(3))).await;
        leave(&mut calls, log);
        let ledger = &ledgers[draw.below(2)];
        let known = ledger.books.lock().order.clone();
        if !known.is_empty() && draw.chance(0.6) {
            // The latest are often still on the wire.
            let back = if draw.chance(0.5) { draw.below(3.min(known.len())) } else { draw.below(known.len()) };
            ledger.report(mainstay, known[known.len() - 1 - back]).await;
        }
        if draw.chance(0.03) {
            tokio::task::spawn_local(mainstay.dead_letters().replay(Filter::default()).run());
        }
    }
    let all = async {
        while !calls.is_empty() {
            tokio::time::sleep(s(1)).await;
            leave(&mut calls, log);
            calls.retain(|(_, task, _)| !task.is_finished());
        }
    };
    let waited = tokio::time::timeout(s(900), all).await;
    assert!(waited.is_ok(), "seed {seed}: calls wait for ever: {:?}", mainstay.snapshot().calls);
    assert_eq!(log.borrow().answers.len(), CALLS, "seed {seed}: a task died without an answer");
    CALLS as u64
}

type Begun = (usize, tokio::task::JoinHandle<()>, Option<tokio::time::Instant>);

/// Callers whose time has come go away.
fn leave(calls: &mut Vec<Begun>, log: &Rc<RefCell<Log>>) {
    let now = tokio::time::Instant::from_std(mainstay::actors::clock::now());
    calls.retain(|(n, task, goes_away)| {
        let leaves = goes_away.is_some_and(|at| at <= now) && !task.is_finished();
        if leaves {
            task.abort();
            let mut log = log.borrow_mut();
            *log.ends.entry("went away").or_default() += 1;
            log.answers.insert(*n, "went away".into());
        }
        !leaves
    });
}

// --- what must hold

fn check_calls(seed: u64, snapshot: &Snapshot, offered: u64, log: &Log) {
    let (calls, parked) = (&snapshot.calls, &snapshot.parked);
    assert!(calls.add_up(), "seed {seed}: {calls:?}");
    assert_eq!((calls.lost, calls.under_way, calls.offered), (0, 0, offered), "seed {seed}: {calls:?}");
    assert!(!log.ends.contains_key("lost"), "seed {seed}: {:?}", log.answers);
    let counted = (calls.queued, calls.dead_lettered, calls.unknown);
    assert_eq!(
        counted,
        (parked.later, parked.dead, parked.unknown),
        "seed {seed}: on disk is what is counted: {parked:?}"
    );
    assert_eq!(snapshot.tree.fatal, None, "seed {seed}");
}

fn check_vendor(seed: u64, snapshot: &Snapshot, name: &str, ledger: &Ledger, log: &Log) {
    let at = || format!("seed {seed}, {name}");
    let vendor = &snapshot.vendors[name];
    let books = ledger.books.lock();
    assert_eq!(books.wrongs, [] as [String; 0], "{}", at());
    for (call, requests) in &books.requests {
        let done = requests.iter().filter(|request| matches!(request.truth, Truth::Did(_))).count();
        assert!(done <= 1, "{}: {call} was done {done} times: {requests:?}", at());
    }
    drop(books);
    let (settled, reserved, charged) = (vendor.budget.settled, vendor.budget.reserved, ledger.charged());
    assert!(settled <= charged, "{}: settled {settled}, charged {charged}, reserved {reserved}", at());
    assert!(charged <= settled.plus(reserved), "{}: charged {charged}, settled {settled}, reserved {reserved}", at());
    if log.reports_lost > 0 {
        return;
    }
    let running: Vec<_> = vendor.lanes.iter().map(|lane| (lane.running, lane.queued)).collect();
    assert!(running.iter().all(|lane| *lane == (0, 0)), "{}: {running:?}", at());
    assert_eq!((vendor.gate.in_use, vendor.breakers[0].probes_in_flight), (0, 0), "{}", at());
    assert_eq!((vendor.client.under_way, vendor.keys.in_flight), (0, 0), "{}", at());
    let may_hold = vendor.calls.unknown + log.loops_lost;
    assert!(vendor.budget.reservations as u64 <= may_hold, "{}: {:?}, {may_hold}", at(), vendor.budget);
}

// --- the tests

/// Planned panics are not worth a line.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
            let planned = text.is_some_and(|text| text.starts_with("chaos: "));
            if !planned {
                usual(info);
            }
        }));
    });
}

fn run(seed: u64) -> Log {
    quiet();
    let log = Rc::new(RefCell::new(None));
    let out = log.clone();
    paused(async move {
        let whole = history(seed).await;
        out.replace(Some(whole));
    });
    log.take().unwrap()
}

#[test]
fn every_call_of_150_seeded_histories_is_answered_done_at_most_once_and_paid_for() {
    let seeds = match std::env::var("MAINSTAY_SEED") {
        Err(_) => 0..HISTORIES,
        Ok(asked) => {
            let (first, last) = asked.split_once("..").unwrap_or((&asked, ""));
            let first = first.parse().unwrap();
            first..last.parse().unwrap_or(first + 1)
        }
    };
    let (mut ends, mut panics, mut loops, mut downs) = (BTreeMap::new(), 0, 0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let log = run(seed);
        panics += log.panics;
        loops += log.loops_lost;
        downs += log.downs;
        for (end, number) in log.ends {
            *ends.entry(end).or_insert(0) += number;
        }
    }
    println!("{ends:?}, {panics} panics, {loops} attempt loops lost, {downs} vendors down");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [0, 1, 2, 7, 42] {
        let (one, two) = (run(seed), run(seed));
        let differs = one.facts.iter().zip(&two.facts).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.answers, two.answers, "seed {seed}");
        assert_eq!(one.hash(), two.hash(), "seed {seed}");
    }
}
