//! An application's own code as an operation's client.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use mainstay::{Class, Done, Effect, Failed, Operation, Profile, Repeat, Runtime, StartError};

use super::*;

/// A vendor of one function, which costs 2 a call.
fn crm(repeat: Repeat) -> VendorConfig {
    let add = Operation { repeat, estimate: Credits::whole(2), ..Operation::function() };
    VendorConfig::new(Profile::of_functions("crm", [("add", add)])).daily_limit(Credits::whole(100))
}

fn add(n: usize) -> Call {
    Call::new("crm", "add", json!({ "n": n }))
}

fn busy() -> Result<Done, Failed> {
    Err(Failed::before_effect(Class::Overload, "busy"))
}

#[test]
fn a_closure_passes_every_guard_and_its_cost_is_settled() {
    paused(async {
        let vendor = crm(Repeat::Never).function("add", |call| async move {
            assert!(call.key.is_some() && call.attempt == 1);
            Ok(Done { cost: Some(Credits::whole(1)), ..Done::from(call.payload) })
        });
        let mainstay = start([vendor]).await;
        let Ok(Answer::Delivered(answer)) = mainstay.call(add(7)).await else { panic!("not delivered") };
        assert_eq!((&answer.body, answer.cost), (&json!({ "n": 7 }), Some(Credits::whole(1))));
        turn().await;
        assert_eq!(money(&mainstay, "crm"), whole(1, 0));
        at_rest(&mainstay);
    });
}

#[test]
fn a_closure_that_certainly_did_nothing_is_tried_again_and_opens_the_breaker_when_it_goes_on() {
    paused(async {
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        let vendor = touchy(crm(Repeat::Never)).with(|config| config.breaker.rate = None);
        let vendor = vendor.function("add", move |call| {
            let first = counted.fetch_add(1, SeqCst) == 0;
            async move { if first { busy() } else { Ok(Done::from(call.payload)) } }
        });
        let mainstay = start([vendor]).await;
        let mut heard = mainstay.subscribe();
        let refused = mainstay.call(add(1).without_fallback()).await;
        assert!(matches!(refused, Err(CallError::Refused(_) | CallError::DeadLettered { .. })), "{refused:?}");
        let opened = facts(&mut heard).iter().any(|fact| matches!(fact, Fact::BreakerChanged { .. }));
        assert!(opened && attempts.load(SeqCst) == 1);
    });
}

#[test]
fn a_closure_that_may_have_done_it_is_never_run_again_by_itself() {
    paused(async {
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        let vendor = crm(Repeat::Never).function("add", move |_| {
            counted.fetch_add(1, SeqCst);
            async { Err(Failed::maybe_done(Class::Broken, "the connection broke")) }
        });
        let mainstay = start([vendor]).await;
        let ended = mainstay.call(add(1)).await;
        assert!(matches!(ended, Err(CallError::Unknown { .. })), "{ended:?}");
        tokio::time::sleep(s(3600)).await;
        assert_eq!(attempts.load(SeqCst), 1);
        assert_eq!(money(&mainstay, "crm"), whole(0, 2));
    });
}

#[test]
fn a_closure_that_panics_is_an_unknown_effect_and_nobody_elses_trouble() {
    paused(async {
        let vendor = crm(Repeat::Never).function("add", |call| async move {
            assert!(call.payload["n"] != 1, "one is too few");
            Ok(Done::from(call.payload))
        });
        let mainstay = start([vendor]).await;
        let Err(CallError::Unknown { because, .. }) = mainstay.call(add(1)).await else { panic!("not unknown") };
        assert!(because.to_string().contains("the function panicked: one is too few"), "{because}");
        mainstay.call(add(2)).await.unwrap();
        let restarts = mainstay.snapshot().tree.totals.restarts;
        assert_eq!(restarts, 0);
    });
}

/// Says when it is dropped.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_closure_that_takes_too_long_is_dropped_and_its_effect_is_unknown() {
    paused(async {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = dropped.clone();
        let vendor = crm(Repeat::Never).function("add", move |_| {
            let held = Held(counted.clone());
            async move {
                let _held = held;
                std::future::pending().await
            }
        });
        let mainstay = start([vendor]).await;
        let Err(CallError::Unknown { because, .. }) = mainstay.call(add(1)).await else { panic!("not unknown") };
        assert!(matches!(because, mainstay::Because::Failed { class: Class::Timeout, effect: Effect::Unknown, .. }));
        assert_eq!(dropped.load(SeqCst), 1);
        at_rest(&mainstay);
    });
}

#[test]
fn a_parked_call_is_done_later_by_the_same_closure() {
    paused(async {
        let up = Arc::new(AtomicUsize::new(0));
        let is_up = up.clone();
        let vendor = crm(Repeat::Never).function("add", move |call| {
            let up = is_up.load(SeqCst) == 1;
            async move { if up { Ok(Done::from(call.payload)) } else { busy() } }
        });
        let mainstay = start([vendor]).await;
        letter_of(mainstay.call(add(1)).await);
        up.store(1, SeqCst);
        until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        at_rest(&mainstay);
    });
}

#[test]
fn an_operation_without_a_client_and_a_function_without_an_operation_are_named_at_the_start() {
    paused(async {
        let vendor = crm(Repeat::Never).function("ad", |call| async move { Ok(Done::from(call.payload)) });
        let Err(StartError::Config(faults)) = Runtime::builder().vendor(vendor).start().await else { panic!() };
        let found: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "vendors.crm.functions: \"ad\" is no operation of the profile; known: add",
                "vendors.crm.functions: the profile has no address, and add has no function: give one by VendorConfig::function",
            ]
        );
    });
}
