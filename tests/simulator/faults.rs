//! Each fault is what it says, at its time and by its seed.

use super::*;

fn always(fault: Fault) -> Script {
    Script::seeded(1).episode(Episode::always(Vendor::Retell, fault)).episode(Episode::always(Vendor::Clay, fault))
}

/// What the caller saw and what the ledger says of it.
async fn struck(vendors: &Simulator, fault: Fault, request: RequestBuilder) -> (reqwest::Result<Response>, Entry) {
    vendors.set_script(always(fault)).unwrap();
    let before = vendors.ledger().len();
    let seen = request.send().await;
    let entry = vendors.ledger().remove(before);
    assert_eq!(entry.fault.as_deref(), Some(fault.name()));
    (seen, entry)
}

#[tokio::test]
async fn a_reset_connection_gives_no_answer_with_the_effect_or_without() {
    let vendors = start(quick());
    for effect in [true, false] {
        for request in [phone(&vendors, None, "p"), row(&vendors, "r")] {
            let (seen, entry) = struck(&vendors, Fault::Reset { effect }, request).await;
            let error = seen.unwrap_err();
            assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
            assert_eq!((entry.effect, entry.status, entry.replied_ms), (effect, None, None));
        }
    }
}

#[tokio::test]
async fn a_black_hole_never_answers_with_the_effect_or_without() {
    for effect in [true, false] {
        let vendors = start(SimulatorConfig { script: always(Fault::BlackHole { effect }), ..quick() });
        let caller = tokio::spawn(phone(&vendors, None, "p").send());
        until("the request", || vendors.ledger().first().is_some_and(|entry| entry.effect == effect)).await;
        assert!(!caller.is_finished());
        caller.abort();
        until("the caller's leaving", || vendors.totals().retell.by_status.get("none") == Some(&1)).await;
        assert_eq!((vendors.ledger()[0].effect, vendors.ledger()[0].status), (effect, None));
    }
}

#[tokio::test]
async fn a_black_hole_lets_go_of_a_patient_peer_at_its_bound() {
    let mut config = quick();
    config.hold_max = Duration::from_millis(30);
    config.script = always(Fault::BlackHole { effect: false });
    let vendors = start(config);
    let error = phone(&vendors, None, "p").send().await.unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    assert_eq!(vendors.totals().retell.by_status["none"], 1);
}

#[tokio::test]
async fn a_cut_body_has_its_status_and_no_end() {
    let vendors = start(quick());
    for effect in [true, false] {
        let (seen, entry) = struck(&vendors, Fault::CutBody { effect }, phone(&vendors, None, "p")).await;
        let answer = seen.unwrap();
        assert_eq!(answer.status().as_u16(), 201);
        let error = answer.bytes().await.unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        assert_eq!((entry.effect, entry.status), (effect, Some(201)));
    }
}

#[tokio::test]
async fn too_many_carries_its_pause_and_has_no_effect() {
    let vendors = start(quick());
    for retry_after_secs in [Some(17), None] {
        let (seen, entry) = struck(&vendors, Fault::TooMany { retry_after_secs }, row(&vendors, "r")).await;
        let answer = seen.unwrap();
        assert_eq!(answer.status().as_u16(), 429);
        let pause = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(pause, retry_after_secs.map(|secs| secs.to_string()));
        assert_eq!((entry.effect, entry.status), (false, Some(429)));
    }
}

#[tokio::test]
async fn a_status_comes_in_the_vendors_envelope_with_the_effect_or_without() {
    let vendors = start(quick());
    for effect in [true, false] {
        let (seen, entry) = struck(&vendors, Fault::Status { code: 500, effect }, phone(&vendors, None, "p")).await;
        let answer = seen.unwrap();
        assert_eq!((answer.status().as_u16(), &body(answer).await["status"]), (500, &json!("error")));
        assert_eq!((entry.effect, entry.status), (effect, Some(500)));
    }
}

#[tokio::test]
async fn a_false_success_has_a_good_status_and_a_bad_body_and_no_effect() {
    let vendors = start(quick());
    let (seen, entry) = struck(&vendors, Fault::FalseSuccess, phone(&vendors, Some("k"), "p")).await;
    let answer = seen.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let call = body(answer).await;
    assert_eq!(call["call_status"], "error");
    assert!(call["disconnection_reason"].is_string());
    assert!(!entry.effect);
    let (seen, entry) = struck(&vendors, Fault::FalseSuccess, row(&vendors, "r")).await;
    let answer = seen.unwrap();
    assert_eq!((answer.status().as_u16(), &body(answer).await["success"]), (200, &json!(false)));
    assert!(!entry.effect);
    assert_eq!((vendors.callbacks_owed(), vendors.totals().retell.max_live), (0, 0));
}

#[tokio::test]
async fn a_malformed_answer_is_200_and_no_json_though_the_work_is_done() {
    let vendors = start(quick());
    let (seen, entry) = struck(&vendors, Fault::Malformed, phone(&vendors, None, "p")).await;
    let answer = seen.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(answer.json::<Value>().await.unwrap_err().is_decode());
    assert!(entry.effect);
}

#[tokio::test]
async fn latency_does_the_work_first_and_answers_late() {
    let mut config = quick();
    let fault = Fault::Latency { min: Duration::from_millis(60), max: Duration::from_millis(80) };
    config.script = always(fault);
    let vendors = start(config);
    assert_eq!(status(phone(&vendors, None, "p")).await, 201);
    let entry = vendors.ledger().remove(0);
    assert!(entry.effect && entry.replied_ms.unwrap() >= entry.arrived_ms + 60, "{entry:?}");
}

#[tokio::test]
async fn a_fault_with_effect_cannot_break_the_vendors_own_limits() {
    let mut config = quick();
    config.retell.live_max = 0;
    let vendors = start(config);
    let (seen, entry) = struck(&vendors, Fault::Status { code: 500, effect: true }, phone(&vendors, None, "p")).await;
    assert_eq!((seen.unwrap().status().as_u16(), entry.effect), (500, false));
}

#[tokio::test]
async fn an_episode_comes_to_its_end() {
    let fault = Fault::Status { code: 503, effect: false };
    let until = Duration::from_secs(1);
    let mut config = quick();
    config.script = Script::seeded(1).episode(Episode { until, ..Episode::always(Vendor::Clay, fault) });
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "r")).await, 503);
    let recovered = async { while status(row(&vendors, "r")).await != 200 {} };
    tokio::time::timeout(PATIENCE, recovered).await.unwrap();
    assert_eq!(vendors.totals().clay.effects, 1);
}

/// The faults that the first requests of a run meet.
async fn faults_of(seed: u64) -> Vec<Option<String>> {
    let episode = |fault, share| Episode { share, ..Episode::always(Vendor::Clay, fault) };
    let mut config = quick();
    config.script = Script::seeded(seed)
        .episode(episode(Fault::Status { code: 500, effect: false }, 0.3))
        .episode(episode(Fault::TooMany { retry_after_secs: None }, 0.3))
        .episode(episode(Fault::FalseSuccess, 0.3));
    let vendors = start(config);
    for number in 0..40 {
        status(row(&vendors, &number.to_string())).await;
        // What Retell is asked meanwhile changes nothing for Clay.
        if seed.is_multiple_of(2) && number % 3 == 0 {
            status(get_retell(&vendors, "/get-concurrency")).await;
        }
    }
    let clay = vendors.ledger().into_iter().filter(|entry| entry.vendor == Vendor::Clay);
    clay.map(|entry| entry.fault.map(Into::into)).collect()
}

#[tokio::test]
async fn two_runs_with_one_seed_meet_the_same_faults() {
    let first = faults_of(4).await;
    assert_eq!(faults_of(4).await, first);
    assert_ne!(faults_of(5).await, first);
    assert!(first.contains(&None) && first.iter().flatten().count() > 10);
}

#[tokio::test]
async fn two_runs_with_one_seed_name_their_calls_alike_and_charge_alike() {
    let run = async || {
        let vendors = start(SimulatorConfig { seed: 11, ..quick() });
        for number in 0..5 {
            assert_eq!(status(row(&vendors, &number.to_string())).await, 200);
        }
        let call = body(phone(&vendors, None, "p").send().await.unwrap()).await;
        settled(&vendors).await;
        (call["call_id"].clone(), vendors.totals().clay.charged_micros, vendors.totals().retell.charged_micros)
    };
    assert_eq!(run().await, run().await);
}

// --- the ledger, and the end
