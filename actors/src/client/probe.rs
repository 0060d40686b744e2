//! One question whether the vendor is there.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{ClientParts, actor::over_the_wire, build};
use crate::{
    call::AcceptedCall,
    ids::{CallId, OperationId},
    outcome::{Class, Effect, Outcome},
    profile::Operation,
};

/// Asks a vendor by an operation that costs nothing and takes no payload, for at most so long. It is no call: it passes no
/// guard, states no fact and is counted nowhere.
pub async fn probe(parts: &ClientParts, id: &OperationId, timeout: Duration) -> Outcome {
    let Some(operation) = parts.profile.operations.get(id) else {
        return Outcome::without_answer(Class::CallerError, Effect::None, format!("there is no operation {id}"));
    };
    let operation = Operation { timeout, ..operation.clone() };
    let (vendor, payload) = (parts.profile.vendor.clone(), Value::Object(Map::new()));
    let call = AcceptedCall::new(CallId(uuid::Uuid::nil()), vendor, id.clone(), payload, parts.clock.wall());
    let asked = async {
        match parts.functions.get(id) {
            Some(function) => function.attempt(&operation, &call, 1).await,
            None => match build(&parts.profile, &operation, &call) {
                Ok(request) => over_the_wire(parts, &operation, &call, request).await,
                Err(error) => Outcome::without_answer(Class::CallerError, Effect::None, error.to_string()),
            },
        }
    };
    let late = |_| Outcome::without_answer(Class::Timeout, Effect::Unknown, format!("no answer within {timeout:?}"));
    tokio::time::timeout(timeout, asked).await.unwrap_or_else(late)
}
