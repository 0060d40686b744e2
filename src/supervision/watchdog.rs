//! A plain thread that sees when a worker's thread does not turn, and moves its actors to a spare one.
//!
//! ```text
//!   serving --silent too long, a spare is there--> left behind --turns again--> spare --another thread is stuck--> serving
//!      |
//!      +-- silent too long, no spare left --> on_fatal
//! ```
//!
//! A thread can not be killed, so one that is stuck is left behind. When it turns again nobody lives on it any more, and it
//! becomes a spare: so a handler that blocks for a while, again and again, is stopped by the restart limit, not by the number
//! of spares. The threads started here are detached; each ends when nobody lives on it and the watchdog is gone.

use std::{
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mainstay_actors::{clock, faults::Faults, kernel::Worker};
use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::tree::Tree;

/// The watchdog never looks more often than this.
const POLL_MIN: Duration = Duration::from_millis(25);

/// When a thread is stuck, and how many more there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogConfig {
    /// A thread that did not turn for this long is stuck: 200 ms..=5 min; default 2 s. No handler waits, so even 200 ms is a
    /// thousand times what one takes; 2 s leaves room for a machine that swaps or compiles. Looked at four times as often.
    #[serde(with = "mainstay_actors::duration")]
    pub hang_after: Duration,
    /// Threads started in place of stuck ones: 0..=16; default 2. After the last one the runtime can not go on.
    pub spares_max: usize,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self { hang_after: Duration::from_secs(2), spares_max: 2 }
    }
}

impl WatchdogConfig {
    /// Checks the ranges named at the fields.
    pub fn check(&self, faults: &mut Faults) {
        let allowed = Duration::from_millis(200)..=Duration::from_secs(300);
        faults.require(allowed.contains(&self.hang_after), "hang_after", || {
            format!("{:?} is not within 200 ms..=5 min", self.hang_after)
        });
        faults.require(self.spares_max <= 16, "spares_max", || format!("{} is not within 0..=16", self.spares_max));
    }

    fn poll(&self) -> Duration {
        (self.hang_after / 4).max(POLL_MIN)
    }
}

#[derive(Default)]
struct Bell {
    stopped: Mutex<bool>,
    rung: Condvar,
}

/// The running watchdog. Dropping it ends its thread at once and waits for that.
pub struct Watchdog {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts watching.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread.
    pub fn start(tree: Tree, workers: Vec<Worker>, config: WatchdogConfig) -> io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let heard = bell.clone();
        let watched = workers.into_iter().map(|worker| Watched { worker, state: State::Serving }).collect();
        let mut rounds = Rounds { tree, watched, started: 0, config };
        let thread = std::thread::Builder::new().name("mainstay-watchdog".into()).spawn(move || rounds.run(&heard))?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.bell.stopped.lock() = true;
        self.bell.rung.notify_all();
        // `on_fatal` runs on the watchdog's own thread and may drop it there; a thread can not wait for itself.
        let thread = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watchdog")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Actors live on it.
    Serving,
    /// It was stuck and its actors were moved; it has not turned since.
    LeftBehind,
    /// It turns, and nobody lives on it.
    Spare,
    /// It is stuck, no spare was left, and that was said.
    Hopeless,
}

struct Watched {
    worker: Worker,
    state: State,
}

struct Rounds {
    tree: Tree,
    /// Bounded: the workers given at the start, and `spares_max` more.
    watched: Vec<Watched>,
    started: usize,
    config: WatchdogConfig,
}

impl Rounds {
    fn run(&mut self, bell: &Bell) {
        let poll = self.config.poll();
        let mut stopped = bell.stopped.lock();
        while !*stopped {
            let asleep_since = clock::now();
            if !bell.rung.wait_for(&mut stopped, poll).timed_out() {
                continue;
            }
            // Late ourselves: the whole process stood still (suspended, starved), and the others have not had their turn yet.
            let late = clock::now().saturating_duration_since(asleep_since) > poll + self.config.hang_after / 2;
            if !late {
                MutexGuard::unlocked(&mut stopped, || self.round(clock::now()));
            }
        }
    }

    fn round(&mut self, now: Instant) {
        self.tree.say_left_out();
        for n in 0..self.watched.len() {
            let Some(Watched { worker, state }) = self.watched.get(n) else { return };
            let turns = worker.pulse().silent_for(now) < self.config.hang_after;
            let (worker, state) = (worker.clone(), *state);
            let next = match (state, turns) {
                (State::Serving, false) => self.rescue(&worker, now),
                (State::LeftBehind, true) => State::Spare,
                (State::Hopeless, true) => State::Serving,
                _ => state,
            };
            if let Some(known) = self.watched.get_mut(n) {
                known.state = next;
            }
        }
    }

    /// Moves everybody from a stuck thread to a spare one.
    fn rescue(&mut self, stuck: &Worker, now: Instant) -> State {
        if self.tree.living_on(stuck).is_empty() {
            return State::LeftBehind;
        }
        match self.spare(now) {
            Ok(spare) => {
                self.tree.evacuate(stuck, &spare);
                State::LeftBehind
            }
            Err(why) => {
                self.tree.state_stuck(stuck, 0);
                let thread = stuck.name();
                self.tree.fatal(format!("thread {thread} does not turn, and there is no spare thread: {why}").into());
                State::Hopeless
            }
        }
    }

    fn spare(&mut self, now: Instant) -> Result<Worker, String> {
        let lively = self.config.hang_after / 2;
        let idle = |known: &&mut Watched| known.state == State::Spare && known.worker.pulse().silent_for(now) < lively;
        if let Some(known) = self.watched.iter_mut().find(idle) {
            known.state = State::Serving;
            return Ok(known.worker.clone());
        }
        if self.started >= self.config.spares_max {
            return Err(format!("all {} were used", self.config.spares_max));
        }
        self.started += 1;
        let (worker, _detached) =
            Worker::thread(&format!("mainstay-spare-{}", self.started)).map_err(|error| error.to_string())?;
        self.watched.push(Watched { worker: worker.clone(), state: State::Serving });
        Ok(worker)
    }
}

#[cfg(test)]
mod tests;
