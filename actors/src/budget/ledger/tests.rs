use std::sync::Arc;

use super::*;
use crate::{
    budget::{DAYS_KEPT, EXHAUSTED_MAX, HOLDERS_MAX, Limit, Own, Scope},
    grant::Ending,
    ids::TargetId,
    meter::{Period, Whose},
};

mod exhausted;
mod limits;
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
fn what_is_free_touches_no_limit_and_is_not_stopped_by_an_empty_account() {
    let mut desk = Desk::new();
    let paid = desk.reserve(500);
    desk.end(paid, exhausted(None));
    let (grant, _) = desk.ask(Ask::default());
    desk.end(grant.unwrap(), done(None));
    assert_eq!(desk.figures(), [0; 4]);
}

// ---- several limits ----
