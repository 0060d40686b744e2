//! What health keeps of each vendor, and how a fact changes it. Pure: takes `now`, knows no clock and no channel.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    config::{HealthConfig, OVERDUE_KEPT_MAX},
    report::{HealthSnapshot, Status},
    score::{Counts, Window},
};
use crate::{
    credits::Credits,
    fact::{BreakerState, Event, Fact, FinalState, LetterCounts},
    ids::{ActorId, CallId, Circuit, LaneId, VendorId},
    meter::Whose,
    outcome::{Class, Verdict},
    refusal::Guard,
};

/// How long an overdue callback speaks against a vendor, if its call does not end before.
pub const OVERDUE_KEPT: Duration = Duration::from_secs(3_600);
/// Parked actors, and full lanes, remembered by name for a vendor.
pub const NAMES_KEPT_MAX: usize = 16;

/// A budget's mark speaks at most this long: the longest calendar day has 25 hours.
pub(super) const MARK_KEPT: Duration = Duration::from_secs(25 * 3_600);
/// A call sent this long after the last sign of an exhausted budget must have been admitted after it. Shorter would be
/// disproved by calls that were admitted before.
const MARK_GRACE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) struct Breaker {
    pub(super) state: BreakerState,
    pub(super) since: Instant,
    pub(super) generation: u64,
    pub(super) cause: Arc<str>,
}

#[derive(Debug)]
pub(super) struct Mark {
    pub(super) name: &'static str,
    pub(super) used: Credits,
    pub(super) limit: Credits,
    pub(super) since: Instant,
    /// The last sign that nothing may be spent.
    seen: Instant,
    /// A later call was admitted: a new day has begun, or the limit was raised.
    lifted: bool,
}

impl Mark {
    pub(super) fn blocks(&self) -> bool {
        self.name != "soft" && !self.lifted
    }

    pub(super) fn speaks(&self, now: Instant) -> bool {
        !self.lifted && now.saturating_duration_since(self.since) < MARK_KEPT
    }
}

#[derive(Debug)]
pub(super) struct Vendor {
    pub(super) window: Window,
    /// Those that ever turned.
    pub(super) breakers: BTreeMap<Circuit, Breaker>,
    pub(super) down: Option<(Instant, Arc<str>)>,
    pub(super) parked: BTreeMap<ActorId, Arc<str>>,
    pub(super) mark: Option<Mark>,
    pub(super) letters: LetterCounts,
    pub(super) overdue: BTreeMap<CallId, Instant>,
    pub(super) full_lanes: BTreeMap<LaneId, Instant>,
    pub(super) last_success: Option<Timestamp>,
    shown: Status,
}

/// The health of every configured vendor.
#[derive(Debug)]
pub struct Health {
    pub(super) config: HealthConfig,
    pub(super) vendors: BTreeMap<VendorId, Vendor>,
    facts: Facts,
}

/// Counts the facts, in whatever order they come, to know how many did not.
#[derive(Debug, Default)]
struct Facts {
    first: Option<u64>,
    last: u64,
    received: u64,
}

/// What a fact comes to, before it is applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    seq: u64,
    change: Option<(VendorId, Change)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Counted(Counts),
    Attempted { counts: Counts, succeeded: Option<Timestamp>, elapsed: Duration },
    BreakerTurned { circuit: Circuit, to: BreakerState, generation: u64, cause: Arc<str> },
    LaneFull(LaneId),
    Marked { name: &'static str, used: Credits, limit: Credits },
    Letters(LetterCounts),
    Overdue(CallId),
    Ended(CallId),
    Restarted(ActorId),
    Parked(ActorId, Arc<str>),
    Down(Arc<str>),
    Up,
}

/// A vendor's status as it was shown before and is shown now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The vendor.
    pub vendor: VendorId,
    /// Before.
    pub from: Status,
    /// Now.
    pub to: Status,
    /// The gravest reason, in words.
    pub why: String,
}

impl Health {
    /// Health of these vendors, of whom nothing is known yet. Facts about others are ignored.
    pub fn new(config: HealthConfig, vendors: impl IntoIterator<Item = VendorId>, now: Instant) -> Self {
        let fresh = |id| (id, Vendor::new(config.window, now));
        let vendors = vendors.into_iter().map(fresh).collect();
        Self { config, vendors, facts: Facts::default() }
    }

    /// What a fact comes to.
    pub fn decide_fact(&self, event: &Event) -> Noted {
        let change = read(event).filter(|(vendor, _)| self.vendors.contains_key(vendor));
        Noted { seq: event.seq, change }
    }

    /// Applies it.
    pub fn apply_fact(&mut self, now: Instant, noted: Noted) {
        self.facts.note(noted.seq);
        let Some((vendor, change)) = noted.change else { return };
        if let Some(vendor) = self.vendors.get_mut(&vendor) {
            vendor.apply(now, change);
        }
    }

    /// Sets what a vendor's parked calls are at the start; later changes are told by facts.
    pub fn apply_letters(&mut self, vendor: &VendorId, letters: LetterCounts) {
        if let Some(vendor) = self.vendors.get_mut(vendor) {
            vendor.letters = letters;
        }
    }

    /// Notes what is being shown; returns each change of a status, once.
    pub fn apply_shown(&mut self, shown: &HealthSnapshot) -> Vec<StatusChange> {
        let mut changes = Vec::new();
        for report in &shown.vendors {
            let Some(vendor) = self.vendors.get_mut(&report.vendor) else { continue };
            let from = std::mem::replace(&mut vendor.shown, report.status);
            if from != report.status {
                let why = report.reasons.first().map(|reason| reason.text.clone()).unwrap_or_default();
                changes.push(StatusChange { vendor: report.vendor.clone(), from, to: report.status, why });
            }
        }
        changes
    }

    /// True while time alone can change what is shown.
    pub fn moves(&self, now: Instant) -> bool {
        self.vendors.values().any(|vendor| vendor.moves(now, self.config.window))
    }

    /// Facts that never arrived.
    pub fn missed_facts(&self) -> u64 {
        self.facts.missed()
    }
}

impl Facts {
    fn note(&mut self, seq: u64) {
        let first = self.first.map_or(seq, |first| first.min(seq));
        self.first = Some(first);
        self.last = self.last.max(seq);
        self.received = self.received.saturating_add(1);
    }

    fn missed(&self) -> u64 {
        let Some(first) = self.first else { return 0 };
        (self.last - first).saturating_add(1).saturating_sub(self.received)
    }
}

impl Vendor {
    fn new(window: Duration, now: Instant) -> Self {
        Self {
            window: Window::new(window, now),
            breakers: BTreeMap::new(),
            down: None,
            parked: BTreeMap::new(),
            mark: None,
            letters: LetterCounts::default(),
            overdue: BTreeMap::new(),
            full_lanes: BTreeMap::new(),
            last_success: None,
            shown: Status::Unknown,
        }
    }

    fn apply(&mut self, now: Instant, change: Change) {
        match change {
            Change::Counted(counts) => self.count(now, &counts),
            Change::Attempted { counts, succeeded, elapsed } => self.attempted(now, &counts, succeeded, elapsed),
            Change::BreakerTurned { circuit, to, generation, cause } => {
                let turned = Breaker { state: to, since: now, generation, cause };
                let known = self.breakers.entry(circuit).or_insert_with(|| turned.clone());
                // An older period's fact that was overtaken on its way changes nothing.
                if generation >= known.generation {
                    *known = turned;
                }
            }
            Change::LaneFull(lane) => remember(&mut self.full_lanes, lane, now, NAMES_KEPT_MAX),
            // Of several limits, one that refuses says more than another's soft mark.
            Change::Marked { name: "soft", .. } if self.mark.as_ref().is_some_and(Mark::blocks) => {}
            Change::Marked { name, used, limit } => {
                self.mark = Some(Mark { name, used, limit, since: now, seen: now, lifted: false });
            }
            Change::Letters(letters) => self.letters = letters,
            Change::Overdue(call) => remember(&mut self.overdue, call, now, OVERDUE_KEPT_MAX),
            Change::Ended(call) => drop(self.overdue.remove(&call)),
            Change::Restarted(actor) => {
                self.parked.remove(&actor);
                self.window.add(now, &Counts { restarts: 1, ..Counts::default() });
            }
            Change::Parked(actor, cause) => {
                if self.parked.len() < NAMES_KEPT_MAX {
                    self.parked.insert(actor, cause);
                }
            }
            Change::Down(cause) => self.down = Some((now, cause)),
            Change::Up => {
                self.down = None;
                self.parked.clear();
            }
        }
    }

    fn count(&mut self, now: Instant, counts: &Counts) {
        self.window.add(now, counts);
        if counts.by_budget == 0 {
            return;
        }
        if let Some(mark) = &mut self.mark {
            mark.seen = now;
            mark.lifted = false;
        }
    }

    fn attempted(&mut self, now: Instant, counts: &Counts, succeeded: Option<Timestamp>, elapsed: Duration) {
        self.window.add(now, counts);
        let Some(at) = succeeded else { return };
        self.last_success = Some(at);
        let Some(mark) = &mut self.mark else { return };
        // The call was sent well after the last sign of an empty budget, so the budget admits again.
        if mark.blocks() && now.saturating_duration_since(mark.seen) > MARK_GRACE.saturating_add(elapsed) {
            mark.lifted = true;
        }
    }

    pub(super) fn overdue(&self, now: Instant) -> u64 {
        self.overdue.values().filter(|at| now.saturating_duration_since(**at) < OVERDUE_KEPT).count() as u64
    }

    /// The lanes that were full within `window`, by name.
    pub(super) fn full_lanes(&self, now: Instant, window: Duration) -> impl Iterator<Item = &LaneId> {
        let recent = move |at: &Instant| now.saturating_duration_since(*at) < window;
        self.full_lanes.iter().filter(move |(_, at)| recent(at)).map(|(lane, _)| lane)
    }

    fn moves(&self, now: Instant, window: Duration) -> bool {
        self.breakers.values().any(|breaker| breaker.state != BreakerState::Closed)
            || self.down.is_some()
            || self.mark.as_ref().is_some_and(|mark| mark.speaks(now))
            || !self.window.is_empty(now)
            || self.overdue(now) > 0
            || self.full_lanes(now, window).next().is_some()
    }
}

/// Inserts, and forgets the oldest when there are more than `limit`.
fn remember<K: Ord + Clone>(known: &mut BTreeMap<K, Instant>, key: K, now: Instant, limit: usize) {
    known.insert(key, now);
    if known.len() <= limit {
        return;
    }
    let oldest = known.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        known.remove(&oldest);
    }
}

/// Whom a fact is about, and what it says of them.
fn read(event: &Event) -> Option<(VendorId, Change)> {
    let (vendor, change) = match &event.fact {
        Fact::AttemptEnded { vendor, class, elapsed_ms, .. } => {
            let succeeded = (class.verdict() == Verdict::Healthy).then_some(event.at);
            let elapsed = Duration::from_millis(*elapsed_ms);
            (vendor, Change::Attempted { counts: of_attempt(*class), succeeded, elapsed })
        }
        Fact::Refused { vendor, by, .. } => (vendor, Change::Counted(of_refusal(*by)?)),
        Fact::CallEnded { vendor, call, state } if !matches!(state, FinalState::Unknown | FinalState::Lost) => {
            (vendor, Change::Ended(*call))
        }
        Fact::BreakerChanged { vendor, circuit, to, generation, cause, .. } => {
            let (circuit, cause) = (circuit.clone(), cause.clone());
            (vendor, Change::BreakerTurned { circuit, to: *to, generation: *generation, cause })
        }
        Fact::LaneSaturated { vendor, lane, .. } => (vendor, Change::LaneFull(lane.clone())),
        // A tenant that used up its share says nothing of the vendor.
        Fact::BudgetMarked { vendor, which, used, limit, mark } if which.whose == Whose::Account => {
            (vendor, Change::Marked { name: mark, used: *used, limit: *limit })
        }
        Fact::LettersCounted { vendor, letters } => (vendor, Change::Letters(*letters)),
        Fact::Reprocessed { vendor, call, .. } => (vendor, Change::Ended(*call)),
        Fact::GivenUp { vendor, .. } => (vendor, Change::Counted(Counts { given_up: 1, ..Counts::default() })),
        Fact::CallbackOverdue { vendor, call } => (vendor, Change::Overdue(*call)),
        Fact::VendorDown { vendor, cause } => (vendor, Change::Down(cause.clone())),
        Fact::VendorUp { vendor } => (vendor, Change::Up),
        Fact::ActorRestarted { actor, .. } => return Some((owner(actor)?, Change::Restarted(actor.clone()))),
        Fact::ActorParked { actor, cause } => {
            return Some((owner(actor)?, Change::Parked(actor.clone(), cause.clone())));
        }
        _ => return None,
    };
    Some((vendor.clone(), change))
}

fn of_attempt(class: Class) -> Counts {
    let none = Counts::default();
    match class.verdict() {
        Verdict::Healthy => Counts { healthy: 1, ..none },
        Verdict::Failing => Counts { failing: 1, ..none },
        Verdict::Silent => Counts {
            credentials: u64::from(class == Class::Auth),
            throttled: u64::from(class == Class::Throttled),
            ..none
        },
    }
}

/// The gateway, guardrails and the table of keys refuse calls that are wrong in themselves; that says nothing of the vendor.
fn of_refusal(by: Guard) -> Option<Counts> {
    let none = Counts::default();
    match by {
        Guard::Breaker => Some(Counts { by_breaker: 1, ..none }),
        Guard::Budget => Some(Counts { by_budget: 1, ..none }),
        Guard::Lane | Guard::Gate => Some(Counts { by_lane: 1, ..none }),
        Guard::Supervisor => Some(Counts { by_supervisor: 1, ..none }),
        Guard::Gateway | Guard::Guardrail | Guard::Idempotency | Guard::Client => None,
    }
}

/// The vendor an actor belongs to: the first part of its path.
fn owner(actor: &ActorId) -> Option<VendorId> {
    let (vendor, _) = actor.as_str().split_once('/')?;
    VendorId::new(vendor).ok()
}
