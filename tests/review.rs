//! Promises that hold in the corners: leases that run out, replays of unknown calls, lost loops, parked actors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]
mod support;

use std::{sync::Arc, time::Duration};

use mainstay::{
    Answer, Because, Call, CallError, Completion, Credits, Delivery, Handle, VendorConfig,
    actors::{
        client::WireFault,
        dlq::{Filter, Kind},
        ids::ActorId,
        kernel::Hazard,
        outcome::Effect,
        profile::{Completion as Owed, Repeat},
        refusal::Reason,
    },
};
use parking_lot::Mutex;
use serde_json::json;
use support::{Reply, Wire, builder, clay, lead, ok, paused, phone, retell, start, turn, until};

const HOUR: Duration = Duration::from_secs(3600);

fn operations(config: &mut VendorConfig) -> impl Iterator<Item = &mut mainstay::actors::profile::Operation> {
    config.profile.as_mut().unwrap().operations.values_mut()
}

fn repeated(wire: &Wire, repeat: Repeat) -> VendorConfig {
    clay(wire).with(|config| operations(config).for_each(|operation| operation.repeat = repeat))
}

fn row(n: usize) -> Call {
    Call::new("clay", "push-row", lead(n))
}

fn dial(key: &str) -> Call {
    Call::new("retell", "create-phone-call", phone()).key(key).deadline(Duration::from_secs(600))
}

fn never_sent() -> Reply {
    Reply::Fail(WireFault::Connect, Duration::from_millis(5))
}

/// Panics at the `n`th message of this name, from 1.
struct Strike {
    at: (&'static str, &'static str),
    on: Mutex<Vec<u32>>,
    seen: Mutex<u32>,
}

impl Strike {
    fn new(actor: &'static str, message: &'static str, on: &[u32]) -> Arc<Self> {
        Arc::new(Self { at: (actor, message), on: Mutex::new(on.to_vec()), seen: Mutex::new(0) })
    }
}

impl Hazard for Strike {
    fn strike(&self, actor: &ActorId, message: &'static str) {
        if (actor.as_str(), message) != self.at {
            return;
        }
        let mut seen = self.seen.lock();
        *seen += 1;
        let now = *seen;
        drop(seen);
        assert!(!self.on.lock().contains(&now), "as planned");
    }
}

async fn settled(handle: &Handle) -> mainstay::Snapshot {
    turn().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let snapshot = handle.snapshot();
    assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
    snapshot
}

#[test]
fn a_call_that_may_have_happened_stays_unknown_when_its_repetition_was_never_sent() {
    paused(async {
        let wire = Wire::usually(never_sent());
        wire.then([Reply::Hang]);
        let mainstay = start([repeated(&wire, Repeat::WithKey { window: HOUR })]).await;
        let error = mainstay.call(row(1)).await.unwrap_err();
        let CallError::Unknown { because, .. } = error else { panic!("{error:?}") };
        assert!(matches!(because, Because::Failed { effect: Effect::Unknown, .. }), "{because:?}");
        let snapshot = settled(&mainstay).await;
        assert_eq!(snapshot.parked.unknown, 1);
        let budget = &snapshot.vendors["clay"].budget;
        assert_eq!((budget.reserved, budget.settled), (Credits::whole(6), Credits::ZERO));
    });
}

#[test]
fn a_repetition_with_a_key_pays_once_and_one_without_a_key_keeps_both_reserved() {
    paused(async {
        for (repeat, reserved) in [(Repeat::WithKey { window: HOUR }, 6), (Repeat::Always, 12)] {
            let wire = Wire::usually(ok(200));
            wire.then([Reply::Hang]);
            let mainstay = start([repeated(&wire, repeat)]).await;
            mainstay.call(row(1)).await.unwrap();
            let snapshot = settled(&mainstay).await;
            assert_eq!(snapshot.vendors["clay"].budget.reserved, Credits::whole(reserved), "{repeat:?}");
        }
    });
}

#[test]
fn a_replay_with_the_key_of_an_unknown_call_pays_once_and_one_without_it_keeps_both_reserved() {
    paused(async {
        for (repeat, reserved) in [(Repeat::WithKey { window: HOUR }, 6), (Repeat::Never, 12)] {
            for replay in [ok(200), Reply::Hang] {
                let wire = Wire::usually(Reply::Hang);
                let mainstay = start([repeated(&wire, repeat)]).await;
                let error = mainstay.call(row(1)).await.unwrap_err();
                assert!(matches!(error, CallError::Unknown { .. }), "{error:?}");
                wire.now_usually(replay.clone());
                let _ = mainstay.dead_letters().replay(Filter::kind(Kind::Unknown)).run().await.unwrap();
                let snapshot = settled(&mainstay).await;
                assert_eq!(snapshot.vendors["clay"].budget.reserved, Credits::whole(reserved), "{repeat:?} {replay:?}");
            }
        }
    });
}

#[test]
fn a_key_is_not_sent_again_after_its_window_however_long_it_waited_in_a_lane() {
    paused(async {
        let wire = Wire::usually(ok(200));
        // The first takes 10 s to time out; the lane's one place is then taken for two minutes.
        wire.then([Reply::Hang]);
        let window = Duration::from_secs(30);
        let config = repeated(&wire, Repeat::WithKey { window }).with(|config| {
            config.lanes.iter_mut().for_each(|lane| {
                lane.concurrency = 1;
                lane.wait_max = Duration::from_secs(300);
            });
            operations(config).for_each(|operation| operation.timeout = Duration::from_secs(120));
        });
        let config = config.with(|config| config.breaker = mainstay::actors::breaker::BreakerConfig::patterns(HOUR));
        let mainstay = start([config]).await;
        wire.then([Reply::Answer(200, json!({}), Duration::from_secs(100))]);
        let first = mainstay.submit(row(1)).await.unwrap();
        turn().await;
        let second = mainstay.submit(row(2)).await.unwrap();
        let error = first.outcome().await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{error:?}");
        second.outcome().await.unwrap();
        assert_eq!(wire.count(), 2);
        settled(&mainstay).await;
    });
}

#[test]
fn an_effect_does_not_begin_after_its_expiry_however_long_it_waited_in_a_lane() {
    paused(async {
        let wire = Wire::usually(ok(200));
        wire.then([Reply::Answer(200, json!({}), Duration::from_secs(9))]);
        let config = clay(&wire).with(|config| {
            config.lanes.iter_mut().for_each(|lane| {
                lane.concurrency = 1;
                lane.wait_max = Duration::from_secs(60);
            });
        });
        let mainstay = start([config]).await;
        let first = mainstay.submit(row(1)).await.unwrap();
        turn().await;
        let soon = "2026-11-24T12:00:05Z".parse().unwrap();
        let second = mainstay.submit(row(2).expires_at(soon).without_fallback()).await.unwrap();
        first.outcome().await.unwrap();
        let error = second.outcome().await.unwrap_err();
        assert!(matches!(error, CallError::Refused(_)), "{error:?}");
        assert_eq!(wire.count(), 1);
        settled(&mainstay).await;
    });
}

#[test]
fn a_loop_that_is_lost_between_two_attempts_takes_its_call_up_again() {
    paused(async {
        let wire = Wire::usually(ok(201));
        wire.then([Reply::Busy(429, 1)]);
        let strike = Strike::new("retell/attempts", "ticket", &[2]);
        let mainstay = builder().vendor(retell(&wire)).hazard(strike).start().await.unwrap().handle();
        let answer = mainstay.call(dial("1")).await.unwrap();
        assert!(matches!(answer, Answer::Delivered(_)), "{answer:?}");
        assert_eq!(wire.count(), 2);
        settled(&mainstay).await;
    });
}

#[test]
fn a_loop_that_is_lost_after_an_attempt_that_may_have_happened_leaves_the_call_unknown() {
    paused(async {
        let wire = Wire::usually(never_sent());
        wire.then([Reply::Hang]);
        let strike = Strike::new("clay/attempts", "ticket", &[2]);
        let config = repeated(&wire, Repeat::WithKey { window: HOUR });
        let mainstay = builder().vendor(config).hazard(strike).start().await.unwrap().handle();
        let error = mainstay.call(row(1)).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{error:?}");
        let snapshot = settled(&mainstay).await;
        assert_eq!((snapshot.parked.unknown, snapshot.calls.unknown), (1, 1));
    });
}

/// A dead letter, and the wire that makes it. The vendor answers from now on.
async fn dead_letter(config: VendorConfig, wire: &Wire, with: impl FnOnce(&mut mainstay::RuntimeConfig)) -> Handle {
    wire.now_usually(Reply::Fail(WireFault::Invalid, Duration::ZERO));
    let mainstay = builder().vendor(config).with(with).start().await.unwrap().handle();
    let error = mainstay.call(dial("1")).await.unwrap_err();
    assert!(matches!(error, CallError::DeadLettered { .. }), "{error:?}");
    mainstay
}

#[test]
fn a_parked_call_is_not_sent_twice_when_its_lease_runs_out_under_it() {
    paused(async {
        let wire = Wire::default();
        let mainstay = dead_letter(retell(&wire), &wire, |runtime| runtime.dlq.lease = Duration::from_secs(30)).await;
        let before = wire.count();
        wire.now_usually(Reply::Answer(201, json!({ "call_id": "x" }), Duration::from_secs(100)));
        assert_eq!(mainstay.dead_letters().replay(Filter::default()).run().await.unwrap().chosen, 1);
        let snapshot = until(&mainstay, |s| s.calls.delivered == 1 && s.parked.dead == 0).await;
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(wire.count() - before, 1);
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        settled(&mainstay).await;
    });
}

/// An unknown phone call and its letter.
async fn unknown_call(wire: &Wire) -> (Handle, mainstay::CallId, mainstay::actors::dlq::LetterId) {
    wire.then([Reply::Hang]);
    let mainstay = start([retell(wire)]).await;
    let error = mainstay.call(dial("1")).await.unwrap_err();
    let CallError::Unknown { call, .. } = error else { panic!("{error:?}") };
    let page = mainstay.dead_letters().list(Filter::kind(Kind::Unknown), None).await.unwrap();
    (mainstay, call, page.letters[0].letter.id)
}

#[test]
fn an_unknown_call_that_is_replayed_and_refused_is_still_unknown_and_not_tried_by_itself() {
    paused(async {
        let wire = Wire::usually(never_sent());
        let (mainstay, call, letter) = unknown_call(&wire).await;
        mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        let tried = wire.count();
        assert!(tried > 1);
        tokio::time::sleep(24 * HOUR).await;
        assert_eq!(wire.count(), tried, "it was tried again by itself");
        let snapshot = settled(&mainstay).await;
        assert_eq!((snapshot.parked.unknown, snapshot.calls.unknown), (1, 1));
        let again = mainstay.call(dial("1")).await.unwrap_err();
        assert!(matches!(again, CallError::Unknown { call: first, .. } if first == call), "{again:?}");
        mainstay.complete(call, Completion::happened(Credits::whole(10))).await.unwrap();
        let snapshot = settled(&mainstay).await;
        assert_eq!((snapshot.calls.unknown, snapshot.calls.delivered, snapshot.parked.unknown), (0, 1, 0));
    });
}

#[test]
fn an_unknown_call_that_is_replayed_and_done_is_counted_once_and_owes_one_end() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let (mainstay, call, letter) = unknown_call(&wire).await;
        tokio::time::sleep(HOUR).await;
        mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap();
        let snapshot = until(&mainstay, |s| s.calls.delivered == 1 && s.parked.unknown == 0).await;
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        assert_eq!((snapshot.calls.unknown, snapshot.open_effects), (0, 1));
        // The first one's time is over long before the second one's.
        tokio::time::sleep(Duration::from_secs(10 * 60)).await;
        mainstay.complete(call, Completion::happened(Credits::whole(10))).await.unwrap();
        settled(&mainstay).await;
    });
}

#[test]
fn an_end_that_comes_while_its_unknown_call_is_replayed_is_kept_for_it() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, Duration::from_secs(5)));
        let (mainstay, call, letter) = unknown_call(&wire).await;
        tokio::task::spawn_local(mainstay.dead_letters().replay(Filter::ids([letter])).run());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(wire.count(), 2);
        mainstay.complete(call, Completion::happened(Credits::whole(10))).await.unwrap();
        let snapshot = until(&mainstay, |s| s.calls.delivered == 1 && s.parked.unknown == 0).await;
        assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
        settled(&mainstay).await;
    });
}

#[test]
fn a_parked_call_that_waited_too_long_for_a_place_is_tried_again() {
    paused(async {
        let wire = Wire::default();
        let config = retell(&wire).with(|config| {
            config.lanes.iter_mut().for_each(|lane| {
                lane.concurrency = 1;
                lane.wait_max = HOUR;
            });
            operations(config).for_each(|operation| operation.timeout = HOUR);
        });
        let config = config.with(|config| config.breaker = mainstay::actors::breaker::BreakerConfig::patterns(HOUR));
        let mainstay = dead_letter(config, &wire, |_| ()).await;
        wire.now_usually(ok(201));
        wire.then([Reply::Answer(201, json!({ "call_id": "x" }), Duration::from_secs(400))]);
        let other = mainstay.submit(dial("2")).await.unwrap();
        turn().await;
        mainstay.dead_letters().replay(Filter::default()).run().await.unwrap();
        other.outcome().await.unwrap();
        let snapshot = until(&mainstay, |s| s.calls.delivered == 2).await;
        assert_eq!(snapshot.parked.given_up, 0);
        settled(&mainstay).await;
    });
}

#[test]
fn early_ends_of_calls_that_owe_none_fill_nothing() {
    paused(async {
        let wire = Wire::usually(Reply::Answer(200, json!({}), Duration::from_secs(1)));
        let config = clay(&wire).with(|config| {
            operations(config).for_each(|operation| operation.completion = Owed::Answer);
        });
        let mainstay = start([config]).await;
        for batch in 0..42 {
            let mut receipts = Vec::new();
            for n in 0..100 {
                receipts.push(mainstay.submit(row(batch * 100 + n).lane("bulk")).await.unwrap());
            }
            for receipt in &receipts {
                mainstay.complete(receipt.call, Completion::happened(None)).await.unwrap();
            }
            for receipt in receipts {
                receipt.outcome().await.unwrap();
            }
        }
    });
}

/// A vendor whose client panics at every message is parked after its restarts.
struct Broken(&'static str);

impl Hazard for Broken {
    fn strike(&self, actor: &ActorId, message: &'static str) {
        assert!(!(actor.as_str() == self.0 && message != "list"), "as planned: {message}");
    }
}

#[test]
fn a_call_whose_vendor_goes_down_under_it_ends_though_its_cache_does_not_answer_any_more() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = clay(&wire).cache_by("/domain");
        let builder = builder().vendor(config).hazard(Arc::new(Broken("clay/lane/normal")));
        let builder = builder.with(|runtime| runtime.supervisor.max_restarts = 3);
        let mainstay = builder.start().await.unwrap().handle();
        let call = mainstay.submit(row(1).deadline(Duration::from_secs(30))).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), call.outcome()).await;
        assert!(matches!(ended, Ok(Ok(Answer::Queued { .. }))), "{ended:?}");
        assert_eq!(wire.count(), 0);
        settled(&mainstay).await;
    });
}

#[test]
fn a_call_waits_for_the_table_of_keys_no_longer_than_its_deadline() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let builder = builder().vendor(clay(&wire)).hazard(Arc::new(Broken("clay/keys")));
        let builder = builder.with(|runtime| runtime.child.intensity.max_restarts = 1);
        let mainstay = builder.start().await.unwrap().handle();
        let call = mainstay.submit(row(1).deadline(Duration::from_secs(30))).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), call.outcome()).await;
        assert!(matches!(ended, Ok(Ok(Answer::Queued { .. }))), "{ended:?}");
        settled(&mainstay).await;
    });
}

#[test]
fn a_call_that_cannot_be_parked_because_the_queue_is_down_says_so() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Invalid, Duration::ZERO));
        let builder = builder().vendor(retell(&wire)).hazard(Arc::new(Broken("runtime/dlq")));
        let builder = builder.with(|runtime| runtime.child.intensity.max_restarts = 1);
        let mainstay = builder.start().await.unwrap().handle();
        let in_memory = dial("1").deadline(Duration::from_secs(30)).delivery(Delivery::InMemory);
        let call = mainstay.submit(in_memory).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), call.outcome()).await;
        assert!(matches!(ended, Ok(Err(CallError::NotParked { .. }))), "{ended:?}");
        let durable = tokio::time::timeout(Duration::from_secs(60), mainstay.submit(dial("2"))).await.unwrap();
        assert!(
            matches!(durable.unwrap_err().reason, Reason::NotWritten { .. }),
            "what is not on disk is not accepted"
        );
        let letters = mainstay.dead_letters();
        let list = tokio::time::timeout(Duration::from_secs(60), letters.list(Filter::default(), None)).await;
        assert!(matches!(list, Ok(Err(_))), "{list:?}");
        settled(&mainstay).await;
    });
}

#[test]
fn a_local_function_that_breaks_the_calendar_loses_its_call_in_words() {
    paused(async {
        let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
        struct Wall(Arc<std::sync::atomic::AtomicBool>);
        impl mainstay::actors::clock::WallClock for Wall {
            fn wall(&self) -> jiff::Timestamp {
                assert!(!self.0.swap(false, std::sync::atomic::Ordering::SeqCst), "no calendar");
                "2026-11-24T12:00:00Z".parse().unwrap()
            }
        }
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, Duration::ZERO));
        let breaks = broken.clone();
        let config = retell(&wire).local(move |_| {
            breaks.store(true, std::sync::atomic::Ordering::SeqCst);
            None
        });
        let mainstay = builder().vendor(config).wall_clock(Wall(broken)).start().await.unwrap().handle();
        let error = mainstay.call(dial("1")).await.unwrap_err();
        assert!(matches!(error, CallError::NotParked { .. }), "{error:?}");
        let snapshot = settled(&mainstay).await;
        assert_eq!((snapshot.calls.lost, snapshot.calls.under_way), (1, 0));
        assert!(mainstay.shutdown(Duration::from_secs(1)).await.drained);
    });
}

#[test]
fn a_call_that_is_on_the_wire_to_the_very_end_is_parked_as_unknown() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let mainstay = start([retell(&wire)]).await;
        let call = mainstay.submit(dial("1")).await.unwrap();
        turn().await;
        let report = mainstay.shutdown(Duration::from_secs(1)).await;
        assert_eq!((report.drained, report.still_under_way, report.calls.unknown), (false, 1, 1));
        assert!(report.calls.add_up(), "{:?}", report.calls);
        assert!(matches!(call.outcome().await, Err(CallError::StillUnderWay { .. })));
    });
}

#[test]
fn a_purged_letter_lets_go_of_its_key() {
    paused(async {
        let wire = Wire::default();
        let mainstay = dead_letter(retell(&wire), &wire, |_| ()).await;
        wire.now_usually(ok(201));
        let again = mainstay.call(dial("1")).await.unwrap_err();
        assert!(matches!(again, CallError::DeadLettered { .. }), "{again:?}");
        let page = mainstay.dead_letters().list(Filter::default(), None).await.unwrap();
        assert_eq!(mainstay.dead_letters().purge(Filter::ids([page.letters[0].letter.id]), None).await, Ok(1));
        let answer = mainstay.call(dial("1")).await.unwrap();
        assert!(matches!(answer, Answer::Delivered(_)), "{answer:?}");
        settled(&mainstay).await;
    });
}

#[test]
fn a_wire_that_never_comes_back_ends_as_a_timeout() {
    struct Silent;
    type Sent = Result<mainstay::actors::client::WireAnswer, mainstay::actors::client::WireError>;
    impl mainstay::actors::client::Transport for Silent {
        fn send(
            &self,
            _: mainstay::actors::client::WireRequest,
        ) -> std::pin::Pin<Box<dyn Future<Output = Sent> + Send>> {
            Box::pin(std::future::pending())
        }
    }
    paused(async {
        let wire = Wire::default();
        let mainstay = start([retell(&wire).transport(Silent)]).await;
        let error = mainstay.call(dial("1")).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{error:?}");
        settled(&mainstay).await;
    });
}

#[test]
fn a_key_that_is_unknown_on_disk_is_not_sent_again_after_a_restart_and_can_still_be_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    runtime.block_on(async {
        let wire = Wire::usually(ok(201));
        wire.then([Reply::Hang]);
        let start = || async {
            let config = retell(&wire).with(|config| {
                operations(config).for_each(|operation| operation.timeout = Duration::from_millis(20));
            });
            let builder = mainstay::Runtime::builder().vendor(config).data_dir(dir.path());
            builder.start().await.unwrap()
        };
        let mainstay = start().await;
        let error = mainstay.handle().call(dial("1")).await.unwrap_err();
        let CallError::Unknown { call, .. } = error else { panic!("{error:?}") };
        mainstay.shutdown(Duration::from_secs(5)).await;

        let mainstay = start().await;
        let error = mainstay.handle().call(dial("1")).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { call: first, .. } if first == call), "{error:?}");
        assert_eq!(wire.count(), 1);
        mainstay.handle().complete(call, Completion::DidNotHappen).await.unwrap();
        let answer = mainstay.handle().call(dial("1")).await.unwrap();
        assert!(matches!(answer, Answer::Delivered(_)), "{answer:?}");
        let report = mainstay.shutdown(Duration::from_secs(5)).await;
        assert!(report.calls.add_up(), "{:?}", report.calls);
    });
}
