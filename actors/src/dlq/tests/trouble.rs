//! Crashes, a store that fails, and what an older or damaged disk holds.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_message_loses_no_letter_and_no_count() {
    for message in ["park", "written", "take_due", "choose", "take_chosen", "finish", "list", "purge", "due"] {
        local(async {
            let bench = bench(DlqConfig::default()).await;
            *bench.strike.0.lock() = Some((message, 2));
            for n in 0..5 {
                bench.park(n, Kind::Dead, Class::Server, Some(1)).await.unwrap();
            }
            assert_eq!(bench.total().await, 5, "{message}");
            assert_eq!(bench.replay(Filter::ids([id(2), id(3)])).await.len(), 2, "{message}");
            time::advance(SECOND).await;
            bench.seen().await;
            assert_eq!(bench.list(Filter::default()).await.len(), 5, "{message}");
            assert_eq!(bench.purge([4]).await, Ok(1), "{message}");
            assert_eq!(bench.take(9).await.len(), 2, "{message}");
            bench.finish(0, Ended::Delivered).await.unwrap();
            bench.finish(1, Ended::Delivered).await.unwrap();
            bench.finish_replay(2, again(Class::Timeout)).await.unwrap();
            bench
                .finish_replay(3, Ended::GivenUp { error: Failure::new(Class::Auth, Some(401), "no key") })
                .await
                .unwrap();
            let seen = bench.seen().await;
            assert_eq!((seen.dead, seen.given_up, seen.taken), (2, 1, 0), "{message}");
            assert_eq!(bench.store.counted(), 2, "{message}");
            bench.is_even().await;
            let facts = &bench.facts;
            assert_eq!(facts.count(|fact| matches!(fact, Fact::DeadLettered { .. })), 5, "{message}");
            assert_eq!(facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 2, "{message}");
            assert_eq!(facts.count(|fact| matches!(fact, Fact::GivenUp { .. })), 1, "{message}");
            assert_eq!(bench.vault.status().restarts, 2, "{message}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_an_error_and_the_letter_stays_to_be_taken() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let full = DlqError::Store(StoreError::Full);
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.park(3, Kind::Dead, Class::Server, None).await, Err(full.clone()));
        assert_eq!((bench.total().await, bench.store.counted()), (0, 0));
        bench.park(2, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        for _ in 0..3 {
            bench.wake.notified().await;
            bench.store.fails.store(1, SeqCst);
            assert_eq!(bench.try_take(1).await, Err(full.clone()));
        }
        assert!(bench.rings_within(SECOND).await, "the letter is due, and nobody hears of it");
        assert_eq!(bench.take(1).await.len(), 1);
        for end in [Ended::Delivered, again(Class::Server)] {
            bench.store.fails.store(1, SeqCst);
            assert_eq!(bench.finish(2, end).await, Err(full.clone()));
            assert_eq!(bench.total().await, 1);
        }
        let chosen = bench.choose(Filter::default(), 9).await[0];
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.ask(TakeChosen(chosen)).await, Err(full.clone()));
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.ask(List { filter: Filter::default(), after: None, max: 9 }).await, Err(full));
        bench.seen().await;
        let taken = bench.take(1).await;
        assert_eq!((taken[0].state.error.class, taken[0].state.attempts), (Class::Connect, 0), "nothing was changed");
        assert_eq!(bench.finish(2, Ended::Delivered).await, Ok(None));
        assert_eq!(bench.total().await, 0);
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_of_an_unknown_version_is_set_aside_and_stops_nobody() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..3 {
            bench.park(n, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        }
        bench.store.spoil(Table::Letters, 0);
        assert_eq!(ids(&bench.take(9).await), [id(1), id(2)]);
        assert!(bench.take(9).await.is_empty());
        let seen = bench.seen().await;
        assert_eq!((seen.later, seen.taken, seen.next_due_at), (3, 2, None));
        assert_eq!(seen.by_class["clay"], BTreeMap::from([(Class::Connect, 1), (Class::Malformed, 1)]));
        assert_eq!(bench.list(Filter::default()).await.len(), 2);
        assert_eq!(bench.store.count(Table::Letters), 3, "its bytes stay on disk");
        assert_eq!(bench.finish(1, Ended::Delivered).await, Ok(None));
        assert_eq!(bench.purge([0]).await, Ok(1), "a person may remove it");
        assert_eq!((bench.total().await, bench.store.count(Table::Letters)), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_state_of_an_unknown_version_does_not_stop_the_start() {
    local(async {
        let first = bench(DlqConfig::default()).await;
        for n in 0..3 {
            first.park(n, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        }
        first.store.spoil(Table::LetterState, 1);
        first.vault.stop();
        let second = bench_on(first.store.clone(), DlqConfig::default()).await;
        assert_eq!(ids(&second.take(9).await), [id(0), id(2)]);
        let before = first.store.rows.lock().clone();
        second.park(1, Kind::Dead, Class::Server, None).await.unwrap();
        assert_eq!(*first.store.rows.lock(), before, "it is not written over");
        assert_eq!((second.total().await, second.store.counted()), (2, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn loading_shows_what_was_there_and_finds_missing_letters() {
    local(async {
        let config = DlqConfig::default();
        let first = bench(config.clone()).await;
        for n in 0..5 {
            first.park(n, Kind::Dead, Class::Server, Some(9)).await.unwrap();
        }
        let (store, before, letters) = (first.store.clone(), first.seen().await, first.list(Filter::default()).await);
        first.vault.stop();
        let second = bench_on(store.clone(), config.clone()).await;
        assert_eq!(*second.seen().await, *before, "a new process shows what the old one did");
        assert_eq!(second.list(Filter::default()).await, letters);
        let parked = second.park(7, Kind::Dead, Class::Server, None).await.unwrap();
        assert_eq!((parked.total, second.list(Filter::default()).await.pop().unwrap().seq), (3, 5));
        second.vault.stop();
        let gone = store.rows.lock().keys().find(|(table, _)| *table == Table::LetterState).cloned().unwrap();
        store.rows.lock().remove(&gone);
        let error = DlqActor::load(&store, &config).await.unwrap_err();
        assert_eq!(error, StoreError::Damaged("6 parked calls were written, 5 are there".into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_larger_than_one_value_is_cut_into_parts_and_comes_back_whole() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let large = Letter { payload: serde_json::json!("ü".repeat(10_000)), ..letter(2) };
        bench.park(1, Kind::Dead, Class::Server, None).await.unwrap();
        bench.park_letter(large.clone(), Kind::Later, Class::Connect, Some(0)).await.unwrap();
        bench.park(3, Kind::Dead, Class::Server, None).await.unwrap();
        assert_eq!(bench.store.count(Table::Letters), 1 + 5 + 1);
        assert_eq!(bench.take(1).await[0].letter, large);
        let listed: Vec<Letter> = bench.list(Filter::default()).await.into_iter().map(|parked| parked.letter).collect();
        assert_eq!(listed, [letter(1), large, letter(3)]);
        bench.finish(2, Ended::Delivered).await.unwrap();
        assert_eq!(bench.store.count(Table::Letters), 2, "all its parts went, and nobody else's");
    })
    .await;
}
