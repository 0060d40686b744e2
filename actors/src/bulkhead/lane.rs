//! The rule of one lane: who runs, who waits, who is refused. Pure, and it does not know what waits.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    config::LaneConfig,
    control::{ChangeError, InForce, LaneChange},
    message::Circuits,
    queue::{Arrival, Out, Queue, Refused, later},
    snapshot::LaneSnapshot,
};
use crate::{
    ids::{Circuit, GrantId, LaneId, VendorId},
    refusal::{Guard, Reason, Refusal},
};

/// A full queue is told of at most once in this time, with the number refused.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The waits that the percentiles are taken from.
const RECENT_WAITS: usize = 128;

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum LaneStep {
    /// Say how many a full queue refused.
    Tell(u64),
    /// Take one out.
    Out {
        /// Which one.
        seq: u64,
        /// What it is told.
        refusal: Refusal,
    },
    /// Give one a permit.
    Run {
        /// Which one.
        seq: u64,
    },
    /// Nothing, until a message comes or [`Lane::next_deadline`].
    Rest,
}

/// What a step did.
#[derive(Debug)]
pub enum LaneStepped<T> {
    /// So many were refused because the queue is full, since this was last told.
    Tell(u64),
    /// One comes out.
    Out(Out<T>),
    /// One has its permit.
    Run {
        /// The item.
        item: T,
        /// Its permit's number.
        grant: GrantId,
    },
    /// Nothing was to be done.
    Rest,
}

/// One lane: its permits, and who waits for them.
#[derive(Debug)]
pub struct Lane<T> {
    force: InForce<LaneConfig>,
    queue: Queue<T>,
    running: BTreeSet<GrantId>,
    next_grant: u64,
    waits: Waits,
    refused: Refused,
    dispatched: u64,
    untold: u64,
    quiet_until: Option<Instant>,
}

impl<T> Lane<T> {
    /// An empty lane.
    pub fn new(config: LaneConfig) -> Self {
        Self {
            force: InForce::new(config),
            queue: Queue::new(),
            running: BTreeSet::new(),
            next_grant: 0,
            waits: Waits::default(),
            refused: Refused::default(),
            dispatched: 0,
            untold: 0,
            quiet_until: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &LaneId {
        &self.force.config.name
    }

    /// Permits that may be given out now. A lane that is paused has none, nor has one that was lowered under those that run.
    fn free(&self) -> usize {
        if self.force.paused.is_some() {
            return 0;
        }
        self.force.config.concurrency.saturating_sub(self.running.len())
    }

    /// One whose circuit is open.
    fn shut_out(&self, now: Instant, circuits: &Circuits) -> Option<(u64, Refusal)> {
        circuits.shut(now).find_map(|(circuit, refusal)| Some((self.queue.first_of(circuit)?, refusal)))
    }

    /// Finds a place for an arrival.
    pub fn decide_arrive(
        &self,
        circuit: &Circuit,
        now: Instant,
        circuits: &Circuits,
        wanted: &dyn Fn(&T) -> bool,
    ) -> Arrival {
        if let Some(refusal) = circuits.refusal(circuit, now) {
            return Arrival::Refuse(refusal);
        }
        // Free permits are places too: the steps that follow fill them from the queue.
        let (held, limit) = (self.queue.len(), self.force.config.queue_max);
        let room = held < limit.saturating_add(self.free());
        let full = || Reason::Full { what: "queue of the lane", held, limit };
        self.queue.decide_place(room, now, wanted, Guard::Lane, full)
    }

    /// Takes the arrival in, or hands it back; in its place one that left may come out.
    pub fn apply_arrive(
        &mut self,
        item: T,
        circuit: Circuit,
        deadline: Instant,
        now: Instant,
        arrival: Arrival,
    ) -> Option<Out<T>> {
        self.untold += u64::from(matches!(arrival, Arrival::Full { .. }));
        let patience = later(now, self.force.config.wait_max);
        let out = self.queue.apply_place(item, circuit, now, deadline.min(patience), arrival);
        if let Some(out) = &out {
            self.refused.note(&out.refusal);
        }
        out
    }

    fn take_out(&mut self, seq: u64, refusal: Refusal) -> LaneStepped<T> {
        let Some(waiting) = self.queue.remove(seq) else { return LaneStepped::Rest };
        self.refused.note(&refusal);
        LaneStepped::Out(Out { item: waiting.item, refusal })
    }

    /// Finds the one thing to do next.
    pub fn decide_step(&self, now: Instant, circuits: &Circuits, wanted: &dyn Fn(&T) -> bool) -> LaneStep {
        if self.untold > 0 && self.quiet_until.is_none_or(|until| until <= now) {
            return LaneStep::Tell(self.untold);
        }
        let Some((first_seq, first)) = self.queue.first() else { return LaneStep::Rest };
        if let Some((seq, refusal)) = self.shut_out(now, circuits) {
            return LaneStep::Out { seq, refusal };
        }
        if let Some((seq, late)) = self.queue.overdue(now) {
            return LaneStep::Out { seq, refusal: late.overdue(now, Guard::Lane, self.force.paused.as_ref()) };
        }
        if self.free() == 0 {
            return LaneStep::Rest;
        }
        if wanted(&first.item) {
            LaneStep::Run { seq: first_seq }
        } else {
            LaneStep::Out { seq: first_seq, refusal: first.overdue(now, Guard::Lane, None) }
        }
    }

    /// Does it.
    pub fn apply_step(&mut self, now: Instant, step: LaneStep) -> LaneStepped<T> {
        match step {
            LaneStep::Tell(refused) => {
                self.untold = 0;
                self.quiet_until = Some(later(now, TELL_EVERY));
                LaneStepped::Tell(refused)
            }
            LaneStep::Out { seq, refusal } => self.take_out(seq, refusal),
            LaneStep::Run { seq } => self.run(seq, now),
            LaneStep::Rest => LaneStepped::Rest,
        }
    }

    fn run(&mut self, seq: u64, now: Instant) -> LaneStepped<T> {
        let Some(waiting) = self.queue.remove(seq) else { return LaneStepped::Rest };
        let grant = GrantId(self.next_grant);
        self.next_grant += 1;
        self.running.insert(grant);
        self.dispatched += 1;
        self.waits.note(now.saturating_duration_since(waiting.entered));
        LaneStepped::Run { item: waiting.item, grant }
    }

    /// What is in force after a change.
    pub fn decide_change(&self, change: LaneChange) -> Result<InForce<LaneConfig>, ChangeError> {
        self.force.with(change)
    }

    /// Puts it in force. Returns in words what is different now, if anything is.
    pub fn apply_change(&mut self, force: InForce<LaneConfig>) -> Option<Arc<str>> {
        let news = force.news(&self.force);
        self.force = force;
        news
    }

    /// Takes a permit back. False when it was back already, or never given.
    pub fn release(&mut self, grant: GrantId) -> bool {
        self.running.remove(&grant)
    }

    /// When there is something to do next without a message; `now` when it is overdue.
    pub fn next_deadline(&self, now: Instant, circuits: &Circuits) -> Option<Instant> {
        if !self.queue.is_empty() && (self.free() > 0 || self.shut_out(now, circuits).is_some()) {
            return Some(now);
        }
        let tell = (self.untold > 0).then(|| self.quiet_until.unwrap_or(now));
        self.queue.next_due().into_iter().chain(tell).min()
    }

    /// What others may see.
    pub fn snapshot(&self, vendor: &VendorId, now: Instant, circuits: &Circuits) -> LaneSnapshot {
        let oldest = self.queue.first().map(|(_, first)| now.saturating_duration_since(first.entered));
        let (p50, p95) = self.waits.percentiles();
        LaneSnapshot {
            vendor: vendor.clone(),
            lane: self.force.config.name.clone(),
            paused: self.force.paused.clone(),
            concurrency: self.force.config.concurrency,
            running: self.running.len(),
            queued: self.queue.len(),
            queue_max: self.force.config.queue_max,
            refused_total: self.refused.refused,
            expired_total: self.refused.expired,
            dispatched_total: self.dispatched,
            oldest_wait_ms: oldest.map_or(0, millis),
            wait_p50_ms: p50,
            wait_p95_ms: p95,
            wait_max_ms: self.waits.longest_ms,
            closed_by: circuits.snapshot(now),
        }
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// How long those that ran had waited.
#[derive(Debug, Default)]
struct Waits {
    recent_ms: VecDeque<u64>,
    longest_ms: u64,
}

impl Waits {
    fn note(&mut self, wait: Duration) {
        let ms = millis(wait);
        self.longest_ms = self.longest_ms.max(ms);
        if self.recent_ms.len() == RECENT_WAITS {
            self.recent_ms.pop_front();
        }
        self.recent_ms.push_back(ms);
    }

    /// The 50th and the 95th of the recent ones.
    fn percentiles(&self) -> (u64, u64) {
        let mut sorted: Vec<u64> = self.recent_ms.iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(rank).copied().unwrap_or(0)
        };
        (at(50), at(95))
    }
}

#[cfg(test)]
mod tests;
