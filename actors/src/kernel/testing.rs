//! The overseer of the concerns' own tests, where no supervision tree stands around the actor.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use super::{Exit, Overseer, Verdict};
use crate::ids::ActorId;

/// Restarts whatever ends. A report that is set aside fails the test, unless it is tolerant.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    after: Duration,
    tolerant: bool,
    set_aside: AtomicU32,
}

impl Restarts {
    pub(crate) fn at_once() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn after(after: Duration) -> Arc<Self> {
        Arc::new(Self { after, ..Self::default() })
    }

    /// At once, and a report that is set aside is only counted.
    pub(crate) fn tolerant() -> Arc<Self> {
        Arc::new(Self { tolerant: true, ..Self::default() })
    }

    pub(crate) fn reports_set_aside(&self) -> u32 {
        self.set_aside.load(SeqCst)
    }
}

impl Overseer for Restarts {
    fn on_exit(&self, _: &ActorId, _: &Exit) -> Verdict {
        Verdict::Restart { after: self.after }
    }

    fn on_start(&self, _: &ActorId, _: u64) {}

    fn on_report_set_aside(&self, child: &ActorId, attempts: u32) {
        self.set_aside.fetch_add(1, SeqCst);
        assert!(self.tolerant, "{child} set a report aside after {attempts} attempts");
    }
}
