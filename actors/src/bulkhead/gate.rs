//! The rule of the vendor's gate: slots and rate tokens over all lanes, by weighted turn. Pure.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    config::{CONCURRENCY_MAX, GateConfig, LaneConfig},
    control::{ChangeError, GateChange, InForce},
    message::Circuits,
    queue::{Arrival, Out, Queue, Refused, later},
    rate::Bucket,
    snapshot::{GateSnapshot, LineSnapshot},
    turns::Turns,
    window::WindowLog,
};
use crate::{
    grant::{Ending, GrantEnd, GrantReport},
    ids::{Circuit, GrantId, LaneId, VendorId},
    outcome::Class,
    refusal::{Guard, Reason, Refusal},
};

/// The longest pause that is kept because a vendor asks for it with a 429. Longer ones are the attempt's own affair: nobody
/// in the line would live to see their end.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum GateStep {
    /// Free a slot whose lease has run out.
    EndLease(GrantId),
    /// Take one out of a line.
    Out {
        /// The line.
        line: usize,
        /// Which one.
        seq: u64,
        /// What it is told.
        refusal: Refusal,
    },
    /// Give one a slot and a token.
    Grant {
        /// The line.
        line: usize,
        /// Which one.
        seq: u64,
    },
    /// Nothing, until a message comes or [`Gate::next_deadline`].
    Rest,
}

/// What a step did.
#[derive(Debug)]
pub enum GateStepped<T> {
    /// The lease of a slot ran out; the slot is free.
    LeaseEnded {
        /// Its grant.
        grant: GrantId,
        /// True when its end was reported as unknown; false when nothing was reported at all.
        unknown: bool,
    },
    /// One comes out.
    Out(Out<T>),
    /// One has a slot and a token.
    Granted {
        /// The item.
        item: T,
        /// Its grant's number.
        grant: GrantId,
    },
    /// Nothing was to be done.
    Rest,
}

#[derive(Debug)]
struct Line<T> {
    lane: LaneId,
    weight: u32,
    queue: Queue<T>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    until: Instant,
    unknown: bool,
}

/// The gate of one vendor.
#[derive(Debug)]
pub struct Gate<T> {
    force: InForce<GateConfig>,
    lines: Vec<Line<T>>,
    turns: Turns,
    /// The slots in use. All leases are equally long, so the first ends first.
    slots: BTreeMap<GrantId, Slot>,
    next_grant: u64,
    bucket: Option<Bucket>,
    window: Option<WindowLog>,
    paused_until: Option<Instant>,
    refused: Refused,
    returned_tokens: u64,
    leases_ended: u64,
}

impl<T> Gate<T> {
    /// An empty gate with a line for each lane.
    pub fn new(config: GateConfig, lanes: &[LaneConfig]) -> Self {
        let line = |lane: &LaneConfig| Line { lane: lane.name.clone(), weight: lane.weight, queue: Queue::new() };
        Self {
            lines: lanes.iter().map(line).collect(),
            turns: Turns::new(lanes.iter().map(|lane| lane.weight)),
            slots: BTreeMap::new(),
            next_grant: 0,
            bucket: config.rate.map(Bucket::new),
            window: config.window.map(WindowLog::new),
            paused_until: None,
            refused: Refused::default(),
            returned_tokens: 0,
            leases_ended: 0,
            force: InForce::new(config),
        }
    }

    fn waits(&self, line: usize) -> bool {
        self.lines.get(line).is_some_and(|line| !line.queue.is_empty())
    }

    /// One whose circuit is open, and its line.
    fn shut_out(&self, now: Instant, circuits: &Circuits) -> Option<(usize, u64, Refusal)> {
        circuits.shut(now).find_map(|(circuit, refusal)| {
            let in_line = |(at, line): (usize, &Line<T>)| Some((at, line.queue.first_of(circuit)?));
            let (at, seq) = self.lines.iter().enumerate().find_map(in_line)?;
            Some((at, seq, refusal))
        })
    }

    /// Finds a place for an arrival of this lane: its line, and what is to be done there.
    pub fn decide_arrive(
        &self,
        lane: &LaneId,
        circuit: &Circuit,
        now: Instant,
        circuits: &Circuits,
        wanted: &dyn Fn(&T) -> bool,
    ) -> (usize, Arrival) {
        if let Some(refusal) = circuits.refusal(circuit, now) {
            return (0, Arrival::Refuse(refusal));
        }
        let Some((at, line)) = self.lines.iter().enumerate().find(|(_, line)| line.lane == *lane) else {
            return (0, Arrival::Refuse(self.unknown_lane(lane)));
        };
        // A call that waits here holds a permit of its lane, so the lane's own bound is met first; questions are few.
        let (held, limit) = (line.queue.len(), CONCURRENCY_MAX);
        let full = || Reason::Full { what: "line of the vendor gate", held, limit };
        (at, line.queue.decide_place(held < limit, now, wanted, Guard::Gate, full))
    }

    fn unknown_lane(&self, lane: &LaneId) -> Refusal {
        let known: Vec<_> = self.lines.iter().map(|line| line.lane.as_str()).collect();
        let reason = Reason::UnknownName { what: "lane", name: lane.to_string(), known: known.join(", ") };
        Refusal::new(Guard::Gate, reason)
    }

    /// Takes the arrival in, or hands it back; in its place one that left may come out.
    pub fn apply_arrive(
        &mut self,
        item: T,
        circuit: Circuit,
        deadline: Instant,
        now: Instant,
        (at, arrival): (usize, Arrival),
    ) -> Option<Out<T>> {
        let patience = later(now, self.force.config.line_wait_max);
        let was_waiting = self.waits(at);
        let out = match (self.lines.get_mut(at), arrival) {
            (Some(line), arrival) => line.queue.apply_place(item, circuit, now, deadline.min(patience), arrival),
            (None, Arrival::Refuse(refusal)) => Some(Out { item, refusal }),
            (None, _) => None, // no arrival but a refusal has no line
        };
        if let Some(out) = &out {
            self.refused.note(&out.refusal);
        }
        if !was_waiting && self.waits(at) {
            self.turns.join(at);
        }
        out
    }

    /// Finds the one thing to do next.
    pub fn decide_step(&self, now: Instant, circuits: &Circuits, wanted: &dyn Fn(&T) -> bool) -> GateStep {
        if let Some((grant, _)) = self.slots.first_key_value().filter(|(_, slot)| slot.until <= now) {
            return GateStep::EndLease(*grant);
        }
        if let Some((line, seq, refusal)) = self.shut_out(now, circuits) {
            return GateStep::Out { line, seq, refusal };
        }
        for (at, line) in self.lines.iter().enumerate() {
            if let Some((seq, late)) = line.queue.overdue(now) {
                return GateStep::Out {
                    line: at,
                    seq,
                    refusal: late.overdue(now, Guard::Gate, self.force.paused.as_ref()),
                };
            }
        }
        if self.opens_at(now).is_none_or(|at| at > now) {
            return GateStep::Rest;
        }
        let line = self.turns.next(&|at| self.waits(at));
        let first = line.and_then(|at| Some((at, self.lines.get(at)?.queue.first()?)));
        match first {
            Some((line, (seq, first))) if wanted(&first.item) => GateStep::Grant { line, seq },
            Some((line, (seq, first))) => GateStep::Out { line, seq, refusal: first.overdue(now, Guard::Gate, None) },
            None => GateStep::Rest,
        }
    }

    /// When the next one may pass; `None` while every slot is in use, or an operator has paused the gate.
    fn opens_at(&self, now: Instant) -> Option<Instant> {
        if self.force.paused.is_some() || self.slots.len() >= self.force.config.cap {
            return None;
        }
        let token = self.bucket.as_ref().map(|bucket| bucket.ready_at(now));
        let place = self.window.as_ref().map(|window| window.ready_at(now));
        Some(token.into_iter().chain(place).chain(self.paused_until).fold(now, Instant::max))
    }

    /// Does it.
    pub fn apply_step(&mut self, now: Instant, step: GateStep) -> GateStepped<T> {
        match step {
            GateStep::EndLease(grant) => {
                let Some(slot) = self.slots.remove(&grant) else { return GateStepped::Rest };
                self.leases_ended += 1;
                GateStepped::LeaseEnded { grant, unknown: slot.unknown }
            }
            GateStep::Out { line, seq, refusal } => {
                let waiting = self.lines.get_mut(line).and_then(|line| line.queue.remove(seq));
                let Some(waiting) = waiting else { return GateStepped::Rest };
                self.refused.note(&refusal);
                GateStepped::Out(Out { item: waiting.item, refusal })
            }
            GateStep::Grant { line, seq } => self.grant(line, seq, now),
            GateStep::Rest => GateStepped::Rest,
        }
    }

    fn grant(&mut self, at: usize, seq: u64, now: Instant) -> GateStepped<T> {
        let lines = &self.lines;
        self.turns.took(at, &|at| lines.get(at).is_some_and(|line| !line.queue.is_empty()));
        let waiting = self.lines.get_mut(at).and_then(|line| line.queue.remove(seq));
        let Some(waiting) = waiting else { return GateStepped::Rest };
        let grant = GrantId(self.next_grant);
        self.next_grant += 1;
        self.slots.insert(grant, Slot { until: later(now, self.force.config.slot_lease), unknown: false });
        if let Some(bucket) = &mut self.bucket {
            bucket.take(grant, now);
        }
        if let Some(window) = &mut self.window {
            window.take(grant, now);
        }
        GateStepped::Granted { item: waiting.item, grant }
    }

    /// Applies a report, once: a second one finds no slot.
    pub fn apply_report(&mut self, report: &GrantReport, now: Instant) {
        let Some(slot) = self.slots.get_mut(&report.grant) else { return };
        match &report.end {
            // The vendor may still be at work: the slot stays until its lease runs out.
            GrantEnd::Unknown => slot.unknown = true,
            GrantEnd::Ended(ending) => {
                self.slots.remove(&report.grant);
                self.heed(ending, now);
            }
            GrantEnd::Unused => {
                self.slots.remove(&report.grant);
                let token = self.bucket.as_mut().is_some_and(|bucket| bucket.give_back(report.grant));
                let place = self.window.as_mut().is_some_and(|window| window.give_back(report.grant));
                self.returned_tokens += u64::from(token || place);
            }
        }
    }

    /// A vendor that says "too fast, come back then" is left alone until then, by all lanes.
    fn heed(&mut self, ending: &Ending, now: Instant) {
        let Some(pause) = ending.retry_after.filter(|_| ending.class == Class::Throttled) else { return };
        let until = later(now, pause.min(PAUSE_MAX));
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// What is in force after a change.
    pub fn decide_change(&self, change: GateChange) -> Result<InForce<GateConfig>, ChangeError> {
        self.force.with(change)
    }

    /// Puts it in force. Returns in words what is different now, if anything is.
    pub fn apply_change(&mut self, now: Instant, force: InForce<GateConfig>) -> Option<Arc<str>> {
        let news = force.news(&self.force);
        let (to, before) = (&force.config, &self.force.config);
        if to.rate != before.rate {
            self.bucket = to.rate.map(|rate| Bucket::changed(self.bucket.take(), rate, now));
        }
        if to.window != before.window {
            let log = self.window.take();
            self.window = to.window.map(|window| match log {
                Some(log) => log.changed(window),
                None => WindowLog::new(window),
            });
        }
        self.force = force;
        news
    }

    /// When there is something to do next without a message; `now` when it is overdue.
    pub fn next_deadline(&self, now: Instant, circuits: &Circuits) -> Option<Instant> {
        let lease = self.slots.first_key_value().map(|(_, slot)| slot.until);
        let due = self.lines.iter().filter_map(|line| line.queue.next_due()).min();
        if due.is_none() {
            return lease; // nobody waits
        }
        let opens = if self.shut_out(now, circuits).is_some() { Some(now) } else { self.opens_at(now) };
        lease.into_iter().chain(due).chain(opens).min()
    }

    /// What others may see.
    pub fn snapshot(&self, vendor: &VendorId, now: Instant, circuits: &Circuits) -> GateSnapshot {
        let line =
            |line: &Line<T>| LineSnapshot { lane: line.lane.clone(), weight: line.weight, waiting: line.queue.len() };
        let pause = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        GateSnapshot {
            vendor: vendor.clone(),
            paused: self.force.paused.clone(),
            cap: self.force.config.cap,
            in_use: self.slots.len(),
            leased_unknown: self.slots.values().filter(|slot| slot.unknown).count(),
            waiting: self.lines.iter().map(line).collect(),
            tokens: self.bucket.as_ref().map(|bucket| bucket.whole(now)),
            rate: self.force.config.rate.map(|rate| rate.per_second),
            burst: self.force.config.rate.map(|rate| rate.burst),
            window: self.force.config.window,
            window_left: self.window.as_ref().map(|window| window.left(now)),
            granted_total: self.next_grant,
            returned_tokens_total: self.returned_tokens,
            refused_total: self.refused.refused,
            expired_total: self.refused.expired,
            leases_ended_total: self.leases_ended,
            paused_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            closed_by: circuits.snapshot(now),
        }
    }
}

#[cfg(test)]
mod tests;
