//! Park, backoff, relaunch, stop, fairness.

use std::{rc::Rc, time::Duration};

use mainstay_actors::{
    clock,
    kernel::{Child, ChildState, Door, Lost, Verdict, Worker, ask},
};
use tokio::task::{LocalSet, spawn_local};

use crate::subject::{Deed, Do, Tiny, bench, feeding_bench, locally, settle};

#[tokio::test(start_paused = true)]
async fn a_parked_actor_keeps_its_queue_and_a_later_launch_serves_it() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny { limit: 2, ..Tiny::default() });
        b.vault.launch();
        for _ in 0..3 {
            assert_eq!(b.ask(0, Deed::Panic).await, Err(Lost::Crashed));
        }
        settle().await;
        assert_eq!((b.state(), b.vault.status().parked.as_deref()), (ChildState::Parked, Some("too often")));

        let waiting: Vec<_> = (1..=1_000)
            .map(|n| {
                let to = b.vault.address().clone();
                spawn_local(async move { ask(&to, Do(n, Deed::Add)).await })
            })
            .collect();
        settle().await;
        assert!(waiting.iter().all(|task| !task.is_finished()), "a parked actor serves nobody");
        b.vault.launch();
        for task in waiting {
            assert!(matches!(task.await.unwrap(), Ok(Ok(_))));
        }
        println!("parked after 3 crashes; 1,000 queued meanwhile, 1,000 answered after the launch");
        assert_eq!(b.look().await.order, (1..=1_000).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_parked_by_its_supervisor_serves_again_after_a_launch() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny::default());
        b.vault.launch();
        assert_eq!(b.ask(1, Deed::Add).await, Ok(Ok(1)));
        b.vault.park("a sibling".into());
        let (answer, ()) = tokio::join!(b.ask(2, Deed::Add), async {
            settle().await;
            b.vault.launch();
        });
        assert_eq!(answer, Ok(Ok(3)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_pause_before_a_restart_is_outside_the_actor_and_the_mailbox_takes_messages_meanwhile() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny { after: Duration::from_secs(10), ..Tiny::default() });
        b.vault.launch();
        let door: Door<u64> = b.vault.door(100);
        assert_eq!(b.ask(0, Deed::Panic).await, Err(Lost::Crashed));
        settle().await;
        assert_eq!(b.state(), ChildState::Backoff);
        let begun = clock::now();
        for n in 0..100 {
            door.pass(n).unwrap();
        }
        assert!(door.pass(100).is_err(), "the door's bound holds during the pause");
        assert_eq!(b.vault.status().mailbox, 100);
        assert_eq!(b.ask(0, Deed::Add).await, Ok(Ok(100)));
        assert_eq!((clock::now() - begun).as_secs(), 10);
        println!("pause of 10 s: 100 messages taken meanwhile, 100 served after exactly 10 s");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_launch_during_the_pause_ends_it() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny { after: Duration::from_secs(3600), ..Tiny::default() });
        b.vault.launch();
        assert_eq!(b.ask(0, Deed::Panic).await, Err(Lost::Crashed));
        settle().await;
        let begun = clock::now();
        b.vault.launch();
        assert_eq!(b.ask(4, Deed::Add).await, Ok(Ok(4)));
        assert_eq!(clock::now(), begun);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_drops_what_is_queued_which_answers_the_askers() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny::default());
        let waiting: Vec<_> = (0..1_000)
            .map(|n| {
                let to = b.vault.address().clone();
                spawn_local(async move { ask(&to, Do(n, Deed::Add)).await })
            })
            .collect();
        settle().await;
        b.vault.stop();
        for task in waiting {
            assert_eq!(task.await.unwrap(), Err(Lost::Stopped));
        }
        assert_eq!(b.ask(0, Deed::Add).await, Err(Lost::Stopped), "later ones hear it at once");
        b.vault.launch();
        settle().await;
        assert_eq!(b.state(), ChildState::Stopped, "a stop is for good");
        println!("stop: 1,000 of 1,000 queued answered with Stopped");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_is_left_after_its_end_answers_its_queue_with_stopped() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny::default());
        b.vault.launch();
        let both = async { tokio::join!(b.ask(0, Deed::StopSelf), b.ask(1, Deed::Add)) };
        let both = tokio::time::timeout(Duration::from_secs(1), both).await;
        assert_eq!(both, Ok((Ok(Ok(0)), Err(Lost::Stopped))));
        let later = tokio::time::timeout(Duration::from_secs(1), b.ask(2, Deed::Add)).await;
        assert_eq!(later, Ok(Err(Lost::Stopped)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_stops_itself_and_is_restarted_keeps_its_queue() {
    locally(async {
        let restart = Verdict::Restart { after: Duration::ZERO };
        let b = bench(&Worker::here("here"), Tiny { on_stop: restart, ..Tiny::default() });
        b.vault.launch();
        let (last, queued) = tokio::join!(b.ask(0, Deed::StopSelf), b.ask(1, Deed::Add));
        assert_eq!((last, queued), (Ok(Ok(0)), Ok(Ok(1))));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_feeds_itself_does_not_starve_its_neighbour() {
    locally(async {
        let worker = Worker::here("here");
        let feeder = feeding_bench(&worker, Tiny::default(), true);
        let neighbour = bench(&worker, Tiny::default());
        feeder.vault.launch();
        neighbour.vault.launch();
        feeder.vault.door::<u64>(10).pass(0).unwrap();
        settle().await;
        // In a task of its own: the test's own future is polled only once in many tasks.
        let (to, feeder) = (neighbour.vault.address().clone(), Rc::new(feeder));
        let counted = feeder.clone();
        let asking = spawn_local(async move {
            let before = counted.look().await.sum;
            assert_eq!(ask(&to, Do(1, Deed::Add)).await, Ok(Ok(1)));
            counted.look().await.sum - before
        });
        let served_meanwhile = asking.await.unwrap();
        println!(
            "a self-feeding actor handled {served_meanwhile} of its own while its neighbour waited for one answer"
        );
        assert!((1..=64 * 4).contains(&served_meanwhile), "{served_meanwhile}");
        feeder.vault.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_actor_whose_thread_ended_says_so_and_serves_its_queue_on_another() {
    let gone = LocalSet::new();
    let b = gone.run_until(async { bench(&Worker::here("gone"), Tiny::default()) }).await;
    gone.run_until(async {
        b.vault.launch();
        assert_eq!(b.ask(1, Deed::Add).await, Ok(Ok(1)));
    })
    .await;
    drop(gone);
    assert_eq!(b.state(), ChildState::Parked);
    assert_eq!(b.vault.status().parked.as_deref(), Some("its thread ended"));
    b.vault.launch();
    assert_eq!(b.state(), ChildState::Parked, "a launch on a thread that is gone does not pretend");
    locally(async {
        b.vault.evacuate(Worker::here("other"));
        let (answer, ()) = tokio::join!(b.ask(2, Deed::Add), async {
            settle().await;
            b.vault.launch();
        });
        assert_eq!(answer, Ok(Ok(3)));
    })
    .await;
}

/// On the real clock: a paused one wakes exactly at the deadline, and would never show it.
#[tokio::test]
async fn a_deadline_that_is_wanted_now_comes_although_now_moves_on() {
    locally(async {
        let b = bench(&Worker::here("here"), Tiny::default());
        b.vault.launch();
        let fired = async {
            assert_eq!(b.ask(1, Deed::TimerIn(Duration::from_millis(3))).await, Ok(Ok(0)));
            while *b.script.published.lock() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), fired).await.expect("the timer never fired");
    })
    .await;
}
