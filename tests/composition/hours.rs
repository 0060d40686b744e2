//! When an effect may begin: its hours and its expiry hold wherever a call waits. These calendars begin on Tuesday, at noon UTC.

use jiff::Timestamp;
use mainstay::actors::hours::{Day, Hours};

use super::*;

fn utc(from: &str, until: &str) -> Hours {
    Hours::between("UTC", from, until).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Clay, whose rows may begin only then.
fn clay_open(wire: &Wire, hours: Hours) -> VendorConfig {
    clay(wire).with(|config| {
        let operations = config.profile.as_mut().unwrap().operations.values_mut();
        operations.for_each(|operation| operation.hours = Some(hours.clone()));
    })
}

fn due_of(answer: Result<Answer, CallError>) -> Timestamp {
    match answer {
        Ok(Answer::Queued { due, .. }) => due,
        other => panic!("{other:?}"),
    }
}

fn outside(refusal: &mainstay::Refusal) {
    assert!(matches!(refusal.reason, Reason::OutsideHours { .. }), "{refusal}");
}

#[test]
fn outside_of_its_hours_a_call_is_refused_with_the_next_opening_or_queued_until_it() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let hours = utc("08:00", "11:00").on(Day::WORKDAYS);
        let mainstay = start([clay_open(&wire, hours)]).await;
        let refusal = refusal_of(mainstay.call(row(0).on_denied(OnDenied::Refuse)).await);
        outside(&refusal);
        assert!(refusal.to_string().contains("08:00 to 11:00 in UTC, mon tue wed thu fri"), "{refusal}");
        assert_eq!(refusal.retry_after(now()).unwrap().as_secs().div_ceil(60), 20 * 60);
        assert_eq!(due_of(mainstay.call(row(1)).await), at("2026-11-25T08:00:00Z"));
        tokio::time::sleep(s(20 * 3600 - 60)).await;
        assert_eq!(wire.count(), 0);
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert!(snapshot.at >= at("2026-11-25T08:00:00Z"), "{}", snapshot.at);
        at_rest(&mainstay);
    });
}

#[test]
fn a_calls_own_hours_stand_in_place_of_the_operations() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay_open(&wire, utc("08:00", "11:00"))]).await;
        // 13:00 in Berlin, 7:00 in New York.
        let there = |zone| Hours::between(zone, "09:00", "17:00").unwrap();
        call_of(mainstay.call(row(0).hours(there("Europe/Berlin"))).await);
        let due = due_of(mainstay.call(row(1).hours(there("America/New_York"))).await);
        assert_eq!(due, at("2026-11-24T14:00:00Z"));
        let wrong = refusal_of(mainstay.call(row(2).hours(there("Mars/Olympus"))).await);
        assert!(matches!(&wrong.reason, Reason::BadField { field, .. } if field == "hours.time_zone"), "{wrong}");
    });
}

/// A call whose time to begin is over in five seconds: by its hours, or for good.
fn soon_over() -> [(Call, bool); 2] {
    let call = row(1).on_denied(OnDenied::Refuse);
    [(call.clone().hours(utc("09:00", "12:00:05")), true), (call.expires_at(at("2026-11-24T12:00:05Z")), false)]
}

fn says_so(refusal: &mainstay::Refusal, by_hours: bool) {
    match by_hours {
        true => outside(refusal),
        false => assert!(matches!(refusal.reason, Reason::Expired), "{refusal}"),
    }
    assert_eq!(refusal.retry_at.is_some(), by_hours, "{refusal}");
}

#[test]
fn who_waits_in_a_lane_until_its_time_is_over_does_not_begin_and_hears_so_at_once() {
    paused(async {
        for (call, by_hours) in soon_over() {
            let wire = Wire::usually(after(200, 9));
            let mainstay = start([one_at_a_time(clay(&wire))]).await;
            let first = begin(&mainstay, row(0));
            turn().await;
            let began = now();
            says_so(&refusal_of(mainstay.call(call).await), by_hours);
            assert_eq!((now() - began).as_secs(), 5);
            call_of(first.await.unwrap());
            assert_eq!(wire.count(), 1);
        }
    });
}

#[test]
fn who_waits_at_the_gate_until_its_time_is_over_does_not_begin() {
    paused(async {
        for (call, by_hours) in soon_over() {
            let wire = Wire::usually(after(200, 9));
            let mainstay = start([clay(&wire).with(|config| config.gate.cap = 1)]).await;
            let first = begin(&mainstay, row(0));
            turn().await;
            let waiting = begin(&mainstay, call);
            turn().await;
            assert_eq!(mainstay.snapshot().vendors["clay"].gate.waiting[1].waiting, 1);
            says_so(&refusal_of(waiting.await.unwrap()), by_hours);
            call_of(first.await.unwrap());
            assert_eq!(wire.count(), 1);
        }
    });
}

#[test]
fn a_call_is_not_tried_again_when_its_time_is_over_in_the_pause() {
    paused(async {
        for (call, by_hours) in soon_over() {
            let wire = Wire::usually(ok(200));
            wire.then([Reply::Busy(429, 7)]);
            let mainstay = start([clay(&wire)]).await;
            says_so(&refusal_of(mainstay.call(call).await), by_hours);
            tokio::time::sleep(s(60)).await;
            assert_eq!(wire.count(), 1);
        }
    });
}

#[test]
fn a_queued_call_whose_vendor_comes_back_at_night_waits_for_the_morning() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(0)));
        let mainstay = start([clay_open(&wire, utc("08:00", "13:00"))]).await;
        // Half an hour before closing the vendor asks to come back in an hour.
        tokio::time::sleep(s(1_800)).await;
        wire.now_usually(Reply::Busy(503, 3_600));
        assert_eq!(due_of(mainstay.call(row(0)).await), at("2026-11-25T08:00:00Z"));
        wire.now_usually(ok(200));
        tokio::time::sleep(s(19 * 3600 + 29 * 60)).await;
        assert_eq!(wire.count(), 1, "not at night, whenever the vendor is back");
        until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert!(mainstay.snapshot().at >= at("2026-11-25T08:00:00Z"));
    });
}

#[test]
fn a_replay_at_night_puts_the_call_off_until_the_morning_and_counts_no_attempt() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(0)));
        let mainstay = start([retell(&wire)]).await;
        letter_of(mainstay.call(ring("a").hours(utc("08:00", "20:00"))).await);
        let tried = wire.count();
        wire.now_usually(ok(201));
        tokio::time::sleep(s(9 * 3600)).await;
        let letters = mainstay.dead_letters();
        letters.replay(Filter::kind(Kind::Dead)).run().await.unwrap();
        assert_eq!(wire.count(), tried, "no phone rings at 9 in the evening");
        let parked = letters.list(Filter::default(), None).await.unwrap().letters.remove(0);
        assert_eq!((parked.state.due, parked.state.attempts), (Some(at("2026-11-25T08:00:00Z")), 0));
        tokio::time::sleep(s(11 * 3600 - 120)).await;
        assert_eq!(wire.count(), tried);
        until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert!(mainstay.snapshot().at >= at("2026-11-25T08:00:00Z"));
    });
}

#[test]
fn a_dead_letter_that_expired_is_not_done_by_a_replay() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(0)));
        let mainstay = start([retell(&wire)]).await;
        letter_of(mainstay.call(ring("a").expires_at(at("2026-11-24T13:00:00Z"))).await);
        let tried = wire.count();
        wire.now_usually(ok(201));
        tokio::time::sleep(s(3_600)).await;
        mainstay.dead_letters().replay(Filter::kind(Kind::Dead)).run().await.unwrap();
        tokio::time::sleep(s(2 * 3_600)).await;
        assert_eq!((wire.count(), mainstay.snapshot().calls.dead_lettered), (tried, 1));
    });
}
