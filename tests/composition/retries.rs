//! Which failed calls are tried again, when, and how many of them.

use mainstay::Because;

use super::*;

fn busy(headers: &[(&str, &str)]) -> Reply {
    Reply::Headers(429, headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

#[test]
fn peers_b13_a_vendor_that_asks_for_two_minutes_is_left_alone_for_two_minutes() {
    paused(async {
        // The calendar of these tests begins at noon.
        for asked in [("retry-after", "120"), ("retry-after", "Tue, 24 Nov 2026 12:02:00 GMT")] {
            let wire = Wire::usually(ok(200));
            wire.then([busy(&[asked])]);
            let mainstay = start([clay(&wire)]).await;
            let answer = mainstay.call(row(0)).await.unwrap();
            assert!(matches!(&answer, Answer::Delivered(delivered) if delivered.attempts == 2), "{answer:?}");
            let pause = wire.seen()[1].at - wire.seen()[0].at;
            assert!(pause >= s(120) && pause < s(121), "{asked:?}: {pause:?}");
        }
    });
}

#[test]
fn a_call_that_the_vendor_puts_off_beyond_its_patience_is_not_waited_for_but_queued_until_then() {
    paused(async {
        let wire = Wire::usually(ok(200));
        wire.then([busy(&[("retry-after", "400")])]);
        let mainstay = start([clay(&wire)]).await;
        let answer = mainstay.call(row(0).deadline(s(3_600))).await.unwrap();
        let Answer::Queued { due, .. } = &answer else { panic!("{answer:?}") };
        assert_eq!(due.to_string(), "2026-11-24T12:06:40Z");
        until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        let pause = wire.seen()[1].at - wire.seen()[0].at;
        assert!(pause >= s(400) && pause < s(402), "{pause:?}");
    });
}

#[test]
fn a_vendor_that_says_not_to_try_again_is_not_asked_again() {
    paused(async {
        let wire = Wire::usually(busy(&[("x-should-retry", "false")]));
        let mainstay = start([retell(&wire)]).await;
        letter_of(mainstay.call(ring("a")).await);
        assert_eq!(wire.count(), 1);
    });
}

/// In failsafe-go the primary's result is returned when the budget of its hedges is used up; so is a call's here.
#[test]
fn peers_30_when_the_retry_budget_is_used_up_a_call_ends_with_what_the_vendor_said() {
    paused(async {
        let wire = Wire::usually(Reply::Answer(503, json!({ "message": "down for repair" }), s(0)));
        // No breaker in the way: it would stop the calls before their retries do.
        let config = clay(&wire).with(|config| {
            config.breaker.streak = Some(StreakTrip { failures: 1_000, ..StreakTrip::default() });
            config.breaker.rate = None;
        });
        let mainstay = start([config]).await;
        let mut heard = mainstay.subscribe();
        let all: Vec<_> = (0..40).map(|n| begin(&mainstay, row(n).without_fallback())).collect();
        let mut said_so = 0;
        for call in all {
            let error = call.await.unwrap().unwrap_err();
            let CallError::DeadLettered { because: Because::Failed { class, status, detail, .. }, .. } = error else {
                panic!("{error:?}")
            };
            assert_eq!((class, status), (Class::Overload, Some(503)), "the vendor's own answer");
            assert!(detail.contains("down for repair"), "{detail}");
            said_so += usize::from(detail.contains("retry budget is used up"));
        }
        assert_eq!(wire.count(), 40 + 8, "20 % of 40");
        assert!(said_so >= 32, "{said_so}");
        let news = facts(&mut heard).into_iter().filter(|fact| matches!(fact, Fact::RetriesSpent { .. })).count();
        let retries = mainstay.snapshot().vendors["clay"].retries;
        assert_eq!((news, retries.granted_total, retries.allowed), (1, 8, 8));
        assert!(retries.denied_total >= 32, "{retries:?}");
        turn().await;
        at_rest(&mainstay);
    });
}
