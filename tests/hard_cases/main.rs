//! Promises that hold in the corners: leases that run out, replays of unknown calls, lost loops, parked actors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]
#[path = "../support/mod.rs"]
mod support;

mod down;
mod repeats;
mod replays;

use std::{sync::Arc, time::Duration};

use mainstay::{
    Answer, Because, Call, CallError, Completion, Credits, Delivery, Handle, VendorConfig,
    actors::{
        client::WireFault,
        dlq::{Filter, Kind},
        ids::ActorId,
        kernel::Hazard,
        outcome::Effect,
        profile::{Completion as Owed, Repeat},
        refusal::Reason,
    },
};
use parking_lot::Mutex;
use serde_json::json;
use support::{Reply, Wire, builder, clay, lead, ok, paused, phone, retell, start, turn, until};

const HOUR: Duration = Duration::from_secs(3600);

fn operations(config: &mut VendorConfig) -> impl Iterator<Item = &mut mainstay::actors::profile::Operation> {
    config.profile.as_mut().unwrap().operations.values_mut()
}

fn repeated(wire: &Wire, repeat: Repeat) -> VendorConfig {
    clay(wire).with(|config| operations(config).for_each(|operation| operation.repeat = repeat))
}

fn row(n: usize) -> Call {
    Call::new("clay", "push-row", lead(n))
}

fn dial(key: &str) -> Call {
    Call::new("retell", "create-phone-call", phone()).key(key).deadline(Duration::from_secs(600))
}

fn never_sent() -> Reply {
    Reply::Fail(WireFault::Connect, Duration::from_millis(5))
}

/// Panics at the `n`th message of this name, from 1.
struct Strike {
    at: (&'static str, &'static str),
    on: Mutex<Vec<u32>>,
    seen: Mutex<u32>,
}

impl Strike {
    fn new(actor: &'static str, message: &'static str, on: &[u32]) -> Arc<Self> {
        Arc::new(Self { at: (actor, message), on: Mutex::new(on.to_vec()), seen: Mutex::new(0) })
    }
}

impl Hazard for Strike {
    fn strike(&self, actor: &ActorId, message: &'static str) {
        if (actor.as_str(), message) != self.at {
            return;
        }
        let mut seen = self.seen.lock();
        *seen += 1;
        let now = *seen;
        drop(seen);
        assert!(!self.on.lock().contains(&now), "as planned");
    }
}

async fn settled(handle: &Handle) -> mainstay::Snapshot {
    turn().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let snapshot = handle.snapshot();
    assert!(snapshot.calls.add_up(), "{:?}", snapshot.calls);
    snapshot
}
