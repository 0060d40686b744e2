use std::sync::mpsc;

use mainstay_actors::{
    fact::Fact,
    kernel::{Child, ChildState, Fenced, Vault},
};

use super::*;
use crate::supervision::{
    ChildSpec, Intensity, RootSpec,
    testing::{Pull, Puppet, Stage},
};

const HANG_AFTER: Duration = Duration::from_millis(300);

fn config(spares_max: usize) -> WatchdogConfig {
    WatchdogConfig { hang_after: HANG_AFTER, spares_max }
}

fn on_threads() -> Stage {
    Stage::new(Worker::thread("vendor").unwrap().0, RootSpec::default())
}

/// Asks from a plain thread; the answer arrives in the channel.
fn post(vault: &Arc<Vault<Puppet>>, what: Pull) -> mpsc::Receiver<Option<Result<u64, Fenced>>> {
    let (tx, rx) = mpsc::channel();
    let request = vault.address().send(what);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _ = tx.send(runtime.block_on(request).ok());
    });
    rx
}

fn until(what: &str, so: impl Fn() -> bool) {
    let begun = clock::now();
    while !so() {
        assert!(clock::now() - begun < Duration::from_secs(20), "waited 20 s for: {what}");
        std::thread::yield_now();
    }
}

fn is_stuck(fact: &Fact) -> bool {
    matches!(fact, Fact::ThreadStuck { .. })
}

#[test]
fn a_stuck_thread_is_evacuated_and_only_the_guilty_is_counted() {
    const BLOCK: Duration = Duration::from_secs(2);
    let s = on_threads();
    let clay = s.vendor("clay");
    let (guilty, innocent) =
        (s.adopt(clay, "clay/a", ChildSpec::default()), s.adopt(clay, "clay/b", ChildSpec::default()));
    s.tree.launch_all();
    let _watchdog = Watchdog::start(s.tree.clone(), vec![s.worker.clone()], config(2)).unwrap();
    until("both are up", || s.state("clay/a") == ChildState::Up && s.state("clay/b") == ChildState::Up);

    let begun = clock::now();
    let hung = post(&guilty, Pull::Block(BLOCK));
    until("it is at work", || s.worker.pulse().silent_for(clock::now()) > HANG_AFTER / 4);
    let (behind, beside) = (post(&guilty, Pull::Add), post(&innocent, Pull::Add));
    assert_eq!((beside.recv().unwrap(), behind.recv().unwrap()), (Some(Ok(1)), Some(Ok(1))));
    let after = clock::now() - begun;
    assert!(after < BLOCK, "served while the thread is stuck: {after:?}");
    assert_eq!(hung.recv().unwrap(), Some(Err(Fenced)));
    println!(
        "block of {} ms, limit {} ms: neighbour and queue served after {} ms",
        BLOCK.as_millis(),
        HANG_AFTER.as_millis(),
        after.as_millis()
    );

    assert_eq!(s.heard.count(is_stuck), 1, "once an episode");
    let moved = s
        .heard
        .all()
        .into_iter()
        .find_map(|fact| if let Fact::ThreadStuck { moved, .. } = fact { Some(moved) } else { None });
    assert_eq!(moved, Some(2));
    assert_eq!(s.heard.count(|fact| matches!(fact, Fact::ActorExited { cause: "hang", .. })), 1);
    assert_eq!((s.tree.totals().hangs, s.child("clay/a").thread.as_ref()), (1, "mainstay-spare-1"));
    assert_eq!(post(&guilty, Pull::Add).recv().unwrap(), Some(Ok(2)), "the late commit changed nothing");
}

#[test]
fn an_actor_that_hangs_again_and_again_is_parked_on_two_threads_and_no_more() {
    let s = on_threads();
    let clay = s.vendor("clay");
    let spec = ChildSpec { intensity: Intensity { max_restarts: 3, ..Intensity::CHILD }, ..ChildSpec::default() };
    let (guilty, innocent) = (s.adopt(clay, "clay/a", spec), s.adopt(clay, "clay/b", ChildSpec::default()));
    s.tree.launch_all();
    let _watchdog = Watchdog::start(s.tree.clone(), vec![s.worker.clone()], config(2)).unwrap();
    for n in 1..=4 {
        let hung = post(&guilty, Pull::Block(HANG_AFTER * 3));
        assert_eq!(hung.recv().unwrap(), Some(Err(Fenced)));
        until("the hang is counted", || s.tree.totals().hangs == n);
    }
    until("it is parked", || s.state("clay/a") == ChildState::Parked);
    assert!(s.tree.down_cause(clay).unwrap().starts_with("clay/a passed 3 restarts in 60 s: thread "));
    assert_eq!(post(&innocent, Pull::Add).recv().unwrap(), Some(Ok(1)));
    assert!(s.fatal.lock().is_empty(), "threads that turn again are used again: {:?}", s.fatal.lock());
    assert_eq!(guilty.status().restarts, 4);
}

#[test]
fn without_a_spare_left_the_application_is_told_once() {
    let s = on_threads();
    let clay = s.vendor("clay");
    let guilty = s.adopt(clay, "clay/a", ChildSpec::default());
    s.tree.launch_all();
    let _watchdog = Watchdog::start(s.tree.clone(), vec![s.worker.clone()], config(1)).unwrap();
    let first = post(&guilty, Pull::Block(Duration::from_secs(2)));
    until("it was moved", || guilty.worker().name().as_ref() == "mainstay-spare-1");
    let second = post(&guilty, Pull::Block(Duration::from_secs(1)));
    until("the application is told", || !s.fatal.lock().is_empty());
    assert_eq!((first.recv().unwrap(), second.recv().unwrap()), (Some(Err(Fenced)), Some(Ok(1))));
    let fatal = s.fatal.lock().clone();
    assert_eq!(fatal, ["thread mainstay-spare-1 does not turn, and there is no spare thread: all 1 were used"]);
    assert_eq!(s.heard.count(is_stuck), 2);
}

#[test]
fn it_ends_at_once_when_it_is_dropped_even_with_a_long_limit() {
    let s = on_threads();
    let slow = WatchdogConfig { hang_after: Duration::from_secs(300), spares_max: 0 };
    let watchdog = Watchdog::start(s.tree.clone(), vec![s.worker.clone()], slow).unwrap();
    let begun = clock::now();
    drop(watchdog);
    assert!(clock::now() - begun < Duration::from_secs(5));
}

#[test]
fn it_may_be_dropped_by_the_callback_it_calls() {
    let s = on_threads();
    let guilty = s.adopt(s.vendor("clay"), "clay/a", ChildSpec::default());
    let (told, hears) = mpsc::channel();
    let held = Arc::new(Mutex::new(None));
    let in_callback = held.clone();
    s.tree.on_fatal(Box::new(move |_| {
        drop(in_callback.lock().take());
        let _ = told.send(());
    }));
    s.tree.launch_all();
    *held.lock() = Some(Watchdog::start(s.tree.clone(), vec![s.worker.clone()], config(0)).unwrap());
    let hung = post(&guilty, Pull::Block(HANG_AFTER * 4));
    hears.recv().unwrap();
    assert_eq!(hung.recv().unwrap(), Some(Ok(1)), "nobody could take over, so it was not fenced");
    assert!(held.lock().is_none());
}

#[test]
fn its_limits_are_checked_by_name() {
    let mut faults = Faults::default();
    WatchdogConfig { hang_after: Duration::from_millis(199), spares_max: 17 }.check(&mut faults.under("watchdog"));
    WatchdogConfig::default().check(&mut faults.under("fine"));
    let named: Vec<_> = faults.into_result().unwrap_err().into_iter().map(|fault| fault.field).collect();
    assert_eq!(named, ["watchdog.hang_after", "watchdog.spares_max"]);
}
