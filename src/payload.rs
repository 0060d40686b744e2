//! What a payload may look like, found out without recursion deeper than its limit.

use serde_json::Value;

/// How deep a payload may be nested, its outermost object included. Everything that reads JSON recurses, and 128 levels are
/// the most that `serde_json` reads back: a deeper call could be parked and never be taken up again.
pub const PAYLOAD_DEPTH_MAX: usize = 64;

/// Whether arrays and objects lie in one another in at most `levels` levels.
pub(crate) fn fits_in(payload: &Value, levels: usize) -> bool {
    let inner = |value: &Value| levels > 0 && fits_in(value, levels - 1);
    match payload {
        Value::Array(items) => levels > 0 && items.iter().all(inner),
        Value::Object(members) => levels > 0 && members.values().all(inner),
        _ => true,
    }
}

/// Drops a payload level by level: its own destructor recurses, and a stack that overflows ends the process.
pub(crate) fn take_apart(payload: Value) {
    let mut rest = vec![payload];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(members) => rest.extend(members.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

/// The length of a payload as JSON, without writing it anywhere.
pub(crate) fn json_bytes(payload: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, payload) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_is_as_deep_as_its_deepest_place() {
        assert!(fits_in(&json!(1), 0));
        for (payload, depth) in [(json!({}), 1), (json!([1, []]), 2), (json!({ "a": 1, "b": [{ "c": null }] }), 3)] {
            assert!(fits_in(&payload, depth) && !fits_in(&payload, depth - 1), "{payload}");
        }
    }
}
