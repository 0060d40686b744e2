//! Which threads the actors live on.

use std::{io, panic::catch_unwind, sync::Arc, thread::JoinHandle};

use mainstay_actors::kernel::{Spawn, Worker};

/// Where actors, attempt loops and requests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The runtime's own threads, each with an actix system: one vendor's actors live together on one of them, vendors are
    /// spread over `threads`, and one more serves the runtime's own actors. Attempts and requests run on the tokio runtime of
    /// the caller. Works from a plain `#[tokio::main]` and from an actix system. The default, with one thread a core.
    Threads {
        /// Threads for vendors, 1 to 64.
        threads: usize,
    },
    /// Everything on the caller's own thread, which must be inside a `LocalSet` (`#[actix::main]` and `#[actix::test]` are).
    /// For tests under a paused clock, and for programs with one thread. A handler that hangs hangs everything.
    Local,
}

impl Default for Placement {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::Threads { threads: cores.clamp(1, 64) }
    }
}

/// The places of one runtime.
pub(crate) struct Places {
    vendors: Vec<Worker>,
    own: Worker,
    tasks: Arc<dyn Spawn>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

impl Places {
    pub(crate) fn open(placement: Placement) -> io::Result<Self> {
        let Placement::Threads { threads } = placement else {
            // Tokio has no way to ask for a `LocalSet` but to try.
            let here = catch_unwind(|| Worker::here("caller")).map_err(|_| {
                io::Error::other("Placement::Local needs a LocalSet around it, such as #[actix::main] has")
            })?;
            let tasks = Arc::new(here.clone());
            return Ok(Self { vendors: vec![here.clone()], own: here, tasks, threads: Vec::new() });
        };
        let tasks = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let mut handles = Vec::new();
        let mut start = |name: String| {
            let (worker, handle) = Worker::thread(&name)?;
            handles.push(handle);
            io::Result::Ok(worker)
        };
        let own = start("mainstay-own".into())?;
        let vendors = (0..threads).map(|n| start(format!("mainstay-{n}"))).collect::<io::Result<_>>()?;
        Ok(Self { vendors, own, tasks: Arc::new(tasks), threads: handles })
    }

    /// The thread of the `n`th vendor.
    pub(crate) fn vendor(&self, n: usize) -> Worker {
        let turn = n % self.vendors.len().max(1);
        self.vendors.get(turn).unwrap_or(&self.own).clone()
    }

    /// The thread of the runtime's own actors.
    pub(crate) fn own(&self) -> Worker {
        self.own.clone()
    }

    /// Where attempt loops and requests run.
    pub(crate) fn tasks(&self) -> Arc<dyn Spawn> {
        self.tasks.clone()
    }

    /// Every thread that has a pulse.
    pub(crate) fn watched(&self) -> Vec<Worker> {
        if self.threads.is_empty() {
            return Vec::new();
        }
        let mut all = self.vendors.clone();
        all.push(self.own.clone());
        all
    }
}
