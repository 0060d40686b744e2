//! What is seen of the store, and shared by its handles, its thread and its watchdog.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mainstay_actors::{
    clock,
    kernel::Hazard,
    store::{StoreError, StoreState, WriteSet},
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

/// What is seen of the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreStatus {
    /// How it is.
    pub state: StoreState,
    /// Why, when it does not work.
    pub cause: Option<Arc<str>>,
    /// Jobs that wait.
    pub queued: usize,
    /// Groups committed.
    pub groups: u64,
    /// Sets in them.
    pub sets: u64,
    /// For how long the present job has been under way; a flush that hangs shows here.
    pub busy_ms: u64,
    /// What the engine failed with last, if it ever did.
    pub last_error: Option<StoreFault>,
    /// What became of the last backup, of those that the store makes by itself.
    pub last_backup: Option<BackupStatus>,
}

/// A backup, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupStatus {
    /// When it was done, or failed.
    pub at: Timestamp,
    /// Where it is.
    pub path: Option<PathBuf>,
    /// Why it failed.
    pub problem: Option<Arc<str>>,
}

/// An error of the engine itself, with its count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreFault {
    /// In words.
    pub problem: Arc<str>,
    /// How many groups failed.
    pub count: u64,
}

type Listener = Box<dyn Fn(StoreState, Arc<str>) + Send + Sync>;

#[derive(Default)]
pub(super) struct Shared {
    pub(super) queued: AtomicUsize,
    pub(super) queued_bytes: AtomicUsize,
    groups: AtomicU64,
    sets: AtomicU64,
    /// Since when the job in hand has been under way.
    busy_since: Mutex<Option<Instant>>,
    last_error: Mutex<Option<StoreFault>>,
    last_backup: Mutex<Option<BackupStatus>>,
    /// How it is but for hanging, and why.
    state: Mutex<(StoreState, Arc<str>)>,
    /// Why it counts as hanging, while it does.
    hung: Mutex<Option<Arc<str>>>,
    /// Wakes all who wait when it begins to hang.
    pub(super) hangs: Arc<Notify>,
    listener: OnceLock<Listener>,
    hazard: OnceLock<Arc<dyn Hazard>>,
}

impl Shared {
    pub(super) fn status(&self) -> StoreStatus {
        let busy = *self.busy_since.lock();
        let busy = busy.map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since));
        let (mut state, mut cause) = self.state.lock().clone();
        if let Some(hangs) = self.hung.lock().clone() {
            (state, cause) = (StoreState::Hung, hangs);
        }
        StoreStatus {
            state,
            cause: (state != StoreState::Working).then_some(cause),
            queued: self.queued.load(Relaxed),
            groups: self.groups.load(Relaxed),
            sets: self.sets.load(Relaxed),
            busy_ms: u64::try_from(busy.as_millis()).unwrap_or(u64::MAX),
            last_error: self.last_error.lock().clone(),
            last_backup: self.last_backup.lock().clone(),
        }
    }

    /// Who hears of changes; the first one stays.
    pub(super) fn tell(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    /// Seats a fault injector; the first one stays.
    pub(super) fn seat(&self, hazard: Arc<dyn Hazard>) {
        let _ = self.hazard.set(hazard);
    }

    /// Why a group fails before the engine tries.
    pub(super) fn fail_write(&self, sets: &[WriteSet]) -> Option<StoreError> {
        self.hazard.get()?.fail_write(sets)
    }

    /// How much later than it is done a write is acknowledged.
    pub(super) fn delay_write(&self, set: &WriteSet) -> Duration {
        self.hazard.get().map_or(Duration::ZERO, |hazard| hazard.delay_write(set))
    }

    fn say(&self, state: StoreState, detail: Arc<str>) {
        if let Some(listener) = self.listener.get() {
            listener(state, detail);
        }
    }

    /// It is different now.
    pub(super) fn change(&self, state: StoreState, detail: impl Into<Arc<str>>) {
        let detail = detail.into();
        *self.state.lock() = (state, detail.clone());
        match state {
            StoreState::Working => tracing::info!(target: "mainstay::store", "{detail}"),
            StoreState::Short => tracing::warn!(target: "mainstay::store", "{detail}"),
            _ => tracing::error!(target: "mainstay::store", "{detail}"),
        }
        self.say(state, detail);
    }

    /// So much left the queue.
    pub(super) fn took(&self, jobs: usize, bytes: usize) {
        self.queued.fetch_sub(jobs, Relaxed);
        self.queued_bytes.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn counted(&self, sets: u64) {
        self.groups.fetch_add(1, Relaxed);
        self.sets.fetch_add(sets, Relaxed);
    }

    pub(super) fn remember(&self, problem: &str) {
        let mut last = self.last_error.lock();
        let count = last.as_ref().map_or(0, |fault| fault.count) + 1;
        *last = Some(StoreFault { problem: problem.into(), count });
    }

    pub(super) fn backed_up(&self, status: BackupStatus) {
        *self.last_backup.lock() = Some(status);
    }

    /// A job begins, or the next part of one.
    pub(super) fn busy(&self) {
        *self.busy_since.lock() = Some(clock::now());
    }

    /// Nothing is under way. If it seemed to hang, it came back.
    pub(super) fn idle(&self) {
        *self.busy_since.lock() = None;
        if self.hung.lock().take().is_none() {
            return;
        }
        let (state, _) = self.state.lock().clone();
        let detail: Arc<str> = "what the store hung in came back: it answers again".into();
        tracing::info!(target: "mainstay::store", "{detail}");
        self.say(state, detail);
    }

    /// Looks whether the job in hand takes longer than it may. Then all who wait are told.
    pub(super) fn look(&self, now: Instant, limit: Duration) {
        // Held, so that the job cannot end between the look and the verdict.
        let busy = self.busy_since.lock();
        let late = busy.is_some_and(|since| now.saturating_duration_since(since) > limit);
        if !late || self.hung.lock().is_some() {
            return;
        }
        let detail: Arc<str> =
            format!("a commit or a read has been under way for more than {limit:?}: the disk hangs").into();
        *self.hung.lock() = Some(detail.clone());
        drop(busy);
        self.hangs.notify_waiters();
        tracing::error!(target: "mainstay::store", "{detail}");
        self.say(StoreState::Hung, detail);
    }

    /// Refused at once while it hangs.
    pub(super) fn answers(&self) -> Result<(), StoreError> {
        let hung = self.hung.lock();
        hung.as_ref()
            .map_or(Ok(()), |why| Err(StoreError::Unavailable(format!("{why}; what was asked may still be done"))))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.status())
    }
}
