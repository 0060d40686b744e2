//! The bus of facts: a bounded ring for those who look later, a broadcast for those who listen, and the wiring's own ears.

use std::{collections::VecDeque, sync::Arc};

use mainstay_actors::{
    clock::Clock,
    fact::{Event, Fact, FactSink},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;

/// How many of the last facts are kept for the snapshot. Attempts, ended calls and counts are not among them: they are counted.
pub const EVENTS_KEPT: usize = 1_000;

/// How far a subscriber may fall behind before it misses some; the gap shows in `seq`.
pub const SUBSCRIBER_BACKLOG: usize = 4_096;

type Ear = Box<dyn Fn(&Event) + Send + Sync>;

struct Inner {
    clock: Clock,
    state: Mutex<(u64, VecDeque<Event>)>,
    broadcast: broadcast::Sender<Event>,
    ears: RwLock<Vec<Ear>>,
}

/// The bus. Stating a fact never waits for anybody.
#[derive(Clone)]
pub(crate) struct FactBus(Arc<Inner>);

impl FactBus {
    pub(crate) fn new(clock: Clock) -> Self {
        let (broadcast, _) = broadcast::channel(SUBSCRIBER_BACKLOG);
        let state = Mutex::new((0, VecDeque::with_capacity(64)));
        Self(Arc::new(Inner { clock, state, broadcast, ears: RwLock::default() }))
    }

    /// Adds one of the wiring's ears: it must not block, and must not state facts.
    pub(crate) fn listen(&self, ear: impl Fn(&Event) + Send + Sync + 'static) {
        self.0.ears.write().push(Box::new(ear));
    }

    /// Takes the wiring's ears off: they hold doors, and doors hold mailboxes.
    pub(crate) fn deafen(&self) {
        self.0.ears.write().clear();
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.broadcast.subscribe()
    }

    /// The last facts, oldest first.
    pub(crate) fn recent(&self) -> Vec<Event> {
        self.0.state.lock().1.iter().cloned().collect()
    }
}

/// Facts that come with every call would drive everything else out of the ring.
fn is_rare(fact: &Fact) -> bool {
    !matches!(
        fact,
        Fact::AttemptEnded { .. }
            | Fact::CallEnded { .. }
            | Fact::Refused { .. }
            | Fact::LettersCounted { .. }
            | Fact::Probed { .. }
    )
}

impl FactSink for FactBus {
    fn state(&self, fact: Fact) {
        let inner = &*self.0;
        let at = inner.clock.wall();
        // Held until everybody has it: or else a fact of another thread overtakes this one, and its reader sees a gap.
        let mut state = inner.state.lock();
        state.0 += 1;
        let event = Event { seq: state.0, at, fact };
        if is_rare(&event.fact) {
            if state.1.len() >= EVENTS_KEPT {
                state.1.pop_front();
            }
            state.1.push_back(event.clone());
        }
        for ear in inner.ears.read().iter() {
            ear(&event);
        }
        // No subscriber is no error.
        let _ = inner.broadcast.send(event);
    }
}

#[cfg(test)]
mod tests {
    use mainstay_actors::{fact::FinalState, ids::VendorId};

    use super::*;

    #[test]
    fn facts_of_many_threads_reach_subscribers_and_ears_in_their_order_and_without_a_gap() {
        let bus = FactBus::new(Clock::default());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        bus.listen(move |event| ear.lock().push(event.seq));
        let mut facts = bus.subscribe();
        let call = "00000000-0000-4000-8000-000000000000".parse().unwrap();
        let fact = || Fact::CallEnded { vendor: VendorId::new("clay").unwrap(), call, state: FinalState::Delivered };
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| (0..1_000).for_each(|_| bus.state(fact())));
            }
        });
        let seqs: Vec<u64> = std::iter::from_fn(|| facts.try_recv().ok()).map(|event| event.seq).collect();
        let expected: Vec<u64> = (1..=4_000).collect();
        assert!(seqs == expected, "out of order from {:?}", seqs.iter().zip(&expected).find(|(a, b)| a != b));
        assert!(*heard.lock() == expected);
    }
}
