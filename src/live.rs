//! The table of live calls: who is under way, whether more are taken on, and how far the runtime has stopped.

use std::{
    collections::{HashMap, hash_map},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use mainstay_actors::{
    call::AcceptedCall,
    clock::Clock,
    ids::CallId,
    refusal::{Guard, Reason, Refusal},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::entry::{BeginBy, CallResult, Entry, Leaving, Origin};

/// Why a call does not get a place.
pub(crate) enum NotTaken {
    /// The table is full, or takes no more of the application's calls.
    Refused(Refusal),
    /// It has one: it is under way at this moment.
    UnderWay,
}

/// A call in the table, and where its answer comes.
pub(crate) type Taken = (Arc<Entry>, oneshot::Receiver<CallResult>);

/// The table. Bounded: what finds no place is refused.
pub(crate) struct LiveCalls {
    clock: Clock,
    most: usize,
    calls: Mutex<HashMap<CallId, Arc<Entry>>>,
    /// Letters that are being taken, and are no call in the table yet.
    taking: AtomicUsize,
    closed: AtomicBool,
    /// Rung when a call left the table, or a letter is not being taken any more.
    left: Notify,
    stopped: watch::Sender<bool>,
    abandoned: watch::Sender<bool>,
}

/// A call's place in the table. Given up in the end, whatever happens to the task of the call.
pub(crate) struct Place<'a> {
    live: &'a LiveCalls,
    /// Whose.
    pub(crate) call: CallId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.live.take_off(self.call);
    }
}

impl LiveCalls {
    pub(crate) fn new(clock: Clock, most: usize) -> Self {
        Self {
            clock,
            most,
            calls: Mutex::default(),
            taking: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            left: Notify::new(),
            stopped: watch::Sender::new(false),
            abandoned: watch::Sender::new(false),
        }
    }

    /// Puts a call into the table, once: a parked call whose lease ran out while it is still under way is not done twice.
    pub(crate) fn take_on(
        &self,
        call: AcceptedCall,
        origin: Origin,
        deadline: Duration,
        begin_by: Option<BeginBy>,
    ) -> Result<Taken, NotTaken> {
        let now = self.clock.now();
        let mut calls = self.calls.lock();
        let held = calls.len();
        // Under the lock: whoever closed the table and found it empty finds nothing in it later.
        if !matches!(origin, Origin::Redrive(_)) && self.is_closed() {
            return Err(NotTaken::Refused(Refusal::new(Guard::Gateway, Reason::ShuttingDown)));
        }
        let hash_map::Entry::Vacant(place) = calls.entry(call.id) else { return Err(NotTaken::UnderWay) };
        if held >= self.most {
            return Err(NotTaken::Refused(self.full(held)));
        }
        let (entry, answer) = Entry::new(call, origin, now, now + deadline, begin_by);
        place.insert(entry.clone());
        Ok((entry, answer))
    }

    /// The refusal of a call that finds no place.
    pub(crate) fn full(&self, held: usize) -> Refusal {
        let reason = Reason::Full { what: "table of live calls", held, limit: self.most };
        Refusal::new(Guard::Gateway, reason)
    }

    /// The place of a call that was taken on.
    pub(crate) fn place(&self, call: CallId) -> Place<'_> {
        Place { live: self, call }
    }

    /// Takes an ended call off the table.
    pub(crate) fn take_off(&self, call: CallId) {
        self.calls.lock().remove(&call);
        self.left.notify_waiters();
    }

    /// Waits until the application's own run of a call has left the table. It ends a moment after it parked the call.
    pub(crate) async fn until_handed_over(&self, call: CallId) {
        loop {
            let left = self.left.notified();
            let is_there =
                self.calls.lock().get(&call).is_some_and(|entry| !matches!(entry.origin, Origin::Redrive(_)));
            if !is_there {
                return;
            }
            left.await;
        }
    }

    /// Calls under way.
    pub(crate) fn len(&self) -> usize {
        self.calls.lock().len()
    }

    pub(crate) fn contains(&self, call: CallId) -> bool {
        self.calls.lock().contains_key(&call)
    }

    /// A call that is under way.
    pub(crate) fn call_of(&self, call: CallId) -> Option<Arc<AcceptedCall>> {
        self.calls.lock().get(&call).map(|entry| entry.call.clone())
    }

    /// Takes nothing on any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// A letter is about to be taken.
    pub(crate) fn begin_taking(&self) {
        self.taking.fetch_add(1, SeqCst);
    }

    /// It is in the table, or stays where it is.
    pub(crate) fn end_taking(&self) {
        self.taking.fetch_sub(1, SeqCst);
        self.left.notify_waiters();
    }

    /// Waits until no call is under way.
    pub(crate) async fn until_idle(&self) {
        loop {
            let left = self.left.notified();
            // In this order: what is not being taken any more is in the table by now.
            if self.taking.load(SeqCst) == 0 && self.len() == 0 {
                return;
            }
            left.await;
        }
    }

    /// Tells every call that is still under way to come to an end.
    pub(crate) fn dismiss_all(&self) {
        let entries: Vec<_> = self.calls.lock().values().cloned().collect();
        for entry in entries {
            entry.leave(Leaving::Shutdown);
        }
    }

    /// The runtime stops and waits for no answer any more: what is on the wire is written down as unknown.
    pub(crate) fn abandon_all(&self) {
        self.abandoned.send_replace(true);
    }

    /// Until [`Self::abandon_all`].
    pub(crate) async fn until_abandoned(&self) {
        // The sender lives as long as the table.
        let _ = self.abandoned.subscribe().wait_for(|abandoned| *abandoned).await;
    }

    /// Ends the runtime's own tasks.
    pub(crate) fn stop_tasks(&self) {
        self.close();
        self.stopped.send_replace(true);
    }

    /// Runs one of the runtime's own tasks until it ends, or the runtime does.
    pub(crate) async fn until_stopped(&self, task: impl Future<Output = ()>) {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            () = task => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jiff::Timestamp;
    use mainstay_actors::ids::{LetterId, OperationId, VendorId};
    use uuid::Uuid;

    use super::*;

    const REDRIVE: Origin = Origin::Redrive(LetterId(Uuid::nil()));

    fn take_on(live: &LiveCalls, call: u128, origin: Origin) -> Result<CallId, NotTaken> {
        let (id, vendor) = (CallId(Uuid::from_u128(call)), VendorId::new("clay").unwrap());
        let call =
            AcceptedCall::new(id, vendor, OperationId::new("push-row").unwrap(), ().into(), Timestamp::UNIX_EPOCH);
        live.take_on(call, origin, Duration::from_secs(60), None).map(|_| id)
    }

    fn table() -> LiveCalls {
        LiveCalls::new(Clock::default(), 100)
    }

    #[test]
    fn a_closed_table_takes_no_new_call_even_from_one_who_saw_it_open_and_ends_what_is_parked() {
        let live = table();
        live.close();
        let Err(NotTaken::Refused(refusal)) = take_on(&live, 1, Origin::Application) else { panic!("taken on") };
        assert_eq!(refusal.reason, Reason::ShuttingDown);
        assert!(take_on(&live, 2, REDRIVE).is_ok());
    }

    #[test]
    fn a_table_is_idle_when_no_call_is_in_it_and_none_is_on_its_way() {
        let live = table();
        let is_idle = || live.until_idle().now_or_never().is_some();
        assert!(is_idle());
        live.begin_taking();
        assert!(!is_idle());
        let call = take_on(&live, 1, REDRIVE).ok().unwrap();
        live.end_taking();
        assert!(!is_idle());
        live.take_off(call);
        assert!(is_idle());
    }

    #[tokio::test]
    async fn a_parked_call_is_handed_over_when_the_run_that_parked_it_has_left() {
        let live = table();
        let call = take_on(&live, 1, Origin::Application).ok().unwrap();
        let leaves = async {
            tokio::task::yield_now().await;
            live.take_off(call);
        };
        tokio::join!(biased; live.until_handed_over(call), leaves);
        take_on(&live, 1, REDRIVE).ok().unwrap();
        assert!(live.until_handed_over(call).now_or_never().is_some(), "another redrive has it: nothing to wait for");
    }
}
