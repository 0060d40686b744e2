use proptest::{collection::vec, prelude::*};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    clock,
    ids::{CallId, OperationId},
};

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

fn call(payload: Value) -> AcceptedCall {
    let (vendor, operation) = (VendorId::new("clay").unwrap(), OperationId::new("enrich").unwrap());
    AcceptedCall::new(CallId(Uuid::from_u128(1)), vendor, operation, payload, WALL)
}

fn key(name: &str) -> CacheKey {
    Cache::new(Some(config())).key_of(&call(json!({ "domain": name }))).unwrap()
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
    assert_eq!(cache.key_of(&call(json!({ "domain": "a" }))), None);
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
}
