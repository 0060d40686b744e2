use proptest::{prelude::*, sample::Index};

use super::*;
use crate::grant::Ending;

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
        Self { ledger: Ledger::new(config, wall), wall, now }
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

    fn offer(&mut self, units: u64, critical: bool) -> (Result<GrantId, Refusal>, Vec<Note>) {
        let reserve = self.ledger.decide_reserve(self.wall, self.now, Credits::whole(units), critical);
        self.ledger.apply_reserve(reserve)
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
        figures(self.ledger.today())
    }
}

fn figures(page: &Page) -> [u64; 4] {
    [page.settled, page.reserved, page.unknown, page.overage].map(|amount| amount.micros() / 1_000_000)
}

fn ended(class: Class, effect: Effect, cost: Option<u64>) -> GrantEnd {
    GrantEnd::Ended(Ending {
        class,
        effect,
        cost: cost.map(Credits::whole),
        retry_after: None,
        elapsed: Duration::from_millis(80),
    })
}

fn done(cost: Option<u64>) -> GrantEnd {
    ended(Class::Success, Effect::Done, cost)
}

fn exhausted(retry_after: Option<Duration>) -> GrantEnd {
    let ended = Ending {
        class: Class::Exhausted,
        effect: Effect::None,
        cost: None,
        retry_after,
        elapsed: Duration::from_millis(80),
    };
    GrantEnd::Ended(ended)
}

fn marks(notes: &[Note]) -> Vec<&'static str> {
    let mark = |note: &Note| if let Note::Marked(mark, _) = note { Some(mark.as_str()) } else { None };
    notes.iter().filter_map(mark).collect()
}

#[test]
fn the_limit_itself_may_be_used_and_not_a_millionth_more() {
    let mut desk = Desk::new();
    desk.reserve(500);
    let more = desk.ledger.decide_reserve(desk.wall, desk.now, Credits::from_micros(1), LANE);
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
    assert_eq!(
        refusal.to_string(),
        "refused by the budget: budget: 6 asked, 290 spent and 206 reserved of 500 credits"
    );
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(4 * 3600)));
}

#[test]
fn asking_changes_nothing() {
    let desk = Desk::new();
    for _ in 0..1_000 {
        let reserve = desk.ledger.decide_reserve(desk.wall, desk.now, Credits::whole(499), LANE);
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
            desk.end(grant, end);
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
    assert_eq!(notes, [Note::Marked(Mark::Overage(Credits::whole(50)), Credits::whole(110))]);
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
    assert!(refusal.to_string().contains("1 asked, 0 spent and 400 reserved of 400 credits"), "{refusal}");
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
    let yesterday = desk.ledger.today().day.date;
    desk.pass_hours(5);
    let today = desk.reserve(500);
    desk.end(a, done(Some(250)));
    desk.end(b, GrantEnd::Unused);
    desk.end(c, GrantEnd::Unknown);
    assert_eq!(figures(desk.ledger.page(yesterday).unwrap()), [250, 100, 100, 50]);
    assert_eq!(desk.figures(), [0, 500, 0, 0]);
    desk.end(today, done(None));
    assert_eq!(desk.figures(), [500, 0, 0, 0]);
}

#[test]
fn three_days_are_kept_and_what_is_older_is_written_off() {
    let mut desk = Desk::new();
    let old = desk.reserve(10);
    let first = desk.ledger.today().day.date;
    let mut written_off = Vec::new();
    for _ in 0..3 {
        desk.pass_hours(24);
        let turn = desk.ledger.decide_turn(desk.wall, desk.now);
        let notes = desk.ledger.apply_turn(turn);
        written_off.extend(notes.into_iter().map(|note| if let Note::DayEnded(_, count) = note { count } else { 99 }));
    }
    assert_eq!((written_off, desk.ledger.outstanding()), (vec![0, 0, 1], 0));
    assert_eq!(desk.ledger.page(first), None);
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
fn an_exhausted_vendor_is_left_alone_until_the_reset() {
    let mut desk = Desk::new();
    let (a, b) = (desk.reserve(6), desk.reserve(6));
    assert_eq!(marks(&desk.end(a, exhausted(None))), ["exhausted"]);
    assert!(desk.end(b, exhausted(Some(Duration::from_secs(60)))).is_empty(), "said once");
    assert_eq!(desk.figures(), [0; 4]);
    let refusal = desk.offer(0, CRITICAL).0.unwrap_err();
    assert_eq!(refusal.reason, Reason::VendorExhausted);
    assert_eq!(refusal.retry_after(desk.now), Some(Duration::from_secs(4 * 3600)));
    assert_eq!(desk.ledger.exhausted_until(desk.now), Some(desk.ledger.today().day.end));
    desk.pass_hours(4);
    desk.reserve(6);
    assert_eq!(desk.ledger.exhausted_until(desk.now), None);
}

#[test]
fn an_exhausted_vendor_that_asks_for_longer_gets_longer_within_reason() {
    for (asked, hours) in [(Duration::from_secs(10 * 3600), 10), (Duration::MAX, 31 * 24)] {
        let mut desk = Desk::new();
        let grant = desk.reserve(6);
        desk.end(grant, exhausted(Some(asked)));
        assert_eq!(desk.refuse(6).retry_after(desk.now), Some(Duration::from_secs(hours * 3600)));
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
    assert_eq!(marks(&desk.end(b, exhausted(None))), ["exhausted"]);
    assert_eq!(desk.refuse(6).retry_after(desk.now), Some(Duration::from_secs(94 * 3600)));
}

// ---- any sequence, against the plainest bookkeeping there is ----

#[derive(Debug, Clone)]
enum Op {
    Reserve(u64, bool),
    End(Index, GrantEnd),
    Hours(i64),
}

fn any_end() -> impl Strategy<Value = GrantEnd> {
    let effect = prop_oneof![Just(Effect::None), Just(Effect::Done), Just(Effect::Unknown)];
    let of_effect = (effect, prop::option::of(0u64..60)).prop_map(|(effect, cost)| ended(Class::Success, effect, cost));
    prop_oneof![1 => Just(GrantEnd::Unused), 1 => Just(GrantEnd::Unknown), 4 => of_effect]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u64..45, any::<bool>()).prop_map(|(units, critical)| Op::Reserve(units, critical)),
        6 => (any::<Index>(), any_end()).prop_map(|(which, end)| Op::End(which, end)),
        1 => (-30i64..40).prop_map(Op::Hours),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Held,
    Unknown,
    Refunded,
    Cost(u64),
}

/// A list of all reservations ever made; every figure is a sum over it.
#[derive(Default)]
struct Model {
    entries: Vec<(GrantId, Date, u64, Fate)>,
    days: Vec<Date>,
}

impl Model {
    fn sum(&self, day: Date, of: impl Fn(u64, Fate) -> u64) -> u64 {
        self.entries.iter().filter(|entry| entry.1 == day).map(|entry| of(entry.2, entry.3)).sum()
    }

    fn figures(&self, day: Date) -> [u64; 4] {
        [
            self.sum(day, |_, fate| if let Fate::Cost(cost) = fate { cost } else { 0 }),
            self.sum(day, |amount, fate| if matches!(fate, Fate::Held | Fate::Unknown) { amount } else { 0 }),
            self.sum(day, |amount, fate| if fate == Fate::Unknown { amount } else { 0 }),
            self.sum(day, |amount, fate| if let Fate::Cost(cost) = fate { cost.saturating_sub(amount) } else { 0 }),
        ]
    }

    fn kept(&self) -> &[Date] {
        &self.days[self.days.len().saturating_sub(DAYS_KEPT)..]
    }

    fn end(&mut self, at: usize, end: GrantEnd) {
        let kept = self.kept().contains(&self.entries[at].1);
        let entry = &mut self.entries[at];
        if !kept || matches!(entry.3, Fate::Refunded | Fate::Cost(_)) {
            return;
        }
        entry.3 = match end {
            GrantEnd::Unused if entry.3 == Fate::Unknown => Fate::Unknown,
            GrantEnd::Unused => Fate::Refunded,
            GrantEnd::Unknown => Fate::Unknown,
            GrantEnd::Ended(end) => match (end.effect, end.cost) {
                (Effect::None, _) => Fate::Refunded,
                (Effect::Unknown, _) => Fate::Unknown,
                (Effect::Done, None) => Fate::Cost(entry.2),
                (Effect::Done, Some(cost)) => Fate::Cost(cost.micros() / 1_000_000),
            },
        };
    }

    /// Turns the page if the clock has passed the end of the day, and checks every figure.
    fn agree(&mut self, ledger: &Ledger) -> Result<(), TestCaseError> {
        let today = ledger.today().day.date;
        if self.days.last() != Some(&today) {
            prop_assert!(self.days.last().is_none_or(|last| *last < today), "a day came again");
            self.days.push(today);
        }
        for day in self.kept() {
            let page = ledger.page(*day).ok_or_else(|| TestCaseError::fail("a day was lost"))?;
            prop_assert_eq!(figures(page), self.figures(*day), "{}", day);
            let admitted = page.used().minus(page.overage);
            prop_assert!(admitted <= ledger.limit(), "{} admitted {}", day, admitted);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_limit_holds_and_no_money_is_lost_in_any_sequence(
        ops in prop::collection::vec(any_op(), 1..80),
        share in prop_oneof![Just(0.0), Just(0.25)],
        zone in prop_oneof![Just("UTC"), Just("America/New_York")],
    ) {
        let limit = 100;
        let config = BudgetConfig { critical_share: share, time_zone: zone.into(), ..BudgetConfig::per_day(Credits::whole(limit)) };
        let mut desk = Desk::with(&config);
        let mut model = Model::default();
        model.agree(&desk.ledger)?;
        for op in ops {
            match op {
                Op::Hours(hours) => {
                    desk.wall += jiff::SignedDuration::from_hours(hours);
                    let turn = desk.ledger.decide_turn(desk.wall, desk.now);
                    desk.ledger.apply_turn(turn);
                }
                Op::Reserve(units, critical) => {
                    let today = desk.ledger.today().day.date;
                    let [settled, reserved, ..] = model.figures(today);
                    let mine = if critical { limit } else { limit - (limit as f64 * share) as u64 };
                    let (verdict, _) = desk.offer(units, critical);
                    prop_assert_eq!(verdict.is_ok(), settled + reserved + units <= mine);
                    if let Ok(grant) = verdict {
                        model.entries.push((grant, today, units, Fate::Held));
                    }
                }
                Op::End(which, end) if !model.entries.is_empty() => {
                    let at = which.index(model.entries.len());
                    model.end(at, end);
                    desk.end(model.entries[at].0, end);
                    let before = desk.figures();
                    desk.end(model.entries[at].0, end);
                    prop_assert_eq!(desk.figures(), before, "a second delivery changed something");
                }
                Op::End(..) => {}
            }
            model.agree(&desk.ledger)?;
        }
        for at in 0..model.entries.len() {
            if model.entries[at].3 == Fate::Held {
                model.end(at, done(None));
                desk.end(model.entries[at].0, done(None));
            }
        }
        model.agree(&desk.ledger)?;
        for day in model.kept() {
            let page = desk.ledger.page(*day).unwrap();
            prop_assert_eq!(page.reserved, page.unknown);
        }
    }
}
