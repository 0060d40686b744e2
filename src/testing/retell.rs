//! Retell AI's REST interface: calls are placed, live for a while, and end with a cost and a callback.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mainstay_actors::{
    clock::{self, SystemWall, WallClock},
    faults::Faults,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    Vendor,
    callbacks::{Callbacks, Places, check_url},
    ledger::{Ledger, Open},
    rng_of,
    vendor::{Answer, Ask, Bucket, Operation, Rate, Spread},
};

/// The simulated Retell workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetellConfig {
    /// What `Authorization: Bearer` must carry. Default `key_test`.
    pub api_key: String,
    /// Live calls at once. Default 20 (Retell's own, per workspace).
    pub live_max: u32,
    /// Call starts. Default 1/s, burst 1 (Retell's own).
    pub starts: Rate,
    /// How long a call lives. Default 200 ms to 2 s: real calls take minutes, a simulation has less time.
    pub call_length: Spread,
    /// The price of a minute, in cents. Default 10 (published bundles: 7 to 31). Costs are rounded to hundredths of a cent.
    pub cents_per_minute: u64,
    /// Where the end of a call is posted. Default none.
    pub callback_url: Option<String>,
    /// How long a key stands for its call. Default 1 h (Retell's own).
    #[serde(with = "mainstay_actors::duration")]
    pub key_window: Duration,
    /// What may be spent, in millionths of a cent: once as much is charged, calls are answered 402. Default none: no end.
    /// `0` is a workspace that is exhausted from the start.
    pub credit_micros: Option<u64>,
}

impl Default for RetellConfig {
    fn default() -> Self {
        Self {
            api_key: "key_test".into(),
            live_max: 20,
            starts: Rate { per_second: 1.0, burst: 1 },
            call_length: Spread::millis(200, 2_000),
            cents_per_minute: 10,
            callback_url: None,
            key_window: Duration::from_secs(3_600),
            credit_micros: None,
        }
    }
}

impl RetellConfig {
    pub(super) fn check(&self, faults: &mut Faults) {
        self.starts.check(&mut faults.under("starts"));
        self.call_length.check(&mut faults.under("call_length"));
        check_url(self.callback_url.as_deref(), faults);
    }

    /// The cost of a call, in millionths of a cent.
    fn cost_micros(&self, length: Duration) -> u64 {
        let exact = length.as_secs_f64() / 60.0 * self.cents_per_minute as f64;
        (exact * 100.0).round() as u64 * 10_000
    }
}

pub(super) struct Retell {
    config: RetellConfig,
    seed: u64,
    ledger: Arc<Ledger>,
    callbacks: Arc<Callbacks>,
    desk: Mutex<Desk>,
}

/// Calls and keys are never removed: there are no more of them than entries in the ledger, which is bounded.
struct Desk {
    bucket: Bucket,
    calls: Vec<Value>,
    by_id: HashMap<String, usize>,
    by_key: HashMap<String, (usize, Instant)>,
    /// The live calls, and how each is stopped.
    live: HashMap<usize, oneshot::Sender<()>>,
    agents: BTreeMap<String, Value>,
    agents_made: u64,
    spent_micros: u64,
}

impl Retell {
    pub(super) fn new(config: RetellConfig, seed: u64, ledger: Arc<Ledger>, callbacks: Arc<Callbacks>) -> Arc<Self> {
        let desk = Mutex::new(Desk {
            bucket: Bucket::new(config.starts),
            calls: Vec::new(),
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            live: HashMap::new(),
            agents: BTreeMap::new(),
            agents_made: 0,
            spent_micros: 0,
        });
        Arc::new(Self { config, seed, ledger, callbacks, desk })
    }

    /// Answers one of its operations.
    pub(super) fn answer(self: &Arc<Self>, ask: &Ask, open: &Open) -> Answer {
        let bearer = ask.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if bearer != Some(self.config.api_key.as_str()) {
            return error(401);
        }
        match ask.operation {
            Operation::GetCall => self.read(&ask.argument),
            Operation::GetConcurrency => self.concurrency(),
            Operation::ListCalls => self.list(ask.json.as_ref()),
            Operation::StopCall => self.stop(&ask.argument),
            Operation::CreateAgent => self.create_agent(ask.json.as_ref()),
            Operation::GetAgent => self
                .desk
                .lock()
                .agents
                .get(&ask.argument)
                .map_or_else(not_there, |agent| Answer::new(200, agent.clone())),
            Operation::DeleteAgent => {
                self.desk.lock().agents.remove(&ask.argument).map_or_else(not_there, |_| Answer::new(204, Value::Null))
            }
            _ => self.create(ask, open),
        }
    }

    fn create(self: &Arc<Self>, ask: &Ask, open: &Open) -> Answer {
        let Some(json) = &ask.json else { return error(400) };
        let number = |name| json.get(name).and_then(Value::as_str).filter(|number| is_e164(number));
        let (Some(_), Some(_)) = (number("from_number"), number("to_number")) else { return error(400) };
        let key = json.get("idempotency_key").and_then(Value::as_str);

        let now = clock::now();
        let mut desk = self.desk.lock();
        if let Some(call) = key.and_then(|key| desk.by_this_key(key, now, self.config.key_window)) {
            return Answer::new(201, call.clone());
        }
        if self.config.credit_micros.is_some_and(|credit| desk.spent_micros >= credit) {
            return error(402);
        }
        if desk.live.len() >= self.config.live_max as usize {
            return error(429);
        }
        let Some(place) = self.callbacks.places(1) else { return error(503) };
        if desk.bucket.take(1, now).is_err() {
            return error(429);
        }
        let (at, call) = desk.add(self.seed, json, "registered");
        if let Some(key) = key {
            desk.by_key.insert(key.to_owned(), (at, now));
        }
        open.effect(0);
        let stop = self.ring(at, open.at(0), place);
        desk.live.insert(at, stop);
        self.ledger.live(Vendor::Retell, desk.live.len() as u64);
        Answer::new(201, call)
    }

    /// Lets a call live and end. How long depends on the seed and the call's number, unless it is stopped before.
    fn ring(self: &Arc<Self>, at: usize, entry: usize, place: Places) -> oneshot::Sender<()> {
        let mut rng = rng_of(self.seed, &["retell", &at.to_string()]);
        let length = self.config.call_length.draw(&mut rng);
        let (stop, stopped) = oneshot::channel();
        let (me, begun) = (self.clone(), clock::now());
        let over = async move {
            let _ = tokio::time::timeout(length, stopped).await;
        };
        self.callbacks.once(place, over, self.config.callback_url.as_deref(), &mut rng, move || {
            let mut desk = me.desk.lock();
            let was_stopped = desk.live.remove(&at).is_none();
            let length = if was_stopped { clock::now().saturating_duration_since(begun).min(length) } else { length };
            let cost = me.config.cost_micros(length);
            me.ledger.charge(entry, cost);
            desk.spent_micros += cost;
            let call = desk.calls.get_mut(at).map(|call| {
                end(call, length, cost, if was_stopped { "manual_stopped" } else { "user_hangup" });
                call.clone()
            });
            json!({ "event": "call_ended", "call": call })
        });
        stop
    }

    fn stop(&self, id: &str) -> Answer {
        let mut desk = self.desk.lock();
        let Some(at) = desk.by_id.get(id).copied() else { return error(422) };
        let Some(stop) = desk.live.remove(&at) else { return error(400) };
        let _ = stop.send(());
        Answer::new(204, Value::Null)
    }

    fn read(&self, id: &str) -> Answer {
        let desk = self.desk.lock();
        match desk.by_id.get(id).and_then(|&at| desk.calls.get(at)) {
            Some(call) => Answer::new(200, call.clone()),
            None => error(422),
        }
    }

    fn create_agent(&self, asked: Option<&Value>) -> Answer {
        let Some(Value::Object(asked)) = asked else { return error(400) };
        let mut desk = self.desk.lock();
        desk.agents_made += 1;
        let id = format!("agent_{:032x}", rng_of(self.seed, &["agent", &desk.agents_made.to_string()]).u128(..));
        let mut agent = asked.clone();
        agent.insert("agent_id".into(), json!(id));
        desk.agents.insert(id, Value::Object(agent.clone()));
        Answer::new(201, Value::Object(agent))
    }

    fn concurrency(&self) -> Answer {
        let body = json!({
            "current_concurrency": self.desk.lock().live.len(),
            "concurrency_limit": self.config.live_max,
            "base_concurrency": self.config.live_max,
            "purchased_concurrency": 0,
            "concurrency_purchase_limit": 100,
            "remaining_purchase_limit": 100,
            "concurrency_burst_enabled": false,
            "concurrency_burst_limit": 0,
            "reserved_inbound_concurrency": 0,
        });
        Answer::new(200, body)
    }

    /// Calls, newest first, whose metadata meet every `{"type":"string","op":"eq","key":..,"value":..}` of the filter.
    fn list(&self, json: Option<&Value>) -> Answer {
        let Some(json) = json else { return error(400) };
        let filters = json.pointer("/filter_criteria/metadata").and_then(Value::as_array).cloned().unwrap_or_default();
        if !filters.iter().all(|filter| filter.get("op").and_then(Value::as_str) == Some("eq")) {
            return error(400);
        }
        let limit = json.get("limit").and_then(Value::as_u64).unwrap_or(50).clamp(1, 1_000) as usize;
        let desk = self.desk.lock();
        let mut found: Vec<_> =
            desk.calls.iter().rev().filter(|call| meets(call, &filters)).take(limit + 1).cloned().collect();
        let has_more = found.len() > limit;
        found.truncate(limit);
        Answer::new(200, json!({ "items": found, "has_more": has_more }))
    }

    /// A success that is none. A call that failed at once is known to the vendor, but nobody was rung and nothing is charged;
    /// its key stays free.
    pub(super) fn false_success(&self, ask: &Ask) -> Answer {
        if ask.operation != Operation::CreatePhoneCall {
            return Answer { status: 200, ..error(500) };
        }
        let none = Value::Null;
        let (_, call) = self.desk.lock().add(self.seed, ask.json.as_ref().unwrap_or(&none), "error");
        Answer::new(201, call)
    }
}

impl Desk {
    fn by_this_key(&self, key: &str, now: Instant, window: Duration) -> Option<&Value> {
        let &(at, since) = self.by_key.get(key)?;
        if now.saturating_duration_since(since) >= window {
            return None;
        }
        self.calls.get(at)
    }

    /// Writes a call down. Its id depends on the seed and its number.
    fn add(&mut self, seed: u64, asked: &Value, status: &str) -> (usize, Value) {
        let at = self.calls.len();
        let id = format!("call_{:032x}", rng_of(seed, &["call", &at.to_string()]).u128(..));
        let mut call = json!({
            "call_id": id,
            "call_type": "phone_call",
            "agent_id": asked.get("override_agent_id").and_then(Value::as_str).unwrap_or("agent_simulated"),
            "agent_version": 0,
            "call_status": status,
            "direction": "outbound",
            "from_number": asked.get("from_number"),
            "to_number": asked.get("to_number"),
            "metadata": asked.get("metadata").cloned().unwrap_or_else(|| json!({})),
        });
        if status == "error" {
            set(&mut call, "disconnection_reason", json!("telephony_provider_unavailable"));
        }
        self.by_id.insert(id, at);
        self.calls.push(call.clone());
        (at, call)
    }
}

fn end(call: &mut Value, length: Duration, cost_micros: u64, reason: &str) {
    let ended = SystemWall.wall();
    let started = ended.checked_sub(length).unwrap_or(Timestamp::UNIX_EPOCH);
    set(call, "call_status", json!("ended"));
    set(call, "start_timestamp", json!(started.as_millisecond()));
    set(call, "end_timestamp", json!(ended.as_millisecond()));
    set(call, "duration_ms", json!(length.as_millis() as u64));
    set(call, "disconnection_reason", json!(reason));
    let cost = json!({
        "combined_cost": cost_micros as f64 / 1_000_000.0,
        "total_duration_seconds": length.as_secs_f64().ceil() as u64,
        "product_costs": [],
    });
    set(call, "call_cost", cost);
}

fn not_there() -> Answer {
    error(422)
}

fn set(call: &mut Value, field: &str, value: Value) {
    if let Some(fields) = call.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

fn meets(call: &Value, filters: &[Value]) -> bool {
    filters.iter().all(|filter| {
        let wanted = filter.get("value");
        let key = filter.get("key").and_then(Value::as_str);
        wanted.is_some() && key.and_then(|key| call.get("metadata")?.get(key)) == wanted
    })
}

/// `+` and 2 to 15 digits, the first of them not 0.
fn is_e164(number: &str) -> bool {
    let Some(digits) = number.strip_prefix('+') else { return false };
    (2..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Retell's error envelope.
pub(super) fn error(status: u16) -> Answer {
    let message = match status {
        400 => "Invalid request format, please check API reference.",
        401 => "API key is missing or invalid.",
        402 => "Trial has ended, please add payment method.",
        404 => "Not found.",
        422 => "Cannot find requested asset under given api key.",
        429 => "Account rate limited, please throttle your requests.",
        503 => "Too many calls are waiting for their end.",
        _ => "An unexpected server error occurred.",
    };
    Answer::new(status, json!({ "status": "error", "message": message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_e164_or_refused() {
        for good in ["+14155550100", "+49", "+442071838750"] {
            assert!(is_e164(good), "{good}");
        }
        for bad in ["", "+", "14155550100", "+0123", "+1-415", "+1234567890123456", "+1\u{663}"] {
            assert!(!is_e164(bad), "{bad}");
        }
    }

    #[test]
    fn a_cost_in_cents_comes_back_to_the_same_millionths() {
        let config = RetellConfig { cents_per_minute: 31, ..RetellConfig::default() };
        for millis in (0..200_000).step_by(37) {
            let micros = config.cost_micros(Duration::from_millis(millis));
            let cents = micros as f64 / 1_000_000.0;
            assert_eq!((cents * 1_000_000.0).round() as u64, micros);
        }
        assert_eq!(config.cost_micros(Duration::from_secs(60)), 31_000_000);
    }
}
