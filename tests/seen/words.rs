//! Log lines, and everything else that leaves the process.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode},
};
use mainstay::{
    Builder, Call, CallError, Clay, Completion, Credits, Event, Fact, Handle, Retell, Runtime, VendorConfig,
    actors::{dlq::Filter, fact::BreakerState},
    testing::{Chaos, ClayConfig, Episode, Fault, RetellConfig, Script, Simulator, SimulatorConfig, Vendor},
};
use serde_json::{Value, json};

use crate::{
    live::{PATIENCE, TWO, quick, retell_with_key, soon},
    support::{Reply, Wire, clay, lead, log::LOG, ok, paused, start, until},
};

#[test]
fn an_opening_breaker_is_said_once_at_warn_with_the_vendors_name() {
    LazyLock::force(&LOG);
    paused(async {
        let wire = Wire::usually(Reply::Answer(500, json!({}), Duration::from_millis(1)));
        let mainstay = start([
            clay(&wire).with(|config| config.profile = Clay::table("https://clay.test/hook").profile("clay-opens"))
        ])
        .await;
        let mut facts = mainstay.subscribe();
        for n in 0..40 {
            let _ = mainstay.call(Call::new("clay-opens", "push-row", lead(n))).await;
        }
        let mut opened = 0;
        while let Ok(Event { fact, .. }) = facts.try_recv() {
            opened += usize::from(matches!(fact, Fact::BreakerChanged { to: BreakerState::Open, .. }));
        }
        assert_eq!(opened, 1);
        assert!(wire.count() < 40);
        let said: Vec<_> = LOG
            .lines()
            .into_iter()
            .filter(|line| line.contains("the circuit breaker of clay-opens opened, calls are refused"))
            .collect();
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains(" WARN ") && said[0].contains("mainstay::breaker:"), "{}", said[0]);
        // And its way back, once each, without alarm.
        wire.now_usually(ok(200));
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        mainstay.call(Call::new("clay-opens", "push-row", lead(99))).await.unwrap();
        until(&mainstay, |s| s.vendors["clay-opens"].breakers[0].state == BreakerState::Closed).await;
        for word in ["is half-open, a probe may pass", "closed, calls pass again"] {
            let said: Vec<_> = LOG
                .lines()
                .into_iter()
                .filter(|line| line.contains(&format!("the circuit breaker of clay-opens {word}")))
                .collect();
            assert_eq!(said.len(), 1, "{said:#?}");
            assert!(said[0].contains(" INFO "), "{}", said[0]);
        }
    });
}

/// How vendors of other makes are told who calls, and every form in which the secrets in it travel.
const OTHER_AUTHS: [(&str, &str, &[&str]); 3] = [
    (
        "basic-echo",
        r#"{"basic": {"user": "user_canary_31ce", "password": "open canary/7d05"}}"#,
        &["user_canary_31ce", "open canary/7d05", "dXNlcl9jYW5hcnlfMzFjZTpvcGVuIGNhbmFyeS83ZDA1"],
    ),
    (
        "query-echo",
        r#"{"query": {"name": "key", "value": "query canary/8e21+"}}"#,
        &["query canary/8e21+", "query+canary%2F8e21%2B"],
    ),
    (
        "prefix-echo",
        r#"{"header": {"name": "x-key", "prefix": "Token ", "value": "prefixed_canary_60b4"}}"#,
        &["prefixed_canary_60b4"],
    ),
];

/// A vendor that knows its callers so, and a second place of it where nobody listens.
fn other_make(name: &str, auth: &str, echo: &str) -> VendorConfig {
    let auth: Value = serde_json::from_str(auth).unwrap();
    let spec = json!({"http": {
        "base_url": echo,
        "auth": auth,
        "targets": {"gone": {"base_url": "http://127.0.0.1:1"}},
        "operations": {"send": {"path": "/send"}},
    }});
    VendorConfig::of(name, serde_json::from_value(spec).unwrap())
}

/// Texts that may stand nowhere, and one of a payload, which may stand in a dead letter only.
struct Canaries {
    key: String,
    token: String,
    webhook: String,
    other_webhook: String,
    other_token: String,
    payload: String,
}

impl Canaries {
    fn new() -> Self {
        Self {
            key: "key_canary_5f0c1d".into(),
            token: "token_canary_77aa02".into(),
            webhook: "ca9a41e5-0000-4000-8000-00000000c1a7".into(),
            other_webhook: "0ther-webhook-canary-2b71".into(),
            other_token: "other_token_canary_90ab".into(),
            payload: "payload_canary_19e3b8".into(),
        }
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        let own = [&self.key, &self.token, &self.webhook, &self.other_webhook, &self.other_token];
        own.into_iter().map(String::as_str).chain(OTHER_AUTHS.iter().flat_map(|(_, _, secrets)| *secrets).copied())
    }

    fn none_in(&self, what: &str, text: &str) {
        for secret in self.secrets() {
            if let Some(at) = text.find(secret) {
                let before = String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..at]);
                panic!("{secret} is in {what}: ...{before}{secret}");
            }
        }
    }

    fn payload(&self, n: usize) -> Value {
        json!({ "lead_id": n, "note": self.payload, "from_number": "+14155550100", "to_number": "+14155550101" })
    }
}

fn bytes_of(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => all.extend(fs::read(path).unwrap()),
            }
        }
    }
    all
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn one_of_each(mainstay: &Handle, canaries: &Canaries, round: usize) -> Vec<CallError> {
    let calls = [
        Call::new("clay", "push-row", canaries.payload(2 * round)),
        Call::new("clay", "push-row", canaries.payload(2 * round + 1)).without_fallback(),
        Call::new("retell", "create-phone-call", canaries.payload(round)).key(format!("reminder-{round}")),
    ];
    let mut errors = Vec::new();
    for call in calls {
        errors.extend(soon(mainstay.call(call.deadline(Duration::from_millis(900)))).await.err());
    }
    errors
}

/// A vendor that repeats what it was sent in its errors, as some gateways do.
async fn echo() -> String {
    let answer = async |headers: HeaderMap, request: Request<Body>| {
        let sent = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let keys = ["authorization", "x-clay-webhook-auth", "x-key"].map(sent).concat();
        let words = format!("no access to {} with {keys}", request.uri());
        (StatusCode::UNAUTHORIZED, axum::Json(json!({ "message": words })))
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_line_snapshot_fact_error_letter_or_file() {
    LazyLock::force(&LOG);
    let canaries = Canaries::new();
    let usual = quick();
    let vendors = Simulator::start(SimulatorConfig {
        clay: ClayConfig {
            token: Some(canaries.token.clone()),
            webhook_id: canaries.webhook.parse().unwrap(),
            ..usual.clay.clone()
        },
        retell: RetellConfig { api_key: canaries.key.clone(), ..usual.retell.clone() },
        ..usual
    })
    .unwrap();
    let echo = echo().await;
    let table = |url: String| Clay {
        token: Some(canaries.token.clone().into()),
        timeout: Duration::from_millis(300),
        ..Clay::table(url)
    };
    let workspace = |base: String| Retell {
        base_url: base.into(),
        timeout: Duration::from_millis(300),
        ..retell_with_key(&vendors, &canaries.key)
    };
    let plenty = Credits::whole(1_000_000);
    let wide = |config: VendorConfig| {
        config.daily_limit(plenty).with(|config| {
            config.gate.rate = None;
            config.breaker.rate = None;
            config.breaker.streak = None;
        })
    };
    let other_table = Clay {
        token: Some(canaries.other_token.clone().into()),
        ..Clay::table(format!("{echo}/hook/{}", canaries.other_webhook))
    };
    let echoed = VendorConfig::clay("clay-echo", table(format!("{echo}/hook/{}", canaries.webhook)));
    let dir = tempfile::tempdir().unwrap();
    // The actors crash now and then, too: a crash says what was in hand.
    let chaos = Arc::new(Chaos::seeded(3).panic_every(40, "*"));
    let others = OTHER_AUTHS.map(|(name, auth, _)| wide(other_make(name, auth, &echo)));
    let builder = Runtime::builder()
        .vendor(wide(VendorConfig::clay("clay", table(vendors.clay_url()))))
        .vendor(wide(VendorConfig::retell("retell", workspace(vendors.retell_url()))))
        .vendor(wide(echoed.target("other", other_table)))
        .vendor(wide(VendorConfig::retell("retell-echo", workspace(echo))))
        .data_dir(dir.path())
        .placement(TWO)
        .hazard(chaos.clone())
        .debug_http("127.0.0.1:0".parse().unwrap())
        .with(|runtime| {
            runtime.child.intensity.max_restarts = 1_000;
            runtime.supervisor.max_restarts = 1_000;
        });
    let builder = others.into_iter().fold(builder, Builder::vendor);
    canaries.none_in("a builder", &format!("{builder:?}"));
    let runtime = builder.start().await.unwrap();
    let mainstay = runtime.handle();
    let mut facts = mainstay.subscribe();

    let faults = [
        None,
        Some(Fault::Status { code: 500, effect: false }),
        Some(Fault::Status { code: 401, effect: false }),
        Some(Fault::TooMany { retry_after_secs: None }),
        Some(Fault::Reset { effect: true }),
        Some(Fault::CutBody { effect: true }),
        Some(Fault::BlackHole { effect: false }),
        Some(Fault::FalseSuccess),
        Some(Fault::Malformed),
        // The last: it blocks the budget.
        Some(Fault::Status { code: 402, effect: false }),
    ];
    let mut errors = Vec::new();
    for (round, fault) in faults.into_iter().enumerate() {
        let script = fault.map_or_else(Script::default, |fault| {
            Script::default()
                .episode(Episode::always(Vendor::Clay, fault))
                .episode(Episode::always(Vendor::Retell, fault))
        });
        vendors.set_script(script).unwrap();
        errors.extend(one_of_each(&mainstay, &canaries, round).await);
    }
    vendors.stop().await;
    errors.extend(one_of_each(&mainstay, &canaries, faults.len()).await);
    let echoed = [
        Call::new("clay-echo", "push-row", canaries.payload(99)),
        Call::new("clay-echo", "push-row", canaries.payload(99)).target("other"),
        Call::new("retell-echo", "create-phone-call", canaries.payload(99)),
    ];
    for call in echoed {
        let call = call.key("echo");
        let error = soon(mainstay.call(call)).await.unwrap_err();
        assert!(error.to_string().contains("no access to"), "{error}");
        errors.push(error);
    }
    for (vendor, _, _) in OTHER_AUTHS {
        let send = || Call::new(vendor, "send", canaries.payload(99)).deadline(Duration::from_millis(900));
        let error = soon(mainstay.call(send().key("echo"))).await.unwrap_err();
        let known = error.to_string().contains("no access to /send") && error.to_string().contains("<redacted>");
        assert!(known, "{error}");
        errors.push(error);
        let parked = soon(mainstay.call(send().key("gone").target("gone"))).await;
        canaries.none_in("an answer", &format!("{parked:?}"));
    }
    let astray = Call::new("clay", "push-row", canaries.payload(100)).lane("urgent");
    errors.push(soon(mainstay.call(astray)).await.unwrap_err());
    chaos.stop();
    assert!(errors.len() > 10, "{errors:#?}");
    for error in &errors {
        canaries.none_in("an error", &format!("{error} {error:?} {error:#?}"));
    }

    let seen = mainstay.snapshot();
    canaries.none_in("a snapshot", &serde_json::to_string(&seen).unwrap());
    canaries.none_in("a snapshot's Debug", &format!("{seen:?} {mainstay:?} {runtime:?}"));
    let mut stated = String::new();
    while let Ok(event) = facts.try_recv() {
        stated += &serde_json::to_string(&event).unwrap();
    }
    canaries.none_in("a fact", &stated);
    assert!(stated.contains("attempt_ended") && !stated.contains(&canaries.payload));
    assert!(!serde_json::to_string(&seen).unwrap().contains(&canaries.payload));
    let mut letters = String::new();
    for kind in mainstay::actors::dlq::Kind::ALL {
        mainstay.dead_letters().export(Filter::kind(kind), |line| letters += line).await.unwrap();
    }
    canaries.none_in("a letter", &letters);
    assert!(letters.contains(&canaries.payload), "the payload is the call");
    let unheard =
        mainstay.complete("00000000-0000-4000-8000-000000000000".parse().unwrap(), Completion::happened(None));
    canaries.none_in("an error", &format!("{:?}", unheard.await));
    let report = runtime.shutdown(PATIENCE).await;
    canaries.none_in("a report", &format!("{report:?}"));
    assert!(report.calls.add_up() && report.calls.lost == 0, "{report:?}");

    let files = bytes_of(dir.path());
    assert!(has(&files, &canaries.payload), "the search finds what is there");
    for secret in canaries.secrets() {
        assert!(!has(&files, secret), "{secret} is in the data directory");
    }
    let lines = LOG.lines();
    let whole = lines.join("\n");
    canaries.none_in("the log", &whole);
    assert!(!whole.contains(&canaries.payload), "no payload is logged");
    let targets: BTreeSet<&str> =
        lines.iter().filter_map(|line| line.split("mainstay::").nth(1)?.split(':').next()).collect();
    const CONCERNS: [&str; 17] = [
        "breaker",
        "budget",
        "call",
        "client",
        "debug",
        "dlq",
        "effects",
        "fallback",
        "gate",
        "gateway",
        "health",
        "idempotency",
        "lane",
        "net",
        "runtime",
        "store",
        "supervision",
    ];
    let strange: Vec<_> = targets.iter().filter(|found| !CONCERNS.contains(found) && **found != "simulator").collect();
    assert!(strange.is_empty(), "a concern has one target: {strange:?}");
    for concern in ["call", "client", "debug", "dlq", "gateway", "health", "runtime", "supervision"] {
        assert!(targets.contains(concern), "nothing was said by {concern}: {targets:?}");
    }
}
