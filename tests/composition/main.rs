//! The guards in combination: each test states a promise of the whole runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

mod accidents;
mod alerts;
mod asking;
mod breaker;
mod budgets;
mod callers;
mod chaos;
mod controls;
mod drain;
mod effects;
mod fallbacks;
mod functions;
mod guardrails;
mod guards;
mod health;
mod hours;
mod letters;
mod limits;
mod retries;
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod timeouts;

use std::time::Duration;

use mainstay::{
    Answer, Call, CallError, CallId, Clay, Completion, Credits, Fact, FinalState, Guard, Handle, NotOpen, OnDenied,
    Reason, Source, Step, VendorConfig,
    actors::{
        breaker::StreakTrip,
        client::WireFault,
        clock::now,
        dlq::{Filter, Kind, LetterId},
        fallback::Staleness,
        outcome::Class,
    },
};
use serde_json::json;
use support::{
    Reply, Wire, begin, builder, clay, facts, lead, ok, panics_at, paused, phone, retell, s, start, turn, until,
};

fn row(n: usize) -> Call {
    Call::new("clay", "push-row", lead(n))
}

fn ring(key: &str) -> Call {
    Call::new("retell", "create-phone-call", phone()).key(key)
}

fn after(status: u16, seconds: u64) -> Reply {
    Reply::Answer(status, json!({ "call_id": "vendor-call" }), s(seconds))
}

/// One call at a time on every lane.
fn one_at_a_time(config: VendorConfig) -> VendorConfig {
    config.with(|config| config.lanes.iter_mut().for_each(|lane| lane.concurrency = 1))
}

/// A breaker that opens at the first failure.
fn touchy(config: VendorConfig) -> VendorConfig {
    config.with(|config| config.breaker.streak = Some(StreakTrip { failures: 1, ..StreakTrip::default() }))
}

fn call_of(answer: Result<Answer, CallError>) -> CallId {
    match answer {
        Ok(Answer::Delivered(delivered)) => delivered.call,
        other => panic!("{other:?}"),
    }
}

fn letter_of(answer: Result<Answer, CallError>) -> LetterId {
    match answer {
        Ok(Answer::Queued { letter, .. }) | Err(CallError::DeadLettered { letter, .. }) => letter,
        other => panic!("{other:?}"),
    }
}

fn refusal_of(answer: Result<Answer, CallError>) -> mainstay::Refusal {
    match answer {
        Err(CallError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// No permit, slot or probe is held, no ticket waits, and every call is somewhere.
fn at_rest(mainstay: &Handle) {
    let snapshot = mainstay.snapshot();
    assert!(snapshot.calls.add_up() && snapshot.calls.lost == 0, "{:?}", snapshot.calls);
    assert_eq!(snapshot.calls.under_way, 0);
    for (name, vendor) in &snapshot.vendors {
        let lanes: Vec<_> = vendor.lanes.iter().map(|lane| (lane.running, lane.queued)).collect();
        assert!(lanes.iter().all(|lane| *lane == (0, 0)), "{name}: {lanes:?}");
        assert_eq!(vendor.gate.in_use, 0, "{name}");
        assert!(vendor.gate.waiting.iter().all(|line| line.waiting == 0), "{name}");
        assert!(vendor.breakers.iter().all(|breaker| breaker.probes_in_flight == 0), "{name}");
        assert_eq!(vendor.client.under_way, 0, "{name}");
        assert_eq!(vendor.keys.in_flight, 0, "{name}");
    }
}

fn money(mainstay: &Handle, vendor: &str) -> (Credits, Credits) {
    let budget = &mainstay.snapshot().vendors[vendor].budget;
    (budget.settled, budget.reserved)
}

fn whole(settled: u64, reserved: u64) -> (Credits, Credits) {
    (Credits::whole(settled), Credits::whole(reserved))
}

async fn unknown(mainstay: &Handle, key: &str) -> CallId {
    match mainstay.call(ring(key).deadline(s(600))).await {
        Err(CallError::Unknown { call, .. }) => call,
        other => panic!("{other:?}"),
    }
}
