//! What is on disk of a key, and what the next process makes of it.

use super::*;
use crate::{
    idempotency::disk::ANSWER_MAX_BYTES,
    refusal::{Guard, Reason},
    store::Table as Rows,
};

const WITH_KEY: Repeat = Repeat::WithKey { window: Duration::from_secs(3600) };

impl Scene {
    /// The client's last step before the first byte.
    async fn begin_sending(&self, grant: &ClaimGrant<Arc<str>>) -> Result<(), crate::refusal::Refusal> {
        let (mut ticket, _) = ticket();
        grant.write_ahead().into_iter().for_each(|ahead| ticket.wait_for(ahead));
        ticket.write_ahead().await
    }

    async fn mine_as(&self, by: u128, repeat: Repeat) -> ClaimGrant<Arc<str>> {
        match self.claim_as(by, repeat).await.unwrap() {
            Claimed::Mine(grant) => grant,
            other => panic!("not mine: {other:?}"),
        }
    }

    fn rows(&self) -> usize {
        self.shelf.rows(Rows::Keys).len()
    }

    /// What the table shows once it has done everything that was said to it.
    async fn shows(&self) -> Arc<KeySnapshot> {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.shown.get()
    }
}

#[tokio::test(start_paused = true)]
async fn a_done_key_answers_repeats_in_the_next_process_until_its_time_is_over_by_the_calendar() {
    on_stage(async |first| {
        first.mine(1).await.finish(done("ring")).await;
        tokio::time::advance(Duration::from_secs(40)).await;
        let second = Scene::after(&first).await;
        let Claimed::Stored { call: by, answer } = second.claim(2).await else { panic!("not stored") };
        assert_eq!((by, &*answer), (call(1), "ring"));
        tokio::time::advance(Duration::from_secs(19)).await;
        assert!(matches!(second.claim(2).await, Claimed::Stored { .. }), "59 of its 60 s");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((second.shows().await.stored, second.rows()), (0, 0), "it leaves the disk too");
        second.mine(3).await.finish(End::Free).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_time_was_over_while_no_process_ran_is_deleted_by_the_next_start() {
    on_stage(async |first| {
        first.mine(1).await.finish(done(&"x".repeat(20_000))).await;
        assert_eq!(first.rows(), 6, "its record, and five parts of its answer");
        first.vault.stop();
        tokio::time::advance(KEEP).await;
        let second = Scene::after(&first).await;
        assert_eq!(second.rows(), 0);
        second.mine(2).await.finish(End::Free).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_any_length_comes_back_whole_or_is_known_as_not_kept() {
    for length in [0, 1, 3 << 10, (3 << 10) + 1, 4096, 4097, ANSWER_MAX_BYTES, ANSWER_MAX_BYTES + 1, 1 << 20] {
        on_stage(async |first| {
            let text = "x".repeat(length);
            first.mine(1).await.finish(done(&text)).await;
            let second = Scene::after(&first).await;
            let Claimed::Stored { answer, .. } = second.claim(2).await else { panic!("not stored") };
            assert_eq!(*answer, if length <= ANSWER_MAX_BYTES { text } else { "not kept".into() }, "{length}");
            tokio::time::sleep(KEEP).await;
            second.shows().await;
            assert_eq!(second.rows(), 0, "{length}: every row goes");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_with_a_call_on_the_wire_leaves_its_key_unknown() {
    for repeat in [Repeat::Never, WITH_KEY] {
        on_stage(async |first| {
            let grant = first.mine_as(1, repeat).await;
            assert_eq!(first.rows(), 0, "a claim that is refused by a guard costs no write");
            first.begin_sending(&grant).await.unwrap();
            let second = Scene::after(&first).await;
            let Claimed::Unknown { call: by } = second.claim(2).await else { panic!("not unknown") };
            assert_eq!((by, second.shows().await.unknown), (call(1), 1));
            tokio::time::sleep(KEEP * 10).await;
            assert!(matches!(second.claim(2).await, Claimed::Unknown { .. }), "however long");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_definite_failure_leaves_nothing_on_disk_and_an_unknown_end_leaves_the_claim() {
    on_stage(async |scene| {
        for (end, rows) in [(End::Free, 0), (End::Parked("parked".into()), 0), (End::Unknown, 1)] {
            let grant = scene.mine(1).await;
            scene.begin_sending(&grant).await.unwrap();
            assert_eq!(scene.rows(), 1);
            grant.finish(end.clone()).await;
            assert_eq!(scene.rows(), rows, "{end:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_always_be_repeated_writes_its_end_only() {
    on_stage(async |scene| {
        let grant = scene.mine_as(1, Repeat::Always).await;
        assert!(grant.write_ahead().is_none());
        grant.finish(done("ring")).await;
        assert_eq!(scene.rows(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn repeats_hear_of_an_end_only_when_it_is_on_disk() {
    on_stage(async |scene| {
        let grant = scene.mine(1).await;
        let mut second = scene.joined(2).await;
        let mut finishing = Box::pin(grant.finish(done("ring")));
        tokio::select! { biased; () = &mut finishing => panic!("too fast"), () = std::future::ready(()) => {} }
        assert!(second.try_recv().is_err() && matches!(scene.claim(3).await, Claimed::Joined(_)));
        finishing.await;
        assert!(matches!(second.await, Ok(Answered::Done { .. })));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_or_silent_stops_calls_that_may_never_be_repeated_and_no_others() {
    for silent in [false, true] {
        on_stage(async |scene| {
            if silent {
                scene.shelf.be_silent();
            } else {
                scene.shelf.be_full(true);
            }
            let grant = scene.mine_as(1, Repeat::Never).await;
            let refusal = scene.begin_sending(&grant).await.unwrap_err();
            assert_eq!(refusal.by, Guard::Idempotency);
            let Reason::NotWritten { problem } = &refusal.reason else { panic!("{refusal}") };
            assert!(problem.contains(if silent { "did not answer within 5s" } else { "store full" }), "{problem}");
            grant.finish(End::Free).await;
            let grant = scene.mine_as(2, WITH_KEY).await;
            scene.begin_sending(&grant).await.unwrap();
            grant.finish(done("ring")).await;
            assert!(matches!(scene.claim(3).await, Claimed::Stored { .. }), "what memory knows is known");
            assert_eq!(scene.shows().await.totals.not_written_total, 4, "two claims, two ends");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_found_out_of_a_key_is_on_disk_too() {
    for (end, rows) in [(done("rang after all"), 1), (End::Free, 0)] {
        on_stage(async |scene| {
            let grant = scene.mine(1).await;
            scene.begin_sending(&grant).await.unwrap();
            let second = Scene::after(&scene).await;
            second.trap.ends.store(1, SeqCst);
            let key = IdempotencyKey("key".into());
            second.vault.reports().push(KeyReport::Resolved { key: key.clone(), call: call(9), end: End::Free });
            second.vault.reports().push(KeyReport::Resolved { key, call: call(1), end: end.clone() });
            second.shows().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(second.rows(), rows, "{end:?}");
            let third = Scene::after(&second).await;
            match third.claim(2).await {
                Claimed::Stored { answer, .. } => assert_eq!((&*answer, rows), ("rang after all", 1)),
                Claimed::Mine(grant) => assert_eq!((grant.sent_before(), rows), (None, 0)),
                other => panic!("{other:?}"),
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_vendors_window_of_a_key_is_counted_from_its_first_claim_also_in_the_next_process() {
    on_stage(async |first| {
        let began = first.clock.wall();
        let grant = first.mine_as(1, WITH_KEY).await;
        assert_eq!(grant.sent_before(), None);
        first.begin_sending(&grant).await.unwrap();
        grant.finish(End::Unknown).await;
        tokio::time::advance(Duration::from_secs(100)).await;
        let grant = first.mine_as(1, WITH_KEY).await;
        assert_eq!(grant.sent_before(), Some(began));
        first.begin_sending(&grant).await.unwrap();
        let second = Scene::after(&first).await;
        tokio::time::advance(Duration::from_secs(100)).await;
        let grant = second.mine_as(1, WITH_KEY).await;
        let since = grant.sent_before().unwrap();
        assert_eq!(since.as_millisecond(), began.as_millisecond());
        grant.finish(End::Unknown).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn records_of_another_version_are_set_aside_and_missing_rows_stop_the_start() {
    on_stage(async |scene| {
        scene.mine(1).await.finish(done("ring")).await;
        let set = crate::store::WriteSet::new().put(Rows::Keys, *b"newer", [99, 1, 2]);
        crate::store::Store::commit(&scene.shelf, set).await.unwrap();
        let second = Scene::after(&scene).await;
        assert!(matches!(second.claim(2).await, Claimed::Stored { .. }));
        assert_eq!(second.rows(), 2, "it is left where it is");
        scene.shelf.lose(Rows::Keys, b"key");
        let lost = super::super::super::load(&scene.shelf, scene.clock.wall(), |_| KEEP).await;
        let problem = lost.unwrap_err().to_string();
        assert!(problem.contains("2 rows of keys were written, 1 are there"), "{problem}");
    })
    .await;
}
