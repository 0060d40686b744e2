//! What an operator changes while calls run: a lane or a vendor's gate is paused, resumed, resized; a breaker is held open,
//! held closed, made to count only, or reset; a budget is raised.
//!
//! A change is answered when it is in force. It waits for nobody: what is under way goes on, and after a lowering nothing
//! starts until enough of it has ended. It is a fact ([`LimitsChanged`](mainstay_actors::fact::Fact::LimitsChanged), or
//! [`BreakerModeChanged`](mainstay_actors::fact::Fact::BreakerModeChanged)), shows in the snapshot, survives a crash of its
//! actor, and ends with the runtime: the next one begins with its configuration.

mod budget;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{Addr, Handler, Message};
use mainstay_actors::{
    breaker::{BadOrder, BreakerActor, BreakerSnapshot, Control, Order},
    budget::{BudgetActor, BudgetChangeError},
    bulkhead::{BulkheadActor, ChangeError, GateChange, LaneChange, Rate, StrictWindow, VendorGateActor},
    fact::BreakerState,
    ids::{ActorId, Circuit, LaneId, VendorId},
    kernel::{Fenced, Lost, Published, Resident},
    outcome::cut,
};

use crate::{error::UnknownName, gateway::Gateway, handle::Handle, route::Route, verdict::CRASHES_MAX};

pub use budget::BudgetControl;

/// The actors of one vendor that an operator reaches.
pub(crate) struct Controls {
    pub(crate) lanes: BTreeMap<LaneId, Addr<BulkheadActor>>,
    pub(crate) gate: Addr<VendorGateActor>,
    pub(crate) breakers: BTreeMap<Circuit, BreakerEnds>,
    pub(crate) budget: Addr<BudgetActor>,
}

/// Where a breaker is told something, and where it is seen.
#[derive(Clone)]
pub(crate) struct BreakerEnds {
    pub(crate) id: ActorId,
    pub(crate) address: Addr<BreakerActor>,
    pub(crate) shown: Published<BreakerSnapshot>,
}

/// A change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It asks for a value out of its range.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The order has no end within a day, or no reason.
    #[error(transparent)]
    Order(#[from] BadOrder),
    /// It asks the budget for something out of its range.
    #[error(transparent)]
    Budget(#[from] BudgetChangeError),
    /// There is no such vendor.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// The actor crashed again and again with the change in hand, is down, or was stopped.
    #[error("the change was not made: {0}")]
    Lost(#[from] Lost),
}

/// One lane of a vendor, in an operator's hands.
#[derive(Clone)]
pub struct LaneControl {
    gateway: Arc<Gateway>,
    lane: Addr<BulkheadActor>,
    id: ActorId,
}

impl LaneControl {
    /// Nothing starts any more. Calls that wait or come wait within the lane's limits. The reason (cut to 500 bytes) is in
    /// the snapshot, and in the refusals of those who waited in vain.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the lane does not answer.
    pub async fn pause(&self, why: impl Into<String>) -> Result<(), ControlError> {
        self.change(LaneChange::Pause(cut(why.into()).into())).await
    }

    /// Calls start again, those that waited first.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the lane does not answer.
    pub async fn resume(&self) -> Result<(), ControlError> {
        self.change(LaneChange::Resume).await
    }

    /// So many calls at the same time from now on, 1 to 1,024.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the value is out of its range or the lane does not answer.
    pub async fn resize(&self, concurrency: usize) -> Result<(), ControlError> {
        self.change(LaneChange::Concurrency(concurrency)).await
    }

    /// So many calls may wait from now on, 0 to 1,000,000. Those that wait already stay.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the value is out of its range or the lane does not answer.
    pub async fn set_queue_max(&self, places: usize) -> Result<(), ControlError> {
        self.change(LaneChange::QueueMax(places)).await
    }

    async fn change(&self, change: LaneChange) -> Result<(), ControlError> {
        make(&self.gateway, &self.lane, &self.id, change, is_restarting).await
    }
}

/// The gate of a vendor, in an operator's hands.
#[derive(Clone)]
pub struct GateControl {
    gateway: Arc<Gateway>,
    gate: Addr<VendorGateActor>,
    id: ActorId,
}

impl GateControl {
    /// Nothing starts on any lane any more. The reason (cut to 500 bytes) is in the snapshot, and in the refusals of those
    /// who waited in vain.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the gate does not answer.
    pub async fn pause(&self, why: impl Into<String>) -> Result<(), ControlError> {
        self.change(GateChange::Pause(cut(why.into()).into())).await
    }

    /// Calls start again, those that waited first.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the gate does not answer.
    pub async fn resume(&self) -> Result<(), ControlError> {
        self.change(GateChange::Resume).await
    }

    /// So many slots from now on, 1 to 10,000.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the value is out of its range or the gate does not answer.
    pub async fn resize(&self, cap: usize) -> Result<(), ControlError> {
        self.change(GateChange::Cap(cap)).await
    }

    /// Another rate from now on, or none. Tokens that are there stay, as far as the new burst has room for them.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when a value is out of its range or the gate does not answer.
    pub async fn set_rate(&self, rate: Option<Rate>) -> Result<(), ControlError> {
        self.change(GateChange::Rate(rate)).await
    }

    /// Another strict window from now on, or none. The calls of the last window count in the new one.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when a value is out of its range or the gate does not answer.
    pub async fn set_window(&self, window: Option<StrictWindow>) -> Result<(), ControlError> {
        self.change(GateChange::Window(window)).await
    }

    async fn change(&self, change: GateChange) -> Result<(), ControlError> {
        make(&self.gateway, &self.gate, &self.id, change, is_restarting).await
    }
}

/// One breaker, in an operator's hands.
///
/// An order has an end, 1 ms to 24 h ahead, and a reason of 1 to 200 bytes that says why, and who says so: refusals, facts, the
/// log and the snapshot show it. An order takes the place of the one before, and begins with nothing counted. Each method
/// answers the state that the breaker was in.
///
/// ```
/// use std::time::Duration;
/// use mainstay::{Handle, actors::fact::BreakerState};
///
/// async fn maintenance(mainstay: &Handle) -> Result<(), Box<dyn std::error::Error>> {
///     let clay = mainstay.breaker("clay")?;
///     clay.force_open(Duration::from_secs(3_600), "Clay's maintenance until noon, Ana").await?;
///     assert_eq!(clay.state(), BreakerState::Open);
///     clay.automatic().await?; // ended early: a probe finds out
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct BreakerControl {
    gateway: Arc<Gateway>,
    breaker: BreakerEnds,
}

impl BreakerControl {
    /// Closed, open or half-open, as it was after its last message. Asks nobody.
    pub fn state(&self) -> BreakerState {
        self.breaker.shown.get().state
    }

    /// Everything that is seen of it, as it was after its last message. Asks nobody.
    pub fn snapshot(&self) -> BreakerSnapshot {
        (*self.breaker.shown.get()).clone()
    }

    /// Every call is refused. When the order ends a probe finds out.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the order is none or the breaker does not answer.
    pub async fn force_open(&self, lasting: Duration, reason: &str) -> Result<BreakerState, ControlError> {
        self.tell(Control::ForceOpen(Order::new(lasting, reason)?)).await
    }

    /// Every call passes, whatever comes of it. When the order ends it is closed, with nothing counted.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the order is none or the breaker does not answer.
    pub async fn force_closed(&self, lasting: Duration, reason: &str) -> Result<BreakerState, ControlError> {
        self.tell(Control::ForceClosed(Order::new(lasting, reason)?)).await
    }

    /// Every call passes, and where it would have opened that is stated once, by
    /// [`BreakerWouldOpen`](mainstay_actors::fact::Fact::BreakerWouldOpen). When the order ends it is closed, with nothing
    /// counted.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the order is none or the breaker does not answer.
    pub async fn metrics_only(&self, lasting: Duration, reason: &str) -> Result<BreakerState, ControlError> {
        self.tell(Control::MetricsOnly(Order::new(lasting, reason)?)).await
    }

    /// The order in force ends now. Without one, nothing happens.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the breaker does not answer.
    pub async fn automatic(&self) -> Result<BreakerState, ControlError> {
        self.tell(Control::Automatic).await
    }

    /// It is closed, with nothing counted and no order in force: the vendor is known to work.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the breaker does not answer.
    pub async fn reset(&self) -> Result<BreakerState, ControlError> {
        self.tell(Control::Reset).await
    }

    async fn tell(&self, control: Control) -> Result<BreakerState, ControlError> {
        let mut crashes = 0;
        loop {
            match self.gateway.ask_unless_down(&self.breaker.address, &self.breaker.id, control.clone()).await {
                Ok(Err(Fenced)) | Err(Lost::Crashed) if crashes < CRASHES_MAX => crashes += 1,
                Ok(Err(Fenced)) => return Err(Lost::Crashed.into()),
                Ok(Ok(was)) => return Ok(was),
                Err(lost) => return Err(lost.into()),
            }
        }
    }
}

impl std::fmt::Debug for BreakerControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BreakerControl({}, {})", self.breaker.id, self.state())
    }
}

impl Handle {
    /// One lane of a vendor: pause, resume, resize.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] with the known names.
    pub fn lane(&self, vendor: &str, lane: &str) -> Result<LaneControl, UnknownName> {
        let gateway = &self.core.gateway;
        let (vendor, route) = find(gateway, vendor)?;
        let lanes = &route.controls.lanes;
        let found = LaneId::new(lane).ok().and_then(|id| lanes.get_key_value(&id));
        let (name, address) = found.ok_or_else(|| UnknownName::new("lane", lane, lanes.keys()))?;
        let id = ActorId::new(format!("{vendor}/lane/{name}"));
        Ok(LaneControl { gateway: gateway.clone(), lane: address.clone(), id })
    }

    /// The breaker of a vendor: look, hold open, hold closed, reset. It guards the operations without a group at the vendor's
    /// own address; for a target or a group see [`Self::breaker_of`].
    ///
    /// # Errors
    ///
    /// [`UnknownName`] with the known names.
    pub fn breaker(&self, vendor: &str) -> Result<BreakerControl, UnknownName> {
        self.breaker_of(vendor, "")
    }

    /// The breaker of one [`Circuit`] of a vendor, by its name: `leads`, `leads:status`, `:status`.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] with the known names.
    pub fn breaker_of(&self, vendor: &str, circuit: &str) -> Result<BreakerControl, UnknownName> {
        let gateway = &self.core.gateway;
        let (_, route) = find(gateway, vendor)?;
        let breakers = &route.controls.breakers;
        let found = breakers.iter().find(|(known, _)| known.to_string() == circuit);
        let (_, breaker) = found.ok_or_else(|| UnknownName::new("circuit", circuit, breakers.keys()))?;
        Ok(BreakerControl { gateway: gateway.clone(), breaker: breaker.clone() })
    }

    /// The gate of a vendor, over all its lanes: pause, resume, cap, rate.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] with the known names.
    pub fn gate(&self, vendor: &str) -> Result<GateControl, UnknownName> {
        let gateway = &self.core.gateway;
        let (vendor, route) = find(gateway, vendor)?;
        let id = ActorId::new(format!("{vendor}/gate"));
        Ok(GateControl { gateway: gateway.clone(), gate: route.controls.gate.clone(), id })
    }
}

fn find<'a>(gateway: &'a Gateway, vendor: &str) -> Result<(&'a VendorId, &'a Route), UnknownName> {
    let found = VendorId::new(vendor).ok().and_then(|id| gateway.routes.get_key_value(&id));
    found.ok_or_else(|| UnknownName::new("vendor", vendor, gateway.routes.keys()))
}

fn is_restarting(error: &ChangeError) -> bool {
    *error == ChangeError::Restarting
}

/// Asks for a change until it is answered: made twice it is made once.
async fn make<A, M, T, E>(
    gateway: &Gateway,
    actor: &Addr<A>,
    id: &ActorId,
    change: M,
    restarting: impl Fn(&E) -> bool,
) -> Result<T, ControlError>
where
    A: Resident + Handler<M>,
    M: Message<Result = Result<T, E>> + Clone + Send + 'static,
    T: Send + 'static,
    E: Into<ControlError> + Send + 'static,
{
    let mut crashes = 0;
    loop {
        let answer = gateway.ask_unless_down(actor, id, change.clone()).await;
        let again = match &answer {
            Ok(Err(error)) => restarting(error),
            Err(lost) => *lost == Lost::Crashed,
            Ok(Ok(_)) => false,
        };
        if again && crashes < CRASHES_MAX {
            crashes += 1;
            continue;
        }
        return answer?.map_err(Into::into);
    }
}
