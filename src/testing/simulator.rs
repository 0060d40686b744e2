//! The HTTP server that plays both vendors, and the hand on its script.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use mainstay_actors::{clock, faults::Faults};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    CallbackConfig, ClayConfig, Entry, RetellConfig, Totals, Vendor,
    callbacks::Callbacks,
    clay::{self, Clay},
    clay_api::ClayApi,
    ledger::{Arrival, Ledger, Open},
    retell::{self, Retell},
    routes::routes,
    script::{Drawn, Fault, Script},
    vendor::{Answer, Ask, Operation},
};
use crate::net::{Limits, Line, Server};

/// Largest body that is read at all; a longer one is refused before it reaches the ledger.
const BODY_MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long a peer may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than clients keep idle connections (reqwest: 90 s), so that no request meets a connection that is just being
/// closed: what goes wrong here is scripted.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
pub(super) const WEBHOOKS: &str = "/v3/sources/webhook/";

/// How the simulator is set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// Where it listens. Default `127.0.0.1:0`: loopback, a free port.
    pub bind: SocketAddr,
    /// What delays, charges, call lengths, ids and the fate of callbacks depend on. The script has a seed of its own. Default 0.
    pub seed: u64,
    /// The Clay account.
    pub clay: ClayConfig,
    /// The Retell workspace.
    pub retell: RetellConfig,
    /// How both call back.
    pub callbacks: CallbackConfig,
    /// What goes wrong, from the start on. Default nothing.
    pub script: Script,
    /// Entries in the ledger; requests beyond it are answered 507 and have no effect. Default 1,000,000.
    pub ledger_max: usize,
    /// Connections at once, at least 1; further ones wait. Default 1,024.
    pub connections_max: usize,
    /// How long a black hole holds a connection whose peer does not give up. Default 5 min: more than Retell's own client waits (120 s).
    #[serde(with = "mainstay_actors::duration")]
    pub hold_max: Duration,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 0,
            clay: ClayConfig::default(),
            retell: RetellConfig::default(),
            callbacks: CallbackConfig::default(),
            script: Script::default(),
            ledger_max: 1_000_000,
            connections_max: 1_024,
            hold_max: Duration::from_secs(300),
        }
    }
}

impl SimulatorConfig {
    /// Names every value outside its range.
    pub fn check(&self, faults: &mut Faults) {
        self.clay.check(&mut faults.under("clay"));
        self.retell.check(&mut faults.under("retell"));
        self.callbacks.check(&mut faults.under("callbacks"));
        self.script.check(&mut faults.under("script"));
        faults.require(self.connections_max >= 1, "connections_max", || "must be at least 1".into());
    }
}

/// A running simulator. Dropping it ends it like [`Simulator::stop`].
pub struct Simulator {
    house: Arc<House>,
    address: SocketAddr,
    running: Mutex<Option<(Server, JoinSet<()>)>>,
}

impl Simulator {
    /// Starts on the current tokio runtime. Fails without one, when a value is out of range (all of them are named), and
    /// when the address cannot be bound.
    pub fn start(config: SimulatorConfig) -> io::Result<Self> {
        checked(|faults| config.check(faults))?;
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let ledger = Ledger::new(config.ledger_max);
        let (callbacks, sending) = Callbacks::start(config.callbacks).map_err(io::Error::other)?;
        let callbacks = Arc::new(callbacks);
        let house = Arc::new(House {
            path: format!("{WEBHOOKS}{}", config.clay.source()),
            clay_api: ClayApi::new(config.clay.clone(), config.seed, ledger.clone(), callbacks.clone()),
            clay: Clay::new(config.clay, config.seed, ledger.clone(), callbacks.clone()),
            retell: Retell::new(config.retell, config.seed, ledger.clone(), callbacks.clone()),
            player: Mutex::new(Player::new(config.script)),
            hold_max: config.hold_max,
            ledger,
            callbacks,
        });
        let limits = Limits { header_timeout: IDLE_TIMEOUT, connections: config.connections_max };
        let server = Server::start(config.bind, routes(house.clone()), limits)?;
        let address = server.address();
        tracing::info!(target: "mainstay::simulator", %address, "the vendor simulator listens");
        Ok(Self { house, address, running: Mutex::new(Some((server, sending))) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The path of Clay's webhook.
    pub fn clay_webhook_path(&self) -> &str {
        &self.house.path
    }

    /// The whole URL of Clay's webhook.
    pub fn clay_url(&self) -> String {
        format!("{}{}", self.base_url(), self.house.path)
    }

    /// The base URL of Clay's public API.
    pub fn clay_api_url(&self) -> String {
        format!("{}/public/v0", self.base_url())
    }

    /// Retell's base URL.
    pub fn retell_url(&self) -> String {
        self.base_url()
    }

    /// A copy of every entry so far. Still there after [`Self::stop`].
    pub fn ledger(&self) -> Vec<Entry> {
        self.house.ledger.entries(0, usize::MAX)
    }

    /// The sums so far.
    pub fn totals(&self) -> Totals {
        self.house.totals()
    }

    /// Effects whose end has not come, or not been told: 0 means that nothing more will be charged or called.
    pub fn callbacks_owed(&self) -> usize {
        self.house.callbacks.owed()
    }

    /// Replaces the script. Its episodes count from now, its draws from the first request on.
    pub fn set_script(&self, script: Script) -> io::Result<()> {
        checked(|faults| script.check(faults))?;
        *self.house.player.lock() = Player::new(script);
        Ok(())
    }

    /// Cuts all connections and calls nobody any more. What is owed then stays owed. A second call does nothing.
    pub async fn stop(&self) {
        let Some((server, mut sending)) = self.running.lock().take() else { return };
        server.stop(Duration::ZERO).await;
        sending.shutdown().await;
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("address", &self.address).finish_non_exhaustive()
    }
}

fn checked(check: impl FnOnce(&mut Faults)) -> io::Result<()> {
    let mut faults = Faults::default();
    check(&mut faults);
    faults.into_result().map_err(|found| {
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        io::Error::new(io::ErrorKind::InvalidInput, lines.join("; "))
    })
}

/// The script, and how far it has been played.
struct Player {
    script: Script,
    since: Instant,
    drawn: BTreeMap<Operation, u64>,
}

impl Player {
    fn new(script: Script) -> Self {
        Self { script, since: clock::now(), drawn: BTreeMap::new() }
    }

    fn draw(&mut self, operation: Operation) -> Option<Drawn> {
        let number = self.drawn.entry(operation).or_default();
        let this = *number;
        *number += 1;
        let since = clock::now().saturating_duration_since(self.since);
        self.script.draw(operation.vendor(), operation.name(), this, since)
    }
}

pub(super) struct House {
    path: String,
    clay: Clay,
    clay_api: Arc<ClayApi>,
    retell: Arc<Retell>,
    player: Mutex<Player>,
    hold_max: Duration,
    pub(super) ledger: Arc<Ledger>,
    callbacks: Arc<Callbacks>,
}

impl House {
    pub(super) fn totals(&self) -> Totals {
        Totals { callbacks_owed: self.callbacks.owed() as u64, ..self.ledger.totals() }
    }

    /// What the vendor answers by its own rules, its effect included.
    fn work(&self, ask: &Ask, open: &Open) -> Answer {
        match (ask.operation.vendor(), ask.operation) {
            (Vendor::Clay, Operation::Webhook) => self.clay.answer(ask, open),
            (Vendor::Clay, _) => self.clay_api.answer(ask, open),
            (Vendor::Retell, _) => self.retell.answer(ask, open),
        }
    }

    /// What is said instead of the vendor's own answer.
    fn pretend(&self, fault: &Fault, ask: &Ask) -> Answer {
        let error = match ask.operation.vendor() {
            Vendor::Clay => clay::error,
            Vendor::Retell => retell::error,
        };
        match (*fault, ask.operation.vendor()) {
            (Fault::TooMany { retry_after_secs }, _) => Answer { retry_after_secs, ..error(429) },
            (Fault::Status { code, .. }, _) => error(code),
            (Fault::FalseSuccess, Vendor::Clay) => clay::false_success(),
            (Fault::FalseSuccess, Vendor::Retell) => self.retell.false_success(ask),
            _ => Answer::new(ask.operation.success(), json!({})),
        }
    }
}

/// One request, from its arrival in the ledger to its answer or the lack of one.
pub(super) async fn exchange(house: Arc<House>, operation: Operation, argument: String, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX_BYTES)).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let line = parts.extensions.get::<Line>().cloned().unwrap_or_default();
    let ask = Ask::new(operation, argument, parts.headers, body);
    let drawn = house.player.lock().draw(operation);
    let arrival = Arrival {
        vendor: operation.vendor(),
        operation: operation.name(),
        marks: ask.marks(),
        body: &ask.body,
        fault: drawn.map(|drawn| drawn.fault.name()),
    };
    let Some(open) = house.ledger.open(arrival) else {
        let body = json!({ "status": "error", "message": "the simulator's ledger is full" });
        return (StatusCode::INSUFFICIENT_STORAGE, Json(body)).into_response();
    };
    let Some(Drawn { fault, wait }) = drawn else {
        let answer = house.work(&ask, &open);
        return reply(open, &answer);
    };
    let worked = fault.works().then(|| house.work(&ask, &open));
    strike(&house, &ask, open, &line, fault, wait, worked).await
}

/// Lets a fault take the place of the answer, or do something to it.
async fn strike(
    house: &House,
    ask: &Ask,
    open: Open,
    line: &Line,
    fault: Fault,
    wait: Duration,
    worked: Option<Answer>,
) -> Response {
    let pretended = || house.pretend(&fault, ask);
    match fault {
        Fault::Latency { .. } => {
            tokio::time::sleep(wait).await;
            reply(open, &worked.unwrap_or_else(pretended))
        }
        Fault::BlackHole { .. } => {
            // The peer's leaving drops this future, and with it `open`, without an answer.
            tokio::time::sleep(house.hold_max).await;
            hang_up(open, line).await
        }
        Fault::Reset { .. } => hang_up(open, line).await,
        Fault::CutBody { .. } => half_a_reply(open, &worked.unwrap_or_else(pretended)),
        Fault::Malformed => {
            open.answered(200);
            ([(header::CONTENT_TYPE, "application/json")], "<html><body>It works!</body>").into_response()
        }
        Fault::TooMany { .. } | Fault::Status { .. } | Fault::FalseSuccess => reply(open, &pretended()),
    }
}

/// Resets the connection.
async fn hang_up(open: Open, line: &Line) -> Response {
    drop(open);
    line.cut();
    std::future::pending().await
}

fn reply(open: Open, answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    open.answered(status.as_u16());
    let mut response = (status, Json(&answer.body)).into_response();
    if let Some(seconds) = answer.retry_after_secs {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Headers that promise the whole body, half of it, and then a body that fails: hyper closes the connection on it.
fn half_a_reply(open: Open, answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    open.answered(status.as_u16());
    let whole = Bytes::from(answer.body.to_string());
    let half = stream::iter([Ok::<_, io::Error>(whole.slice(..whole.len() / 2))]);
    let cut = stream::once(async {
        // One turn of the connection in between, in which it sends what it has.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut by the script"))
    });
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, whole.len().to_string())];
    (status, headers, Body::from_stream(half.chain(cut))).into_response()
}
