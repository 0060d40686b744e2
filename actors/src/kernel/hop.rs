//! The one door for messages.
//!
//! actix bounds no mailbox in truth: `do_send` ignores the capacity (2,000,000 messages went into a mailbox of 1,024), and each
//! fresh `Addr` clone has a slot of its own. So the bound is ours: a [`Door`] counts what is inside and hands a message back
//! when the bound is met. This is the only module that may call `do_send`; a lint holds that.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use actix::{Actor, Addr, Handler, MailboxError, Message, Recipient, dev::ToEnvelope};
use tokio::sync::mpsc;

/// How many messages are in a mailbox, shared by all its doors.
#[derive(Debug, Clone, Default)]
pub struct Depth(Arc<AtomicUsize>);

impl Depth {
    /// Messages inside.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A message's place in a mailbox; leaving it (handled, or dropped with an unwind) frees the place.
#[derive(Debug)]
struct Place(Depth);

impl Place {
    fn take(depth: &Depth, limit: usize) -> Result<Self, usize> {
        let held = depth.0.fetch_add(1, Relaxed);
        let place = Self(depth.clone());
        if held < limit { Ok(place) } else { Err(held) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// A message on its way through a door.
#[derive(Debug)]
pub struct Hop<B> {
    /// What is sent.
    pub body: B,
    _place: Place,
}

impl<B: 'static> Message for Hop<B> {
    type Result = ();
}

/// The mailbox holds as many messages as it may. The message comes back.
#[derive(Debug)]
pub struct DoorFull<B> {
    /// What was to be sent.
    pub body: B,
    /// How many messages are inside.
    pub held: usize,
    /// How many may be.
    pub limit: usize,
}

enum Beyond<B: Send + 'static> {
    Actor(Recipient<Hop<B>>),
    Channel(mpsc::UnboundedSender<B>),
}

/// A bounded way into a mailbox. Cheap to clone; it stays valid through every restart of the actor behind it.
pub struct Door<B: Send + 'static> {
    beyond: Arc<Beyond<B>>,
    depth: Depth,
    limit: usize,
}

impl<B: Send + 'static> Door<B> {
    /// A door into the mailbox of `actor` that lets in at most `limit` messages at a time.
    pub fn new<A>(actor: Addr<A>, depth: Depth, limit: usize) -> Self
    where
        A: Actor + Handler<Hop<B>>,
        A::Context: ToEnvelope<A, Hop<B>>,
    {
        Self { beyond: Arc::new(Beyond::Actor(actor.recipient())), depth, limit }
    }

    /// A door that leads to a channel: how a stage is tested without the stage behind it.
    pub fn to_channel(limit: usize) -> (Self, mpsc::UnboundedReceiver<B>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Self { beyond: Arc::new(Beyond::Channel(tx)), depth: Depth::default(), limit }, rx)
    }

    /// Sends, or hands the message back when the mailbox is full. To an actor that was stopped, the message is dropped.
    pub fn pass(&self, body: B) -> Result<(), DoorFull<B>> {
        let place = match Place::take(&self.depth, self.limit) {
            Ok(place) => place,
            Err(held) => return Err(DoorFull { body, held, limit: self.limit }),
        };
        match &*self.beyond {
            #[expect(clippy::disallowed_methods, reason = "the one door: bounded by the place just taken")]
            Beyond::Actor(to) => to.do_send(Hop { body, _place: place }),
            Beyond::Channel(to) => drop(to.send(body)),
        }
        Ok(())
    }
}

impl<B: Send + 'static> Clone for Door<B> {
    fn clone(&self) -> Self {
        Self { beyond: self.beyond.clone(), depth: self.depth.clone(), limit: self.limit }
    }
}

impl<B: Send + 'static> std::fmt::Debug for Door<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({} of {})", self.depth.get(), self.limit)
    }
}

/// A question got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The actor crashed with this question in hand; it will answer the next one.
    #[error("the actor crashed with this question in hand")]
    Crashed,
    /// The actor was stopped.
    #[error("the actor was stopped")]
    Stopped,
}

/// Asks an actor from outside the actors (no actor awaits another). The number of askers is bounded by admission.
pub async fn ask<A, M>(actor: &Addr<A>, question: M) -> Result<M::Result, Lost>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    match actor.send(question).await {
        Ok(answer) => Ok(answer),
        Err(MailboxError::Closed | MailboxError::Timeout) if actor.connected() => Err(Lost::Crashed),
        Err(_) => Err(Lost::Stopped),
    }
}
