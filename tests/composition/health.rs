//! How vendors are doing: what the application's calls, a free question and the vendor's debts say.

use std::collections::BTreeMap;

use super::*;
use mainstay::{
    Effect, Operation, Profile, StartError,
    actors::{
        fact::BreakerState,
        health::{Code, ProbeConfig, Status},
        profile::Method,
    },
};

/// A vendor with something to buy, and something to ask for nothing.
fn shop(wire: &Wire) -> VendorConfig {
    let buy = Operation { estimate: Credits::whole(1), ..Operation::post("/orders") };
    let operations = [("buy", buy), ("me", Operation::harmless(Method::Get, "/me"))];
    let config = VendorConfig::new(Profile::http("shop", "https://shop.test", operations));
    touchy(config.daily_limit(Credits::whole(100)).transport(wire.clone()).probe("me"))
}

fn why(mainstay: &Handle, vendor: &str, code: Code) -> String {
    let health = mainstay.health();
    let reasons = &health.vendor(vendor).unwrap().reasons;
    reasons.iter().find(|reason| reason.code == code).map(|reason| reason.text.clone()).unwrap_or_default()
}

fn status(mainstay: &Handle, vendor: &str) -> Status {
    mainstay.health().vendor(vendor).unwrap().status
}

#[test]
fn a_probe_asks_once_a_minute_for_nothing_and_its_answer_is_the_vendors_health() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([shop(&wire)]).await;
        tokio::time::sleep(s(630)).await;
        assert_eq!((wire.count(), status(&mainstay, "shop")), (11, Status::Healthy), "the first one at the start");
        assert!(why(&mainstay, "shop", Code::Probe).starts_with("probe me worked "));
        let snapshot = mainstay.snapshot();
        assert_eq!((snapshot.calls.offered, money(&mainstay, "shop")), (0, whole(0, 0)), "it is no call, and free");
        assert_eq!(snapshot.vendors["shop"].client.ended.len(), 0);

        wire.now_usually(Reply::Hang);
        tokio::time::sleep(s(600)).await;
        let health = mainstay.health();
        assert_eq!((health.status, status(&mainstay, "shop")), (Status::Unhealthy, Status::Unhealthy));
        assert!(why(&mainstay, "shop", Code::Probe).contains("failed"), "{health:?}");
        let asked = wire.count() - 11;
        assert!((9..=10).contains(&asked), "{asked} times in ten minutes, each of them waited for 5 s");
        assert_eq!(wire.most_in_flight(), 1, "one question at a time");
        let breaker = &mainstay.snapshot().vendors["shop"].breakers[0];
        assert_eq!(breaker.state, BreakerState::Closed, "it passes no guard");

        wire.now_usually(ok(401));
        tokio::time::sleep(s(61)).await;
        assert_eq!(status(&mainstay, "shop"), Status::Unhealthy, "nobody is let in");
        wire.now_usually(ok(200));
        tokio::time::sleep(s(61)).await;
        assert_eq!(status(&mainstay, "shop"), Status::Healthy);
    });
}

#[test]
fn a_probe_goes_on_behind_an_open_breaker_and_after_a_panic_of_its_wire() {
    paused(async {
        let wire = Wire::usually(after(500, 0));
        let mainstay = start([shop(&wire)]).await;
        mainstay.call(Call::new("shop", "buy", json!({ "sku": 1 })).key("a")).await.unwrap_err();
        let breaker = || mainstay.snapshot().vendors["shop"].breakers[0].state;
        assert_eq!(breaker(), BreakerState::Open);
        wire.now_usually(ok(200));
        tokio::time::sleep(s(61)).await;
        assert_eq!((status(&mainstay, "shop"), breaker()), (Status::Degraded, BreakerState::Open));
        assert!(why(&mainstay, "shop", Code::Probe).contains("worked"));
    });
    paused(async {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = asked.clone();
        let me = Operation::harmless(Method::Get, "");
        let config = VendorConfig::new(Profile::of_functions("sdk", [("me", me)])).function("me", move |_| {
            let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            assert!(!first, "a bug in the SDK");
            async { Ok(mainstay::Done::from(json!({}))) }
        });
        let mainstay = start([config.daily_limit(Credits::whole(1)).probe("me")]).await;
        turn().await;
        assert_eq!(status(&mainstay, "sdk"), Status::Unhealthy);
        tokio::time::sleep(s(61)).await;
        assert_eq!((status(&mainstay, "sdk"), asked.load(std::sync::atomic::Ordering::SeqCst)), (Status::Healthy, 2));
    });
}

#[test]
fn a_probe_that_costs_or_does_not_exist_is_refused_at_the_start() {
    paused(async {
        for operation in ["buy", "sell"] {
            let config = shop(&Wire::default()).with(|config| config.probe = Some(ProbeConfig::by(operation)));
            let Err(StartError::Config(faults)) = builder().vendor(config).start().await else {
                panic!("{operation} is asked once a minute")
            };
            assert_eq!(faults[0].field, "vendors.shop.probe.operation");
        }
    });
}

#[test]
fn a_table_that_takes_every_row_and_never_reports_is_seen_while_every_call_succeeds() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire)]).await;
        for n in 0..20 {
            call_of(mainstay.call(row(n)).await);
        }
        tokio::time::sleep(s(120)).await;
        assert_eq!(status(&mainstay, "clay"), Status::Healthy);
        let owed = why(&mainstay, "clay", Code::CallbacksOwed);
        assert!(owed.starts_with("20 of 20 calls that it took on still owed a callback, the oldest for"), "{owed}");
        let overdue = until(&mainstay, |snapshot| snapshot.overdue_total == 20).await;
        assert!(overdue.calls.add_up());
        tokio::time::sleep(s(11)).await;
        assert_eq!(status(&mainstay, "clay"), Status::Degraded, "silence is a failure");
        assert_eq!(why(&mainstay, "clay", Code::CallbacksOverdue), "20 callbacks overdue (limit 10)");
        assert_eq!(mainstay.health().vendor("clay").unwrap().callbacks_owed, 0);
    });
}

#[test]
fn rows_that_were_taken_on_and_failed_later_make_their_table_unhealthy_and_leave_its_breaker_closed() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([touchy(clay(&wire))]).await;
        for n in 0..10 {
            let (class, effect) = (Class::Server, Effect::Done);
            let end = Completion::Failed { class, effect, cost: None, also: BTreeMap::new(), answer: None };
            mainstay.complete(call_of(mainstay.call(row(n)).await), end).await.unwrap();
        }
        tokio::time::sleep(s(11)).await;
        let failed = "10 of 10 calls failed in the last 5 min, 10 after they were taken on";
        assert_eq!(
            (status(&mainstay, "clay"), why(&mainstay, "clay", Code::FailingCalls).as_str()),
            (Status::Unhealthy, failed)
        );
        assert_eq!(mainstay.snapshot().vendors["clay"].breakers[0].state, BreakerState::Closed);
    });
}

#[test]
fn a_vendors_health_says_what_waits_for_a_person_across_a_restart_of_the_health_actor() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let chaos = panics_at("runtime/health", "fact", Some(1));
        let mainstay = builder().vendor(retell(&wire)).hazard(chaos).start().await.unwrap().handle();
        unknown(&mainstay, "a").await;
        wire.now_usually(after(422, 0));
        let letter = letter_of(mainstay.call(ring("b")).await);
        mainstay.dead_letters().replay_one(letter).await.unwrap();
        tokio::time::sleep(s(600)).await;
        let said = |code| why(&mainstay, "retell", code);
        assert_eq!(said(Code::UnknownCalls), "1 call may have happened: a callback or a person must say");
        assert_eq!(said(Code::GivenUp), "1 parked call given up: a person must look");
        assert!(said(Code::DeadLetters).starts_with("1 dead letter (limit 100), the oldest parked call is of "));
        let health = mainstay.health();
        let retell = health.vendor("retell").unwrap();
        assert_eq!((retell.letters.dead, retell.letters.unknown, retell.letters.given_up), (1, 1, 1));
    });
}
