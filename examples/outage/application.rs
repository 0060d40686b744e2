//! The application: it embeds the runtime, offers calls, and passes the vendors' callbacks in.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use indicatif::{ProgressBar, ProgressStyle};
use mainstay::{
    Call, CallError, CallId, Completion, Credits, GetSnapshot, Handle, Runtime, Snapshot, Submit,
    actors::dlq::{Filter, Kind},
    testing::{Chaos, Simulator},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::{
    Failure,
    checker::Said,
    history::{Book, History},
    story::{CALLS, LEADS, OFFERED_OVER, Story},
};

/// Longest wait for one part of the story after the last call was offered.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often the application looks.
const LOOK: Duration = Duration::from_millis(250);

/// The running application, and the vendors it calls.
pub struct Application {
    handle: Handle,
    vendors: Simulator,
    history: Arc<History>,
    pub chaos: Arc<Chaos>,
    bar: ProgressBar,
    told: Mutex<Instant>,
    pub begun: Instant,
}

impl Application {
    pub async fn start(story: &Story, data: &Path, debug: Option<SocketAddr>) -> Result<Self, Failure> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let me = listener.local_addr()?;
        let callbacks = (format!("http://{me}/callbacks/clay"), format!("http://{me}/callbacks/retell"));
        let vendors = Simulator::start(story.vendors(callbacks.0, callbacks.1))?;
        let chaos = story.chaos();
        let mut builder = Runtime::builder()
            .vendor(story.clay(vendors.clay_url()))
            .vendor(story.retell(vendors.retell_url()))
            .data_dir(data)
            .seed(story.seed)
            .hazard(chaos.clone())
            .with(|config| {
                // A hundred injected panics in two minutes are part of the story, not a broken vendor.
                config.child.intensity.max_restarts = 60;
                config.supervisor.max_restarts = 500;
                config.redrive.at_a_time = 64;
                config.redrive.pace = Duration::from_millis(1);
                config.redrive.every = Duration::from_millis(250);
            });
        if let Some(at) = debug {
            builder = builder.debug_http(at);
        }
        let handle = builder.start().await?.handle();
        let history = Arc::new(History::default());
        let app = Self { handle, vendors, history, chaos, bar: progress_bar(), told: Mutex::new(now()), begun: now() };
        app.listen_to_facts();
        app.serve_callbacks(listener);
        Ok(app)
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn vendors_url(&self) -> String {
        self.vendors.base_url()
    }

    pub fn history(&self) -> Book {
        self.history.book()
    }

    fn listen_to_facts(&self) {
        let (mut facts, history, begun) = (self.handle.subscribe(), self.history.clone(), self.begun);
        tokio::spawn(async move {
            loop {
                match facts.recv().await {
                    Ok(event) => history.hear(now().duration_since(begun).as_secs_f64(), &event.fact),
                    Err(RecvError::Lagged(missed)) => eprintln!("the application missed {missed} facts"),
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn serve_callbacks(&self, listener: tokio::net::TcpListener) {
        let desk = Desk { handle: self.handle.clone(), history: self.history.clone() };
        let router = Router::new()
            .route("/callbacks/clay", post(clay_called_back))
            .route("/callbacks/retell", post(retell_called_back))
            .with_state(desk);
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    /// Offers everything, spread over the story.
    pub async fn push_everything(&self, story: &Story) {
        let total = LEADS + CALLS;
        let mut pace = tokio::time::interval(OFFERED_OVER / u32::try_from(total).unwrap_or(u32::MAX));
        let every = total / CALLS;
        let (mut leads, mut calls) = (0, 0);
        for n in 0..total {
            pace.tick().await;
            if n % every == 0 && calls < CALLS {
                self.offer(phone_call(story, calls), n).await;
                calls += 1;
            } else {
                self.offer(lead(story, leads), n).await;
                leads += 1;
            }
            if n % 10 == 0 {
                self.show("offering").await;
            }
        }
    }

    /// Most calls go through the handle, every tenth as an actix message.
    async fn offer(&self, call: Call, n: usize) {
        self.history.offered();
        let call = call.delivery(mainstay::Delivery::InMemory);
        let by_message = match n % 10 {
            // A crash of the receiving actor loses the message in hand before it was offered: it is offered again.
            0 => self.handle.address().send(Submit(call.clone())).await.ok(),
            _ => None,
        };
        let receipt = match by_message {
            Some(receipt) => receipt,
            None => self.handle.submit(call).await,
        };
        let Ok(receipt) = receipt else { return self.history.refused() };
        let (id, history) = (receipt.call, self.history.clone());
        history.accepted(id);
        tokio::spawn(async move {
            if let Err(CallError::Refused(_)) = receipt.outcome().await {
                history.refused_later(id);
            }
        });
    }

    /// Waits until nothing is under way and what waited for the vendors is done.
    pub async fn settle_down(&self) {
        self.until("draining", |snapshot| snapshot.calls.under_way == 0 && snapshot.calls.queued == 0).await;
        self.chaos.stop();
    }

    /// What a person does with a phone call of which nobody knows: ask the vendor for it.
    pub async fn look_up_unknown_calls(&self) -> Result<(), Failure> {
        let http = reqwest::Client::new();
        let unknown = Filter::kind(Kind::Unknown);
        for parked in self.handle.dead_letters().list(unknown, None).await?.letters {
            if parked.letter.vendor.as_str() != "retell" {
                continue;
            }
            let call = parked.letter.call;
            let completion = look_up(&http, &self.vendors.retell_url(), call).await?;
            if let Some(completion) = completion {
                // Its callback may have come meanwhile.
                let _ = self.handle.complete(call, completion).await;
            }
        }
        Ok(())
    }

    /// Replays the dead letters until there are none.
    pub async fn replay_dead_letters(&self) -> Result<(), Failure> {
        let deadline = now() + PATIENCE;
        while now() < deadline {
            self.handle.dead_letters().replay(Filter::kind(Kind::Dead)).pace(Duration::from_millis(1)).run().await?;
            self.until_at_most("replaying", Duration::from_secs(4), |snapshot| {
                snapshot.calls.dead_lettered == 0 && snapshot.calls.under_way == 0
            })
            .await;
            if self.handle.snapshot().calls.dead_lettered == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for the last callbacks.
    pub async fn callbacks_are_in(&self) {
        let deadline = now() + PATIENCE;
        while self.vendors.callbacks_owed() > 0 && now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        self.until_at_most("last callbacks", Duration::from_secs(5), |snapshot| {
            snapshot.open_effects as u64 <= snapshot.calls.unknown
        })
        .await;
        // The publications of the last batch.
        tokio::time::sleep(LOOK).await;
        self.bar.finish_and_clear();
    }

    async fn until(&self, doing: &str, done: impl Fn(&Snapshot) -> bool) {
        self.until_at_most(doing, PATIENCE, done).await;
    }

    async fn until_at_most(&self, doing: &str, at_most: Duration, done: impl Fn(&Snapshot) -> bool) {
        let deadline = now() + at_most;
        while now() < deadline {
            tokio::time::sleep(LOOK).await;
            self.show(doing).await;
            if done(&self.handle.snapshot()) {
                return;
            }
        }
    }

    async fn show(&self, doing: &str) {
        // As an operator's tool would: a question to the debug actor, which may crash with it.
        let Ok(Some(snapshot)) = self.handle.debug().send(GetSnapshot).await else { return };
        let counts = snapshot.calls;
        self.bar.set_position(counts.delivered);
        let breaker = |name: &str| match snapshot.vendors.get(name).and_then(|vendor| vendor.breakers.first()) {
            Some(breaker) => breaker.state.to_string(),
            None => "?".into(),
        };
        let message = format!(
            "{doing} | clay {} retell {} | queued {} dead {} unknown {} | restarts {}",
            breaker("clay"),
            breaker("retell"),
            counts.queued,
            counts.dead_lettered,
            counts.unknown,
            snapshot.tree.totals.restarts,
        );
        if self.bar.is_hidden() && now().duration_since(*self.told.lock()) >= Duration::from_secs(5) {
            // No terminal to draw on: a line every five seconds.
            *self.told.lock() = now();
            println!(
                "{:3.0} s  {} delivered | {message}",
                now().duration_since(self.begun).as_secs_f64(),
                counts.delivered
            );
        }
        self.bar.set_message(message);
    }

    /// What the runtime says of itself.
    pub fn said(&self) -> Said {
        let snapshot = self.handle.snapshot();
        let counts = snapshot.calls;
        let money = |name: &str| match snapshot.vendors.get(name) {
            Some(vendor) => (vendor.budget.settled.micros(), vendor.budget.reserved.micros()),
            None => (0, 0),
        };
        Said {
            counts: [
                ("offered", counts.offered),
                ("accepted", counts.accepted),
                ("refused", counts.refused),
                ("delivered", counts.delivered),
                ("cached", counts.cached),
                ("queued", counts.queued),
                ("local", counts.local),
                ("dead_lettered", counts.dead_lettered),
                ("unknown", counts.unknown),
                ("cancelled", counts.cancelled),
                ("lost", counts.lost),
            ]
            .into(),
            money: [("clay", money("clay")), ("retell", money("retell"))].into(),
        }
    }

    pub async fn stop(&self, deadline: Duration) {
        self.handle.shutdown(deadline).await;
        self.vendors.stop().await;
    }
}

/// The example measures the real time of a real run.
#[expect(clippy::disallowed_methods, reason = "a program of its own, not a part of the runtime")]
pub fn now() -> Instant {
    Instant::now()
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} delivered | {msg}");
    let bar = ProgressBar::new((LEADS + CALLS) as u64);
    match style {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn lane(n: usize) -> &'static str {
    match n % 10 {
        0 => "critical",
        1..=3 => "normal",
        _ => "bulk",
    }
}

fn lead(story: &Story, n: usize) -> Call {
    // Every eighth lead is of a company that was seen before: those can be answered from the cache.
    let company = if n % 8 == 7 { n / 16 } else { n };
    let lead = json!({
        "lead_id": format!("lead-{}-{n}", story.seed),
        "email": format!("person{n}@company{company}.example"),
        "domain": format!("company{company}.example"),
    });
    Call::new("clay", "push-row", lead).lane(lane(n))
}

fn phone_call(story: &Story, n: usize) -> Call {
    let payload = json!({ "from_number": "+14155550100", "to_number": format!("+1415556{n:04}") });
    Call::new("retell", "create-phone-call", payload).lane(lane(n)).key(format!("reminder-{}-{n}", story.seed))
}

#[derive(Clone)]
struct Desk {
    handle: Handle,
    history: Arc<History>,
}

impl Desk {
    async fn complete(&self, call: Option<&str>, completion: Completion) -> StatusCode {
        let Some(call) = call.and_then(|id| id.parse::<CallId>().ok()) else { return StatusCode::BAD_REQUEST };
        let open = self.handle.complete(call, completion).await.is_ok();
        self.history.callback(open);
        // A callback that came twice is acknowledged too, or it would come again.
        StatusCode::NO_CONTENT
    }
}

fn cost(value: Option<&Value>) -> Option<Credits> {
    Credits::from_decimal(value?.as_f64()?).ok()
}

async fn clay_called_back(State(desk): State<Desk>, Json(body): Json<Value>) -> StatusCode {
    let enriched = body.get("enriched").cloned().unwrap_or_default();
    let completion = Completion::happened(cost(body.get("credits"))).with_answer(enriched);
    desk.complete(body.get("mainstay_call_id").and_then(Value::as_str), completion).await
}

async fn retell_called_back(State(desk): State<Desk>, Json(body): Json<Value>) -> StatusCode {
    let completion = Completion::happened(cost(body.pointer("/call/call_cost/combined_cost")));
    desk.complete(body.pointer("/call/metadata/mainstay_call_id").and_then(Value::as_str), completion).await
}

/// Asks Retell for a call by the id that travelled in its metadata.
async fn look_up(http: &reqwest::Client, retell: &str, call: CallId) -> Result<Option<Completion>, Failure> {
    let filter = json!([{ "type": "string", "op": "eq", "key": "mainstay_call_id", "value": call.to_string() }]);
    let question = json!({ "filter_criteria": { "metadata": filter }, "limit": 1 });
    let answer = http
        .post(format!("{retell}/v3/list-calls"))
        .bearer_auth("key_test")
        .header("content-type", "application/json")
        .body(question.to_string())
        .send()
        .await?
        .error_for_status()?;
    let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let found = answer.pointer("/items/0");
    Ok(match found {
        None => Some(Completion::DidNotHappen),
        Some(found) if found.get("call_status").and_then(Value::as_str) == Some("ended") => {
            Some(Completion::happened(cost(found.pointer("/call_cost/combined_cost"))))
        }
        // It is live: its callback will come.
        Some(_) => None,
    })
}
