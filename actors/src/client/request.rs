//! From a call to a request. Pure.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::WireRequest;
use crate::{
    call::AcceptedCall,
    profile::{Auth, KeyCarrier, Operation, Profile, RequestError, fill, query},
};

/// Builds the request of one attempt: the payload, with the call's id and key where the operation wants them, parted among
/// path, query and body.
///
/// # Errors
///
/// What of the payload cannot travel.
pub fn build(profile: &Profile, operation: &Operation, call: &AcceptedCall) -> Result<WireRequest, RequestError> {
    let address = profile
        .address(call.target.as_ref())
        .ok_or_else(|| RequestError::new("target", "the vendor has no such target"))?;
    let mut payload = call.payload.clone();
    if let Some(pointer) = &operation.correlation {
        put(&mut payload, pointer, Value::from(call.id.to_string()))?;
    }
    let mut headers: Vec<_> =
        profile.headers.iter().map(|(name, value)| (name.clone(), SecretString::from(value.as_str()))).collect();
    headers.extend(address.auth.header());
    match (&operation.key_carrier, call.key_for_vendor()) {
        (KeyCarrier::Body(field), Some(key)) => put(&mut payload, &format!("/{field}"), Value::from(key.0.as_ref()))?,
        (KeyCarrier::Header(name), Some(key)) => headers.push((name.clone(), SecretString::from(key.0.to_string()))),
        _ => {}
    }
    let base = address.base_url.expose_secret().trim_end_matches('/');
    let mut url = format!("{base}{}", fill(&operation.path, &mut payload)?);
    let mut body = Vec::new();
    if operation.method.has_body() {
        headers.push(("content-type".into(), SecretString::from("application/json")));
        body = serde_json::to_vec(&payload)
            .map_err(|error| RequestError::new("payload", format!("cannot be written as JSON: {error}")))?;
    } else if let Value::Object(members) = &payload {
        append(&mut url, &query(members)?);
    }
    if let Auth::Query { name, value } = address.auth {
        let key = form_urlencoded::Serializer::new(String::new()).append_pair(name, value.expose_secret()).finish();
        append(&mut url, &key);
    }
    Ok(WireRequest { method: operation.method, url: url.into(), headers, body, timeout: operation.timeout })
}

/// Adds parameters to an address that may have some.
fn append(url: &mut String, query: &str) {
    if query.is_empty() {
        return;
    }
    url.push(if url.contains('?') { '&' } else { '?' });
    url.push_str(query);
}

/// Puts a value at a JSON pointer, making the objects on the way.
fn put(body: &mut Value, pointer: &str, value: Value) -> Result<(), RequestError> {
    let wrong = || {
        let problem = "the payload must be an object down to here, because the call's id or key is put there";
        RequestError::new(pointer, problem)
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
        profile::{Method, Retell},
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

    fn profile(text: Value) -> Profile {
        serde_json::from_value::<Profile>(text).unwrap().named("vendor").unwrap()
    }

    fn request(profile: &Profile, operation: &str, payload: Value) -> Result<WireRequest, RequestError> {
        let id = OperationId::new(operation).unwrap();
        let call = AcceptedCall {
            key: Some(IdempotencyKey("key-1".into())),
            ..AcceptedCall::new(CallId(Uuid::nil()), profile.vendor.clone(), id.clone(), payload, Timestamp::UNIX_EPOCH)
        };
        build(profile, &profile.operations[&id], &call)
    }

    /// Method, address, headers and body, as the vendor would see them.
    fn seen(request: &WireRequest) -> (Method, &str, Vec<(&str, &str)>, Value) {
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        (request.method, request.url.expose_secret(), headers, body)
    }

    const JSON: (&str, &str) = ("content-type", "application/json");

    #[test]
    fn the_payload_is_parted_among_path_query_and_body_as_the_method_wants() {
        let profile = profile(json!({
            "base_url": "https://x.test/api/",
            "headers": {"x-version": "3"},
            "operations": {
                "read": {"method": "GET", "path": "/calls/{id}"},
                "change": {"method": "PATCH", "path": "/calls/{id}"},
                "remove": {"method": "DELETE", "path": "/calls/{id}"},
                "stop": {"path": "/calls/{id}/stop"},
            },
        }));
        let version = ("x-version", "3");
        for (operation, method, url, headers, body) in [
            ("read", Method::Get, "https://x.test/api/calls/a%2Fb?n=1", vec![version], Value::Null),
            ("change", Method::Patch, "https://x.test/api/calls/a%2Fb", vec![version, JSON], json!({"n": 1})),
            ("remove", Method::Delete, "https://x.test/api/calls/a%2Fb?n=1", vec![version], Value::Null),
            ("stop", Method::Post, "https://x.test/api/calls/a%2Fb/stop", vec![version, JSON], json!({"n": 1})),
        ] {
            let request = request(&profile, operation, json!({"id": "a/b", "n": 1})).unwrap();
            assert_eq!(seen(&request), (method, url, headers, body), "{operation}");
        }
        let refused = request(&profile, "read", json!({"id": ""})).unwrap_err();
        assert_eq!(refused.field, "id");
        assert_eq!(request(&profile, "read", json!({"id": "a", "deep": {}})).unwrap_err().field, "deep");
    }

    #[test]
    fn the_key_and_the_credentials_travel_as_the_profile_says() {
        let with = |auth: Value, carrier: Value| {
            let send = json!({"path": "/send", "key_carrier": carrier, "correlation": "/meta/id"});
            let profile = profile(json!({"base_url": "https://x.test", "auth": auth, "operations": {"send": send}}));
            request(&profile, "send", json!({"a": 1})).unwrap()
        };
        let id = Uuid::nil().to_string();
        let header = with(json!({"bearer": "k"}), json!({"header": "Idempotency-Key"}));
        let expected = vec![("authorization", "Bearer k"), ("Idempotency-Key", "key-1"), JSON];
        assert_eq!(seen(&header), (Method::Post, "https://x.test/send", expected, json!({"a": 1, "meta": {"id": id}})));
        let body = with(json!({"query": {"name": "api key", "value": "k&1"}}), json!({"body": "idempotency_key"}));
        let expected = json!({"a": 1, "meta": {"id": id}, "idempotency_key": "key-1"});
        assert_eq!(seen(&body), (Method::Post, "https://x.test/send?api+key=k%261", vec![JSON], expected));
        assert!(!format!("{body:?}").contains("k%26"));
    }
}
