//! An actor that misbehaves as it is told, and a supervisor of few words.

use std::{
    future::Future,
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Context, Handler, Message, MessageResult, ResponseActFuture, Running,
    WrapFuture,
};
use mainstay_actors::{
    clock,
    ids::ActorId,
    kernel::{
        Cause, Child, ChildState, Door, Exit, Fenced, Hop, Incarnation, Launch, NoHazard, Overseer, Resident, Vault,
        Verdict, Worker,
    },
};
use parking_lot::Mutex;

/// What the subject does with a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Deed {
    /// Adds it up.
    Add,
    /// Panics before anything else.
    Panic,
    /// Panics while deciding.
    PanicInDecide,
    /// Commits, then panics.
    PanicAfterCommit,
    /// Blocks its thread, then commits.
    Block(Duration),
    /// Blocks its thread inside the decision.
    BlockInDecide(Duration),
    /// Stops itself.
    StopSelf,
    /// Asks for its timer at once.
    Timer,
    /// Asks for its timer after a while; once overdue it is wanted "now", whenever that is.
    TimerIn(Duration),
}

/// A question: do this with this number. The answer is the sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Do(pub(crate) u64, pub(crate) Deed);

impl Message for Do {
    type Result = Result<u64, Fenced>;
}

/// A question that is answered by a future in the context, which panics or not.
pub(crate) struct Later {
    pub(crate) panics: bool,
    pub(crate) after: Duration,
}

impl Message for Later {
    type Result = u64;
}

/// A question: what is in the vault?
pub(crate) struct Look;

impl Message for Look {
    type Result = Box<Ledger>;
}

/// What is in the vault.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    pub(crate) sum: u64,
    pub(crate) order: Vec<u64>,
    pub(crate) reports: Vec<u64>,
    pub(crate) timer: Option<Instant>,
    pub(crate) fired: u32,
}

/// How often which part still panics, and what was seen.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) factory: AtomicU32,
    pub(crate) started: AtomicU32,
    pub(crate) timer: AtomicU32,
    pub(crate) dropping: AtomicU32,
    pub(crate) report: AtomicU32,
    pub(crate) stopping: AtomicU32,
    pub(crate) stopping_calls: AtomicU32,
    pub(crate) log: Mutex<Vec<String>>,
    pub(crate) published: Mutex<u64>,
}

impl Script {
    pub(crate) fn say(&self, line: impl Into<String>) {
        self.log.lock().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().clone()
    }
}

/// Panics as long as the count is above 0.
fn maybe_panic(count: &AtomicU32, what: &str) {
    if count.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
        panic!("scripted: {what}");
    }
}

pub(crate) struct Subject {
    inc: Incarnation<Self>,
    script: Arc<Script>,
    feed: Option<Door<u64>>,
}

impl Actor for Subject {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        maybe_panic(&self.script.started, "started");
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.script.stopping_calls.fetch_add(1, SeqCst);
        maybe_panic(&self.script.stopping, "stopping");
        Running::Stop
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.script.say(format!("dropped {}", self.inc.fence().generation()));
        maybe_panic(&self.script.dropping, "drop");
    }
}

impl Resident for Subject {
    type State = Ledger;
    type Report = u64;

    fn on_report(&mut self, report: &u64, _: &mut Context<Self>) {
        self.inc.begin("report", None);
        if *report == u64::MAX {
            panic!("scripted: poison report");
        }
        maybe_panic(&self.script.report, "report");
        let report = *report;
        let _ = self.inc.commit(
            |state| (!state.reports.contains(&report)).then_some(report),
            |state, new| state.reports.extend(new),
        );
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inc.read(|state| state.timer.map(|at| at.max(clock::now())))
    }

    fn on_deadline(&mut self, _: &mut Context<Self>) {
        self.inc.begin("deadline", None);
        maybe_panic(&self.script.timer, "timer");
        let _ = self.inc.commit(|_| (), |state, ()| (state.timer, state.fired) = (None, state.fired + 1));
    }

    fn publish(&mut self) {
        let shown = self.inc.read(|state| state.sum + u64::from(state.fired));
        *self.script.published.lock() = shown;
    }
}

impl Subject {
    fn add(&mut self, n: u64) -> Result<u64, Fenced> {
        self.inc.commit(
            |state| state.sum + n,
            |state, sum| {
                state.sum = sum;
                state.order.push(n);
                sum
            },
        )
    }
}

/// A handler that blocks its thread is what is tested.
fn block(time: Duration) {
    std::thread::sleep(time);
}

impl Handler<Do> for Subject {
    type Result = Result<u64, Fenced>;

    fn handle(&mut self, Do(n, deed): Do, ctx: &mut Self::Context) -> Self::Result {
        self.inc.begin("do", None);
        match deed {
            Deed::Add => self.add(n),
            Deed::Panic => panic!("scripted: handler"),
            Deed::PanicInDecide => {
                self.inc.commit(|_| panic!("scripted: decide"), |state, n: u64| state.sum = n).map(|()| 0)
            }
            Deed::PanicAfterCommit => {
                self.add(n)?;
                panic!("scripted: after the commit")
            }
            Deed::Block(time) => {
                block(time);
                self.script.say("woke");
                let late = self.add(n);
                self.script.say(format!("late commit: {late:?}"));
                late
            }
            Deed::BlockInDecide(time) => self.inc.commit(
                |_| {
                    block(time);
                    self.script.say("decided");
                },
                |state, ()| {
                    state.order.push(n);
                    state.sum += n;
                    state.sum
                },
            ),
            Deed::StopSelf => {
                ctx.stop();
                Ok(0)
            }
            Deed::Timer => self.inc.commit(|_| clock::now(), |state, at| state.timer = Some(at)).map(|()| 0),
            Deed::TimerIn(time) => {
                self.inc.commit(|_| clock::now() + time, |state, at| state.timer = Some(at)).map(|()| 0)
            }
        }
    }
}

impl Handler<Later> for Subject {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, later: Later, _: &mut Self::Context) -> Self::Result {
        self.inc.begin("later", None);
        let wait = async move {
            tokio::time::sleep(later.after).await;
            if later.panics {
                panic!("scripted: in the future");
            }
        };
        Box::pin(wait.into_actor(self).map(|(), subject, _| subject.inc.read(|state| state.sum)))
    }
}

impl Handler<Look> for Subject {
    type Result = MessageResult<Look>;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Self::Result {
        self.inc.begin("look", None);
        MessageResult(Box::new(self.inc.read(Ledger::clone)))
    }
}

/// Feeds itself for ever.
impl Handler<Hop<u64>> for Subject {
    type Result = ();

    fn handle(&mut self, hop: Hop<u64>, _: &mut Self::Context) {
        self.inc.begin("feed", None);
        let _ = self.add(1);
        if let Some(feed) = &self.feed {
            let _ = feed.pass(hop.body + 1);
        }
    }
}

/// Restarts after a pause, up to a limit; then parks. Notes everything.
#[derive(Debug)]
pub(crate) struct Tiny {
    pub(crate) after: Duration,
    pub(crate) limit: usize,
    pub(crate) on_stop: Verdict,
    pub(crate) exits: Mutex<Vec<Exit>>,
    pub(crate) starts: AtomicU32,
    pub(crate) aside: Mutex<Vec<u32>>,
}

impl Default for Tiny {
    fn default() -> Self {
        Self {
            after: Duration::ZERO,
            limit: usize::MAX,
            on_stop: Verdict::Leave,
            exits: Mutex::default(),
            starts: AtomicU32::new(0),
            aside: Mutex::default(),
        }
    }
}

impl Tiny {
    pub(crate) fn causes(&self) -> Vec<Cause> {
        self.exits.lock().iter().map(|exit| exit.cause).collect()
    }
}

impl Overseer for Tiny {
    fn on_exit(&self, _: &ActorId, exit: &Exit) -> Verdict {
        let mut exits = self.exits.lock();
        exits.push(exit.clone());
        if exit.cause == Cause::Stopped {
            return self.on_stop.clone();
        }
        if exits.len() > self.limit {
            return Verdict::Park { cause: "too often".into() };
        }
        Verdict::Restart { after: self.after }
    }

    fn on_start(&self, _: &ActorId, _: u64) {
        self.starts.fetch_add(1, SeqCst);
    }

    fn on_report_set_aside(&self, _: &ActorId, attempts: u32) {
        self.aside.lock().push(attempts);
    }
}

/// A subject in its vault, not yet launched.
pub(crate) struct Bench {
    pub(crate) vault: Arc<Vault<Subject>>,
    pub(crate) script: Arc<Script>,
    pub(crate) overseer: Arc<Tiny>,
}

pub(crate) fn bench(worker: &Worker, overseer: Tiny) -> Bench {
    feeding_bench(worker, overseer, false)
}

pub(crate) fn feeding_bench(worker: &Worker, overseer: Tiny, feeds: bool) -> Bench {
    quiet();
    let (script, overseer) = (Arc::new(Script::default()), Arc::new(overseer));
    let launch = Launch {
        id: ActorId::new("test/subject"),
        worker: worker.clone(),
        overseer: overseer.clone(),
        hazard: Arc::new(NoHazard),
    };
    let in_factory = script.clone();
    let vault = Vault::new(launch, Ledger::default(), move |inc: Incarnation<Subject>| {
        in_factory.say(format!("built {}", inc.fence().generation()));
        maybe_panic(&in_factory.factory, "factory");
        let feed = feeds.then(|| inc.address()).flatten().map(|to| Door::new(to, Default::default(), 10));
        Subject { inc, script: in_factory.clone(), feed }
    });
    Bench { vault, script, overseer }
}

impl Bench {
    pub(crate) async fn ask(&self, n: u64, deed: Deed) -> Result<Result<u64, Fenced>, mainstay_actors::kernel::Lost> {
        mainstay_actors::kernel::ask(self.vault.address(), Do(n, deed)).await
    }

    pub(crate) async fn look(&self) -> Ledger {
        *mainstay_actors::kernel::ask(self.vault.address(), Look).await.unwrap()
    }

    pub(crate) fn state(&self) -> ChildState {
        self.vault.status().state
    }
}

/// Scripted panics are not printed, all others are.
pub(crate) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let scripted = info.payload().downcast_ref::<&str>().is_some_and(|text| text.starts_with("scripted"))
                || info.payload().downcast_ref::<String>().is_some_and(|text| text.starts_with("scripted"));
            if !scripted {
                loud(info);
            }
        }));
    });
}

/// Runs on one thread with a `LocalSet`.
pub(crate) async fn locally<F: Future>(body: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(body).await
}

/// Lets everything that is ready run.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Asks from a plain thread: the answer arrives in the channel.
pub(crate) fn post(bench: &Bench, n: u64, deed: Deed) -> mpsc::Receiver<Option<Result<u64, Fenced>>> {
    let (tx, rx) = mpsc::channel();
    let request = bench.vault.address().send(Do(n, deed));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _ = tx.send(runtime.block_on(request).ok());
    });
    rx
}

/// Real time, whatever tokio's clock does: for the figures only.
#[expect(clippy::disallowed_methods, reason = "a figure to print, not a rule")]
pub(crate) fn real_now() -> Instant {
    Instant::now()
}

/// Waits, in real time, until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = clock::now();
    while !so() {
        assert!(clock::now() - begun < Duration::from_secs(20), "waited 20 s for: {what}");
        std::thread::yield_now();
    }
}
