//! The future that keeps one incarnation alive: builds it, polls it under `catch_unwind`, buries it, and asks what now.

use std::{
    any::Any,
    cell::RefCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Once},
    task::{Context as Cx, Poll},
};

use actix::{ActorContext, AsyncContext, Context, dev::ContextFut};
use tokio::{
    sync::oneshot,
    time::{Sleep, sleep},
};

use super::{Cause, Child, ChildState, Resident, Vault, Verdict, pump::Pump};

type Body<A> = Pin<Box<ContextFut<A, Context<A>>>>;

enum Stage<A: Resident> {
    /// The predecessor is still on its thread.
    Waiting(oneshot::Receiver<()>),
    /// Restart after a pause.
    Backoff(Pin<Box<Sleep>>),
    Build,
    Up(Body<A>),
    Ended,
}

/// A generation's place on a thread, from the order to launch it until its end. If the thread ends first, the vault hears.
pub(super) struct Seat<A: Resident> {
    vault: Arc<Vault<A>>,
    generation: u64,
    /// Dropped with the seat: whoever waits for its end hears of it.
    _ended: oneshot::Sender<()>,
}

impl<A: Resident> Seat<A> {
    pub(super) fn new(vault: Arc<Vault<A>>, generation: u64, ended: oneshot::Sender<()>) -> Self {
        Self { vault, generation, _ended: ended }
    }
}

impl<A: Resident> Drop for Seat<A> {
    fn drop(&mut self) {
        self.vault.abandon(self.generation);
    }
}

pub(super) struct Keeper<A: Resident> {
    seat: Seat<A>,
    stage: Stage<A>,
}

impl<A: Resident> Keeper<A> {
    pub(super) fn new(seat: Seat<A>, predecessor: Option<oneshot::Receiver<()>>) -> Self {
        remember_panic_places();
        Self { seat, stage: predecessor.map_or(Stage::Build, Stage::Waiting) }
    }

    /// Drops an incarnation outside any unwind, so that a second panic in its destructor is contained.
    fn bury(&mut self) {
        if let Stage::Up(mut body) = std::mem::replace(&mut self.stage, Stage::Ended) {
            // Or else the context's destructor would poll once more and call `stopping` on a broken actor.
            body.ctx().terminate();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(body)));
        }
    }

    fn exited(&mut self, cause: Cause, detail: Arc<str>) {
        let vault = self.seat.vault.clone();
        let exit = vault.record_exit(self.seat.generation, cause, detail);
        self.bury();
        let Some(exit) = exit else { return };
        let verdict = vault.overseer().on_exit(vault.id(), &exit);
        let (state, parked) = match &verdict {
            Verdict::Restart { .. } => (ChildState::Backoff, None),
            Verdict::Park { cause } => (ChildState::Parked, Some(cause.clone())),
            Verdict::Leave => (ChildState::Stopped, None),
        };
        let Some(generation) = vault.advance(self.seat.generation, state, parked) else { return };
        self.seat.generation = generation;
        match verdict {
            Verdict::Restart { after } if after.is_zero() => self.stage = Stage::Build,
            Verdict::Restart { after } => self.stage = Stage::Backoff(Box::pin(sleep(after))),
            Verdict::Park { .. } => {}
            Verdict::Leave => vault.close(),
        }
    }

    fn build(&mut self) {
        let (vault, generation) = (self.seat.vault.clone(), self.seat.generation);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let actor = vault.build(generation);
            let ctx = Context::new();
            ctx_with_pump(ctx, actor, Pump::new(vault, generation))
        }));
        match built {
            Ok(body) => {
                self.stage = Stage::Up(body);
                self.seat.vault.mark_up(generation);
            }
            Err(panic) => self.exited(Cause::Factory, panic_text(&*panic)),
        }
    }
}

fn ctx_with_pump<A: Resident>(mut ctx: Context<A>, actor: A, pump: Pump<A>) -> Body<A> {
    ctx.spawn(pump);
    Box::pin(ctx.into_future(actor))
}

impl<A: Resident> Future for Keeper<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let current = this.seat.vault.is_current(this.seat.generation);
            if !current && !matches!(this.stage, Stage::Waiting(_)) {
                this.bury();
                return Poll::Ready(());
            }
            this.seat.vault.note_keeper(this.seat.generation, cx.waker());
            match &mut this.stage {
                Stage::Ended => return Poll::Ready(()),
                // Replaced while it waited, it waits on: its successor waits for it, and so for the one before.
                Stage::Waiting(end) => match Pin::new(end).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(_) => this.stage = Stage::Build,
                },
                Stage::Backoff(pause) => match pause.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => this.stage = Stage::Build,
                },
                Stage::Build => this.build(),
                Stage::Up(body) => match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(())) => this.exited(Cause::Stopped, "stopped itself".into()),
                    Err(panic) => this.exited(Cause::Panic, panic_text(&*panic)),
                },
            }
        }
    }
}

impl<A: Resident> Drop for Keeper<A> {
    /// The thread ends with the incarnation still up.
    fn drop(&mut self) {
        self.bury();
    }
}

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Remembers where a panic struck, for the crash record, in front of whatever hook the application has.
fn remember_panic_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            let _ = PLACE.try_with(|slot| *slot.borrow_mut() = place);
            next(info);
        }));
    });
}

/// The text of a caught panic, with its place where it is known, cut to a sane length.
pub fn panic_text(panic: &(dyn Any + Send)) -> Arc<str> {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".into());
    let place = PLACE.try_with(|slot| slot.borrow_mut().take()).ok().flatten();
    let whole = match place {
        Some(place) => format!("{text} at {place}"),
        None => text,
    };
    crate::outcome::cut(whole).into()
}
