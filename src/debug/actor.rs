//! The debug actor: answers from what was published.

use actix::{Actor, Context, Handler, Message};
use mainstay_actors::kernel::{Incarnation, Resident};

use super::Snapshot;
use crate::{api::Home, handle::Handle};

/// Asks for everything that can be seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct GetSnapshot;

impl Message for GetSnapshot {
    type Result = Option<Box<Snapshot>>;
}

/// Answers [`GetSnapshot`]; `None` only while the runtime starts or after it is gone.
pub struct DebugActor {
    inc: Incarnation<Self>,
    home: Home,
}

impl DebugActor {
    pub(crate) fn new(inc: Incarnation<Self>, home: Home) -> Self {
        Self { inc, home }
    }
}

impl Actor for DebugActor {
    type Context = Context<Self>;
}

impl Resident for DebugActor {
    type State = ();
    type Report = ();

    fn on_report(&mut self, (): &(), _: &mut Context<Self>) {}
}

impl Handler<GetSnapshot> for DebugActor {
    type Result = Option<Box<Snapshot>>;

    fn handle(&mut self, _: GetSnapshot, _: &mut Context<Self>) -> Self::Result {
        self.inc.begin("get_snapshot", None);
        let core = self.home.get()?.upgrade()?;
        Some(Box::new(Handle { core }.snapshot()))
    }
}
