//! Calls that are sent more than once, and what may have happened by then.

use super::*;

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
