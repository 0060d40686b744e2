//! A bounded wait: first in, first out, each with a deadline, and each may leave from the middle. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    ids::Circuit,
    refusal::{Guard, Reason, Refusal},
};

/// How many waiting items an arrival at a full queue looks at for one that nobody wants any more. A longer queue is looked
/// through by several arrivals, each going on where the last one stopped, so an overload costs each of them the same.
const LOOK_MAX: usize = 512;

/// Longest time that is added to an instant; every configured time is shorter.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// `now` and a while; never overflows.
pub(super) fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(YEAR)
}

/// An item that comes out without having been run.
#[derive(Debug)]
pub struct Out<T> {
    /// The item.
    pub item: T,
    /// What its caller is told. For one that nobody wants any more, nobody hears it.
    pub refusal: Refusal,
}

/// What is to be done with an item that arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// It waits; the steps that follow run it if they can.
    Queue,
    /// It waits in place of one that leaves: nobody wants that one any more, or it waited too long.
    Replace {
        /// Which one leaves.
        seq: u64,
        /// What that one is told.
        refusal: Refusal,
    },
    /// Everybody who waits wants to, and there is no room.
    Full {
        /// Where the next look for one that left begins.
        looked_to: u64,
        /// What it is told.
        refusal: Refusal,
    },
    /// It is refused for another reason.
    Refuse(Refusal),
}

/// How many came out without having been run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    /// A full queue, an open breaker, an unknown lane.
    pub(super) refused: u64,
    /// Waited too long, or not wanted any more.
    pub(super) expired: u64,
}

impl Refused {
    pub(super) fn note(&mut self, refusal: &Refusal) {
        match refusal.reason {
            Reason::WaitedTooLong { .. } | Reason::Paused { .. } => self.expired += 1,
            _ => self.refused += 1,
        }
    }
}

/// An item that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) item: T,
    circuit: Circuit,
    pub(super) entered: Instant,
    pub(super) deadline: Instant,
}

impl<T> Waiting<T> {
    /// Its refusal because it waited too long, or its caller gave up. `paused`: why nothing started meanwhile.
    pub(super) fn overdue(&self, now: Instant, by: Guard, paused: Option<&Arc<str>>) -> Refusal {
        let waited = now.saturating_duration_since(self.entered);
        let limit = self.deadline.saturating_duration_since(self.entered);
        let reason = match paused {
            Some(why) => Reason::Paused { why: why.clone(), waited },
            None => Reason::WaitedTooLong { waited, limit },
        };
        Refusal::new(by, reason)
    }
}

/// The waiting items by their order of arrival.
#[derive(Debug)]
pub(super) struct Queue<T> {
    entries: BTreeMap<u64, Waiting<T>>,
    due: BTreeSet<(Instant, u64)>,
    /// Those of each circuit, so that one which opens finds its own at once.
    circuits: BTreeMap<Circuit, BTreeSet<u64>>,
    next: u64,
    looked_to: u64,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), due: BTreeSet::new(), circuits: BTreeMap::new(), next: 0, looked_to: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The one that has waited longest.
    pub(super) fn first(&self) -> Option<(u64, &Waiting<T>)> {
        self.entries.first_key_value().map(|(seq, waiting)| (*seq, waiting))
    }

    /// The one of this circuit that has waited longest.
    pub(super) fn first_of(&self, circuit: &Circuit) -> Option<u64> {
        self.circuits.get(circuit)?.first().copied()
    }

    /// The earliest deadline.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// One whose deadline has come.
    pub(super) fn overdue(&self, now: Instant) -> Option<(u64, &Waiting<T>)> {
        let (_, seq) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.entries.get(seq).map(|waiting| (*seq, waiting))
    }

    /// Finds room for an arrival, for which `room` would do. Those that left are looked for before it is refused with `full`.
    pub(super) fn decide_place(
        &self,
        room: bool,
        now: Instant,
        wanted: &dyn Fn(&T) -> bool,
        by: Guard,
        full: impl FnOnce() -> Reason,
    ) -> Arrival {
        if room {
            return Arrival::Queue;
        }
        match self.leaver(now, wanted) {
            Ok((seq, waiting)) => Arrival::Replace { seq, refusal: waiting.overdue(now, by, None) },
            Err(looked_to) => Arrival::Full { looked_to, refusal: Refusal::new(by, full()) },
        }
    }

    /// Takes an arrival in, or hands it back; in its place one that left may come out.
    pub(super) fn apply_place(
        &mut self,
        item: T,
        circuit: Circuit,
        entered: Instant,
        deadline: Instant,
        arrival: Arrival,
    ) -> Option<Out<T>> {
        match arrival {
            Arrival::Queue => {
                self.push(item, circuit, entered, deadline);
                None
            }
            Arrival::Replace { seq, refusal } => {
                let left = self.remove(seq);
                self.push(item, circuit, entered, deadline);
                left.map(|left| Out { item: left.item, refusal })
            }
            Arrival::Full { looked_to, refusal } => {
                self.looked_to = looked_to;
                Some(Out { item, refusal })
            }
            Arrival::Refuse(refusal) => Some(Out { item, refusal }),
        }
    }

    /// One that makes room: its deadline has come, or nobody wants it. Or else where to look the next time.
    fn leaver(&self, now: Instant, wanted: &dyn Fn(&T) -> bool) -> Result<(u64, &Waiting<T>), u64> {
        if let Some(late) = self.overdue(now) {
            return Ok(late);
        }
        let mut looked_to = self.looked_to;
        let round = self.entries.range(self.looked_to..).chain(self.entries.range(..self.looked_to));
        for (seq, waiting) in round.take(LOOK_MAX) {
            if !wanted(&waiting.item) {
                return Ok((*seq, waiting));
            }
            looked_to = seq + 1;
        }
        Err(looked_to)
    }

    fn push(&mut self, item: T, circuit: Circuit, entered: Instant, deadline: Instant) {
        self.due.insert((deadline, self.next));
        self.circuits.entry(circuit.clone()).or_default().insert(self.next);
        self.entries.insert(self.next, Waiting { item, circuit, entered, deadline });
        self.next += 1;
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Waiting<T>> {
        let waiting = self.entries.remove(&seq)?;
        self.due.remove(&(waiting.deadline, seq));
        if let Some(of_circuit) = self.circuits.get_mut(&waiting.circuit) {
            of_circuit.remove(&seq);
        }
        Some(waiting)
    }
}
