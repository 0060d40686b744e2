use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{clock, fallback::CacheConfig, refusal::Guard};

fn everything() -> FallbackConfig {
    FallbackConfig { cache: Some(CacheConfig::default()), queue: true }
}

fn walk(config: &FallbackConfig, has_local: bool, situation: Situation) -> Vec<Step> {
    let mut tried = Vec::new();
    while tried.last() != Some(&Step::DeadLetter) {
        let next = next_step(config, has_local, &tried, &situation);
        tried.push(next);
    }
    tried
}

const ALL: Situation = Situation { stand_in: true, queue: true, due: None };

#[test]
fn the_chain_goes_cache_queue_local_dead_letter_as_far_as_configured() {
    use Step::{Cache, DeadLetter, Local, Queue};
    let (cache_off, queue_off) = (FallbackConfig::default(), FallbackConfig { queue: false, ..everything() });
    assert_eq!(walk(&everything(), true, ALL), [Cache, Queue, Local, DeadLetter]);
    assert_eq!(walk(&everything(), false, ALL), [Cache, Queue, DeadLetter]);
    assert_eq!(walk(&cache_off, true, ALL), [Queue, Local, DeadLetter]);
    assert_eq!(walk(&queue_off, true, ALL), [Cache, Local, DeadLetter]);
    assert_eq!(walk(&everything(), true, Situation { queue: false, ..ALL }), [Cache, Local, DeadLetter]);
    assert_eq!(walk(&everything(), true, Situation::NOTHING), [DeadLetter]);
}

#[test]
fn only_an_outage_without_any_effect_may_be_stood_in_for() {
    let now = clock::now();
    for class in Class::ALL {
        for effect in [Effect::None, Effect::Done, Effect::Unknown] {
            let mut outcome = Outcome::without_answer(class, effect, "");
            outcome.retry_after = Some(Duration::from_secs(7));
            let answered = matches!(class, Class::Success | Class::NotFound | Class::CallerError | Class::Auth);
            let expected = if effect != Effect::None || answered {
                Situation::NOTHING
            } else {
                Situation { due: Some(now + Duration::from_secs(7)), ..ALL }
            };
            assert_eq!(Situation::after(&outcome, now), expected, "{class} {effect:?}");
        }
    }
}

#[test]
fn a_refusal_is_stood_in_for_unless_the_call_itself_is_wrong() {
    let at = clock::now();
    let limit = Duration::from_secs(1);
    let later = [
        Reason::Full { what: "queue", held: 1, limit: 1 },
        Reason::WaitedTooLong { waited: limit, limit },
        Reason::BreakerOpen { cause: "".into() },
        Reason::VendorExhausted,
        Reason::VendorDown { cause: "".into() },
        Reason::Deadline { limit },
    ];
    for reason in later {
        let refusal = Refusal::new(Guard::Breaker, reason).retry_at(at);
        assert_eq!(Situation::refused(&refusal), Situation { due: Some(at), ..ALL }, "{refusal}");
    }
    let never = [
        Reason::BadField { field: "to".into(), problem: "missing".into() },
        Reason::KeyConflict { key: "k".into() },
        Reason::CrashedTooOften { guard: Guard::Lane, lost: 3 },
    ];
    for reason in never {
        let refusal = Refusal::new(Guard::Gateway, reason);
        assert_eq!(Situation::refused(&refusal), Situation::NOTHING, "{refusal}");
    }
    let expired = Situation::refused(&Refusal::new(Guard::Client, Reason::Expired));
    assert_eq!((expired.stand_in, expired.queue), (true, false));
}

#[test]
fn only_a_final_good_answer_with_something_in_it_is_kept() {
    let mut good = Outcome::without_answer(Class::Success, Effect::Done, "");
    assert!(!is_worth_keeping(&good), "an empty answer");
    good.body = json!({ "name": "Acme" });
    assert!(is_worth_keeping(&good));
    assert!(!is_worth_keeping(&Outcome { pending: true, ..good.clone() }), "accepted is not done");
    assert!(!is_worth_keeping(&Outcome { class: Class::NotFound, ..good }));
}

#[test]
fn a_local_function_that_panics_is_a_failure_in_words() {
    let fine: LocalFn = Arc::new(|payload| payload.get("domain").cloned());
    assert_eq!(run_local(&fine, &json!({ "domain": "acme.com" })), Ok(Some(json!("acme.com"))));
    assert_eq!(run_local(&fine, &json!({})), Ok(None));
    let broken: LocalFn = Arc::new(|payload| panic!("no idea about {payload}"));
    assert_eq!(run_local(&broken, &json!(1)).unwrap_err(), "the local function panicked: no idea about 1");
}
