//! What the log says of an outage: each event at its level, in words that name the vendor, with its particulars as fields, and
//! not a line for every call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

mod support;

use std::sync::LazyLock;

use mainstay::{
    Answer, Call, CallError, Clay, Handle, LOG_EVERY, OnDenied, Retell, Step, VendorConfig,
    actors::{
        breaker::StreakTrip,
        client::WireFault,
        dlq::{Filter, Kind},
    },
};
use serde_json::json;
use support::{Reply, Wire, clay, lead, log::LOG, ok, paused, phone, retell, s, start, until};

/// A vendor of a name of its own: all tests write into one log.
fn named(name: &str, wire: &Wire) -> VendorConfig {
    let profile = Clay::table("https://clay.test/hook").profile(name);
    clay(wire).with(|config| config.profile = profile)
}

/// Opens at the first failure.
fn touchy(config: VendorConfig) -> VendorConfig {
    config.with(|config| config.breaker.streak = Some(StreakTrip { failures: 1, ..StreakTrip::default() }))
}

fn row(vendor: &str, n: usize) -> Call {
    Call::new(vendor, "push-row", lead(n))
}

/// The only line with this in it, at this level, with these fields.
fn one(text: &str, level: &str, fields: &[&str]) {
    let lines = LOG.with(text);
    assert_eq!(lines.len(), 1, "{text}: {lines:#?}");
    for part in [&format!(" {level} ")].into_iter().map(String::as_str).chain(fields.iter().copied()) {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
}

async fn denied(mainstay: &Handle, vendor: &str, number: usize) {
    for n in 0..number {
        let error = mainstay.call(row(vendor, n).without_fallback()).await.unwrap_err();
        assert!(matches!(error, CallError::Refused(_)), "{error:?}");
    }
}

#[test]
fn a_flood_of_denials_is_one_line_at_once_and_one_with_their_number_later() {
    LazyLock::force(&LOG);
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let mainstay = start([touchy(named("flood", &wire))]).await;
        denied(&mainstay, "flood", 500).await;
        let fields = ["guard=circuit breaker", "limit=open (", "retry_at=\"2026-", "operation=push-row"];
        one("a call to flood was refused by the circuit breaker: open (", "WARN", &fields);
        tokio::time::sleep(LOG_EVERY + s(1)).await;
        one("499 more calls to flood were refused by the circuit breaker", "WARN", &["left_out=499"]);
        tokio::time::sleep(10 * LOG_EVERY).await;
        assert_eq!(LOG.with("flood were refused").len(), 1, "nothing is owed any more");
    });
}

#[test]
fn what_was_left_out_is_written_before_the_runtime_ends() {
    LazyLock::force(&LOG);
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let mainstay = start([touchy(named("brief", &wire))]).await;
        denied(&mainstay, "brief", 4).await;
        mainstay.shutdown(s(1)).await;
        one("3 more calls to brief were refused by the circuit breaker", "WARN", &[]);
    });
}

#[test]
fn a_fallback_is_logged_with_its_source_and_the_first_error() {
    LazyLock::force(&LOG);
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let config = named("stands-in", &wire).chain([Step::Local, Step::Queue]).local(|payload| {
            assert!(payload["lead_id"] != 13, "unlucky");
            Some(json!({ "guess": 1 }))
        });
        let config = config.with(|config| (config.breaker.rate, config.breaker.streak) = (None, None));
        let mainstay = start([config]).await;
        mainstay.call(row("stands-in", 1)).await.unwrap();
        mainstay.call(row("stands-in", 13)).await.unwrap();
        let first_error = ["as scripted", "class=connect"];
        one("a call to stands-in was served by the local function, because of this", "WARN", &first_error);
        one("a call to stands-in was queued for later, because of this", "WARN", &first_error);
        one("the local function of stands-in panicked", "ERROR", &["unlucky"]);
    });
}

#[test]
fn a_dead_letter_is_logged_with_their_number_when_it_is_done_and_when_it_is_given_up() {
    LazyLock::force(&LOG);
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let config = named("letters", &wire).chain([]).on_denied(OnDenied::DeadLetter);
        let mainstay = start([config.with(|config| (config.breaker.rate, config.breaker.streak) = (None, None))]).await;
        mainstay.call(row("letters", 1)).await.unwrap_err();
        one(
            "a call to letters is a dead letter, one of 1: connect",
            "WARN",
            &["mainstay::dlq:", "total=1", "class=connect"],
        );
        wire.now_usually(ok(200));
        mainstay.dead_letters().replay(Filter::kind(Kind::Dead)).run().await.unwrap();
        until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        one("a parked call to letters was done", "INFO", &[]);
        wire.now_usually(Reply::Fail(WireFault::Connect, s(1)));
        mainstay.call(row("letters", 2)).await.unwrap_err();
        mainstay.dead_letters().replay(Filter::kind(Kind::Dead)).run().await.unwrap();
        until(&mainstay, |snapshot| snapshot.parked.given_up == 1).await;
        one("a parked call to letters is given up after 3 attempts, and waits for a person", "ERROR", &["attempts=3"]);
    });
}

#[test]
fn a_timeout_is_logged_with_its_operation_its_phase_and_whether_it_was_sent() {
    LazyLock::force(&LOG);
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let profile = Retell::workspace("key_of_a_test").profile("too-late");
        let mainstay = start([retell(&wire).with(|config| config.profile = profile)]).await;
        let call = Call::new("too-late", "create-phone-call", phone()).key("a").deadline(s(600));
        assert!(matches!(mainstay.call(call).await, Err(CallError::Unknown { .. })));
        let sent = ["operation=create-phone-call", "phase=Request", "sent=true"];
        one("too-late create-phone-call did not answer in time: it was sent, and may have happened", "WARN", &sent);
        one("a call to too-late may have happened: it is parked as unknown, and not sent again", "WARN", &[]);
    });
}

#[test]
fn an_answer_of_the_vendor_alarms_nobody() {
    LazyLock::force(&LOG);
    paused(async {
        let mainstay = start([named("all-well", &Wire::usually(ok(200)))]).await;
        for n in 0..5 {
            assert!(matches!(mainstay.call(row("all-well", n)).await, Ok(Answer::Delivered(_))));
        }
        let loud = LOG.with("all-well").into_iter().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        assert_eq!(loud.collect::<Vec<_>>(), Vec::<String>::new());
    });
}
