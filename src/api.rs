//! The runtime as an actor, for applications that are actors themselves.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use actix::{Actor, Context, Handler, Message, MessageResult, ResponseFuture};
use mainstay_actors::{
    budget::{BudgetChange, LimitSnapshot},
    call::Call,
    fact::Event,
    ids::CallId,
    kernel::{Incarnation, Lost, Resident},
    refusal::{Guard, Reason, Refusal},
};

use tokio::sync::broadcast;

use crate::{
    answer::{Answer, CallError, Completion},
    controls::ControlError,
    debug::{GetSnapshot, Snapshot},
    error::NotOpen,
    handle::{Handle, Receipt},
    letters::DeadLetters,
    runtime::{Core, ShutdownReport},
};

/// Makes a call; the answer is its end.
#[derive(Debug)]
pub struct MakeCall(pub Call);

impl Message for MakeCall {
    type Result = Result<Answer, CallError>;
}

/// Hands a call over; the answer is its receipt.
#[derive(Debug)]
pub struct Submit(pub Call);

impl Message for Submit {
    type Result = Result<Receipt, Refusal>;
}

/// Ends an effect.
#[derive(Debug)]
pub struct Complete {
    /// Whose effect.
    pub call: CallId,
    /// How it ended.
    pub completion: Completion,
}

impl Message for Complete {
    type Result = Result<(), NotOpen>;
}

/// Changes the budget of a vendor by hand; see [`BudgetControl`](crate::BudgetControl).
#[derive(Debug, Clone)]
pub struct AdjustBudget {
    /// Whose.
    pub vendor: String,
    /// What, and why.
    pub change: BudgetChange,
}

impl Message for AdjustBudget {
    type Result = Result<LimitSnapshot, ControlError>;
}

/// Asks for every fact from now on; `None` once the runtime is gone.
#[derive(Debug, Clone, Copy)]
pub struct Subscribe;

impl Message for Subscribe {
    type Result = Option<broadcast::Receiver<Event>>;
}

/// Asks for the parked calls; `None` once the runtime is gone.
#[derive(Debug, Clone, Copy)]
pub struct GetDeadLetters;

impl Message for GetDeadLetters {
    type Result = Option<DeadLetters>;
}

/// Stops the runtime in order; see [`Handle::shutdown`]. `None` once it is gone.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// How long what is under way may take.
    pub deadline: Duration,
}

impl Message for Shutdown {
    type Result = Option<ShutdownReport>;
}

/// The way back to the runtime: set once it stands, and empty once it is gone.
pub(crate) type Home = Arc<OnceLock<Weak<Core>>>;

/// Takes calls as messages. It holds nothing of value: a crash loses only the message in hand, whose sender hears of it.
pub struct ApiActor {
    inc: Incarnation<Self>,
    home: Home,
}

impl ApiActor {
    pub(crate) fn new(inc: Incarnation<Self>, home: Home) -> Self {
        Self { inc, home }
    }

    fn handle_for(&self, message: &'static str) -> Result<Handle, Refusal> {
        self.inc.begin(message, None);
        let core = self.home.get().and_then(Weak::upgrade);
        core.map(|core| Handle { core }).ok_or_else(|| Refusal::new(Guard::Gateway, Reason::ShuttingDown))
    }
}

impl Actor for ApiActor {
    type Context = Context<Self>;
}

impl Resident for ApiActor {
    type State = ();
    type Report = ();

    fn on_report(&mut self, (): &(), _: &mut Context<Self>) {}
}

impl Handler<MakeCall> for ApiActor {
    type Result = ResponseFuture<Result<Answer, CallError>>;

    fn handle(&mut self, MakeCall(call): MakeCall, _: &mut Context<Self>) -> Self::Result {
        let handle = self.handle_for("call");
        Box::pin(async move { handle?.call(call).await })
    }
}

impl Handler<Submit> for ApiActor {
    type Result = ResponseFuture<Result<Receipt, Refusal>>;

    fn handle(&mut self, Submit(call): Submit, _: &mut Context<Self>) -> Self::Result {
        let handle = self.handle_for("submit");
        Box::pin(async move { handle?.submit(call).await })
    }
}

impl Handler<Complete> for ApiActor {
    type Result = ResponseFuture<Result<(), NotOpen>>;

    fn handle(&mut self, Complete { call, completion }: Complete, _: &mut Context<Self>) -> Self::Result {
        let handle = self.handle_for("complete");
        Box::pin(async move {
            match handle {
                Ok(handle) => handle.complete(call, completion).await,
                Err(_) => Err(NotOpen { call }),
            }
        })
    }
}

impl Handler<AdjustBudget> for ApiActor {
    type Result = ResponseFuture<Result<LimitSnapshot, ControlError>>;

    fn handle(&mut self, AdjustBudget { vendor, change }: AdjustBudget, _: &mut Context<Self>) -> Self::Result {
        let handle = self.handle_for("adjust_budget");
        Box::pin(async move {
            let handle = handle.map_err(|_| Lost::Stopped)?;
            handle.budget(&vendor)?.make(change).await
        })
    }
}

impl Handler<GetSnapshot> for ApiActor {
    type Result = Option<Box<Snapshot>>;

    fn handle(&mut self, _: GetSnapshot, _: &mut Context<Self>) -> Self::Result {
        Some(Box::new(self.handle_for("get_snapshot").ok()?.snapshot()))
    }
}

impl Handler<Subscribe> for ApiActor {
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, _: Subscribe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.handle_for("subscribe").ok().map(|handle| handle.subscribe()))
    }
}

impl Handler<GetDeadLetters> for ApiActor {
    type Result = MessageResult<GetDeadLetters>;

    fn handle(&mut self, _: GetDeadLetters, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.handle_for("get_dead_letters").ok().map(|handle| handle.dead_letters()))
    }
}

impl Handler<Shutdown> for ApiActor {
    type Result = ResponseFuture<Option<ShutdownReport>>;

    fn handle(&mut self, Shutdown { deadline }: Shutdown, _: &mut Context<Self>) -> Self::Result {
        let handle = self.handle_for("shutdown");
        Box::pin(async move { Some(handle.ok()?.shutdown(deadline).await) })
    }
}
