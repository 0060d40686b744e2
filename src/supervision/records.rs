//! What the tree knows, behind its lock: it turns exits into orders and calls nobody.

use std::{collections::HashMap, sync::Arc, time::Instant};

use mainstay_actors::{
    clock::Rng,
    fact::Fact,
    ids::ActorId,
    kernel::{Cause, Child, Exit, Verdict},
};

use super::{
    intensity::{ChildRule, Decision, LogGate, Window},
    spec::{ChildSpec, RootSpec, Strategy, SupervisorSpec},
    status::Totals,
};

/// What must be done once the lock is free.
#[derive(Default)]
pub(super) struct Orders {
    pub(super) verdict: Option<Verdict>,
    pub(super) facts: Vec<Fact>,
    pub(super) park: Vec<(Arc<dyn Child>, Arc<str>)>,
    pub(super) launch: Vec<Arc<dyn Child>>,
    pub(super) fatal: Option<Arc<str>>,
    /// Whether this exit or start gets a log line.
    pub(super) loud: bool,
    /// Log lines of this child that an earlier second left out.
    pub(super) left_out: Option<u64>,
}

pub(super) struct ChildRecord {
    pub(super) child: Arc<dyn Child>,
    rule: ChildRule,
    gate: LogGate,
    restarts: u64,
    parked: bool,
    /// The others do without it.
    optional: bool,
    /// Its next start takes its younger siblings with it.
    leads: bool,
}

pub(super) struct SupervisorRecord {
    pub(super) spec: SupervisorSpec,
    window: Window,
    pub(super) down: Option<Arc<str>>,
    pub(super) children: Vec<ChildRecord>,
}

/// A child's place: its supervisor, and its number under it.
#[derive(Clone, Copy)]
struct Place(usize, usize);

/// Everything, bounded by the number of actors, which the configuration bounds.
pub(super) struct Records {
    pub(super) supervisors: Vec<SupervisorRecord>,
    places: HashMap<ActorId, Place>,
    /// In order of start.
    pub(super) order: Vec<Arc<dyn Child>>,
    root: Window,
    rng: Rng,
    pub(super) totals: Totals,
    pub(super) stopping: bool,
}

impl Records {
    pub(super) fn new(root: RootSpec, rng: Rng) -> Self {
        Self {
            supervisors: Vec::new(),
            places: HashMap::new(),
            order: Vec::new(),
            root: Window::new(root.intensity),
            rng,
            totals: Totals::default(),
            stopping: false,
        }
    }

    pub(super) fn supervisor(&mut self, spec: SupervisorSpec) -> usize {
        let window = Window::new(spec.intensity);
        self.supervisors.push(SupervisorRecord { spec, window, down: None, children: Vec::new() });
        self.supervisors.len() - 1
    }

    /// False when there is no such supervisor, or a child of this name already.
    pub(super) fn adopt(&mut self, supervisor: usize, child: Arc<dyn Child>, spec: ChildSpec, optional: bool) -> bool {
        let Some(record) = self.supervisors.get_mut(supervisor) else { return false };
        if self.places.contains_key(child.id()) {
            return false;
        }
        self.places.insert(child.id().clone(), Place(supervisor, record.children.len()));
        self.order.push(child.clone());
        let (rule, gate) = (ChildRule::new(spec), LogGate::default());
        record.children.push(ChildRecord { child, rule, gate, restarts: 0, parked: false, optional, leads: false });
        true
    }

    fn find(&mut self, id: &ActorId) -> Option<(Place, &mut SupervisorRecord)> {
        let place = *self.places.get(id)?;
        Some((place, self.supervisors.get_mut(place.0)?))
    }

    /// An incarnation ended. The verdict says what becomes of it.
    pub(super) fn exited(&mut self, now: Instant, id: &ActorId, exit: &Exit) -> Orders {
        self.count(exit.cause);
        let mut orders = Orders { facts: vec![exit_fact(id, exit)], loud: true, ..Orders::default() };
        let (stopping, rng) = (self.stopping, self.rng.clone());
        let Some((place, supervisor)) = self.find(id) else {
            orders.verdict = Some(Verdict::Park { cause: "no supervisor has adopted it".into() });
            return orders;
        };
        let Some(record) = supervisor.children.get_mut(place.1) else { return orders };
        orders.left_out = record.gate.left_out(now);
        orders.loud = record.gate.admit(now);
        if stopping {
            orders.verdict = Some(Verdict::Leave);
            return orders;
        }
        if let (true, Some(cause)) = (record.parked, &supervisor.down) {
            orders.verdict = Some(Verdict::Park { cause: cause.clone() });
            return orders;
        }
        match record.rule.on_exit(now, exit.cause) {
            Decision::Leave => orders.verdict = Some(Verdict::Leave),
            Decision::Park => {
                let cause = format!("{id} {}: {}", record.rule.window().in_words("restarts"), exit.detail);
                self.park_one(now, place, cause.into(), &mut orders);
            }
            Decision::Restart { counted: true, .. } if !record.optional && supervisor.window.note(now) => {
                let limit = supervisor.window.in_words("restarts");
                let cause = format!("{} {limit}, the last of {id}: {}", supervisor.spec.id, exit.detail);
                self.park_all(now, place, cause.into(), &mut orders);
            }
            Decision::Restart { after, .. } => {
                record.leads = supervisor.spec.strategy == Strategy::RestForOne;
                let after = rng.jitter(after, record.rule.jitter());
                orders.verdict = Some(Verdict::Restart { after });
            }
        }
        orders
    }

    fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Panic | Cause::Factory => self.totals.panics += 1,
            Cause::Hang => self.totals.hangs += 1,
            Cause::Stopped | Cause::Relaunched => {}
        }
    }

    fn park_one(&mut self, now: Instant, place: Place, cause: Arc<str>, orders: &mut Orders) {
        orders.verdict = Some(Verdict::Park { cause: cause.clone() });
        let record = self.supervisors.get_mut(place.0).and_then(|supervisor| supervisor.children.get_mut(place.1));
        let Some(record) = record else { return };
        record.parked = true;
        self.totals.parked += 1;
        orders.facts.push(Fact::ActorParked { actor: record.child.id().clone(), cause: cause.clone() });
        if !record.optional {
            self.go_down(now, place.0, cause, orders);
        }
    }

    fn park_all(&mut self, now: Instant, guilty: Place, cause: Arc<str>, orders: &mut Orders) {
        orders.verdict = Some(Verdict::Park { cause: cause.clone() });
        let Some(supervisor) = self.supervisors.get_mut(guilty.0) else { return };
        for (n, record) in supervisor.children.iter_mut().enumerate().filter(|(_, record)| !record.parked) {
            record.parked = true;
            self.totals.parked += 1;
            orders.facts.push(Fact::ActorParked { actor: record.child.id().clone(), cause: cause.clone() });
            if n != guilty.1 {
                orders.park.push((record.child.clone(), cause.clone()));
            }
        }
        self.go_down(now, guilty.0, cause, orders);
    }

    /// Escalates, once: to the vendor, and from there to the root; without a vendor, to the root at once.
    fn go_down(&mut self, now: Instant, supervisor: usize, cause: Arc<str>, orders: &mut Orders) {
        let Some(supervisor) = self.supervisors.get_mut(supervisor).filter(|known| known.down.is_none()) else {
            return;
        };
        supervisor.down = Some(cause.clone());
        match supervisor.spec.vendor.clone() {
            None => orders.fatal = Some(cause),
            Some(vendor) => {
                orders.facts.push(Fact::VendorDown { vendor, cause: cause.clone() });
                if self.root.note(now) {
                    orders.fatal = Some(format!("the root {}: {cause}", self.root.in_words("vendors down")).into());
                }
            }
        }
    }

    /// A hang: the child runs on a spare thread already, so its siblings follow at once.
    pub(super) fn hung(&mut self, now: Instant, id: &ActorId, exit: &Exit) -> Orders {
        let mut orders = self.exited(now, id, exit);
        orders.launch = self.led_by(id);
        orders
    }

    /// An incarnation runs.
    pub(super) fn started(&mut self, now: Instant, id: &ActorId, generation: u64) -> Orders {
        let mut orders = Orders { launch: self.led_by(id), ..Orders::default() };
        if generation < 2 {
            return orders;
        }
        let Some((place, supervisor)) = self.find(id) else { return orders };
        let Some(record) = supervisor.children.get_mut(place.1) else { return orders };
        record.restarts += 1;
        orders.left_out = record.gate.left_out(now);
        orders.loud = record.gate.admit(now);
        orders.facts.push(Fact::ActorRestarted { actor: id.clone(), generation, restarts: record.restarts });
        self.totals.restarts += 1;
        orders
    }

    /// The younger siblings that start again with this child, once for each of its exits.
    fn led_by(&mut self, id: &ActorId) -> Vec<Arc<dyn Child>> {
        let Some((place, supervisor)) = self.find(id) else { return Vec::new() };
        let leads = supervisor.children.get_mut(place.1).is_some_and(|record| std::mem::take(&mut record.leads));
        if !leads {
            return Vec::new();
        }
        let younger = supervisor.children.iter().skip(place.1 + 1).filter(|record| !record.parked);
        younger.map(|record| record.child.clone()).collect()
    }

    /// Forgets what happened to a supervisor and its children, and orders the parked ones to run. `None` if it is unknown.
    pub(super) fn revive(&mut self, supervisor: usize) -> Option<Orders> {
        let record = self.supervisors.get_mut(supervisor).filter(|_| !self.stopping)?;
        record.window.forget();
        let mut orders = Orders::default();
        for child in &mut record.children {
            child.rule.forget();
            if std::mem::take(&mut child.parked) {
                orders.launch.push(child.child.clone());
            }
        }
        orders.facts.extend(record.come_up());
        Some(orders)
    }

    /// Orders one child to start again. With the last parked child its supervisor is up again. `None` if it is unknown.
    pub(super) fn relaunch(&mut self, id: &ActorId) -> Option<Orders> {
        if self.stopping {
            return None;
        }
        let (place, supervisor) = self.find(id)?;
        let record = supervisor.children.get_mut(place.1)?;
        let mut orders = Orders { launch: vec![record.child.clone()], ..Orders::default() };
        if std::mem::take(&mut record.parked) {
            record.rule.forget();
            if supervisor.children.iter().all(|child| !child.parked) {
                supervisor.window.forget();
                orders.facts.extend(supervisor.come_up());
            }
        }
        Some(orders)
    }

    /// The log lines that were left out in seconds that are over, by child.
    pub(super) fn left_out(&mut self, now: Instant) -> Vec<(ActorId, u64)> {
        let children = self.supervisors.iter_mut().flat_map(|supervisor| &mut supervisor.children);
        children.filter_map(|record| Some((record.child.id().clone(), record.gate.left_out(now)?))).collect()
    }
}

impl SupervisorRecord {
    fn come_up(&mut self) -> Option<Fact> {
        self.down.take()?;
        self.spec.vendor.clone().map(|vendor| Fact::VendorUp { vendor })
    }
}

fn exit_fact(id: &ActorId, exit: &Exit) -> Fact {
    Fact::ActorExited {
        actor: id.clone(),
        cause: exit.cause.as_str(),
        detail: exit.detail.clone(),
        generation: exit.generation,
        in_hand: exit.in_hand.clone(),
    }
}
