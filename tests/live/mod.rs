//! Real HTTP, real threads, real time: the simulated vendors, and the desk their callbacks come to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "each test binary uses its own part")]

use std::{
    env,
    net::SocketAddr,
    process::Command,
    str::FromStr,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use mainstay::{
    CallId, Clay, Completion, Credits, Handle, Placement, Retell, VendorConfig,
    actors::{ids::ActorId, kernel::Hazard},
    testing::{CallbackConfig, ClayConfig, Rate, RetellConfig, Simulator, SimulatorConfig, Spread},
};
use serde_json::Value;

/// How long a fact is waited for that comes within a moment.
pub const PATIENCE: Duration = Duration::from_secs(30);

const FAST: Rate = Rate { per_second: 1e6, burst: 1_000_000 };

/// Two threads for vendors: `mainstay-0` has clay, `mainstay-1` has retell.
pub const TWO: Placement = Placement::Threads { threads: 2 };

/// Vendors whose limits no test meets by chance, and whose effects end soon.
pub fn quick() -> SimulatorConfig {
    SimulatorConfig {
        clay: ClayConfig { rate: FAST, enrichment: Spread::millis(1, 20), ..ClayConfig::default() },
        retell: RetellConfig {
            starts: FAST,
            live_max: 1_000,
            call_length: Spread::millis(1, 20),
            cents_per_minute: 600_000,
            ..RetellConfig::default()
        },
        callbacks: CallbackConfig { pause: Duration::from_millis(10), ..CallbackConfig::default() },
        ..SimulatorConfig::default()
    }
}

/// The simulated Clay, with limits that do not get in the way.
pub fn clay(vendors: &Simulator) -> VendorConfig {
    VendorConfig::clay("clay", Clay::table(vendors.clay_url()))
        .daily_limit(Credits::whole(1_000_000))
        .with(|config| config.gate.rate = None)
}

pub fn retell_with_key(vendors: &Simulator, key: &str) -> Retell {
    Retell { base_url: vendors.retell_url().into(), ..Retell::workspace(key) }
}

/// The simulated Retell, with limits that do not get in the way.
pub fn retell(vendors: &Simulator) -> VendorConfig {
    VendorConfig::retell("retell", retell_with_key(vendors, "key_test"))
        .daily_limit(Credits::whole(1_000_000))
        .with(|config| config.gate.rate = None)
}

/// Fails a test that waits for what does not come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap_or_else(|_| panic!("it did not come within {PATIENCE:?}"))
}

/// The application's own HTTP face: both vendors post the ends of their calls to it, and it passes them on.
pub struct Desk {
    address: SocketAddr,
    mainstay: Arc<OnceLock<Handle>>,
}

impl Desk {
    pub async fn open() -> Self {
        let mainstay = Arc::new(OnceLock::new());
        let router = Router::new()
            .route("/clay", post(row_enriched))
            .route("/retell", post(call_ended))
            .with_state(mainstay.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, mainstay }
    }

    /// The vendors' configuration, with this desk as the place to call back.
    pub fn known_to(&self, mut vendors: SimulatorConfig) -> SimulatorConfig {
        vendors.clay.callback_url = Some(format!("http://{}/clay", self.address));
        vendors.retell.callback_url = Some(format!("http://{}/retell", self.address));
        vendors
    }

    /// Says where the ends go.
    pub fn serve(&self, mainstay: Handle) {
        assert!(self.mainstay.set(mainstay).is_ok());
    }
}

type Mainstay = State<Arc<OnceLock<Handle>>>;

async fn row_enriched(State(mainstay): Mainstay, Json(row): Json<Value>) -> StatusCode {
    let cost = row["credits"].as_u64().map(Credits::whole);
    end(&mainstay, &row["mainstay_call_id"], Completion::happened(cost).with_answer(row["enriched"].clone())).await
}

async fn call_ended(State(mainstay): Mainstay, Json(event): Json<Value>) -> StatusCode {
    let call = &event["call"];
    let cost = call["call_cost"]["combined_cost"].as_f64().map(|cents| Credits::from_decimal(cents).unwrap());
    end(&mainstay, &call["metadata"]["mainstay_call_id"], Completion::happened(cost)).await
}

async fn end(mainstay: &OnceLock<Handle>, call: &Value, completion: Completion) -> StatusCode {
    let Some(mainstay) = mainstay.get() else { return StatusCode::SERVICE_UNAVAILABLE };
    let Some(call) = call.as_str().and_then(|id| CallId::from_str(id).ok()) else { return StatusCode::BAD_REQUEST };
    match mainstay.complete(call, completion).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::GONE,
    }
}

/// Blocks the first message of one actor until it is let go.
pub struct Blocker {
    actor: &'static str,
    message: &'static str,
    struck: AtomicBool,
    blocked: AtomicUsize,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Blocker {
    pub fn of(actor: &'static str, message: &'static str) -> Arc<Self> {
        let (struck, blocked) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self { actor, message, struck, blocked, open: Mutex::default(), opened: Condvar::new() })
    }

    pub async fn until_blocked(&self) {
        soon(async {
            while self.blocked.load(SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub fn is_blocked(&self) -> bool {
        self.blocked.load(SeqCst) > 0
    }

    pub fn let_go(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Hazard for Blocker {
    fn strike(&self, actor: &ActorId, message: &'static str) {
        if actor.as_str() != self.actor || message != self.message || self.struck.swap(true, SeqCst) {
            return;
        }
        self.blocked.fetch_add(1, SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
        self.blocked.fetch_sub(1, SeqCst);
    }
}

const ALONE: &str = "MAINSTAY_TEST_ALONE";

/// True in a process that runs this test and no other. Elsewhere it runs that process, and the test is over.
pub fn alone(name: &str) -> bool {
    if env::var(ALONE).is_ok() {
        return true;
    }
    let alone = Command::new(env::current_exe().unwrap()).args(["--exact", name]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && said.contains("1 passed"), "{said}");
    false
}
