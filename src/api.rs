//! The runtime as an actor, for applications that are actors themselves.

use std::sync::{Arc, OnceLock, Weak};

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use mainstay_actors::{
    call::Call,
    ids::CallId,
    kernel::{Incarnation, Resident},
    refusal::{Guard, Reason, Refusal},
};

use crate::{
    answer::{Answer, CallError, Completion},
    error::NotOpen,
    handle::{Handle, Receipt},
    runtime::Core,
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
