//! One live call in the gateway's table: what its attempt loop knows, kept outside the loop, so that a loop that panics
//! loses nothing of it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Poll, ready},
    time::Instant,
};

use jiff::Timestamp;
use mainstay_actors::{
    call::AcceptedCall,
    dlq::{Failure, LetterId},
    refusal::{Guard, Refusal},
    ticket::{Flight, Reply},
};
use parking_lot::Mutex;
use tokio::sync::{
    Notify,
    oneshot::{self, error::RecvError},
};

use crate::{
    answer::{Answer, Because, CallError},
    sending::SendingNote,
};

/// What the caller gets in the end.
pub(crate) type CallResult = Result<Answer, CallError>;

/// Who wants it done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The application.
    Application,
    /// The application, now or through an earlier process; it is written down under this id until it has ended.
    Durable {
        /// Where.
        letter: LetterId,
        /// An earlier process began it.
        resumed: bool,
    },
    /// The redrive of a parked call: nothing stands in for it, it goes back to where it was.
    Redrive(LetterId),
}

impl Origin {
    /// Where a durable call is written down.
    pub(crate) fn durable(self) -> Option<LetterId> {
        match self {
            Self::Durable { letter, .. } => Some(letter),
            Self::Application | Self::Redrive(_) => None,
        }
    }

    /// Whether an earlier run may have left a claim on its key.
    pub(crate) fn comes_back(self) -> bool {
        matches!(self, Self::Redrive(_) | Self::Durable { resumed: true, .. })
    }
}

/// How far the attempts have come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Attempts that were made.
    pub(crate) attempts: u32,
    /// Tickets lost by crashes since the last attempt that was made.
    pub(crate) crashes: u32,
    /// Times the loop itself was lost.
    pub(crate) loops_lost: u32,
    /// When the key was first sent.
    pub(crate) first_sent: Option<Instant>,
    /// When the key was claimed by an earlier run of this call, whose effect is not known: it may have been sent since.
    pub(crate) sent_before: Option<Timestamp>,
    /// True once an attempt may have had its effect: from then on the call is never "not done".
    pub(crate) may_have_happened: bool,
    /// How the last attempt failed, once it is to be tried again.
    pub(crate) failed: Option<Because>,
    /// The ticket under way.
    pub(crate) flight: Option<Flight>,
}

/// Where the reply of a ticket is. It is not the loop's: a loop that is lost loses no reply.
#[derive(Default)]
enum Out {
    #[default]
    Nowhere,
    Awaited(oneshot::Receiver<Reply>),
    Arrived(Result<Reply, RecvError>),
}

/// A moment from which on an effect may not begin any more, and why not.
pub(crate) type BeginBy = (Instant, Refusal);

/// A live call.
pub(crate) struct Entry {
    pub(crate) call: Arc<AcceptedCall>,
    pub(crate) origin: Origin,
    pub(crate) offered_at: Instant,
    pub(crate) deadline: Instant,
    /// From when on the effect may not begin any more.
    pub(crate) begin_by: Option<BeginBy>,
    pub(crate) span: tracing::Span,
    /// What is on disk before anything is sent, for a call that is written down.
    note: OnceLock<Arc<SendingNote>>,
    progress: Mutex<Progress>,
    /// The way home of the ticket under way.
    out: Mutex<Out>,
    reply: Mutex<Option<oneshot::Sender<CallResult>>>,
    left: Mutex<Option<Leaving>>,
    leaving: Notify,
}

/// Why a call is to come to an end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Nobody waits for it any more.
    CallerGone,
    /// The runtime stops: what was not sent is written down.
    Shutdown,
}

impl Entry {
    pub(crate) fn new(
        call: AcceptedCall,
        origin: Origin,
        now: Instant,
        deadline: Instant,
        begin_by: Option<BeginBy>,
    ) -> (Arc<Self>, oneshot::Receiver<CallResult>) {
        let span = tracing::info_span!(
            target: "mainstay::call", "vendor.call", vendor = %call.vendor, operation = %call.operation, lane = %call.lane, call.id = %call.id
        );
        let (reply, answer) = oneshot::channel();
        let entry = Self {
            call: Arc::new(call),
            origin,
            offered_at: now,
            deadline,
            begin_by,
            span,
            note: OnceLock::new(),
            progress: Mutex::default(),
            out: Mutex::default(),
            reply: Mutex::new(Some(reply)),
            left: Mutex::new(None),
            leaving: Notify::new(),
        };
        (Arc::new(entry), answer)
    }

    /// Nothing is sent before this is on disk. `before`: since when an earlier process may have sent it.
    pub(crate) fn note_first(&self, note: Arc<SendingNote>, before: Option<Timestamp>) {
        let _ = self.note.set(note); // once, by whoever put the call into the table
        self.progress.lock().sent_before = before;
    }

    pub(crate) fn sending_note(&self) -> Option<Arc<SendingNote>> {
        self.note.get().cloned()
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    pub(crate) fn note<T>(&self, change: impl FnOnce(&mut Progress) -> T) -> T {
        change(&mut self.progress.lock())
    }

    /// Why it was not done, as it is written down. A breaker only repeats what the vendor said: where it does not let an attempt
    /// be tried again, the vendor's own failure stays the cause.
    pub(crate) fn failure(&self, because: &Because) -> Failure {
        match (because, self.progress().failed) {
            (Because::Refused(refusal), Some(Because::Failed { class, status, detail, .. }))
                if refusal.by == Guard::Breaker =>
            {
                Failure::new(class, status, format!("{class}: not tried again, {refusal}: {detail}"))
            }
            _ => because.failure(),
        }
    }

    /// A ticket is under way.
    pub(crate) fn sent_out(&self, flight: Flight, reply: oneshot::Receiver<Reply>) {
        *self.out.lock() = Out::Awaited(reply);
        self.progress.lock().flight = Some(flight);
    }

    /// Waits until the reply of the ticket under way is there; it stays until [`Self::take_reply`].
    pub(crate) async fn arrived(&self) {
        poll_fn(|cx| {
            let mut out = self.out.lock();
            if let Out::Awaited(reply) = &mut *out {
                let reply = ready!(Pin::new(reply).poll(cx));
                *out = Out::Arrived(reply);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// The reply that has arrived, with a note of what it means. `None`: the ticket was let go.
    pub(crate) fn take_reply(
        &self,
        note: impl FnOnce(&mut Progress, &Result<Reply, RecvError>),
    ) -> Option<Result<Reply, RecvError>> {
        let Out::Arrived(reply) = std::mem::take(&mut *self.out.lock()) else { return None };
        let mut progress = self.progress.lock();
        progress.flight = None;
        note(&mut progress, &reply);
        Some(reply)
    }

    /// Nobody waits for the ticket under way any more. Its reply, and with it its lease, reports for itself.
    pub(crate) fn let_go(&self) {
        let out = std::mem::take(&mut *self.out.lock());
        self.progress.lock().flight = None;
        drop(out);
    }

    /// Answers the caller, once. Later answers are not heard.
    pub(crate) fn answer(&self, result: CallResult) {
        if let Some(reply) = self.reply.lock().take() {
            let _ = reply.send(result);
        }
    }

    /// Wants the call to end. The first reason stands.
    pub(crate) fn leave(&self, why: Leaving) {
        self.left.lock().get_or_insert(why);
        self.leaving.notify_waiters();
    }

    /// Waits until somebody wants it to end.
    pub(crate) async fn left(&self) -> Leaving {
        loop {
            let leaving = self.leaving.notified();
            if let Some(why) = *self.left.lock() {
                return why;
            }
            leaving.await;
        }
    }
}
