//! Any history, against the plainest bookkeeping there is: a list of all reservations ever made, where each figure of each
//! limit is a sum over it.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::budget::first_of;

#[derive(Debug, Clone)]
enum Op {
    Reserve {
        units: u64,
        actions: u64,
        tenant: Option<&'static str>,
        target: Option<&'static str>,
        critical: bool,
    },
    End(Index, GrantEnd),
    /// The wall clock goes on, or steps back or far ahead.
    Hours(i64),
}

fn any_end() -> impl Strategy<Value = GrantEnd> {
    let effect = prop_oneof![Just(Effect::None), Just(Effect::Done), Just(Effect::Unknown)];
    let (cost, actions) = (prop::option::of(0u64..60), prop::option::of(0u64..9));
    let of_effect = (effect, cost, actions).prop_map(|(effect, cost, actions)| {
        let also = actions.map(|actions| (meter("actions"), Credits::whole(actions)));
        with_also(ended(Class::Success, effect, cost), also)
    });
    prop_oneof![1 => Just(GrantEnd::Unused), 1 => Just(GrantEnd::Unknown), 4 => of_effect]
}

fn any_op() -> impl Strategy<Value = Op> {
    let name = |names| prop::option::of(prop::sample::select(names));
    let tenant = name(vec!["acme", "blue"]);
    let target = name(vec!["leads", "people"]);
    let call = (0u64..45, 0u64..6, tenant, target, any::<bool>());
    let hours = prop_oneof![6 => -30i64..40, 1 => 200i64..1_500];
    prop_oneof![
        6 => call.prop_map(|(units, actions, tenant, target, critical)| {
            Op::Reserve { units, actions, tenant, target, critical }
        }),
        6 => (any::<Index>(), any_end()).prop_map(|(which, end)| Op::End(which, end)),
        2 => hours.prop_map(Op::Hours),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Held,
    Unknown,
    Refunded,
    /// On the main meter, and in actions; `None` at what was reserved.
    Cost(Option<u64>, Option<u64>),
}

#[derive(Debug)]
struct Entry {
    grant: GrantId,
    date: Date,
    ask: Ask,
    fate: Fate,
}

/// A limit as the model sees it.
struct Rule {
    which: LimitId,
    amount: u64,
}

#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    /// Every day that was entered.
    days: Vec<Date>,
}

fn rules() -> Vec<Rule> {
    let of = |which, amount| Rule { which, amount };
    vec![
        of(LimitId::default(), 100),
        of(month(), 250),
        of(of_tenant("acme"), 60),
        of(of_tenant("blue"), 40),
        of(LimitId::account(meter("actions"), Period::Day), 30),
        of(rows_of("leads"), 5),
        of(rows_of("people"), 5),
        of(LimitId { whose: Whose::OwnAddress, ..rows_of("") }, 5),
    ]
}

impl Rule {
    fn amount_of(&self, ask: &Ask) -> Option<u64> {
        let mine = match &self.which.whose {
            Whose::Account => true,
            Whose::OwnAddress => ask.target.is_none(),
            Whose::Tenant(name) => ask.tenant.as_ref() == Some(name),
            Whose::Target(name) => ask.target.as_ref().is_some_and(|target| target.as_str() == &**name),
        };
        let (_, amount) = ask.amounts.iter().find(|(meter, _)| mine && *meter == self.which.meter)?;
        Some(amount.micros() / 1_000_000)
    }
}

impl Model {
    /// Settled, reserved, unknown, overage of a limit in the period that a date is in.
    fn figures(&self, rule: &Rule, date: Date) -> [u64; 4] {
        let mut sums = [0; 4];
        let period = |date| first_of(rule.which.period, date);
        for entry in self.entries.iter().filter(|entry| period(entry.date) == period(date)) {
            let Some(amount) = rule.amount_of(&entry.ask) else { continue };
            match entry.fate {
                Fate::Held => sums[1] += amount,
                Fate::Unknown => sums = [sums[0], sums[1] + amount, sums[2] + amount, sums[3]],
                Fate::Refunded => {}
                Fate::Cost(main, actions) => {
                    let stated = match rule.which.meter.as_str() {
                        "credits" => main,
                        "actions" => actions,
                        _ => None,
                    };
                    let cost = stated.unwrap_or(amount);
                    sums[0] += cost;
                    sums[3] += cost.saturating_sub(amount);
                }
            }
        }
        sums
    }

    /// What is kept of a period's limits: the last three days that were entered, the last two months.
    fn kept(&self, period: Period) -> Vec<Date> {
        let mut firsts: Vec<_> = self.days.iter().map(|day| first_of(period, *day)).collect();
        firsts.dedup();
        let count = if period == Period::Day { DAYS_KEPT } else { 2 };
        firsts.split_off(firsts.len().saturating_sub(count))
    }

    fn end(&mut self, at: usize, end: GrantEnd) {
        let entry = &mut self.entries[at];
        if matches!(entry.fate, Fate::Refunded | Fate::Cost(..)) {
            return;
        }
        entry.fate = match end {
            GrantEnd::Unused if entry.fate == Fate::Unknown => Fate::Unknown,
            GrantEnd::Unused => Fate::Refunded,
            GrantEnd::Unknown => Fate::Unknown,
            GrantEnd::Ended(end) => match end.effect {
                Effect::None => Fate::Refunded,
                Effect::Unknown => Fate::Unknown,
                Effect::Done => {
                    let units = |cost: Credits| cost.micros() / 1_000_000;
                    Fate::Cost(end.cost.map(units), end.also.get(&meter("actions")).copied().map(units))
                }
            },
        };
    }

    /// Enters the day if it is new, writes off what is too old, and checks every figure of every limit.
    fn agree(&mut self, ledger: &Ledger) -> Result<(), TestCaseError> {
        let today = ledger.today().date;
        if self.days.last() != Some(&today) {
            prop_assert!(self.days.last().is_none_or(|last| *last < today), "a day came again");
            self.days.push(today);
        }
        let last_month = today.first_of_month().yesterday().unwrap().first_of_month();
        let oldest = last_month.min(self.kept(Period::Month)[0]).min(self.kept(Period::Day)[0]);
        for entry in self.entries.iter_mut().filter(|entry| entry.date < oldest) {
            if matches!(entry.fate, Fate::Held | Fate::Unknown) {
                entry.fate = Fate::Cost(None, None);
            }
        }
        for rule in rules() {
            for date in self.kept(rule.which.period) {
                let expected = self.figures(&rule, date);
                let page = ledger.page(&rule.which, date);
                prop_assert_eq!(page.map_or([0; 4], figures), expected, "{} on {}", rule.which, date);
                let [settled, reserved, _, overage] = expected;
                prop_assert!(settled + reserved - overage <= rule.amount, "{} on {}: admitted", rule.which, date);
            }
        }
        Ok(())
    }

    fn would_pass(&self, ask: &Ask, today: Date, share: f64) -> bool {
        rules().iter().all(|rule| {
            let Some(amount) = rule.amount_of(ask) else { return true };
            let [settled, reserved, ..] = self.figures(rule, today);
            let kept = if ask.critical { 0.0 } else { share };
            settled + reserved + amount <= rule.amount - (rule.amount as f64 * kept) as u64
        })
    }
}

fn ask_of(units: u64, actions: u64, tenant: Option<&str>, target: Option<&str>, critical: bool) -> Ask {
    let mut amounts = vec![(MeterId::default(), Credits::whole(units))];
    if actions > 0 {
        amounts.push((meter("actions"), Credits::whole(actions)));
    }
    if target.is_some() || units.is_multiple_of(4) {
        amounts.push((meter("rows"), Credits::whole(1)));
    }
    let target = target.map(|name| TargetId::new(name).unwrap());
    Ask { amounts, tenant: tenant.map(Arc::from), target, critical, ..Ask::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_limit_holds_and_no_money_is_lost_in_any_history(
        ops in prop::collection::vec(any_op(), 1..80),
        share in prop_oneof![Just(0.0), Just(0.2)],
        zone in prop_oneof![Just("UTC"), Just("America/New_York")],
    ) {
        let config = BudgetConfig { critical_share: share, time_zone: zone.into(), ..several() };
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
                Op::Reserve { units, actions, tenant, target, critical } => {
                    let today = desk.ledger.today().date;
                    let ask = ask_of(units, actions, tenant, target, critical);
                    let (verdict, _) = desk.ask(ask.clone());
                    prop_assert_eq!(verdict.is_ok(), model.would_pass(&ask, today, share), "{:?}", ask);
                    if let Ok(grant) = verdict {
                        model.entries.push(Entry { grant, date: today, ask, fate: Fate::Held });
                    }
                }
                Op::End(which, end) if !model.entries.is_empty() => {
                    let at = which.index(model.entries.len());
                    model.end(at, end.clone());
                    for _delivery in 0..2 {
                        desk.end(model.entries[at].grant, end.clone());
                    }
                }
                Op::End(..) => {}
            }
            model.agree(&desk.ledger)?;
        }
        let open = model.entries.iter().filter(|entry| matches!(entry.fate, Fate::Held | Fate::Unknown)).count();
        prop_assert_eq!(desk.ledger.outstanding(), open);
    }
}
