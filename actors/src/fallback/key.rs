//! Under which name an answer is remembered. Pure.

use std::{str::FromStr, sync::Arc};

use crate::{
    call::AcceptedCall,
    ids::{OperationId, TargetId},
};

/// Longest key, in bytes: all its texts together. What is named by longer ones is not cached.
pub const KEY_MAX_BYTES: usize = 256;

/// Which texts of a payload name what is asked for: `{/domain}`, or `{/domain}|{/country}` for two of them. What stands
/// between them is for people's eyes. A JSON pointer alone, `/domain`, is a template of one.
///
/// ```
/// use mainstay_actors::fallback::KeyTemplate;
///
/// assert_eq!("/domain".parse::<KeyTemplate>(), "{/domain}".parse());
/// assert!("{/domain}|{/country}".parse::<KeyTemplate>().is_ok());
/// assert!("{domain}".parse::<KeyTemplate>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    pointers: Vec<String>,
}

impl FromStr for KeyTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') && !text.contains(['{', '}']) {
            return Ok(Self { pointers: vec![text.to_owned()] });
        }
        let (mut pointers, mut rest) = (Vec::new(), text);
        while let Some((between, begun)) = rest.split_once('{') {
            let (pointer, behind) = begun.split_once('}').ok_or_else(|| format!("{text:?} lacks a closing brace"))?;
            if between.contains('}') || !pointer.starts_with('/') || pointer.contains('{') {
                return Err(format!("{text:?} is no template: write JSON pointers in braces, such as {{/domain}}"));
            }
            pointers.push(pointer.to_owned());
            rest = behind;
        }
        if pointers.is_empty() || rest.contains('}') {
            return Err(format!("{text:?} is no template: write JSON pointers in braces, such as {{/domain}}"));
        }
        Ok(Self { pointers })
    }
}

/// What an answer is remembered under. Answers of different tenants, operations or targets never share one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    operation: OperationId,
    target: Option<TargetId>,
    tenant: Option<Arc<str>>,
    /// One for each pointer, apart: joined, `a|b` and `c` would be `a` and `b|c`.
    names: Arc<[String]>,
}

impl CacheKey {
    /// The key of a call; `None` when its payload has no text at a pointer, a blank one, or more than [`KEY_MAX_BYTES`] of
    /// them: such a payload shares no key with anything.
    pub fn of(template: &KeyTemplate, call: &AcceptedCall) -> Option<Self> {
        let name = |pointer: &String| normalise(call.payload.pointer(pointer)?.as_str()?);
        let names = template.pointers.iter().map(name).collect::<Option<Arc<[String]>>>()?;
        let (operation, target, tenant) = (call.operation.clone(), call.target.clone(), call.tenant.clone());
        let key = Self { operation, target, tenant, names };
        (key.bytes() <= KEY_MAX_BYTES).then_some(key)
    }

    /// The bytes of its texts.
    pub fn bytes(&self) -> usize {
        self.names.iter().map(String::len).sum()
    }
}

/// One spelling for one name. White space around it never counts. What looks like a domain (letters, digits, `-` and at least
/// one `.`) is lower-cased and loses a leading `www.` and a trailing dot. Anything else stays as it is: two ids that differ
/// in case may be two things, and a miss is better than somebody else's answer.
pub fn normalise(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > KEY_MAX_BYTES {
        return None;
    }
    let plain = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.'));
    if !plain || !text.contains('.') {
        return Some(text.to_owned());
    }
    let lower = text.to_lowercase();
    let bare = lower.strip_suffix('.').unwrap_or(&lower);
    // `www.com` is a domain of its own.
    let name = bare.strip_prefix("www.").filter(|rest| rest.contains('.')).unwrap_or(bare);
    if name.is_empty() || name.len() > KEY_MAX_BYTES { None } else { Some(name.to_owned()) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::ids::{CallId, VendorId};

    fn call(payload: Value) -> AcceptedCall {
        let (vendor, operation) = (VendorId::new("clay").unwrap(), OperationId::new("enrich").unwrap());
        AcceptedCall::new(CallId(Uuid::from_u128(1)), vendor, operation, payload, Timestamp::UNIX_EPOCH)
    }

    fn key(template: &str, payload: Value) -> Option<CacheKey> {
        CacheKey::of(&template.parse().unwrap(), &call(payload))
    }

    #[test]
    fn spellings_of_one_domain_are_one_key() {
        for spelling in ["acme.com", " ACME.com\n", "www.acme.com", "WWW.Acme.Com."] {
            assert_eq!(normalise(spelling).as_deref(), Some("acme.com"), "{spelling:?}");
        }
        assert_eq!(normalise("www.com").as_deref(), Some("www.com"));
        assert_eq!(normalise("sub.acme.co.uk").as_deref(), Some("sub.acme.co.uk"));
    }

    #[test]
    fn what_is_no_domain_keeps_its_case() {
        for text in ["aB3", "Ann@Acme.com", "https://www.Acme.com", "www."] {
            let expected = if text == "www." { "www" } else { text };
            assert_eq!(normalise(&format!(" {text} ")).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_missing_blank_odd_or_endless_key_is_no_key() {
        for payload in [
            json!({}),
            json!({ "domain": null }),
            json!({ "domain": 7 }),
            json!({ "domain": "" }),
            json!({ "domain": " \t" }),
            json!({ "domain": "." }),
            json!({ "domain": "x".repeat(KEY_MAX_BYTES + 1) }),
            json!({ "domain": { "name": "acme.com" } }),
            json!("acme.com"),
        ] {
            assert_eq!(key("/domain", payload.clone()), None, "{payload}");
        }
        let long = "x".repeat(KEY_MAX_BYTES / 2 + 1);
        assert_eq!(key("{/a}{/b}", json!({ "a": long, "b": long })), None);
    }

    #[test]
    fn operations_targets_and_tenants_share_no_answer() {
        let payload = json!({ "domain": "acme.com" });
        let plain = call(payload);
        let of_tenant = |tenant: &str| AcceptedCall { tenant: Some(tenant.into()), ..plain.clone() };
        let other = AcceptedCall { operation: OperationId::new("other").unwrap(), ..plain.clone() };
        let template = "/domain".parse().unwrap();
        let elsewhere = AcceptedCall { target: Some(TargetId::new("leads").unwrap()), ..plain.clone() };
        let keys = [plain.clone(), of_tenant("north"), of_tenant("south"), other, elsewhere]
            .map(|call| CacheKey::of(&template, &call).unwrap());
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    #[test]
    fn a_key_of_several_fields_needs_all_of_them_and_keeps_them_apart() {
        let both = |domain: &str, country: &str| json!({ "domain": domain, "country": country });
        let of = |domain, country| key("{/domain}|{/country}", both(domain, country));
        assert_eq!(of("WWW.Acme.com", " DE "), of("acme.com", "DE"));
        assert_ne!(of("acme.com", "DE"), of("acme.com", "FR"));
        assert_ne!(of("a|b", "c"), of("a", "b|c"));
        assert_eq!(key("{/domain}|{/country}", json!({ "domain": "acme.com" })), None);
        assert_eq!(key("{/company/domain}", json!({ "company": { "domain": "ACME.com" } })).unwrap().bytes(), 8);
    }

    #[test]
    fn what_is_no_template_is_refused_in_words() {
        for text in ["", "domain", "{domain}", "{}", "{/a", "/a}", "{/a}}", "{{/a}}", "}{/a}"] {
            assert!(text.parse::<KeyTemplate>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_name_is_its_own_normal_name(text in "\\PC{0,12}|(WWW|www|Acme|com|\\.| ){0,6}") {
            if let Some(name) = normalise(&text) {
                prop_assert!(!name.trim().is_empty() && name.len() <= KEY_MAX_BYTES);
                let again = normalise(&name);
                // `www.www.acme.com` loses one `www.` a time.
                prop_assert!(again.as_ref() == Some(&name) || name.starts_with("www.") || name.ends_with('.'));
            }
        }
    }
}
