mod histories;
mod model;
mod orders;
mod peers;
mod slow;

use super::*;
use crate::{
    breaker::{RateTrip, SlowTrip, StreakTrip, Window, some_moment},
    grant::Ending,
    outcome::Effect,
};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(20);

/// A breaker and a time that the test moves by hand.
#[derive(Clone)]
struct Rig {
    breaker: Breaker,
    now: Instant,
    /// Changes of state.
    seen: Vec<Transition>,
    /// The other notices.
    heard: Vec<Notice>,
}

/// 50 % of at least 5 within 10 s, open for 5 s, one probe, no spread: the settings of the peers' suites.
fn plain() -> BreakerConfig {
    BreakerConfig {
        rate: Some(plain_rate()),
        streak: None,
        probe_lease: LEASE,
        jitter: 0.0,
        ..BreakerConfig::default()
    }
}

fn plain_rate() -> RateTrip {
    RateTrip { minimum_calls: 5, window: Window::Time(10 * SECOND), open_for: 5 * SECOND, ..RateTrip::default() }
}

fn ending(class: Class) -> Ending {
    Ending {
        class,
        effect: Effect::None,
        cost: None,
        also: std::collections::BTreeMap::new(),
        retry_after: None,
        elapsed: SECOND,
    }
}

fn ended(class: Class) -> GrantEnd {
    GrantEnd::Ended(ending(class))
}

fn asking(class: Class, retry_after: Duration) -> GrantEnd {
    GrantEnd::Ended(Ending { retry_after: Some(retry_after), ..ending(class) })
}

fn took(class: Class, elapsed: Duration) -> GrantEnd {
    GrantEnd::Ended(Ending { elapsed, ..ending(class) })
}

fn lost() -> GrantEnd {
    GrantEnd::Ended(Ending { effect: Effect::Unknown, ..ending(Class::Abandoned) })
}

fn order(seconds: u32) -> Order {
    Order::new(seconds * SECOND, "a drill, Ana").unwrap()
}

impl Rig {
    fn new(config: BreakerConfig) -> Self {
        let now = some_moment();
        Self { breaker: Breaker::new(config, now), now, seen: Vec::new(), heard: Vec::new() }
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
        let change = self.breaker.decide_deadline(self.now, || 0.0);
        self.apply(change);
    }

    fn admit(&mut self) -> Result<GrantId, Refusal> {
        let admission = self.breaker.decide_admit(self.now);
        self.breaker.apply_admit(admission, self.now)
    }

    /// Calls that pass and do not end.
    fn hold_passes(&mut self, calls: usize) {
        for _ in 0..calls {
            self.admit().unwrap();
        }
    }

    fn report(&mut self, grant: GrantId, end: GrantEnd) {
        let change = self.breaker.decide_report(self.now, &GrantReport { grant, end }, || 0.0);
        self.apply(change);
    }

    fn apply(&mut self, change: Change) {
        for notice in self.breaker.apply(change) {
            match notice {
                Notice::Changed(change) => self.seen.push(change),
                other => self.heard.push(other),
            }
        }
    }

    fn control(&mut self, control: &Control) {
        let change = self.breaker.decide_control(self.now, control);
        self.apply(change);
    }

    fn end(&mut self, end: GrantEnd) {
        let grant = self.admit().unwrap();
        self.report(grant, end);
    }

    fn call(&mut self, class: Class) {
        self.end(ended(class));
    }

    fn calls(&mut self, outcomes: &str) {
        for outcome in outcomes.chars().filter(|c| !c.is_whitespace()) {
            self.call(if outcome == 'F' { Class::Server } else { Class::Success });
        }
    }

    fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    fn calls_seen(&self) -> (u64, u64) {
        let tally = self.breaker.tally(self.now);
        (tally.calls, tally.failures)
    }

    fn opened(config: BreakerConfig) -> Self {
        let mut rig = Self::new(config);
        rig.calls("FFFFF");
        assert_eq!(rig.state(), BreakerState::Open);
        rig
    }

    fn half_open(config: BreakerConfig) -> Self {
        let mut rig = Self::opened(config);
        rig.wait(5 * SECOND);
        assert_eq!(rig.state(), BreakerState::HalfOpen);
        rig
    }
}

#[test]
fn successes_that_have_left_the_window_protect_nothing() {
    let mut rig = Rig::new(plain());
    for _ in 0..1_000 {
        rig.calls("S");
    }
    rig.wait(10 * SECOND);
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn after_a_long_silence_old_failures_say_nothing() {
    let mut rig = Rig::new(BreakerConfig { streak: Some(StreakTrip::default()), ..plain() });
    rig.calls("FFFF");
    rig.wait(60 * 24 * 3600 * SECOND);
    rig.calls("SFFF");
    rig.wait(60 * 24 * 3600 * SECOND);
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn five_failures_among_a_thousand_successes_do_not_open_the_credit_breaker() {
    let mut rig = Rig::new(BreakerConfig::credit(30 * SECOND));
    for _ in 0..5 {
        rig.calls(&"S".repeat(200));
        rig.calls("F");
    }
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn five_failures_in_a_row_open_the_credit_breaker_for_fifteen_minutes() {
    let mut rig = Rig::new(BreakerConfig { jitter: 0.0, ..BreakerConfig::credit(30 * SECOND) });
    rig.calls("SSSSSSSS FFFFF");
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(&*rig.seen[0].cause, "5 failures in a row");
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 900 * SECOND));
}

#[test]
fn of_two_rules_that_open_the_longer_open_time_holds() {
    let streak = StreakTrip { failures: 5, open_for: 900 * SECOND, forget_after: 60 * SECOND };
    let rig = Rig::opened(BreakerConfig { streak: Some(streak), ..plain() });
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 900 * SECOND));
}

#[test]
fn with_two_workers_and_long_timeouts_an_outage_is_still_seen() {
    // A black hole: each of two calls ends after 30 s. The window never holds the minimum; the streak sees it.
    let mut rig = Rig::new(BreakerConfig::patterns(30 * SECOND));
    for _ in 0..5 {
        assert_eq!(rig.state(), BreakerState::Closed);
        rig.wait(30 * SECOND);
        rig.calls("FF");
    }
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn nine_failures_and_a_long_pause_do_not_open_the_patterns_breaker_at_the_tenth() {
    let mut rig = Rig::new(BreakerConfig::patterns(30 * SECOND));
    rig.calls("FFFFFFFFF");
    rig.wait(60 * SECOND);
    rig.calls("F");
    assert_eq!((rig.state(), rig.breaker.streak(rig.now)), (BreakerState::Closed, 1));
}

#[test]
fn only_what_speaks_of_the_vendor_counts() {
    for class in Class::ALL {
        let mut rig = Rig::new(plain());
        rig.call(class);
        let expected = match class.verdict() {
            Verdict::Silent => (0, 0),
            Verdict::Healthy => (1, 0),
            Verdict::Failing => (1, 1),
        };
        assert_eq!(rig.calls_seen(), expected, "{class}");
        assert_eq!(rig.breaker.passes_out(), 0);
    }
}

#[test]
fn an_unused_pass_counts_as_nothing_and_an_unknown_end_as_a_failure() {
    let mut rig = Rig::new(plain());
    let (a, b) = (rig.admit().unwrap(), rig.admit().unwrap());
    rig.report(a, GrantEnd::Unused);
    assert_eq!(rig.calls_seen(), (0, 0));
    rig.report(b, GrantEnd::Unknown);
    assert_eq!(rig.calls_seen(), (1, 1));
}

#[test]
fn a_silent_end_neither_breaks_nor_lengthens_a_streak() {
    let mut rig = Rig::new(BreakerConfig { streak: Some(StreakTrip::default()), rate: None, ..plain() });
    rig.calls("FFFF");
    rig.call(Class::Throttled);
    assert_eq!((rig.state(), rig.breaker.streak(rig.now)), (BreakerState::Closed, 4));
    rig.calls("F");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn refused_calls_do_not_dilute_the_rate() {
    let mut rig = Rig::opened(plain());
    for _ in 0..502 {
        assert!(rig.admit().is_err());
    }
    rig.wait(5 * SECOND);
    rig.calls("S");
    assert_eq!((rig.state(), rig.calls_seen()), (BreakerState::Closed, (0, 0)));
    rig.calls("FFFFF");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn calls_that_pass_without_a_result_yet_do_not_dilute_the_rate() {
    let mut rig = Rig::new(plain());
    for _ in 0..60 {
        rig.admit().unwrap();
    }
    rig.calls("FFFFF");
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn ten_healthy_calls_at_once_leave_it_closed() {
    let mut rig = Rig::new(plain());
    let grants: Vec<_> = (0..10).map(|_| rig.admit().unwrap()).collect();
    for grant in grants {
        rig.report(grant, ended(Class::Success));
    }
    assert_eq!((rig.state(), rig.seen.len()), (BreakerState::Closed, 0));
}

#[test]
fn open_becomes_half_open_at_its_time_and_not_before() {
    let mut rig = Rig::opened(plain());
    rig.wait(3 * SECOND);
    assert!(rig.admit().is_err());
    rig.wait(2 * SECOND - Duration::from_nanos(1));
    assert_eq!(rig.state(), BreakerState::Open);
    rig.wait(Duration::from_nanos(1));
    assert_eq!(rig.state(), BreakerState::HalfOpen);
    assert!(rig.admit().is_ok());
}

#[test]
fn a_retry_after_is_obeyed_when_its_failure_opens() {
    let mut rig = Rig::new(plain());
    rig.calls("FFFF");
    rig.end(asking(Class::Overload, 120 * SECOND));
    assert_eq!(rig.breaker.retry_at(), Some(rig.now + 120 * SECOND));
}

#[test]
fn a_good_probe_closes_with_an_empty_window() {
    let mut rig = Rig::half_open(plain());
    rig.calls("S");
    assert_eq!((rig.state(), rig.calls_seen()), (BreakerState::Closed, (0, 0)));
    rig.calls("FFFF");
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn as_many_probes_must_succeed_as_are_asked_for() {
    let mut rig = Rig::half_open(BreakerConfig { probes: 2, probes_to_close: 3, ..plain() });
    rig.calls("SS");
    assert_eq!(rig.state(), BreakerState::HalfOpen);
    rig.calls("S");
    assert_eq!(rig.state(), BreakerState::Closed);
    assert_eq!(&*rig.seen.last().unwrap().cause, "3 probes succeeded");
}

#[test]
fn a_probe_that_was_lost_after_its_first_byte_failed() {
    for end in [GrantEnd::Unknown, lost()] {
        let mut rig = Rig::half_open(plain());
        let probe = rig.admit().unwrap();
        rig.report(probe, end.clone());
        assert_eq!(rig.state(), BreakerState::Open, "{end:?}");
    }
}

#[test]
fn a_late_failure_of_an_earlier_generation_is_not_counted_after_closing() {
    let mut rig = Rig::new(plain());
    let late: Vec<_> = (0..10).map(|_| rig.admit().unwrap()).collect();
    rig.calls("FFFFF");
    rig.wait(5 * SECOND);
    rig.calls("S");
    for grant in late {
        rig.report(grant, ended(Class::Server));
    }
    assert_eq!((rig.state(), rig.calls_seen()), (BreakerState::Closed, (0, 0)));
}

#[test]
fn a_report_that_comes_twice_counts_once() {
    let mut rig = Rig::new(plain());
    let grant = rig.admit().unwrap();
    for _ in 0..5 {
        rig.report(grant, ended(Class::Server));
    }
    assert_eq!((rig.calls_seen(), rig.state()), ((1, 1), BreakerState::Closed));
}

#[test]
fn the_table_of_passes_is_bounded_and_forgets_what_is_past_its_lease() {
    let mut rig = Rig::new(plain());
    let first = rig.admit().unwrap();
    for _ in 1..GRANTS_MAX {
        rig.admit().unwrap();
    }
    let refusal = rig.admit().unwrap_err();
    assert_eq!(refusal.reason, Reason::Full { what: "passes", held: GRANTS_MAX, limit: GRANTS_MAX });
    rig.wait(LEASE);
    rig.admit().unwrap();
    assert_eq!(rig.breaker.passes_out(), GRANTS_MAX);
    rig.report(first, ended(Class::Server));
    assert_eq!(rig.calls_seen(), (0, 0));
}

#[test]
fn a_reset_closes_and_forgets_and_states_a_change_only_if_there_was_one() {
    let mut rig = Rig::opened(plain());
    rig.control(&Control::Reset);
    assert_eq!((rig.state(), rig.seen.len()), (BreakerState::Closed, 2));
    rig.calls("FFFF");
    rig.control(&Control::Reset);
    assert_eq!((rig.calls_seen(), rig.breaker.generation(), rig.seen.len()), ((0, 0), 4, 2));
}

#[test]
fn a_429_counts_where_the_vendor_means_an_outage_by_it() {
    let mut rig = Rig::new(BreakerConfig { throttle_counts: true, ..plain() });
    (0..4).for_each(|_| rig.call(Class::Throttled));
    rig.end(asking(Class::Throttled, 40 * SECOND));
    assert_eq!((rig.state(), rig.breaker.retry_at()), (BreakerState::Open, Some(rig.now + 40 * SECOND)));
    rig.wait(40 * SECOND);
    rig.call(Class::Throttled);
    assert_eq!(&*rig.seen.last().unwrap().cause, "a probe failed: throttled");
}

#[test]
fn without_a_rule_it_never_opens() {
    let mut rig = Rig::new(BreakerConfig { rate: None, streak: None, ..plain() });
    rig.calls(&"F".repeat(1_000));
    assert_eq!(rig.state(), BreakerState::Closed);
}
