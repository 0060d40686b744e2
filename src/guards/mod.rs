//! The guards by themselves: a breaker, a budget, lanes, or any of them together, around work that the application does in its
//! own way.
//!
//! # Why it exists
//!
//! Not every call is a vendor's operation with a profile. [`Guards`] is the same supervised actors, wired in the same order,
//! with nothing behind the last one: whoever passes gets a [`Pass`], does the work, and says how it ended.
//!
//! ```
//! use std::time::Duration;
//!
//! use mainstay::{Class, Failed, Guards, GuardsError, actors::breaker::BreakerConfig};
//!
//! # async fn send() -> Result<u64, std::io::Error> { Ok(7) }
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let guards = Guards::named("mailer").breaker(BreakerConfig::patterns(Duration::from_secs(30))).start()?;
//! let sent = guards.run(async { send().await.map_err(|error| Failed::maybe_done(Class::Broken, error)) }).await;
//! match sent {
//!     Ok(id) => println!("sent as {id}"),
//!     Err(GuardsError::Refused(refusal)) => println!("{refusal}; come back at {:?}", refusal.retry_at),
//!     Err(GuardsError::Failed(failed)) => println!("{failed}"),
//! }
//! # Ok(()) }
//! ```
//!
//! # What it is not
//!
//! There are no attempts, no keys, no fallback and no dead letters: those belong to calls that can be written down, and a
//! closure cannot. A call of a vendor's SDK that is to have them is a [function](crate::VendorConfig::function).
//!
//! # Limits
//!
//! Those of the guards' own configurations, and `RuntimeConfig::mailbox_max` in front of each.

mod builder;
mod pass;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay_actors::{
    breaker::BreakerSnapshot,
    budget::BudgetSnapshot,
    bulkhead::{GateSnapshot, LaneSnapshot},
    call::{AcceptedCall, DEFAULT_DEADLINE},
    client::Failed,
    clock::{Clock, Rng},
    credits::Credits,
    fact::Event,
    ids::{Circuit, LaneId, OperationId},
    kernel::Door,
    profile::{Operation, Profile},
    refusal::{Guard, Reason, Refusal},
    ticket::{Reply, Ticket},
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{broadcast, oneshot};

pub use builder::GuardsBuilder;
pub use pass::Pass;
use pass::{Place, Waiting, hand_over};

use crate::{
    config::{RuntimeConfig, VendorConfig},
    error::StartError,
    facts::FactBus,
    placement::Places,
    supervision::{Tree, Watchdog},
    verdict::CRASHES_MAX,
    wiring::{GuardsLook, Kit, wire_guards},
};

/// What the one operation is called, in refusals and facts.
const WORK: &str = "work";

/// Who wants to pass, and with what.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Admission {
    /// The lane; default `normal`. Without lanes it does not matter.
    pub lane: String,
    /// What the work may cost at most; default nothing.
    pub estimate: Credits,
    /// How long to wait at most, over all guards; default five minutes.
    pub wait: Duration,
}

impl Default for Admission {
    fn default() -> Self {
        Self { lane: LaneId::normal().to_string(), estimate: Credits::ZERO, wait: DEFAULT_DEADLINE }
    }
}

impl Admission {
    /// Through this lane.
    #[must_use]
    pub fn lane(mut self, lane: impl Into<String>) -> Self {
        self.lane = lane.into();
        self
    }

    /// At most this cost.
    #[must_use]
    pub fn estimate(mut self, most: Credits) -> Self {
        self.estimate = most;
        self
    }

    /// At most this wait.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// Running guards. Cheap to clone; they stop with the last clone.
#[derive(Clone)]
pub struct Guards {
    inner: Arc<Inner>,
}

struct Inner {
    profile: Profile,
    operation: OperationId,
    /// By lane; without lanes under the name `normal`.
    doors: BTreeMap<LaneId, Door<Ticket>>,
    has_lanes: bool,
    look: GuardsLook,
    waiting: Waiting,
    clock: Clock,
    rng: Rng,
    facts: FactBus,
    tree: Tree,
    /// Both end when they are dropped.
    _hold: (Option<Watchdog>, Places, oneshot::Sender<Infallible>),
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tree.stop_all();
        self.facts.deafen();
    }
}

/// What the guards published last; those that were not chosen are absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GuardsSnapshot {
    /// The lanes.
    pub lanes: Vec<LaneSnapshot>,
    /// Cap and rate.
    pub gate: Option<GateSnapshot>,
    /// The breaker.
    pub breaker: Option<BreakerSnapshot>,
    /// The budget.
    pub budget: Option<BudgetSnapshot>,
}

/// Why guarded work has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GuardsError {
    /// A guard refused: the work was not begun.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The work failed; the guards know.
    #[error("{0}")]
    Failed(Failed),
}

impl Guards {
    /// Begins a choice of guards under a name, which refusals and facts carry: 1 to 64 of `a-z A-Z 0-9 _ - .`.
    pub fn named(name: &str) -> GuardsBuilder {
        let profile = Profile::of_functions(name, [(WORK, Operation::function())]);
        GuardsBuilder { config: VendorConfig::new(profile), chosen: BTreeSet::new(), runtime: RuntimeConfig::default() }
    }

    fn begin(builder: GuardsBuilder, profile: Profile) -> Result<Self, StartError> {
        let GuardsBuilder { config, chosen, runtime } = builder;
        let places = Places::open(runtime.placement)?;
        let kit = Kit::new(&runtime, &places);
        let (exit, passed) = Door::to_channel(runtime.mailbox_max);
        let (doors, look) = wire_guards(&kit, &profile, &config, &places.vendor(0), &chosen, exit);
        let waiting = Waiting::default();
        let (stop, stopped) = oneshot::channel();
        places.tasks().spawn(Box::pin(hand_over(passed, waiting.clone(), stopped)));
        let watched = places.watched();
        let watchdog = match watched.is_empty() {
            true => None,
            false => Some(Watchdog::start(kit.tree.clone(), watched, runtime.watchdog.clone())?),
        };
        kit.tree.launch_all();
        // The profile was made with this one operation.
        let operation = profile.operations.keys().next().cloned();
        let operation = operation.ok_or_else(|| std::io::Error::other("the guards have no operation"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                profile,
                operation,
                doors,
                has_lanes: chosen.contains(&Guard::Lane),
                look,
                waiting,
                clock: kit.clock.clone(),
                rng: kit.rng.clone(),
                facts: kit.facts.clone(),
                tree: kit.tree.clone(),
                _hold: (watchdog, places, stop),
            }),
        })
    }

    /// Waits until every guard lets it pass. Dropping the future leaves the queue.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the guard that does not.
    pub async fn enter(&self, admission: Admission) -> Result<Pass, Refusal> {
        let (door, call) = self.inner.admit(&admission)?;
        let wait = admission.wait;
        let now = self.inner.clock.now();
        let deadline = now.checked_add(wait).ok_or_else(|| bad_wait(wait))?;
        for _ in 0..CRASHES_MAX {
            match self.inner.one_ticket(door, &call, deadline).await {
                Heard::Passed(pass) => return Ok(pass),
                Heard::Refused(refusal) => return Err(refusal),
                Heard::TooLate => return Err(Refusal::new(Guard::Gateway, Reason::Deadline { limit: wait })),
                // With an actor that crashed, and nothing was begun.
                Heard::Lost => {}
            }
        }
        Err(Refusal::new(Guard::Supervisor, Reason::CrashedTooOften { guard: Guard::Supervisor, lost: CRASHES_MAX }))
    }

    /// Enters with the defaults, does the work, and tells the guards how it ended. Dropping the future while it waits takes
    /// it back; dropping it while it works leaves the end unknown.
    ///
    /// # Errors
    ///
    /// [`GuardsError::Refused`]: the work was not begun. [`GuardsError::Failed`]: what the work said.
    pub async fn run<T>(&self, work: impl Future<Output = Result<T, Failed>>) -> Result<T, GuardsError> {
        self.run_as(Admission::default(), work).await
    }

    /// The same, through a lane or at a cost of its own.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_as<T>(
        &self,
        admission: Admission,
        work: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, GuardsError> {
        let mut pass = self.enter(admission).await?;
        pass.begin();
        match work.await {
            Ok(result) => {
                pass.done(None);
                Ok(result)
            }
            Err(failed) => {
                pass.failed(failed.clone());
                Err(GuardsError::Failed(failed))
            }
        }
    }

    /// What the guards published last.
    pub fn snapshot(&self) -> GuardsSnapshot {
        self.inner.look.snapshot()
    }

    /// Every fact from now on: breakers that open, marks of the budget, restarts. A slow reader misses some.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.facts.subscribe()
    }
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guards({})", self.inner.profile.vendor)
    }
}

fn bad_wait(wait: Duration) -> Refusal {
    let problem = format!("{wait:?} is longer than a clock can count");
    Refusal::new(Guard::Gateway, Reason::BadField { field: "wait".into(), problem })
}

/// What became of one ticket.
enum Heard {
    Passed(Pass),
    Refused(Refusal),
    TooLate,
    Lost,
}

impl Inner {
    fn admit(&self, admission: &Admission) -> Result<(&Door<Ticket>, Arc<AcceptedCall>), Refusal> {
        let lane = if self.has_lanes { admission.lane.parse().ok() } else { Some(LaneId::normal()) };
        let found = lane.and_then(|lane: LaneId| self.doors.get_key_value(&lane));
        let Some((lane, door)) = found else {
            let known = self.doors.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let name = admission.lane.chars().take(80).collect();
            return Err(Refusal::new(Guard::Gateway, Reason::UnknownName { what: "lane", name, known }));
        };
        let (vendor, operation) = (self.profile.vendor.clone(), self.operation.clone());
        let call = AcceptedCall {
            lane: lane.clone(),
            estimate: admission.estimate,
            ..AcceptedCall::new(self.rng.call_id(), vendor, operation, Value::Null, self.clock.wall())
        };
        Ok((door, Arc::new(call)))
    }

    async fn one_ticket(&self, door: &Door<Ticket>, call: &Arc<AcceptedCall>, deadline: Instant) -> Heard {
        let (ticket, _, mut reply) =
            Ticket::issue(call.clone(), Circuit::default(), 1, deadline, tracing::Span::current());
        let (_place, passed) = Place::take(&self.waiting, call.id);
        if let Err(full) = door.pass(ticket) {
            full.body.refuse_full(Guard::Gateway, "mailbox of the first guard", full.held, full.limit);
        }
        tokio::select! {
            biased;
            ticket = passed => match ticket {
                Ok(ticket) => Heard::Passed(Pass::new(ticket, reply, &self.clock)),
                Err(_) => Heard::Lost,
            },
            heard = &mut reply => match heard {
                Ok(Reply::Refused(refusal)) => Heard::Refused(refusal),
                _ => Heard::Lost,
            },
            () = tokio::time::sleep_until(deadline.into()) => Heard::TooLate,
        }
    }
}
