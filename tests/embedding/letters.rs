//! Parked calls: on a real disk, through real restarts.

use std::{path::Path, time::Duration};

use mainstay::{
    Answer, Call, CallError, Clay, Completion, Retell, Runtime, VendorConfig,
    actors::dlq::{Filter, Kind},
    testing::{Episode, Fault, Script, Simulator, Vendor},
};
use serde_json::Value;

use crate::{
    dial,
    live::{self, TWO, clay, quick, retell, soon},
    support::{self, Reply, Wire, clay_tables, lead, ok, until},
};

fn always(vendor: Vendor, fault: Fault) -> Script {
    Script::default().episode(Episode::always(vendor, fault))
}

/// A Retell that is not waited for long.
fn hasty(vendors: &Simulator) -> VendorConfig {
    let workspace = Retell { timeout: Duration::from_millis(300), ..live::retell_with_key(vendors, "key_test") };
    VendorConfig::retell("retell", workspace).with(|config| config.gate.rate = None)
}

async fn start(vendors: &Simulator, dir: &Path) -> Runtime {
    let builder = Runtime::builder().vendor(clay(vendors)).vendor(hasty(vendors)).placement(TWO);
    builder.data_dir(dir).with(|runtime| runtime.redrive.every = Duration::from_millis(50)).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_exported_replayed_and_purged() {
    let vendors = Simulator::start(quick()).unwrap();
    vendors.set_script(always(Vendor::Retell, Fault::Status { code: 422, effect: false })).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let builder = Runtime::builder().vendor(clay(&vendors)).vendor(retell(&vendors)).placement(TWO);
    let runtime = builder.data_dir(dir.path()).start().await.unwrap();
    let mainstay = runtime.handle();

    let mut dead = Vec::new();
    for n in 0..3 {
        let error = soon(mainstay.call(dial(n))).await.unwrap_err();
        let CallError::DeadLettered { call, letter, .. } = error else { panic!("{error:?}") };
        dead.push((call, letter));
    }
    let letters = mainstay.dead_letters();
    let page = letters.list(Filter::default(), None).await.unwrap();
    let listed: Vec<_> = page.letters.iter().map(|parked| (parked.letter.call, parked.letter.id)).collect();
    assert_eq!((&listed, page.next), (&dead, None), "in the order of parking");
    assert!(letters.list(Filter::default().vendor("clay").unwrap(), None).await.unwrap().letters.is_empty());
    let mut lines = Vec::new();
    assert_eq!(letters.export(Filter::kind(Kind::Dead), |line| lines.push(line.to_owned())).await.unwrap(), 3);
    for (line, (call, letter)) in lines.iter().zip(&dead) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["call"], &line["id"]), (&call.to_string().into(), &letter.to_string().into()));
        assert_eq!(line["payload"]["to_number"], "+14155550101");
    }

    vendors.set_script(Script::default()).unwrap();
    assert_eq!(letters.replay(Filter::ids([dead[0].1])).run().await.unwrap().chosen, 1);
    let snapshot = soon(until(&mainstay, |s| s.calls.delivered == 1 && s.parked.dead == 2)).await;
    assert!(snapshot.calls.add_up() && snapshot.calls.dead_lettered == 2, "{:?}", snapshot.calls);
    assert_eq!(vendors.ledger().iter().filter(|entry| entry.effect).count(), 1);
    assert_eq!(letters.purge(Filter::ids([dead[1].1]), None).await.unwrap(), 1);
    assert_eq!(letters.purge(Filter::ids([dead[1].1, dead[0].1]), None).await.unwrap(), 0, "they are gone");
    let page = letters.list(Filter::default(), None).await.unwrap();
    assert_eq!(page.letters.iter().map(|parked| parked.letter.id).collect::<Vec<_>>(), [dead[2].1]);
    // A purged call's key is free, a delivered one's is not.
    let again = soon(mainstay.call(dial(0))).await.unwrap();
    assert!(matches!(again, Answer::Delivered(first) if first.call == dead[0].0));
    soon(mainstay.call(dial(1))).await.unwrap();
    assert_eq!(vendors.totals().retell.effects, 2);
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_runtime_on_a_data_directory_finds_its_parked_calls_and_does_those_that_are_due() {
    let vendors = Simulator::start(quick()).unwrap();
    let busy = Fault::TooMany { retry_after_secs: Some(3) };
    let script = always(Vendor::Clay, busy).episode(Episode::always(Vendor::Retell, Fault::BlackHole { effect: true }));
    vendors.set_script(script).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let runtime = start(&vendors, dir.path()).await;
    let mainstay = runtime.handle();
    let mut receipts = Vec::new();
    for n in 0..5 {
        // Too hasty for the vendor's "in three seconds": queued, the first until then, the others for half a minute.
        let call = Call::new("clay", "push-row", lead(n)).deadline(Duration::from_millis(500));
        receipts.push(mainstay.submit(call).await.unwrap());
    }
    let error = soon(mainstay.call(dial(1))).await.unwrap_err();
    let CallError::Unknown { call: unknown, .. } = error else { panic!("{error:?}") };
    let mut queued = Vec::new();
    for receipt in receipts {
        queued.push(receipt.call.to_string());
        let answer = soon(receipt.outcome()).await;
        assert!(matches!(answer, Ok(Answer::Queued { .. })), "{answer:?}");
    }
    runtime.shutdown(Duration::from_secs(10)).await;

    vendors.set_script(Script::default()).unwrap();
    let runtime = start(&vendors, dir.path()).await;
    let mainstay = runtime.handle();
    let first = mainstay.snapshot();
    assert!(first.calls.add_up(), "{:?}", first.calls);
    assert_eq!(
        (first.calls.offered, first.calls.accepted, first.calls.unknown),
        (6, 6, 1),
        "all of them are inherited"
    );
    assert_eq!(first.calls.queued + first.calls.delivered, 5);
    soon(until(&mainstay, |s| s.calls.delivered > 0)).await;
    mainstay.dead_letters().replay(Filter::kind(Kind::Later)).run().await.unwrap();
    let snapshot = soon(until(&mainstay, |s| s.calls.delivered == 5 && s.parked.later == 0)).await;
    assert!(snapshot.calls.add_up() && snapshot.calls.queued == 0, "{:?}", snapshot.calls);
    assert_eq!((snapshot.parked.unknown, snapshot.calls.unknown), (1, 1), "an unknown call waits for a person");
    let mut done: Vec<_> = vendors
        .ledger()
        .into_iter()
        .filter(|entry| entry.effect && entry.vendor == Vendor::Clay)
        .filter_map(|entry| entry.call)
        .collect();
    done.sort();
    queued.sort();
    assert_eq!(done, queued, "the same calls, each of them once");
    let again = soon(mainstay.call(dial(1))).await.unwrap_err();
    assert!(matches!(again, CallError::Unknown { call, .. } if call == unknown), "its key is still blocked: {again:?}");
    mainstay.complete(unknown, Completion::happened(None)).await.unwrap();
    let snapshot = soon(until(&mainstay, |s| s.parked.unknown == 0)).await;
    assert!(snapshot.calls.add_up() && snapshot.calls.unknown == 0, "its callback still counts: {:?}", snapshot.calls);
    assert_eq!(vendors.totals().retell.effects, 1, "and the phone rang once");
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_call_is_replayed_only_by_its_id_and_the_counts_follow_it() {
    let vendors = Simulator::start(quick()).unwrap();
    vendors.set_script(always(Vendor::Retell, Fault::BlackHole { effect: false })).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let runtime = start(&vendors, dir.path()).await;
    let mainstay = runtime.handle();
    let error = soon(mainstay.call(dial(1))).await.unwrap_err();
    let CallError::Unknown { call, .. } = error else { panic!("{error:?}") };
    runtime.shutdown(Duration::from_secs(10)).await;

    // A person looked it up at the vendor: the phone never rang.
    vendors.set_script(Script::default()).unwrap();
    let runtime = start(&vendors, dir.path()).await;
    let mainstay = runtime.handle();
    let letters = mainstay.dead_letters();
    assert_eq!(letters.replay(Filter::default()).run().await.unwrap().chosen, 0, "not among all");
    let page = letters.list(Filter::kind(Kind::Unknown), None).await.unwrap();
    let letter = &page.letters[0].letter;
    assert_eq!(letter.call, call);
    assert_eq!(letters.replay(Filter::ids([letter.id])).run().await.unwrap().chosen, 1);
    let snapshot = soon(until(&mainstay, |s| s.parked.unknown == 0 && s.calls.delivered == 1)).await;
    assert!(snapshot.calls.add_up() && snapshot.calls.unknown == 0, "{:?}", snapshot.calls);
    assert_eq!(vendors.totals().retell.effects, 1);
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_row_goes_to_its_own_table_in_the_next_runtime_and_stays_parked_while_that_table_is_not_configured() {
    let dir = tempfile::tempdir().unwrap();
    let wire = Wire::usually(Reply::Busy(429, 1));
    let start = async |tables: VendorConfig| {
        let builder = Runtime::builder().vendor(tables.with(|config| config.gate.rate = None)).placement(TWO);
        let quick = |runtime: &mut mainstay::RuntimeConfig| runtime.redrive.every = Duration::from_millis(20);
        builder.data_dir(dir.path()).with(quick).start().await.unwrap()
    };
    let runtime = start(clay_tables(&wire)).await;
    let row = Call::new("clay", "push-row", lead(0)).target("accounts").deadline(Duration::from_millis(200));
    let Ok(Answer::Queued { letter, .. }) = soon(runtime.handle().call(row)).await else { panic!("not queued") };
    runtime.shutdown(Duration::from_secs(10)).await;

    wire.now_usually(Reply::Answer(200, Value::Null, Duration::ZERO));
    let only_leads = VendorConfig::clay_tables("clay", [("leads", Clay::table("https://clay.test/hook-canary/leads"))]);
    let runtime = start(only_leads.transport(wire.clone())).await;
    let mainstay = runtime.handle();
    mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap();
    soon(until(&mainstay, |s| s.parked.given_up == 1)).await;
    let page = mainstay.dead_letters().list(Filter::ids([letter]), None).await.unwrap();
    assert!(
        page.letters[0].state.error.detail.contains("its target accounts"),
        "{}",
        page.letters[0].state.error.detail
    );
    assert_eq!(wire.count_at("/leads"), 0);
    runtime.shutdown(Duration::from_secs(10)).await;

    let runtime = start(clay_tables(&wire)).await;
    let mainstay = runtime.handle();
    let before = wire.count_at("/accounts");
    mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap();
    soon(until(&mainstay, |s| s.calls.delivered == 1)).await;
    assert_eq!((wire.count_at("/accounts"), wire.count_at("/leads")), (before + 1, 0));
    runtime.shutdown(Duration::from_secs(10)).await;
}

/// On disk, what was taken may have happened: nothing may be taken and then not done.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_being_taken_is_done_whoever_goes_away_meanwhile() {
    for asker_goes in [true, false] {
        let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(ok(200)));
        wire.then([Reply::Answer(400, Value::Null, Duration::ZERO)]);
        let start = || Runtime::builder().vendor(support::clay(&wire)).placement(TWO).data_dir(dir.path()).start();
        let first = soon(start()).await.unwrap();
        let mainstay = first.handle();
        soon(mainstay.call(crate::row(0))).await.unwrap_err();
        let replay = tokio::spawn(mainstay.dead_letters().replay(Filter::default()).run());
        soon(async {
            while mainstay.snapshot().parked.taken == 0 && wire.count() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        if asker_goes {
            replay.abort();
        }
        assert!(soon(first.shutdown(Duration::from_secs(10))).await.drained);

        let second = soon(start()).await.unwrap();
        let parked = second.handle().snapshot().parked;
        assert_eq!((wire.count(), parked.unknown, parked.dead), (2, 0, 0), "the asker goes: {asker_goes}");
        second.shutdown(Duration::from_secs(10)).await;
    }
}
