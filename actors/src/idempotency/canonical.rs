//! One spelling for equal JSON, and the keys made from it. Pure.
//!
//! The spelling is RFC 8785 (JCS): no white space, members sorted by the UTF-16 code units of their names, strings with
//! the shortest escapes, numbers as ECMAScript writes them. So `1`, `1.0` and `1e0` are one number, and `-0.0` is `0`.
//!
//! One deviation, on purpose: whole numbers below 10^21 are written exactly. RFC 8785 rounds them to a double, and two
//! different ids above 2^53 would then share a key. Up to 2^53 the text is RFC 8785's, byte for byte.
//!
//! Characters are taken as they are: no Unicode normalisation, so `é` as one character or as two are different texts.

use std::fmt::{self, Write};

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use crate::{
    call::IdempotencyKey,
    ids::{OperationId, TargetId, VendorId},
};

/// The version of the rule that makes keys. It is part of every key, so a new rule never meets an old key by chance.
pub const SCHEME_VERSION: u32 = 1;

/// The same for calls that name a target, which is then part of the key: a row in one table is no row in another. The keys of
/// all other calls are as they were.
pub const TARGET_SCHEME_VERSION: u32 = 2;

/// SHA-256 of a payload's canonical JSON. Not shown by `Debug`: a short payload could be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// The key of an effect that its content names: equal params of one tenant, operation, target and vendor are one effect.
/// 64 lower-case hex digits. `tenant: None` and `Some("")` are different tenants.
pub fn content_key(
    vendor: &VendorId,
    target: Option<&TargetId>,
    tenant: Option<&str>,
    operation: &OperationId,
    params: &Value,
) -> IdempotencyKey {
    key_of(vendor, target, tenant, operation, ("params", params))
}

/// The key of an effect that the caller names. Hashed too: whatever its length and characters, the vendor gets 64
/// lower-case hex digits, and the caller's own ids stay at home. Never equal to a [`content_key`].
pub fn caller_key(
    vendor: &VendorId,
    target: Option<&TargetId>,
    tenant: Option<&str>,
    operation: &OperationId,
    key: &str,
) -> IdempotencyKey {
    key_of(vendor, target, tenant, operation, ("key", &Value::from(key)))
}

/// The key of an effect that the caller names by an operation of its own: like a [`caller_key`], and marked, because the vendor
/// gets the UUID of the call that owns it instead. Never equal to another kind of key.
pub fn operation_key(
    vendor: &VendorId,
    target: Option<&TargetId>,
    tenant: Option<&str>,
    operation: &OperationId,
    id: &str,
) -> IdempotencyKey {
    let key = key_of(vendor, target, tenant, operation, ("operation_id", &Value::from(id)));
    IdempotencyKey(format!("{}{key}", IdempotencyKey::OF_OPERATION_ID).into())
}

fn key_of(
    vendor: &VendorId,
    target: Option<&TargetId>,
    tenant: Option<&str>,
    operation: &OperationId,
    name: (&str, &Value),
) -> IdempotencyKey {
    let scheme = Value::from(target.map_or(SCHEME_VERSION, |_| TARGET_SCHEME_VERSION));
    let vendor = Value::from(vendor.as_str());
    let target = target.map(|target| Value::from(target.as_str()));
    let tenant = tenant.map_or(Value::Null, Value::from);
    let operation = Value::from(operation.as_str());
    let members = [name, ("operation", &operation), ("scheme", &scheme), ("tenant", &tenant), ("vendor", &vendor)];
    let members = members.into_iter().chain(target.iter().map(|target| ("target", target)));
    let digest = hash(|out| write_object(members, out));
    let mut text = String::with_capacity(64);
    for byte in digest {
        // A `String` takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    IdempotencyKey(text.into())
}

/// What a payload is recognised by.
pub fn fingerprint(payload: &Value) -> Fingerprint {
    Fingerprint(hash(|out| write_value(payload, out)))
}

/// The canonical text itself.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    // A `String` takes everything.
    let _ = write_value(value, &mut text);
    text
}

/// Takes text, keeps its hash. Never refuses any.
struct Hasher(Sha256);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

fn hash(write: impl FnOnce(&mut Hasher) -> fmt::Result) -> [u8; 32] {
    let mut hasher = Hasher(Sha256::new());
    // A `Hasher` takes everything.
    let _ = write(&mut hasher);
    hasher.0.finalize().into()
}

fn write_value(value: &Value, out: &mut impl Write) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(true) => out.write_str("true"),
        Value::Bool(false) => out.write_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => write_array(items, out),
        Value::Object(members) => write_object(members.iter().map(|(name, value)| (name.as_str(), value)), out),
    }
}

fn write_array(items: &[Value], out: &mut impl Write) -> fmt::Result {
    out.write_char('[')?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.write_char(',')?;
        }
        write_value(item, out)?;
    }
    out.write_char(']')
}

fn write_object<'a>(members: impl IntoIterator<Item = (&'a str, &'a Value)>, out: &mut impl Write) -> fmt::Result {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.write_char('{')?;
    for (at, (name, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.write_char(',')?;
        }
        write_string(name, out)?;
        out.write_char(':')?;
        write_value(value, out)?;
    }
    out.write_char('}')
}

fn write_string(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\u{8}' => out.write_str("\\b")?,
            '\t' => out.write_str("\\t")?,
            '\n' => out.write_str("\\n")?,
            '\u{c}' => out.write_str("\\f")?,
            '\r' => out.write_str("\\r")?,
            '\0'..='\u{1f}' => write!(out, "\\u{:04x}", u32::from(c))?,
            _ => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

fn write_number(number: &Number, out: &mut impl Write) -> fmt::Result {
    if let Some(whole) = number.as_i128() {
        return write!(out, "{whole}");
    }
    match number.as_f64() {
        Some(float) => write_float(float, out),
        // Only numbers of any length, a feature of serde_json that is off here, come to this.
        None => write!(out, "{number}"),
    }
}

/// ECMAScript's `Number::toString`, but whole numbers below 10^21 exactly. JSON knows no NaN and no infinity.
fn write_float(float: f64, out: &mut impl Write) -> fmt::Result {
    if float.fract() == 0.0 && float.abs() < 1e21 {
        return write!(out, "{:.0}", float + 0.0);
    }
    // The shortest digits that read back as the same double: `-d.ddde-7`.
    let text = format!("{:e}", float.abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.replace('.', "");
    let (first, rest) = digits.split_at(1);
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if float < 0.0 { "-" } else { "" };
    let dot = if rest.is_empty() { "" } else { "." };
    match exponent {
        0..21 => {
            let (whole, part) = digits.split_at(digits.len().min(exponent as usize + 1));
            write!(out, "{sign}{whole}.{part}")
        }
        -6..0 => write!(out, "{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
        _ => write!(out, "{sign}{first}{dot}{rest}e{exponent:+}"),
    }
}

#[cfg(test)]
mod tests;
