//! What the application offers, by chance.

use super::*;

pub(super) struct Draw(pub(super) Rng);

impl Draw {
    pub(super) fn chance(&self, share: f64) -> bool {
        self.0.unit() < share
    }

    pub(super) fn below(&self, limit: usize) -> usize {
        (self.0.unit() * limit as f64) as usize
    }

    pub(super) fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(self.0.unit())
    }
}

pub(super) fn random_call(draw: &Draw, now: jiff::Timestamp) -> Call {
    let (vendor, operation, _) = VENDORS[draw.below(2)];
    // Few keys: repeats, joins and conflicts are common.
    let key = draw.below(40);
    let payload = match (vendor, draw.chance(0.05)) {
        ("clay", other) => json!({ "lead_id": key, "domain": format!("company{}.example", key % 7), "other": other }),
        (_, other) => {
            let mut payload = phone();
            payload["metadata"] = json!({ "key": key, "other": other });
            payload
        }
    };
    let mut call = Call::new(vendor, operation, payload)
        .lane(["critical", "normal", "bulk"][draw.below(3)])
        .deadline(Duration::from_millis(200) + draw.up_to(s(200)));
    if vendor == "retell" || draw.chance(0.3) {
        call = call.key(format!("key-{key}"));
    }
    if draw.chance(0.1) {
        call = call.expires_at(now + jiff::SignedDuration::from_millis(draw.below(60_000) as i64));
    }
    if draw.chance(0.2) {
        call = call.on_denied([OnDenied::Refuse, OnDenied::Queue, OnDenied::DeadLetter][draw.below(3)]);
    }
    match draw.below(10) {
        0 | 1 => call.without_fallback(),
        2 => call.chain([Step::Queue]),
        3 => call.chain([]),
        _ => call,
    }
}
