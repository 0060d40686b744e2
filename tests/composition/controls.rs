//! What an operator changes while calls run.

use mainstay::{ControlError, actors::bulkhead::Rate};

use super::*;

#[test]
fn a_paused_lane_starts_nothing_the_others_go_on_and_its_calls_run_when_it_is_resumed() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        let mainstay = start([clay(&wire)]).await;
        let mut heard = mainstay.subscribe();
        let bulk = mainstay.lane("clay", "bulk").unwrap();
        bulk.pause("the table is being changed").await.unwrap();
        bulk.pause("the table is being changed").await.unwrap();
        let waiting: Vec<_> = (0..3).map(|n| begin(&mainstay, row(n).lane("bulk"))).collect();
        call_of(mainstay.call(row(3)).await);
        let lanes = &mainstay.snapshot().vendors["clay"].lanes;
        let bulk_now = lanes.iter().find(|lane| lane.lane.as_str() == "bulk").unwrap();
        assert_eq!((bulk_now.running, bulk_now.queued), (0, 3));
        assert_eq!(bulk_now.paused.as_deref(), Some("the table is being changed"));
        bulk.resume().await.unwrap();
        for call in waiting {
            call_of(call.await.unwrap());
        }
        let said: Vec<_> = facts(&mut heard)
            .into_iter()
            .filter_map(|fact| match fact {
                Fact::LimitsChanged { lane, what, .. } => Some(format!("{} {what}", lane.unwrap())),
                _ => None,
            })
            .collect();
        assert_eq!(said, ["bulk paused: the table is being changed", "bulk resumed"]);
        turn().await;
        at_rest(&mainstay);
    });
}

#[test]
fn limits_are_changed_while_calls_run_and_whoever_lowers_one_waits_for_nobody() {
    paused(async {
        let wire = Wire::usually(after(200, 10));
        let mainstay = start([clay(&wire)]).await;
        let (bulk, gate) = (mainstay.lane("clay", "bulk").unwrap(), mainstay.gate("clay").unwrap());
        bulk.resize(4).await.unwrap();
        let calls: Vec<_> = (0..8).map(|n| begin(&mainstay, row(n).lane("bulk"))).collect();
        turn().await;
        assert_eq!(wire.count(), 4);
        let began = now();
        bulk.resize(1).await.unwrap();
        gate.resize(2).await.unwrap();
        assert_eq!(now(), began);
        tokio::time::sleep(s(15)).await;
        assert_eq!(wire.count(), 5, "four are back, and one may run");
        gate.set_rate(Some(Rate { per_second: 0.01, burst: 1 })).await.unwrap();
        bulk.resize(10).await.unwrap();
        tokio::time::sleep(s(15)).await;
        assert_eq!(wire.count(), 6, "one token");
        gate.set_rate(None).await.unwrap();
        for call in calls {
            call_of(call.await.unwrap());
        }
        assert_eq!(wire.most_in_flight(), 4);
        turn().await;
        at_rest(&mainstay);
    });
}

#[test]
fn a_control_names_what_is_unknown_or_out_of_range() {
    paused(async {
        let mainstay = start([clay(&Wire::usually(ok(200)))]).await;
        let error = mainstay.lane("clay", "vip").err().unwrap();
        assert_eq!(error.to_string(), r#"unknown lane "vip"; known: bulk, critical, normal"#);
        assert_eq!(mainstay.gate("hubspot").err().unwrap().to_string(), r#"unknown vendor "hubspot"; known: clay"#);
        let error = mainstay.lane("clay", "bulk").unwrap().resize(0).await.unwrap_err();
        assert!(matches!(error, ControlError::Change(_)), "{error:?}");
        assert_eq!(error.to_string(), "concurrency: 0 is not within 1..=1024");
    });
}

#[test]
fn a_change_survives_the_crash_of_its_actor_and_is_asked_again_when_it_was_in_hand() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        let chaos = panics_at("clay/lane/bulk", "LaneChange", Some(2));
        let mainstay = builder().hazard(chaos).vendor(clay(&wire)).start().await.unwrap().handle();
        mainstay.lane("clay", "bulk").unwrap().resize(7).await.unwrap();
        let snapshot = mainstay.snapshot();
        let lanes = &snapshot.vendors["clay"].lanes;
        assert_eq!(lanes.iter().find(|lane| lane.lane.as_str() == "bulk").unwrap().concurrency, 7);
        assert_eq!(snapshot.tree.totals.panics, 2);
    });
}

#[test]
fn a_control_of_an_actor_that_is_down_says_so() {
    paused(async {
        let chaos = panics_at("clay/gate", "GateChange", None);
        let mainstay = builder().hazard(chaos).vendor(clay(&Wire::usually(ok(200)))).start().await.unwrap().handle();
        let gate = mainstay.gate("clay").unwrap();
        while !matches!(gate.resume().await, Err(ControlError::Lost(lost)) if lost == mainstay::actors::kernel::Lost::Stopped)
        {
        }
    });
}

/// p-queue never ran a low job in two seconds of steady high ones. Here the bound is one of ceil(17 / 2) = 9 starts.
#[test]
fn peers_b9_under_steady_critical_load_a_bulk_call_runs_within_its_stated_bound() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        let mainstay = start([clay(&wire).with(|config| config.gate.cap = 1)]).await;
        let critical = |n| begin(&mainstay, row(n).lane("critical"));
        let mut load: Vec<_> = (0..20).map(critical).collect();
        turn().await;
        let bulk = begin(&mainstay, row(1_000).lane("bulk"));
        turn().await;
        let before = wire.count();
        while !bulk.is_finished() {
            tokio::time::sleep(s(1)).await;
            load.push(critical(load.len()));
        }
        let at = wire.seen().iter().position(|seen| seen.body["lead_id"] == 1_000).unwrap();
        assert!(at - before < 9, "{} starts went before it", at - before);
        load.iter().for_each(tokio::task::JoinHandle::abort);
    });
}
