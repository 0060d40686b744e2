//! The breaker among the other guards, and in an operator's hands.

use mainstay::{
    ControlError,
    actors::{
        breaker::{BreakerConfig, RateTrip, Window},
        fact::{BreakerMode, BreakerState},
    },
};

use super::*;

/// Half of at least 5 of the last 100 calls opens for 30 s.
fn of_five(config: VendorConfig) -> VendorConfig {
    config.with(|config| {
        let rate = RateTrip { minimum_calls: 5, window: Window::Count(100), ..RateTrip::default() };
        config.breaker = BreakerConfig { rate: Some(rate), streak: None, ..config.breaker.clone() };
    })
}

#[test]
fn peers_b7_answers_from_the_cache_neither_thin_out_the_rate_nor_heal_it() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([of_five(clay(&wire)).cache_by("/domain")]).await;
        let clay = mainstay.breaker("clay").unwrap();
        let call = call_of(mainstay.call(row(1)).await);
        let answer = Completion::happened(Credits::whole(6)).with_answer(json!({ "employees": 42 }));
        mainstay.complete(call, answer).await.unwrap();
        clay.force_open(s(60), "a drill, Ana").await.unwrap();
        for n in 0..60 {
            let asked = Call::new("clay", "push-row", json!({ "lead_id": 100 + n, "domain": "company1.example" }));
            assert!(matches!(mainstay.call(asked).await, Ok(Answer::Cached { .. })));
        }
        clay.reset().await.unwrap();
        wire.now_usually(after(500, 0));
        for n in 2..6 {
            mainstay.call(row(n).without_fallback()).await.unwrap_err();
        }
        assert_eq!((clay.state(), clay.snapshot().calls), (BreakerState::Closed, 4));
        mainstay.call(row(6).without_fallback()).await.unwrap_err();
        assert_eq!((clay.state(), wire.count()), (BreakerState::Open, 6));
    });
}

#[test]
fn peers_b13_a_vendor_that_asks_for_two_minutes_is_left_alone_for_two_minutes() {
    paused(async {
        let wire = Wire::usually(Reply::Busy(503, 120));
        let mainstay = start([of_five(clay(&wire))]).await;
        for n in 0..5 {
            mainstay.call(row(n).without_fallback().deadline(s(5))).await.unwrap_err();
        }
        turn().await;
        let (clay, opened, sent) = (mainstay.breaker("clay").unwrap(), now(), wire.count());
        assert_eq!((clay.state(), sent), (BreakerState::Open, 5));
        wire.now_usually(ok(200));
        tokio::time::sleep(Duration::from_millis(119_900)).await;
        let refusal = refusal_of(mainstay.call(row(6).without_fallback()).await);
        assert_eq!(refusal.retry_at, Some(opened + s(120)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        call_of(mainstay.call(row(7)).await);
        assert_eq!((clay.state(), wire.count()), (BreakerState::Closed, sent + 1));
    });
}

#[test]
fn an_operator_holds_a_breaker_open_sees_it_and_lets_it_go() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire), retell(&wire)]).await;
        let clay = mainstay.breaker("clay").unwrap();
        assert_eq!(clay.force_open(s(3_600), "Clay's maintenance, Ana").await, Ok(BreakerState::Closed));
        let shown = clay.snapshot();
        assert_eq!((clay.state(), shown.mode), (BreakerState::Open, BreakerMode::ForcedOpen));
        assert_eq!(shown.mode_reason.as_deref(), Some("Clay's maintenance, Ana"));
        let refusal = refusal_of(mainstay.call(row(1).without_fallback()).await);
        assert!(refusal.to_string().contains("Clay's maintenance, Ana"), "{refusal}");
        assert_eq!(refusal.retry_after(now()), Some(s(3_600)));
        call_of(mainstay.call(ring("elsewhere")).await);
        assert_eq!(clay.automatic().await, Ok(BreakerState::Open));
        call_of(mainstay.call(row(2)).await);
        assert_eq!((clay.state(), clay.snapshot().mode), (BreakerState::Closed, BreakerMode::Automatic));
    });
}

#[test]
fn an_order_to_hold_open_what_is_open_already_is_what_callers_hear() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire)]).await;
        let clay = mainstay.breaker("clay").unwrap();
        clay.force_open(s(30), "a drill, Ana").await.unwrap();
        clay.force_open(s(3_600), "Clay's maintenance, Ana").await.unwrap();
        let refusal = refusal_of(mainstay.call(row(1).without_fallback()).await);
        assert!(refusal.to_string().contains("Clay's maintenance, Ana"), "{refusal}");
        assert_eq!((refusal.retry_after(now()), clay.snapshot().opened_total), (Some(s(3_600)), 1));
    });
}

#[test]
fn a_lane_whose_mailbox_is_full_hears_all_the_same_that_a_forced_opening_ended() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let builder = builder().with(|runtime| runtime.mailbox_max = 1).vendor(clay(&wire));
        let mainstay = builder.start().await.unwrap().handle();
        let clay = mainstay.breaker("clay").unwrap();
        for later in 0..20 {
            clay.force_open(s(24 * 3_600), "a drill, Ana").await.unwrap();
            turn().await;
            let flood: Vec<_> = (1..50).map(|n| begin(&mainstay, row(100 * later + n).without_fallback())).collect();
            let of_task = clay.clone();
            let automatic = tokio::task::spawn_local(async move {
                // Among so many moments is one at which a call is in the lane's mailbox.
                for _ in 0..later {
                    tokio::task::yield_now().await;
                }
                of_task.automatic().await
            });
            automatic.await.unwrap().unwrap();
            for call in flood {
                // Refused, or the probe.
                let _ = call.await.unwrap();
            }
            turn().await;
            call_of(mainstay.call(row(100 * later).without_fallback()).await);
        }
    });
}

#[test]
fn an_order_that_is_none_and_a_breaker_that_is_down_are_said_so() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire)]).await;
        let clay = mainstay.breaker("clay").unwrap();
        let error = clay.force_closed(s(90_000), "for ever").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "90000s is not within 1ms..=24h: an order has an end, and is given again if it must go on"
        );
        assert!(matches!(clay.metrics_only(s(60), " ").await, Err(ControlError::Order(_))));
        assert_eq!(mainstay.breaker("nobody").unwrap_err().to_string(), "unknown vendor \"nobody\"; known: clay");
        mainstay.shutdown(s(1)).await;
        assert!(matches!(clay.reset().await, Err(ControlError::Lost(_))));
    });
}
