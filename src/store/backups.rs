//! Backups by the store's own thread: every now and then, or when asked for.
//!
//! ```text
//!   backup-20260102T030405Z.part  --whole and on the disk-->  backup-20260102T030405Z
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use mainstay_actors::{
    clock::Clock,
    store::{Engine, StoreError, WriteSet},
};
use tokio::sync::oneshot;

use super::{
    config::BackupConfig,
    copying::Copying,
    guard,
    status::{BackupStatus, Shared},
    writer::Answer,
};

const PREFIX: &str = "backup-";
const PART: &str = ".part";
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// After one that failed, the next try comes no later than this.
const AGAIN: Duration = Duration::from_secs(600);

/// Where and how often.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) dir: PathBuf,
    pub(super) config: BackupConfig,
    pub(super) clock: Clock,
}

impl Plan {
    /// None when no directory is named.
    pub(super) fn of(config: &BackupConfig, clock: &Clock) -> Option<Self> {
        let dir = config.dir.clone()?;
        Some(Self { dir, config: config.clone(), clock: clock.clone() })
    }

    /// So long after the last whole one.
    fn first(&self) -> Instant {
        let newest = whole(&self.dir).ok().and_then(|found| time_of(found.first()?));
        let due = newest.and_then(|at| at.checked_add(self.config.every).ok());
        due.map_or_else(|| self.clock.now(), |due| self.clock.instant_of(due))
    }

    fn begin(&self) -> Result<Copying, StoreError> {
        let unusable = |e| guard::unusable(&self.dir, &e);
        fs::create_dir_all(&self.dir).map_err(unusable)?;
        for half in named(&self.dir, |name| name.ends_with(PART)).map_err(unusable)? {
            fs::remove_dir_all(half).map_err(unusable)?; // of a process that ended meanwhile
        }
        Copying::begin(&self.dir.join(format!("{PREFIX}{}{PART}", self.clock.wall().strftime(TIME))))
    }

    /// The half-written one is whole now; the oldest beyond the number that is kept go.
    fn keep(&self, half: &Path) -> io::Result<PathBuf> {
        let path = half.with_extension("");
        fs::rename(half, &path)?;
        fs::File::open(&self.dir)?.sync_all()?;
        for old in whole(&self.dir)?.into_iter().skip(self.config.keep) {
            fs::remove_dir_all(old)?;
        }
        Ok(path)
    }
}

/// Whole backups, the newest first.
pub(super) fn whole(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = named(dir, |name| !name.ends_with(PART))?;
    found.retain(|path| time_of(path).is_some());
    found.sort_unstable();
    found.reverse();
    Ok(found)
}

fn named(dir: &Path, fits: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let ours = |name: &str| name.starts_with(PREFIX) && fits(name);
    Ok(entries.iter().filter(|entry| ours(&entry.file_name().to_string_lossy())).map(fs::DirEntry::path).collect())
}

fn time_of(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let time = jiff::civil::DateTime::strptime(TIME, name).ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(time).ok()
}

enum For {
    Plan(PathBuf),
    Asker(oneshot::Sender<Answer<()>>),
}

/// The copy under way, and when the next one is due.
#[derive(Default)]
pub(super) struct Backups {
    plan: Option<(Plan, Instant)>,
    under_way: Option<(Copying, For)>,
}

impl Backups {
    pub(super) fn new(plan: Option<Plan>) -> Self {
        Self { plan: plan.map(|plan| (plan.first(), plan)).map(|(first, plan)| (plan, first)), under_way: None }
    }

    /// How long until there is something to do.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        if self.under_way.is_some() {
            return Some(Duration::ZERO);
        }
        self.plan.as_ref().map(|(_, due)| due.saturating_duration_since(now))
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Somebody asks for one.
    pub(super) fn ask(&mut self, dir: &Path, ack: oneshot::Sender<Answer<()>>) {
        let begun = match &self.under_way {
            Some(_) => Err(StoreError::Unavailable("another backup is under way: ask again when it is done".into())),
            None => Copying::begin(dir),
        };
        match begun {
            Ok(copying) => self.under_way = Some((copying, For::Asker(ack))),
            Err(error) => drop(ack.send(Err(error))), // who asked may be gone
        }
    }

    /// A group was committed while a copy is under way.
    pub(super) fn follow(&mut self, store: &dyn Engine, group: &[WriteSet], shared: &Shared) {
        if let Some((copying, _)) = &mut self.under_way
            && let Err(error) = copying.follow(store, group)
        {
            self.end(Err(error), shared);
        }
    }

    /// Goes one step further, or begins.
    pub(super) fn step(&mut self, store: &dyn Engine, shared: &Shared) {
        if let Some((copying, _)) = &mut self.under_way {
            return match copying.step(store) {
                Ok(false) => {}
                done => self.end(done.map(drop), shared),
            };
        }
        let Some((plan, due)) = &mut self.plan else { return };
        let now = plan.clock.now();
        *due = now + plan.config.every;
        match plan.begin() {
            Ok(copying) => {
                let half = copying.dir().to_owned();
                self.under_way = Some((copying, For::Plan(half)));
            }
            Err(error) => self.failed(&error, shared),
        }
    }

    /// The store may have changed unseen: what is under way would be no copy of it.
    pub(super) fn give_up(&mut self, shared: &Shared) {
        if self.under_way.is_some() {
            self.end(Err(StoreError::Unavailable("the store was in trouble meanwhile".into())), shared);
        }
    }

    fn end(&mut self, done: Result<(), StoreError>, shared: &Shared) {
        let Some((copying, whose)) = self.under_way.take() else { return };
        let dir = copying.dir().to_owned();
        let mut done = done.and_then(|()| copying.finish());
        if done.is_err() {
            let _ = fs::remove_dir_all(&dir); // a half copy is of no use to anybody
        }
        match (whose, &self.plan) {
            (For::Asker(ack), _) => drop(ack.send(done)), // who asked may be gone
            (For::Plan(half), Some((plan, _))) => {
                let kept = done.and_then(|()| plan.keep(&half).map_err(|e| guard::unusable(&plan.dir, &e)));
                match kept {
                    Ok(path) => {
                        tracing::info!(target: "mainstay::store", backup = %path.display(), "the store was backed up");
                        shared.backed_up(BackupStatus { at: plan.clock.wall(), path: Some(path), problem: None });
                        return;
                    }
                    Err(error) => done = Err(error),
                }
                if let Err(error) = done {
                    self.failed(&error, shared);
                }
            }
            (For::Plan(_), None) => {}
        }
    }

    fn failed(&mut self, error: &StoreError, shared: &Shared) {
        let Some((plan, due)) = &mut self.plan else { return };
        *due = plan.clock.now() + plan.config.every.min(AGAIN);
        tracing::error!(target: "mainstay::store", %error, dir = %plan.dir.display(), "the store could not be backed up");
        let problem = Some(error.to_string().into());
        shared.backed_up(BackupStatus { at: plan.clock.wall(), path: None, problem });
    }
}
