use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;

fn clay() -> VendorId {
    VendorId::new("clay").unwrap()
}

fn push_row() -> OperationId {
    OperationId::new("push-row").unwrap()
}

fn leads() -> TargetId {
    TargetId::new("leads").unwrap()
}

fn key_of_text(json: &str) -> IdempotencyKey {
    content_key(&clay(), None, None, &push_row(), &serde_json::from_str(json).unwrap())
}

#[test]
fn the_example_of_rfc_8785_comes_out_byte_for_byte() {
    let value: Value = serde_json::from_str(
        r#"{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
             "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#,
    )
    .unwrap();
    let expected = concat!(
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
        r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    assert_eq!(canonical_json(&value), expected);
}

#[test]
fn names_are_sorted_by_utf_16_as_in_rfc_8785() {
    let value = json!({ "\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7 });
    let text = canonical_json(&value);
    let order: String = text.chars().filter(char::is_ascii_digit).collect();
    // `\r`:2, then the name `1` and its value 4, U+0080:6, U+00F6:7, U+20AC:1, U+1F600:5 (as surrogates), U+FB33:3.
    assert_eq!(order, "21467153");
}

#[test]
fn equal_numbers_have_one_spelling() {
    for (spelling, expected) in [
        ("1.0", "1"),
        ("1e0", "1"),
        ("-0.0", "0"),
        ("100e-2", "1"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("-1.5e300", "-1.5e+300"),
        ("0.000001", "0.000001"),
        ("0.00000012", "1.2e-7"),
        ("-123.456", "-123.456"),
        ("5e-324", "5e-324"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1152921504606846976.0", "1152921504606846976"),
    ] {
        let value: Value = serde_json::from_str(spelling).unwrap();
        assert_eq!(canonical_json(&value), expected, "{spelling}");
    }
}

#[test]
fn large_ids_that_differ_by_one_have_different_keys() {
    assert_ne!(key_of_text("9007199254740992"), key_of_text("9007199254740993"));
}

/// Computed with Python's json and hashlib. If this fails, [`SCHEME_VERSION`] or [`TARGET_SCHEME_VERSION`] must change.
#[test]
fn keys_stay_what_they_were() {
    let params = json!({ "tags": ["b", "a"], "n": 1.0, "domain": "acme.com" });
    let key = content_key(&clay(), None, None, &push_row(), &params);
    assert_eq!(key.to_string(), "f066718b6b6606d12e54d807c6dcd0f6395bfd6d97bba9d57650c5053c618b0d");
    let key = content_key(&clay(), None, Some("north"), &push_row(), &params);
    assert_eq!(key.to_string(), "0c3b3e87428fa444067264e442a5b1f8b763feaaf0de488d4c1d62b43c6b7887");
    let (retell, create) = (VendorId::new("retell").unwrap(), OperationId::new("create-phone-call").unwrap());
    let key = caller_key(&retell, None, None, &create, "lead-42 ü");
    assert_eq!(key.to_string(), "5900a9ef2c1558b52cc425fe62033d371a58fc9874651429e487b4896f2e849f");
    let key = content_key(&clay(), Some(&leads()), None, &push_row(), &params);
    assert_eq!(key.to_string(), "36bcbe95dd6db9cfeeacc5783fdba66fdd6d229aa4003e9dc5376f5710204f23");
    let print = fingerprint(&json!({ "name": "Ä\n", "domain": "acme.com" }));
    assert_eq!(print.0[..4], [0x7b, 0x76, 0x39, 0x76]);
}

#[test]
fn vendor_target_tenant_operation_and_the_kind_of_name_are_part_of_the_key() {
    let (retell, other) = (VendorId::new("retell").unwrap(), OperationId::new("other").unwrap());
    let params = json!("lead-42");
    let keys = [
        content_key(&clay(), None, None, &push_row(), &params),
        content_key(&retell, None, None, &push_row(), &params),
        content_key(&clay(), None, Some(""), &push_row(), &params),
        content_key(&clay(), None, Some("north"), &push_row(), &params),
        content_key(&clay(), None, None, &other, &params),
        content_key(&clay(), Some(&leads()), None, &push_row(), &params),
        content_key(&clay(), Some(&TargetId::new("accounts").unwrap()), None, &push_row(), &params),
        caller_key(&clay(), None, None, &push_row(), "lead-42"),
        caller_key(&retell, None, None, &push_row(), "lead-42"),
        caller_key(&clay(), None, Some("north"), &push_row(), "lead-42"),
        caller_key(&clay(), None, None, &other, "lead-42"),
        caller_key(&clay(), Some(&leads()), None, &push_row(), "lead-42"),
        operation_key(&clay(), None, None, &push_row(), "lead-42"),
        operation_key(&retell, None, None, &push_row(), "lead-42"),
        operation_key(&clay(), None, Some("north"), &push_row(), "lead-42"),
    ];
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
}

#[test]
fn any_key_of_a_caller_becomes_64_hex_digits() {
    for key in ["", "a", "\r\nX-Evil: 1", &"ü".repeat(10_000)] {
        let key = caller_key(&clay(), None, None, &push_row(), key).to_string();
        assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    }
}

#[test]
fn missing_null_false_zero_and_empty_are_all_different() {
    let texts = [r"{}", r#"{"a":null}"#, r#"{"a":false}"#, r#"{"a":0}"#, r#"{"a":""}"#, r#"{"a":[]}"#, r#"{"a":{}}"#];
    let different: std::collections::BTreeSet<_> = texts.map(key_of_text).into_iter().collect();
    assert_eq!(different.len(), texts.len());
}

/// A number as it was typed: its sign, its digits without outer zeros, and where the point stands before them. Two numbers are
/// equal when these are.
fn decimal(text: &str) -> (bool, String, i64) {
    let (digits, power) = text.split_once('e').map_or((text, 0), |(digits, power)| (digits, power.parse().unwrap()));
    let (negative, digits) = digits.strip_prefix('-').map_or((false, digits), |digits| (true, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{part}");
    let significant = all.trim_matches('0').to_owned();
    let first = all.find(|digit| digit != '0').map_or(0, |first| first as i64);
    if significant.is_empty() {
        (false, significant, 0)
    } else {
        (negative, significant, power + whole.len() as i64 - first)
    }
}

/// JSON as it was typed, so that two spellings of one value are two of these.
#[derive(Debug, Clone)]
enum Typed {
    Plain(&'static str),
    Number(&'static str),
    Array(Vec<Typed>),
    Object(Vec<(&'static str, Typed)>),
}

impl Typed {
    fn json(&self) -> String {
        match self {
            Self::Plain(text) | Self::Number(text) => (*text).into(),
            Self::Array(items) => format!("[{}]", items.iter().map(Self::json).collect::<Vec<_>>().join(",")),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| format!("{name:?}:{}", value.json()));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The slow and obvious comparison: member by member, digit by digit.
    fn means(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(a), Self::Plain(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => decimal(a) == decimal(b),
            (Self::Array(a), Self::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.means(b)),
            (Self::Object(a), Self::Object(b)) => {
                let in_b = |(name, a): &(&str, Self)| b.iter().any(|(other, b)| name == other && a.means(b));
                a.len() == b.len() && a.iter().all(in_b)
            }
            _ => false,
        }
    }
}

/// Few values in many spellings, so that equal ones meet often. `é` is there as one character and as two.
fn any_typed() -> impl Strategy<Value = Typed> {
    const NUMBERS: [&str; 24] = [
        "0",
        "-0",
        "0.0",
        "-0.0e7",
        "1",
        "1.0",
        "1e0",
        "10e-1",
        "0.1e1",
        "-1",
        "-1.00",
        "1.5",
        "15e-1",
        "0.5",
        "5e-1",
        "9007199254740992",
        "9007199254740992.0",
        "9007199254740993",
        "18446744073709551615",
        "1e300",
        "10e299",
        "1e-7",
        "1e20",
        "100e18",
    ];
    let leaf = prop_oneof![
        1 => prop::sample::select(vec!["null", "true", "false", r#""""#, r#""1""#, "\"\u{e9}\"", "\"e\u{301}\""])
            .prop_map(Typed::Plain),
        2 => prop::sample::select(NUMBERS.to_vec()).prop_map(Typed::Number),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let names = prop::sample::subsequence(vec!["a", "b", "\u{e9}"], 0..=3).prop_shuffle();
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Typed::Array),
            (names, vec(inner, 3)).prop_map(|(names, values)| Typed::Object(names.into_iter().zip(values).collect())),
        ]
    })
}

#[test]
fn a_fingerprint_is_not_shown() {
    assert_eq!(format!("{:?}", fingerprint(&json!(1))), "Fingerprint(..)");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no NaN", |f| f.is_finite()).prop_map(Value::from),
        "\\PC{0,6}|[\\x00-\\x1f\"\\\\]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-e\u{20ac}\u{1f600}]{1,2}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Writes the same JSON with members in another order and with white space.
fn written_otherwise(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[ {} ]", items.iter().map(written_otherwise).collect::<Vec<_>>().join(" ,\n"))
        }
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().rev().map(|(name, v)| format!("{} :\t{}", json!(name), written_otherwise(v))).collect();
            format!("{{\n{} }}", members.join(" , "))
        }
        leaf => leaf.to_string(),
    }
}

/// Changes one member, the `which`th in the order of a walk.
fn change(value: &mut Value, which: &mut usize) -> bool {
    if *which == 0 {
        *value = if *value == json!("changed") { json!("changed again") } else { json!("changed") };
        return true;
    }
    *which -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| change(item, which)),
        Value::Object(members) => members.values_mut().any(|member| change(member, which)),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn order_and_white_space_never_change_the_key(value in any_json()) {
        let again = key_of_text(&written_otherwise(&value));
        prop_assert_eq!(content_key(&clay(), None, None, &push_row(), &value), again);
    }

    #[test]
    fn the_canonical_text_reads_back_as_the_same_value_and_is_its_own_canonical_text(value in any_json()) {
        let text = canonical_json(&value);
        let back: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(canonical_json(&back), text);
        prop_assert_eq!(fingerprint(&back), fingerprint(&value));
    }

    #[test]
    fn two_payloads_have_one_key_exactly_when_a_slow_comparison_finds_them_equal(
        (a, b) in (any_typed(), any_typed())
    ) {
        prop_assert_eq!(key_of_text(&a.json()) == key_of_text(&b.json()), a.means(&b), "{} {}", a.json(), b.json());
    }

    #[test]
    fn any_changed_member_changes_the_key(value in any_json(), which in 0usize..12) {
        let mut other = value.clone();
        let mut which = which;
        prop_assume!(change(&mut other, &mut which));
        prop_assert_ne!(
            content_key(&clay(), None, None, &push_row(), &value),
            content_key(&clay(), None, None, &push_row(), &other)
        );
        prop_assert_ne!(fingerprint(&value), fingerprint(&other));
    }

    #[test]
    fn equal_whole_numbers_are_equal_however_they_are_typed(whole in -(1i64 << 53)..(1 << 53)) {
        prop_assert_eq!(canonical_json(&json!(whole)), canonical_json(&json!(whole as f64)));
    }
}
