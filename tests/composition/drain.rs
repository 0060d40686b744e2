//! Calls that wait for their vendor: done in order, at a pace, through all guards, each vendor's by themselves.

use std::time::Instant;

use super::*;

/// A breaker that opens at the first failure, for half a minute.
fn brief(config: VendorConfig) -> VendorConfig {
    let streak = StreakTrip { failures: 1, open_for: s(30), ..StreakTrip::default() };
    config.with(|config| config.breaker.streak = Some(streak))
}

/// Calls 1 to `n` are queued behind a breaker that call 0 opened.
async fn queued(mainstay: &Handle, wire: &Wire, n: usize) {
    wire.now_usually(Reply::Fail(WireFault::Connect, s(1)));
    for n in 0..=n {
        assert_eq!(mainstay.call(row(n)).await.unwrap().source(), Source::Queue);
    }
    assert_eq!(wire.count(), 1, "the others were denied");
}

/// Which leads the vendor saw, and when, without the one that opened the breaker.
fn seen(wire: &Wire) -> Vec<(u64, Instant)> {
    wire.seen().iter().skip(1).map(|seen| (seen.body["lead_id"].as_u64().unwrap(), seen.at)).collect()
}

#[test]
fn a_queue_is_drained_in_its_order_at_its_pace_when_the_vendor_is_back() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([brief(clay(&wire))]).await;
        queued(&mainstay, &wire, 5).await;
        wire.now_usually(ok(200));
        until(&mainstay, |snapshot| snapshot.calls.delivered == 6).await;
        let seen = seen(&wire);
        assert_eq!(seen.iter().map(|(lead, _)| *lead).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        for pair in seen.windows(2) {
            let pause = (pair[1].1 - pair[0].1).as_millis();
            assert!((200..300).contains(&pause), "{pause} ms between {} and {}", pair[0].0, pair[1].0);
        }
        assert_eq!(money(&mainstay, "clay"), whole(0, 36), "they pay like everybody else");
        at_rest(&mainstay);
    });
}

#[test]
fn an_open_breaker_stops_the_drain_until_its_probe_and_no_letter_finds_out_for_itself() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([brief(clay(&wire))]).await;
        queued(&mainstay, &wire, 20).await;
        let mut heard = mainstay.subscribe();
        tokio::time::sleep(s(120)).await;
        let probes = wire.count() - 1;
        assert!((2..=4).contains(&probes), "one probe an open time: {probes}");
        let refused = facts(&mut heard).iter().filter(|fact| matches!(fact, Fact::Refused { .. })).count();
        assert!(refused <= 2 * probes, "{refused} letters were refused in the time of {probes} probes");
        assert_eq!(mainstay.snapshot().calls.queued, 21);
        wire.now_usually(ok(200));
        until(&mainstay, |snapshot| snapshot.calls.delivered == 21).await;
        at_rest(&mainstay);
    });
}

#[test]
fn a_poison_call_at_the_head_lets_those_behind_it_pass_and_is_given_up() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([brief(clay(&wire))]).await;
        queued(&mainstay, &wire, 3).await;
        wire.now_usually(ok(200));
        wire.then([after(400, 0)]);
        until(&mainstay, |snapshot| snapshot.calls.delivered == 3 && snapshot.parked.given_up == 1).await;
        tokio::time::sleep(s(3600)).await;
        assert_eq!(wire.count(), 5, "nobody tries the poison again");
    });
}

#[test]
fn a_vendor_that_is_away_does_not_hold_up_the_queue_of_another() {
    paused(async {
        let (away, back) = (Wire::default(), Wire::default());
        let hubspot = VendorConfig::clay("hubspot", Clay::table("https://hubspot.test/hook"));
        let hubspot = hubspot.daily_limit(Credits::whole(1_000)).transport(back.clone());
        let hubspot = brief(hubspot.with(|config| config.gate.rate = None));
        let mainstay = start([brief(clay(&away)), hubspot]).await;
        queued(&mainstay, &away, 10).await;
        back.now_usually(Reply::Fail(WireFault::Connect, s(1)));
        for n in 0..4 {
            mainstay.call(Call::new("hubspot", "push-row", lead(n))).await.unwrap();
        }
        // One black hole, one that is well again.
        away.now_usually(Reply::Hang);
        back.now_usually(ok(200));
        let began = now();
        until(&mainstay, |snapshot| snapshot.vendors["hubspot"].calls.delivered == 4).await;
        assert!(now() - began < s(40), "an open time and the pace: {:?}", now() - began);
    });
}

#[test]
fn a_vendor_that_is_revived_is_drained_at_once() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let chaos = panics_at("clay/breaker", "ticket", Some(1));
        let builder = builder().vendor(clay(&wire)).hazard(chaos);
        let builder = builder.with(|runtime| runtime.child.intensity.max_restarts = 0);
        let mainstay = builder.start().await.unwrap().handle();
        let receipt = mainstay.submit(row(0).deadline(s(5))).await.unwrap();
        until(&mainstay, |snapshot| snapshot.vendors["clay"].down.is_some()).await;
        for n in 1..4 {
            assert_eq!(mainstay.call(row(n)).await.unwrap().source(), Source::Queue);
        }
        receipt.outcome().await.unwrap();
        let mut heard = mainstay.subscribe();
        tokio::time::sleep(s(40)).await;
        let refused = facts(&mut heard).iter().filter(|fact| matches!(fact, Fact::Refused { .. })).count();
        assert!(refused <= 1, "one letter finds the vendor down for all: {refused}");
        mainstay.revive("clay").unwrap();
        let began = now();
        until(&mainstay, |snapshot| snapshot.calls.delivered >= 3).await;
        assert!(now() - began < s(2), "those that were due did not wait for the hold to end");
        until(&mainstay, |snapshot| snapshot.calls.delivered == 4).await;
    });
}
