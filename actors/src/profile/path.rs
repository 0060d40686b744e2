//! What of a payload travels in the address: the values for the placeholders of a path, and the query. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::faults::Faults;

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The payload cannot become a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RequestError {
    /// Which field or pointer.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl RequestError {
    /// A field and what is wrong with it.
    pub fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// The names between braces, in their order.
pub(super) fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// Notes a template that cannot be filled.
pub(super) fn check(path: &str, faults: &mut Faults) {
    faults.require(path.is_empty() || path.starts_with('/'), "path", || {
        format!("{path:?} must be empty or begin with /")
    });
    let named = |rest: &str| rest.split_once('}').is_some_and(|(name, after)| !name.is_empty() && !after.contains('}'));
    let mut parts = path.split('{');
    let fine = parts.next().is_none_or(|head| !head.contains('}')) && parts.all(named);
    faults.require(fine, "path", || format!("{path:?} has a brace without its partner, or nothing between two"));
}

/// Fills the placeholders of a path from the payload, and takes what was used out of it.
///
/// # Errors
///
/// A value that is not there, is empty, is no text or number, or would lead to another path (`.` and `..`).
pub fn fill(path: &str, payload: &mut Value) -> Result<String, RequestError> {
    let mut filled = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, (name, after))) = rest.split_once('{').and_then(|(b, r)| Some((b, r.split_once('}')?))) {
        let value = payload.as_object_mut().and_then(|members| members.remove(name));
        let text = text_of(value.as_ref()).filter(|text| !text.is_empty() && text != "." && text != "..").ok_or_else(
            || RequestError::new(name, format!("must be a text or a number, not empty: it is part of the path {path}")),
        )?;
        filled.push_str(before);
        filled.extend(utf8_percent_encode(&text, RESERVED));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// A payload as a query, without its question mark. A list becomes a parameter for each of its items; null is left out.
///
/// # Errors
///
/// A value that is itself an object, or a list of more than texts and numbers.
pub fn query(payload: &Map<String, Value>) -> Result<String, RequestError> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in payload {
        let items = match value {
            Value::Null => continue,
            Value::Array(items) => items.as_slice(),
            value => std::slice::from_ref(value),
        };
        for item in items {
            let text = text_of(Some(item)).ok_or_else(|| {
                RequestError::new(name, "cannot travel in a query: it must be a text, a number or a list of them")
            })?;
            query.append_pair(name, &text);
        }
    }
    Ok(query.finish())
}

fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_filled_from_the_payload_and_takes_what_it_used() {
        let mut payload = json!({"call_id": "call/1 ü?#%", "page": 2, "limit": 10});
        assert_eq!(
            fill("/v2/{page}/get-call/{call_id}/x", &mut payload).unwrap(),
            "/v2/2/get-call/call%2F1%20%C3%BC%3F%23%25/x"
        );
        assert_eq!(payload, json!({"limit": 10}));
        assert_eq!(fill("/v2/list", &mut payload).unwrap(), "/v2/list");
    }

    #[test]
    fn a_missing_or_empty_value_or_one_that_leads_elsewhere_is_refused_by_name() {
        for value in [json!(""), json!("."), json!(".."), Value::Null, json!(["a"]), json!({"a": 1})] {
            let error = fill("/get-call/{call_id}", &mut json!({"call_id": value})).unwrap_err();
            assert_eq!(error.field, "call_id", "{value}");
        }
        assert!(fill("/get-call/{call_id}", &mut json!({})).is_err());
        assert!(fill("/get-call/{call_id}", &mut json!("no object")).is_err());
    }

    #[test]
    fn a_query_has_a_parameter_for_each_value() {
        let query_of = |payload: Value| query(payload.as_object().unwrap());
        let payload = json!({"email": "a+b@c.test", "n": 3, "all": true, "none": null, "tag": ["x", "y z"]});
        assert_eq!(query_of(payload).unwrap(), "all=true&email=a%2Bb%40c.test&n=3&tag=x&tag=y+z");
        assert_eq!(query_of(json!({})).unwrap(), "");
        assert_eq!(query_of(json!({"deep": {"a": 1}})).unwrap_err().field, "deep");
        assert_eq!(query_of(json!({"list": [[1]]})).unwrap_err().field, "list");
    }

    #[test]
    fn a_template_that_cannot_be_filled_is_a_fault() {
        let wrong = |path: &str| {
            let mut faults = Faults::default();
            check(path, &mut faults);
            faults.into_result().is_err()
        };
        assert!(["v2", "/{", "/}", "/{}", "/{a}}", "/{{a}}", "/a}{b}"].into_iter().all(wrong));
        assert!(!["", "/", "/v2/{a}", "/{a}/{b}/c"].into_iter().any(wrong));
    }

    proptest! {
        #[test]
        fn whatever_the_value_it_stays_one_segment_of_the_path(value in ".+") {
            prop_assume!(value != "." && value != "..");
            let path = fill("/a/{id}/b", &mut json!({"id": value})).unwrap();
            prop_assert!(path.is_ascii() && path.split('/').count() == 4 && !path.contains(['?', '#', ' ']));
        }
    }
}
