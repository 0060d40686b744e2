//! Clay's table webhook, as the simulator plays it.

use super::*;

#[tokio::test]
async fn a_row_is_acknowledged_then_charged_and_called_back() {
    let (url, mut hear) = receiver(0).await;
    let mut config = quick();
    config.clay.callback_url = Some(url);
    let vendors = start(config);

    let answer = row(&vendors, "call-1").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), body(answer).await), (200, json!({})));

    let callback = heard(&mut hear).await;
    assert_eq!(callback["mainstay_call_id"], "call-1");
    assert!(callback["enriched"]["company_name"].is_string());
    let credits = callback["credits"].as_u64().unwrap();
    assert!((4..=6).contains(&credits));
    settled(&vendors).await;
    let entry = vendors.ledger().remove(0);
    assert_eq!(entry.charged_micros, credits * 1_000_000);
    assert_eq!((entry.status, entry.effect, entry.duplicate), (Some(200), true, false));
    assert_eq!((entry.call.as_deref(), &*entry.operation), (Some("call-1"), "webhook"));
    assert!(entry.replied_ms.unwrap() >= entry.arrived_ms);
}

#[tokio::test]
async fn an_array_is_as_many_rows_and_one_request() {
    let vendors = start(quick());
    let rows = json!([{ "mainstay_call_id": "a" }, { "mainstay_call_id": "b" }, { "mainstay_call_id": "a" }]);
    assert_eq!(status(client().post(vendors.clay_url()).json(&rows)).await, 200);
    settled(&vendors).await;
    let clay = vendors.totals().clay;
    assert_eq!((clay.requests, clay.effects, clay.duplicate_effects), (1, 3, 1));
    let rows: Vec<_> = vendors.ledger().iter().map(|entry| (entry.row, entry.duplicate)).collect();
    assert_eq!(rows, [(0, false), (1, false), (2, true)]);
    assert_eq!(vendors.ledger().iter().map(|entry| entry.charged_micros).sum::<u64>(), clay.charged_micros);
}

#[tokio::test]
async fn clay_refuses_what_it_cannot_take_without_effect() {
    let mut config = quick();
    config.clay.token = Some("secret".into());
    let vendors = start(config);
    let post = |body: String| client().post(vendors.clay_url()).header("x-clay-webhook-auth", "secret").body(body);
    assert_eq!(status(row(&vendors, "c")).await, 401);
    assert_eq!(status(row(&vendors, "c").header("x-clay-webhook-auth", "wrong")).await, 401);
    assert_eq!(status(post("{\"half\":".into())).await, 400);
    assert_eq!(status(post("7".into())).await, 400);
    assert_eq!(status(post(format!("{{\"big\":\"{}\"}}", "x".repeat(100 * 1024)))).await, 413);
    let elsewhere = format!("{}/v3/sources/webhook/pull-in-data-from-a-webhook-0", vendors.base_url());
    assert_eq!(status(client().post(elsewhere).body("{}")).await, 404);
    assert_eq!(vendors.totals().clay.effects, 0);
    assert_eq!(status(post("{}".into())).await, 200);
    assert_eq!(vendors.totals().clay.effects, 1);
}

#[tokio::test]
async fn clay_lets_a_burst_through_and_then_says_when_to_come_back() {
    let mut config = quick();
    config.clay.rate = Rate { per_second: 0.01, burst: 2 };
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "a")).await, 200);
    assert_eq!(status(row(&vendors, "b")).await, 200);
    let refused = row(&vendors, "c").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 429);
    let after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=100).contains(&after), "{after}");
    assert_eq!((vendors.totals().clay.effects, vendors.totals().clay.by_status["429"]), (2, 1));
}

#[tokio::test]
async fn clay_does_a_repeat_again_and_the_ledger_says_so() {
    let vendors = start(quick());
    assert_eq!(status(row(&vendors, "same")).await, 200);
    assert_eq!(status(row(&vendors, "same")).await, 200);
    assert_eq!(vendors.totals().clay.duplicate_effects, 1);
}

#[tokio::test]
async fn a_row_too_many_to_remember_is_refused_without_effect() {
    let mut config = quick();
    config.callbacks.pending_max = 1;
    config.clay.enrichment = Spread::millis(60_000, 60_000);
    let vendors = start(config);
    assert_eq!(status(row(&vendors, "a")).await, 200);
    assert_eq!(status(row(&vendors, "b")).await, 503);
    assert_eq!((vendors.totals().clay.effects, vendors.callbacks_owed()), (1, 1));
}

// --- Retell
