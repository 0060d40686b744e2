//! Handlers that block their thread: real threads, real time.

use std::time::Duration;

use mainstay_actors::{
    clock,
    kernel::{Cause, Child, ChildState, Fenced, Worker},
};

use crate::subject::{Bench, Deed, Tiny, bench, post, until};

const BLOCK: Duration = Duration::from_millis(1_500);

fn worker(name: &str) -> Worker {
    Worker::thread(name).unwrap().0
}

fn up(worker: &Worker) -> Bench {
    let b = bench(worker, Tiny::default());
    b.vault.launch();
    until("the actor is up", || b.state() == ChildState::Up);
    b
}

/// Blocks the subject's thread, and returns when its handler has begun.
fn hang(b: &Bench, n: u64, deed: Deed) -> std::sync::mpsc::Receiver<Option<Result<u64, Fenced>>> {
    let answer = post(b, n, deed);
    until("the handler has begun", || b.vault.worker().pulse().silent_for(clock::now()) > Duration::from_millis(100));
    answer
}

#[test]
fn a_hung_actor_is_replaced_and_its_late_commit_changes_nothing() {
    let stuck = worker("stuck");
    let (guilty, innocent) = (up(&stuck), up(&stuck));
    let late = hang(&guilty, 1_000, Deed::Block(BLOCK));
    let queued: Vec<_> = (1..=100).map(|n| post(&guilty, n, Deed::Add)).collect();
    let beside = post(&innocent, 7, Deed::Add);

    let begun = clock::now();
    let spare = worker("spare");
    guilty.vault.evacuate(spare.clone());
    innocent.vault.evacuate(spare.clone());
    assert_eq!(beside.recv().unwrap(), Some(Ok(7)));
    let neighbour = clock::now() - begun;
    for answer in queued {
        assert!(matches!(answer.recv().unwrap(), Some(Ok(_))));
    }
    let behind = clock::now() - begun;
    assert!(neighbour < BLOCK && behind < BLOCK, "served while the other thread is still stuck");
    assert!(guilty.vault.worker().is(&spare));

    assert_eq!(late.recv().unwrap(), Some(Err(Fenced)), "the asker hears what became of it");
    assert!(guilty.script.lines().contains(&"late commit: Err(Fenced)".to_string()));
    let sum = post(&guilty, 0, Deed::Add).recv().unwrap();
    assert_eq!(sum, Some(Ok(5_050)), "1 + .. + 100, and nothing of the late 1,000");
    let exit = guilty.vault.status().last_exit.unwrap();
    assert_eq!((exit.cause, exit.in_hand.as_deref()), (Cause::Hang, Some("do")));
    assert_eq!(
        innocent.vault.status().last_exit.unwrap().in_hand,
        None,
        "the record tells the guilty from the innocent"
    );
    println!(
        "hang of {} ms: neighbour answered after {} ms, 100 queued behind it after {} ms, late commit refused",
        BLOCK.as_millis(),
        neighbour.as_millis(),
        behind.as_millis()
    );
}

#[test]
fn a_relaunch_while_a_handler_runs_waits_for_it() {
    let b = up(&worker("slow"));
    let first = hang(&b, 1, Deed::Block(Duration::from_millis(400)));
    let behind = post(&b, 2, Deed::Add);
    b.vault.launch();
    b.vault.launch();
    assert_eq!(first.recv().unwrap(), Some(Err(Fenced)), "it was replaced before its commit");
    assert_eq!(behind.recv().unwrap(), Some(Ok(2)));
    let lines = b.script.lines();
    let place = |line: &str| lines.iter().position(|known| known == line);
    assert!(place("dropped 1").is_some() && place("dropped 1") < place("built 3"), "{lines:?}");
    assert_eq!(place("built 2"), None, "{lines:?}");
}

#[test]
fn a_hang_inside_a_decision_does_not_block_the_spare_thread() {
    let stuck = worker("stuck");
    let (guilty, innocent) = (up(&stuck), up(&stuck));
    let first = hang(&guilty, 1, Deed::BlockInDecide(BLOCK));
    let (behind, beside) = (post(&guilty, 2, Deed::Add), post(&innocent, 7, Deed::Add));

    let begun = clock::now();
    let spare = worker("spare");
    guilty.vault.evacuate(spare.clone());
    innocent.vault.evacuate(spare.clone());
    guilty.vault.launch(); // a second replacement must go on waiting for the one that holds the state
    assert_eq!(beside.recv().unwrap(), Some(Ok(7)));
    let neighbour = clock::now() - begun;
    let mut longest = Duration::ZERO;
    until("the decision is made", || {
        longest = longest.max(spare.pulse().silent_for(clock::now()));
        guilty.script.lines().contains(&"decided".to_string())
    });
    assert!(neighbour < BLOCK && longest < BLOCK / 3, "the spare turned all the time: {neighbour:?}, {longest:?}");
    assert_eq!(first.recv().unwrap(), Some(Ok(1)), "it held the state all along, so its commit stands");
    assert_eq!(behind.recv().unwrap(), Some(Ok(3)));
    println!("hang inside a decision: neighbour answered after {} ms, its own queue after it", neighbour.as_millis());
}

#[test]
fn a_fenced_handler_that_wakes_does_not_touch_the_record_of_its_successor() {
    let b = up(&worker("first"));
    let first = hang(&b, 1, Deed::Block(Duration::from_millis(700)));
    b.vault.evacuate(worker("second"));
    let second = hang(&b, 2, Deed::Block(BLOCK));
    assert_eq!(first.recv().unwrap(), Some(Err(Fenced)));
    until("the first has ended", || b.script.lines().contains(&"dropped 1".to_string()));
    b.vault.evacuate(worker("third"));
    assert_eq!(b.vault.status().last_exit.unwrap().in_hand.as_deref(), Some("do"));
    assert_eq!(second.recv().unwrap(), Some(Err(Fenced)));
}
