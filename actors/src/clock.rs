//! The one reader of time, and the one source of randomness.
//!
//! Rules take `now` and read neither. Intervals are `Instant`s from tokio's clock, so that a paused tokio clock is the fake
//! clock; calendar time (budget days, stored records) comes through [`WallClock`], because an `Instant` cannot be stored and
//! a wall clock may step.

#[cfg(feature = "runtime")]
use std::time::Instant;
use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::ids::CallId;

/// The monotonic time: tokio's, so `tokio::time::pause` and `advance` move it.
#[cfg(feature = "runtime")]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Calendar time, for budget days and stored records.
pub trait WallClock: Send + Sync {
    /// The present moment.
    fn wall(&self) -> Timestamp;
}

/// The operating system's calendar.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWall;

impl WallClock for SystemWall {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the calendar")]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A calendar that starts where it is told and goes on with the monotonic clock: under a paused clock, time travel.
#[cfg(feature = "runtime")]
#[derive(Debug, Clone, Copy)]
pub struct SteadyWall {
    start: Timestamp,
    origin: Instant,
}

#[cfg(feature = "runtime")]
impl SteadyWall {
    /// A calendar that reads `start` now.
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, origin: now() }
    }
}

#[cfg(feature = "runtime")]
impl WallClock for SteadyWall {
    fn wall(&self) -> Timestamp {
        let gone = now().saturating_duration_since(self.origin);
        self.start.checked_add(gone).unwrap_or(Timestamp::MAX)
    }
}

/// Both clocks, cheap to clone, handed to every shell.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn WallClock>,
}

impl Clock {
    /// A clock over the given calendar.
    pub fn new(wall: impl WallClock + 'static) -> Self {
        Self { wall: Arc::new(wall) }
    }

    /// The monotonic time.
    #[cfg(feature = "runtime")]
    pub fn now(&self) -> Instant {
        now()
    }

    /// The calendar time.
    pub fn wall(&self) -> Timestamp {
        self.wall.wall()
    }

    /// The calendar time of a monotonic moment, for people to read.
    #[cfg(feature = "runtime")]
    pub fn wall_of(&self, at: Instant) -> Timestamp {
        let (now, wall) = (self.now(), self.wall());
        let moved = if at >= now { wall.checked_add(at - now) } else { wall.checked_sub(now - at) };
        moved.unwrap_or(wall)
    }

    /// The monotonic moment of a calendar time, `now` if it has passed.
    #[cfg(feature = "runtime")]
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        let ahead = at.duration_since(self.wall());
        self.now() + Duration::try_from(ahead).unwrap_or(Duration::ZERO)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemWall)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Seeded randomness for ids and jitter. Clones share one stream, so a run can be repeated from its seed.
#[derive(Debug, Clone)]
pub struct Rng(Arc<Mutex<fastrand::Rng>>);

impl Rng {
    /// The stream of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A stream nobody can repeat; what an application uses by default.
    pub fn from_entropy() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&self) -> f64 {
        self.0.lock().f64()
    }

    /// `base` spread over `1 - spread ..= 1 + spread`; `spread` is clamped to `0.0..=1.0`. Never overflows.
    pub fn jitter(&self, base: Duration, spread: f64) -> Duration {
        let spread = spread.clamp(0.0, 1.0);
        let factor = 1.0 - spread + 2.0 * spread * self.unit();
        Duration::try_from_secs_f64(base.as_secs_f64() * factor).unwrap_or(Duration::MAX)
    }

    /// A random (version 4) UUID.
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.0.lock().u128(..).to_be_bytes()).into_uuid()
    }

    /// A new call's id.
    pub fn call_id(&self) -> CallId {
        CallId(self.uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_history() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        for _ in 0..10 {
            assert_eq!(a.uuid(), b.uuid());
        }
    }

    #[test]
    fn jitter_stays_within_its_spread() {
        let rng = Rng::seeded(1);
        for _ in 0..1_000 {
            let d = rng.jitter(Duration::from_secs(10), 0.25);
            assert!((7.5..=12.5).contains(&d.as_secs_f64()), "{d:?}");
        }
        assert!(rng.jitter(Duration::MAX, 1.0) > Duration::ZERO, "and overflows nowhere");
    }
}
