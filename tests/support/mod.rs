//! One thread, a paused clock, and vendors that answer as they are told.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may")]

pub mod log;

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay::{
    Answer, Call, CallError, Clay, Credits, Event, Fact, Handle, Placement, Retell, Runtime, Snapshot, VendorConfig,
    actors::{
        client::{Transport, WireAnswer, WireError, WireFault, WireRequest},
        clock::{SteadyWall, now},
    },
    testing::{Action, Chaos, Rule},
};
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// What a scripted vendor does with one request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers after a while.
    Answer(u16, Value, Duration),
    /// Answers with a `Retry-After` in seconds.
    Busy(u16, u64),
    /// Answers at once with these headers and an empty object.
    Headers(u16, Vec<(String, String)>),
    /// Fails on the wire after a while.
    Fail(WireFault, Duration),
    /// Never answers: the operation's timeout strikes.
    Hang,
}

pub fn ok(status: u16) -> Reply {
    Reply::Answer(status, json!({ "call_id": "vendor-call" }), Duration::from_millis(50))
}

/// One request, as the vendor saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub url: String,
    pub body: Value,
    pub at: Instant,
}

#[derive(Default)]
struct Inner {
    script: VecDeque<Reply>,
    usual: Option<Reply>,
    usual_at: BTreeMap<&'static str, Reply>,
    seen: Vec<Seen>,
    in_flight: usize,
    most_in_flight: usize,
}

/// A vendor behind the seam of the wire. It does what the script says, then its usual.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Inner>>);

impl Wire {
    pub fn usually(reply: Reply) -> Self {
        let wire = Self::default();
        wire.0.lock().usual = Some(reply);
        wire
    }

    pub fn now_usually(&self, reply: Reply) {
        self.0.lock().usual = Some(reply);
    }

    /// What it does at the addresses that end so.
    pub fn now_usually_at(&self, end: &'static str, reply: Reply) {
        self.0.lock().usual_at.insert(end, reply);
    }

    pub fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.0.lock().script.extend(replies);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.lock().seen.clone()
    }

    /// How many requests went to addresses that end so.
    pub fn count_at(&self, end: &str) -> usize {
        self.0.lock().seen.iter().filter(|seen| seen.url.ends_with(end)).count()
    }

    pub fn count(&self) -> usize {
        self.0.lock().seen.len()
    }

    pub fn most_in_flight(&self) -> usize {
        self.0.lock().most_in_flight
    }
}

/// Counts a request as in flight until it is dropped, answered or not.
struct InFlight(Wire);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.lock().in_flight -= 1;
    }
}

impl Transport for Wire {
    fn send(&self, request: WireRequest) -> Pin<Box<dyn Future<Output = Result<WireAnswer, WireError>> + Send>> {
        let reply = {
            let mut inner = self.0.lock();
            let url = request.url.expose_secret().to_owned();
            let here = inner.usual_at.iter().find(|(end, _)| url.ends_with(*end)).map(|(_, reply)| reply.clone());
            inner.seen.push(Seen { url, body: serde_json::from_slice(&request.body).unwrap_or_default(), at: now() });
            inner.in_flight += 1;
            inner.most_in_flight = inner.most_in_flight.max(inner.in_flight);
            inner.script.pop_front().or(here).or_else(|| inner.usual.clone()).expect("the script is at its end")
        };
        let held = InFlight(self.clone());
        Box::pin(async move {
            let _held = held;
            match reply {
                Reply::Answer(status, body, after) => {
                    tokio::time::sleep(after).await;
                    Ok(WireAnswer { status, headers: Vec::new(), body: serde_json::to_vec(&body).unwrap() })
                }
                Reply::Busy(status, seconds) => {
                    let headers = vec![("retry-after".to_owned(), seconds.to_string())];
                    Ok(WireAnswer { status, headers, body: b"{}".to_vec() })
                }
                Reply::Headers(status, headers) => Ok(WireAnswer { status, headers, body: b"{}".to_vec() }),
                Reply::Fail(fault, after) => {
                    tokio::time::sleep(after).await;
                    Err(WireError { fault, detail: "as scripted".into() })
                }
                Reply::Hang => {
                    tokio::time::sleep(request.timeout).await;
                    Err(WireError { fault: WireFault::Timeout, detail: "no whole answer in time".into() })
                }
            }
        })
    }
}

/// Runs a test on one thread, with a paused clock that jumps to the next timer when nothing is to be done.
pub fn paused<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        // A test that waits for what never comes fails instead of running for ever.
        tokio::time::timeout(Duration::from_secs(30 * 24 * 3600), test).await.expect("the test came to no end");
    });
}

/// A Clay table behind a scripted wire, with limits that do not get in the way.
pub fn clay(wire: &Wire) -> VendorConfig {
    VendorConfig::clay("clay", Clay::table("https://clay.test/hook"))
        .daily_limit(Credits::whole(1_000_000))
        .transport(wire.clone())
        .with(|config| config.gate.rate = None)
}

/// A Clay account with the tables `leads` and `accounts`, behind a scripted wire, with limits that do not get in the way.
pub fn clay_tables(wire: &Wire) -> VendorConfig {
    let tables = ["leads", "accounts"].map(|name| (name, Clay::table(format!("https://clay.test/hook-canary/{name}"))));
    VendorConfig::clay_tables("clay", tables)
        .daily_limit(Credits::whole(1_000_000))
        .transport(wire.clone())
        .with(|config| config.gate.rate = None)
}

/// A Retell workspace behind a scripted wire, with limits that do not get in the way.
pub fn retell(wire: &Wire) -> VendorConfig {
    VendorConfig::retell("retell", Retell::workspace("key_canary_retell"))
        .daily_limit(Credits::whole(1_000_000))
        .transport(wire.clone())
        .with(|config| config.gate.rate = None)
}

/// A runtime on this thread, with a seed and a calendar of its own.
pub fn builder() -> mainstay::Builder {
    Runtime::builder()
        .placement(Placement::Local)
        .seed(7)
        .wall_clock(SteadyWall::starting_at("2026-11-24T12:00:00Z".parse().unwrap()))
}

pub async fn start(vendors: impl IntoIterator<Item = VendorConfig>) -> Handle {
    let builder = vendors.into_iter().fold(builder(), mainstay::Builder::vendor);
    builder.start().await.unwrap().handle()
}

/// Lets everything that is ready run, without moving the clock.
pub async fn turn() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Waits until a fact about the snapshot holds.
pub async fn until(handle: &Handle, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        let snapshot = handle.snapshot();
        if holds(&snapshot) {
            return snapshot;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Makes a call in a task of its own.
pub fn begin(handle: &Handle, call: Call) -> tokio::task::JoinHandle<Result<Answer, CallError>> {
    let handle = handle.clone();
    tokio::task::spawn_local(async move { handle.call(call).await })
}

/// A plan that panics at one message of one actor, at most so often.
pub fn panics_at(actor: &str, message: &str, most: Option<u64>) -> Arc<Chaos> {
    let (actor, message) = (actor.to_owned(), Some(message.to_owned()));
    Arc::new(Chaos::seeded(1).rule(Rule { actor, message, probability: 1.0, max: most, action: Action::Panic }))
}

/// The facts that came since the last time.
pub fn facts(heard: &mut tokio::sync::broadcast::Receiver<Event>) -> Vec<Fact> {
    std::iter::from_fn(|| heard.try_recv().ok()).map(|event| event.fact).collect()
}

/// Seconds.
pub fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn lead(n: usize) -> Value {
    json!({ "lead_id": n, "domain": format!("company{n}.example") })
}

pub fn phone() -> Value {
    json!({ "from_number": "+14155550100", "to_number": "+14155550101" })
}
