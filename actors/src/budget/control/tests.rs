use std::time::Duration;

use super::*;
use crate::{
    budget::{Ask, BudgetConfig, Limit, Scope},
    grant::{Ending, GrantEnd, GrantReport},
    ids::GrantId,
    meter::{Period, Whose},
    outcome::{Class, Effect},
    refusal::Refusal,
};

/// 500 a day, 100 for each tenant.
struct Desk {
    ledger: Ledger,
    wall: Timestamp,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        let tenants = Limit { scope: Scope::Tenant, ..Limit::new(Period::Day, Credits::whole(100)) };
        let config = BudgetConfig { limits: vec![tenants], ..BudgetConfig::per_day(Credits::whole(500)) };
        let wall = "2026-05-02T20:00:00Z".parse().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a rule takes any moment; this is where its time begins")]
        let now = Instant::now();
        Self { ledger: Ledger::new(&config, wall, now), wall, now }
    }

    fn change(&mut self, what: BudgetWhat) -> Result<Vec<Note>, BudgetChangeError> {
        let change = BudgetChange { what, reason: "the campaign ends today".into() };
        let force = self.ledger.decide_change(&change, self.wall, self.now)?;
        Ok(self.ledger.apply_change(force))
    }

    fn raise(&mut self, which: &LimitId, to: u64) -> Result<Vec<Note>, BudgetChangeError> {
        self.change(BudgetWhat::Raise { which: which.clone(), to: Credits::whole(to) })
    }

    fn reserve(&mut self, units: u64, tenant: Option<&str>) -> Result<GrantId, Refusal> {
        let amounts = vec![(self.ledger.main_meter().clone(), Credits::whole(units))];
        let ask = Ask { amounts, tenant: tenant.map(Arc::from), ..Ask::default() };
        let reserve = self.ledger.decide_reserve(self.wall, self.now, ask);
        self.ledger.apply_reserve(reserve).0
    }

    fn pass_hours(&mut self, hours: u64) {
        self.wall += Duration::from_secs(hours * 3600);
        self.now += Duration::from_secs(hours * 3600);
    }
}

fn acme() -> LimitId {
    LimitId { whose: Whose::Tenant("acme".into()), ..LimitId::default() }
}

#[test]
fn a_raised_limit_holds_until_its_reset_and_no_longer() {
    let mut desk = Desk::new();
    desk.reserve(500, None).unwrap();
    assert!(desk.reserve(1, None).is_err());
    desk.raise(&LimitId::default(), 600).unwrap();
    desk.reserve(100, None).unwrap();
    let refusal = desk.reserve(1, None).unwrap_err();
    assert!(refusal.to_string().ends_with("600 reserved of 600 credits a day"), "{refusal}");
    desk.pass_hours(4);
    assert!(desk.reserve(501, None).is_err());
    desk.reserve(500, None).unwrap();
}

#[test]
fn the_refusal_names_the_limit_that_an_operator_raises() {
    let mut desk = Desk::new();
    desk.reserve(100, Some("acme")).unwrap();
    let refusal = desk.reserve(1, Some("acme")).unwrap_err();
    let crate::refusal::Reason::OverBudget { which, .. } = refusal.reason else { panic!("{refusal}") };
    desk.raise(&which, 150).unwrap();
    desk.reserve(50, Some("acme")).unwrap();
    assert!(desk.reserve(101, Some("other")).is_err(), "the others keep theirs");
    let shown = desk.ledger.show(&which, desk.wall, desk.now).unwrap();
    assert_eq!((shown.limit, shown.raised), (Credits::whole(150), true));
    desk.raise(&which, 100).unwrap();
    assert!(!desk.ledger.show(&which, desk.wall, desk.now).unwrap().raised);
}

#[test]
fn a_change_out_of_its_range_or_without_a_reason_is_refused_in_words() {
    let mut desk = Desk::new();
    for wrong in [499, 5_001] {
        let error = desk.raise(&LimitId::default(), wrong).unwrap_err();
        assert_eq!(error.to_string(), format!("{wrong} is not within 500..=5000"));
    }
    let month = LimitId { period: Period::Month, ..LimitId::default() };
    let error = desk.raise(&month, 600).unwrap_err();
    let words = "no limit of credits a month; known: credits a day, credits a day of each tenant";
    assert_eq!(error.to_string(), words);
    for reason in ["", &"x".repeat(501)] {
        let change = BudgetChange { what: BudgetWhat::Reopen, reason: reason.into() };
        assert_eq!(desk.ledger.decide_change(&change, desk.wall, desk.now), Err(BudgetChangeError::Reason));
    }
}

#[test]
fn what_the_vendor_says_was_spent_takes_the_place_of_what_is_written() {
    let mut desk = Desk::new();
    desk.reserve(100, Some("acme")).unwrap();
    let notes = desk.change(BudgetWhat::Spent { which: LimitId::default(), spent: Credits::whole(300) }).unwrap();
    assert_eq!(notes.len(), 1, "80 % is passed by it");
    assert!(desk.reserve(101, None).is_err());
    desk.change(BudgetWhat::Spent { which: acme(), spent: Credits::ZERO }).unwrap();
    assert!(desk.reserve(1, Some("acme")).is_err(), "what is under way stays reserved");
    desk.change(BudgetWhat::Spent { which: LimitId::default(), spent: Credits::ZERO }).unwrap();
    let notes = desk.change(BudgetWhat::Spent { which: LimitId::default(), spent: Credits::whole(300) }).unwrap();
    assert_eq!(notes.len(), 1, "and again, once it was not");
}

#[test]
fn an_account_that_was_topped_up_is_open_again() {
    let mut desk = Desk::new();
    let grant = desk.reserve(6, None).unwrap();
    let end = GrantEnd::Ended(Ending {
        class: Class::Exhausted,
        effect: Effect::None,
        cost: None,
        also: std::collections::BTreeMap::new(),
        retry_after: None,
        elapsed: Duration::ZERO,
    });
    let posting = desk.ledger.decide_report(&GrantReport { grant, end }, desk.wall, desk.now);
    desk.ledger.apply_report(posting);
    assert!(desk.reserve(1, None).is_err());
    desk.change(BudgetWhat::Reopen).unwrap();
    desk.reserve(1, None).unwrap();
}
