//! The bus of facts: a bounded ring for those who look later, a broadcast for those who listen, and the wiring's own ears.

use std::{collections::VecDeque, sync::Arc};

use mainstay_actors::{
    clock::Clock,
    fact::{Event, Fact, FactSink},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;

/// How many of the last facts are kept for the snapshot. Attempts and ended calls are not among them: they are counted.
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
    !matches!(fact, Fact::AttemptEnded { .. } | Fact::CallEnded { .. } | Fact::Refused { .. })
}

impl FactSink for FactBus {
    fn state(&self, fact: Fact) {
        let inner = &*self.0;
        let at = inner.clock.wall();
        let event = {
            let mut state = inner.state.lock();
            state.0 += 1;
            let event = Event { seq: state.0, at, fact };
            if is_rare(&event.fact) {
                if state.1.len() >= EVENTS_KEPT {
                    state.1.pop_front();
                }
                state.1.push_back(event.clone());
            }
            event
        };
        for ear in inner.ears.read().iter() {
            ear(&event);
        }
        // No subscriber is no error.
        let _ = inner.broadcast.send(event);
    }
}
