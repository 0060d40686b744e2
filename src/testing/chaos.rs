//! Planned accidents inside the runtime: a seeded [`Hazard`] that makes actors panic, hang and be slow, loses messages, and
//! makes the store fail, run full and be slow.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use mainstay_actors::{
    clock,
    ids::ActorId,
    kernel::{Fate, Hazard},
    store::{Op, StoreError, Table, WriteSet},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::rng_of;

/// Most places (actors, tables) it keeps a stream for; those beyond it are left alone.
pub const PLACES_MAX: usize = 10_000;

/// The name of a message by which a rule means the writes of the store.
const WRITE: &str = "write";

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// In an actor: a panic with the text `chaos: injected panic in <actor> at <message>`.
    Panic,
    /// In an actor: the thread sleeps, in real time; to the watchdog, a hang.
    Block {
        /// For how long.
        #[serde(with = "mainstay_actors::duration")]
        lasting: Duration,
    },
    /// The actor is slow: it handles the message, and those behind it, so much later. The store is slow: it writes at once, and
    /// acknowledges so much later. Follows tokio's clock, also a paused one.
    Delay {
        /// By how much.
        #[serde(with = "mainstay_actors::duration")]
        lasting: Duration,
    },
    /// The message is dropped on its way to the actor, as by a crash. Reports of grants are never lost.
    Lose,
    /// In the store: the write fails, and its whole group with it, as on an engine's error.
    Fail,
    /// In the store: the disk is full from this write on.
    Full {
        /// For how long.
        #[serde(with = "mainstay_actors::duration")]
        lasting: Duration,
    },
}

impl Action {
    /// Its name, as in [`Chaos::injected`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Block { .. } => "block",
            Self::Delay { .. } => "delay",
            Self::Lose => "lose",
            Self::Fail => "fail",
            Self::Full { .. } => "full",
        }
    }
}

/// Whom it strikes, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The path of an actor, or `store/<table>` (`store/letters`, `store/keys`, ...); `*` stands for any one segment, at the
    /// end for all that follow. `clay/*`, `*/breaker`, `store/*`, `*`.
    pub actor: String,
    /// Only at messages of this name; at all of them without it. Writes of the store are called `write`. A message that is
    /// delayed or lost was not opened yet and has no name: leave it out there, or the rule never strikes.
    #[serde(default)]
    pub message: Option<String>,
    /// The chance at each message, `0.0 ..= 1.0`.
    pub probability: f64,
    /// How often at most, counted for each actor by itself (a common count would depend on how threads interleave). What is
    /// refused while a disk is full counts once.
    #[serde(default)]
    pub max: Option<u64>,
    /// What happens.
    pub action: Action,
}

impl Rule {
    fn concerns(&self, place: &str, message: Option<&str>) -> bool {
        self.message.as_deref().is_none_or(|name| Some(name) == message) && matches(&self.actor, place)
    }
}

/// A seeded plan of accidents. The same seed and the same messages of an actor, in the same order, meet the same accidents,
/// whatever other actors do meanwhile.
///
/// ```
/// use mainstay::testing::Chaos;
/// use mainstay_actors::{ids::ActorId, kernel::Hazard};
///
/// let chaos = Chaos::seeded(7).panic_every(1, "*/breaker");
/// let breaker = ActorId::new("clay/breaker");
/// std::thread::scope(|scope| assert!(scope.spawn(|| chaos.strike(&breaker, "ticket")).join().is_err()));
/// assert_eq!(chaos.injected()["panic"]["clay/breaker"], 1);
/// chaos.stop();
/// chaos.strike(&breaker, "ticket");
/// ```
#[derive(Debug)]
pub struct Chaos {
    seed: u64,
    rules: Vec<Rule>,
    stopped: AtomicBool,
    seats: Mutex<HashMap<Box<str>, Seat>>,
}

/// What is kept for one place.
#[derive(Debug)]
struct Seat {
    rng: fastrand::Rng,
    /// Accidents by rule.
    injected: Vec<u64>,
    /// Until when the disk is full.
    full_until: Option<Instant>,
}

impl Chaos {
    /// A plan without rules.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, rules: Vec::new(), stopped: AtomicBool::new(false), seats: Mutex::default() }
    }

    /// Adds a rule. Where several strike at one message, the first one acts.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Panics once in `messages` messages on average, at actors that match `pattern`. 0 counts as 1.
    #[must_use]
    pub fn panic_every(self, messages: u64, pattern: &str) -> Self {
        self.every(messages, pattern, Action::Panic)
    }

    /// Blocks the thread once in `messages` messages on average, at actors that match `pattern`. 0 counts as 1.
    #[must_use]
    pub fn block_every(self, messages: u64, pattern: &str, lasting: Duration) -> Self {
        self.every(messages, pattern, Action::Block { lasting })
    }

    /// Delays one in `messages` messages or writes on average, at actors or tables that match `pattern`. 0 counts as 1.
    #[must_use]
    pub fn delay_every(self, messages: u64, pattern: &str, lasting: Duration) -> Self {
        self.every(messages, pattern, Action::Delay { lasting })
    }

    /// Drops one in `messages` messages on average, at actors that match `pattern`. 0 counts as 1.
    #[must_use]
    pub fn lose_every(self, messages: u64, pattern: &str) -> Self {
        self.every(messages, pattern, Action::Lose)
    }

    /// Fails one in `writes` writes on average, at tables that match `pattern`, such as `store/keys`. 0 counts as 1.
    #[must_use]
    pub fn fail_every(self, writes: u64, pattern: &str) -> Self {
        self.every(writes, pattern, Action::Fail)
    }

    /// Lets the disk run full at one in `writes` writes on average, at tables that match `pattern`. 0 counts as 1.
    #[must_use]
    pub fn full_every(self, writes: u64, pattern: &str, lasting: Duration) -> Self {
        self.every(writes, pattern, Action::Full { lasting })
    }

    fn every(self, messages: u64, pattern: &str, action: Action) -> Self {
        let probability = 1.0 / messages.max(1) as f64;
        self.rule(Rule { actor: pattern.to_owned(), message: None, probability, max: None, action })
    }

    /// Ends all injection, for good. A full disk has space again.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Accidents so far, by the name of the action and the place; what did not happen is left out.
    pub fn injected(&self) -> BTreeMap<&'static str, BTreeMap<String, u64>> {
        let mut by_kind = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (place, seat) in &*self.seats.lock() {
            let counts = self.rules.iter().zip(&seat.injected).filter(|(_, count)| **count > 0);
            for (rule, count) in counts {
                *by_kind.entry(rule.action.as_str()).or_default().entry(place.to_string()).or_default() += count;
            }
        }
        by_kind
    }

    /// How many accidents there were in all.
    pub fn total(&self) -> u64 {
        self.seats.lock().values().flat_map(|seat| &seat.injected).sum()
    }

    /// Decides, and counts, among the rules whose action is possible here. The lock is given back before anything happens.
    fn decide(&self, place: &str, message: Option<&str>, possible: fn(Action) -> bool) -> Option<Action> {
        if self.stopped.load(Relaxed) {
            return None;
        }
        let mut seats = self.seats.lock();
        if !seats.contains_key(place) && seats.len() >= PLACES_MAX {
            return None;
        }
        let seat = seats.entry(place.into()).or_insert_with(|| Seat {
            rng: rng_of(self.seed, &["chaos", place]),
            injected: vec![0; self.rules.len()],
            full_until: None,
        });
        let mut action = None;
        for (rule, injected) in self.rules.iter().zip(&mut seat.injected) {
            if !possible(rule.action) || !rule.concerns(place, message) {
                continue;
            }
            // Each rule draws at each of its messages, struck or not: one rule does not disturb the draws of the next.
            let hit = seat.rng.f64() < rule.probability;
            if hit && action.is_none() && rule.max.is_none_or(|max| *injected < max) {
                *injected += 1;
                action = Some(rule.action);
            }
        }
        action
    }

    /// Decides about a write into one table. While the disk is full nothing is drawn.
    fn decide_write(&self, table: Table) -> Option<StoreError> {
        let place = place_of(table);
        let full_until = self.seats.lock().get(&*place).and_then(|seat| seat.full_until);
        if !self.stopped.load(Relaxed) && full_until.is_some_and(|until| clock::now() < until) {
            return Some(StoreError::Full);
        }
        match self.decide(&place, Some(WRITE), |action| matches!(action, Action::Fail | Action::Full { .. }))? {
            Action::Full { lasting } => {
                if let Some(seat) = self.seats.lock().get_mut(&*place) {
                    seat.full_until = clock::now().checked_add(lasting);
                }
                Some(StoreError::Full)
            }
            _ => Some(StoreError::Engine(format!("chaos: injected failure in {place}"))),
        }
    }
}

impl Hazard for Chaos {
    #[expect(clippy::panic, reason = "panicking is what it is for")]
    fn strike(&self, actor: &ActorId, message: &'static str) {
        let here = |action| matches!(action, Action::Panic | Action::Block { .. });
        match self.decide(actor.as_str(), Some(message), here) {
            Some(Action::Panic) => panic!("chaos: injected panic in {actor} at {message}"),
            Some(Action::Block { lasting }) => std::thread::sleep(lasting),
            _ => {}
        }
    }

    fn fate(&self, actor: &ActorId) -> Fate {
        match self.decide(actor.as_str(), None, |action| matches!(action, Action::Delay { .. } | Action::Lose)) {
            Some(Action::Delay { lasting }) => Fate::Late(lasting),
            Some(_) => Fate::Lost,
            None => Fate::Arrives,
        }
    }

    fn fail_write(&self, sets: &[WriteSet]) -> Option<StoreError> {
        // Each set draws, whatever the others met: how writes fall into groups changes nothing.
        let faults: Vec<_> = sets.iter().flat_map(tables).filter_map(|table| self.decide_write(table)).collect();
        faults.into_iter().next()
    }

    fn delay_write(&self, set: &WriteSet) -> Duration {
        let delay = |table| self.decide(&place_of(table), Some(WRITE), |action| matches!(action, Action::Delay { .. }));
        let delays = tables(set).into_iter().filter_map(delay).map(|action| match action {
            Action::Delay { lasting } => lasting,
            _ => Duration::ZERO,
        });
        delays.max().unwrap_or_default()
    }
}

fn place_of(table: Table) -> String {
    format!("store/{}", table.as_str())
}

/// The tables that a set changes.
fn tables(set: &WriteSet) -> Vec<Table> {
    let mut tables: Vec<_> = set
        .ops
        .iter()
        .filter_map(|op| match op {
            Op::Put(table, ..) | Op::Delete(table, _) | Op::Add(table, ..) => Some(*table),
            Op::Absent(..) | Op::Present(..) => None,
        })
        .collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// Whether a path matches a pattern.
fn matches(pattern: &str, path: &str) -> bool {
    let mut wanted = pattern.split('/').peekable();
    let mut found = path.split('/');
    while let Some(segment) = wanted.next() {
        let Some(name) = found.next() else { return false };
        if segment == "*" && wanted.peek().is_none() {
            return true;
        }
        if segment != "*" && segment != name {
            return false;
        }
    }
    found.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// At which of the first `count` messages the actor is struck.
    fn history(chaos: &Chaos, actor: &str, count: usize) -> Vec<usize> {
        (0..count).filter(|_| chaos.decide(actor, Some("ticket"), |_| true).is_some()).collect()
    }

    #[test]
    fn a_star_stands_for_a_segment_and_at_the_end_for_the_rest() {
        for (pattern, path) in [
            ("*", "clay/lane/bulk"),
            ("clay/*", "clay/breaker"),
            ("clay/*", "clay/lane/bulk"),
            ("*/breaker", "retell/breaker"),
            ("clay/lane/bulk", "clay/lane/bulk"),
            ("*/lane/*", "clay/lane/bulk"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [("clay/*", "clay"), ("clay/*", "retell/breaker"), ("*/breaker", "a/b/breaker"), ("clay", "clay/breaker")]
        {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn one_seed_strikes_an_actor_at_the_same_messages_whatever_others_do() {
        let plan = || Chaos::seeded(5).panic_every(10, "*");
        let alone = history(&plan(), "clay/breaker", 1_000);
        let among = plan();
        history(&among, "clay/budget", 333);
        assert_eq!(history(&among, "clay/breaker", 1_000), alone);
        assert!((60..140).contains(&alone.len()), "{}", alone.len());
        assert_ne!(history(&Chaos::seeded(6).panic_every(10, "*"), "clay/breaker", 1_000), alone);
    }

    #[test]
    fn a_rule_strikes_at_most_its_number_of_times_and_only_its_message() {
        let rule = Rule {
            actor: "clay/*".into(),
            message: Some("ticket".into()),
            probability: 1.0,
            max: Some(2),
            action: Action::Panic,
        };
        let chaos = Chaos::seeded(1).rule(rule);
        assert_eq!(chaos.decide("clay/breaker", Some("report"), |_| true), None);
        assert_eq!(history(&chaos, "clay/breaker", 10), [0, 1]);
        assert_eq!(history(&chaos, "retell/breaker", 10), [] as [usize; 0]);
        assert_eq!(chaos.injected(), BTreeMap::from([("panic", BTreeMap::from([("clay/breaker".into(), 2)]))]));
    }

    #[test]
    fn the_panic_names_the_actor_and_the_message() {
        let chaos = Chaos::seeded(1).panic_every(1, "*");
        let actor = ActorId::new("clay/breaker");
        let thrown = catch_unwind(AssertUnwindSafe(|| chaos.strike(&actor, "ticket"))).unwrap_err();
        assert_eq!(thrown.downcast_ref::<String>().unwrap(), "chaos: injected panic in clay/breaker at ticket");
    }

    #[test]
    fn a_block_holds_the_thread_and_a_stopped_plan_does_nothing() {
        let chaos = Chaos::seeded(1).block_every(1, "*", Duration::from_millis(20));
        let actor = ActorId::new("clay/breaker");
        let before = mainstay_actors::clock::now();
        chaos.strike(&actor, "ticket");
        assert!(mainstay_actors::clock::now() - before >= Duration::from_millis(20));
        chaos.stop();
        chaos.strike(&actor, "ticket");
        assert_eq!(chaos.injected()["block"]["clay/breaker"], 1);
    }

    #[test]
    fn a_lost_or_delayed_message_has_no_name_and_a_panic_is_no_fate() {
        let named =
            |action| Rule { actor: "*".into(), message: Some("ticket".into()), probability: 1.0, max: None, action };
        let actor = ActorId::new("clay/breaker");
        assert_eq!(Chaos::seeded(1).panic_every(1, "*").rule(named(Action::Lose)).fate(&actor), Fate::Arrives);
        assert_eq!(Chaos::seeded(1).lose_every(1, "*").fate(&actor), Fate::Lost);
        let late = Chaos::seeded(1).delay_every(1, "clay/*", Duration::from_secs(3));
        assert_eq!(late.fate(&actor), Fate::Late(Duration::from_secs(3)));
        assert_eq!(late.fate(&ActorId::new("retell/breaker")), Fate::Arrives);
        assert_eq!(late.injected(), BTreeMap::from([("delay", BTreeMap::from([("clay/breaker".into(), 1)]))]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_stays_full_for_its_time_and_a_failing_one_for_its_number_of_writes() {
        let keys = [WriteSet::new().put(Table::Keys, *b"k", *b"v")];
        let letters = [WriteSet::new().delete(Table::Letters, *b"k")];
        let rule = |actor: &str, max, action| Rule {
            actor: actor.into(),
            message: None,
            probability: 1.0,
            max: Some(max),
            action,
        };
        let chaos = Chaos::seeded(1)
            .rule(rule("store/keys", 1, Action::Full { lasting: Duration::from_secs(5) }))
            .rule(rule("store/letters", 2, Action::Fail));
        assert_eq!(
            [chaos.fail_write(&keys), chaos.fail_write(&keys)],
            [Some(StoreError::Full), Some(StoreError::Full)]
        );
        let failed = StoreError::Engine("chaos: injected failure in store/letters".into());
        let three: Vec<_> = (0..3).map(|_| chaos.fail_write(&letters)).collect();
        assert_eq!(three, [Some(failed.clone()), Some(failed), None]);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(chaos.fail_write(&keys), None);
        assert_eq!((chaos.injected()["full"]["store/keys"], chaos.injected()["fail"]["store/letters"]), (1, 2));
        assert_eq!(chaos.total(), 3);
    }
}
