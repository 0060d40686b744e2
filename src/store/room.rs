//! Room on the disk: a file that keeps some for an emergency, and what is written when there is no more.
//!
//! ```text
//!   enough --engine: full--> short (the file is given up: ends are written, beginnings refused)
//!      ^                       |  ^
//!      |    the file is kept   |  | opened again
//!      +-----------------------+  |
//!                              full (nothing is written) <-- engine: full again, or cannot be opened
//! ```

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mainstay_actors::{clock, store::WriteSet};

/// The file, in the data directory.
const RESERVE: &str = "reserve";

/// The same while it is written.
const HALF_KEPT: &str = "reserve.part";

/// First and longest pause between two looks for space.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Written at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file of no use but its size.
#[derive(Debug)]
pub(super) struct Reserve {
    dir: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// The reserve of a data directory; none when it has no size.
    pub(super) fn of(dir: &Path, bytes: u64) -> Option<Self> {
        (bytes > 0).then(|| Self { dir: dir.to_owned(), bytes })
    }

    /// True when there was something to give up.
    pub(super) fn give_up(&self) -> bool {
        let half = fs::remove_file(self.dir.join(HALF_KEPT)).is_ok();
        fs::remove_file(self.dir.join(RESERVE)).is_ok() || half
    }

    /// Keeps the room, if there is `spare` more.
    fn keep(&self, spare: u64) -> io::Result<()> {
        let (half, whole) = (self.dir.join(HALF_KEPT), self.dir.join(RESERVE));
        if fs::metadata(&whole).is_ok_and(|meta| meta.len() == self.bytes) {
            return Ok(());
        }
        let kept = self.fill(&half, spare).and_then(|()| fs::rename(&half, whole));
        if kept.is_err() {
            let _ = fs::remove_file(half); // what was taken is given back
        }
        kept
    }

    fn fill(&self, path: &Path, spare: u64) -> io::Result<()> {
        let mut file = File::create(path)?;
        let mut left = self.bytes + spare;
        while left > 0 {
            let some = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all(ZEROS.get(..some).unwrap_or(&ZEROS))?;
            left -= some as u64;
        }
        file.set_len(self.bytes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Enough,
    Short,
    Full,
}

/// How much is left, as far as it is known.
#[derive(Debug)]
pub(super) struct Room {
    reserve: Option<Reserve>,
    stage: Stage,
    pause: Duration,
    again: Instant,
}

impl Room {
    pub(super) fn new(reserve: Option<Reserve>) -> Self {
        Self { reserve, stage: Stage::Enough, pause: PAUSE_MIN, again: clock::now() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.stage == Stage::Full
    }

    /// Whether there is room for the set, as far as it is known.
    pub(super) fn has_place_for(&self, set: &WriteSet) -> bool {
        match self.stage {
            Stage::Enough => true,
            Stage::Short => !set.is_beginning,
            Stage::Full => false,
        }
    }

    /// Keeps the reserve at the start. `false`: there is no space for it.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let kept = self.reserve.as_ref().map_or(Ok(()), |reserve| reserve.keep(0));
        if let Err(error) = &kept {
            tracing::warn!(target: "mainstay::store", %error, "no room can be kept for a full disk");
        }
        let no_space = kept.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        if no_space {
            self.now_short();
            self.wait(now);
        }
        !no_space
    }

    /// Keeps the reserve again. As much again must be free, or else the disk would be full once more in a moment.
    pub(super) fn keep_again(&self) -> io::Result<()> {
        self.reserve.as_ref().map_or(Ok(()), |reserve| reserve.keep(reserve.bytes))
    }

    /// True when that made room.
    pub(super) fn give_up(&self) -> bool {
        self.reserve.as_ref().is_some_and(Reserve::give_up)
    }

    pub(super) fn now_enough(&mut self) {
        self.stage = Stage::Enough;
    }

    pub(super) fn now_short(&mut self) {
        self.stage = Stage::Short;
    }

    pub(super) fn now_full(&mut self) {
        self.stage = Stage::Full;
    }

    /// It was enough for a group: the next emergency is a new one.
    pub(super) fn proved(&mut self) {
        if self.stage == Stage::Enough {
            self.pause = PAUSE_MIN;
        }
    }

    /// The next look for space comes later, each time later still.
    pub(super) fn wait(&mut self, now: Instant) {
        self.again = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// How long until space is looked for; `None` when there is enough.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        (self.stage != Stage::Enough).then(|| self.again.saturating_duration_since(now))
    }
}
