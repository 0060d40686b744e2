//! How long things may take: each phase by its own limit, and all of them together by the call's deadline.

use mainstay::{
    Because, Effect, Operation, Phase, Profile,
    actors::profile::{Method, timeout},
};

use super::*;

/// A vendor with one operation of each kind of the seeds.
fn of_each_kind(wire: &Wire) -> VendorConfig {
    let harmless = |path: &str, timeout| Operation { timeout, ..Operation::harmless(Method::Post, path) };
    let operations = [
        ("request", harmless("/request", timeout::REQUEST)),
        ("upload", harmless("/upload", timeout::UPLOAD)),
        ("wait", harmless("/wait", timeout::LONG_POLL)),
    ];
    let profile = Profile::http("files", "https://files.test", operations);
    VendorConfig::new(profile).daily_limit(Credits::whole(1_000)).transport(wire.clone())
}

fn failed(answer: Result<Answer, CallError>) -> Because {
    match answer {
        Err(CallError::Unknown { because, .. } | CallError::DeadLettered { because, .. }) => because,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_has_30_seconds_an_upload_two_minutes_and_a_long_poll_five() {
    paused(async {
        for (operation, seconds) in [("request", 30), ("upload", 120), ("wait", 300)] {
            let wire = Wire::usually(after(200, seconds - 1));
            let mainstay = start([of_each_kind(&wire)]).await;
            let call = || Call::new("files", operation, json!({})).deadline(s(3_600)).without_fallback();
            mainstay.call(call()).await.unwrap();
            wire.now_usually(Reply::Hang);
            let began = now();
            let because = failed(mainstay.call(call()).await);
            assert!(now() - began >= s(3 * seconds) && now() - began < s(3 * seconds + 5), "three attempts");
            let Because::Failed { phase, detail, .. } = &because else { panic!("{because:?}") };
            assert_eq!(*phase, Some(Phase::Request));
            assert!(detail.contains(&format!("files {operation} timeout: ")), "{detail}");
        }
    });
}

#[test]
fn every_timeout_says_where_it_struck_and_whether_the_request_was_sent() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let config = one_at_a_time(clay(&wire)).with(|config| {
            config.gate.cap = 1;
            config.gate.line_wait_max = s(2);
            config.lanes.iter_mut().for_each(|lane| lane.wait_max = s(1));
        });
        let mainstay = start([config]).await;
        let mut heard = mainstay.subscribe();
        let (began, sent) = (now(), begin(&mainstay, row(0).without_fallback()));
        turn().await;
        // In the lane, and at the gate: refused, so nothing was sent, by whom it waited for.
        for (lane, guard) in [("normal", Guard::Lane), ("bulk", Guard::Gate)] {
            let refusal = refusal_of(mainstay.call(row(1).lane(lane).without_fallback()).await);
            assert!(matches!(refusal.reason, Reason::WaitedTooLong { .. }), "{refusal}");
            assert_eq!(refusal.by, guard);
            assert!(refusal.to_string().contains("nothing was sent"), "{refusal}");
        }
        // On the wire: sent, and it may have happened.
        let because = failed(sent.await.unwrap());
        let Because::Failed { phase, effect, detail, .. } = &because else { panic!("{because:?}") };
        assert_eq!((*phase, *effect), (Some(Phase::Request), Effect::Unknown));
        assert_eq!((now() - began).as_secs(), 10, "Clay's own");
        assert!(detail.starts_with("clay push-row timeout: "), "{detail}");
        // Before a connection stood: nothing was sent, so it is tried again.
        wire.now_usually(Reply::Fail(WireFault::ConnectTimeout, s(5)));
        let tried = wire.count();
        let because = failed(mainstay.call(row(2).chain([]).lane("critical")).await);
        let Because::Failed { phase, effect, detail, .. } = &because else { panic!("{because:?}") };
        assert_eq!((*phase, *effect, wire.count() - tried), (Some(Phase::Connect), Effect::None, 3));
        assert!(detail.starts_with("clay push-row timeout: "), "{detail}");
        let phases: Vec<_> = facts(&mut heard)
            .into_iter()
            .filter_map(|fact| match fact {
                Fact::AttemptEnded { phase, .. } => phase,
                _ => None,
            })
            .collect();
        assert_eq!(phases, [Phase::Request, Phase::Connect, Phase::Connect, Phase::Connect]);
    });
}

#[test]
fn the_deadline_of_a_call_is_over_queues_retries_and_pauses_together() {
    paused(async {
        let wire = Wire::usually(Reply::Answer(429, json!({}), s(2)));
        let config = one_at_a_time(clay(&wire)).with(|config| {
            config.profile.as_mut().unwrap().retry.attempts_max = 20;
        });
        let mainstay = start([config]).await;
        let all: Vec<_> = (0..4).map(|n| begin(&mainstay, row(n).deadline(s(9)).without_fallback())).collect();
        let began = now();
        for call in all {
            call.await.unwrap().unwrap_err();
        }
        assert!(now() - began <= Duration::from_millis(9_010), "{:?}", now() - began);
        let sent = wire.count();
        tokio::time::sleep(s(60)).await;
        assert_eq!(wire.count(), sent, "what is given up is not tried again");
        at_rest(&mainstay);
    });
}
