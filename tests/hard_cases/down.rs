//! Actors that are down, and ends that never come: the caller is answered all the same.

use super::*;

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
