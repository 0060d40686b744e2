//! The future inside an incarnation's context that feeds it: reports first, then messages, then its one timer.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as Cx, Poll},
};

use actix::{
    ActorContext, ActorFuture, AsyncContext, Context,
    dev::{Envelope, EnvelopeProxy},
};
use tokio::time::{Sleep, sleep, sleep_until};

use super::{Fate, REPORT_ATTEMPTS_MAX, Resident, Vault, vault::Next};
use crate::clock;

/// Messages handled before the thread is given to its neighbours: an actor that feeds itself starves nobody.
const BATCH: usize = 64;

enum Step {
    Worked,
    Idle,
    Fenced,
}

pub(super) struct Pump<A: Resident> {
    vault: Arc<Vault<A>>,
    generation: u64,
    timer: Option<Pin<Box<Sleep>>>,
    /// A message that the fault injector holds up.
    late: Option<(Pin<Box<Sleep>>, Envelope<A>)>,
    /// Something may have changed since the last publication. True at first: the predecessor may have crashed before its own.
    unpublished: bool,
}

impl<A: Resident> Pump<A> {
    pub(super) fn new(vault: Arc<Vault<A>>, generation: u64) -> Self {
        Self { vault, generation, timer: None, late: None, unpublished: true }
    }

    fn step(&mut self, actor: &mut A, ctx: &mut Context<A>, cx: &mut Cx<'_>) -> Step {
        if !self.vault.is_current(self.generation) {
            return Step::Fenced;
        }
        if let Some((seq, attempts, report)) = self.vault.reports().begin(self.generation, cx) {
            self.apply(actor, ctx, seq, attempts, &report);
            return Step::Worked;
        }
        if let Some((pause, _)) = &mut self.late
            && pause.as_mut().poll(cx).is_pending()
        {
            return Step::Idle;
        }
        if let Some((_, envelope)) = self.late.take() {
            return self.handle(actor, ctx, envelope);
        }
        let envelope = match self.vault.next(self.generation, cx) {
            Next::Letter(envelope) => envelope,
            Next::Nothing => return Step::Idle,
            Next::Fenced => return Step::Fenced,
        };
        match self.vault.fate() {
            Fate::Arrives => return self.handle(actor, ctx, envelope),
            Fate::Late(pause) => self.late = Some((Box::pin(sleep(pause)), envelope)),
            Fate::Lost => drop(envelope),
        }
        Step::Worked
    }

    fn handle(&self, actor: &mut A, ctx: &mut Context<A>, mut envelope: Envelope<A>) -> Step {
        envelope.handle(actor, ctx);
        self.vault.done(self.generation);
        Step::Worked
    }

    fn apply(&self, actor: &mut A, ctx: &mut Context<A>, seq: u64, attempts: u32, report: &A::Report) {
        let vault = &self.vault;
        if attempts > REPORT_ATTEMPTS_MAX {
            vault.reports().applied(seq);
            vault.overseer().on_report_set_aside(super::Child::id(&**vault), attempts - 1);
            actor.on_set_aside(report);
            return;
        }
        actor.on_report(report, ctx);
        vault.done(self.generation);
        // A fenced incarnation changed nothing; its successor takes the report again.
        if vault.is_current(self.generation) {
            vault.reports().applied(seq);
        }
    }

    /// Arms the one timer, and fires it when it is due.
    fn tick(&mut self, actor: &mut A, ctx: &mut Context<A>, cx: &mut Cx<'_>) -> Step {
        let Some(due) = actor.next_deadline() else {
            self.timer = None;
            return Step::Idle;
        };
        // An overdue rule says "now". A timer set to now rings a tick later, when now is later again, and so on for ever.
        if due > clock::now() {
            let due = tokio::time::Instant::from_std(due);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Step::Idle;
            }
        }
        self.timer = None;
        actor.on_deadline(ctx);
        self.vault.done(self.generation);
        Step::Worked
    }

    /// Shows what changed. A replaced incarnation must not cover what its successor has shown.
    fn publish(&mut self, actor: &mut A) {
        if std::mem::take(&mut self.unpublished) && self.vault.is_current(self.generation) {
            actor.publish();
        }
    }
}

impl<A: Resident> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, ctx: &mut Context<A>, cx: &mut Cx<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..BATCH {
            if ctx.waiting() {
                break; // the context polls us again when what it waits for is done
            }
            let step = match this.step(actor, ctx, cx) {
                Step::Idle => this.tick(actor, ctx, cx),
                step => step,
            };
            match step {
                Step::Worked => this.unpublished = true,
                Step::Idle => {
                    this.publish(actor);
                    return Poll::Pending;
                }
                Step::Fenced => {
                    ctx.terminate();
                    return Poll::Ready(());
                }
            }
        }
        // The timer must not starve behind a full mailbox.
        if !ctx.waiting() {
            this.unpublished |= matches!(this.tick(actor, ctx, cx), Step::Worked);
            cx.waker().wake_by_ref();
        }
        this.publish(actor);
        Poll::Pending
    }
}
