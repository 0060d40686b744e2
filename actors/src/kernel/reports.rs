//! Reports to a guard (a permit released, a reservation settled, an outcome to record) stay here until they are applied.
//!
//! A message that is lost with a panic can be sent again by its sender. A report has no sender any more: it is stated by a
//! grant that is going out of existence. So a report is not a message: it waits beside the mailbox and is removed only when
//! its handler has returned. It may therefore be delivered twice, and its receiver must apply it once (by grant id).

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Waker},
};

use parking_lot::Mutex;

/// A report that panics its guard this often is set aside, so that it cannot stop the guard for ever.
pub const REPORT_ATTEMPTS_MAX: u32 = 3;

struct Entry<R> {
    seq: u64,
    attempts: u32,
    report: R,
}

struct Queue<R> {
    waiting: VecDeque<Entry<R>>,
    next_seq: u64,
    /// Whom to wake, and which incarnation that is.
    waker: Option<(u64, Waker)>,
}

/// The queue of one guard. Its length is bounded by the grants that are out, which admission bounds.
pub struct Reports<R>(Arc<Mutex<Queue<R>>>);

impl<R: Clone> Reports<R> {
    /// An empty queue.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Queue { waiting: VecDeque::new(), next_seq: 0, waker: None })))
    }

    /// Adds a report and wakes the guard. Never blocks on the guard, never fails.
    pub fn push(&self, report: R) {
        let mut queue = self.0.lock();
        let seq = queue.next_seq;
        queue.next_seq += 1;
        queue.waiting.push_back(Entry { seq, attempts: 0, report });
        let waker = queue.waker.take();
        drop(queue);
        if let Some((_, waker)) = waker {
            waker.wake();
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The oldest report and how often it was begun, this time included. It stays in the queue until [`Self::applied`].
    ///
    /// A replaced incarnation that has not noticed yet may still look in; it must not be woken in its successor's place.
    pub(super) fn begin(&self, generation: u64, cx: &Context<'_>) -> Option<(u64, u32, R)> {
        let mut queue = self.0.lock();
        let Some(entry) = queue.waiting.front_mut() else {
            if queue.waker.as_ref().is_none_or(|(known, _)| *known <= generation) {
                queue.waker = Some((generation, cx.waker().clone()));
            }
            return None;
        };
        entry.attempts += 1;
        Some((entry.seq, entry.attempts, entry.report.clone()))
    }

    /// Removes a report that was applied, or set aside.
    pub(super) fn applied(&self, seq: u64) {
        let mut queue = self.0.lock();
        if queue.waiting.front().is_some_and(|entry| entry.seq == seq) {
            queue.waiting.pop_front();
        }
    }
}

impl<R: Clone> Default for Reports<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Clone for Reports<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R> fmt::Debug for Reports<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reports({} waiting)", self.0.lock().waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering::SeqCst},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicU32);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_replaced_incarnation_is_not_woken_in_its_successors_place() {
        let reports = Reports::<u8>::new();
        let (old, new) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let look = |generation, bell: &Arc<Bell>| {
            reports.begin(generation, &Context::from_waker(&Waker::from(bell.clone()))).is_none()
        };
        assert!(look(1, &old) && look(2, &new) && look(1, &old));
        reports.push(0);
        assert_eq!((old.0.load(SeqCst), new.0.load(SeqCst)), (0, 1));
    }

    #[test]
    fn a_report_stays_until_it_is_applied_and_counts_its_attempts() {
        let reports = Reports::<u8>::new();
        reports.push(7);
        let bell = Waker::from(Arc::new(Bell::default()));
        let begin = || reports.begin(1, &Context::from_waker(&bell));
        assert_eq!((begin(), begin()), (Some((0, 1, 7)), Some((0, 2, 7))));
        reports.applied(0);
        reports.applied(0);
        assert!(reports.is_empty() && begin().is_none());
    }
}
