//! Where actors live: a thread with an actix system of its own, or the caller's own thread.

use std::{
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use actix::System;
use tokio::sync::mpsc;

use crate::clock;

/// How often a worker thread shows that it turns.
const BEAT: Duration = Duration::from_millis(20);

type Job = Box<dyn FnOnce() + Send>;

/// The heartbeat of a worker's thread.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    last_ms: AtomicU64,
    beats: bool,
}

impl Pulse {
    fn new(beats: bool) -> Self {
        Self { origin: clock::now(), last_ms: AtomicU64::new(0), beats }
    }

    fn beat(&self) {
        let gone = clock::now().saturating_duration_since(self.origin);
        self.last_ms.store(u64::try_from(gone.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long the thread has not turned; zero for a worker on the caller's own thread, which has no pulse.
    pub fn silent_for(&self, now: Instant) -> Duration {
        if !self.beats {
            return Duration::ZERO;
        }
        let last = self.origin + Duration::from_millis(self.last_ms.load(Relaxed));
        now.saturating_duration_since(last)
    }
}

/// A place to run actors and tasks on. Cheap to clone; a thread of its own ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    pulse: Arc<Pulse>,
    name: Arc<str>,
}

impl Worker {
    /// Starts a thread with an actix system of its own. It needs no system or runtime around it, so it can be started from
    /// a plain `#[tokio::main]`.
    pub fn thread(name: &str) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let pulse = Arc::new(Pulse::new(true));
        let beating = pulse.clone();
        let handle = std::thread::Builder::new().name(name.into()).spawn(move || {
            System::new().block_on(async move {
                tokio::task::spawn_local(async move {
                    loop {
                        beating.beat();
                        tokio::time::sleep(BEAT).await;
                    }
                });
                serve(inbox).await;
            });
        })?;
        Ok((Self { jobs, pulse, name: name.into() }, handle))
    }

    /// Uses the current thread, which must be inside a `LocalSet`: for tests, and for embedding on the caller's thread.
    pub fn here(name: &str) -> Self {
        let (jobs, inbox) = mpsc::unbounded_channel();
        tokio::task::spawn_local(serve(inbox));
        Self { jobs, pulse: Arc::new(Pulse::new(false)), name: name.into() }
    }

    /// Runs a job on the worker's thread. A job that panics harms nobody else. After the thread's end jobs are dropped.
    ///
    /// The queue of jobs has no bound of its own: jobs are launches, bounded by the restart limits, and attempt loops and
    /// requests, bounded by admission.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.jobs.send(Box::new(job));
    }

    /// The thread's heartbeat.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The thread's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// True when both are the same place.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pulse, &other.pulse)
    }
}

async fn serve(mut inbox: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = inbox.recv().await {
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// The seam for tasks: attempt loops and requests.
pub trait Spawn: Send + Sync {
    /// Runs a future to its end.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);
}

impl Spawn for tokio::runtime::Handle {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(tokio::runtime::Handle::spawn(self, task));
    }
}

impl Spawn for Worker {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.run(move || drop(tokio::task::spawn_local(task)));
    }
}
