//! From a call to a request. Pure.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::WireRequest;
use crate::{
    call::AcceptedCall,
    profile::{Auth, KeyCarrier, Operation, Profile},
};

/// The payload cannot carry what must travel with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RequestError {
    /// Which field or pointer.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Builds the request of one attempt: the payload, with the call's id and key where the operation wants them.
pub fn build(profile: &Profile, operation: &Operation, call: &AcceptedCall) -> Result<WireRequest, RequestError> {
    let address = profile
        .address(call.target.as_ref())
        .ok_or_else(|| RequestError { field: "target".into(), problem: "the vendor has no such target".into() })?;
    let mut body = call.payload.clone();
    if let Some(pointer) = &operation.correlation {
        put(&mut body, pointer, Value::from(call.id.to_string()))?;
    }
    let mut headers = vec![("content-type".to_owned(), SecretString::from("application/json".to_owned()))];
    match (&operation.key_carrier, call.key_for_vendor()) {
        (KeyCarrier::Body(field), Some(key)) => put(&mut body, &format!("/{field}"), Value::from(key.0.as_ref()))?,
        (KeyCarrier::Header(name), Some(key)) => headers.push((name.clone(), SecretString::from(key.0.to_string()))),
        _ => {}
    }
    match address.auth {
        Auth::None => {}
        Auth::Bearer(key) => {
            headers.push(("authorization".into(), SecretString::from(format!("Bearer {}", key.expose_secret()))));
        }
        Auth::Header { name, value } => headers.push((name.clone(), value.clone())),
    }
    let url = format!("{}{}", address.base_url.expose_secret().trim_end_matches('/'), operation.path);
    let body = serde_json::to_vec(&body).map_err(|error| RequestError {
        field: "payload".into(),
        problem: format!("cannot be written as JSON: {error}"),
    })?;
    Ok(WireRequest {
        method: operation.method,
        url: SecretString::from(url),
        headers,
        body,
        timeout: operation.timeout,
    })
}

/// Puts a value at a JSON pointer, making the objects on the way.
fn put(body: &mut Value, pointer: &str, value: Value) -> Result<(), RequestError> {
    let wrong = || RequestError {
        field: pointer.to_owned(),
        problem: "the payload must be an object down to here, because the call's id or key is put there".into(),
    };
    let mut parts = pointer.trim_start_matches('/').split('/').peekable();
    let mut at = body;
    while let Some(part) = parts.next() {
        let object = at.as_object_mut().ok_or_else(wrong)?;
        if parts.peek().is_none() {
            object.insert(part.to_owned(), value);
            return Ok(());
        }
        at = object.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{
        call::IdempotencyKey,
        ids::{CallId, OperationId},
        profile::Retell,
    };

    fn sent(carrier: KeyCarrier, key: &str) -> (WireRequest, Value) {
        let profile = Retell::workspace("k").profile("retell").unwrap();
        let (vendor, id) = (profile.vendor.clone(), OperationId::new(Retell::CREATE_PHONE_CALL).unwrap());
        let operation = Operation { key_carrier: carrier, ..profile.operations[&id].clone() };
        let call = AcceptedCall::new(CallId(Uuid::from_u128(7)), vendor, id, json!({ "n": 1 }), Timestamp::UNIX_EPOCH);
        let call = AcceptedCall { key: Some(IdempotencyKey(key.into())), ..call };
        let request = build(&profile, &operation, &call).unwrap();
        let body = serde_json::from_slice(&request.body).unwrap();
        (request, body)
    }

    fn header(request: &WireRequest, wanted: &str) -> Option<String> {
        let found = request.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.expose_secret().to_owned())
    }

    #[test]
    fn a_key_travels_in_a_header_or_a_field_of_the_body_or_not_at_all() {
        let (request, body) = sent(KeyCarrier::Header("idempotency-key".into()), "abc");
        assert_eq!((header(&request, "idempotency-key").as_deref(), body.get("key")), (Some("abc"), None));
        let (request, body) = sent(KeyCarrier::Body("key".into()), "abc");
        assert_eq!((header(&request, "idempotency-key"), body.get("key")), (None, Some(&json!("abc"))));
        let (request, body) = sent(KeyCarrier::None, "abc");
        assert_eq!((header(&request, "idempotency-key"), body.get("key")), (None, None));
    }

    #[test]
    fn the_key_of_an_operation_id_travels_as_the_uuid_of_its_call() {
        let (_, body) = sent(KeyCarrier::Body("key".into()), &format!("{}abc", IdempotencyKey::OF_OPERATION_ID));
        assert_eq!(body.get("key"), Some(&json!("00000000-0000-0000-0000-000000000007")));
    }
}
