//! The budget on the whole road: limits by tenant and target, meters, the vendor's own word, an operator.

use mainstay::{
    AdjustBudget, Limit, LimitId, Operation, Period, Profile, Scope, Whose,
    actors::{
        budget::{BudgetChange, BudgetWhat, Forecast, LimitSnapshot, Own},
        ids::MeterId,
        kernel::ask,
        profile::{Amount, Charge, CostRule},
    },
};

use super::{support::clay_tables, *};

fn rows_of(target: &str) -> LimitId {
    LimitId { meter: rows(), period: Period::Lifetime, whose: Whose::Target(target.into()) }
}

fn rows() -> MeterId {
    MeterId::new(Clay::ROWS).unwrap()
}

fn limit_of(mainstay: &Handle, vendor: &str, which: &LimitId) -> LimitSnapshot {
    let limits = &mainstay.snapshot().vendors[vendor].budget.limits;
    limits.iter().find(|limit| limit.which == *which).unwrap_or_else(|| panic!("{which} in {limits:#?}")).clone()
}

fn refused(answer: Result<Answer, CallError>) -> mainstay::Refusal {
    answer.unwrap_err().refusal().unwrap().clone()
}

/// A vendor that answers at once, at one credit a look.
fn lookup(wire: &Wire, change: impl FnOnce(&mut Operation)) -> VendorConfig {
    let mut look = Operation { estimate: Credits::whole(1), ..Operation::post("/look") };
    change(&mut look);
    let free = Operation { cost: CostRule::Free, ..Operation::post("/me") };
    let named = [("look", look), ("me", free)];
    let profile = Profile {
        base_url: Some("https://look.test".to_owned().into()),
        ..Profile::of_functions("look", named).unwrap()
    };
    VendorConfig::new(Ok(profile)).daily_limit(Credits::whole(100)).transport(wire.clone())
}

fn look(operation: &str, n: usize) -> Call {
    Call::new("look", operation, lead(n)).on_denied(OnDenied::Refuse)
}

#[test]
fn each_clay_table_takes_50_000_rows_for_life_and_says_so_before_they_are_used_up() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = clay_tables(&wire).with(|clay| {
            let own = Own { amount: Credits::whole(Clay::ROWS_MAX), used_before: Credits::whole(49_999) };
            clay.budget.limits[0].own = [("leads".to_owned(), own)].into();
        });
        let mainstay = start([config]).await;
        let mut heard = mainstay.subscribe();
        mainstay.call(row(0).target("leads")).await.unwrap();
        let marks: Vec<_> = facts(&mut heard)
            .into_iter()
            .filter_map(|fact| match fact {
                Fact::BudgetMarked { which, used, limit, mark, .. } => Some((which, used, limit, mark)),
                _ => None,
            })
            .collect();
        let full = Credits::whole(50_000);
        assert_eq!(marks, [(rows_of("leads"), full, full, "soft"), (rows_of("leads"), full, full, "soft")]);
        let answer = mainstay.call(row(1).target("leads")).await;
        assert!(matches!(answer, Err(CallError::DeadLettered { .. })), "no reset would let it through: {answer:?}");
        let words = refused(answer).to_string();
        assert!(
            words.ends_with("1 asked, 49999 spent and 1 reserved of 50000 rows for life of target leads"),
            "{words}"
        );
        mainstay.call(row(2).target("accounts")).await.unwrap();
        assert_eq!(limit_of(&mainstay, "clay", &rows_of("accounts")).remaining, Credits::whole(49_999));
    });
}

#[test]
fn a_late_cost_settles_the_credits_and_the_row_counts_as_a_row() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire)]).await;
        let call = call_of(mainstay.call(row(0)).await);
        tokio::time::sleep(s(600)).await;
        mainstay.complete(call, Completion::happened(Credits::whole(4))).await.unwrap();
        turn().await;
        assert_eq!(money(&mainstay, "clay"), whole(4, 0));
        let rows = LimitId { whose: Whose::OwnAddress, ..rows_of("") };
        let rows = limit_of(&mainstay, "clay", &rows);
        assert_eq!((rows.settled, rows.reserved, rows.resets_at), (Credits::whole(1), Credits::ZERO, None));
    });
}

#[test]
fn two_meters_settle_at_what_the_answer_says_of_each_or_the_end_that_comes_later() {
    paused(async {
        let actions = MeterId::new("actions").unwrap();
        let wire = Wire::usually(Reply::Answer(200, json!({ "used": { "credits": 2.5, "actions": 4 } }), s(1)));
        let config = lookup(&wire, |look| {
            look.also = [(actions.clone(), Credits::whole(1))].into();
            look.cost = CostRule::Body(Amount::at("/used/credits"));
            look.also_cost = [(actions.clone(), Amount::at("/used/actions"))].into();
        })
        .with(|look| look.budget.limits = vec![Limit::new(Period::Month, Credits::whole(500)).of(actions.clone())]);
        let late = clay(&Wire::usually(ok(200)));
        let mainstay = start([config, late]).await;
        mainstay.call(look("look", 0)).await.unwrap();
        turn().await;
        let month = limit_of(&mainstay, "look", &LimitId::account(actions, Period::Month));
        assert_eq!(
            (month.settled, month.overage, month.span.as_str()),
            (Credits::whole(4), Credits::whole(3), "2026-11")
        );
        assert_eq!(money(&mainstay, "look").0, Credits::from_micros(2_500_000));

        let call = call_of(mainstay.call(row(0)).await);
        let end = Completion::happened(Credits::whole(5)).also(rows(), Credits::ZERO);
        mainstay.complete(call, end).await.unwrap();
        turn().await;
        let rows = limit_of(&mainstay, "clay", &LimitId { whose: Whose::OwnAddress, ..rows_of("") });
        assert_eq!((money(&mainstay, "clay"), rows.settled), (whole(5, 0), Credits::ZERO));
    });
}

#[test]
fn one_tenant_that_used_up_its_share_holds_up_no_other_and_is_no_trouble_of_the_vendors() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let config = lookup(&wire, |_| {}).with(|look| {
            look.budget.limits = vec![Limit { scope: Scope::Tenant, ..Limit::new(Period::Day, Credits::whole(2)) }];
        });
        let mainstay = start([config]).await;
        for n in 0..2 {
            mainstay.call(look("look", n).tenant("acme")).await.unwrap();
        }
        let refusal = refused(mainstay.call(look("look", 2).tenant("acme")).await);
        assert!(refusal.to_string().ends_with("2 credits a day of tenant acme"), "{refusal}");
        assert!(refusal.retry_at.is_some());
        mainstay.call(look("look", 3).tenant("blue")).await.unwrap();
        mainstay.call(look("look", 4)).await.unwrap();
        turn().await;
        let health = &mainstay.snapshot().health.vendors[0];
        assert!(health.reasons.iter().all(|reason| reason.at_best.is_none()), "{:?}", health.reasons);
    });
}

#[test]
fn what_the_vendor_bills_for_an_answer_that_is_no_success_is_spent() {
    paused(async {
        let wire = Wire::default();
        wire.then([404, 422, 400].map(|status| Reply::Answer(status, json!({}), s(1))));
        let config = lookup(&wire, |look| {
            look.estimate = Credits::whole(10);
            look.charge = [(Class::CallerError, Charge::Fixed(Credits::whole(2)))].into();
        });
        let mainstay = start([config]).await;
        for n in 0..3 {
            mainstay.call(look("look", n)).await.unwrap_err();
        }
        turn().await;
        assert_eq!(money(&mainstay, "look"), whole(6, 0));
    });
}

#[test]
fn a_quota_that_names_its_reset_blocks_until_then_and_a_free_question_passes() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let quota = json!({ "message": "quota", "period_quota": { "resets_at": "2026-11-24T15:00:00Z" } });
        wire.then([Reply::Answer(402, quota, s(1))]);
        let mainstay = start([lookup(&wire, |look| look.resets_at = Some("/period_quota/resets_at".into()))]).await;
        let queued = mainstay.call(look("look", 0)).await.unwrap();
        assert!(
            matches!(&queued, Answer::Queued { due, .. } if due.to_string() == "2026-11-24T15:00:00Z"),
            "{queued:?}"
        );
        let refusal = refused(mainstay.call(look("look", 1)).await);
        let wait = refusal.retry_after(now()).unwrap();
        assert!(wait > s(3 * 3600 - 5) && wait <= s(3 * 3600), "{wait:?}");
        mainstay.call(look("me", 2)).await.unwrap();
        tokio::time::sleep(wait + s(1)).await;
        let snapshot = until(&mainstay, |snapshot| snapshot.calls.queued == 0).await;
        assert_eq!((snapshot.calls.delivered, wire.count()), (2, 3));
    });
}

#[test]
fn an_operator_raises_todays_limit_with_a_reason_and_everybody_hears_of_it() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([lookup(&wire, |_| {}).daily_limit(Credits::whole(2))]).await;
        for n in 0..2 {
            mainstay.call(look("look", n)).await.unwrap();
        }
        let Reason::OverBudget { which, .. } = refused(mainstay.call(look("look", 2)).await).reason else { panic!() };
        let mut heard = mainstay.subscribe();
        let budget = mainstay.budget("look").unwrap();
        let error = budget.raise((*which).clone(), Credits::whole(21), "too much").await.unwrap_err();
        assert_eq!(error.to_string(), "21 is not within 2..=20");
        let shown = budget.raise((*which).clone(), Credits::whole(3), "the fair is today").await.unwrap();
        assert_eq!((shown.limit, shown.raised), (Credits::whole(3), true));
        let fact = facts(&mut heard).into_iter().find(|fact| matches!(fact, Fact::BudgetChanged { .. })).unwrap();
        let Fact::BudgetChanged { what, limit, reason, .. } = fact else { panic!() };
        assert_eq!((what, limit, &*reason), ("raised", Credits::whole(3), "the fair is today"));
        mainstay.call(look("look", 3)).await.unwrap();
        let what = BudgetWhat::Spent { which: *which, spent: Credits::ZERO };
        let change = BudgetChange { what, reason: "the vendor gave them back".into() };
        let message = AdjustBudget { vendor: "look".into(), change };
        assert_eq!(ask(&mainstay.address(), message).await.unwrap().unwrap().settled, Credits::ZERO);
        mainstay.call(look("look", 4)).await.unwrap();
        assert!(mainstay.budget("lok").is_err());
    });
}

#[test]
fn the_snapshot_foresees_when_the_budget_is_used_up() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([lookup(&wire, |_| {})]).await;
        for n in 0..60 {
            mainstay.call(look("look", n)).await.unwrap();
            tokio::time::sleep(s(60)).await;
        }
        let forecast = limit_of(&mainstay, "look", &LimitId::default()).forecast;
        let Some(Forecast::UsedUpAt(at)) = forecast else { panic!("{forecast:?}") };
        // One a minute since 12:00: 40 minutes more.
        let minutes = at.duration_since("2026-11-24T13:40:00Z".parse().unwrap()).as_mins();
        assert!(minutes.abs() <= 5, "{at}");
        tokio::time::sleep(s(2 * 3600)).await;
        let calm = limit_of(&mainstay, "look", &LimitId::default()).forecast;
        assert_eq!(calm, Some(Forecast::AtReset(0.6)), "it follows the pace though nothing is sent");
    });
}
