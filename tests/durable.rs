//! Durable calls through `kill -9`: real processes, real sled, real HTTP, judged by the vendors' own ledger.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

#[path = "live/mod.rs"]
mod live;
#[path = "support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use live::{quick, soon};
use mainstay::{
    Answer, Call, CallError, Clay, Credits, Delivery, Handle, Retell, Runtime, Snapshot, VendorConfig,
    actors::{
        dlq::{Filter, Kind},
        profile::Repeat,
    },
    testing::{Episode, Fault, Script, Simulator, Vendor},
};
use support::{Reply, Wire, lead, ok, phone, until};

const DIR: &str = "MAINSTAY_TEST_DIR";
const URL: &str = "MAINSTAY_TEST_URL";
const WHAT: &str = "MAINSTAY_TEST_WHAT";

fn clay_at(url: &str) -> VendorConfig {
    VendorConfig::clay("clay", Clay::table(url))
        .daily_limit(Credits::whole(1_000_000))
        .with(|config| config.gate.rate = None)
}

fn retell_at(url: &str) -> VendorConfig {
    let workspace = Retell { base_url: url.to_owned().into(), ..Retell::workspace("key_test") };
    VendorConfig::retell("retell", workspace)
        .daily_limit(Credits::whole(1_000_000))
        .with(|config| config.gate.rate = None)
}

fn config(what: &str, url: &str) -> VendorConfig {
    match what {
        "rows" => clay_at(url),
        // One at a time: the first rings, the others wait.
        _ => retell_at(url).with(|config| config.lanes.iter_mut().for_each(|lane| lane.concurrency = 1)),
    }
}

fn nth(what: &str, n: usize) -> Call {
    match what {
        "rows" => Call::new("clay", "push-row", lead(n)).key(format!("row-{n}")),
        _ => Call::new("retell", "create-phone-call", phone()).key(format!("call-{n}")),
    }
}

/// Not a test of its own: the process that is killed. It says each call that was accepted.
#[test]
fn child_that_submits_until_it_is_killed() {
    let (Ok(dir), Ok(url), Ok(what)) = (env::var(DIR), env::var(URL), env::var(WHAT)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mainstay = Runtime::builder().vendor(config(&what, &url)).data_dir(dir).start().await.unwrap();
        // No process names a call as another one did.
        let first = 100_000 * std::process::id() as usize;
        let number = if what == "rows" { 10_000 } else { 3 };
        for n in first..first + number {
            let call = mainstay.handle().submit(nth(&what, n)).await.unwrap().call;
            writeln!(std::io::stdout(), "\naccepted {call}").unwrap();
        }
        std::future::pending::<()>().await;
    });
}

struct Victim(Child, BufReader<std::process::ChildStdout>);

impl Victim {
    fn start(what: &str, url: &str, dir: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child_that_submits_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .env(URL, url)
            .env(WHAT, what)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self(child, said)
    }

    /// Reads until so many calls were accepted, kills the process, and reads what it still said.
    fn kill_after(mut self, number: usize, accepted: &mut BTreeSet<String>) {
        let before = accepted.len();
        let mut killed = false;
        let mut line = String::new();
        while self.1.read_line(&mut line).unwrap() > 0 {
            accepted.extend(line.strip_prefix("accepted ").map(|call| call.trim().to_owned()));
            line.clear();
            if !killed && accepted.len() >= before + number {
                self.0.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed, "it ended by itself");
        self.0.wait().unwrap();
    }
}

async fn settled(mainstay: &Handle) -> Snapshot {
    let at_rest = |seen: &Snapshot| seen.calls.under_way == 0 && seen.parked.later == 0 && seen.parked.accepted == 0;
    soon(until(mainstay, at_rest)).await
}

async fn parked(mainstay: &Handle, kind: Kind) -> BTreeSet<String> {
    let (mut calls, mut after) = (BTreeSet::new(), None);
    loop {
        let page = mainstay.dead_letters().list(Filter::kind(kind), after).await.unwrap();
        calls.extend(page.letters.iter().map(|parked| parked.letter.call.to_string()));
        after = page.next;
        if after.is_none() {
            return calls;
        }
    }
}

/// Effects at the vendor, by call.
fn effects(vendors: &Simulator) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for call in vendors.ledger().into_iter().filter(|entry| entry.effect).filter_map(|entry| entry.call) {
        *effects.entry(call).or_default() += 1;
    }
    effects
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_row_has_one_end_and_at_most_one_effect_through_kills_under_load_and_in_recovery() {
    let mut rng = fastrand::Rng::with_seed(20_261_125);
    let (mut rows, mut unknown, mut resumed) = (0, 0, 0);
    for _ in 0..4 {
        let vendors = Simulator::start(quick()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut accepted = BTreeSet::new();
        let url = vendors.clay_url().to_owned();
        Victim::start("rows", &url, dir.path()).kill_after(rng.usize(1..200), &mut accepted);
        Victim::start("rows", &url, dir.path()).kill_after(rng.usize(1..20), &mut accepted);

        let done_before = effects(&vendors).len();
        let runtime = soon(Runtime::builder().vendor(clay_at(&url)).data_dir(dir.path()).start()).await.unwrap();
        let mainstay = runtime.handle();
        let seen = settled(&mainstay).await;
        assert!(seen.calls.add_up() && seen.calls.lost == 0, "{:?}", seen.calls);
        let (may_have, dead) = (parked(&mainstay, Kind::Unknown).await, parked(&mainstay, Kind::Dead).await);
        assert!(dead.is_empty(), "{dead:?}");
        runtime.shutdown(Duration::from_secs(10)).await;

        let effects = effects(&vendors);
        let doubled: Vec<_> = effects.iter().filter(|(_, times)| **times > 1).collect();
        assert!(doubled.is_empty(), "{doubled:?}");
        let nowhere = accepted.iter().filter(|call| !effects.contains_key(*call) && !may_have.contains(*call));
        assert_eq!(nowhere.collect::<Vec<_>>(), Vec::<&String>::new());
        rows += accepted.len();
        unknown += may_have.len();
        resumed += effects.len() - done_before;
    }
    println!("{rows} accepted, {resumed} done by the next process, {unknown} unknown");
    assert!(resumed > 0, "no kill met a call that waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_phone_calls_of_a_killed_process_the_one_on_the_wire_is_unknown_and_those_that_waited_ring_once() {
    let vendors = Simulator::start(quick()).unwrap();
    let hole = Episode::always(Vendor::Retell, Fault::BlackHole { effect: true });
    vendors.set_script(Script::default().episode(hole)).unwrap();
    let (dir, mut accepted) = (tempfile::tempdir().unwrap(), BTreeSet::new());
    let victim = Victim::start("calls", &vendors.retell_url(), dir.path());
    soon(async {
        while vendors.ledger().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    victim.kill_after(3, &mut accepted);
    vendors.set_script(Script::default()).unwrap();
    let on_the_wire = effects(&vendors);
    assert_eq!(on_the_wire.len(), 1);

    let runtime =
        Runtime::builder().vendor(retell_at(&vendors.retell_url())).data_dir(dir.path()).start().await.unwrap();
    let mainstay = runtime.handle();
    let seen = settled(&mainstay).await;
    assert_eq!((seen.calls.unknown, seen.calls.lost), (1, 0), "{:?}", seen.calls);
    let unknown = parked(&mainstay, Kind::Unknown).await;
    assert_eq!(unknown.iter().collect::<Vec<_>>(), on_the_wire.keys().collect::<Vec<_>>());
    let effects = effects(&vendors);
    assert!(accepted.iter().all(|call| effects.get(call) == Some(&1)), "each rang once: {effects:?}");
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_submitted_call_is_on_disk_until_it_has_ended_and_one_that_is_waited_for_is_not() {
    let (dir, wire) =
        (tempfile::tempdir().unwrap(), Wire::usually(Reply::Answer(200, lead(0), Duration::from_millis(200))));
    let runtime = Runtime::builder().vendor(support::clay(&wire)).data_dir(dir.path()).start().await.unwrap();
    let mainstay = runtime.handle();
    let receipt = mainstay.submit(Call::new("clay", "push-row", lead(1))).await.unwrap();
    soon(until(&mainstay, |seen| seen.parked.accepted == 1)).await;
    assert!(parked(&mainstay, Kind::Accepted).await.contains(&receipt.call.to_string()));
    assert!(matches!(soon(receipt.outcome()).await, Ok(Answer::Delivered(_))));
    soon(until(&mainstay, |seen| seen.parked.accepted == 0)).await;
    for (call, kept) in [
        (Call::new("clay", "push-row", lead(2)), 0),
        (Call::new("clay", "push-row", lead(3)).delivery(Delivery::Durable), 1),
    ] {
        let waits = tokio::spawn({
            let mainstay = mainstay.clone();
            async move { mainstay.call(call).await }
        });
        let sent = wire.count();
        soon(async {
            while wire.count() == sent {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(parked(&mainstay, Kind::Accepted).await.len(), kept);
        soon(waits).await.unwrap().unwrap();
    }
    assert!(runtime.shutdown(Duration::from_secs(5)).await.calls.add_up());
}

#[tokio::test]
async fn a_durable_call_that_was_refused_or_failed_for_good_is_where_the_answer_says() {
    let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(ok(200)));
    let runtime = Runtime::builder().vendor(support::clay(&wire)).data_dir(dir.path()).start().await.unwrap();
    let mainstay = runtime.handle();
    wire.then([Reply::Answer(400, lead(0), Duration::ZERO)]);
    let receipt = mainstay.submit(Call::new("clay", "push-row", lead(1))).await.unwrap();
    let Err(CallError::DeadLettered { letter, call, .. }) = soon(receipt.outcome()).await else { panic!() };
    let page = mainstay.dead_letters().list(Filter::kind(Kind::Dead), None).await.unwrap();
    let found = &page.letters[0];
    assert_eq!((found.letter.id, found.letter.call, found.state.requests), (letter, call, 1));
    assert_eq!(found.state.first_error.as_ref(), Some(&found.state.error));
    mainstay.breaker("clay").unwrap().force_open(Duration::from_secs(60), "a drill, Ana").await.unwrap();
    let refused = mainstay.submit(Call::new("clay", "push-row", lead(2)).without_fallback()).await.unwrap();
    assert!(matches!(soon(refused.outcome()).await, Err(CallError::Refused(_))));
    let queued = mainstay.submit(Call::new("clay", "push-row", lead(3))).await.unwrap();
    assert!(matches!(soon(queued.outcome()).await, Ok(Answer::Queued { .. })));
    let seen = soon(until(&mainstay, |seen| seen.parked.accepted == 0)).await;
    assert_eq!((seen.parked.dead, seen.parked.later, seen.calls.refused), (1, 1, 1));
    assert!(seen.calls.add_up());
    runtime.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_call_that_was_on_the_wire_of_a_killed_process_is_sent_again_where_that_is_safe() {
    let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(Reply::Hang));
    let safe = |wire: &Wire| {
        support::clay(wire).with(|config| {
            let operations = &mut config.profile.as_mut().unwrap().operations;
            operations.values_mut().for_each(|operation| operation.repeat = Repeat::Always);
        })
    };
    let first = Runtime::builder().vendor(safe(&wire)).data_dir(dir.path()).start().await.unwrap();
    let receipt = first.handle().submit(Call::new("clay", "push-row", lead(1))).await.unwrap();
    soon(async {
        while wire.count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // What a process leaves that dies now.
    let left = tempfile::tempdir().unwrap();
    for file in fs::read_dir(dir.path()).unwrap().map(Result::unwrap).filter(|file| file.metadata().unwrap().is_file())
    {
        fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
    }
    wire.now_usually(ok(200));
    let second = Runtime::builder().vendor(safe(&wire)).data_dir(left.path()).start().await.unwrap();
    let seen = settled(&second.handle()).await;
    assert_eq!((seen.calls.delivered, seen.calls.unknown, wire.count()), (1, 0, 2), "{:?}", seen.calls);
    drop(receipt);
    second.shutdown(Duration::from_secs(5)).await;
}
