//! JSON pointers of a profile. As in RFC 6901, and `*` stands for every item of an array or member of an object.

use serde_json::Value;

use crate::faults::Faults;

/// Every value at a pointer.
pub(super) fn find<'a>(body: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let Some((before, after)) = pointer.split_once("/*") else { return body.pointer(pointer).into_iter().collect() };
    let inner: Vec<&Value> = match body.pointer(before) {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Object(members)) => members.values().collect(),
        _ => Vec::new(),
    };
    inner.into_iter().flat_map(|value| find(value, after)).collect()
}

/// Notes a text that is no pointer.
pub(super) fn check(pointer: &str, field: &str, faults: &mut Faults) {
    let fine =
        pointer.starts_with('/') && pointer.split("/*").skip(1).all(|rest| rest.is_empty() || rest.starts_with('/'));
    faults.require(fine, field, || format!("{pointer:?} is no JSON pointer such as /data/id or /data/*/id"));
}

/// Notes a text that is no pointer to one place.
pub(super) fn check_one(pointer: &str, field: &str, faults: &mut Faults) {
    check(pointer, field, faults);
    let one = !pointer.split('/').any(|part| part == "*");
    faults.require(one, field, || format!("{pointer:?} leads to several places, and one is needed"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_star_stands_for_every_item() {
        let body = json!({"data": [{"status": "complete"}, {"status": "failed"}, {}], "n": 1});
        assert_eq!(find(&body, "/n"), [&json!(1)]);
        assert_eq!(find(&body, "/data/*/status"), [&json!("complete"), &json!("failed")]);
        assert_eq!(find(&body, "/data/*").len(), 3);
        assert_eq!(find(&json!({"a": {"x": [1]}, "b": {"x": [2, 3]}}), "/*/x/*"), [&json!(1), &json!(2), &json!(3)]);
        for nothing in ["/none", "/n/*", "/data/*/none", "/data/*/status/*"] {
            assert!(find(&body, nothing).is_empty(), "{nothing}");
        }
    }

    fn is_wrong(check: fn(&str, &str, &mut Faults), pointer: &str) -> bool {
        let mut faults = Faults::default();
        check(pointer, "at", &mut faults);
        faults.into_result().is_err()
    }

    #[test]
    fn a_text_that_is_no_pointer_is_named() {
        assert!(["", "data", "/data/*id"].into_iter().all(|text| is_wrong(check, text)));
        assert!(!["/data", "/data/*", "/data/*/id"].into_iter().any(|text| is_wrong(check, text)));
    }

    #[test]
    fn a_pointer_to_several_places_is_a_fault_where_one_is_needed() {
        assert!(["", "data", "/data/*", "/data/*/id"].into_iter().all(|text| is_wrong(check_one, text)));
        assert!(!["/data", "/data/0/id", "/5*"].into_iter().any(|text| is_wrong(check_one, text)));
    }
}
