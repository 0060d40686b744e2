//! Clay's public API: who one is, what is left, and runs of routines whose results are asked for. It knows no idempotency: a
//! run that comes twice runs twice.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mainstay_actors::clock::{SystemWall, WallClock as _};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    ClayConfig,
    callbacks::{Callbacks, Places},
    clay::error,
    ledger::{Ledger, Open},
    rng_of,
    vendor::{Answer, Ask, Operation},
};

/// Most items of one run (Clay's own limit).
const ITEMS_MAX: usize = 100;

/// When a used up quota is filled again.
const QUOTA_PERIOD: Duration = Duration::from_secs(3600);

pub(super) struct ClayApi {
    config: ClayConfig,
    seed: u64,
    ledger: Arc<Ledger>,
    callbacks: Arc<Callbacks>,
    desk: Mutex<Desk>,
}

/// Runs are never removed: there are no more of them than entries in the ledger, which is bounded.
#[derive(Default)]
struct Desk {
    /// The results of each run; none while it runs.
    runs: HashMap<String, Option<Value>>,
    used: u32,
}

impl ClayApi {
    pub(super) fn new(config: ClayConfig, seed: u64, ledger: Arc<Ledger>, callbacks: Arc<Callbacks>) -> Arc<Self> {
        Arc::new(Self { config, seed, ledger, callbacks, desk: Mutex::default() })
    }

    /// Answers one of its operations.
    pub(super) fn answer(self: &Arc<Self>, ask: &Ask, open: &Open) -> Answer {
        if ask.header("clay-api-key") != Some(self.config.api_key.as_str()) {
            return error(401);
        }
        match ask.operation {
            Operation::RunRoutine => self.run(ask, open),
            Operation::GetResults => self.results(&ask.argument),
            Operation::GetBalance => self.balance(),
            _ => Answer::new(200, json!({ "user": { "id": 1 }, "workspace": { "id": 2 } })),
        }
    }

    fn run(self: &Arc<Self>, ask: &Ask, open: &Open) -> Answer {
        let Some(items) = ask.json.as_ref().and_then(|json| json.get("items")?.as_array()) else { return error(400) };
        if !(1..=ITEMS_MAX).contains(&items.len()) {
            return error(400);
        }
        let mut desk = self.desk.lock();
        if self.config.quota.is_some_and(|quota| desk.used >= quota) {
            return self.used_up(desk.used);
        }
        let Some(place) = self.callbacks.places(items.len()) else { return error(503) };
        let id = format!("run_{:032x}", rng_of(self.seed, &["run", &desk.runs.len().to_string()]).u128(..));
        desk.runs.insert(id.clone(), None);
        (0..items.len()).for_each(|row| open.effect(row));
        self.end_later(&id, items, open.at(0), place);
        Answer::new(202, json!({ "routine_run_id": id, "status": "in_progress" }))
    }

    /// Ends a run, later: its charges and its results. An item that fails is not charged.
    fn end_later(self: &Arc<Self>, id: &str, items: &[Value], first: usize, place: Places) {
        let mut rng = rng_of(self.seed, &["clay-run", id]);
        let delay = self.config.enrichment.draw(&mut rng);
        let done: Vec<_> = items
            .iter()
            .map(|item| {
                let failed = rng.f64() < self.config.failed_share;
                let credits = rng.u32(self.config.credits_min..=self.config.credits_max);
                (item.get("id").cloned().unwrap_or_default(), (!failed).then_some(credits))
            })
            .collect();
        let (me, id) = (self.clone(), id.to_owned());
        self.callbacks.later(place, delay, None, &mut rng, move || {
            let mut desk = me.desk.lock();
            for (row, (_, credits)) in done.iter().enumerate() {
                let credits = credits.unwrap_or_default();
                me.ledger.charge(first + row, u64::from(credits) * 1_000_000);
                desk.used += credits;
            }
            let data: Vec<_> = done.into_iter().map(|(item, credits)| result(item, credits)).collect();
            desk.runs.insert(id, Some(json!({ "data": data })));
            Value::Null
        });
    }

    fn results(&self, id: &str) -> Answer {
        match self.desk.lock().runs.get(id) {
            None => error(404),
            Some(None) => Answer::new(202, json!({ "routine_run_id": id, "status": "in_progress" })),
            Some(Some(results)) => Answer::new(200, results.clone()),
        }
    }

    fn balance(&self) -> Answer {
        let used = self.desk.lock().used;
        let left = self.config.quota.map(|quota| quota.saturating_sub(used));
        Answer::new(200, json!({ "credits": left, "used": used }))
    }

    fn used_up(&self, used: u32) -> Answer {
        let wall = SystemWall.wall();
        let quota = json!({
            "limit": self.config.quota,
            "used": used,
            "remaining": 0,
            "resets_at": wall.checked_add(QUOTA_PERIOD).unwrap_or(wall),
        });
        Answer::new(402, json!({ "message": "out of credits", "period_quota": quota }))
    }
}

fn result(item: Value, credits: Option<u32>) -> Value {
    match credits {
        Some(credits) => json!({ "id": item, "status": "complete", "result": { "credits": credits } }),
        None => json!({ "id": item, "status": "failed", "error": { "message": "the provider failed" } }),
    }
}
