//! Guards by themselves, around work that is no vendor's operation.

use mainstay::{
    Admission, Class, Failed, Guards, GuardsBuilder, GuardsError, Placement, StartError,
    actors::{
        breaker::BreakerConfig,
        budget::BudgetConfig,
        bulkhead::{GateConfig, patterns_lanes},
        fact::BreakerState,
    },
};

use super::*;

fn guards() -> GuardsBuilder {
    Guards::named("mailer").with(|runtime| runtime.placement = Placement::Local)
}

fn five_in_a_row() -> BreakerConfig {
    BreakerConfig { rate: None, jitter: 0.0, ..BreakerConfig::credit(s(30)) }
}

async fn fails(guards: &Guards) -> Result<(), GuardsError> {
    guards.run(async { Err(Failed::before_effect(Class::Server, "down")) }).await
}

#[test]
fn a_breaker_alone_opens_refuses_and_closes_again() {
    paused(async {
        let guards = guards().breaker(five_in_a_row()).start().unwrap();
        for _ in 0..5 {
            assert!(matches!(fails(&guards).await, Err(GuardsError::Failed(_))));
        }
        let Err(GuardsError::Refused(refusal)) = fails(&guards).await else { panic!("not refused") };
        assert!(refusal.by == Guard::Breaker && refusal.retry_at.is_some());
        tokio::time::sleep(s(15 * 60)).await;
        guards.run(async { Ok::<_, Failed>(()) }).await.unwrap();
        turn().await;
        let snapshot = guards.snapshot();
        assert_eq!(snapshot.breaker.unwrap().state, BreakerState::Closed);
        assert!(snapshot.budget.is_none() && snapshot.gate.is_none() && snapshot.lanes.is_empty());
    });
}

#[test]
fn a_budget_alone_lets_through_what_the_limit_allows_however_many_ask_at_once() {
    paused(async {
        let guards = guards().budget(BudgetConfig::per_day(Credits::whole(500))).start().unwrap();
        let six = || Admission::default().estimate(Credits::whole(6));
        let asked = (0..1_000).map(|_| guards.enter(six()));
        let passes: Vec<_> = futures_util::future::join_all(asked).await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(passes.len(), 83);
        for (n, pass) in passes.into_iter().enumerate() {
            // Half are used and cost 5, half are given back.
            if n % 2 == 0 { pass.done(Credits::whole(5)) } else { drop(pass) }
        }
        turn().await;
        let budget = guards.snapshot().budget.unwrap();
        assert_eq!((budget.settled, budget.reserved), whole(42 * 5, 0));
    });
}

#[test]
fn lanes_alone_run_as_many_as_they_may_and_a_waiter_that_goes_away_leaves_its_place() {
    paused(async {
        let guards = guards().lanes(patterns_lanes()).start().unwrap();
        let bulk = || guards.enter(Admission::default().lane("bulk"));
        let (first, second) = (bulk().await.unwrap(), bulk().await.unwrap());
        let gone = tokio::time::timeout(s(1), bulk()).await;
        assert!(gone.is_err());
        let critical = guards.enter(Admission::default().lane("critical")).await.unwrap();
        let mut waits = Box::pin(bulk());
        assert!(tokio::time::timeout(s(1), &mut waits).await.is_err());
        drop(first);
        let third = waits.await.unwrap();
        drop((second, third, critical));
        turn().await;
        assert!(guards.snapshot().lanes.iter().all(|lane| (lane.running, lane.queued) == (0, 0)));
        let refused = guards.enter(Admission::default().lane("express")).await.unwrap_err();
        assert!(refused.to_string().contains("known: bulk, critical, normal"), "{refused}");
    });
}

#[test]
fn a_gate_alone_is_one_lane_as_wide_as_its_cap() {
    paused(async {
        let guards = guards().gate(GateConfig { cap: 2, ..GateConfig::default() }).start().unwrap();
        let held = (guards.enter(Admission::default()).await, guards.enter(Admission::default()).await);
        let third = Admission::default().wait(s(1));
        let Err(refusal) = guards.enter(third).await else { panic!("a third one passed") };
        assert!(matches!(refusal.reason, Reason::Deadline { .. } | Reason::WaitedTooLong { .. }), "{refusal}");
        drop(held);
    });
}

#[test]
fn peers_b3_a_full_lane_and_healthy_work_leave_the_breaker_closed() {
    paused(async {
        let mut lanes = patterns_lanes();
        lanes.iter_mut().for_each(|lane| (lane.concurrency, lane.queue_max) = (1, 0));
        let guards = guards().lanes(lanes).breaker(BreakerConfig::patterns(s(30))).start().unwrap();
        let work = || {
            guards.run(async {
                tokio::time::sleep(s(1)).await;
                Ok::<_, Failed>(())
            })
        };
        let ended = futures_util::future::join_all((0..100).map(|_| work())).await;
        assert!(ended.iter().any(Result::is_ok) && ended.iter().any(Result::is_err));
        assert_eq!(guards.snapshot().breaker.unwrap().state, BreakerState::Closed);
    });
}

#[test]
fn work_that_is_dropped_while_it_runs_keeps_its_money_and_frees_its_place() {
    paused(async {
        let budget = BudgetConfig::per_day(Credits::whole(10));
        let guards = guards().lanes(patterns_lanes()).budget(budget).start().unwrap();
        let endless =
            guards.run_as(Admission::default().estimate(Credits::whole(6)), std::future::pending::<Result<(), _>>());
        assert!(tokio::time::timeout(s(1), endless).await.is_err());
        turn().await;
        let snapshot = guards.snapshot();
        assert_eq!(snapshot.budget.unwrap().reserved, Credits::whole(6));
        assert!(snapshot.lanes.iter().all(|lane| lane.running == 0));
    });
}

#[test]
fn a_guard_that_crashes_loses_nobody_who_waits_in_front_of_it() {
    paused(async {
        let chaos = panics_at("mailer/breaker", "ticket", Some(3));
        let guards = guards().breaker(five_in_a_row()).with(|runtime| runtime.hazard = chaos).start().unwrap();
        let work = || guards.run(async { Ok::<_, Failed>(()) });
        let ended = futures_util::future::join_all((0..50).map(|_| work())).await;
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    });
}

#[test]
fn no_guard_a_wrong_name_and_a_wrong_limit_are_all_named() {
    let none = Guards::named("a b").start();
    let Err(StartError::Config(faults)) = none else { panic!() };
    assert_eq!(faults.len(), 2, "{faults:?}");
    let wrong = Guards::named("a").budget(BudgetConfig::default()).gate(GateConfig { cap: 0, ..GateConfig::default() });
    let Err(StartError::Config(faults)) = wrong.start() else { panic!() };
    let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert!(fields.contains(&"budget.daily_limit") && fields.contains(&"gate.cap"), "{fields:?}");
}
