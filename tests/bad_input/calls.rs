//! A call with a fault: refused by the gateway. The vendor sees nothing, the budget sees nothing, the counts see a refusal.

use std::time::Duration;

use mainstay::{Call, CallError, Completion, Credits, DEADLINE_MAX, Guard, Handle, KEY_MAX_BYTES, Reason, Refusal};
use serde_json::{Value, json};

use crate::support::{Wire, clay, lead, ok, paused, phone, retell, start};

struct House {
    mainstay: Handle,
    clay: Wire,
    retell: Wire,
}

async fn house() -> House {
    let (to_clay, to_retell) = (Wire::usually(ok(200)), Wire::usually(ok(201)));
    let mainstay = start([clay(&to_clay), retell(&to_retell)]).await;
    House { mainstay, clay: to_clay, retell: to_retell }
}

impl House {
    /// Offers a call in both ways, and proves that its refusals cost nothing.
    async fn refusal(&self, call: impl Fn() -> Call) -> Refusal {
        let before = self.mainstay.snapshot();
        let error = self.mainstay.call(call()).await.unwrap_err();
        let CallError::Refused(refusal) = error else { panic!("{error:?}") };
        assert_eq!(self.mainstay.submit(call()).await.unwrap_err(), refusal);
        assert_eq!(refusal.by, Guard::Gateway);
        assert!(refusal.is_callers_fault() && refusal.retry_at.is_none(), "{refusal:?}");
        let after = self.mainstay.snapshot();
        assert_eq!((self.clay.count(), self.retell.count()), (0, 0), "the wires are untouched");
        for vendor in after.vendors.values() {
            let budget = &vendor.budget;
            assert_eq!((budget.reserved, budget.settled, budget.reservations), (Credits::ZERO, Credits::ZERO, 0));
            assert_eq!(budget.refused_total, 0, "it never came to the budget");
        }
        assert_eq!(after.calls.refused, before.calls.refused + 2);
        assert_eq!((after.calls.accepted, after.parked.dead), (0, 0));
        assert!(after.calls.add_up());
        refusal
    }

    async fn bad_field(&self, field: &str, says: &str, call: impl Fn() -> Call) {
        let refusal = self.refusal(call).await;
        let Reason::BadField { field: named, problem } = &refusal.reason else { panic!("{refusal:?}") };
        assert_eq!(named, field);
        assert!(problem.contains(says), "{problem:?} does not say {says:?}");
    }
}

fn dial() -> Call {
    Call::new("retell", "create-phone-call", phone()).key("reminder-1")
}

fn push(payload: Value) -> Call {
    Call::new("clay", "push-row", payload)
}

/// A payload with this many objects in one another. Made without recursion.
fn nested(depth: usize) -> Value {
    (1..depth).fold(json!({}), |inner, _| {
        let mut outer = serde_json::Map::new();
        outer.insert("in".into(), inner);
        Value::Object(outer)
    })
}

#[test]
fn an_unknown_vendor_operation_or_lane_is_refused_by_name_with_the_known_ones() {
    paused(async {
        let house = house().await;
        for (call, what, name, known) in [
            (Call::new("hubspot", "x", lead(1)), "vendor", "hubspot", "clay, retell"),
            (Call::new("", "x", lead(1)), "vendor", "", "clay, retell"),
            (Call::new("clay", "pull-row", lead(1)), "operation", "pull-row", "push-row"),
            (push(lead(1)).lane("urgent"), "lane", "urgent", "bulk, critical, normal"),
            (push(lead(1)).lane("no such\nlane"), "lane", "no such\nlane", "bulk, critical, normal"),
        ] {
            let refusal = house.refusal(|| call.clone()).await;
            let expected = Reason::UnknownName { what, name: name.into(), known: known.into() };
            assert_eq!(refusal.reason, expected);
        }
        let text = house.refusal(|| Call::new("x".repeat(100_000), "x", lead(1))).await.to_string();
        assert!(text.len() < 300, "a name of any length makes a short text");
    });
}

#[test]
fn a_payload_over_its_limit_is_refused_and_one_at_its_limit_is_sent() {
    paused(async {
        let house = house().await;
        // {"text":"..."} is 11 bytes around the text; Clay takes 100,000.
        let of = |bytes: usize| json!({ "text": "x".repeat(bytes - 11) });
        let refusal = house.refusal(|| push(of(100_001))).await;
        assert_eq!(refusal.reason, Reason::PayloadTooLarge { bytes: 100_001, limit: 100_000 });
        house.mainstay.call(push(of(100_000))).await.unwrap();
        assert_eq!(house.clay.count(), 1);
    });
}

#[test]
fn a_payload_nested_deeper_than_its_limit_is_refused_however_deep_it_is() {
    paused(async {
        let house = house().await;
        for depth in [65, 1_000, 10_000, 100_000] {
            house.bad_field("payload", "64", || push(nested(depth))).await;
            house.bad_field("payload", "64", || Call::new("hubspot", "x", nested(depth))).await;
        }
        let list = || json!({ "list": (0..100).fold(json!([]), |inner, _| json!([inner])) });
        house.bad_field("payload", "64", || push(list())).await;
        house.mainstay.call(push(nested(64))).await.unwrap();
        assert_eq!(house.clay.count(), 1);
    });
}

#[test]
fn a_payload_that_is_no_object_or_lacks_a_needed_field_is_refused_by_field() {
    paused(async {
        let house = house().await;
        for payload in [json!(null), json!("text"), json!([1, 2]), json!(7)] {
            house.bad_field("payload", "object", || push(payload.clone())).await;
        }
        let half = |payload: Value| move || Call::new("retell", "create-phone-call", payload.clone()).key("k");
        house.bad_field("/to_number", "needed", half(json!({ "from_number": "+14155550100" }))).await;
        house.bad_field("/from_number", "needed", half(json!({ "from_number": null, "to_number": "+1" }))).await;
    });
}

#[test]
fn an_operation_that_may_never_be_repeated_wants_a_key_of_a_sane_length() {
    paused(async {
        let house = house().await;
        let refusal = house.refusal(|| Call::new("retell", "create-phone-call", phone())).await;
        assert_eq!(refusal.reason, Reason::KeyRequired { operation: "create-phone-call".into() });
        house.bad_field("key", "1..=255", || dial().key("")).await;
        house.bad_field("key", "256 bytes is not within 1..=255", || dial().key("k".repeat(256))).await;
        house.bad_field("tenant", "1..=255", || dial().tenant("")).await;
        house.bad_field("tenant", "1..=255", || dial().tenant("t".repeat(256))).await;
        let longest = "k".repeat(KEY_MAX_BYTES);
        house.mainstay.call(dial().key(longest.clone()).tenant(longest)).await.unwrap();
        assert_eq!(house.retell.count(), 1);
    });
}

#[test]
fn a_deadline_of_nothing_or_of_more_than_a_day_is_refused() {
    paused(async {
        let house = house().await;
        house.bad_field("deadline", "24h", || push(lead(1)).deadline(Duration::ZERO)).await;
        house.bad_field("deadline", "24h", || push(lead(1)).deadline(DEADLINE_MAX + Duration::from_nanos(1))).await;
        house.bad_field("deadline", "24h", || push(lead(1)).deadline(Duration::MAX)).await;
        house.mainstay.call(push(lead(1)).deadline(DEADLINE_MAX)).await.unwrap();
    });
}

#[test]
fn a_call_that_may_not_begin_any_more_never_begins() {
    paused(async {
        let house = house().await;
        let call = push(lead(1)).expires_at("2026-11-24T12:00:00Z".parse().unwrap());
        let error = house.mainstay.call(call).await.unwrap_err();
        let CallError::Refused(refusal) = error else { panic!("{error:?}") };
        assert_eq!((refusal.reason, house.clay.count()), (Reason::Expired, 0));
    });
}

#[test]
fn the_end_of_a_call_that_was_never_accepted_is_refused_in_words() {
    paused(async {
        let house = house().await;
        let never = "00000000-0000-4000-8000-000000000000".parse().unwrap();
        let error = house.mainstay.complete(never, Completion::happened(None)).await.unwrap_err();
        assert!(error.to_string().contains("no open effect"), "{error}");
        let error = house.mainstay.revive("hubspot").unwrap_err();
        assert_eq!(error.to_string(), "unknown vendor \"hubspot\"; known: clay, retell");
    });
}
