//! Which path is which vendor's operation, and where the ledger is shown.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    routing::{MethodFilter, MethodRouter, get, on},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    simulator::{House, WEBHOOKS, exchange},
    vendor::Operation,
};

type Hall = State<Arc<House>>;
type Door = MethodRouter<Arc<House>>;

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;

pub(super) fn routes(house: Arc<House>) -> Router {
    Router::new()
        .route(&format!("{WEBHOOKS}{{source}}"), about(POST, Operation::Webhook))
        .route("/public/v0/me", plain(GET, Operation::Me))
        .route("/public/v0/credits/balance", plain(GET, Operation::GetBalance))
        .route("/public/v0/routines/{id}/run", about(POST, Operation::RunRoutine))
        .route("/public/v0/routines/run/{id}/results", about(GET, Operation::GetResults))
        .route("/v2/create-phone-call", plain(POST, Operation::CreatePhoneCall))
        .route("/v2/get-call/{id}", about(GET, Operation::GetCall))
        .route("/v2/stop-call/{id}", about(POST, Operation::StopCall))
        .route("/v3/list-calls", plain(POST, Operation::ListCalls))
        .route("/get-concurrency", plain(GET, Operation::GetConcurrency))
        .route("/create-agent", plain(POST, Operation::CreateAgent))
        .route("/get-agent/{id}", about(GET, Operation::GetAgent))
        .route("/delete-agent/{id}", about(MethodFilter::DELETE, Operation::DeleteAgent))
        .route("/__ledger", get(show_ledger))
        .route("/__ledger/totals", get(|State(house): Hall| async move { Json(house.totals()) }))
        .with_state(house)
}

fn plain(method: MethodFilter, operation: Operation) -> Door {
    on(method, move |State(house): Hall, request: Request| exchange(house, operation, String::new(), request))
}

/// With one name in the path.
fn about(method: MethodFilter, operation: Operation) -> Door {
    let asked =
        move |State(house): Hall, Path(name): Path<String>, request: Request| exchange(house, operation, name, request);
    on(method, asked)
}

/// A part of the ledger: from entry `from` on, at most `limit`. Both may be left out.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    from: usize,
    #[serde(default = "Part::all")]
    limit: usize,
}

impl Part {
    fn all() -> usize {
        usize::MAX
    }
}

async fn show_ledger(State(house): Hall, Query(part): Query<Part>) -> Json<Value> {
    let entries = house.ledger.entries(part.from, part.limit);
    Json(json!({ "totals": house.totals(), "entries": entries }))
}
