//! The tables a person reads, and the line a program reads.

use comfy_table::{Table, presets::ASCII_BORDERS_ONLY_CONDENSED};
use mainstay::FinalState;
use serde_json::json;

use crate::{
    Failure,
    application::{Application, now},
    checker::Verdict,
    story::{
        CALLS, CLAY_LIMIT, CLAY_OPEN, CLAY_RATE, CLAY_TIMEOUT, LEADS, OFFERED_OVER, RETELL_LIMIT, RETELL_OPEN,
        RETELL_RATE, RETELL_TIMEOUT,
    },
};

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_BORDERS_ONLY_CONDENSED).set_header(header.to_vec());
    table
}

/// Which limits were turned so that the story fits into two minutes.
pub fn settings() -> String {
    let mut table = table(&["for this story", "clay", "retell", "default (clay, retell)"]);
    let rate = |rate: (f64, u32)| format!("{}/s, burst {}", rate.0, rate.1);
    table.add_row(vec![
        "breaker stays open".to_owned(),
        format!("{CLAY_OPEN:?}"),
        format!("{RETELL_OPEN:?}"),
        "30 s and 15 min, 30 s".into(),
    ]);
    table.add_row(vec![
        "request timeout".to_owned(),
        format!("{CLAY_TIMEOUT:?}"),
        format!("{RETELL_TIMEOUT:?}"),
        "10 s, 120 s".into(),
    ]);
    table.add_row(vec!["rate".to_owned(), rate(CLAY_RATE), rate(RETELL_RATE), "10/s burst 20, 1/s burst 1".into()]);
    table.add_row(vec![
        "daily limit".to_owned(),
        format!("{CLAY_LIMIT} credits"),
        format!("{RETELL_LIMIT} cents"),
        "500 credits, 5000 cents".into(),
    ]);
    table.add_row(vec![
        "budget's day ends at".to_owned(),
        "midnight, where it is noon now".into(),
        "the same".into(),
        "midnight UTC".into(),
    ]);
    let story = crate::story::in_words().join("\n  ");
    format!("{LEADS} leads and {CALLS} phone calls, offered over {OFFERED_OVER:?}\n{table}\nthe story:\n  {story}\n")
}

/// What happened.
pub fn summary(app: &Application, verdict: &Verdict) -> String {
    let snapshot = app.handle().snapshot();
    let parts = [
        calls(app, verdict),
        breakers(app),
        money(app, verdict),
        actors(app),
        format!("the story took {:.0} s", now().duration_since(app.begun).as_secs_f64()),
        complaints(verdict),
    ];
    debug_assert!(snapshot.calls.add_up());
    parts.join("\n\n")
}

fn calls(app: &Application, verdict: &Verdict) -> String {
    let (counts, book) = (app.handle().snapshot().calls, app.history());
    let mut table = table(&["every request", "number", ""]);
    let mut row = |name: &str, number: u64, words: &str| {
        table.add_row(vec![name.to_owned(), number.to_string(), words.to_owned()]);
    };
    row("offered", counts.offered, "by the application");
    row("refused", counts.refused, "with a reason; nothing of them is kept");
    row("accepted", counts.accepted, "each of them is in one of these:");
    row("  delivered", counts.delivered, "by the vendor; some at once, some after waiting, some replayed");
    row("  cached", counts.cached, "a last good answer was served");
    row("  queued", counts.queued, "still waiting on disk for the vendor");
    row("  local", counts.local, "the application's own function answered");
    row("  dead-lettered", counts.dead_lettered, "still in the dead letter queue");
    row("  unknown", counts.unknown, "may have happened: never sent again, parked for a person");
    row("  cancelled", counts.cancelled, "the caller went away first");
    row("  lost", counts.lost + verdict.lost, "must be 0");
    row("doubled effects", verdict.duplicate_effects, "counted in the vendors' ledger; must be 0");
    row("callbacks", book.callbacks, "passed in by the application");
    row("  of them twice", book.callbacks_not_open, "recognised, and changed nothing");
    debug_assert_eq!(book.count(FinalState::Lost), counts.lost);
    table.to_string()
}

fn breakers(app: &Application) -> String {
    let lines = app.history().breakers;
    format!("circuit breakers: {} changes\n  {}", lines.len(), lines.join("\n  "))
}

fn money(app: &Application, verdict: &Verdict) -> String {
    let snapshot = app.handle().snapshot();
    let mut table = table(&["money", "limit", "spent", "reserved", "of it unknown", "charged by the vendor"]);
    for (name, vendor) in &snapshot.vendors {
        let budget = &vendor.budget;
        let charged = verdict.charged.get(name.as_str()).copied().unwrap_or_default();
        table.add_row(vec![
            format!("{name} ({})", budget.unit),
            budget.limit.to_string(),
            budget.settled.to_string(),
            budget.reserved.to_string(),
            budget.unknown.to_string(),
            format!("{charged:.2}"),
        ]);
    }
    table.to_string()
}

fn actors(app: &Application) -> String {
    let totals = app.handle().snapshot().tree.totals;
    let injected = app.chaos.injected();
    let mut table = table(&["actor", "panics injected"]);
    for (actor, panics) in injected.get("panic").into_iter().flatten() {
        table.add_row(vec![actor.clone(), panics.to_string()]);
    }
    format!("{table}\n{} panics, {} restarts; no queued ticket was lost by them", totals.panics, totals.restarts)
}

fn complaints(verdict: &Verdict) -> String {
    if verdict.complaints.is_empty() {
        return "checked against the vendors' ledger: everything fits".into();
    }
    let shown: Vec<_> = verdict.complaints.iter().take(20).map(String::as_str).collect();
    format!("{} things do not fit the vendors' ledger:\n  {}", verdict.complaints.len(), shown.join("\n  "))
}

/// One JSON object.
pub fn last_line(app: &Application, verdict: &Verdict) -> Result<String, Failure> {
    let snapshot = app.handle().snapshot();
    let counts = snapshot.calls;
    let line = json!({
        "offered": counts.offered,
        "accepted": counts.accepted,
        "refused": counts.refused,
        "delivered": counts.delivered,
        "cached": counts.cached,
        "queued": counts.queued,
        "local": counts.local,
        "dead_lettered": counts.dead_lettered,
        "unknown": counts.unknown,
        "cancelled": counts.cancelled,
        "lost": counts.lost + verdict.lost,
        "duplicate_effects": verdict.duplicate_effects,
        "overspent": verdict.overspent,
        "actor_panics": snapshot.tree.totals.panics,
        "actor_restarts": snapshot.tree.totals.restarts,
    });
    Ok(serde_json::to_string(&line)?)
}
