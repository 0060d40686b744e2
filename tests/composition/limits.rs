//! Breaker, lanes, gate and budget against each other.

use super::*;

#[test]
fn an_opening_breaker_refuses_whoever_waits_at_once_and_takes_nothing_from_them() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        wire.then([after(500, 1), after(200, 2)]);
        let mainstay = start([touchy(clay(&wire))]).await;
        let began = now();
        let all: Vec<_> = (0..12).map(|n| begin(&mainstay, row(n).without_fallback().lane("bulk"))).collect();
        let mut refused = 0;
        for call in all {
            match call.await.unwrap() {
                Err(CallError::Refused(refusal)) => {
                    assert_eq!(refusal.by, Guard::Breaker, "{refusal}");
                    assert!(refusal.retry_at.is_some_and(|at| at > now()), "{refusal}");
                    refused += 1;
                }
                Err(CallError::Unknown { .. }) | Ok(Answer::Delivered(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((refused, wire.count()), (10, 2));
        assert!(now() - began < Duration::from_millis(2_100), "nobody waits for a dead vendor");
        turn().await;
        at_rest(&mainstay);
        assert_eq!(money(&mainstay, "clay"), whole(0, 12), "one was taken on, one may have been");
    });
}

#[test]
fn a_full_lane_refuses_refunds_nothing_and_doubles_nothing() {
    paused(async {
        let wire = Wire::usually(after(200, 1));
        let config = one_at_a_time(clay(&wire)).with(|config| config.lanes.iter_mut().for_each(|l| l.queue_max = 1));
        let mainstay = start([config]).await;
        let all: Vec<_> = (0..5).map(|n| begin(&mainstay, row(n).without_fallback())).collect();
        turn().await;
        assert_eq!(money(&mainstay, "clay"), whole(0, 6), "who waits in a lane has reserved nothing");
        let mut full = 0;
        for call in all {
            match call.await.unwrap() {
                Ok(Answer::Delivered(_)) => {}
                other => {
                    let refusal = refusal_of(other);
                    assert!(matches!(refusal.reason, Reason::Full { held: 1, limit: 1, .. }), "{refusal}");
                    full += 1;
                }
            }
        }
        turn().await;
        assert_eq!((full, wire.count(), wire.most_in_flight()), (3, 2, 1));
        assert_eq!(money(&mainstay, "clay"), whole(0, 12));
        assert_eq!(mainstay.snapshot().calls.refused, 3);
        at_rest(&mainstay);
    });
}

#[test]
fn a_call_over_the_budget_waits_on_disk_for_the_next_day_and_is_done_then() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire).daily_limit(Credits::whole(12))]).await;
        for n in 0..2 {
            mainstay.call(row(n)).await.unwrap();
        }
        let answer = mainstay.call(row(2)).await.unwrap();
        let Answer::Queued { due, .. } = &answer else { panic!("{answer:?}") };
        assert_eq!(due.to_string(), "2026-11-25T00:00:00Z");
        let refusal = refusal_of(mainstay.call(row(3).without_fallback()).await);
        assert_eq!(refusal.by, Guard::Budget);
        let wait = refusal.retry_after(now()).unwrap();
        assert!(wait > s(12 * 3600 - 60) && wait <= s(12 * 3600), "{wait:?}");
        tokio::time::sleep(s(12 * 3600 - 60)).await;
        assert_eq!(wire.count(), 2);
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 3).await;
        assert_eq!((snapshot.calls.queued, wire.count()), (0, 3));
    });
}

#[test]
fn an_account_the_vendor_calls_used_up_is_left_alone_until_its_reset() {
    paused(async {
        let wire = Wire::usually(ok(200));
        wire.then([after(402, 1)]);
        let mainstay = start([clay(&wire)]).await;
        letter_of(mainstay.call(row(0)).await);
        let refusal = refusal_of(mainstay.call(row(1).without_fallback()).await);
        assert!(matches!(refusal.reason, Reason::VendorExhausted), "{refusal}");
        tokio::time::sleep(s(11 * 3600)).await;
        assert_eq!(wire.count(), 1);
        assert_eq!(money(&mainstay, "clay"), whole(0, 0));
        tokio::time::sleep(s(3600)).await;
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((snapshot.calls.queued, wire.count()), (0, 2));
    });
}
