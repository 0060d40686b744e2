//! What health keeps of each vendor, and how a fact changes it. Pure: takes `now`, knows no clock and no channel.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    config::{HealthConfig, OVERDUE_KEPT_MAX},
    read::read,
    report::{Callbacks, HealthSnapshot, Status},
    score::{Counts, Window},
};
use crate::{
    credits::Credits,
    fact::{BreakerState, Event, LetterCounts},
    ids::{ActorId, CallId, Circuit, LaneId, OperationId, VendorId},
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

/// The last answer to the question whether the vendor is there.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) operation: OperationId,
    pub(super) works: bool,
    pub(super) detail: Arc<str>,
    pub(super) at: Instant,
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
    pub(super) probe: Option<Probe>,
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

/// One thing that a fact says of a vendor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Counted(Counts),
    Attempted { counts: Counts, succeeded: Option<Timestamp>, elapsed: Duration },
    BreakerTurned { circuit: Circuit, to: BreakerState, generation: u64, cause: Arc<str> },
    LaneFull(LaneId),
    Marked { name: &'static str, used: Credits, limit: Credits },
    Letters(LetterCounts),
    Probed { operation: OperationId, works: bool, detail: Arc<str> },
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
    pub fn moves(&self, now: Instant, callbacks: impl Fn(&VendorId) -> Callbacks) -> bool {
        self.vendors.iter().any(|(id, vendor)| vendor.moves(now, self.config.window) || callbacks(id).owed > 0)
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
            probe: None,
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
            Change::Probed { operation, works, detail } => {
                self.probe = Some(Probe { operation, works, detail, at: now });
            }
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
            || self.probe.is_some()
            || self.letters.pending() > 0
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
