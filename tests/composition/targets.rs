//! Named targets: several tables under one account.

use super::*;

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
        mainstay.dead_letters().replay(Filter::ids([letter])).await.unwrap();
        until(&mainstay, |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((wire.count_at("/accounts"), wire.count_at("/leads")), (2, 0));
    });
}
