//! What a test of an application that uses mainstay needs: vendors that misbehave on command, and accidents inside actors.
//!
//! # Why it exists
//!
//! What mainstay promises ("no effect twice, no request lost, never above the budget") cannot be checked by what mainstay
//! says of itself. The [`Simulator`] is a real HTTP server that speaks the vendors' interfaces, does what a [`Script`] says
//! at the times it says, and keeps a ledger of its own, which shares no code and no memory with the runtime. [`Chaos`] makes
//! actors panic, hang and be slow, loses messages, and makes the store fail, run full and be slow.
//!
//! ```
//! use std::time::Duration;
//!
//! use mainstay::testing::{Episode, Fault, Script, Simulator, SimulatorConfig, Vendor};
//!
//! # fn main() -> std::io::Result<()> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // From the 2nd to the 30th second, a tenth of Retell's calls are placed and never answered.
//! let script = Script::seeded(7).episode(Episode {
//!     from: Duration::from_secs(2),
//!     until: Duration::from_secs(30),
//!     vendor: Vendor::Retell,
//!     fault: Fault::BlackHole { effect: true },
//!     share: 0.1,
//! });
//! let vendors = Simulator::start(SimulatorConfig { seed: 7, script, ..SimulatorConfig::default() })?;
//!
//! // Point the profiles at these, with the API key `key_test`, and let the application run.
//! assert!(vendors.clay_url().starts_with("http://127.0.0.1:"));
//! assert!(vendors.retell_url().starts_with("http://127.0.0.1:"));
//!
//! // Then ask the vendors what they saw.
//! assert_eq!(vendors.totals().retell.duplicate_effects, 0);
//! vendors.stop().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # The way of one request
//!
//! ```text
//!   read whole --> ledger: an entry --> script: a fault? --no--> the vendor's rules --> effect? --> answer
//!                  (full: 507)              |                     (401 400 413 429 402 503)
//!                                           +-- with effect ----> the vendor's rules --> effect? --+
//!                                           +-- without --------------------------------------------+--> late, cut, reset,
//!   effect --> ... --> charge --> callback (up to 3 tries; dropped or doubled by share)                 false or no answer
//! ```
//!
//! # Served
//!
//! | path | what |
//! | --- | --- |
//! | `POST /v3/sources/webhook/pull-in-data-from-a-webhook-<uuid>` | Clay: one row, or an array of rows |
//! | `GET /public/v0/me`, `GET /public/v0/credits/balance` | Clay's public API: who, and what is left |
//! | `POST /public/v0/routines/{id}/run`, `GET /public/v0/routines/run/{id}/results` | Clay's public API: a run of items, and its results |
//! | `POST /v2/create-phone-call` | Retell: a call; `idempotency_key` holds for an hour |
//! | `GET /v2/get-call/{id}`, `GET /get-concurrency`, `POST /v3/list-calls` | Retell: what there is |
//! | `POST /v2/stop-call/{id}` | Retell: ends a live call now |
//! | `POST /create-agent`, `GET /get-agent/{id}`, `DELETE /delete-agent/{id}` | Retell: agents |
//! | `GET /__ledger?from=&limit=`, `GET /__ledger/totals` | the ledger, without faults and not counted in it |
//!
//! # Limits and defaults
//!
//! 1,000,000 ledger entries (507 beyond), 10,000 effects still to be charged (503 beyond), 1,024 connections (more wait),
//! 8 MiB a body (413 beyond, not in the ledger), 1,000 episodes in a script.
//!
//! # What it never does
//!
//! It never persists anything, never reaches out but to the callback addresses it was given, and is no place for secrets: the
//! ledger keeps the hash of a body, and keys and call ids in clear.

mod callbacks;
pub mod chaos;
mod clay;
mod clay_api;
mod ledger;
mod retell;
mod routes;
pub mod script;
mod simulator;
mod vendor;

pub use callbacks::CallbackConfig;
pub use chaos::{Action, Chaos, Rule};
pub use clay::ClayConfig;
pub use ledger::{Entry, Totals, VendorTotals};
pub use retell::RetellConfig;
pub use script::{Episode, Fault, Script, Vendor};
pub use simulator::{Simulator, SimulatorConfig};
pub use vendor::{Rate, Spread};

use sha2::{Digest, Sha256};

/// The stream of random numbers that belongs to a name: the same for the same seed, whatever else is drawn.
fn rng_of(seed: u64, name: &[&str]) -> fastrand::Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    for part in name {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    fastrand::Rng::with_seed(digest.first_chunk().map_or(seed, |bytes| u64::from_be_bytes(*bytes)))
}
