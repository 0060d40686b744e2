//! Planned accidents: whatever is lost, late or not written, a call is answered, done at most once and paid for.

use std::sync::Arc;

use mainstay::{
    Answer, Call, Snapshot,
    actors::{clock::now, store::StoreState},
    testing::{Action, Chaos, Rule},
};

use crate::support::{Wire, builder, clay, lead, ok, panics_at, paused, phone, retell, s, until};

fn at_first(times: u64, place: &str, action: Action) -> Arc<Chaos> {
    let rule = Rule { actor: place.into(), message: None, probability: 1.0, max: Some(times), action };
    Arc::new(Chaos::seeded(1).rule(rule))
}

fn ring(key: &str) -> Call {
    Call::new("retell", "create-phone-call", phone()).key(key).without_fallback()
}

/// Nothing is held any more, and everything is counted.
fn is_settled(snapshot: &Snapshot) -> bool {
    snapshot.calls.add_up()
        && snapshot.calls.under_way == 0
        && snapshot.vendors.values().all(|vendor| {
            (vendor.budget.reservations, vendor.gate.in_use, vendor.client.under_way) == (0, 0, 0)
                && vendor.lanes.iter().all(|lane| (lane.running, lane.queued) == (0, 0))
        })
}

#[test]
fn a_ticket_that_is_lost_on_its_way_is_sent_again_done_once_and_holds_nothing() {
    for place in ["clay/lane/normal", "clay/gate", "clay/breaker", "clay/budget", "clay/client"] {
        paused(async move {
            let wire = Wire::usually(ok(200));
            let chaos = at_first(1, place, Action::Lose);
            let mainstay = builder().hazard(chaos.clone()).vendor(clay(&wire)).start().await.unwrap().handle();
            let answer = mainstay.call(Call::new("clay", "push-row", lead(1))).await;
            assert!(matches!(answer, Ok(Answer::Delivered(_))), "{place}: {answer:?}");
            assert_eq!((wire.count(), chaos.injected()["lose"][place]), (1, 1), "{place}");
            until(&mainstay, is_settled).await;
            let restarts = mainstay.snapshot().tree.totals.restarts;
            assert_eq!(restarts, 0, "{place}: a lost message is no crash");
        });
    }
}

#[test]
fn while_an_actor_on_its_way_restarts_a_call_waits_and_is_done_once() {
    let restarting = [
        ("clay/keys", "claim"),
        ("clay/lane/normal", "Ticket"),
        ("clay/gate", "Ticket"),
        ("clay/breaker", "ticket"),
        ("clay/budget", "ticket"),
        ("clay/client", "send"),
    ];
    for (actor, message) in restarting {
        paused(async move {
            let wire = Wire::usually(ok(200));
            let chaos = panics_at(actor, message, Some(1));
            let mainstay = builder().hazard(chaos).vendor(clay(&wire)).start().await.unwrap().handle();
            let answer = mainstay.call(Call::new("clay", "push-row", lead(1)).key("row-1")).await;
            assert!(matches!(answer, Ok(Answer::Delivered(_))), "{actor}: {answer:?}");
            let snapshot = until(&mainstay, is_settled).await;
            assert_eq!((wire.count(), snapshot.tree.totals.restarts), (1, 1), "{actor}");
        });
    }
}

#[test]
fn a_slow_actor_makes_its_call_late_and_no_more() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let chaos = at_first(1, "clay/breaker", Action::Delay { lasting: s(3) });
        let mainstay = builder().hazard(chaos).vendor(clay(&wire)).start().await.unwrap().handle();
        let begun = now();
        let answer = mainstay.call(Call::new("clay", "push-row", lead(1))).await;
        assert!(matches!(answer, Ok(Answer::Delivered(_))), "{answer:?}");
        assert!((s(3)..s(4)).contains(&(now() - begun)), "{:?}", now() - begun);
        assert_eq!(wire.count(), 1);
        until(&mainstay, is_settled).await;
    });
}

#[test]
fn a_key_that_cannot_be_written_keeps_its_call_from_being_sent_and_the_next_one_goes() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let chaos = at_first(1, "store/keys", Action::Fail);
        let mainstay = builder().hazard(chaos.clone()).vendor(retell(&wire)).start().await.unwrap().handle();
        let refused = mainstay.call(ring("one")).await.unwrap_err().to_string();
        assert_eq!((wire.count(), chaos.injected()["fail"]["store/keys"]), (0, 1), "{refused}");
        until(&mainstay, is_settled).await;
        let answer = mainstay.call(ring("two")).await;
        assert!(matches!(answer, Ok(Answer::Delivered(_))), "{answer:?}");
        assert_eq!(wire.count(), 1);
    });
}

#[test]
fn a_call_waits_for_a_slow_disk_before_it_is_sent() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let chaos = at_first(1, "store/keys", Action::Delay { lasting: s(2) });
        let mainstay = builder().hazard(chaos).vendor(retell(&wire)).start().await.unwrap().handle();
        let begun = now();
        let answer = mainstay.call(ring("one")).await;
        assert!(matches!(answer, Ok(Answer::Delivered(_))), "{answer:?}");
        let sent: Vec<_> = wire.seen().iter().map(|seen| seen.at - begun).collect();
        assert!(sent.len() == 1 && sent[0] >= s(2), "{sent:?}");
    });
}

#[test]
fn on_a_full_disk_no_phone_rings_and_once_there_is_space_the_next_one_does() {
    paused(async {
        let wire = Wire::usually(ok(201));
        let chaos = at_first(1, "store/keys", Action::Full { lasting: s(60) });
        let mainstay = builder().hazard(chaos.clone()).vendor(retell(&wire)).start().await.unwrap().handle();
        for key in ["one", "two", "three"] {
            mainstay.call(ring(key)).await.unwrap_err();
            assert_eq!(wire.count(), 0);
        }
        assert_eq!(mainstay.snapshot().store.state, StoreState::Full);
        tokio::time::sleep(s(180)).await;
        let answer = mainstay.call(ring("four")).await;
        assert!(matches!(answer, Ok(Answer::Delivered(_))), "{answer:?}");
        assert_eq!((wire.count(), chaos.injected()["full"]["store/keys"]), (1, 1));
        assert_eq!(mainstay.snapshot().store.state, StoreState::Working);
        until(&mainstay, |snapshot| snapshot.calls.add_up() && snapshot.calls.under_way == 0).await;
    });
}
