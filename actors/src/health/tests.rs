//! The rules, driven by facts as the guards state them.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    credits::Credits,
    fact::{BreakerState, Event, Fact, FinalState, LetterCounts},
    ids::{ActorId, CallId, Circuit, VendorId},
    meter::LimitId,
    outcome::{Class, Effect},
    refusal::Guard,
};

pub(super) const CLAY: &str = "clay";

pub(super) fn vendor(name: &str) -> VendorId {
    VendorId::new(name).unwrap()
}

pub(super) fn call(n: u64) -> CallId {
    CallId(uuid::Uuid::from_u128(u128::from(n)))
}

pub(super) fn attempt(class: Class) -> Fact {
    Fact::AttemptEnded {
        vendor: vendor(CLAY),
        operation: "row".parse().unwrap(),
        call: call(0),
        class,
        effect: Effect::None,
        phase: None,
        elapsed_ms: 20,
    }
}

pub(super) fn refused(by: Guard) -> Fact {
    Fact::Refused { vendor: vendor(CLAY), call: call(0), by }
}

pub(super) fn turned(to: BreakerState, generation: u64) -> Fact {
    turned_at("", to, generation)
}

fn turned_at(target: &str, to: BreakerState, generation: u64) -> Fact {
    let circuit = Circuit { target: target.parse().ok(), group: None };
    let (from, cause) = (BreakerState::Closed, "12 of 20 calls failed".into());
    Fact::BreakerChanged { vendor: vendor(CLAY), circuit, from, to, generation, cause, retry_at: None }
}

fn marked(mark: &'static str, used: u64) -> Fact {
    let which = LimitId::default();
    Fact::BudgetMarked { vendor: vendor(CLAY), which, used: Credits::whole(used), limit: Credits::whole(200), mark }
}

fn overdue(n: u64) -> Fact {
    Fact::CallbackOverdue { vendor: vendor(CLAY), call: call(n) }
}

fn lane_full(lane: &str) -> Fact {
    Fact::LaneSaturated { vendor: vendor(CLAY), lane: lane.parse().unwrap(), refused: 1 }
}

fn counted(letters: LetterCounts) -> Fact {
    Fact::LettersCounted { vendor: vendor(CLAY), letters }
}

fn letters(dead: u64) -> Fact {
    counted(LetterCounts { dead, ..LetterCounts::default() })
}

fn probed(works: bool) -> Fact {
    let detail = if works { "success: HTTP 200" } else { "timeout: no answer within 5s" };
    Fact::Probed { vendor: vendor(CLAY), operation: "me".parse().unwrap(), works, detail: detail.into() }
}

pub(super) fn event(seq: u64, fact: Fact) -> Event {
    Event { seq, at: Timestamp::UNIX_EPOCH, fact }
}

#[expect(clippy::disallowed_methods, reason = "an instant to count from; none can be made otherwise")]
fn origin() -> Instant {
    Instant::now()
}

/// Health and a hand on its clock.
struct World {
    health: Health,
    now: Instant,
    begun: Instant,
    seq: u64,
    owed: Callbacks,
}

impl World {
    fn new() -> Self {
        let now = origin();
        let vendors = [vendor("retell"), vendor(CLAY)];
        let health = Health::new(HealthConfig::default(), vendors, now);
        Self { health, now, begun: now, seq: 0, owed: Callbacks::default() }
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn hear(&mut self, fact: Fact) -> &mut Self {
        self.hear_times(1, fact)
    }

    fn hear_times(&mut self, times: usize, fact: Fact) -> &mut Self {
        for _ in 0..times {
            let noted = self.health.decide_fact(&event(self.seq, fact.clone()));
            self.health.apply_fact(self.now, noted);
            self.seq += 1;
        }
        self
    }

    fn calls(&mut self, succeed: usize, fail: usize) -> &mut Self {
        self.hear_times(succeed, attempt(Class::Success)).hear_times(fail, attempt(Class::Server))
    }

    /// The calendar began with the world.
    fn moment(&self) -> Moment {
        Moment { now: self.now, at: Timestamp::UNIX_EPOCH + (self.now - self.begun) }
    }

    fn snapshot(&self) -> HealthSnapshot {
        self.health.decide_snapshot(self.moment(), |_| Callbacks::default())
    }

    fn clay(&self) -> VendorHealth {
        let owed = |vendor: &VendorId| if vendor.as_str() == CLAY { self.owed } else { Callbacks::default() };
        self.health.report(self.moment(), owed).into_iter().find(|report| report.vendor.as_str() == CLAY).unwrap()
    }

    fn status(&self) -> Status {
        self.clay().status
    }

    fn text(&self, code: Code) -> String {
        let reasons = self.clay().reasons;
        reasons.iter().find(|reason| reason.code == code).map(|reason| reason.text.clone()).unwrap_or_default()
    }
}

// The defects of the documents, by their numbers in the list of requirements.

#[test]
fn defect_92_an_hour_old_failure_does_not_lower_the_score_of_the_first_read() {
    let mut world = World::new();
    world.calls(0, 10).after(3_600);
    assert_eq!((world.clay().score, world.status()), (None, Status::Unknown));
    world.calls(5, 0);
    assert_eq!(world.clay().score, Some(1.0));
}

#[test]
fn defect_93_the_window_slides_whether_or_not_anybody_reads() {
    let mut world = World::new();
    world.calls(0, 10).after(200).calls(10, 0);
    assert_eq!(world.clay().score, Some(0.5));
    assert_eq!(world.clay(), world.clay());
    world.after(110);
    assert_eq!((world.clay().score, world.clay().samples), (Some(1.0), 10));
}

#[test]
fn defect_94_failures_count_however_many_successes_came_long_before() {
    let mut world = World::new();
    world.calls(10_000, 0).after(301).calls(0, 300);
    assert_eq!((world.clay().score, world.status()), (Some(0.0), Status::Unhealthy));
}

#[test]
fn defect_95_one_failed_first_call_is_no_score() {
    let mut world = World::new();
    world.calls(0, 1);
    assert_eq!((world.clay().score, world.status()), (None, Status::Unknown));
    assert_eq!(world.text(Code::TooFewCalls), "too few calls for a score in the last 5 min: 1 of 5");
    world.calls(0, 4);
    assert_eq!((world.clay().score, world.status()), (Some(0.0), Status::Unhealthy));
}

#[test]
fn defect_96_the_bounds_are_strict_95_is_degraded_and_80_unhealthy() {
    for (succeed, fail, status) in [
        (96, 4, Status::Healthy),
        (95, 5, Status::Degraded),
        (19, 1, Status::Degraded),
        (81, 19, Status::Degraded),
        (80, 20, Status::Unhealthy),
        (4, 1, Status::Unhealthy),
    ] {
        assert_eq!(World::new().calls(succeed, fail).status(), status, "{succeed} succeed, {fail} fail");
    }
}

#[test]
fn defect_97_a_vendor_nobody_called_is_unknown_and_not_healthy() {
    let world = World::new();
    assert_eq!((world.clay().score, world.status()), (None, Status::Unknown));
    assert_eq!(world.text(Code::TooFewCalls), "no call that tells anything in the last 5 min");
}

#[test]
fn the_credit_preset_takes_silence_for_health_and_the_first_call_for_a_score_as_its_document_does() {
    let mut world = World::new();
    world.health.config = HealthConfig::credit();
    assert_eq!((world.clay().score, world.status()), (None, Status::Healthy));
    world.calls(0, 1);
    assert_eq!((world.clay().score, world.status()), (Some(0.0), Status::Unhealthy));
}

#[test]
fn defect_98_callbacks_that_never_come_show_behind_a_perfect_score() {
    let mut world = World::new();
    world.calls(100, 0);
    for n in 1..=3 {
        world.hear(overdue(n)).hear(overdue(n));
    }
    assert_eq!((world.status(), world.clay().callbacks_overdue), (Status::Healthy, 3));
    assert_eq!(world.text(Code::CallbacksOverdue), "3 callbacks overdue (limit 10)");
    for n in 4..=11 {
        world.hear(overdue(n));
    }
    assert_eq!((world.status(), world.clay().score), (Status::Degraded, Some(1.0)));
    world.hear(Fact::CallEnded { vendor: vendor(CLAY), call: call(1), state: FinalState::Unknown });
    assert_eq!(world.clay().callbacks_overdue, 11);
    world.hear(Fact::CallEnded { vendor: vendor(CLAY), call: call(1), state: FinalState::Delivered });
    assert_eq!((world.status(), world.clay().callbacks_overdue), (Status::Healthy, 10));
}

#[test]
fn defect_99_an_open_breaker_never_shows_as_healthy_and_denied_calls_are_shown() {
    let mut world = World::new();
    world.calls(1_000, 12).hear(turned(BreakerState::Open, 1)).after(12).hear_times(30, refused(Guard::Breaker));
    world.hear_times(7, refused(Guard::Budget)).hear(refused(Guard::Gateway));
    assert!(world.clay().score.unwrap() > 0.95);
    assert_eq!((world.status(), world.clay().denied), (Status::Degraded, 37));
    assert_eq!(world.text(Code::BreakerOpen), "circuit breaker open since 12 s: 12 of 20 calls failed");
    assert_eq!(world.text(Code::Denied), "37 calls denied in the last 5 min (circuit breaker 30, budget 7)");
    world.after(3_600);
    assert_eq!((world.status(), world.clay().samples), (Status::Degraded, 0));
}

#[test]
fn defect_101_half_open_budget_lanes_dead_letters_and_given_up_letters_are_seen() {
    let mut world = World::new();
    world.calls(100, 0).hear(turned(BreakerState::HalfOpen, 2));
    assert_eq!((world.status(), world.clay().reasons[0].code), (Status::Degraded, Code::BreakerHalfOpen));
    world.hear(turned(BreakerState::Closed, 3));
    assert_eq!((world.status(), world.clay().reasons), (Status::Healthy, vec![]));
    world.hear(lane_full("bulk"));
    let oldest_at = Some(Timestamp::UNIX_EPOCH);
    world.hear(counted(LetterCounts { dead: 3, unknown: 2, given_up: 1, oldest_at, ..LetterCounts::default() }));
    world.after(7_200);
    world.calls(10, 0).hear(lane_full("bulk"));
    assert_eq!(world.status(), Status::Healthy);
    assert_eq!(world.text(Code::LaneFull), "queue full in the last 5 min: lane bulk");
    assert_eq!(
        world.text(Code::DeadLetters),
        "3 dead letters (limit 100), the oldest parked call is of 2 h ago",
        "not enough to degrade, and shown all the same"
    );
    assert_eq!(world.text(Code::GivenUp), "1 parked call given up: a person must look");
    assert_eq!(world.text(Code::UnknownCalls), "2 calls may have happened: a callback or a person must say");
}

#[test]
fn defect_100_a_probe_that_fails_is_unhealthy_until_one_works_and_one_that_works_is_no_call() {
    let mut world = World::new();
    assert_eq!(world.clay().probe_works, None);
    world.hear(probed(true)).after(20);
    assert_eq!((world.status(), world.clay().samples), (Status::Healthy, 0), "nobody calls it, and it is there");
    assert_eq!(world.text(Code::Probe), "probe me worked 20 s ago");
    world.calls(100, 0).hear(probed(false)).after(120);
    assert_eq!((world.status(), world.clay().score), (Status::Unhealthy, Some(1.0)));
    assert_eq!(world.text(Code::Probe), "probe me failed 2 min ago: timeout: no answer within 5s");
    world.hear(probed(true));
    assert_eq!((world.status(), world.clay().probe_works), (Status::Healthy, Some(true)));
}

#[test]
fn what_a_vendor_took_on_and_owes_is_seen_before_it_is_overdue() {
    let mut world = World::new();
    world.calls(100, 0);
    world.owed = Callbacks { acknowledged: 500, owed: 214, oldest: Some(world.now) };
    world.after(720);
    assert_eq!((world.clay().callbacks_owed, world.clay().callbacks_overdue), (214, 0));
    let text = "214 of 500 calls that it took on still owed a callback, the oldest for 12 min";
    assert_eq!(world.text(Code::CallbacksOwed), text);
    let owed = world.owed;
    assert!(world.health.moves(world.now, |_| owed), "its age changes");
    world.owed = Callbacks { owed: 0, oldest: None, ..owed };
    assert_eq!(world.text(Code::CallbacksOwed), "");
}

#[test]
fn dead_letters_degrade_above_their_limit_and_not_at_it() {
    let mut world = World::new();
    world.calls(100, 0).hear(letters(100));
    assert_eq!(world.status(), Status::Healthy);
    world.hear(letters(214));
    assert_eq!(
        (world.status(), world.text(Code::DeadLetters)),
        (Status::Degraded, "214 dead letters (limit 100)".into())
    );
    world.hear(letters(100));
    assert_eq!((world.status(), world.clay().letters.dead), (Status::Healthy, 100));
    world.health.apply_letters(&vendor(CLAY), LetterCounts { dead: 101, ..LetterCounts::default() });
    assert_eq!(world.status(), Status::Degraded);
}

#[test]
fn a_vendor_that_is_down_or_has_a_parked_actor_is_unhealthy_until_it_is_revived() {
    let actor = ActorId::new("clay/breaker");
    let mut world = World::new();
    world.calls(100, 0).hear(Fact::ActorParked { actor: actor.clone(), cause: "6 restarts in 5 s".into() });
    assert_eq!(world.status(), Status::Unhealthy);
    assert_eq!(world.text(Code::ActorParked), "clay/breaker is parked: 6 restarts in 5 s");
    world.hear(Fact::VendorDown { vendor: vendor(CLAY), cause: "clay/breaker: 6 restarts in 5 s".into() }).after(4);
    assert_eq!(world.text(Code::VendorDown), "vendor is down since 4 s: clay/breaker: 6 restarts in 5 s");
    world.hear(Fact::ActorRestarted { actor, generation: 8, restarts: 7 });
    assert_eq!(world.status(), Status::Unhealthy);
    world.hear(Fact::VendorUp { vendor: vendor(CLAY) });
    assert_eq!((world.status(), world.clay().restarts), (Status::Healthy, 1));
    assert_eq!(world.text(Code::Restarts), "1 restart of its actors in the last 5 min");
}

#[test]
fn a_soft_mark_of_one_limit_does_not_hide_that_another_refuses() {
    let mut world = World::new();
    world.calls(100, 0).hear(marked("hard", 200)).hear(marked("soft", 160));
    assert_eq!(world.status(), Status::Degraded);
}

#[test]
fn a_soft_mark_is_a_remark_and_an_exhausted_budget_degrades() {
    let mut world = World::new();
    world.calls(100, 0).hear(marked("soft", 194)).after(180);
    assert_eq!(world.status(), Status::Healthy);
    let text = "budget 97 % used (194 of 200) when it passed its soft mark 3 min ago";
    assert_eq!(world.text(Code::BudgetUsed), text);
    for mark in ["hard", "overage", "exhausted"] {
        world.hear(marked(mark, 200));
        assert_eq!(world.status(), Status::Degraded, "{mark}");
    }
    assert_eq!(
        world.text(Code::BudgetExhausted).split(';').next(),
        Some("the vendor said 0 s ago that its account is used up")
    );
}

#[test]
fn an_exhausted_budget_is_over_when_a_later_call_was_admitted_and_back_when_one_is_denied() {
    let mut world = World::new();
    world.calls(100, 0).hear(marked("hard", 200)).after(30).calls(1, 0);
    assert_eq!(world.status(), Status::Degraded, "that call may have been admitted before");
    world.after(40).calls(1, 0);
    assert_eq!(world.status(), Status::Healthy);
    world.hear(refused(Guard::Budget));
    assert_eq!(world.status(), Status::Degraded);
    world.after(26 * 3_600);
    assert_eq!(world.status(), Status::Unknown, "no mark outlives its day");
}

#[test]
fn wrong_credentials_degrade_although_they_are_not_in_the_score() {
    let mut world = World::new();
    world.hear(attempt(Class::Auth)).hear_times(2, attempt(Class::Throttled)).hear(attempt(Class::CallerError));
    assert_eq!((world.status(), world.clay().samples), (Status::Degraded, 0));
    assert_eq!(world.text(Code::Credentials), "1 call rejected for wrong credentials in the last 5 min");
    assert_eq!(world.text(Code::Throttled), "2 calls throttled by the vendor in the last 5 min");
}

#[test]
fn the_gravest_reason_comes_first() {
    let mut world = World::new();
    world.hear(overdue(1)).hear(turned(BreakerState::Open, 1)).calls(1, 9);
    let codes: Vec<_> = world.clay().reasons.iter().map(|reason| reason.code).collect();
    assert_eq!(codes, [Code::FailingCalls, Code::BreakerOpen, Code::CallbacksOverdue]);
    assert_eq!(world.text(Code::FailingCalls), "9 of 10 calls failed in the last 5 min");
}

#[test]
fn the_whole_is_as_bad_as_its_worst_vendor_and_unknown_only_when_all_are() {
    let mut world = World::new();
    let whole = |world: &World| world.snapshot().status;
    assert_eq!(whole(&world), Status::Unknown);
    world.calls(10, 0);
    assert_eq!(whole(&world), Status::Healthy);
    world.hear(Fact::VendorDown { vendor: vendor("retell"), cause: "its client crashes".into() });
    assert_eq!((whole(&world), world.status()), (Status::Unhealthy, Status::Healthy));
}

#[test]
fn any_open_circuit_degrades_its_vendor_and_is_named() {
    let mut world = World::new();
    world.calls(100, 0).hear(turned_at("leads", BreakerState::Open, 5));
    assert_eq!(world.status(), Status::Degraded);
    assert_eq!(world.text(Code::BreakerOpen), "circuit breaker leads open since 0 s: 12 of 20 calls failed");
    world.hear(turned_at("accounts", BreakerState::HalfOpen, 2)).hear(turned_at("accounts", BreakerState::Closed, 3));
    assert_eq!((world.status(), world.clay().breaker), (Status::Degraded, BreakerState::Open));
    world.hear(turned_at("leads", BreakerState::Closed, 6));
    assert_eq!((world.status(), world.clay().breaker), (Status::Healthy, BreakerState::Closed));
}

#[test]
fn a_breakers_fact_of_an_older_period_changes_nothing() {
    let mut world = World::new();
    world.hear(turned(BreakerState::Open, 5)).hear(turned(BreakerState::Closed, 4));
    assert_eq!(world.clay().breaker, BreakerState::Open);
}

#[test]
fn facts_about_vendors_nobody_configured_are_ignored() {
    let mut world = World::new();
    world.hear(Fact::VendorDown { vendor: vendor("nobody"), cause: "x".into() });
    world.hear(Fact::ActorParked { actor: ActorId::new("dlq"), cause: "x".into() });
    assert_eq!(world.snapshot().vendors.len(), 2);
    assert!(!world.health.moves(world.now, |_| Callbacks::default()));
}

#[test]
fn tables_stay_at_their_limits_and_forget_the_oldest() {
    let mut world = World::new();
    for n in 0..OVERDUE_KEPT_MAX as u64 + 5 {
        world.hear(overdue(n));
    }
    assert_eq!(world.clay().callbacks_overdue, OVERDUE_KEPT_MAX as u64);
    for n in 0..NAMES_KEPT_MAX + 5 {
        world.hear(lane_full(&format!("l{n}")));
        world.hear(Fact::ActorParked { actor: ActorId::new(format!("clay/{n}")), cause: "x".into() });
    }
    let kept = &world.health.vendors[&vendor(CLAY)];
    assert_eq!((kept.full_lanes.len(), kept.parked.len()), (NAMES_KEPT_MAX, NAMES_KEPT_MAX));
    world.after(3_600);
    assert_eq!(world.clay().callbacks_overdue, 0);
}

#[test]
fn facts_that_never_arrived_are_counted_whatever_their_order() {
    let mut world = World::new();
    for seq in [7, 5, 6, 10] {
        let noted = world.health.decide_fact(&event(seq, refused(Guard::Lane)));
        world.health.apply_fact(world.now, noted);
    }
    assert_eq!(world.health.missed_facts(), 2);
}

#[test]
fn a_status_change_is_told_once() {
    let mut world = World::new();
    let shown = |world: &mut World| {
        let snapshot = world.snapshot();
        world.health.apply_shown(&snapshot)
    };
    assert_eq!(shown(&mut world), []);
    world.calls(0, 5);
    let changes = shown(&mut world);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].from, changes[0].to), (Status::Unknown, Status::Unhealthy));
    assert_eq!(changes[0].why, "5 of 5 calls failed in the last 5 min");
    assert_eq!(shown(&mut world), []);
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let state = prop_oneof![Just(BreakerState::Closed), Just(BreakerState::Open), Just(BreakerState::HalfOpen)];
    let guard = prop_oneof![Just(Guard::Lane), Just(Guard::Breaker), Just(Guard::Budget), Just(Guard::Gateway)];
    let mark = prop_oneof![Just("soft"), Just("hard"), Just("overage"), Just("exhausted")];
    prop_oneof![
        8 => prop::sample::select(Class::ALL.to_vec()).prop_map(attempt),
        2 => (prop_oneof![Just(""), Just("leads")], state, 0..4u64).prop_map(|(at, to, n)| turned_at(at, to, n)),
        2 => guard.prop_map(refused),
        1 => (mark, 0..300u64).prop_map(|(mark, used)| marked(mark, used)),
        1 => (0..300u64).prop_map(letters),
        1 => (0..20u64).prop_map(overdue),
        1 => Just(Fact::VendorDown { vendor: vendor(CLAY), cause: "x".into() }),
        1 => any::<bool>().prop_map(probed),
        1 => Just(lane_full("bulk")),
        1 => Just(Fact::VendorUp { vendor: vendor(CLAY) }),
    ]
}

/// What the seeds' own rules look at.
fn seeds_fact() -> impl Strategy<Value = Fact> {
    let class = prop_oneof![8 => Just(Class::Success), 1 => Just(Class::Server), 1 => Just(Class::Timeout)];
    let state = prop_oneof![Just(BreakerState::Closed), Just(BreakerState::Open), Just(BreakerState::HalfOpen)];
    prop_oneof![
        10 => class.prop_map(attempt),
        1 => state.prop_map(|to| turned(to, 0)),
        1 => (90..110u64).prop_map(letters),
        1 => any::<bool>().prop_map(probed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_a_status_agrees_with_its_score_its_reasons_and_its_breaker(
        facts in prop::collection::vec((any_fact(), 0..60u64), 0..80),
    ) {
        let mut world = World::new();
        for (fact, gap) in facts {
            world.after(gap).hear(fact);
            let clay = world.clay();
            prop_assert!(clay.score.is_none_or(|score| (0.0..=1.0).contains(&score)));
            prop_assert!(clay.reasons.iter().all(|reason| reason.at_best.is_none_or(|best| clay.status >= best)));
            prop_assert!(clay.status < Status::Degraded || clay.reasons[0].at_best == Some(clay.status));
            prop_assert!(clay.breaker == BreakerState::Closed || clay.status >= Status::Degraded);
            prop_assert!(clay.status != Status::Unknown || clay.score.is_none());
            prop_assert_eq!(&clay, &world.clay());
        }
    }

    /// The slow model reads every fact again: the score of seed B, and the rule of seeds A and C.
    #[test]
    fn the_status_is_the_worst_of_the_seeds_two_rules(
        facts in prop::collection::vec((seeds_fact(), 0..60u64), 0..80),
    ) {
        let mut world = World::new();
        let mut heard: Vec<(Duration, Fact)> = Vec::new();
        for (fact, gap) in facts {
            world.after(gap).hear(fact.clone());
            heard.push((world.now - world.begun, fact));
            let window = |at: &Duration| at.as_secs() / 10 + 30 > (world.now - world.begun).as_secs() / 10;
            let ends = heard.iter().filter(|(at, _)| window(at)).filter_map(|(_, fact)| match fact {
                Fact::AttemptEnded { class, .. } => Some(*class == Class::Success),
                _ => None,
            });
            let (good, all) = ends.fold((0u64, 0u64), |(good, all), works| (good + u64::from(works), all + 1));
            let seed_b = match 100 * good {
                _ if all < 5 => Status::Unknown,
                percents if percents > 95 * all => Status::Healthy,
                percents if percents > 80 * all => Status::Degraded,
                _ => Status::Unhealthy,
            };
            let last = |of: fn(&Fact) -> Option<Status>| heard.iter().rev().find_map(|(_, fact)| of(fact));
            let api = last(|fact| match fact {
                Fact::Probed { works, .. } => Some(if *works { Status::Healthy } else { Status::Unhealthy }),
                _ => None,
            });
            let breaker = last(|fact| match fact {
                Fact::BreakerChanged { to: BreakerState::Closed, .. } => Some(Status::Unknown),
                Fact::BreakerChanged { .. } => Some(Status::Degraded),
                _ => None,
            });
            let dlq = last(|fact| match fact {
                Fact::LettersCounted { letters, .. } if letters.dead > 100 => Some(Status::Degraded),
                Fact::LettersCounted { .. } => Some(Status::Unknown),
                _ => None,
            });
            let worst = [Some(seed_b), api, breaker, dlq].into_iter().flatten().max().unwrap_or_default();
            prop_assert_eq!(world.status(), worst);
            prop_assert!(worst <= Status::Healthy || world.clay().reasons[0].at_best == Some(worst));
        }
    }

    #[test]
    fn what_does_not_move_stays_as_it_is(
        facts in prop::collection::vec(any_fact(), 0..6),
        idle in prop_oneof![0..1_000u64, 3_000..4_000u64, 80_000..100_000u64],
        later in 0..200_000u64,
    ) {
        let mut world = World::new();
        for fact in facts {
            world.hear(fact);
        }
        let before = world.after(idle).clay();
        let moves = world.health.moves(world.now, |_| Callbacks::default());
        prop_assert!(moves || before == world.after(later).clay());
    }
}
