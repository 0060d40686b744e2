//! Keys over the real store: what the next process knows of the calls of the one before, whether it ended well or was killed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

#[path = "live/mod.rs"]
mod live;
#[path = "support/mod.rs"]
mod support;

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use jiff::Timestamp;
use live::{quick, soon};
use mainstay::{
    Answer, Call, CallError, CallId, Completion, Credits, Retell, Runtime, VendorConfig,
    actors::{
        client::WireFault,
        clock::WallClock,
        dlq::{Filter, Kind},
        profile::Repeat,
    },
    testing::{Episode, Fault, Script, Simulator, Vendor},
};
use serde_json::{Value, json};
use support::{Reply, Wire, ok, phone, until};

const DIR: &str = "MAINSTAY_TEST_DIR";
const URL: &str = "MAINSTAY_TEST_URL";
const HOUR: Duration = Duration::from_secs(3600);
const WITH_KEY: Repeat = Repeat::WithKey { window: HOUR };

/// A calendar that the test moves.
#[derive(Clone)]
struct Calendar(Arc<AtomicI64>);

impl Calendar {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_000)))
    }

    fn go_on(&self, minutes: i64) {
        self.0.fetch_add(minutes * 60_000, SeqCst);
    }
}

impl WallClock for Calendar {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(SeqCst)).unwrap()
    }
}

/// One data directory, the vendor behind it, and process after process.
struct Stage {
    dir: tempfile::TempDir,
    wire: Wire,
    calendar: Calendar,
    repeat: Repeat,
}

impl Stage {
    fn new(repeat: Repeat) -> Self {
        let (wire, calendar) = (Wire::usually(ok(201)), Calendar::new());
        Self { dir: tempfile::tempdir().unwrap(), wire, calendar, repeat }
    }

    async fn start(&self) -> Runtime {
        let config = support::retell(&self.wire).with(|config| {
            let profile = config.profile.as_mut().unwrap();
            profile.retry.backoff_first = Duration::from_millis(1);
            profile.retry.backoff_max = Duration::from_millis(1);
            let charging = profile.operations.values_mut().filter(|operation| operation.estimate > Credits::ZERO);
            charging.for_each(|operation| operation.repeat = self.repeat);
        });
        let builder = Runtime::builder().vendor(config).data_dir(self.dir.path()).wall_clock(self.calendar.clone());
        builder.with(|runtime| runtime.redrive.every = Duration::from_millis(20)).start().await.unwrap()
    }

    /// Ends a process and starts the next one.
    async fn restart(&self, runtime: Runtime) -> Runtime {
        let report = runtime.shutdown(Duration::from_secs(5)).await;
        assert!(report.calls.add_up(), "{:?}", report.calls);
        self.start().await
    }

    /// The keys that the vendor was sent.
    fn keys(&self) -> Vec<Value> {
        self.wire.seen().into_iter().map(|seen| seen.body["idempotency_key"].clone()).collect()
    }
}

fn broken() -> Reply {
    Reply::Fail(WireFault::Broken, Duration::ZERO)
}

fn unreachable() -> Reply {
    Reply::Fail(WireFault::Connect, Duration::ZERO)
}

fn dial() -> Call {
    Call::new("retell", "create-phone-call", phone()).key("reminder-1")
}

fn by_operation() -> Call {
    Call::new("retell", "create-phone-call", phone()).operation_id("reminder-1")
}

async fn call(runtime: &Runtime, call: Call) -> Result<Answer, CallError> {
    soon(runtime.handle().call(call)).await
}

async fn delivered(runtime: &Runtime, of: Call) -> CallId {
    match call(runtime, of).await {
        Ok(Answer::Delivered(delivered)) => delivered.call,
        other => panic!("not delivered: {other:?}"),
    }
}

async fn unknown(runtime: &Runtime, of: Call) -> CallId {
    match call(runtime, of).await {
        Err(CallError::Unknown { call, .. }) => call,
        other => panic!("not unknown: {other:?}"),
    }
}

/// Replays the one parked call of this kind, which must be named when it is unknown, and waits until it is out of the way.
async fn replay(runtime: &Runtime, kind: Kind) {
    let (handle, letters) = (runtime.handle(), runtime.handle().dead_letters());
    let page = letters.list(Filter::kind(kind), None).await.unwrap();
    let id = page.letters[0].letter.id;
    assert_eq!(letters.replay(Filter::ids([id])).run().await.unwrap().chosen, 1);
    let done = async {
        loop {
            let page = letters.list(Filter::ids([id]), None).await.unwrap();
            let waits = page.letters.iter().any(|parked| parked.state.due.is_some());
            if !waits && handle.snapshot().calls.under_way == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(done).await;
}

#[tokio::test]
async fn a_repeat_in_the_next_process_gets_the_stored_answer_for_24_hours_and_nothing_is_sent() {
    let stage = Stage::new(Repeat::Never);
    let runtime = stage.start().await;
    let first = delivered(&runtime, dial()).await;
    stage.calendar.go_on(23 * 60);
    let runtime = stage.restart(runtime).await;
    let Ok(Answer::Delivered(answer)) = call(&runtime, dial()).await else { panic!("not stored") };
    assert_eq!((answer.call, answer.body["call_id"].as_str(), answer.pending), (first, Some("vendor-call"), true));
    let mut other = dial();
    other.payload["to_number"] = "+14155550109".into();
    let conflict = call(&runtime, other).await.unwrap_err();
    assert!(conflict.to_string().contains("already stands for another payload"), "{conflict}");
    assert_eq!(stage.wire.count(), 1);
    stage.calendar.go_on(61);
    let runtime = stage.restart(runtime).await;
    assert_ne!(delivered(&runtime, dial()).await, first, "its time was over");
    assert_eq!(stage.wire.count(), 2);
}

#[tokio::test]
async fn peers_b16_one_key_through_first_try_retry_dead_letter_replay_and_restart() {
    let stage = Stage::new(WITH_KEY);
    stage.wire.then([unreachable(), unreachable(), unreachable()]);
    let runtime = stage.start().await;
    assert!(matches!(call(&runtime, dial()).await, Err(CallError::DeadLettered { .. })));
    let runtime = stage.restart(runtime).await;
    stage.wire.then([broken(), broken(), broken()]);
    replay(&runtime, Kind::Dead).await;
    let runtime = stage.restart(runtime).await;
    assert_eq!(runtime.handle().snapshot().calls.unknown, 1);
    replay(&runtime, Kind::Unknown).await;
    let runtime = stage.restart(runtime).await;
    delivered(&runtime, dial()).await;
    let keys = stage.keys();
    assert_eq!(keys.len(), 7, "three tries, three of a replay that may have happened, one of its replay");
    assert!(keys.iter().all(|key| *key == keys[0] && key.as_str().unwrap().len() == 64), "{keys:?}");
}

#[tokio::test]
async fn a_key_is_not_sent_again_after_the_vendors_window_however_often_it_was_restarted_and_replayed() {
    let stage = Stage::new(WITH_KEY);
    stage.wire.then([broken(), broken(), broken()]);
    let runtime = stage.start().await;
    let first = unknown(&runtime, dial()).await;
    stage.calendar.go_on(40);
    let runtime = stage.restart(runtime).await;
    stage.wire.then([broken(), broken(), broken()]);
    replay(&runtime, Kind::Unknown).await;
    assert_eq!(stage.wire.count(), 6, "inside the window it is sent with its key");
    stage.calendar.go_on(21);
    let runtime = stage.restart(runtime).await;
    replay(&runtime, Kind::Unknown).await;
    assert_eq!(stage.wire.count(), 6, "the window began with the first try, not with the replay");
    let page = runtime.handle().dead_letters().list(Filter::kind(Kind::Unknown), None).await.unwrap();
    let detail = &page.letters[0].state.error.detail;
    assert!(detail.contains("remembers a key for 3600s"), "{detail}");
    soon(runtime.handle().complete(first, Completion::DidNotHappen)).await.unwrap();
    replay(&runtime, Kind::Dead).await;
    assert_eq!(stage.wire.count(), 7, "it is known that it did not happen");
}

#[tokio::test]
async fn an_operation_id_is_one_uuid_until_its_time_is_over_and_another_one_then() {
    let stage = Stage::new(WITH_KEY);
    stage.wire.then([broken(), ok(201)]);
    let runtime = stage.start().await;
    let first = delivered(&runtime, by_operation()).await;
    stage.calendar.go_on(23 * 60);
    let runtime = stage.restart(runtime).await;
    assert_eq!(delivered(&runtime, by_operation()).await, first);
    stage.calendar.go_on(61);
    let runtime = stage.restart(runtime).await;
    let second = delivered(&runtime, by_operation()).await;
    let sent: Vec<_> = stage.keys().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
    assert_eq!(sent, [first.to_string(), first.to_string(), second.to_string()]);
    assert!(sent.iter().all(|key| uuid::Uuid::parse_str(key).unwrap().get_version_num() == 4));
}

#[tokio::test]
async fn an_operation_id_is_not_renewed_while_its_effect_is_unknown_and_is_after_a_definite_failure() {
    let stage = Stage::new(Repeat::Never);
    stage.wire.then([broken()]);
    let runtime = stage.start().await;
    let first = unknown(&runtime, by_operation()).await;
    stage.calendar.go_on(25 * 60);
    let runtime = stage.restart(runtime).await;
    assert_eq!(unknown(&runtime, by_operation()).await, first);
    assert_eq!(stage.wire.count(), 1);
    soon(runtime.handle().complete(first, Completion::DidNotHappen)).await.unwrap();
    let runtime = stage.restart(runtime).await;
    let page = runtime.handle().dead_letters().list(Filter::default(), None).await.unwrap();
    let ids = Filter::ids(page.letters.iter().map(|parked| parked.letter.id));
    runtime.handle().dead_letters().purge(ids, None).await.unwrap();
    let second = delivered(&runtime, by_operation()).await;
    assert_ne!(second, first);
}

const LIST: &str = "/v3/list-calls";
const GET_CALL: &str = "/v2/get-call/vendor-call";

/// Retell, which is soon asked about a call that may have been placed, and then until it ends.
fn asked_about(wire: &Wire) -> VendorConfig {
    let workspace = Retell { poll_every: Some(Duration::from_millis(100)), ..Retell::workspace("key_canary_retell") };
    VendorConfig::retell("retell", workspace).transport(wire.clone()).with(|config| {
        config.gate.rate = None;
        let operations = &mut config.profile.as_mut().unwrap().operations;
        for reconcile in operations.values_mut().filter_map(|operation| operation.reconcile.as_mut()) {
            reconcile.after = Duration::from_millis(1);
        }
    })
}

async fn until_asked(wire: &Wire, at: &str, times: usize) {
    let asked = async {
        while wire.count_at(at) < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(asked).await;
}

#[tokio::test]
async fn a_phone_call_of_which_the_last_process_did_not_hear_is_found_asked_about_until_its_end_and_counted_once() {
    let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(ok(201)));
    let reply = |body| Reply::Answer(200, body, Duration::ZERO);
    wire.now_usually_at(LIST, reply(json!({"items": []})));
    wire.now_usually_at(GET_CALL, reply(json!({"call_id": "vendor-call", "call_status": "ongoing"})));
    let start = || Runtime::builder().vendor(asked_about(&wire)).data_dir(dir.path()).start();
    wire.then([broken()]);
    let first = start().await.unwrap();
    let rung = unknown(&first, dial()).await;
    until_asked(&wire, LIST, 3).await;
    first.shutdown(Duration::from_secs(5)).await;

    wire.now_usually_at(LIST, reply(json!({"items": [{"call_id": "vendor-call"}]})));
    let second = start().await.unwrap();
    until_asked(&wire, GET_CALL, 2).await;
    let handle = second.handle();
    let ended = json!({"call_id": "vendor-call", "call_status": "ended", "disconnection_reason": "user_hangup"});
    wire.now_usually_at(GET_CALL, reply(ended.clone()));
    let end = soon(handle.end_of(rung)).await.unwrap();
    assert_eq!(end, Completion::happened(None).with_answer(ended));
    assert_eq!(delivered(&second, dial()).await, rung, "its key stands for it");
    until(&handle, |snapshot| snapshot.parked.pending() == 0 && snapshot.calls.delivered == 2).await;
    let report = second.shutdown(Duration::from_secs(5)).await;
    assert!(report.calls.add_up() && report.calls.unknown == 0, "{:?}", report.calls);
    assert_eq!(wire.count_at("/v2/create-phone-call"), 1, "it rang once");
}

#[tokio::test]
async fn an_effect_has_one_name_of_a_sane_length() {
    let stage = Stage::new(Repeat::Never);
    let runtime = stage.start().await;
    for (wrong, field) in [
        (dial().operation_id("reminder-1"), "operation_id"),
        (by_operation().operation_id(""), "operation_id"),
        (by_operation().operation_id("x".repeat(256)), "operation_id"),
        (dial().key(""), "key"),
    ] {
        let error = call(&runtime, wrong).await.unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    let nameless = Call::new("retell", "create-phone-call", phone());
    let error = call(&runtime, nameless).await.unwrap_err().to_string();
    assert!(error.contains("may never be repeated"), "{error}");
    assert_eq!(stage.wire.count(), 0);
}

/// Not a test of its own: the process that another one kills while its phone call is on the wire.
#[test]
fn child_that_dials_until_it_is_killed() {
    let (Ok(dir), Ok(url)) = (env::var(DIR), env::var(URL)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mainstay = Runtime::builder().vendor(retell_at(&url)).data_dir(dir).start().await.unwrap();
        let answer = mainstay.handle().call(dial()).await;
        panic!("it was to be killed: {answer:?}");
    });
}

fn retell_at(url: &str) -> VendorConfig {
    let workspace = Retell { base_url: url.to_owned().into(), ..Retell::workspace("key_test") };
    VendorConfig::retell("retell", workspace).daily_limit(Credits::whole(1_000_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_call_whose_process_was_killed_with_it_on_the_wire_is_unknown_to_the_next_one_and_rings_once() {
    let vendors = Simulator::start(quick()).unwrap();
    let hole = Episode::always(Vendor::Retell, Fault::BlackHole { effect: true });
    vendors.set_script(Script::default().episode(hole)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    kill_while_it_dials(&vendors, dir.path()).await;
    vendors.set_script(Script::default()).unwrap();

    let runtime = Runtime::builder().vendor(retell_at(&vendors.retell_url())).data_dir(dir.path());
    let runtime = runtime.start().await.unwrap();
    let mainstay = runtime.handle();
    let first = unknown(&runtime, dial()).await;
    let shown = soon(until(&mainstay, |seen| seen.vendors["retell"].keys.unknown == 1)).await;
    assert_eq!((shown.calls.unknown, shown.calls.refused), (1, 1), "the killed call, and its repeat");
    let ledger = vendors.ledger();
    let (effects, named): (Vec<_>, Vec<_>) = ledger.iter().map(|entry| (entry.effect, entry.call.clone())).unzip();
    assert_eq!((effects, named), (vec![true], vec![Some(first.to_string())]), "it rang once");

    // The vendor's callback names the killed call, and settles it.
    soon(mainstay.complete(first, Completion::happened(Credits::whole(30)))).await.unwrap();
    assert_eq!(delivered(&runtime, dial()).await, first);
    let shown = mainstay.snapshot();
    assert_eq!((shown.calls.unknown, shown.calls.delivered), (0, 2));
    assert_eq!(vendors.totals().retell.effects, 1);
    assert!(runtime.shutdown(Duration::from_secs(5)).await.calls.add_up());
}

async fn kill_while_it_dials(vendors: &Simulator, dir: &Path) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_dials_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(URL, vendors.retell_url())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let rang = async {
        while vendors.totals().retell.effects == 0 {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            tokio::task::yield_now().await;
        }
    };
    soon(rang).await;
    child.kill().unwrap();
    child.wait().unwrap();
}
