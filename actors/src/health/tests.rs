//! The rules, driven by facts as the guards state them.

mod histories;
mod seeds;

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

fn ended(class: Class, was_unknown: bool) -> Fact {
    let (vendor, call, effect) = (vendor(CLAY), call(0), Effect::Done);
    Fact::EffectEnded { vendor, call, class, effect, cost: None, was_unknown }
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
fn what_was_taken_on_and_failed_later_is_a_failure_and_no_success() {
    let mut world = World::new();
    world.calls(99, 1).hear_times(30, ended(Class::Success, false)).hear_times(30, ended(Class::CallerError, false));
    assert_eq!((world.clay().samples, world.clay().score), (100, Some(0.99)), "a good end was counted as it began");
    world.hear_times(30, ended(Class::Server, true));
    assert_eq!((world.clay().samples, world.clay().score), (100, Some(0.99)), "its attempt was counted as it ended");
    world.hear_times(19, ended(Class::Server, false));
    assert_eq!((world.clay().samples, world.status()), (100, Status::Unhealthy));
    let text = "20 of 100 calls failed in the last 5 min, 19 after they were taken on";
    assert_eq!(world.text(Code::FailingCalls), text);
    world.after(600).hear_times(5, ended(Class::Timeout, false));
    let clay = world.clay();
    assert_eq!((clay.samples, clay.score), (5, Some(0.0)), "they were taken on before the window");
    world.hear(ended(Class::Auth, false));
    assert_eq!(world.text(Code::Credentials), "1 call rejected for wrong credentials in the last 5 min");
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
