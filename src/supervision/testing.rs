//! A small actor under a real tree, for the tests of the tree and the watchdog.

use std::{
    future::Future,
    sync::{Arc, Once},
    time::Duration,
};

use actix::{Actor, Context, Handler, Message};
use mainstay_actors::{
    clock::{Clock, Rng},
    fact::{Fact, FactSink},
    ids::{ActorId, VendorId},
    kernel::{ChildState, ChildStatus, Fenced, Incarnation, Launch, Lost, NoHazard, Resident, Vault, Worker, ask},
};
use parking_lot::Mutex;

use super::{ChildSpec, RootSpec, SupervisorKey, SupervisorSpec, Tree};

/// What the puppet does with a message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pull {
    Add,
    Panic,
    Block(Duration),
}

impl Message for Pull {
    type Result = Result<u64, Fenced>;
}

/// Counts, panics or blocks, as it is told. Its stop is written into a common log.
pub(crate) struct Puppet {
    inc: Incarnation<Self>,
    log: Log,
}

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

impl Actor for Puppet {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.log.lock().push(format!("+{}", self.inc.id()));
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.log.lock().push(format!("-{}", self.inc.id()));
    }
}

impl Resident for Puppet {
    type State = u64;
    type Report = ();

    fn on_report(&mut self, (): &(), _: &mut Context<Self>) {}
}

/// A handler that blocks its thread is what is tested.
fn block(time: Duration) {
    std::thread::sleep(time);
}

impl Handler<Pull> for Puppet {
    type Result = Result<u64, Fenced>;

    fn handle(&mut self, pull: Pull, _: &mut Self::Context) -> Self::Result {
        self.inc.begin("pull", None);
        match pull {
            Pull::Add => {}
            Pull::Panic => panic!("scripted"),
            Pull::Block(time) => block(time),
        }
        self.inc.commit(|sum| sum + 1, |sum, next| *sum = next)?;
        Ok(self.inc.read(|sum| *sum))
    }
}

/// Facts in the order they were stated.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Fact>>);

impl FactSink for Heard {
    fn state(&self, fact: Fact) {
        self.0.lock().push(fact);
    }
}

impl Heard {
    pub(crate) fn count(&self, wanted: impl Fn(&Fact) -> bool) -> usize {
        self.0.lock().iter().filter(|fact| wanted(fact)).count()
    }

    pub(crate) fn all(&self) -> Vec<Fact> {
        self.0.lock().clone()
    }
}

/// A tree with an ear at each end.
pub(crate) struct Stage {
    pub(crate) tree: Tree,
    pub(crate) heard: Arc<Heard>,
    pub(crate) fatal: Log,
    pub(crate) log: Log,
    pub(crate) worker: Worker,
}

impl Stage {
    pub(crate) fn new(worker: Worker, root: RootSpec) -> Self {
        quiet();
        let heard = Arc::new(Heard::default());
        let tree = Tree::new(heard.clone(), Clock::default(), Rng::seeded(1), root);
        let fatal = Log::default();
        let said = fatal.clone();
        tree.on_fatal(Box::new(move |cause| said.lock().push(cause.to_string())));
        Self { tree, heard, fatal, log: Log::default(), worker }
    }

    pub(crate) fn vendor(&self, name: &str) -> SupervisorKey {
        self.tree.supervisor(SupervisorSpec::of_vendor(VendorId::new(name).unwrap()))
    }

    pub(crate) fn adopt(&self, under: SupervisorKey, id: &str, spec: ChildSpec) -> Arc<Vault<Puppet>> {
        let vault = self.puppet(under, id);
        assert!(self.tree.adopt(under, vault.clone(), spec));
        vault
    }

    pub(crate) fn adopt_optional(&self, under: SupervisorKey, id: &str, spec: ChildSpec) -> Arc<Vault<Puppet>> {
        let vault = self.puppet(under, id);
        assert!(self.tree.adopt_optional(under, vault.clone(), spec));
        vault
    }

    fn puppet(&self, under: SupervisorKey, id: &str) -> Arc<Vault<Puppet>> {
        let launch = Launch {
            id: ActorId::new(id),
            worker: self.worker.clone(),
            overseer: self.tree.overseer(under),
            hazard: Arc::new(NoHazard),
        };
        let log = self.log.clone();
        Vault::new(launch, 0, move |inc| Puppet { inc, log: log.clone() })
    }

    pub(crate) fn child(&self, id: &str) -> ChildStatus {
        let status = self.tree.status();
        status.supervisors.into_iter().flat_map(|known| known.children).find(|child| child.id.as_str() == id).unwrap()
    }

    pub(crate) fn state(&self, id: &str) -> ChildState {
        self.child(id).state
    }
}

pub(crate) async fn pull(vault: &Arc<Vault<Puppet>>, what: Pull) -> Result<Result<u64, Fenced>, Lost> {
    ask(vault.address(), what).await
}

/// Crashes a child a number of times.
pub(crate) async fn crash(vault: &Arc<Vault<Puppet>>, times: usize) {
    for _ in 0..times {
        assert_eq!(pull(vault, Pull::Panic).await, Err(Lost::Crashed));
    }
    settle().await;
}

/// Lets everything that is ready run; moves no clock.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Runs on one thread with a `LocalSet`.
pub(crate) async fn locally<F: Future>(body: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(body).await
}

/// Scripted panics are not printed, all others are.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"scripted") {
                loud(info);
            }
        }));
    });
}
