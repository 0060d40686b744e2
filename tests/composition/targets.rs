//! Named targets: several tables under one account.

use mainstay::{
    Operation, OperationId, Profile, StartError, Target,
    actors::{
        breaker::{BreakerConfig, BreakerSnapshot},
        budget::Own,
        bulkhead::Rate,
        health::Status,
        ids::GroupId,
    },
};

use super::*;
use support::clay_tables;

fn row_in(target: &str, n: usize) -> Call {
    row(n).target(target)
}

#[test]
fn a_call_goes_to_the_target_it_names_and_to_the_vendors_own_address_if_it_names_none() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = clay(&wire).target("leads", Clay::table("https://clay.test/leads"));
        let mainstay = start([config.target("accounts", Clay::table("https://clay.test/accounts"))]).await;
        for call in [row_in("leads", 0), row_in("accounts", 1), row(2)] {
            call_of(mainstay.call(call).await);
        }
        let urls: Vec<_> = wire.seen().into_iter().map(|seen| seen.url).collect();
        assert_eq!(urls, ["https://clay.test/leads", "https://clay.test/accounts", "https://clay.test/hook"]);
    });
}

#[test]
fn a_target_that_is_unknown_or_missing_is_refused_with_the_known_ones() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay_tables(&wire), retell(&wire)]).await;
        let refusal = refusal_of(mainstay.call(row_in("lead", 0)).await);
        assert_eq!(refusal.to_string(), "refused by the gateway: unknown target \"lead\"; known: accounts, leads");
        let refusal = refusal_of(mainstay.call(row(0)).await);
        assert_eq!(
            refusal.to_string(),
            "refused by the gateway: target: clay has only named targets: name one of accounts, leads"
        );
        assert!(refusal.is_callers_fault());
        let refusal = refusal_of(mainstay.call(ring("a").target("leads")).await);
        assert!(matches!(&refusal.reason, Reason::UnknownName { what: "target", known, .. } if known.is_empty()));
        assert_eq!(wire.count(), 0);
    });
}

#[test]
fn one_row_in_two_tables_is_two_effects_and_in_one_table_one() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay_tables(&wire)]).await;
        let first = call_of(mainstay.call(row_in("leads", 0)).await);
        assert_eq!(call_of(mainstay.call(row_in("leads", 0)).await), first, "a repeat");
        assert_ne!(call_of(mainstay.call(row_in("accounts", 0)).await), first);
        let first = call_of(mainstay.call(row_in("leads", 1).key("mine")).await);
        assert_ne!(call_of(mainstay.call(row_in("accounts", 1).key("mine")).await), first);
        assert_eq!((wire.count_at("/leads"), wire.count_at("/accounts")), (2, 2));
    });
}

#[test]
fn all_targets_share_the_vendors_budget_and_rate() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = clay_tables(&wire).daily_limit(Credits::whole(18));
        let rate = Rate { per_second: 1.0, burst: 1 };
        let mainstay = start([config.with(|config| config.gate.rate = Some(rate))]).await;
        let begun = now();
        for (n, table) in ["leads", "accounts", "leads"].into_iter().enumerate() {
            call_of(mainstay.call(row_in(table, n)).await);
        }
        assert!(now() - begun >= s(2), "one row a second over both tables");
        let refusal = refusal_of(mainstay.call(row_in("accounts", 9).without_fallback()).await);
        assert!(matches!(refusal.reason, Reason::OverBudget { .. }), "{refusal}");
    });
}

#[test]
fn a_letter_keeps_the_name_of_its_target_never_the_address_and_is_replayed_there() {
    paused(async {
        let wire = Wire::usually(after(422, 0));
        let mainstay = start([clay_tables(&wire)]).await;
        let letter = letter_of(mainstay.call(row_in("accounts", 0)).await);
        let mut lines = String::new();
        mainstay.dead_letters().export(Filter::ids([letter]), |line| lines += line).await.unwrap();
        assert!(lines.contains(r#""target":"accounts""#) && !lines.contains("canary"), "{lines}");
        wire.now_usually(ok(200));
        mainstay.dead_letters().replay(Filter::ids([letter])).run().await.unwrap();
        until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((wire.count_at("/accounts"), wire.count_at("/leads")), (2, 0));
    });
}

fn states(mainstay: &Handle, vendor: &str) -> Vec<String> {
    let one = |breaker: &BreakerSnapshot| format!("{} {}", breaker.circuit, breaker.state);
    mainstay.snapshot().vendors[vendor].breakers.iter().map(one).collect()
}

#[test]
fn an_outage_of_one_table_opens_its_own_breaker_and_the_other_table_keeps_on() {
    paused(async {
        let wire = Wire::usually(ok(200));
        wire.now_usually_at("/leads", after(503, 0));
        let config = touchy(clay_tables(&wire)).with(|config| config.profile.as_mut().unwrap().retry.attempts_max = 1);
        let mainstay = start([config]).await;
        let mut heard = mainstay.subscribe();
        let error = mainstay.call(row_in("leads", 0).without_fallback()).await.unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
        assert_eq!(states(&mainstay, "clay"), ["accounts closed", "leads open"]);
        let refusal = refusal_of(mainstay.call(row_in("leads", 1).without_fallback()).await);
        assert!(matches!(refusal.reason, Reason::BreakerOpen { .. }), "{refusal}");
        for n in 2..5 {
            call_of(mainstay.call(row_in("accounts", n)).await);
        }
        assert_eq!((wire.count_at("/leads"), wire.count_at("/accounts")), (1, 3));

        let changed = facts(&mut heard).into_iter().find_map(|fact| match fact {
            Fact::BreakerChanged { circuit, .. } => Some(circuit.to_string()),
            _ => None,
        });
        assert_eq!(changed.as_deref(), Some("leads"));
        turn().await;
        let snapshot = mainstay.snapshot();
        let reasons: Vec<_> = snapshot.health.vendors[0].reasons.iter().map(|reason| reason.text.as_str()).collect();
        assert!(reasons.iter().any(|text| text.starts_with("circuit breaker leads open")), "{reasons:?}");
        assert!(snapshot.health.status >= Status::Degraded);

        wire.now_usually_at("/leads", ok(200));
        tokio::time::sleep(s(3600)).await;
        call_of(mainstay.call(row_in("leads", 6)).await);
        assert_eq!(states(&mainstay, "clay"), ["accounts closed", "leads closed"]);
        at_rest(&mainstay);
    });
}

#[test]
fn a_breaker_that_opens_takes_nobody_out_who_waits_for_another_table() {
    paused(async {
        let wire = Wire::usually(after(200, 8));
        wire.now_usually_at("/leads", after(503, 3));
        let config = touchy(one_at_a_time(clay_tables(&wire)));
        let config = config.with(|config| config.profile.as_mut().unwrap().retry.attempts_max = 1);
        let mainstay = start([config]).await;
        let begun = now();
        let running = begin(&mainstay, row_in("accounts", 0));
        turn().await;
        let waiting = [("accounts", 1), ("leads", 2), ("accounts", 3)]
            .map(|(table, n)| begin(&mainstay, row_in(table, n).without_fallback()));
        let fails = begin(&mainstay, row_in("leads", 4).lane("critical").without_fallback());
        assert!(fails.await.unwrap().is_err());
        let [first, of_leads, second] = waiting;
        let refusal = refusal_of(of_leads.await.unwrap());
        assert!(matches!(refusal.reason, Reason::BreakerOpen { .. }), "{refusal}");
        assert!(now() - begun < s(4), "at once");
        for call in [running, first, second] {
            call_of(call.await.unwrap());
        }
        at_rest(&mainstay);
    });
}

#[test]
fn a_crash_of_one_tables_breaker_is_no_crash_of_anothers() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = builder().hazard(panics_at("clay/breaker/leads", "ticket", None)).vendor(clay_tables(&wire));
        let mainstay =
            config.with(|runtime| runtime.child.intensity.max_restarts = 1_000).start().await.unwrap().handle();
        let error = mainstay.call(row_in("leads", 0).without_fallback()).await.unwrap_err();
        let reason = error.refusal().map(|refusal| &refusal.reason);
        assert!(matches!(reason, Some(Reason::CrashedTooOften { guard: Guard::Breaker, .. })), "{error:?}");
        call_of(mainstay.call(row_in("accounts", 1)).await);
        assert_eq!(wire.count_at("/accounts"), 1);
    });
}

/// A vendor whose operation `get` is in the group `status`, and `create` in none.
fn crm(wire: &Wire) -> VendorConfig {
    let profile = Clay::table("https://crm.test").profile("crm").map(|profile| Profile {
        operations: [
            (OperationId::new("create").unwrap(), Operation::post("/create")),
            (
                OperationId::new("get").unwrap(),
                Operation { group: GroupId::new("status").ok(), ..Operation::post("/get") },
            ),
        ]
        .into(),
        ..profile
    });
    VendorConfig::new(profile).daily_limit(Credits::whole(100)).transport(wire.clone())
}

#[test]
fn an_outage_of_one_group_of_operations_does_not_stop_another_and_each_may_have_its_own_rules() {
    paused(async {
        let wire = Wire::usually(after(503, 0));
        let config = touchy(crm(&wire)).with(|config| {
            let streak = Some(StreakTrip { failures: 2, ..StreakTrip::default() });
            let of_status = BreakerConfig { streak, ..config.breaker.clone() };
            config.group_breakers.insert("status".into(), of_status);
            config.profile.as_mut().unwrap().retry.attempts_max = 1;
        });
        let mainstay = start([config]).await;
        let call = |operation: &str, n| Call::new("crm", operation, lead(n)).without_fallback();
        mainstay.call(call("create", 0)).await.unwrap_err();
        assert_eq!(states(&mainstay, "crm"), [" open", ":status closed"]);
        mainstay.call(call("get", 1)).await.unwrap_err();
        assert_eq!(states(&mainstay, "crm"), [" open", ":status closed"], "it opens at the second failure");
        wire.now_usually_at("/get", ok(200));
        call_of(mainstay.call(call("get", 2)).await);
        assert!(matches!(refusal_of(mainstay.call(call("create", 3)).await).reason, Reason::BreakerOpen { .. }));
    });
}

#[test]
fn a_target_or_a_group_that_cannot_be_is_named_before_the_start() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let table = || Clay::table("https://clay.test/x");
        let clay =
            clay_tables(&wire).target("leads", table()).target("my leads", table()).target("bad", Clay::table("x"));
        let clay = clay.with(|config| {
            config.group_breakers.insert("statsu".into(), config.breaker.clone());
        });
        let many = (0..70).fold(crm(&wire), |crm, n| crm.target(&format!("t{n}"), Target::at("https://crm.test/t")));
        let Err(StartError::Config(faults)) = builder().vendor(clay).vendor(many).start().await else { panic!() };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        let expected = [
            "vendors.clay.profile.targets.bad.base_url",
            "vendors.clay.profile.targets.leads",
            "vendors.clay.profile.targets.my leads",
            "vendors.clay.group_breakers.statsu",
            "vendors.crm.profile.circuits",
        ];
        assert_eq!(fields, expected, "{faults:#?}");
    });
}

#[test]
fn an_operator_holds_the_breaker_of_one_table_open_and_the_other_table_does_not_notice() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay_tables(&wire)]).await;
        let leads = mainstay.breaker_of("clay", "leads").unwrap();
        leads.force_open(s(60), "a new webhook is being made, Ana").await.unwrap();
        let refusal = refusal_of(mainstay.call(row_in("leads", 0).without_fallback()).await);
        assert_eq!(refusal.by, Guard::Breaker);
        call_of(mainstay.call(row_in("accounts", 1)).await);
        leads.reset().await.unwrap();
        call_of(mainstay.call(row_in("leads", 2)).await);
        for unknown in ["", "lead", ":leads"] {
            let error = mainstay.breaker_of("clay", unknown).unwrap_err();
            assert!(error.to_string().contains("accounts, leads"), "{error}");
        }
    });
}

#[test]
fn a_webhook_takes_its_50_000_rows_for_life_and_the_other_table_has_its_own() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = clay_tables(&wire).with(|config| {
            let own = Own { amount: Credits::whole(50_000), used_before: Credits::whole(49_999) };
            config.budget.limits[0].own.insert("leads".into(), own);
        });
        let mainstay = start([config.clone()]).await;
        call_of(mainstay.call(row_in("leads", 0)).await);
        tokio::time::sleep(s(26 * 3600)).await;
        let refusal = refusal_of(mainstay.call(row_in("leads", 1).without_fallback()).await);
        let text = refusal.to_string();
        assert!(text.contains("of 50000 rows for life of target leads") && !text.contains("canary"), "{text}");
        assert_eq!(refusal.retry_at, None, "it never comes back");
        call_of(mainstay.call(row_in("accounts", 2)).await);

        let config = config.with(|config| {
            config.budget.limits[0].own.insert("laeds".into(), Own::default());
        });
        let Err(StartError::Config(faults)) = builder().vendor(config).start().await else { panic!() };
        assert_eq!(faults[0].to_string(), "vendors.clay.budget.limits: own.laeds: no target has this name");
    });
}
