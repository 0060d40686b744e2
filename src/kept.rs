//! The vendor's answer as it is kept on disk beside its key.

use std::sync::Arc;

use mainstay_actors::{credits::Credits, idempotency::Keep, ids::CallId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Delivered, Shared};

/// JSON, so that a field can be added: what is missing takes its default, what is unknown is passed over.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    body: Value,
    vendor_ref: Option<String>,
    pending: bool,
    attempts: u32,
    cost_micros: Option<u64>,
}

impl Keep for Shared {
    fn to_bytes(&self) -> Vec<u8> {
        // What is parked or unknown is no answer: the parked call itself is on disk.
        let Self::Delivered(delivered) = self else { return Vec::new() };
        let kept = Kept {
            body: delivered.body.clone(),
            vendor_ref: delivered.vendor_ref.clone(),
            pending: delivered.pending,
            attempts: delivered.attempts,
            cost_micros: delivered.cost.map(Credits::micros),
        };
        serde_json::to_vec(&kept).unwrap_or_default()
    }

    fn from_bytes(call: CallId, bytes: Option<&[u8]>) -> Self {
        let kept: Kept = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        Self::Delivered(Arc::new(Delivered {
            call,
            body: kept.body,
            vendor_ref: kept.vendor_ref,
            pending: kept.pending,
            attempts: kept.attempts,
            cost: kept.cost_micros.map(Credits::from_micros),
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn call() -> CallId {
        CallId(Uuid::from_u128(7))
    }

    fn delivered(shared: &Shared) -> &Delivered {
        let Shared::Delivered(delivered) = shared else { panic!("{shared:?}") };
        delivered
    }

    #[test]
    fn an_answer_comes_back_from_the_disk_as_it_was() {
        let answer = Delivered {
            call: call(),
            body: json!({ "call_id": "c-1", "n": 9007199254740993u64 }),
            vendor_ref: Some("c-1".into()),
            pending: true,
            attempts: 2,
            cost: Some(Credits::whole(6)),
        };
        let kept = Shared::Delivered(Arc::new(answer.clone())).to_bytes();
        assert_eq!(delivered(&Shared::from_bytes(call(), Some(&kept))), &answer);
    }

    #[test]
    fn an_answer_that_was_not_kept_or_cannot_be_read_is_done_without_a_body() {
        for bytes in [None, Some(&b"not json"[..]), Some(&b"{\"of\":\"another version\"}"[..])] {
            let shared = Shared::from_bytes(call(), bytes);
            assert_eq!((delivered(&shared).call, &delivered(&shared).body), (call(), &Value::Null));
        }
    }
}
