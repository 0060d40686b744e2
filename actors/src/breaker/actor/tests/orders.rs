//! What an operator orders, as the actor does and states it.

use super::*;

fn drill(seconds: u32) -> Order {
    Order::new(seconds * SECOND, "a drill, Ana").unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_order_is_shown_outlives_a_crash_and_ends_by_the_timer_and_each_is_stated_once() {
    local(async {
        let mut house = House::build(100);
        let order = Control::ForceOpen(drill(60));
        assert_eq!(ask(house.vault.address(), order).await, Ok(Ok(BreakerState::Closed)));
        house.strikes.arm("ticket", 1);
        let _killed = house.send();
        house.quiet().await;
        assert!(matches!(house.refused().await.reason, Reason::BreakerOpen { .. }));
        house.quiet().await;
        let shown = house.shown.get();
        assert_eq!((shown.mode, shown.mode_reason.as_deref()), (BreakerMode::ForcedOpen, Some("a drill, Ana")));
        assert!(shown.mode_until.is_some() && shown.retry_at.is_some());
        tokio::time::sleep(60 * SECOND).await;
        house.end(Class::Success).await;
        let expected = [
            "forced open: a drill, Ana",
            "closed -> open: forced open for 60 s: a drill, Ana",
            "automatic: the operator's order ended",
            "open -> half-open: the operator's order ended",
            "half-open -> closed: a probe succeeded",
        ];
        assert_eq!(house.facts.changes(), expected);
        assert_eq!((house.shown.get().mode, house.shown.get().mode_until), (BreakerMode::Automatic, None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_it_only_counts_calls_pass_and_it_is_stated_once_that_it_would_have_opened() {
    local(async {
        let mut house = House::build(100);
        ask(house.vault.address(), Control::MetricsOnly(drill(600))).await.unwrap().unwrap();
        for _ in 0..12 {
            house.end(Class::Server).await;
        }
        let expected =
            ["counting only: a drill, Ana", "would open: 4 of 4 calls failed (100 %, limit 50 %) within 240 s"];
        assert_eq!(house.facts.changes(), expected);
        assert_eq!((house.shown.get().state, house.shown.get().refused_total), (BreakerState::Closed, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_close_it() {
    local(async {
        let mut house = House::build(100);
        house.open().await;
        assert_eq!(ask(house.vault.address(), Control::Reset).await, Ok(Ok(BreakerState::Open)));
        house.end(Class::Success).await;
        assert_eq!(house.facts.changes().last().unwrap(), "open -> closed: reset by an operator");
    })
    .await;
}
