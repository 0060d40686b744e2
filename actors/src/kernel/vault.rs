//! What outlives every incarnation of an actor: its mailbox, its state, its unapplied reports, its address.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context as Cx, Poll, Waker},
    time::{Duration, Instant},
};

use actix::{
    Actor, Addr, Context, Handler,
    dev::{
        Envelope, Stream,
        channel::{AddressReceiver, channel},
    },
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    Cause, Child, ChildState, ChildStatus, Depth, Door, Exit, Fate, Fence, Hazard, Hop, Incarnation, Overseer, Reports,
    Worker,
    incarnation::Shared,
    keeper::{Keeper, Seat},
};
use crate::ids::ActorId;

/// How long a decision may hold the state before an evacuation takes its thread for stuck inside it.
const STATE_HELD_AFTER: Duration = Duration::from_millis(50);

/// An actor that lives in a vault.
pub trait Resident: Actor<Context = Context<Self>> + Unpin {
    /// What survives a crash. It lives in the vault; the actor only decides on it.
    type State: Send + 'static;
    /// What must be applied even if handling it panics; idempotent, because it may come twice.
    type Report: Clone + Send + 'static;

    /// Applies a report. It is removed when this returns.
    fn on_report(&mut self, report: &Self::Report, ctx: &mut Context<Self>);

    /// When the actor wants to be woken; asked after each batch of messages.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// The moment of [`Self::next_deadline`] has come.
    fn on_deadline(&mut self, _ctx: &mut Context<Self>) {}

    /// A report crashed this actor too often and is not delivered again: what of it can be applied without anything else.
    /// Called once; a panic here loses the report.
    fn on_set_aside(&mut self, _report: &Self::Report) {}

    /// Publishes what others may see; called after each batch that may have changed it.
    fn publish(&mut self) {}
}

/// What an actor is launched with.
pub struct Launch {
    /// Its path in the tree.
    pub id: ActorId,
    /// The thread it starts on.
    pub worker: Worker,
    /// Who decides about its exits.
    pub overseer: Arc<dyn Overseer>,
    /// The fault injector's seat.
    pub hazard: Arc<dyn Hazard>,
}

struct Link {
    state: ChildState,
    restarts: u64,
    last_exit: Option<Exit>,
    parked: Option<Arc<str>>,
    worker: Worker,
    waker: Option<Waker>,
    ended: Option<oneshot::Receiver<()>>,
}

type Factory<A> = Box<dyn Fn(Incarnation<A>) -> A + Send + Sync>;

/// The vault of one actor.
pub struct Vault<A: Resident> {
    me: Weak<Self>,
    mailbox: Mutex<Option<AddressReceiver<A>>>,
    address: Addr<A>,
    current: Arc<AtomicU64>,
    shared: Arc<Shared<A::State>>,
    reports: Reports<A::Report>,
    depth: Depth,
    factory: Factory<A>,
    overseer: Arc<dyn Overseer>,
    link: Mutex<Link>,
}

pub(super) enum Next<A: Actor> {
    Letter(Envelope<A>),
    Nothing,
    Fenced,
}

impl<A: Resident> Vault<A> {
    /// Makes a vault with its first state. Nothing runs until [`Child::launch`].
    pub fn new(
        launch: Launch,
        state: A::State,
        factory: impl Fn(Incarnation<A>) -> A + Send + Sync + 'static,
    ) -> Arc<Self> {
        // Capacity 0: the bound is the doors', the channel itself takes all.
        let (sender, receiver) = channel(0);
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            mailbox: Mutex::new(Some(receiver)),
            address: Addr::new(sender),
            current: Arc::new(AtomicU64::new(0)),
            shared: Arc::new(Shared::new(launch.id, state, launch.hazard)),
            reports: Reports::new(),
            depth: Depth::default(),
            factory: Box::new(factory),
            overseer: launch.overseer,
            link: Mutex::new(Link {
                state: ChildState::Starting,
                restarts: 0,
                last_exit: None,
                parked: None,
                worker: launch.worker,
                waker: None,
                ended: None,
            }),
        })
    }

    /// The public address: valid through every restart.
    pub fn address(&self) -> &Addr<A> {
        &self.address
    }

    /// A bounded door into the mailbox.
    pub fn door<B: Send + 'static>(&self, limit: usize) -> Door<B>
    where
        A: Handler<Hop<B>>,
    {
        Door::new(self.address.clone(), self.depth.clone(), limit)
    }

    /// The queue of reports.
    pub fn reports(&self) -> &Reports<A::Report> {
        &self.reports
    }

    pub(super) fn overseer(&self) -> &dyn Overseer {
        &*self.overseer
    }

    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.current.load(SeqCst) == generation
    }

    /// The next envelope for this generation. Checked and polled under one lock, so a fenced incarnation never takes one.
    pub(super) fn next(&self, generation: u64, cx: &mut Cx<'_>) -> Next<A> {
        let mut mailbox = self.mailbox.lock();
        if !self.is_current(generation) {
            return Next::Fenced;
        }
        let Some(receiver) = mailbox.as_mut() else { return Next::Fenced };
        match Pin::new(receiver).poll_next(cx) {
            Poll::Ready(Some(envelope)) => Next::Letter(envelope),
            Poll::Ready(None) | Poll::Pending => Next::Nothing,
        }
    }

    pub(super) fn fate(&self) -> Fate {
        self.shared.fate()
    }

    pub(super) fn done(&self, generation: u64) {
        self.shared.done(generation);
    }

    pub(super) fn build(&self, generation: u64) -> A {
        let incarnation = Incarnation {
            fence: Fence::new(self.current.clone(), generation),
            shared: self.shared.clone(),
            address: self.address.downgrade(),
            reports: self.reports.clone(),
        };
        (self.factory)(incarnation)
    }

    pub(super) fn note_keeper(&self, generation: u64, waker: &Waker) {
        let mut link = self.link.lock();
        if self.is_current(generation) && !link.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            link.waker = Some(waker.clone());
        }
    }

    pub(super) fn mark_up(&self, generation: u64) {
        {
            let mut link = self.link.lock();
            if !self.is_current(generation) {
                return;
            }
            link.state = ChildState::Up;
        }
        self.overseer.on_start(&self.shared.id, generation);
    }

    /// Records an exit of the current incarnation. `None` when it was replaced already.
    pub(super) fn record_exit(&self, generation: u64, cause: Cause, detail: Arc<str>) -> Option<Exit> {
        let mut link = self.link.lock();
        if !self.is_current(generation) {
            return None;
        }
        let exit = Exit { cause, detail, generation, in_hand: self.shared.take_in_hand(generation) };
        link.last_exit = Some(exit.clone());
        Some(exit)
    }

    /// Gives the same keeper the next generation, so that what the old incarnation left behind is fenced.
    pub(super) fn advance(&self, generation: u64, state: ChildState, parked: Option<Arc<str>>) -> Option<u64> {
        let mailbox = self.mailbox.lock();
        let mut link = self.link.lock();
        if !self.is_current(generation) {
            return None;
        }
        let next = self.current.fetch_add(1, SeqCst) + 1;
        drop(mailbox);
        link.state = state;
        link.parked = parked;
        if state == ChildState::Backoff {
            link.restarts += 1;
        }
        Some(next)
    }

    /// Drops what is queued, which answers it; the address says from now on that the actor was stopped.
    pub(super) fn close(&self) {
        let queued = self.mailbox.lock().take();
        drop(queued);
    }

    /// The thread of this incarnation ended, and with it its keeper: nobody serves until it is launched elsewhere.
    pub(super) fn abandon(&self, generation: u64) {
        let mut link = self.link.lock();
        if self.is_current(generation) && !matches!(link.state, ChildState::Parked | ChildState::Stopped) {
            link.state = ChildState::Parked;
            link.parked = Some("its thread ended".into());
        }
    }

    /// Fences the present incarnation and starts a keeper for the next one.
    fn relaunch(&self, to: Option<Worker>, wait_for_old: bool) {
        let Some(vault) = self.me.upgrade() else { return };
        let mailbox = self.mailbox.lock();
        let mut link = self.link.lock();
        if link.state == ChildState::Stopped {
            return;
        }
        let generation = self.current.fetch_add(1, SeqCst) + 1;
        drop(mailbox);
        if generation > 1 {
            link.restarts += 1;
        }
        link.state = ChildState::Starting;
        link.parked = None;
        if let Some(worker) = to {
            link.worker = worker;
        }
        let (ended, watch) = oneshot::channel();
        let old = link.ended.replace(watch).filter(|_| wait_for_old);
        let waker = link.waker.take();
        let worker = link.worker.clone();
        drop(link);
        if let Some(waker) = waker {
            waker.wake();
        }
        let seat = Seat::new(vault, generation, ended);
        worker.run(move || {
            tokio::task::spawn_local(Keeper::new(seat, old));
        });
    }

    fn fence_with(&self, state: ChildState, parked: Option<Arc<str>>) {
        let mailbox = self.mailbox.lock();
        let mut link = self.link.lock();
        if link.state == ChildState::Stopped {
            return;
        }
        self.current.fetch_add(1, SeqCst);
        drop(mailbox);
        link.state = state;
        link.parked = parked;
        let waker = link.waker.take();
        drop(link);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<A: Resident> Child for Vault<A> {
    fn id(&self) -> &ActorId {
        &self.shared.id
    }

    fn status(&self) -> ChildStatus {
        let link = self.link.lock();
        ChildStatus {
            id: self.shared.id.clone(),
            state: link.state,
            generation: self.current.load(SeqCst),
            restarts: link.restarts,
            mailbox: self.depth.get(),
            reports: self.reports.len(),
            last_exit: link.last_exit.clone(),
            parked: link.parked.clone(),
            thread: link.worker.name().clone(),
        }
    }

    fn launch(&self) {
        self.relaunch(None, true);
    }

    fn evacuate(&self, to: Worker) {
        {
            let mut link = self.link.lock();
            if link.state == ChildState::Stopped {
                return;
            }
            if link.state == ChildState::Parked {
                link.worker = to;
                return;
            }
            link.last_exit = Some(Exit {
                cause: Cause::Hang,
                detail: format!("thread {} did not turn", link.worker.name()).into(),
                generation: self.current.load(SeqCst),
                in_hand: self.shared.take_in_hand(self.current.load(SeqCst)),
            });
        }
        // Stuck inside a decision it holds the state: a successor that did not wait would block the spare thread as well.
        let state_is_held = self.shared.state.try_lock_for(STATE_HELD_AFTER).is_none();
        self.relaunch(Some(to), state_is_held);
    }

    fn worker(&self) -> Worker {
        self.link.lock().worker.clone()
    }

    fn park(&self, cause: Arc<str>) {
        self.fence_with(ChildState::Parked, Some(cause));
    }

    fn stop(&self) {
        self.fence_with(ChildState::Stopped, None);
        self.close();
    }
}

impl<A: Resident> fmt::Debug for Vault<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.shared.id)
    }
}
