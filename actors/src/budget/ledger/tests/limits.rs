//! Several limits at once: by meter, by period, by tenant and target.

use super::*;

#[test]
fn a_call_that_one_limit_refuses_is_entered_in_none() {
    let mut desk = Desk::with(&several());
    desk.ask(tenant("blue", 40)).0.unwrap();
    let refusal = desk.ask(tenant("blue", 1)).0.unwrap_err();
    let words = "refused by the budget: 1 asked, 0 spent and 40 reserved of 40 credits a day of tenant blue";
    assert_eq!(refusal.to_string(), words);
    assert_eq!((desk.figures(), desk.of(&month())), ([0, 40, 0, 0], [0, 40, 0, 0]));
    desk.ask(tenant("acme", 60)).0.unwrap();
    assert!(desk.ask(tenant("acme", 0)).0.is_ok(), "equality passes");
    assert!(desk.ask(tenant("red", 1)).0.is_err(), "the account has no more than 100");
    assert_eq!((desk.of(&of_tenant("acme")), desk.of(&of_tenant("red"))), ([0, 60, 0, 0], [0; 4]));
}

#[test]
fn a_call_without_a_tenant_is_held_by_the_account_alone() {
    let mut desk = Desk::with(&several());
    desk.ask(credits(100)).0.unwrap();
    assert!(desk.ask(tenant("blue", 1)).0.is_err());
}

#[test]
fn of_several_limits_the_one_that_keeps_a_call_away_longest_is_named() {
    let mut desk = Desk::with(&several());
    for _ in 0..2 {
        let spent = desk.reserve(100);
        desk.end(spent, done(None));
        desk.pass_hours(24);
    }
    desk.reserve(50);
    let refusal = desk.offer(51, LANE).0.unwrap_err();
    assert!(refusal.to_string().ends_with("200 spent and 50 reserved of 250 credits a month"), "{refusal}");
    let june: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let wait = Duration::try_from(june.duration_since(desk.wall)).unwrap();
    assert_eq!(refusal.retry_after(desk.now), Some(wait));
    desk.pass_hours(27 * 24 + 4);
    assert_eq!((desk.wall, desk.of(&month())), (june, [200, 50, 0, 0]));
    desk.reserve(100);
    assert_eq!(desk.of(&month()), [0, 100, 0, 0]);
}

#[test]
fn each_meter_settles_at_its_own_cost_and_at_what_was_reserved_where_none_is_stated() {
    let mut desk = Desk::with(&several());
    let ask = || Ask {
        amounts: vec![(MeterId::default(), Credits::whole(10)), (meter("actions"), Credits::whole(3))],
        ..Ask::default()
    };
    let actions = LimitId::account(meter("actions"), Period::Day);
    let [a, b, c] = [0; 3].map(|_| desk.ask(ask()).0.unwrap());
    assert_eq!(
        marks(&desk.end(a, done(Some(14)))),
        ["overage"],
        "one, whatever number of its meter's limits it touches"
    );
    desk.end(b, ended(Class::Server, Effect::None, None));
    assert_eq!((desk.figures(), desk.of(&actions)), ([14, 10, 0, 4], [3, 3, 0, 0]));
    let notes = desk.end(c, with_also(done(None), [(meter("actions"), Credits::whole(5))]));
    assert_eq!(marks(&notes), ["overage"], "of the actions");
    assert_eq!((desk.figures(), desk.of(&actions)), ([24, 0, 0, 4], [8, 0, 0, 2]));
}

#[test]
fn a_lifetime_counter_is_never_reset_and_no_time_to_come_back_is_named() {
    let mut desk = Desk::with(&several());
    for _ in 0..5 {
        let row = desk.ask(row("leads")).0.unwrap();
        desk.end(row, done(Some(4)));
        desk.pass_hours(24);
    }
    desk.pass_hours(365 * 24);
    let (refusal, notes) = desk.ask(row("leads"));
    let refusal = refusal.unwrap_err();
    assert!(refusal.to_string().ends_with("5 spent and 0 reserved of 5 rows for life of target leads"), "{refusal}");
    assert_eq!((refusal.retry_at, marks(&notes)), (None, vec!["hard"]));
    desk.ask(row("people")).0.unwrap();
    assert_eq!(desk.of(&rows_of("leads")), [5, 0, 0, 0]);
}

#[test]
fn a_lifetime_counter_goes_on_from_what_was_used_before() {
    let own =
        [("leads".to_owned(), Own { amount: Credits::whole(50_000), used_before: Credits::whole(49_999) })].into();
    let rows =
        Limit { scope: Scope::Target, own, ..Limit::new(Period::Lifetime, Credits::whole(50_000)).of(meter("rows")) };
    let mut desk = Desk::with(&BudgetConfig { limits: vec![rows], ..BudgetConfig::per_day(Credits::whole(500)) });
    let (first, notes) = desk.ask(row("leads"));
    first.unwrap();
    assert_eq!(marks(&notes), ["soft", "soft"]);
    assert!(desk.ask(row("leads")).0.is_err());
    assert!(desk.ask(row("people")).0.is_ok());
}

#[test]
fn an_end_that_never_comes_counts_as_spent_for_life_after_a_month_and_frees_its_place() {
    let mut desk = Desk::with(&several());
    let lost = desk.ask(row("leads")).0.unwrap();
    desk.end(lost, GrantEnd::Unknown);
    desk.pass_hours(40 * 24);
    desk.ask(row("leads")).0.unwrap();
    assert_eq!((desk.ledger.outstanding(), desk.of(&rows_of("leads"))), (2, [0, 2, 1, 0]));
    let mut notes = Vec::new();
    for _ in 0..30 {
        desk.pass_hours(24);
        let turn = desk.ledger.decide_turn(desk.wall, desk.now);
        notes.extend(desk.ledger.apply_turn(turn));
    }
    assert!(notes.contains(&Note::WrittenOff(1)));
    assert_eq!((desk.ledger.outstanding(), desk.of(&rows_of("leads"))), (1, [1, 1, 0, 0]));
    assert!(desk.end(lost, GrantEnd::Unused).is_empty());
}

#[test]
fn overage_across_midnight_is_yesterdays_and_the_months() {
    let mut desk = Desk::with(&several());
    let dear = desk.reserve(100);
    let yesterday = desk.ledger.today().date;
    desk.pass_hours(5);
    assert_eq!(marks(&desk.end(dear, done(Some(180)))), ["overage"]);
    assert_eq!(figures(desk.ledger.page(&LimitId::default(), yesterday).unwrap()), [180, 0, 0, 80]);
    assert_eq!((desk.figures(), desk.of(&month())), ([0; 4], [180, 0, 0, 80]));
    desk.reserve(70);
    desk.refuse(1);
}

#[test]
fn a_late_cost_of_a_call_without_an_estimate_is_yesterdays() {
    let mut desk = Desk::with(&several());
    let free = desk.ask(tenant("blue", 0)).0.unwrap();
    let yesterday = desk.ledger.today().date;
    desk.pass_hours(5);
    desk.end(free, done(Some(3)));
    for which in [LimitId::default(), of_tenant("blue")] {
        assert_eq!(figures(desk.ledger.page(&which, yesterday).unwrap())[0], 3, "{which}");
    }
}

#[test]
fn a_late_end_over_the_end_of_the_month_changes_the_old_month_alone() {
    let mut desk = Desk::with(&several());
    desk.pass_hours(29 * 24);
    let late = desk.reserve(100);
    let may = desk.ledger.today().date;
    desk.pass_hours(5);
    desk.reserve(10);
    desk.end(late, done(Some(90)));
    assert_eq!(figures(desk.ledger.page(&month(), may).unwrap()), [90, 0, 0, 0]);
    assert_eq!((desk.figures(), desk.of(&month())), ([0, 10, 0, 0], [0, 10, 0, 0]));
}

#[test]
fn tenants_are_bounded_and_those_that_used_nothing_make_room() {
    let config = BudgetConfig { outstanding_max: 20_000, ..several() };
    let mut desk = Desk::with(&config);
    let first = desk.ask(tenant("t0", 0)).0.unwrap();
    for n in 1..HOLDERS_MAX {
        let ask = Ask { amounts: vec![(MeterId::default(), Credits::from_micros(1))], ..tenant(&format!("t{n}"), 0) };
        let grant = desk.ask(ask).0.unwrap();
        if n == 1 {
            desk.end(grant, done(None));
        }
    }
    assert!(desk.ask(tenant("new", 1)).0.is_err());
    desk.end(first, GrantEnd::Unused);
    desk.ask(tenant("new", 1)).0.unwrap();
    let refusal = desk.ask(tenant("newer", 1)).0.unwrap_err();
    assert_eq!(refusal.reason, Reason::Full { what: "budget tenants", held: HOLDERS_MAX, limit: HOLDERS_MAX });
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(4 * 3600)));
    desk.pass_hours(4);
    desk.ask(tenant("newer", 1)).0.unwrap();
    let refusal = desk.ask(tenant("newest", 1)).0.unwrap_err();
    assert!(matches!(refusal.reason, Reason::Full { held: HOLDERS_MAX, .. }), "the calls of all others have not ended");
}

#[test]
fn tenants_of_yesterday_whose_calls_have_ended_make_room_too() {
    let mut desk = Desk::with(&BudgetConfig { outstanding_max: 20_000, ..several() });
    let little =
        |name: String| Ask { amounts: vec![(MeterId::default(), Credits::from_micros(1))], ..tenant(&name, 0) };
    let unknown = desk.ask(little("t0".into())).0.unwrap();
    desk.end(unknown, GrantEnd::Unknown);
    for n in 1..HOLDERS_MAX {
        let grant = desk.ask(little(format!("t{n}"))).0.unwrap();
        desk.end(grant, done(None));
    }
    desk.pass_hours(4);
    for n in 0..10 {
        desk.ask(little(format!("new{n}"))).0.unwrap();
    }
    let yesterday = desk.ledger.today().date.yesterday().unwrap();
    let kept = desk.ledger.page(&of_tenant("t0"), yesterday).unwrap();
    assert_eq!(kept.unknown, Credits::from_micros(1), "an end may still come for it");
}

#[test]
fn what_is_charged_for_each_class_is_the_vendors_rule() {
    let charges: BTreeMap<_, _> = [
        (Class::NotFound, Charge::Nothing),
        (Class::CallerError, Charge::Estimate),
        (Class::Server, Charge::Fixed(Credits::whole(2))),
    ]
    .into();
    // The end, and what is then settled and reserved of 10.
    let table = [
        (ended(Class::NotFound, Effect::Done, Some(10)), [0, 0]),
        (ended(Class::CallerError, Effect::None, None), [10, 0]),
        (ended(Class::Server, Effect::None, None), [2, 0]),
        (ended(Class::Server, Effect::Unknown, None), [0, 10]),
        (ended(Class::Overload, Effect::None, None), [0, 0]),
        (done(Some(7)), [7, 0]),
    ];
    for (end, expected) in table {
        let mut desk = Desk::new();
        let grant = desk.ask(Ask { charges: charges.clone(), ..credits(10) }).0.unwrap();
        desk.end(grant, end.clone());
        assert_eq!(desk.figures()[..2], expected, "{end:?}");
    }
}

#[test]
fn what_uses_most_is_shown_first_and_no_more_than_twenty() {
    let mut desk = Desk::with(&BudgetConfig { daily_limit: Credits::whole(100_000), ..several() });
    for n in 1..=25u64 {
        desk.ask(tenant(&format!("t{n}"), n % 10)).0.unwrap();
    }
    let shown = desk.ledger.snapshot(&"clay".parse().unwrap(), desk.wall, desk.now);
    assert_eq!((shown.limit, shown.limits[0].limit), (Credits::whole(100_000), Credits::whole(100_000)));
    let tenants: Vec<_> = shown.limits.iter().filter(|limit| matches!(limit.which.whose, Whose::Tenant(_))).collect();
    assert_eq!(tenants.len(), 20);
    assert!(tenants.is_sorted_by(|a, b| a.reserved >= b.reserved));
    assert_eq!((tenants[0].reserved, tenants[0].span.as_str()), (Credits::whole(9), "2026-05-02"));
}
