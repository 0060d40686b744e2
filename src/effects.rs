//! Effects that outlive their attempt: calls the vendor took on, and calls of which nobody knows.
//!
//! Each holds its [`Lease`] (the reservation, and for a phone call the slots) until the application passes its end to
//! `complete`, or until it is overdue. Then the slots go back and the money of an accepted effect counts as spent, because
//! the vendor said that it took it on; the money of an unknown one stays reserved for a person to decide.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay_actors::{
    call::AcceptedCall,
    clock::Clock,
    dlq::LetterId,
    fact::{Fact, FactSink},
    grant::Ending,
    health::Callbacks,
    ids::{CallId, VendorId},
    profile::Ended,
    ticket::Lease,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{answer::Completion, facts::FactBus};

/// How many effects may be open. Beyond it an accepted effect is settled at its reservation at once, and an unknown one keeps
/// its money reserved without an entry here.
pub const OPEN_MAX: usize = 100_000;

/// Ends that came before their call had ended; beyond it they are refused, and the vendor sends them again.
const EARLY_MAX: usize = 4_096;

/// Why an effect is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The vendor took it on.
    Accepted,
    /// It may have happened; parked under this id. `None`: its process died with it on the wire, and only its key is known.
    Unknown(Option<LetterId>),
    /// It may have happened, and a person purged its letter.
    Purged,
}

/// An effect that was open, and is ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Closed {
    pub(crate) call: Arc<AcceptedCall>,
    pub(crate) kind: Kind,
}

struct Open {
    call: Arc<AcceptedCall>,
    kind: Kind,
    /// `None` when the attempt loop was lost with it: its grants have reported for themselves.
    lease: Option<Lease>,
    since: Instant,
    due: Instant,
    /// Who waits for its end hears it here.
    told: Option<watch::Sender<Option<Completion>>>,
}

/// What one vendor took on.
#[derive(Default)]
struct Book {
    acknowledged: u64,
    owed: BTreeSet<(Instant, CallId)>,
}

#[derive(Default)]
struct Table {
    open: BTreeMap<CallId, Open>,
    due: BTreeSet<(Instant, CallId)>,
    books: BTreeMap<VendorId, Book>,
    early: BTreeMap<CallId, Completion>,
    overdue: u64,
}

impl Table {
    fn put(&mut self, open: Open) {
        let call = open.call.id;
        self.due.insert((open.due, call));
        if open.kind == Kind::Accepted {
            let book = self.books.entry(open.call.vendor.clone()).or_default();
            book.acknowledged += 1;
            book.owed.insert((open.since, call));
        }
        self.open.insert(call, open);
    }

    fn take(&mut self, call: CallId) -> Option<Open> {
        let open = self.open.remove(&call)?;
        self.due.remove(&(open.due, call));
        if let Some(book) = self.books.get_mut(&open.call.vendor) {
            book.owed.remove(&(open.since, call));
        }
        Some(open)
    }
}

/// The table of open effects.
pub(crate) struct OpenEffects {
    table: Mutex<Table>,
    clock: Clock,
    facts: FactBus,
    changed: Notify,
}

/// What `complete` found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// It was open and is ended.
    Ended(Closed),
    /// Its call is still under way; the end is kept for it.
    Early,
    /// No such effect is open.
    Nothing,
}

impl OpenEffects {
    pub(crate) fn new(clock: Clock, facts: FactBus) -> Self {
        Self { table: Mutex::default(), clock, facts, changed: Notify::new() }
    }

    /// Holds an effect open, in place of an earlier one of its call. One without a lease goes on with the earlier one's. Else
    /// that of an unknown one is returned: dropped, its money stays reserved.
    pub(crate) fn hold(
        &self,
        call: &Arc<AcceptedCall>,
        kind: Kind,
        lease: Option<Lease>,
        within: Duration,
    ) -> Option<Lease> {
        let mut table = self.table.lock();
        let earlier = table.take(call.id);
        let was_unknown = earlier.as_ref().is_some_and(|open| open.kind != Kind::Accepted);
        let earlier = earlier.and_then(|open| open.lease);
        let (lease, earlier) = if lease.is_some() { (lease, earlier) } else { (earlier, None) };
        if table.open.len() >= OPEN_MAX {
            drop(table);
            let vendor = &call.vendor;
            tracing::warn!(target: "mainstay::effects", %vendor, call = %call.id, open = OPEN_MAX, "too many open effects of {vendor}: this one is not followed");
            if kind == Kind::Accepted {
                end(lease, &Completion::happened(None));
            }
            return earlier.filter(|_| was_unknown);
        }
        let since = self.clock.now();
        table.put(Open { call: call.clone(), kind, lease, since, due: since + within, told: None });
        drop(table);
        self.changed.notify_one();
        earlier.filter(|_| was_unknown)
    }

    /// The call is done: an unknown effect of it is not followed any more, and its lease is returned. What the vendor took on
    /// still has an end to come.
    pub(crate) fn forget(&self, call: CallId) -> Option<Lease> {
        let mut table = self.table.lock();
        let is_unknown = table.open.get(&call).is_some_and(|open| open.kind != Kind::Accepted);
        let earlier = if is_unknown { table.take(call) } else { None };
        drop(table);
        earlier?.lease
    }

    /// The letter of an unknown effect was purged. Its end may still come.
    pub(crate) fn purged(&self, call: CallId) {
        if let Some(open) = self.table.lock().open.get_mut(&call).filter(|open| open.kind != Kind::Accepted) {
            open.kind = Kind::Purged;
        }
    }

    /// Ends an effect. `under_way` says whether the call has not ended yet: then its end is kept until it has. So it is with
    /// an unknown effect too, which must be counted and written down as unknown before it is found out.
    pub(crate) fn complete(&self, call: CallId, completion: Completion, under_way: impl FnOnce() -> bool) -> Found {
        let mut table = self.table.lock();
        let under_way = under_way();
        let open = table.open.get(&call).map(|open| open.kind);
        if open.is_some_and(|kind| kind == Kind::Accepted || !under_way)
            && let Some(open) = table.take(call)
        {
            drop(table);
            end(open.lease, &completion);
            if let Some(told) = open.told {
                told.send_replace(Some(completion));
            }
            return Found::Ended(Closed { call: open.call, kind: open.kind });
        }
        if under_way && table.early.len() < EARLY_MAX && !table.early.contains_key(&call) {
            table.early.insert(call, completion);
            return Found::Early;
        }
        Found::Nothing
    }

    /// The call of an open effect.
    pub(crate) fn call_of(&self, call: CallId) -> Option<Arc<AcceptedCall>> {
        self.table.lock().open.get(&call).map(|open| open.call.clone())
    }

    /// Whether an effect is open for this reason.
    pub(crate) fn is_open(&self, call: CallId, kind: Kind) -> bool {
        self.table.lock().open.get(&call).is_some_and(|open| open.kind == kind)
    }

    /// An unknown effect was found at the vendor: from now on it is one that the vendor took on. False when it is open for
    /// that reason no more, or its call is under way again: then what comes of that counts.
    pub(crate) fn found(&self, call: CallId, kind: Kind, within: Duration, under_way: impl FnOnce() -> bool) -> bool {
        let mut table = self.table.lock();
        if under_way() || table.open.get(&call).is_none_or(|open| open.kind != kind) {
            return false;
        }
        let Some(open) = table.take(call) else { return false };
        table.put(Open { kind: Kind::Accepted, due: self.clock.now() + within, ..open });
        drop(table);
        self.changed.notify_one();
        true
    }

    /// The end of an open effect, once it comes. `None` when none is open, or when its end is overdue.
    pub(crate) async fn end_of(&self, call: CallId) -> Option<Completion> {
        let mut hear = {
            let mut table = self.table.lock();
            table.open.get_mut(&call)?.told.get_or_insert_default().subscribe()
        };
        let told = hear.wait_for(Option::is_some).await.ok()?;
        told.clone()
    }

    /// The call ended: the end that came before, if one did.
    pub(crate) fn take_early(&self, call: CallId) -> Option<Completion> {
        self.table.lock().early.remove(&call)
    }

    /// Open effects, and how many were overdue so far.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let table = self.table.lock();
        (table.open.len(), table.overdue)
    }

    /// What a vendor took on and owes.
    pub(crate) fn callbacks(&self, vendor: &VendorId) -> Callbacks {
        let table = self.table.lock();
        let Some(Book { acknowledged, owed }) = table.books.get(vendor) else { return Callbacks::default() };
        let oldest = owed.first().map(|(since, _)| *since);
        Callbacks { acknowledged: *acknowledged, owed: owed.len() as u64, oldest }
    }

    /// Lets go of what is overdue, for ever.
    pub(crate) async fn sweep(&self) {
        loop {
            let changed = self.changed.notified();
            let next = self.table.lock().due.first().map(|(due, _)| *due);
            match next {
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => self.let_go(),
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    fn let_go(&self) {
        let now = self.clock.now();
        loop {
            let mut table = self.table.lock();
            let Some((due, call)) = table.due.first().copied().filter(|(due, _)| *due <= now) else { return };
            table.due.remove(&(due, call));
            if let Some(open) = table.open.get_mut(&call)
                && open.kind != Kind::Accepted
            {
                open.lease.iter_mut().for_each(Lease::release_slots);
                continue;
            }
            let Some(open) = table.take(call) else { continue };
            table.overdue += 1;
            drop(table);
            let vendor = open.call.vendor.clone();
            end(open.lease, &Completion::happened(None));
            self.facts.state(Fact::CallbackOverdue { vendor, call });
        }
    }
}

fn end(lease: Option<Lease>, completion: &Completion) {
    if let Some(lease) = lease {
        lease.end(ending(completion));
    }
}

fn ending(completion: &Completion) -> Ending {
    let Ended { class, effect, cost, also } = completion.ended();
    Ending { class, effect, cost, also, retry_after: None, elapsed: Duration::ZERO }
}
