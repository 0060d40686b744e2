//! The vendors' whole interfaces against their simulators: over real HTTP, and judged by the vendors' own ledger.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

mod live;

use std::time::Duration;

use live::{TWO, quick, soon};
use mainstay::{
    Answer, Call, CallError, Class, ClayApi, Completion, Credits, Delivered, Effect, Fact, Handle, Retell, Runtime,
    VendorConfig,
    testing::{Episode, Fault, Script, Simulator, SimulatorConfig, Spread, Vendor},
};
use serde_json::{Value, json};

async fn start(vendors: &Simulator) -> Handle {
    let api = ClayApi {
        base_url: vendors.clay_api_url().into(),
        poll_every: Duration::from_millis(100),
        ..ClayApi::account("key_test")
    };
    let workspace = Retell { base_url: vendors.retell_url().into(), ..Retell::workspace("key_test") };
    let wide =
        |config: VendorConfig| config.daily_limit(Credits::whole(1_000_000)).with(|config| config.gate.rate = None);
    let builder = Runtime::builder().placement(TWO);
    let builder = builder.vendor(wide(VendorConfig::clay_api("clay-api", api)));
    builder.vendor(wide(VendorConfig::retell("retell", workspace))).start().await.unwrap().handle()
}

async fn ask(mainstay: &Handle, vendor: &str, operation: &str, payload: Value) -> Delivered {
    let call = Call::new(vendor, operation, payload).without_fallback();
    // What charges wants a name for its effect; a question that had one would get the stored answer.
    let charges = [ClayApi::RUN_ROUTINE, Retell::CREATE_PHONE_CALL].contains(&operation);
    let call = if charges { call.key(format!("{operation}-1")) } else { call };
    match soon(mainstay.call(call)).await {
        Ok(Answer::Delivered(delivered)) => (*delivered).clone(),
        other => panic!("{operation}: {other:?}"),
    }
}

fn run(items: usize) -> Value {
    let items: Vec<_> =
        (0..items).map(|n| json!({"id": format!("row-{n}"), "inputs": {"domain": "example.com"}})).collect();
    json!({"routine_id": "routine_1", "items": items})
}

/// What was spent, once nothing is reserved any more.
async fn spent(mainstay: &Handle, vendor: &str) -> Credits {
    let until_settled = async {
        loop {
            let budget = &mainstay.snapshot().vendors[vendor].budget;
            if budget.reserved == Credits::ZERO {
                return budget.settled;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(until_settled).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_clays_public_api_is_taken_on_polled_and_ends_with_a_result_for_each_item() {
    let vendors = Simulator::start(quick()).unwrap();
    let mainstay = start(&vendors).await;
    let run_of_three = ask(&mainstay, "clay-api", ClayApi::RUN_ROUTINE, run(3)).await;
    assert!(run_of_three.pending && run_of_three.vendor_ref.is_some());
    let end = soon(mainstay.end_of(run_of_three.call)).await.unwrap();
    let Completion::Happened { answer: Some(results), .. } = end else { panic!("{end:?}") };
    assert_eq!(results["data"].as_array().unwrap().len(), 3);
    let clay = vendors.totals().clay;
    assert_eq!((clay.effects, clay.duplicate_effects), (3, 0));
    let settled = spent(&mainstay, "clay-api").await;
    assert!(Credits::from_micros(clay.charged_micros) <= settled && settled == Credits::whole(18), "{settled}");

    // What is free costs nothing, and is asked anew each time.
    ask(&mainstay, "clay-api", ClayApi::ME, json!({})).await;
    let before = ask(&mainstay, "clay-api", ClayApi::GET_BALANCE, json!({})).await.body["used"].as_u64().unwrap();
    assert!(before >= 12);
    assert_eq!(spent(&mainstay, "clay-api").await, Credits::whole(18));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_items_fail_is_no_success_and_a_used_up_account_closes_until_its_reset() {
    let usual = quick();
    let clay = mainstay::testing::ClayConfig { failed_share: 0.5, quota: Some(4), ..usual.clay.clone() };
    let vendors = Simulator::start(SimulatorConfig { clay, ..usual }).unwrap();
    let mainstay = start(&vendors).await;
    let taken_on = ask(&mainstay, "clay-api", ClayApi::RUN_ROUTINE, run(20)).await;
    let end = soon(mainstay.end_of(taken_on.call)).await.unwrap();
    assert!(matches!(end, Completion::Failed { class: Class::Server, effect: Effect::Done, .. }), "{end:?}");

    let again = Call::new("clay-api", ClayApi::RUN_ROUTINE, run(1)).key("run-2").without_fallback();
    let Err(CallError::DeadLettered { because, .. }) = soon(mainstay.call(again)).await else { panic!() };
    assert_eq!(because.class(), Class::Exhausted);
    let until_the_budget_heard = async {
        while mainstay.snapshot().vendors["clay-api"].budget.exhausted_until.is_none() {
            tokio::task::yield_now().await;
        }
    };
    soon(until_the_budget_heard).await;
    // What is free goes on.
    ask(&mainstay, "clay-api", ClayApi::GET_BALANCE, json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_never_answered_is_not_sent_again() {
    let hole = Fault::BlackHole { effect: true };
    let script = Script::seeded(1).episode(Episode { share: 1.0, ..Episode::always(Vendor::Clay, hole) });
    let vendors = Simulator::start(SimulatorConfig { script, ..quick() }).unwrap();
    let api = ClayApi { base_url: vendors.clay_api_url().into(), ..ClayApi::account("key_test") };
    let config = VendorConfig::clay_api("clay-api", api).with(|config| {
        let operations = &mut config.profile.as_mut().unwrap().operations;
        operations.values_mut().for_each(|operation| operation.timeout = Duration::from_millis(200));
    });
    let mainstay = Runtime::builder().placement(TWO).vendor(config).start().await.unwrap().handle();
    let call = Call::new("clay-api", ClayApi::RUN_ROUTINE, run(1)).key("run-1");
    let error = soon(mainstay.call(call.clone())).await.unwrap_err();
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    assert!(soon(mainstay.call(call)).await.is_err());
    assert_eq!(vendors.totals().clay.effects, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_phone_call_is_read_listed_and_stopped() {
    let usual = quick();
    let retell =
        mainstay::testing::RetellConfig { call_length: Spread::millis(3_600_000, 3_600_000), ..usual.retell.clone() };
    let vendors = Simulator::start(SimulatorConfig { retell, ..usual }).unwrap();
    let mainstay = start(&vendors).await;
    let phone = json!({"from_number": "+14155550100", "to_number": "+14155550101"});
    let placed = ask(&mainstay, "retell", Retell::CREATE_PHONE_CALL, phone).await;
    let id = json!({"call_id": placed.vendor_ref.clone().unwrap()});
    let live = ask(&mainstay, "retell", Retell::GET_CONCURRENCY, json!({})).await.body["current_concurrency"].clone();
    let one = ask(&mainstay, "retell", Retell::GET_CALL, id.clone()).await;
    assert_eq!((live, one.body["call_status"].clone()), (json!(1), json!("registered")));
    let listed = ask(&mainstay, "retell", Retell::LIST_CALLS, json!({"limit": 10})).await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);

    ask(&mainstay, "retell", Retell::STOP_CALL, id.clone()).await;
    let stopped = soon(async {
        loop {
            let call = ask(&mainstay, "retell", Retell::GET_CALL, id.clone()).await.body;
            if call["call_status"] == "ended" {
                return call;
            }
        }
    })
    .await;
    assert_eq!(stopped["disconnection_reason"], "manual_stopped");
    let mut heard = mainstay.subscribe();
    mainstay.complete_by(placed.call, stopped).await.unwrap();
    let event = soon(heard.recv()).await.unwrap();
    assert!(matches!(event.fact, Fact::EffectEnded { class: Class::Success, .. }), "{event:?}");
    assert_eq!(spent(&mainstay, "retell").await.micros(), vendors.totals().retell.charged_micros);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_made_read_and_removed_and_removing_it_twice_is_as_good_as_once() {
    let vendors = Simulator::start(quick()).unwrap();
    let mainstay = start(&vendors).await;
    let agent = ask(&mainstay, "retell", Retell::CREATE_AGENT, json!({"agent_name": "a", "voice_id": "v"})).await;
    let id = json!({"agent_id": agent.vendor_ref.clone().unwrap()});
    assert_eq!(ask(&mainstay, "retell", Retell::GET_AGENT, id.clone()).await.body["agent_name"], "a");
    for _ in 0..2 {
        let gone = Call::new("retell", Retell::DELETE_AGENT, id.clone());
        assert!(matches!(soon(mainstay.call(gone)).await, Ok(Answer::Delivered(_))));
    }
    let gone = Call::new("retell", Retell::GET_AGENT, id).without_fallback();
    let Err(CallError::DeadLettered { because, .. }) = soon(mainstay.call(gone)).await else { panic!() };
    assert_eq!(because.class(), Class::CallerError);
    assert_eq!(spent(&mainstay, "retell").await, Credits::ZERO);
}
