use std::sync::Arc;

use super::*;
use crate::{
    budget::{DAYS_KEPT, EXHAUSTED_MAX, HOLDERS_MAX, Limit, Own, Scope},
    grant::Ending,
    ids::TargetId,
    meter::{Period, Whose},
};

mod model;

const LANE: bool = false;
const CRITICAL: bool = true;

/// A ledger with its two clocks.
struct Desk {
    ledger: Ledger,
    wall: Timestamp,
    now: Instant,
}

impl Desk {
    fn with(config: &BudgetConfig) -> Self {
        let wall = "2026-05-02T20:00:00Z".parse().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a rule takes any moment; this is where its time begins")]
        let now = Instant::now();
        Self { ledger: Ledger::new(config, wall, now), wall, now }
    }

    /// A limit of 500 a day.
    fn new() -> Self {
        Self::with(&BudgetConfig::per_day(Credits::whole(500)))
    }

    fn pass_hours(&mut self, hours: u64) {
        let time = Duration::from_secs(hours * 3600);
        self.wall += time;
        self.now += time;
    }

    fn ask(&mut self, ask: Ask) -> (Result<GrantId, Refusal>, Vec<Note>) {
        let reserve = self.ledger.decide_reserve(self.wall, self.now, ask);
        self.ledger.apply_reserve(reserve)
    }

    fn offer(&mut self, units: u64, critical: bool) -> (Result<GrantId, Refusal>, Vec<Note>) {
        self.ask(Ask { critical, ..credits(units) })
    }

    fn reserve(&mut self, units: u64) -> GrantId {
        self.offer(units, LANE).0.unwrap()
    }

    fn refuse(&mut self, units: u64) -> Refusal {
        self.offer(units, LANE).0.unwrap_err()
    }

    fn end(&mut self, grant: GrantId, end: GrantEnd) -> Vec<Note> {
        let posting = self.ledger.decide_report(&GrantReport { grant, end }, self.wall, self.now);
        self.ledger.apply_report(posting)
    }

    /// Settled, reserved, unknown, overage of today, in whole units.
    fn figures(&self) -> [u64; 4] {
        self.of(&LimitId::default())
    }

    /// The same, of one limit.
    fn of(&self, which: &LimitId) -> [u64; 4] {
        self.ledger.page(which, self.ledger.today().date).map_or([0; 4], figures)
    }
}

fn meter(name: &str) -> MeterId {
    MeterId::new(name).unwrap()
}

fn credits(units: u64) -> Ask {
    Ask { amounts: vec![(MeterId::default(), Credits::whole(units))], ..Ask::default() }
}

fn figures(page: &Page) -> [u64; 4] {
    [page.settled, page.reserved, page.unknown, page.overage].map(|amount| amount.micros() / 1_000_000)
}

fn ended(class: Class, effect: Effect, cost: Option<u64>) -> GrantEnd {
    GrantEnd::Ended(Ending {
        class,
        effect,
        cost: cost.map(Credits::whole),
        also: BTreeMap::new(),
        retry_after: None,
        elapsed: Duration::from_millis(80),
    })
}

fn with_also(end: GrantEnd, also: impl IntoIterator<Item = (MeterId, Credits)>) -> GrantEnd {
    let GrantEnd::Ended(end) = end else { return end };
    GrantEnd::Ended(Ending { also: also.into_iter().collect(), ..end })
}

fn done(cost: Option<u64>) -> GrantEnd {
    ended(Class::Success, Effect::Done, cost)
}

fn exhausted(retry_after: Option<Duration>) -> GrantEnd {
    let ended = Ending {
        class: Class::Exhausted,
        effect: Effect::None,
        cost: None,
        also: BTreeMap::new(),
        retry_after,
        elapsed: Duration::from_millis(80),
    };
    GrantEnd::Ended(ended)
}

fn marks(notes: &[Note]) -> Vec<&'static str> {
    let mark = |note: &Note| if let Note::Marked { mark, .. } = note { Some(mark.as_str()) } else { None };
    notes.iter().filter_map(mark).collect()
}

#[test]
fn the_limit_itself_may_be_used_and_not_a_millionth_more() {
    let mut desk = Desk::new();
    desk.reserve(500);
    let more = Ask { amounts: vec![(MeterId::default(), Credits::from_micros(1))], ..Ask::default() };
    let more = desk.ledger.decide_reserve(desk.wall, desk.now, more);
    assert!(more.verdict.is_err());
    assert_eq!(desk.figures(), [0, 500, 0, 0]);
}

#[test]
fn a_refusal_says_the_figures_and_when_the_day_is_over() {
    let mut desk = Desk::new();
    let spent = desk.reserve(300);
    desk.end(spent, done(Some(290)));
    desk.reserve(206);
    let refusal = desk.refuse(6);
    assert_eq!(refusal.to_string(), "refused by the budget: 6 asked, 290 spent and 206 reserved of 500 credits a day");
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(4 * 3600)));
}

#[test]
fn asking_changes_nothing() {
    let desk = Desk::new();
    for _ in 0..1_000 {
        let reserve = desk.ledger.decide_reserve(desk.wall, desk.now, credits(499));
        assert!(reserve.verdict.is_ok());
    }
    assert_eq!((desk.figures(), desk.ledger.outstanding()), ([0; 4], 0));
}

#[test]
fn a_call_that_no_day_can_pay_is_not_told_to_come_back_and_marks_nothing() {
    let mut desk = Desk::new();
    let (verdict, notes) = desk.offer(501, LANE);
    assert_eq!((verdict.unwrap_err().retry_at, marks(&notes)), (None, vec![]));
    assert!(desk.offer(u64::MAX, CRITICAL).0.is_err());
    assert_eq!(desk.ledger.refused_total(), 2);
}

#[test]
fn each_end_does_what_it_says() {
    // The end, and what is then settled, reserved, unknown, overage of 10.
    let table = [
        (GrantEnd::Unused, [0, 0, 0, 0]),
        (GrantEnd::Unknown, [0, 10, 10, 0]),
        (ended(Class::CallerError, Effect::None, None), [0, 0, 0, 0]),
        (ended(Class::Server, Effect::None, Some(9)), [0, 0, 0, 0]),
        (ended(Class::Timeout, Effect::Unknown, None), [0, 10, 10, 0]),
        (done(None), [10, 0, 0, 0]),
        (done(Some(0)), [0, 0, 0, 0]),
        (done(Some(7)), [7, 0, 0, 0]),
        (done(Some(13)), [13, 0, 0, 3]),
        (ended(Class::NotFound, Effect::Done, Some(8)), [8, 0, 0, 0]),
    ];
    for (end, expected) in table {
        let mut desk = Desk::new();
        let grant = desk.reserve(10);
        for delivery in 1..=3 {
            desk.end(grant, end.clone());
            assert_eq!(desk.figures(), expected, "{end:?}, delivery {delivery}");
        }
    }
}

#[test]
fn an_unknown_end_keeps_the_money_until_one_that_knows() {
    let mut desk = Desk::new();
    let (a, b, c) = (desk.reserve(10), desk.reserve(20), desk.reserve(40));
    for grant in [a, b, c] {
        desk.end(grant, GrantEnd::Unknown);
        desk.end(grant, GrantEnd::Unused);
    }
    assert_eq!(desk.figures(), [0, 70, 70, 0]);
    desk.end(a, done(Some(12)));
    desk.end(b, ended(Class::CallerError, Effect::None, None));
    assert_eq!(desk.figures(), [12, 40, 40, 2]);
}

#[test]
fn a_report_of_a_grant_nobody_gave_is_ignored() {
    let mut desk = Desk::new();
    desk.reserve(10);
    assert!(desk.end(GrantId(77), exhausted(None)).is_empty());
    assert_eq!(desk.figures(), [0, 10, 0, 0]);
    desk.reserve(10);
}

#[test]
fn a_cost_above_its_reservation_is_recorded_and_blocks_further_calls() {
    let mut desk = Desk::with(&BudgetConfig { soft_marks: vec![], ..BudgetConfig::per_day(Credits::whole(100)) });
    let (dear, other) = (desk.reserve(10), desk.reserve(50));
    let notes = desk.end(dear, done(Some(60)));
    assert_eq!(
        notes,
        [Note::Marked {
            mark: Mark::Overage(Credits::whole(50)),
            which: LimitId::default(),
            used: Credits::whole(110),
            limit: Credits::whole(100),
        }]
    );
    assert_eq!(desk.figures(), [60, 50, 0, 50]);
    desk.refuse(1);
    desk.end(other, GrantEnd::Unused);
    desk.reserve(40);
    desk.refuse(1);
}

#[test]
fn soft_marks_are_passed_once_a_day_and_again_the_next() {
    let mut desk = Desk::new();
    assert_eq!(marks(&desk.offer(399, LANE).1), [""; 0]);
    let (grant, notes) = desk.offer(1, LANE);
    assert_eq!(marks(&notes), ["soft"]);
    desk.end(grant.unwrap(), GrantEnd::Unused);
    assert_eq!(marks(&desk.offer(1, LANE).1), [""; 0]);
    assert_eq!(marks(&desk.offer(100, LANE).1), ["soft"]);
    desk.pass_hours(4);
    assert_eq!(marks(&desk.offer(500, LANE).1), ["soft", "soft"]);
}

#[test]
fn the_hard_mark_is_the_first_refusal_of_a_day() {
    let mut desk = Desk::new();
    desk.reserve(499);
    let refused = [desk.offer(2, LANE), desk.offer(2, LANE)].map(|(_, notes)| marks(&notes).len());
    assert_eq!(refused, [1, 0]);
    desk.pass_hours(24);
    desk.reserve(499);
    assert_eq!(marks(&desk.offer(2, LANE).1), ["hard"]);
}

#[test]
fn a_share_is_kept_for_the_critical_lane() {
    let mut desk = Desk::with(&BudgetConfig { critical_share: 0.2, ..BudgetConfig::per_day(Credits::whole(500)) });
    desk.reserve(400);
    let refusal = desk.refuse(1);
    assert!(refusal.to_string().contains("1 asked, 0 spent and 400 reserved of 400 credits a day"), "{refusal}");
    assert!(desk.offer(100, CRITICAL).0.is_ok());
    assert!(desk.offer(1, CRITICAL).0.is_err());
}

#[test]
fn a_full_table_refuses_with_its_figures() {
    let mut desk = Desk::with(&BudgetConfig { outstanding_max: 2, ..BudgetConfig::per_day(Credits::whole(500)) });
    let first = desk.reserve(1);
    desk.reserve(1);
    assert_eq!(desk.refuse(1).reason, Reason::Full { what: "budget reservations", held: 2, limit: 2 });
    desk.end(first, done(None));
    desk.reserve(1);
}

#[test]
fn a_new_day_begins_with_all_its_money_and_late_ends_stay_in_their_own_day() {
    let mut desk = Desk::new();
    let (a, b, c) = (desk.reserve(200), desk.reserve(200), desk.reserve(100));
    let yesterday = desk.ledger.today().date;
    desk.pass_hours(5);
    let today = desk.reserve(500);
    desk.end(a, done(Some(250)));
    desk.end(b, GrantEnd::Unused);
    desk.end(c, GrantEnd::Unknown);
    assert_eq!(figures(desk.ledger.page(&LimitId::default(), yesterday).unwrap()), [250, 100, 100, 50]);
    assert_eq!(desk.figures(), [0, 500, 0, 0]);
    desk.end(today, done(None));
    assert_eq!(desk.figures(), [500, 0, 0, 0]);
}

#[test]
fn three_days_are_kept_and_what_is_older_is_written_off() {
    let mut desk = Desk::new();
    let old = desk.reserve(10);
    let first = desk.ledger.today().date;
    let mut notes = Vec::new();
    for _ in 0..DAYS_KEPT {
        desk.pass_hours(24);
        let turn = desk.ledger.decide_turn(desk.wall, desk.now);
        notes.push(desk.ledger.apply_turn(turn));
    }
    assert_eq!(notes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!((notes[2][1].clone(), desk.ledger.outstanding()), (Note::WrittenOff(1), 0));
    assert_eq!(desk.ledger.page(&LimitId::default(), first), None);
    assert!(desk.end(old, done(Some(400))).is_empty());
    assert_eq!(desk.figures(), [0; 4]);
}

#[test]
fn a_wall_clock_that_steps_back_over_midnight_gives_no_second_day() {
    let mut desk = Desk::new();
    desk.pass_hours(5);
    desk.reserve(500);
    desk.wall -= Duration::from_secs(5 * 3600);
    let refusal = desk.refuse(1);
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(28 * 3600)));
    desk.pass_hours(5);
    desk.refuse(1);
    desk.pass_hours(23);
    desk.reserve(500);
}

#[test]
fn an_exhausted_vendor_that_names_no_reset_is_left_alone_until_the_day_is_over() {
    let mut desk = Desk::new();
    let (a, b) = (desk.reserve(6), desk.reserve(6));
    assert_eq!(marks(&desk.end(a, exhausted(None))), ["exhausted"]);
    assert!(desk.end(b, exhausted(Some(Duration::from_secs(60)))).is_empty(), "said once, and not shortened");
    assert_eq!(desk.figures(), [0; 4]);
    let refusal = desk.offer(0, CRITICAL).0.unwrap_err();
    assert_eq!(refusal.reason, Reason::VendorExhausted);
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(4 * 3600)));
    assert_eq!(desk.ledger.exhausted_until(desk.now), Some(desk.ledger.today().end));
    desk.pass_hours(4);
    desk.reserve(6);
    assert_eq!(desk.ledger.exhausted_until(desk.now), None);
}

#[test]
fn an_exhausted_vendor_that_names_its_reset_is_taken_at_its_word_within_reason() {
    for (asked, hours) in
        [(Duration::from_secs(3600), 1), (Duration::from_secs(10 * 3600), 10), (Duration::MAX, 31 * 24)]
    {
        let mut desk = Desk::new();
        let grant = desk.reserve(6);
        desk.end(grant, exhausted(Some(asked)));
        let wait = desk.refuse(6).retry_after(desk.now).unwrap();
        assert_eq!(wait, Duration::from_secs(hours * 3600));
        assert!(wait <= EXHAUSTED_MAX);
        desk.pass_hours(hours - 1);
        assert_eq!(desk.refuse(6).retry_after(desk.now), Some(Duration::from_secs(3600)));
        desk.pass_hours(1);
        desk.reserve(6);
    }
}

#[test]
fn a_second_exhausted_on_another_day_does_not_shorten_the_first() {
    let mut desk = Desk::new();
    let (a, b) = (desk.reserve(6), desk.reserve(6));
    desk.end(a, exhausted(Some(Duration::from_secs(100 * 3600))));
    desk.pass_hours(6);
    assert_eq!(marks(&desk.end(b, exhausted(None))), [""; 0]);
    assert_eq!(desk.refuse(6).retry_after(desk.now), Some(Duration::from_secs(94 * 3600)));
}

#[test]
fn what_is_free_touches_no_limit_and_is_not_stopped_by_an_empty_account() {
    let mut desk = Desk::new();
    let paid = desk.reserve(500);
    desk.end(paid, exhausted(None));
    let (grant, _) = desk.ask(Ask::default());
    desk.end(grant.unwrap(), done(None));
    assert_eq!(desk.figures(), [0; 4]);
}

// ---- several limits ----

/// 100 credits a day, 250 a month, 40 a day for each tenant (60 for acme), 30 actions a day, 5 rows for the life of a target.
fn several() -> BudgetConfig {
    let own = [("acme".to_owned(), Own { amount: Credits::whole(60), ..Own::default() })].into();
    BudgetConfig {
        limits: vec![
            Limit::new(Period::Month, Credits::whole(250)),
            Limit { scope: Scope::Tenant, own, ..Limit::new(Period::Day, Credits::whole(40)) },
            Limit::new(Period::Day, Credits::whole(30)).of(meter("actions")),
            Limit { scope: Scope::Target, ..Limit::new(Period::Lifetime, Credits::whole(5)).of(meter("rows")) },
        ],
        soft_marks: vec![],
        ..BudgetConfig::per_day(Credits::whole(100))
    }
}

fn tenant(name: &str, units: u64) -> Ask {
    Ask { tenant: Some(name.into()), ..credits(units) }
}

fn row(target: &str) -> Ask {
    let amounts = vec![(meter("rows"), Credits::whole(1)), (MeterId::default(), Credits::whole(6))];
    Ask { amounts, target: TargetId::new(target).ok(), ..Ask::default() }
}

fn of_tenant(name: &str) -> LimitId {
    LimitId { whose: Whose::Tenant(name.into()), ..LimitId::default() }
}

fn rows_of(target: &str) -> LimitId {
    LimitId { meter: meter("rows"), period: Period::Lifetime, whose: Whose::Target(target.into()) }
}

fn month() -> LimitId {
    LimitId::account(MeterId::default(), Period::Month)
}

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
        desk.ask(ask).0.unwrap();
    }
    assert!(desk.ask(tenant("new", 1)).0.is_err());
    desk.end(first, GrantEnd::Unused);
    desk.ask(tenant("new", 1)).0.unwrap();
    let refusal = desk.ask(tenant("newer", 1)).0.unwrap_err();
    assert_eq!(refusal.reason, Reason::Full { what: "budget tenants", held: HOLDERS_MAX, limit: HOLDERS_MAX });
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(4 * 3600)));
    desk.pass_hours(4);
    desk.ask(tenant("newer", 1)).0.unwrap();
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
