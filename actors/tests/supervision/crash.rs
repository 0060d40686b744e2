//! Panics, wherever they strike.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use mainstay_actors::kernel::{Cause, Child, ChildState, Lost, REPORT_ATTEMPTS_MAX, Worker, ask};
use tokio::task::spawn_local;

use crate::subject::{Bench, Deed, Do, Later, Tiny, bench, locally, real_now, settle};

fn up() -> Bench {
    let b = bench(&Worker::here("here"), Tiny::default());
    b.vault.launch();
    b
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_costs_one_message_and_no_other() {
    locally(async {
        let b = up();
        let (first, guilty, behind) = tokio::join!(b.ask(1, Deed::Add), b.ask(2, Deed::Panic), b.ask(3, Deed::Add));
        assert_eq!((first, guilty, behind), (Ok(Ok(1)), Err(Lost::Crashed), Ok(Ok(4))));
        let exit = b.overseer.exits.lock()[0].clone();
        assert_eq!((exit.cause, exit.generation, exit.in_hand.as_deref()), (Cause::Panic, 1, Some("do")));
        assert!(exit.detail.contains("scripted: handler at "), "the record has text and place: {}", exit.detail);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_queued_messages_outlive_a_thousand_poison_ones_in_order() {
    const QUEUED: u64 = 100_000;
    locally(async {
        let b = bench(&Worker::here("here"), Tiny::default());
        let asked: Vec<_> = (0..QUEUED)
            .map(|n| {
                let deed = if n % 100 == 99 { Deed::Panic } else { Deed::Add };
                let to = b.vault.address().clone();
                spawn_local(async move { ask(&to, Do(n, deed)).await })
            })
            .collect();
        settle().await;
        let begun = real_now();
        b.vault.launch();
        let (mut answered, mut crashed) = (0_u64, 0_u64);
        for (n, task) in (0..QUEUED).zip(asked) {
            match task.await.unwrap() {
                Ok(answer) => {
                    assert!(answer.is_ok() && n % 100 != 99, "message {n}");
                    answered += 1;
                }
                Err(lost) => {
                    assert_eq!((lost, n % 100), (Lost::Crashed, 99), "message {n}");
                    crashed += 1;
                }
            }
        }
        let (took, restarts) = (begun.elapsed_for_print(), b.vault.status().restarts);
        println!(
            "{QUEUED} queued, 1 % poison: {answered} answered, {crashed} lost their own, {restarts} restarts, {took} ms"
        );
        assert_eq!((answered, crashed, restarts), (99_000, 1_000, 1_000));
        let innocent: Vec<u64> = (0..QUEUED).filter(|n| n % 100 != 99).collect();
        assert_eq!(b.look().await.order, innocent, "order kept");
    })
    .await;
}

trait ElapsedForPrint {
    fn elapsed_for_print(&self) -> u128;
}

impl ElapsedForPrint for std::time::Instant {
    fn elapsed_for_print(&self) -> u128 {
        real_now().saturating_duration_since(*self).as_millis()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_timer_restarts_and_the_timer_fires_again() {
    locally(async {
        let b = up();
        b.script.timer.store(3, SeqCst);
        assert_eq!(b.ask(0, Deed::Timer).await, Ok(Ok(0)));
        settle().await;
        assert_eq!(b.overseer.causes(), [Cause::Panic; 3]);
        assert_eq!(b.overseer.exits.lock()[0].in_hand.as_deref(), Some("deadline"));
        assert_eq!(b.ask(5, Deed::Add).await, Ok(Ok(5)));
        assert_eq!(b.look().await.fired, 1);
        println!("timer: 3 panics, 3 restarts, then it fired once");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_started_loses_nothing_that_is_queued() {
    locally(async {
        let b = up();
        b.script.started.store(4, SeqCst);
        let (one, two) = tokio::join!(b.ask(1, Deed::Add), b.ask(2, Deed::Add));
        assert_eq!((one, two), (Ok(Ok(1)), Ok(Ok(3))));
        println!("started: {} panics, 0 of 2 queued lost", b.overseer.exits.lock().len());
        assert_eq!(b.overseer.causes(), [Cause::Panic; 4]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_factory_is_tried_again_and_loses_nothing() {
    locally(async {
        let b = up();
        b.script.factory.store(5, SeqCst);
        assert_eq!(b.ask(7, Deed::Add).await, Ok(Ok(7)));
        println!(
            "factory: {} panics, then served by generation {}",
            b.overseer.causes().len(),
            b.vault.status().generation
        );
        assert_eq!(b.overseer.causes(), [Cause::Factory; 5]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_destructor_after_a_panic_does_not_abort() {
    locally(async {
        let b = up();
        b.script.dropping.store(1, SeqCst);
        let (guilty, behind) = tokio::join!(b.ask(1, Deed::Panic), b.ask(2, Deed::Add));
        assert_eq!((guilty, behind), (Err(Lost::Crashed), Ok(Ok(2))));
        println!("handler and Drop panicked: process alive, the message behind answered");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn stopping_is_never_called_on_a_crashed_actor() {
    locally(async {
        let b = up();
        assert_eq!(b.ask(1, Deed::Panic).await, Err(Lost::Crashed));
        settle().await;
        assert_eq!(b.script.stopping_calls.load(SeqCst), 0);
        assert_eq!(b.ask(1, Deed::StopSelf).await, Ok(Ok(0)));
        settle().await;
        assert_eq!(b.script.stopping_calls.load(SeqCst), 1, "an orderly end does call it");
        println!("stopping: 0 calls after a panic, 1 after an orderly end");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_stopping_is_a_crash_like_any_other() {
    locally(async {
        let b = up();
        b.script.stopping.store(1, SeqCst);
        let (stop, behind) = tokio::join!(b.ask(0, Deed::StopSelf), b.ask(2, Deed::Add));
        assert_eq!((stop, behind), (Ok(Ok(0)), Ok(Ok(2))));
        assert_eq!(b.overseer.causes(), [Cause::Panic]);
        println!("stopping panicked on an orderly end: restarted, the message behind answered");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_future_of_the_context_keeps_the_queue() {
    locally(async {
        let b = up();
        let address = b.vault.address();
        let wait = Duration::from_millis(10);
        let guilty = ask(address, Later { panics: true, after: wait });
        let bystander = ask(address, Later { panics: false, after: wait * 2 });
        let late = async {
            tokio::time::sleep(wait).await;
            b.ask(3, Deed::Add).await
        };
        let (guilty, bystander, queued, late) = tokio::join!(guilty, bystander, b.ask(1, Deed::Add), late);
        assert_eq!((guilty, queued, late), (Err(Lost::Crashed), Ok(Ok(1)), Ok(Ok(4))));
        assert_eq!(bystander, Err(Lost::Crashed), "futures in the context die with it: why nothing here awaits in it");
        println!("future in the context: mailbox 0 of 2 lost, the other future in the context closed");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_deciding_changes_nothing_and_one_after_the_commit_keeps_it() {
    locally(async {
        let b = up();
        assert_eq!(b.ask(5, Deed::Add).await, Ok(Ok(5)));
        assert_eq!(b.ask(99, Deed::PanicInDecide).await, Err(Lost::Crashed));
        assert_eq!(b.look().await.sum, 5);
        assert_eq!(b.ask(2, Deed::PanicAfterCommit).await, Err(Lost::Crashed));
        assert_eq!(b.look().await.sum, 7);
        println!("state: 5 after a panic while deciding, 7 after a panic behind a commit of 2");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_before_a_crash_is_published_after_it() {
    locally(async {
        let b = up();
        assert_eq!(b.ask(2, Deed::PanicAfterCommit).await, Err(Lost::Crashed));
        settle().await;
        assert_eq!(*b.script.published.lock(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_timer_changed_behind_a_full_batch_is_published() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny::default());
        // Exactly one batch is queued, so the timer fires at its end and nothing follows.
        let asked: Vec<_> =
            (0..64).map(|n| b.vault.address().send(Do(0, if n == 0 { Deed::Timer } else { Deed::Add }))).collect();
        b.vault.launch();
        settle().await;
        assert_eq!(*b.script.published.lock(), 1);
        drop(asked);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_report_whose_handler_panics_is_delivered_again_and_applied_once() {
    locally(async {
        let b = up();
        b.script.report.store(2, SeqCst);
        b.vault.reports().push(41);
        b.vault.reports().push(42);
        settle().await;
        assert_eq!(b.look().await.reports, [41, 42]);
        assert_eq!((b.overseer.causes().len(), b.vault.status().reports), (2, 0));
        println!("report: 2 panics, delivered 3 times, applied once; the one behind it too");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_report_that_always_panics_is_set_aside_and_stops_nobody() {
    locally(async {
        let b = up();
        b.vault.reports().push(u64::MAX);
        b.vault.reports().push(7);
        settle().await;
        assert_eq!(*b.overseer.aside.lock(), [REPORT_ATTEMPTS_MAX]);
        assert_eq!(b.overseer.causes().len() as u32, REPORT_ATTEMPTS_MAX);
        assert_eq!(b.look().await.reports, [7]);
        println!("poison report: set aside after {REPORT_ATTEMPTS_MAX}, the one behind it applied");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_report_stated_while_nobody_runs_is_applied_by_the_next_incarnation() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny { after: Duration::from_secs(5), ..Tiny::default() });
        b.vault.launch();
        assert_eq!(b.ask(1, Deed::Panic).await, Err(Lost::Crashed));
        settle().await;
        assert_eq!(b.state(), ChildState::Backoff);
        b.vault.reports().push(9);
        assert_eq!(b.look().await.reports, [9]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_address_cloned_before_a_thousand_restarts_is_still_valid() {
    locally(async {
        let b = up();
        let old = b.vault.address().clone();
        let begun = real_now();
        for _ in 0..1_000 {
            assert_eq!(ask(&old, Do(0, Deed::Panic)).await, Err(Lost::Crashed));
        }
        let took = begun.elapsed_for_print();
        assert_eq!(ask(&old, Do(3, Deed::Add)).await, Ok(Ok(3)));
        println!("1,000 crashes and restarts one after another: {took} ms, the old address still answers");
        assert_eq!(b.vault.status().generation, 1_001);
    })
    .await;
}
