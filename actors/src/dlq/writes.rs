//! Writes whose ends are reported, in the order in which the store was asked.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Change;
use crate::{
    kernel::Reports,
    store::{Store, StoreError, Waiting, WriteSet},
};

/// The way to the store for everything that changes a letter.
///
/// The store commits in the order of asking. Two ends of one letter may be under way at once, and tasks wake in any order: if
/// the first were reported last, the index would show what the disk does not hold. So each report waits for the one before.
#[derive(Clone)]
pub(super) struct Writes {
    pub(super) store: Arc<dyn Store>,
    reports: Reports<Change>,
    /// Ends when the last write was reported, or its task is gone.
    last: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

impl Writes {
    pub(super) fn new(store: Arc<dyn Store>, reports: Reports<Change>) -> Self {
        Self { store, reports, last: Arc::default() }
    }

    /// Writes, and reports the end whatever becomes of the actor meanwhile: applied on success, back as they were on failure.
    pub(super) fn commit(&self, set: WriteSet, changes: Vec<Change>) -> Waiting<'static, Result<(), StoreError>> {
        let (done, mine) = oneshot::channel();
        let (write, before) = {
            let mut last = self.last.lock();
            (self.store.commit(set), last.replace(mine))
        };
        let reports = self.reports.clone();
        Box::pin(async move {
            let result = write.await;
            if let Some(before) = before {
                let _: Result<(), _> = before.await; // reported, or its task is gone
            }
            for change in changes {
                reports.push(if result.is_ok() { change } else { Change::Back { seq: change.seq() } });
            }
            drop(done);
            result
        })
    }

    /// The letter is back as it was: what was wanted of it failed before anything was written.
    pub(super) fn back(&self, seq: u64) {
        self.reports.push(Change::Back { seq });
    }
}
