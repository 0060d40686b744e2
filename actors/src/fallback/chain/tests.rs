use proptest::{collection::vec, prelude::*, sample::subsequence};
use serde_json::json;
use std::time::Duration;

use super::*;
use crate::{clock, refusal::Guard};

use Step::{Cache, DeadLetter, Local, Queue};

const ALL: [Step; 4] = [Cache, Queue, Local, DeadLetter];

/// The whole way down, when no step that may fail serves. Ends with what keeps or refuses the call.
fn walk(chain: &[Step], situation: Situation, there: &[Step]) -> Vec<Next> {
    let (mut way, mut tried) = (Vec::new(), Vec::new());
    loop {
        let next = situation.next(chain, &tried, |step| there.contains(&step));
        way.push(next);
        match next {
            Next::Try(step @ (Cache | Local)) => tried.push(step),
            Next::Try(Queue | DeadLetter) | Next::Refuse => return way,
        }
    }
}

fn tries(steps: &[Step]) -> Vec<Next> {
    steps.iter().copied().map(Next::Try).collect()
}

fn outage() -> Situation {
    Situation::after(&FallbackConfig::default(), Class::Overload, Effect::None)
}

fn denied_by(by: Guard, on_denied: OnDenied) -> Situation {
    Situation::denied(&FallbackConfig::default(), &Refusal::new(by, Reason::VendorExhausted), on_denied)
}

#[test]
fn a_failed_call_goes_down_the_chain_in_its_order_as_far_as_there_is_something_and_ends_as_a_dead_letter() {
    assert_eq!(walk(&ALL, outage(), &ALL), tries(&[Cache, Queue]));
    assert_eq!(walk(&[Local, Cache], outage(), &ALL), tries(&[Local, Cache, DeadLetter]));
    assert_eq!(walk(&[Cache, Local, Queue], outage(), &[Local]), tries(&[Local, Queue]));
    assert_eq!(walk(&[], outage(), &ALL), tries(&[DeadLetter]));
    assert_eq!(walk(&ALL, Situation::NOTHING, &ALL), tries(&[DeadLetter]));
}

#[test]
fn a_denied_call_ends_as_on_denied_says_wherever_the_chain_has_its_queue() {
    let denied = |on_denied| denied_by(Guard::Breaker, on_denied);
    assert_eq!(walk(&ALL, denied(OnDenied::Queue), &ALL), tries(&[Cache, Queue]));
    assert_eq!(walk(&[Cache, Local], denied(OnDenied::Queue), &ALL), tries(&[Cache, Local, Queue]));
    assert_eq!(walk(&ALL, denied(OnDenied::DeadLetter), &ALL), tries(&[Cache, Local, DeadLetter]));
    let refused = [tries(&[Cache, Local]), vec![Next::Refuse]].concat();
    assert_eq!(walk(&ALL, denied(OnDenied::Refuse), &ALL), refused);
    assert_eq!(walk(&[], denied(OnDenied::Refuse), &ALL), [Next::Refuse]);
}

#[test]
fn a_budget_that_is_never_reset_queues_nothing_for_its_reset() {
    let amount = crate::credits::Credits::whole(1);
    let reason =
        Reason::OverBudget { which: Box::default(), asked: amount, settled: amount, reserved: amount, limit: amount };
    let lifetime = Refusal::new(Guard::Budget, reason);
    let denied = Situation::denied(&FallbackConfig::default(), &lifetime, OnDenied::Queue);
    assert_eq!(walk(&ALL, denied, &ALL), tries(&[Cache, Local, DeadLetter]));
    #[expect(clippy::disallowed_methods, reason = "a rule takes any moment")]
    let tomorrow = lifetime.retry_at(std::time::Instant::now());
    let denied = Situation::denied(&FallbackConfig::default(), &tomorrow, OnDenied::Queue);
    assert_eq!(walk(&ALL, denied, &ALL), tries(&[Cache, Queue]));
}

#[test]
fn only_the_kinds_that_the_configuration_lists_are_stood_in_for() {
    let config = FallbackConfig {
        on_classes: vec![Class::Server, Class::Auth],
        on_guards: vec![Guard::Breaker],
        ..FallbackConfig::default()
    };
    for class in Class::ALL {
        let situation = Situation::after(&config, class, Effect::None);
        let expected = [Class::Server, Class::Auth].contains(&class);
        assert_eq!((situation.stand_in, situation.queue), (expected, class == Class::Server), "{class}");
    }
    for by in Guard::ALL {
        let refusal = Refusal::new(by, Reason::VendorExhausted);
        let situation = Situation::denied(&config, &refusal, OnDenied::Queue);
        assert_eq!((situation.stand_in, situation.queue), (by == Guard::Breaker, true), "{by}");
    }
}

#[test]
fn only_an_outage_without_any_effect_may_be_stood_in_for() {
    for class in Class::ALL {
        for effect in [Effect::None, Effect::Done, Effect::Unknown] {
            let answered = matches!(class, Class::Success | Class::NotFound | Class::CallerError | Class::Auth);
            let expected = effect == Effect::None && !answered;
            let situation = Situation::after(&FallbackConfig::default(), class, effect);
            assert_eq!((situation.stand_in, situation.queue), (expected, expected), "{class} {effect:?}");
            assert_eq!(situation.last, Next::Try(DeadLetter));
        }
    }
}

#[test]
fn what_cannot_begin_any_more_or_is_poison_is_never_queued() {
    let config = FallbackConfig::default();
    let expired = Refusal::new(Guard::Client, Reason::Expired);
    let poison = Refusal::new(Guard::Lane, Reason::CrashedTooOften { guard: Guard::Lane, lost: 3 });
    for (refusal, stand_in) in [(&expired, true), (&poison, false)] {
        let situation = Situation::denied(&config, refusal, OnDenied::Queue);
        assert_eq!((situation.stand_in, situation.queue), (stand_in, false), "{refusal}");
        assert_eq!(situation.last, Next::Try(DeadLetter));
        assert_eq!(Situation::denied(&config, refusal, OnDenied::Refuse).last, Next::Refuse);
    }
    let late = Refusal::new(Guard::Breaker, Reason::Deadline { limit: Duration::from_secs(1) }).retry_at(clock::now());
    assert!(Situation::denied(&config, &late, OnDenied::Queue).queue);
}

#[test]
fn what_a_guardrail_denies_is_never_stood_in_for_nor_queued() {
    let refusal = Refusal::new(Guard::Guardrail, Reason::Denied { why: "no".into() });
    let walk = |on_denied| walk(&ALL, Situation::denied(&FallbackConfig::default(), &refusal, on_denied), &ALL);
    assert_eq!(walk(OnDenied::Refuse), [Next::Refuse]);
    assert_eq!(walk(OnDenied::Queue), [Next::Refuse]);
    assert_eq!(walk(OnDenied::DeadLetter), tries(&[DeadLetter]));
}

proptest! {
    /// The model: cross out what may not be, then go down to the first step that keeps the call.
    #[test]
    fn every_walk_ends_by_itself_and_tries_each_allowed_step_once_in_order(
        chain in subsequence(ALL.to_vec(), 0..=4).prop_shuffle(),
        there in subsequence(vec![Cache, Local], 0..=2),
        (stand_in, queue) in any::<(bool, bool)>(),
        last in prop_oneof![Just(Next::Refuse), Just(Next::Try(Queue)), Just(Next::Try(DeadLetter))],
    ) {
        let situation = Situation { stand_in, queue, last };
        let mut expected = Vec::new();
        for step in &chain {
            match step {
                Cache | Local if stand_in && there.contains(step) => expected.push(Next::Try(*step)),
                Queue if queue => {
                    expected.push(Next::Try(Queue));
                    break;
                }
                _ => {}
            }
        }
        if expected.last() != Some(&Next::Try(Queue)) {
            expected.push(last);
        }
        prop_assert_eq!(walk(&chain, situation, &there), expected);
    }

    #[test]
    fn a_chain_with_doubled_steps_ends_too(chain in vec(prop_oneof![Just(Cache), Just(Queue), Just(Local)], 0..20)) {
        prop_assert!(walk(&chain, outage(), &ALL).len() <= 4);
    }
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
