//! The thread that owns the engine.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use mainstay_actors::{
    clock, outcome,
    store::{Engine, StoreError, StoreState, WriteSet},
};
use tokio::sync::oneshot;

use super::{
    backups::{self, Backups},
    room::{Reserve, Room},
    status::Shared,
};

/// Jobs in one group.
pub const GROUP_MAX: usize = 1024;
/// Bytes in one group; a larger set is committed alone.
pub const GROUP_MAX_BYTES: usize = 1 << 20;

pub(super) type Answer<T> = Result<T, StoreError>;
type Reading = Box<dyn FnOnce(Answer<&dyn Engine>) + Send>;

pub(super) enum Job {
    Commit { set: WriteSet, ack: oneshot::Sender<Answer<()>> },
    Read(Reading),
    Backup { dir: PathBuf, ack: oneshot::Sender<Answer<()>> },
}

impl Job {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Commit { set, .. } => set.bytes(),
            Self::Read(_) | Self::Backup { .. } => 0,
        }
    }
}

/// The owner of an engine. It lives on a thread of its own, or under a lock for tests on a paused clock.
pub(super) struct StoreWriter {
    /// None after a panic, or after closing.
    engine: Option<Box<dyn Engine>>,
    /// Why there is no engine any more.
    ended: String,
    room: Room,
    backups: Backups,
    shared: Arc<Shared>,
}

impl StoreWriter {
    pub(super) fn new(
        engine: Box<dyn Engine>,
        reserve: Option<Reserve>,
        backups: Option<backups::Plan>,
        shared: Arc<Shared>,
    ) -> Self {
        let (room, backups) = (Room::new(reserve), Backups::new(backups));
        Self { engine: Some(engine), ended: String::new(), room, backups, shared }
    }

    /// Keeps room for a full disk.
    pub(super) fn begin(&mut self) {
        if !self.room.begin(clock::now()) {
            self.shared.change(StoreState::Short, SHORT);
        }
    }

    /// Takes jobs until nobody can send any more.
    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        self.begin();
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            self.tend();
            let first = match self.wakes_in() {
                None => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                Some(pause) => inbox.recv_timeout(pause),
            };
            let first = match first {
                Ok(first) => first,
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut bytes = first.bytes();
            group.push(first);
            while group.len() < GROUP_MAX && bytes < GROUP_MAX_BYTES {
                let Ok(job) = inbox.try_recv() else { break };
                bytes += job.bytes();
                group.push(job);
            }
            self.shared.took(group.len(), bytes);
            self.serve(group.drain(..));
        }
    }

    /// When there is something to do without being asked.
    fn wakes_in(&self) -> Option<Duration> {
        self.engine.as_ref()?;
        let now = clock::now();
        // A copy would take the room that is missing.
        self.room.due_in(now).or_else(|| self.backups.due_in(now))
    }

    /// Does what is due without being asked.
    pub(super) fn tend(&mut self) {
        if self.wakes_in() != Some(Duration::ZERO) {
            return;
        }
        self.shared.busy();
        let now = clock::now();
        match self.room.due_in(now) {
            Some(_) => self.look_for_space(now),
            None => self.guarded(|engine, backups, shared| backups.step(engine, shared)),
        }
        self.shared.idle();
    }

    /// Makes a copy that was asked for whole at once, where there is no thread to go on with it.
    pub(super) fn finish_backup(&mut self) {
        while self.engine.is_some() && self.backups.is_under_way() {
            self.guarded(|engine, backups, shared| backups.step(engine, shared));
        }
    }

    /// Something that only reads; a panic ends the store.
    fn guarded(&mut self, work: impl FnOnce(&dyn Engine, &mut Backups, &Shared)) {
        let Some(engine) = self.engine.as_deref() else { return };
        let (backups, shared) = (&mut self.backups, &*self.shared);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(engine, backups, shared))) {
            self.bury(&*panic);
        }
    }

    /// Commits what came as one group, acknowledges, then answers the reads: a read sees what was sent before it.
    pub(super) fn serve(&mut self, jobs: impl Iterator<Item = Job>) {
        let (mut sets, mut acks, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Commit { set, ack } => {
                    sets.push(set);
                    acks.push(ack);
                }
                Job::Read(read) => reads.push(read),
                Job::Backup { dir, ack } => self.backups.ask(&dir, ack),
            }
        }
        self.shared.busy();
        if !sets.is_empty() {
            let answers = self.commit(&sets);
            for (ack, answer) in acks.into_iter().zip(answers) {
                let _ = ack.send(answer); // whoever asked may have gone away; the write stands
            }
        }
        for read in reads {
            self.shared.busy();
            self.read(read);
        }
        self.shared.idle();
    }

    /// Commits; when the disk is full, once more with the room that was kept for that.
    fn commit(&mut self, sets: &[WriteSet]) -> Vec<Answer<()>> {
        if let Some(answers) = self.commit_what_fits(sets) {
            return answers;
        }
        let now = clock::now();
        if self.room.give_up() && self.reopen() {
            self.room.now_short();
            self.room.wait(now);
            self.shared.change(StoreState::Short, SHORT);
            if let Some(answers) = self.commit_what_fits(sets) {
                return answers;
            }
        }
        if self.engine.is_some() {
            self.room.now_full();
            self.room.wait(now);
            self.shared.change(StoreState::Full, FULL);
            return vec![Err(StoreError::Full); sets.len()];
        }
        vec![Err(self.unavailable()); sets.len()]
    }

    /// Commits the sets that there is room for. `None`: the engine found too little.
    fn commit_what_fits(&mut self, sets: &[WriteSet]) -> Option<Vec<Answer<()>>> {
        if sets.iter().all(|set| self.room.has_place_for(set)) {
            return self.commit_group(sets);
        }
        let fit: Vec<_> = sets.iter().filter(|set| self.room.has_place_for(set)).cloned().collect();
        let answers = if fit.is_empty() { Vec::new() } else { self.commit_group(&fit)? };
        let mut answers = answers.into_iter();
        let answer = |set| if self.room.has_place_for(set) { answers.next() } else { None };
        Some(sets.iter().map(answer).map(|answer| answer.unwrap_or(Err(StoreError::Full))).collect())
    }

    fn commit_group(&mut self, sets: &[WriteSet]) -> Option<Vec<Answer<()>>> {
        let Some(engine) = &mut self.engine else { return Some(vec![Err(self.unavailable()); sets.len()]) };
        let shared = &self.shared;
        let commit = || match shared.fail_write(sets) {
            Some(planned) => vec![Err(planned); sets.len()],
            None => engine.commit(sets),
        };
        match catch_unwind(AssertUnwindSafe(commit)) {
            Ok(answers) if answers.len() == sets.len() => {
                self.note(&answers);
                if answers.iter().any(Result::is_ok) {
                    self.guarded(|engine, backups, shared| backups.follow(engine, sets, shared));
                }
                (!answers.contains(&Err(StoreError::Full))).then_some(answers)
            }
            Ok(answers) => {
                let odd = StoreError::Engine(format!("answered {} of {} sets", answers.len(), sets.len()));
                Some(vec![Err(odd); sets.len()])
            }
            Err(panic) => {
                self.bury(&*panic);
                Some(vec![Err(self.unavailable()); sets.len()])
            }
        }
    }

    fn note(&mut self, answers: &[Answer<()>]) {
        let fine = answers.iter().filter(|answer| answer.is_ok()).count();
        self.shared.counted(fine as u64);
        if fine > 0 {
            self.room.proved();
        }
        let failed = answers.iter().find_map(|answer| match answer {
            Ok(()) | Err(StoreError::Precondition { .. } | StoreError::ValueTooLarge { .. }) => None,
            Err(e) => Some(e),
        });
        if let Some(error) = failed {
            tracing::error!(target: "mainstay::store", %error, sets = answers.len(), "the store could not commit a group");
            self.shared.remember(&error.to_string());
            self.backups.give_up(&self.shared);
        }
    }

    fn read(&mut self, read: Reading) {
        let Some(engine) = self.engine.as_deref() else { return read(Err(self.unavailable())) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| read(Ok(engine)))) {
            self.bury(&*panic);
        }
    }

    /// Gets going again after a full disk, as far as there is space.
    fn look_for_space(&mut self, now: Instant) {
        if self.room.is_full() {
            if !self.reopen() {
                return self.room.wait(now);
            }
            self.room.now_short();
            self.shared.change(StoreState::Short, SHORT);
        }
        match self.room.keep_again() {
            Ok(()) => {
                self.room.now_enough();
                self.shared.change(StoreState::Working, "there is space on the disk again: the store goes on");
            }
            Err(_) => self.room.wait(now),
        }
    }

    /// Closes and opens the engine. `false`: not now. Files that turn out damaged end the store.
    fn reopen(&mut self) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        match catch_unwind(AssertUnwindSafe(|| engine.reopen())) {
            Ok(Ok(())) => true,
            Ok(Err(error @ (StoreError::Damaged(_) | StoreError::Format { .. }))) => {
                self.end(error.to_string());
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(target: "mainstay::store", %error, "the store cannot be opened again yet");
                self.shared.remember(&error.to_string());
                false
            }
            Err(panic) => {
                self.bury(&*panic);
                false
            }
        }
    }

    /// After a panic the engine cannot be trusted: it is dropped, and everybody hears why.
    fn bury(&mut self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        self.end(format!("the engine panicked: {}", text.unwrap_or("without a text")));
    }

    fn end(&mut self, cause: String) {
        self.ended = outcome::cut(cause);
        self.shared.remember(&self.ended);
        let detail = format!("the store has ended, nothing durable is possible until a restart: {}", self.ended);
        self.shared.change(StoreState::Ended, detail);
        self.backups.give_up(&self.shared);
        let engine = self.engine.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
    }

    /// Lets the engine go, without an accident.
    pub(super) fn close(&mut self) {
        self.ended = "it was closed".into();
        self.engine = None;
    }

    fn unavailable(&self) -> StoreError {
        StoreError::Unavailable(self.ended.clone())
    }
}

const SHORT: &str =
    "the disk is full: ends are written into the room that was kept for them, nothing new begins; free some space";
const FULL: &str = "the disk is full, and so is the room that was kept: nothing can be written; free some space";
