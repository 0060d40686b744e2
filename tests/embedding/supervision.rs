//! Accidents in real threads: past its limits a vendor is down in words, and a thread that is blocked holds up nobody.

use std::{sync::Arc, time::Duration};

use mainstay::{
    Answer, CallError, Fact, GetSnapshot, Guard, Reason, Runtime,
    actors::dlq::{Filter, Kind},
    testing::{
        Chaos, Simulator,
        chaos::{Action, Rule},
    },
};

use crate::{
    dial,
    live::{Blocker, TWO, clay, quick, retell, soon},
    row,
    support::until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_whose_actor_panics_past_its_limit_is_down_in_words_until_it_is_revived_with_its_queue() {
    let vendors = Simulator::start(quick()).unwrap();
    let chaos = Arc::new(Chaos::seeded(7).rule(Rule {
        actor: "clay/breaker".into(),
        message: Some("ticket".into()),
        probability: 1.0,
        max: None,
        action: Action::Panic,
    }));
    let builder = Runtime::builder().vendor(clay(&vendors)).vendor(retell(&vendors)).placement(TWO);
    let builder = builder.hazard(chaos.clone()).with(|runtime| runtime.child.intensity.max_restarts = 2);
    let runtime = builder.start().await.unwrap();
    let mainstay = runtime.handle();
    let mut facts = mainstay.subscribe();

    let mut receipts = Vec::new();
    for n in 0..10 {
        receipts.push(mainstay.submit(row(n).lane("critical")).await.unwrap());
    }
    let snapshot = soon(until(&mainstay, |s| s.vendors["clay"].down.is_some())).await;
    let down = snapshot.vendors["clay"].down.clone().unwrap();
    assert!(down.starts_with("clay/breaker passed 2 restarts in 60 s: "), "{down}");
    assert!(down.contains("chaos: injected panic in clay/breaker at ticket"), "{down}");
    assert!(
        soon(async {
            loop {
                if let Fact::VendorDown { vendor, cause } = facts.recv().await.unwrap().fact {
                    break (vendor.to_string(), cause.to_string()) == ("clay".into(), down.clone());
                }
            }
        })
        .await
    );

    let error = soon(mainstay.call(row(99).without_fallback())).await.unwrap_err();
    let CallError::Refused(refusal) = error else { panic!("{error:?}") };
    assert_eq!((refusal.by, &refusal.reason), (Guard::Supervisor, &Reason::VendorDown { cause: down.as_str().into() }));
    let way_out = "Handle::revive brings it back once that is cured";
    assert_eq!(refusal.to_string(), format!("refused by the supervisor: vendor is down: {down}; {way_out}"));
    let queued = soon(mainstay.call(row(98))).await.unwrap();
    assert!(matches!(queued, Answer::Queued { .. }), "an outage of ours blocks no pipeline: {queued:?}");
    for n in 0..5 {
        let answer = soon(mainstay.call(dial(n))).await.unwrap();
        assert!(matches!(answer, Answer::Delivered(_)), "the other vendor carries on: {answer:?}");
    }
    assert_eq!(vendors.totals().clay.effects, 0);

    chaos.stop();
    mainstay.revive("clay").unwrap();
    let (mut delivered, mut queued) = (0, 0);
    for receipt in receipts {
        match soon(receipt.outcome()).await.unwrap() {
            Answer::Delivered(_) => delivered += 1,
            Answer::Queued { .. } => queued += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(delivered >= 7 && delivered + queued == 10, "three were lost with their crash: {delivered} {queued}");
    assert!(soon(mainstay.call(row(99))).await.is_ok());
    mainstay.dead_letters().replay(Filter::kind(Kind::Later)).run().await.unwrap();
    let snapshot = soon(until(&mainstay, |s| s.calls.delivered == 17)).await;
    assert!(snapshot.calls.add_up() && snapshot.vendors["clay"].down.is_none(), "{:?}", snapshot.calls);
    assert_eq!((snapshot.tree.totals.panics, snapshot.tree.totals.parked), (3, 1));
    assert_eq!((vendors.totals().clay.effects, vendors.totals().clay.duplicate_effects), (12, 0));
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_blocks_its_thread_is_left_behind_and_its_neighbours_calls_go_on() {
    let vendors = Simulator::start(quick()).unwrap();
    let blocker = Blocker::of("clay/breaker", "ticket");
    let builder = Runtime::builder().vendor(clay(&vendors)).vendor(retell(&vendors)).placement(TWO);
    let builder = builder.hazard(blocker.clone());
    let runtime =
        builder.with(|runtime| runtime.watchdog.hang_after = Duration::from_millis(300)).start().await.unwrap();
    let mainstay = runtime.handle();
    let mut facts = mainstay.subscribe();
    let first = mainstay.submit(row(0)).await.unwrap();
    blocker.until_blocked().await;

    // At once, long before anybody is moved: what looks asks nobody who works, and other vendors have other threads.
    let shown = soon(mainstay.debug().send(GetSnapshot)).await.unwrap().unwrap();
    assert_eq!(shown.calls.under_way, 1);
    assert!(soon(mainstay.call(dial(1))).await.is_ok());

    let mut others = tokio::task::JoinSet::new();
    for n in 1..30 {
        let mainstay = mainstay.clone();
        others.spawn(async move { mainstay.call(row(n)).await });
    }
    for answer in soon(others.join_all()).await {
        assert!(matches!(answer, Ok(Answer::Delivered(_))), "{answer:?}");
    }
    assert!(blocker.is_blocked(), "all of them were served while the thread was blocked");
    let (thread, moved) = soon(async {
        loop {
            if let Fact::ThreadStuck { thread, moved } = facts.recv().await.unwrap().fact {
                break (thread, moved);
            }
        }
    })
    .await;
    assert_eq!((&*thread, moved), ("mainstay-0", 9), "all of clay's actors");

    blocker.let_go();
    let answer = soon(first.outcome()).await;
    assert!(matches!(answer, Ok(Answer::Delivered(_))), "its ticket was lost, the call was not: {answer:?}");
    let snapshot = soon(until(&mainstay, |s| s.calls.under_way == 0)).await;
    assert!(snapshot.calls.add_up() && snapshot.tree.totals.hangs == 1, "{:?}", snapshot.tree.totals);
    assert_eq!((vendors.totals().clay.effects, vendors.totals().clay.duplicate_effects), (30, 0));
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_runtimes_own_thread_is_blocked_the_snapshot_is_seen_and_the_debug_actor_comes_back() {
    let vendors = Simulator::start(quick()).unwrap();
    let blocker = Blocker::of("runtime/health", "fact");
    let builder = Runtime::builder().vendor(clay(&vendors)).placement(TWO).hazard(blocker.clone());
    let runtime =
        builder.with(|runtime| runtime.watchdog.hang_after = Duration::from_millis(300)).start().await.unwrap();
    let mainstay = runtime.handle();
    assert!(soon(mainstay.call(row(1))).await.is_ok());
    blocker.until_blocked().await;
    assert!(soon(mainstay.call(row(2))).await.is_ok(), "calls do not come by that thread");
    assert_eq!(mainstay.snapshot().calls.delivered, 2);
    let shown = soon(mainstay.debug().send(GetSnapshot)).await.unwrap().unwrap();
    assert!(blocker.is_blocked() && shown.tree.totals.hangs == 1, "it answers from a spare thread");
    blocker.let_go();
    runtime.shutdown(Duration::from_secs(10)).await;
}
