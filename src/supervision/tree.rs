//! The tree: it hears of exits, asks the rules, and gives the orders. Its lock is never held while it calls anybody.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use mainstay_actors::{
    clock::{Clock, Rng},
    fact::{Fact, FactSink},
    ids::{ActorId, VendorId},
    kernel::{Cause, Child, ChildState, Exit, Overseer, Verdict, Worker},
};
use parking_lot::Mutex;

use super::{
    records::{Orders, Records},
    spec::{ChildSpec, RootSpec, SupervisorSpec},
    status::{SupervisorStatus, Totals, TreeStatus},
};

/// A supervisor of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SupervisorKey(usize);

/// Called once, with the reason, when the runtime can not go on: the store must be flushed and calls refused in words.
pub type OnFatal = Box<dyn Fn(Arc<str>) + Send + Sync>;

#[derive(Default)]
struct Fatal {
    cause: Option<Arc<str>>,
    callback: Option<Arc<OnFatal>>,
    told: bool,
}

struct Inner {
    facts: Arc<dyn FactSink>,
    clock: Clock,
    records: Mutex<Records>,
    fatal: Mutex<Fatal>,
}

/// All supervisors and their children. Cheap to clone.
#[derive(Clone)]
pub struct Tree(Arc<Inner>);

impl Tree {
    /// An empty tree. `rng` spreads the pauses before restarts.
    pub fn new(facts: Arc<dyn FactSink>, clock: Clock, rng: Rng, root: RootSpec) -> Self {
        let records = Mutex::new(Records::new(root, rng));
        Self(Arc::new(Inner { facts, clock, records, fatal: Mutex::default() }))
    }

    /// Adds a supervisor.
    pub fn supervisor(&self, spec: SupervisorSpec) -> SupervisorKey {
        SupervisorKey(self.0.records.lock().supervisor(spec))
    }

    /// What a vault needs before it exists. It finds its child by name, so the child must be adopted before it is launched:
    /// one that was not is parked at its first exit.
    pub fn overseer(&self, _of: SupervisorKey) -> Arc<dyn Overseer> {
        Arc::new(Seat(Arc::downgrade(&self.0)))
    }

    /// Takes a child in, in order of start. False, and nothing is done, when its name is taken.
    pub fn adopt(&self, under: SupervisorKey, child: Arc<dyn Child>, spec: ChildSpec) -> bool {
        self.take_in(under, child, spec, false)
    }

    /// Takes in a child that the others do without: past its limit it is parked, and its supervisor stays up.
    pub fn adopt_optional(&self, under: SupervisorKey, child: Arc<dyn Child>, spec: ChildSpec) -> bool {
        self.take_in(under, child, spec, true)
    }

    fn take_in(&self, under: SupervisorKey, child: Arc<dyn Child>, spec: ChildSpec, optional: bool) -> bool {
        let id = child.id().clone();
        let adopted = self.0.records.lock().adopt(under.0, child, spec, optional);
        if !adopted {
            tracing::warn!(target: "mainstay::supervision", actor = %id, "{id} was not adopted: its name is taken");
        }
        adopted
    }

    /// Launches every child in the order of adoption.
    pub fn launch_all(&self) {
        let order = self.0.records.lock().order.clone();
        order.iter().for_each(|child| child.launch());
    }

    /// Stops every child for good, the last adopted first. What is still queued is answered with `Stopped`.
    pub fn stop_all(&self) {
        let order = {
            let mut records = self.0.records.lock();
            records.stopping = true;
            records.order.clone()
        };
        order.iter().rev().for_each(|child| child.stop());
        tracing::info!(target: "mainstay::supervision", actors = order.len(), "all actors are stopped");
    }

    /// Sets what is called, once, when the runtime can not go on; at once if that is so already.
    pub fn on_fatal(&self, callback: OnFatal) {
        self.0.fatal.lock().callback = Some(Arc::new(callback));
        self.0.tell_fatal();
    }

    /// Why calls to this supervisor's vendor are refused, if they are.
    pub fn down_cause(&self, key: SupervisorKey) -> Option<Arc<str>> {
        self.0.records.lock().supervisors.get(key.0)?.down.clone()
    }

    /// What one child is doing.
    pub fn state_of(&self, child: &ActorId) -> Option<ChildState> {
        let child = self.0.records.lock().order.iter().find(|known| known.id() == child).cloned();
        child.map(|child| child.status().state)
    }

    /// The supervisor of a vendor.
    pub fn of_vendor(&self, vendor: &VendorId) -> Option<SupervisorKey> {
        let records = self.0.records.lock();
        records.supervisors.iter().position(|known| known.spec.vendor.as_ref() == Some(vendor)).map(SupervisorKey)
    }

    /// Forgets the past of a supervisor and its children and runs what is parked. False after [`Self::stop_all`].
    pub fn revive(&self, key: SupervisorKey) -> bool {
        let orders = self.0.records.lock().revive(key.0);
        orders.map(|orders| self.0.carry_out(orders)).is_some()
    }

    /// Starts one child again, for an operator: what it has in hand is finished first, its queue is kept. False when there is
    /// no such child, or after [`Self::stop_all`].
    pub fn relaunch(&self, child: &ActorId) -> bool {
        let orders = self.0.records.lock().relaunch(child);
        orders.map(|orders| self.0.carry_out(orders)).is_some()
    }

    /// What everybody does.
    pub fn status(&self) -> TreeStatus {
        let (parts, totals) = {
            let records = self.0.records.lock();
            let parts: Vec<_> = records
                .supervisors
                .iter()
                .map(|known| {
                    let children: Vec<_> = known.children.iter().map(|record| record.child.clone()).collect();
                    (known.spec.clone(), known.down.clone(), children)
                })
                .collect();
            (parts, records.totals)
        };
        let supervisors = parts
            .into_iter()
            .map(|(spec, down, children)| SupervisorStatus {
                id: spec.id,
                vendor: spec.vendor,
                strategy: spec.strategy,
                down,
                children: children.iter().map(|child| child.status()).collect(),
            })
            .collect();
        TreeStatus { supervisors, totals, fatal: self.0.fatal.lock().cause.clone() }
    }

    /// Panics, hangs, restarts and parkings counted so far.
    pub fn totals(&self) -> Totals {
        self.0.records.lock().totals
    }

    /// The children that live on a thread.
    pub(super) fn living_on(&self, worker: &Worker) -> Vec<Arc<dyn Child>> {
        let mut order = self.0.records.lock().order.clone();
        order.retain(|child| child.worker().is(worker) && child.status().state != ChildState::Stopped);
        order
    }

    /// Moves the children of a stuck thread to a spare one, and counts the hang of the one that was at work.
    pub(super) fn evacuate(&self, stuck: &Worker, spare: &Worker) {
        let children = self.living_on(stuck);
        children.iter().for_each(|child| child.evacuate(spare.clone()));
        self.state_stuck(stuck, children.len());
        for child in children {
            // The record names a message only for the one that had begun one: its neighbours are innocent.
            let Some(exit) = child.status().last_exit else { continue };
            if exit.cause == Cause::Hang && exit.in_hand.is_some() {
                self.0.hung(&*child, &exit);
            }
        }
    }

    pub(super) fn state_stuck(&self, stuck: &Worker, moved: usize) {
        let thread = stuck.name().clone();
        tracing::warn!(target: "mainstay::supervision", %thread, moved, "thread {thread} does not turn; {moved} actors were moved away");
        self.0.facts.state(Fact::ThreadStuck { thread, moved });
    }

    pub(super) fn fatal(&self, cause: Arc<str>) {
        self.0.note_fatal(cause);
    }

    /// Says how many log lines were left out, when a storm is over.
    pub(super) fn say_left_out(&self) {
        let left_out = self.0.records.lock().left_out(self.0.clock.now());
        left_out.iter().for_each(|(id, lines)| say_left_out(id, *lines));
    }
}

impl Inner {
    fn carry_out(&self, orders: Orders) {
        orders.facts.into_iter().for_each(|fact| self.state(fact));
        orders.park.iter().for_each(|(child, cause)| child.park(cause.clone()));
        orders.launch.iter().for_each(|child| child.launch());
        if let Some(cause) = orders.fatal {
            self.note_fatal(cause);
        }
    }

    /// States a fact. The rare ones are always logged; exits and restarts have a limit of their own.
    fn state(&self, fact: Fact) {
        match &fact {
            Fact::ActorParked { actor, cause } => {
                tracing::error!(target: "mainstay::supervision", %actor, %cause, "{actor} is parked, its queue is kept: {cause}");
            }
            Fact::VendorDown { vendor, cause } => {
                tracing::error!(target: "mainstay::supervision", %vendor, %cause, "calls to {vendor} are refused: {cause}");
            }
            Fact::VendorUp { vendor } => {
                tracing::info!(target: "mainstay::supervision", %vendor, "{vendor} is revived");
            }
            _ => {}
        }
        self.facts.state(fact);
    }

    fn exited(&self, id: &ActorId, exit: &Exit) -> Verdict {
        let mut orders = self.records.lock().exited(self.clock.now(), id, exit);
        let verdict = orders.verdict.take().unwrap_or(Verdict::Leave);
        self.log_exit(id, exit, &verdict, &orders);
        self.carry_out(orders);
        verdict
    }

    fn hung(&self, child: &dyn Child, exit: &Exit) {
        let mut orders = self.records.lock().hung(self.clock.now(), child.id(), exit);
        let verdict = orders.verdict.take().unwrap_or(Verdict::Leave);
        self.log_exit(child.id(), exit, &verdict, &orders);
        self.carry_out(orders);
        match verdict {
            Verdict::Restart { .. } => {} // it runs on the spare thread already
            Verdict::Park { cause } => child.park(cause),
            Verdict::Leave => child.stop(),
        }
    }

    fn log_exit(&self, id: &ActorId, exit: &Exit, verdict: &Verdict, orders: &Orders) {
        if let Some(lines) = orders.left_out {
            say_left_out(id, lines);
        }
        if !orders.loud {
            return;
        }
        let (cause, detail, generation) = (exit.cause, &exit.detail, exit.generation);
        let in_hand = exit.in_hand.as_deref();
        let next = match verdict {
            Verdict::Restart { after } => format!("starts again after {after:.1?}"),
            Verdict::Park { .. } => "is parked".into(),
            Verdict::Leave => "is left".into(),
        };
        tracing::warn!(target: "mainstay::supervision", actor = %id, %cause, %detail, generation, in_hand, "{id} ended ({cause}) and {next}");
    }

    fn note_fatal(&self, cause: Arc<str>) {
        {
            let mut fatal = self.fatal.lock();
            if fatal.cause.is_some() {
                return;
            }
            fatal.cause = Some(cause.clone());
        }
        tracing::error!(target: "mainstay::supervision", %cause, "the runtime can not go on: {cause}");
        self.tell_fatal();
    }

    fn tell_fatal(&self) {
        let (callback, cause) = {
            let mut fatal = self.fatal.lock();
            let (Some(callback), Some(cause), false) = (fatal.callback.clone(), fatal.cause.clone(), fatal.told) else {
                return;
            };
            fatal.told = true;
            (callback, cause)
        };
        callback(cause);
    }
}

fn say_left_out(id: &ActorId, lines: u64) {
    tracing::warn!(target: "mainstay::supervision", actor = %id, lines, "{lines} more lines about {id} were left out");
}

/// The tree as its children's vaults see it. It does not keep the tree alive.
struct Seat(Weak<Inner>);

impl Overseer for Seat {
    fn on_exit(&self, child: &ActorId, exit: &Exit) -> Verdict {
        match self.0.upgrade() {
            Some(tree) => tree.exited(child, exit),
            None => Verdict::Leave, // the runtime is gone
        }
    }

    fn on_start(&self, child: &ActorId, generation: u64) {
        let Some(tree) = self.0.upgrade() else { return };
        let orders = tree.records.lock().started(tree.clock.now(), child, generation);
        if let Some(lines) = orders.left_out {
            say_left_out(child, lines);
        }
        if orders.loud {
            tracing::info!(target: "mainstay::supervision", actor = %child, generation, "{child} runs again");
        }
        tree.carry_out(orders);
    }

    fn on_report_set_aside(&self, child: &ActorId, attempts: u32) {
        let Some(tree) = self.0.upgrade() else { return };
        tracing::error!(target: "mainstay::supervision", actor = %child, attempts, "a report that crashed {child} {attempts} times is set aside");
        tree.facts.state(Fact::ReportSetAside { actor: child.clone(), attempts });
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.0.records.lock();
        write!(f, "Tree({} supervisors, {} children)", records.supervisors.len(), records.order.len())
    }
}

#[cfg(test)]
mod tests;
