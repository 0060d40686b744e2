//! Panics and restarts at any moment: the period, its places and its probes are kept.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_panic_with_a_ticket_in_hand_changes_nothing_and_keeps_the_others() {
    local(async {
        let mut house = House::build(100);
        for _ in 0..3 {
            house.end(Class::Server).await;
        }
        let before = house.shown.get();
        house.strikes.arm("ticket", 1);
        let (_, lost) = house.send();
        let (_flight, _kept) = house.send();
        assert!(matches!(lost.await.unwrap(), Reply::Abandoned { at: Guard::Breaker }));
        house.passed.recv().await.unwrap().settle(Outcome::without_answer(Class::Server, Effect::None, ""));
        house.quiet().await;
        assert_eq!(house.vault.status().restarts, 1);
        let after = house.shown.get();
        assert_eq!((after.state, after.admitted_total), (BreakerState::Open, before.admitted_total + 1));
        assert_eq!(house.facts.changes().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_report_delivers_it_again_and_it_counts_once() {
    local(async {
        let mut house = House::build(100);
        house.strikes.arm("report", 2);
        house.end(Class::Server).await;
        assert_eq!(house.vault.status().restarts, 2);
        assert_eq!((house.shown.get().calls, house.shown.get().failures), (1, 1));
        assert_eq!(house.overseer.reports_set_aside(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_report_was_set_aside_does_not_wedge_it() {
    local(async {
        let mut house = House::build(100);
        house.half_open().await;
        house.strikes.arm("report", 3);
        house.end(Class::Success).await;
        assert_eq!(house.overseer.reports_set_aside(), 1);
        assert_eq!((house.shown.get().state, house.shown.get().probes_in_flight), (BreakerState::HalfOpen, 1));
        tokio::time::sleep(90 * SECOND).await;
        house.end(Class::Success).await;
        assert_eq!(house.shown.get().state, BreakerState::Closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_timer_or_a_restart_in_half_open_loses_neither_timer_nor_probe() {
    local(async {
        let mut house = House::build(100);
        house.strikes.arm("deadline", 1);
        house.half_open().await;
        let probe = house.through().await;
        let before = house.shown.get();
        house.vault.launch();
        house.quiet().await;
        let refusal = house.refused().await;
        assert_eq!(refusal.reason, Reason::Probing { probes: 1, limit: 1 });
        house.quiet().await;
        let after = house.shown.get();
        assert_eq!((after.generation, after.since, after.probes_in_flight), (before.generation, before.since, 1));
        probe.settle(Outcome::without_answer(Class::Success, Effect::Done, ""));
        house.quiet().await;
        assert_eq!(house.shown.get().state, BreakerState::Closed);
        assert_eq!((house.facts.changes().len(), house.vault.status().restarts), (3, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn peers_b17_killed_in_half_open_it_knows_its_period_and_its_probe_and_ignores_the_one_it_disowned() {
    local(async {
        let mut house = House::build(100);
        house.half_open().await;
        let orphan = house.through().await;
        let before = house.shown.get();
        house.strikes.arm("ticket", 1);
        let (_, killed) = house.send();
        assert!(matches!(killed.await.unwrap(), Reply::Abandoned { .. }));
        house.quiet().await;
        assert_eq!(house.vault.status().restarts, 1);
        let after = house.shown.get();
        assert_eq!((after.state, after.generation, after.since), (before.state, before.generation, before.since));
        assert_eq!(house.refused().await.reason, Reason::Probing { probes: 1, limit: 1 });
        tokio::time::sleep(60 * SECOND).await;
        house.quiet().await;
        assert_eq!(house.shown.get().state, BreakerState::Open, "the lease of before the crash");
        tokio::time::sleep(30 * SECOND).await;
        let probe = house.through().await;
        orphan.settle(Outcome::without_answer(Class::Success, Effect::Done, ""));
        house.quiet().await;
        assert_eq!((house.shown.get().state, house.shown.get().probes_in_flight), (BreakerState::HalfOpen, 1));
        probe.settle(Outcome::without_answer(Class::Success, Effect::Done, ""));
        house.quiet().await;
        assert_eq!(house.shown.get().state, BreakerState::Closed);
    })
    .await;
}
