//! The thread that owns the engine, and the handle by which everybody else reaches it.

use std::{
    any::Any,
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mainstay_actors::{
    clock, outcome,
    store::{Engine, Row, Store, StoreError, Table, Waiting, WriteSet},
};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait. At 1,000 senders a group is about 600 sets and takes 20 ms, so this is a quarter of a second of work.
pub const QUEUE_MAX: usize = 8192;
/// Bytes of write sets that may wait.
pub const QUEUE_MAX_BYTES: usize = 64 << 20;
/// Jobs in one group.
pub const GROUP_MAX: usize = 1024;
/// Bytes in one group; a larger set is committed alone.
pub const GROUP_MAX_BYTES: usize = 1 << 20;

type Answer<T> = Result<T, StoreError>;
type Reading = Box<dyn FnOnce(Answer<&dyn Engine>) + Send>;

enum Job {
    Commit { set: WriteSet, ack: oneshot::Sender<Answer<()>> },
    Read(Reading),
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit { set, .. } => set.bytes(),
            Self::Read(_) => 0,
        }
    }
}

/// What is seen of the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreStatus {
    /// Jobs that wait.
    pub queued: usize,
    /// Groups committed.
    pub groups: u64,
    /// Sets in them.
    pub sets: u64,
    /// For how long the present group has been under way; a flush that hangs shows here.
    pub busy_ms: u64,
    /// What the engine failed with last, if it ever did.
    pub last_error: Option<StoreFault>,
}

/// An error of the engine itself, with its count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreFault {
    /// In words.
    pub problem: Arc<str>,
    /// How many groups failed.
    pub count: u64,
}

#[derive(Default)]
struct Figures {
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    groups: AtomicU64,
    sets: AtomicU64,
    busy_since: Mutex<Option<Instant>>,
    last_error: Mutex<Option<StoreFault>>,
}

/// The owner of an engine. It lives on a thread of its own, or under a lock for tests on a paused clock.
struct StoreWriter {
    engine: Option<Box<dyn Engine>>,
    /// Why there is no engine any more.
    ended: String,
    figures: Arc<Figures>,
}

impl StoreWriter {
    /// Commits what came as one group, acknowledges, then answers the reads: a read sees what was sent before it.
    fn serve(&mut self, jobs: impl Iterator<Item = Job>) {
        let (mut sets, mut acks, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Commit { set, ack } => {
                    sets.push(set);
                    acks.push(ack);
                }
                Job::Read(read) => reads.push(read),
            }
        }
        *self.figures.busy_since.lock() = Some(clock::now());
        if !sets.is_empty() {
            let answers = self.commit(&sets);
            for (ack, answer) in acks.into_iter().zip(answers) {
                let _ = ack.send(answer); // whoever asked may have gone away; the write stands
            }
        }
        for read in reads {
            self.read(read);
        }
        *self.figures.busy_since.lock() = None;
    }

    fn commit(&mut self, sets: &[WriteSet]) -> Vec<Answer<()>> {
        let Some(engine) = &mut self.engine else { return vec![Err(self.unavailable()); sets.len()] };
        match catch_unwind(AssertUnwindSafe(|| engine.commit(sets))) {
            Ok(answers) if answers.len() == sets.len() => {
                self.note(&answers);
                answers
            }
            Ok(answers) => {
                let odd = StoreError::Engine(format!("answered {} of {} sets", answers.len(), sets.len()));
                vec![Err(odd); sets.len()]
            }
            Err(panic) => {
                self.bury(&*panic);
                vec![Err(self.unavailable()); sets.len()]
            }
        }
    }

    fn note(&self, answers: &[Answer<()>]) {
        let fine = answers.iter().filter(|answer| answer.is_ok()).count();
        self.figures.groups.fetch_add(1, Relaxed);
        self.figures.sets.fetch_add(fine as u64, Relaxed);
        let failed = answers.iter().find_map(|answer| match answer {
            Ok(()) | Err(StoreError::Precondition { .. } | StoreError::ValueTooLarge { .. }) => None,
            Err(e) => Some(e),
        });
        if let Some(error) = failed {
            tracing::error!(target: "mainstay::store", %error, sets = answers.len(), "the store could not commit a group");
            self.remember(&error.to_string());
        }
    }

    fn remember(&self, problem: &str) {
        let mut last = self.figures.last_error.lock();
        let count = last.as_ref().map_or(0, |fault| fault.count) + 1;
        *last = Some(StoreFault { problem: problem.into(), count });
    }

    fn read(&mut self, read: Reading) {
        let Some(engine) = self.engine.as_deref() else { return read(Err(self.unavailable())) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| read(Ok(engine)))) {
            self.bury(&*panic);
        }
    }

    /// After a panic the engine cannot be trusted: it is dropped, and everybody hears why.
    fn bury(&mut self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        self.ended = outcome::cut(format!("the engine panicked: {}", text.unwrap_or("without a text")));
        tracing::error!(target: "mainstay::store", cause = %self.ended, "the store has ended, nothing durable is possible until a restart");
        self.remember(&self.ended);
        let engine = self.engine.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
    }

    fn unavailable(&self) -> StoreError {
        StoreError::Unavailable(self.ended.clone())
    }
}

enum Way {
    Thread(RwLock<Option<mpsc::Sender<Job>>>),
    Inline(Mutex<StoreWriter>),
}

/// The way to the store, cheap to clone. A write is queued when it is asked for, not when its future is polled: writes are
/// committed in the order of the calls, and dropping the future takes none back.
#[derive(Clone)]
pub struct StoreHandle {
    way: Arc<Way>,
    figures: Arc<Figures>,
}

impl StoreHandle {
    /// Gives the engine a thread of its own, which ends after [`Self::close`] or when the last handle is dropped.
    pub fn spawn(engine: impl Engine + 'static) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel(QUEUE_MAX);
        let figures = Arc::new(Figures::default());
        let writer = writer(engine, &figures);
        let thread = std::thread::Builder::new().name("mainstay-store".into()).spawn(move || run(writer, inbox))?;
        Ok((Self { way: Arc::new(Way::Thread(RwLock::new(Some(jobs)))), figures }, thread))
    }

    /// Runs the engine on the caller's thread: for tests on a paused clock, which would run ahead of another thread.
    pub fn inline(engine: impl Engine + 'static) -> Self {
        let figures = Arc::new(Figures::default());
        Self { way: Arc::new(Way::Inline(Mutex::new(writer(engine, &figures)))), figures }
    }

    /// Takes no more. What was accepted is finished, then the engine is closed and its thread ends; join it to know.
    pub fn close(&self) {
        match &*self.way {
            Way::Thread(jobs) => drop(jobs.write().take()),
            Way::Inline(writer) => {
                let mut writer = writer.lock();
                writer.ended = "it was closed".into();
                writer.engine = None;
            }
        }
    }

    /// Copies everything into an empty directory, a consistent copy: nothing is committed meanwhile.
    pub fn backup(&self, dir: PathBuf) -> Waiting<'static, Answer<()>> {
        self.ask(move |engine| engine.backup(&dir))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> Waiting<'static, Answer<u64>> {
        self.ask(|engine| Ok(engine.disk_bytes()))
    }

    /// What is seen of the store; asks nobody.
    pub fn status(&self) -> StoreStatus {
        let busy = *self.figures.busy_since.lock();
        let busy = busy.map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since));
        StoreStatus {
            queued: self.figures.queued.load(Relaxed),
            groups: self.figures.groups.load(Relaxed),
            sets: self.figures.sets.load(Relaxed),
            busy_ms: u64::try_from(busy.as_millis()).unwrap_or(u64::MAX),
            last_error: self.figures.last_error.lock().clone(),
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Engine) -> Answer<T> + Send + 'static,
    ) -> Waiting<'static, Answer<T>> {
        let (ack, answer) = oneshot::channel();
        let read = move |engine: Answer<&dyn Engine>| drop(ack.send(engine.and_then(question)));
        self.send(Job::Read(Box::new(read)), answer)
    }

    fn send<T: Send + 'static>(&self, job: Job, answer: oneshot::Receiver<Answer<T>>) -> Waiting<'static, Answer<T>> {
        if let Err(e) = self.queue(job) {
            return Box::pin(async move { Err(e) });
        }
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(ended())) })
    }

    fn queue(&self, job: Job) -> Result<(), StoreError> {
        let jobs = match &*self.way {
            Way::Inline(writer) => {
                writer.lock().serve(std::iter::once(job));
                return Ok(());
            }
            Way::Thread(jobs) => jobs.read(),
        };
        let Some(jobs) = &*jobs else { return Err(StoreError::Unavailable("it was closed".into())) };
        let bytes = job.bytes();
        let held = self.figures.queued_bytes.fetch_add(bytes, Relaxed);
        if held > 0 && held + bytes > QUEUE_MAX_BYTES {
            self.figures.queued_bytes.fetch_sub(bytes, Relaxed);
            return Err(StoreError::Unavailable(format!("queue full: {held} of {QUEUE_MAX_BYTES} bytes wait")));
        }
        self.figures.queued.fetch_add(1, Relaxed);
        jobs.try_send(job).map_err(|refused| {
            self.figures.queued.fetch_sub(1, Relaxed);
            self.figures.queued_bytes.fetch_sub(bytes, Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => {
                    StoreError::Unavailable(format!("queue full: {QUEUE_MAX} writes and reads wait"))
                }
                mpsc::error::TrySendError::Closed(_) => ended(),
            }
        })
    }
}

impl Store for StoreHandle {
    fn commit(&self, set: WriteSet) -> Waiting<'static, Answer<()>> {
        let (ack, answer) = oneshot::channel();
        self.send(Job::Commit { set, ack }, answer)
    }

    fn get(&self, table: Table, key: Vec<u8>) -> Waiting<'static, Answer<Option<Vec<u8>>>> {
        self.ask(move |engine| engine.get(table, &key))
    }

    fn scan(&self, table: Table, from: Vec<u8>, to: Vec<u8>, max: usize) -> Waiting<'static, Answer<VecDeque<Row>>> {
        self.ask(move |engine| engine.scan(table, &from, &to, max))
    }
}

impl fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreHandle({} queued)", self.figures.queued.load(Relaxed))
    }
}

fn writer(engine: impl Engine + 'static, figures: &Arc<Figures>) -> StoreWriter {
    StoreWriter { engine: Some(Box::new(engine)), ended: String::new(), figures: figures.clone() }
}

fn ended() -> StoreError {
    StoreError::Unavailable("its thread has ended".into())
}

fn run(mut writer: StoreWriter, mut inbox: mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while let Some(first) = inbox.blocking_recv() {
        let mut bytes = first.bytes();
        group.push(first);
        while group.len() < GROUP_MAX && bytes < GROUP_MAX_BYTES {
            let Ok(job) = inbox.try_recv() else { break };
            bytes += job.bytes();
            group.push(job);
        }
        writer.figures.queued.fetch_sub(group.len(), Relaxed);
        writer.figures.queued_bytes.fetch_sub(bytes, Relaxed);
        writer.serve(group.drain(..));
    }
}
