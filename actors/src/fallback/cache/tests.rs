use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;
use crate::clock;

const WALL: Timestamp = Timestamp::UNIX_EPOCH;

fn config() -> CacheConfig {
    CacheConfig {
        fresh_for: Duration::from_secs(10),
        stale_for: Duration::from_secs(20),
        keep_for: Duration::from_secs(30),
        entries_max: 3,
        entry_max_bytes: 20,
        bytes_max: 50,
        ..CacheConfig::default()
    }
}

fn operation() -> OperationId {
    OperationId::new("enrich").unwrap()
}

fn key(name: &str) -> CacheKey {
    CacheKey::of("/domain", &operation(), None, &json!({ "domain": name })).unwrap()
}

fn put(cache: &mut Cache, now: Instant, name: &str, value: Value) -> bool {
    let key = key(name);
    let Some(bytes) = cache.decide_put(&key, &value) else { return false };
    cache.apply_put(now, WALL, key, Arc::new(value), bytes);
    true
}

fn get(cache: &Cache, now: Instant, name: &str) -> Option<Value> {
    cache.get(now, &key(name)).map(|hit| (*hit.value).clone())
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
        assert_eq!(CacheKey::of("/domain", &operation(), None, &payload), None, "{payload}");
    }
}

#[test]
fn operations_and_tenants_share_no_answer() {
    let payload = json!({ "domain": "acme.com" });
    let (north, south): (Arc<str>, Arc<str>) = ("north".into(), "south".into());
    let other = OperationId::new("other").unwrap();
    let keys = [(&operation(), None), (&operation(), Some(&north)), (&operation(), Some(&south)), (&other, None)]
        .map(|(operation, tenant)| CacheKey::of("/domain", operation, tenant, &payload).unwrap());
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
}

#[test]
fn an_answer_ages_from_fresh_to_forgotten() {
    let (mut cache, start) = (Cache::new(Some(config())), clock::now());
    assert!(put(&mut cache, start, "acme.com", json!("old")));
    let staleness =
        |seconds| cache.get(start + Duration::from_secs(seconds), &key("acme.com")).map(|hit| hit.staleness);
    assert_eq!(staleness(9), Some(Staleness::Fresh));
    assert_eq!((staleness(10), staleness(19)), (Some(Staleness::Stale), Some(Staleness::Stale)));
    assert_eq!((staleness(20), staleness(29)), (Some(Staleness::VeryStale), Some(Staleness::VeryStale)));
    assert_eq!(staleness(30), None);
    assert_eq!(cache.next_expiry(), Some(start + Duration::from_secs(30)));
    let hit = cache.get(start + Duration::from_secs(12), &key("acme.com")).unwrap();
    assert_eq!((hit.age.as_secs(), hit.stored_at), (12, WALL));
}

#[test]
fn the_least_recently_written_answer_makes_room() {
    let (mut cache, now) = (Cache::new(Some(config())), clock::now());
    for name in ["a", "b", "c", "a", "d"] {
        assert!(put(&mut cache, now, name, json!(name)));
    }
    assert_eq!(get(&cache, now, "b"), None);
    assert_eq!((get(&cache, now, "a"), get(&cache, now, "d")), (Some(json!("a")), Some(json!("d"))));
    let shown = cache.snapshot(VendorId::new("clay").unwrap());
    assert_eq!((shown.entries, shown.evicted, shown.bytes), (3, 1, 3 * 4));
}

#[test]
fn an_answer_that_is_too_large_leaves_the_older_one_in_place() {
    let (mut cache, now) = (Cache::new(Some(config())), clock::now());
    assert!(put(&mut cache, now, "a", json!("small")));
    assert!(!put(&mut cache, now, "a", json!("x".repeat(19))));
    assert_eq!(get(&cache, now, "a"), Some(json!("small")));
}

#[test]
fn a_cache_that_is_off_takes_nothing() {
    let (mut cache, now) = (Cache::new(None), clock::now());
    assert!(!put(&mut cache, now, "a", json!(1)));
    assert_eq!(cache.key_of(&operation(), None, &json!({ "domain": "a" })), None);
    assert_eq!((cache.get(now, &key("a")), cache.next_expiry()), (None, None));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize),
    Get(u8),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..6, 0usize..24).prop_map(|(name, length)| Step::Put(name, length)),
        3 => (0u8..6).prop_map(Step::Get),
        2 => (1u64..20).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The model: a list of what was written, oldest first.
    #[test]
    fn the_cache_does_what_a_plain_list_would_do(steps in vec(any_step(), 1..80)) {
        let (mut cache, mut now) = (Cache::new(Some(config())), clock::now());
        let mut list: Vec<(u8, String, Instant)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Get(name) => {
                    let known = list.iter().find(|(known, ..)| *known == name);
                    let expected = known.filter(|(_, _, at)| now - *at < config().keep_for);
                    let found = get(&cache, now, &name.to_string());
                    prop_assert_eq!(found, expected.map(|(_, text, _)| json!(text)));
                }
                Step::Put(name, length) => {
                    let text = "x".repeat(length);
                    let taken = put(&mut cache, now, &name.to_string(), json!(text));
                    prop_assert_eq!(taken, length + 2 <= 20);
                    if !taken {
                        continue;
                    }
                    list.retain(|(known, _, at)| *known != name && now - *at < config().keep_for);
                    list.push((name, text, now));
                    let bytes = |list: &[(u8, String, Instant)]| list.iter().map(|(_, t, _)| t.len() + 3).sum::<usize>();
                    while list.len() > 3 || bytes(&list) > 50 {
                        list.remove(0);
                    }
                    prop_assert_eq!(cache.bytes, bytes(&list));
                }
            }
            prop_assert!(cache.entries.len() <= 3 && cache.bytes <= 50);
            prop_assert_eq!(cache.entries.len(), cache.order.len());
        }
    }

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
