//! What the application itself saw of its calls: its own book, kept beside the runtime's.

use std::collections::BTreeMap;

use mainstay::{CallId, Fact, FinalState};
use parking_lot::Mutex;

/// The application's book.
#[derive(Debug, Default)]
pub struct History(Mutex<Book>);

/// One state of the book.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Offered to the runtime.
    pub offered: u64,
    /// Refused with a reason.
    pub refused: u64,
    /// Where each accepted call stands: by its receipt first, and by the facts that moved it later. `None`: not ended yet.
    pub calls: BTreeMap<String, Option<FinalState>>,
    /// Circuit breaker changes, in words.
    pub breakers: Vec<String>,
    /// Callbacks that arrived.
    pub callbacks: u64,
    /// Callbacks that named no open effect: those that came twice.
    pub callbacks_not_open: u64,
}

impl History {
    pub fn offered(&self) {
        self.0.lock().offered += 1;
    }

    pub fn refused(&self) {
        self.0.lock().refused += 1;
    }

    pub fn accepted(&self, call: CallId) {
        self.0.lock().calls.entry(call.to_string()).or_default();
    }

    pub fn callback(&self, open: bool) {
        let mut book = self.0.lock();
        book.callbacks += 1;
        if !open {
            book.callbacks_not_open += 1;
        }
    }

    /// Refused in the end, after it was taken on: nothing of it is kept.
    pub fn refused_later(&self, call: CallId) {
        let mut book = self.0.lock();
        book.calls.remove(&call.to_string());
        book.refused += 1;
    }

    /// A fact that came by.
    pub fn hear(&self, at: f64, fact: &Fact) {
        match fact {
            Fact::CallEnded { call, state, .. } => {
                self.0.lock().calls.insert(call.to_string(), Some(*state));
            }
            Fact::BreakerChanged { vendor, from, to, cause, .. } => {
                self.0.lock().breakers.push(format!("{at:5.1} s  {vendor:<7} {from} -> {to}: {cause}"));
            }
            _ => {}
        }
    }

    pub fn book(&self) -> Book {
        self.0.lock().clone()
    }
}

impl Book {
    /// How many accepted calls stand in a state.
    pub fn count(&self, state: FinalState) -> u64 {
        self.calls.values().filter(|known| **known == Some(state)).count() as u64
    }
}
