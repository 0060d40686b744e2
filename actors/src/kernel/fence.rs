//! Generations: an incarnation may act only while it is the current one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// The incarnation was replaced while it was at work. What it held is dropped, and dropping answers and gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this incarnation was replaced")]
pub struct Fenced;

/// One incarnation's licence to act.
#[derive(Debug, Clone)]
pub struct Fence {
    current: Arc<AtomicU64>,
    mine: u64,
}

impl Fence {
    pub(super) fn new(current: Arc<AtomicU64>, mine: u64) -> Self {
        Self { current, mine }
    }

    /// True until another incarnation is started.
    pub fn is_current(&self) -> bool {
        self.current.load(SeqCst) == self.mine
    }

    /// The incarnation's number.
    pub fn generation(&self) -> u64 {
        self.mine
    }
}
