//! Clay's table webhook: rows go in at once and come back enriched later. It knows no idempotency.

use std::sync::Arc;

use mainstay_actors::{clock, faults::Faults};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    callbacks::{Callbacks, Places, check_url},
    ledger::{Ledger, Open},
    rng_of,
    vendor::{Answer, Ask, Bucket, CALL_FIELD, Rate, Spread},
};

/// The simulated Clay account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClayConfig {
    /// The webhook source, the last part of its path. Default: a fixed one.
    pub webhook_id: Uuid,
    /// What `x-clay-webhook-auth` must carry; nothing is asked for without it. Default none.
    pub token: Option<String>,
    /// Records per second. Default 10/s, burst 20 (Clay's own limits, per workspace).
    pub rate: Rate,
    /// The largest body, in bytes. Default 102,400 (Clay: 100 KB).
    pub body_max_bytes: usize,
    /// Where enriched rows are posted. Default none: rows are charged and nobody is called.
    pub callback_url: Option<String>,
    /// How long the enrichment of a row, or a run, takes. Default 50 to 500 ms: Clay takes seconds to minutes, a simulation has less time.
    pub enrichment: Spread,
    /// Least credits for a row. Default 4.
    pub credits_min: u32,
    /// Most credits for a row. Default 6 ("about 6 per lead").
    pub credits_max: u32,
    /// What the header `clay-api-key` of the public API must carry. Default `key_test`.
    pub api_key: String,
    /// The share of a run's items that fail, `0.0 ..= 1.0`. They cost nothing. Default 0.
    pub failed_share: f64,
    /// Credits that runs may use; then the public API answers 402 with the time of the reset. Default none: no end.
    pub quota: Option<u32>,
}

impl Default for ClayConfig {
    fn default() -> Self {
        Self {
            webhook_id: Uuid::from_u128(0xc1a7_0000_0000_4000_8000_0000_0000_0001),
            token: None,
            rate: Rate { per_second: 10.0, burst: 20 },
            body_max_bytes: 100 * 1024,
            callback_url: None,
            enrichment: Spread::millis(50, 500),
            credits_min: 4,
            credits_max: 6,
            api_key: "key_test".into(),
            failed_share: 0.0,
            quota: None,
        }
    }
}

impl ClayConfig {
    /// The last segment of the webhook's path.
    pub(super) fn source(&self) -> String {
        format!("pull-in-data-from-a-webhook-{}", self.webhook_id)
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        self.rate.check(&mut faults.under("rate"));
        self.enrichment.check(&mut faults.under("enrichment"));
        check_url(self.callback_url.as_deref(), faults);
        faults.require(self.credits_min <= self.credits_max, "credits_max", || {
            format!("{} is below credits_min", self.credits_max)
        });
        faults.require((0.0..=1.0).contains(&self.failed_share), "failed_share", || {
            format!("{} is not within 0.0..=1.0", self.failed_share)
        });
    }
}

pub(super) struct Clay {
    config: ClayConfig,
    seed: u64,
    ledger: Arc<Ledger>,
    callbacks: Arc<Callbacks>,
    table: Mutex<Table>,
}

struct Table {
    bucket: Bucket,
    rows: u64,
}

impl Clay {
    pub(super) fn new(config: ClayConfig, seed: u64, ledger: Arc<Ledger>, callbacks: Arc<Callbacks>) -> Self {
        let table = Mutex::new(Table { bucket: Bucket::new(config.rate), rows: 0 });
        Self { config, seed, ledger, callbacks, table }
    }

    /// Takes rows.
    pub(super) fn answer(&self, ask: &Ask, open: &Open) -> Answer {
        if ask.argument != self.config.source() {
            return error(404);
        }
        if self.config.token.is_some() && ask.header("x-clay-webhook-auth") != self.config.token.as_deref() {
            return error(401);
        }
        if ask.body.len() > self.config.body_max_bytes {
            return error(413);
        }
        let rows = match &ask.json {
            Some(Value::Array(rows)) => rows.as_slice(),
            Some(row) => std::slice::from_ref(row),
            None => return error(400),
        };
        if !rows.iter().all(Value::is_object) {
            return error(400);
        }
        let mut table = self.table.lock();
        let Some(mut places) = self.callbacks.places(rows.len()) else { return error(503) };
        if let Err(wait) = table.bucket.take(rows.len(), clock::now()) {
            let retry_after_secs = Some(wait.as_secs_f64().ceil().max(1.0) as u64);
            return Answer { retry_after_secs, ..error(429) };
        }
        for (at, row) in rows.iter().enumerate() {
            table.rows += 1;
            open.effect(at);
            if let Some(place) = places.one() {
                self.enrich(table.rows, open.at(at), row, place);
            }
        }
        Answer::new(200, json!({}))
    }

    /// Enriches a row, later: its charge and its callback. What comes out depends on the seed and the row's number.
    fn enrich(&self, number: u64, entry: usize, row: &Value, place: Places) {
        let mut rng = rng_of(self.seed, &["clay", &number.to_string()]);
        let delay = self.config.enrichment.draw(&mut rng);
        let credits = rng.u32(self.config.credits_min..=self.config.credits_max);
        let enriched = json!({
            "company_name": format!("Company {}", rng.u32(1..10_000)),
            "employees": rng.u32(1..5_000),
            "industry": (*rng.choice(&["software", "logistics", "health", "retail"]).unwrap_or(&"software")),
        });
        let body = json!({
            CALL_FIELD: row.get(CALL_FIELD),
            "enriched": enriched,
            "credits": credits,
        });
        let ledger = self.ledger.clone();
        self.callbacks.later(place, delay, self.config.callback_url.as_deref(), &mut rng, move || {
            ledger.charge(entry, u64::from(credits) * 1_000_000);
            body
        });
    }
}

/// Clay's error envelope.
pub(super) fn error(status: u16) -> Answer {
    let message = match status {
        400 => "invalid JSON",
        401 => "unauthorized",
        402 => "out of credits",
        404 => "webhook source not found",
        413 => "Payload Too Large",
        429 => "rate limit exceeded",
        503 => "too many rows are waiting to be enriched",
        _ => "an unexpected error occurred",
    };
    Answer::new(status, json!({ "message": message }))
}

/// A success that is none.
pub(super) fn false_success() -> Answer {
    Answer::new(200, json!({ "success": false, "message": "the row was not added" }))
}
