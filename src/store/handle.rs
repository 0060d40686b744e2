//! The way to the store for everybody but its thread.

use std::{
    collections::VecDeque,
    fmt, io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use mainstay_actors::{
    kernel::Hazard,
    store::{Engine, Row, Store, StoreError, StoreState, Table, Waiting, WriteSet},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::{
    backups,
    config::StoreConfig,
    room::Reserve,
    status::{Shared, StoreStatus},
    watch,
    writer::{Answer, Job, StoreWriter},
};

/// Jobs that may wait. At 1,000 senders a group is about 600 sets and takes 20 ms, so this is a quarter of a second of work.
pub const QUEUE_MAX: usize = 8192;
/// Bytes of write sets that may wait.
pub const QUEUE_MAX_BYTES: usize = 64 << 20;

/// What the thread of a store takes care of beside its engine.
#[derive(Debug)]
pub(super) struct Care {
    pub(super) reserve: Option<Reserve>,
    pub(super) hang_after: Duration,
    pub(super) backups: Option<backups::Plan>,
}

impl Default for Care {
    fn default() -> Self {
        Self { reserve: None, hang_after: StoreConfig::default().hang_after, backups: None }
    }
}

enum Way {
    Thread(RwLock<Option<mpsc::SyncSender<Job>>>),
    Inline(Box<Mutex<StoreWriter>>),
}

/// The way to the store, cheap to clone. A write is queued when it is asked for, not when its future is polled: writes are
/// committed in the order of the calls, and dropping the future takes none back.
#[derive(Clone)]
pub struct StoreHandle {
    way: Arc<Way>,
    shared: Arc<Shared>,
}

impl StoreHandle {
    /// Gives the engine a thread of its own, which ends after [`Self::close`] or when the last handle is dropped. Nothing is
    /// kept in reserve for a full disk.
    pub fn spawn(engine: impl Engine + 'static) -> io::Result<(Self, JoinHandle<()>)> {
        Self::spawn_with(engine, Care::default())
    }

    pub(super) fn spawn_with(engine: impl Engine + 'static, care: Care) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let writer = StoreWriter::new(Box::new(engine), care.reserve, care.backups, shared.clone());
        let watched = watch::start(shared.clone(), care.hang_after)?;
        let thread = std::thread::Builder::new().name("mainstay-store".into()).spawn(move || {
            writer.run(&inbox);
            drop(watched);
        })?;
        Ok((Self { way: Arc::new(Way::Thread(RwLock::new(Some(jobs)))), shared }, thread))
    }

    /// Runs the engine on the caller's thread: for tests on a paused clock, which would run ahead of another thread.
    pub fn inline(engine: impl Engine + 'static) -> Self {
        Self::inline_with(engine, None, None)
    }

    pub(super) fn inline_with(
        engine: impl Engine + 'static,
        reserve: Option<Reserve>,
        backups: Option<backups::Plan>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut writer = StoreWriter::new(Box::new(engine), reserve, backups, shared.clone());
        writer.begin();
        Self { way: Arc::new(Way::Inline(Box::new(Mutex::new(writer)))), shared }
    }

    /// Takes no more. What was accepted is finished, then the engine is closed and its thread ends; join it to know.
    pub fn close(&self) {
        match &*self.way {
            Way::Thread(jobs) => drop(jobs.write().take()),
            Way::Inline(writer) => writer.lock().close(),
        }
    }

    /// Copies everything into an empty directory, step by step while others commit: the copy is the store as it was when this
    /// is answered. One at a time.
    pub fn backup(&self, dir: PathBuf) -> Waiting<'static, Answer<()>> {
        let (ack, answer) = oneshot::channel();
        self.send(Job::Backup { dir, ack }, answer)
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> Waiting<'static, Answer<u64>> {
        self.ask(|engine| Ok(engine.disk_bytes()))
    }

    /// What is seen of the store; asks nobody.
    pub fn status(&self) -> StoreStatus {
        self.shared.status()
    }

    /// Tells somebody of each change of its state; the first who asks for it.
    pub(crate) fn tell(&self, listener: impl Fn(StoreState, Arc<str>) + Send + Sync + 'static) {
        self.shared.tell(Box::new(listener));
    }

    /// Seats a fault injector; the first one stays.
    pub(crate) fn seat(&self, hazard: Arc<dyn Hazard>) {
        self.shared.seat(hazard);
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
        // Before the look whether it hangs: whoever is let through then hears of it.
        let hangs = self.shared.hangs.clone().notified_owned();
        if let Err(e) = self.queue(job) {
            return Box::pin(async move { Err(e) });
        }
        let shared = self.shared.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = answer => answer.unwrap_or_else(|_| Err(ended())),
                () = hangs => Err(shared.answers().err().unwrap_or_else(|| StoreError::Unavailable("it hung".into()))),
            }
        })
    }

    fn queue(&self, job: Job) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.answers()?;
        let jobs = match &*self.way {
            Way::Inline(writer) => {
                let mut writer = writer.lock();
                writer.tend();
                writer.serve(std::iter::once(job));
                writer.finish_backup();
                return Ok(());
            }
            Way::Thread(jobs) => jobs.read(),
        };
        let Some(jobs) = &*jobs else { return Err(StoreError::Unavailable("it was closed".into())) };
        let bytes = job.bytes();
        let held = shared.queued_bytes.fetch_add(bytes, Relaxed);
        if held > 0 && held + bytes > QUEUE_MAX_BYTES {
            shared.queued_bytes.fetch_sub(bytes, Relaxed);
            return Err(StoreError::Unavailable(format!("queue full: {held} of {QUEUE_MAX_BYTES} bytes wait")));
        }
        shared.queued.fetch_add(1, Relaxed);
        jobs.try_send(job).map_err(|refused| {
            shared.took(1, bytes);
            match refused {
                mpsc::TrySendError::Full(_) => {
                    StoreError::Unavailable(format!("queue full: {QUEUE_MAX} writes and reads wait"))
                }
                mpsc::TrySendError::Disconnected(_) => ended(),
            }
        })
    }
}

impl Store for StoreHandle {
    fn commit(&self, set: WriteSet) -> Waiting<'static, Answer<()>> {
        let (ack, answer) = oneshot::channel();
        let late_by = self.shared.delay_write(&set);
        let answered = self.send(Job::Commit { set, ack }, answer);
        if late_by.is_zero() {
            return answered;
        }
        Box::pin(async move {
            let answer = answered.await;
            tokio::time::sleep(late_by).await;
            answer
        })
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
        write!(f, "StoreHandle({} queued)", self.shared.queued.load(Relaxed))
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("its thread has ended".into())
}
