//! Planned accidents inside actors: a seeded [`Hazard`] that panics or blocks when an actor begins a message.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use mainstay_actors::{ids::ActorId, kernel::Hazard};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::rng_of;

/// Most actors it keeps a stream for; actors beyond it are left alone.
pub const ACTORS_MAX: usize = 10_000;

/// What happens to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// A panic with the text `chaos: injected panic in <actor> at <message>`.
    Panic,
    /// The thread sleeps: to the watchdog, a hang.
    Block {
        /// For how long.
        #[serde(with = "mainstay_actors::duration")]
        lasting: Duration,
    },
}

/// Whom it strikes, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// An actor path; `*` stands for any one segment, at the end for all that follow. `clay/*`, `*/breaker`, `*`.
    pub actor: String,
    /// Only at messages of this name; at all of them without it.
    #[serde(default)]
    pub message: Option<String>,
    /// The chance at each message, `0.0 ..= 1.0`.
    pub probability: f64,
    /// How often at most, counted for each actor by itself (a common count would depend on how threads interleave).
    #[serde(default)]
    pub max: Option<u64>,
    /// What happens.
    pub action: Action,
}

impl Rule {
    fn concerns(&self, actor: &str, message: &str) -> bool {
        self.message.as_ref().is_none_or(|name| name == message) && matches(&self.actor, actor)
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
/// assert_eq!(chaos.injected()["clay/breaker"], 1);
/// chaos.stop();
/// chaos.strike(&breaker, "ticket");
/// ```
#[derive(Debug)]
pub struct Chaos {
    seed: u64,
    rules: Vec<Rule>,
    stopped: AtomicBool,
    seats: Mutex<HashMap<ActorId, Seat>>,
}

/// What is kept for one actor.
#[derive(Debug)]
struct Seat {
    rng: fastrand::Rng,
    /// Accidents by rule.
    injected: Vec<u64>,
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

    fn every(self, messages: u64, pattern: &str, action: Action) -> Self {
        let probability = 1.0 / messages.max(1) as f64;
        self.rule(Rule { actor: pattern.to_owned(), message: None, probability, max: None, action })
    }

    /// Ends all injection, for good.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Accidents so far, by actor path; actors without one are left out.
    pub fn injected(&self) -> BTreeMap<String, u64> {
        let seats = self.seats.lock();
        seats
            .iter()
            .map(|(actor, seat)| (actor.as_str().to_owned(), seat.injected.iter().sum()))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Decides, and counts. The lock is given back before anything happens.
    fn decide(&self, actor: &ActorId, message: &str) -> Option<Action> {
        let mut seats = self.seats.lock();
        if !seats.contains_key(actor) && seats.len() >= ACTORS_MAX {
            return None;
        }
        let seat = seats.entry(actor.clone()).or_insert_with(|| Seat {
            rng: rng_of(self.seed, &["chaos", actor.as_str()]),
            injected: vec![0; self.rules.len()],
        });
        let mut action = None;
        for (rule, injected) in self.rules.iter().zip(&mut seat.injected) {
            if !rule.concerns(actor.as_str(), message) {
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
}

impl Hazard for Chaos {
    #[expect(clippy::panic, reason = "panicking is what it is for")]
    fn strike(&self, actor: &ActorId, message: &'static str) {
        if self.stopped.load(Relaxed) {
            return;
        }
        match self.decide(actor, message) {
            None => {}
            Some(Action::Panic) => panic!("chaos: injected panic in {actor} at {message}"),
            Some(Action::Block { lasting }) => std::thread::sleep(lasting),
        }
    }
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
        let actor = ActorId::new(actor);
        (0..count).filter(|_| chaos.decide(&actor, "ticket").is_some()).collect()
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
        assert_eq!(chaos.decide(&ActorId::new("clay/breaker"), "report"), None);
        assert_eq!(history(&chaos, "clay/breaker", 10), [0, 1]);
        assert_eq!(history(&chaos, "retell/breaker", 10), [] as [usize; 0]);
        assert_eq!(chaos.injected(), BTreeMap::from([("clay/breaker".into(), 2)]));
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
        assert_eq!(chaos.injected()["clay/breaker"], 1);
    }
}
