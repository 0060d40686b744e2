//! Parking, waking, taking, replaying, purging, exporting: while everything works.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_parked_call_is_on_disk_counted_and_shown() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let parked = bench.park(2, Kind::Dead, Class::Server, Some(30)).await.unwrap();
        assert_eq!(parked, Parked { id: id(2), total: 1, is_new: true });
        assert_eq!((bench.store.counted(), bench.store.count(Table::Letters)), (1, 1), "on disk when it is answered");
        bench.park(3, Kind::Unknown, Class::Timeout, Some(30)).await.unwrap();
        bench.park(5, Kind::Later, Class::Connect, None).await.unwrap();
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.later, seen.unknown, seen.given_up, seen.taken), (1, 1, 1, 0, 0));
        let retell = BTreeMap::from([(Class::Connect, 1), (Class::Timeout, 1)]);
        let by_class = [("clay".to_owned(), BTreeMap::from([(Class::Server, 1)])), ("retell".to_owned(), retell)];
        assert_eq!(seen.by_class, BTreeMap::from(by_class));
        assert_eq!(seen.oldest_at, Some(parked_at(2)));
        assert_eq!(seen.next_due_at, Some(bench.clock.wall().checked_add(30 * SECOND).unwrap()));
        assert_eq!(bench.store.count(Table::LetterDue), 1, "an unknown call has no date");
        bench.is_even().await;
        let all = bench.list(Filter::ids([id(2), id(3), id(5)])).await;
        assert_eq!(all.iter().map(|parked| &parked.letter).collect::<Vec<_>>(), [&letter(2), &letter(3), &letter(5)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn parking_the_same_letter_again_changes_nothing_and_a_full_queue_knows_what_it_holds() {
    local(async {
        let bench = bench(DlqConfig { letters_max: 2, ..DlqConfig::default() }).await;
        bench.park(2, Kind::Dead, Class::Server, None).await.unwrap();
        bench.seen().await;
        let again = bench.park(2, Kind::Dead, Class::Timeout, None).await.unwrap();
        assert_eq!(again, Parked { id: id(2), total: 1, is_new: false });
        bench.park(3, Kind::Dead, Class::Server, None).await.unwrap();
        let full = bench.park(4, Kind::Dead, Class::Server, None).await;
        assert_eq!(full, Err(DlqError::Full { held: 2, limit: 2 }));
        assert!(bench.park(3, Kind::Dead, Class::Server, None).await.is_ok());
        assert_eq!(bench.total().await, 2);
        bench.is_even().await;
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::DeadLettered { .. })), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_parks_twice_at_once_hears_yes_only_when_it_is_on_disk() {
    local(async {
        let bench = bench(DlqConfig { letters_max: 1, ..DlqConfig::default() }).await;
        let park = || bench.park(2, Kind::Dead, Class::Server, None);
        bench.store.fails.store(2, SeqCst);
        let (a, b) = tokio::join!(park(), park());
        assert_eq!((a, b), (Err(StoreError::Full.into()), Err(StoreError::Full.into())));
        assert_eq!((bench.total().await, bench.store.counted()), (0, 0));
        bench.store.fails.store(1, SeqCst);
        let (a, b) = tokio::join!(park(), park());
        assert_eq!((a, b.is_ok()), (Err(StoreError::Full.into()), true));
        assert_eq!((bench.total().await, bench.store.counted()), (1, 1));
        bench.purge([2]).await.unwrap();
        let (a, b) = tokio::join!(park(), park());
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(bench.total().await, 1);
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_wake_comes_when_a_letter_is_due_and_not_before_and_again_while_nobody_comes() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        let start = bench.clock.now();
        bench.park(2, Kind::Dead, Class::Server, Some(30)).await.unwrap();
        // Parking itself may ring: a look too many finds nothing.
        bench.rings_within(Duration::ZERO).await;
        assert!(bench.take(10).await.is_empty());
        bench.wake.notified().await;
        let waited = bench.clock.now() - start;
        assert!((30 * SECOND..31 * SECOND).contains(&waited), "{waited:?}");
        for _ in 0..5 {
            assert!(bench.rings_within(SECOND).await, "nobody came, and nobody was reminded");
        }
        let taken = bench.take(10).await;
        assert_eq!(taken[0].letter, letter(2));
        // Nothing more is due: the timer must not spin.
        bench.rings_within(SECOND).await;
        assert!(!bench.rings_within(200 * SECOND).await, "woken for a letter that is out");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn overlapping_takers_never_get_one_letter_twice_and_an_expired_lease_comes_back() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..20 {
            bench.park(n, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        }
        let (a, b, c) = tokio::join!(bench.take(8), bench.take(8), bench.take(8));
        let all: BTreeSet<LetterId> = [&a, &b, &c].into_iter().flat_map(|taken| ids(taken)).collect();
        assert_eq!((a.len() + b.len() + c.len(), all.len()), (20, 20), "somebody got one that another had");
        assert_eq!(bench.seen().await.taken, 20);
        for taken in [&a, &b].into_iter().flatten() {
            bench.ask(Finish::new(taken.letter.id, Ended::Delivered)).await.unwrap();
        }
        assert_eq!(bench.total().await, 4);
        time::advance(599 * SECOND).await;
        assert!(bench.take(20).await.is_empty(), "the lease has not ended");
        time::advance(SECOND).await;
        assert_eq!(ids(&bench.take(20).await), ids(&c));
        for _ in 0..2 {
            let late = bench.ask(Finish::new(c[0].letter.id, Ended::Delivered)).await;
            assert_eq!(late, Ok(None), "delivered is delivered, however late, and may be told again");
        }
        assert_eq!(bench.total().await, 3);
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failed_replays_come_back_later_and_later_and_are_then_given_up_once() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.park(2, Kind::Dead, Class::Server, Some(0)).await.unwrap();
        let mut pauses = Vec::new();
        for attempt in 1..=5 {
            let (taken, pause) = bench.take_when_due().await;
            assert_eq!(taken.state.attempts, attempt - 1);
            pauses.push(pause);
            bench.finish(2, again(Class::Timeout)).await.unwrap();
        }
        assert_eq!(pauses, [0, 30, 60, 120, 240]);
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.given_up, seen.next_due_at), (1, 1, None));
        assert_eq!(seen.by_class["clay"], BTreeMap::from([(Class::Timeout, 1)]));
        let is_given_up = |fact: &Fact| matches!(fact, Fact::GivenUp { attempts: 5, .. });
        assert_eq!(bench.facts.count(is_given_up), 1);
        assert_eq!(bench.store.count(Table::LetterDue), 0);
        bench.is_even().await;
        assert!(!bench.rings_within(7200 * SECOND).await || bench.take(1).await.is_empty());
        let taken = bench.replay(Filter::default()).await;
        assert_eq!((taken[0].state.attempts, taken[0].state.replays), (0, 1), "a person may still ask for it");
        bench
            .finish_replay(2, Ended::GivenUp { error: Failure::new(Class::Auth, Some(401), "hopeless") })
            .await
            .unwrap();
        assert_eq!(
            (bench.seen().await.given_up, bench.facts.count(|fact| matches!(fact, Fact::GivenUp { .. }))),
            (1, 2)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_vendor_has_its_own_number_of_attempts() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.park(3, Kind::Later, Class::Server, Some(0)).await.unwrap();
        for _ in 0..3 {
            bench.take_when_due().await;
            bench.finish(3, again(Class::Timeout)).await.unwrap();
        }
        let given_up = bench.list(Filter::given_up().vendor("retell").unwrap()).await;
        assert_eq!((given_up[0].letter.id, given_up[0].state.attempts, given_up[0].state.requests), (id(3), 3, 4));
        let is_given_up = |fact: &Fact| matches!(fact, Fact::GivenUp { letter, attempts: 3, .. } if *letter == id(3));
        assert_eq!(bench.facts.count(is_given_up), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_says_how_it_came_and_how_its_last_attempts_ended() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.park(2, Kind::Dead, Class::Connect, None).await.unwrap();
        for _ in 0..3 {
            bench.replay(Filter::ids([id(2)])).await;
            bench.finish_replay(2, again(Class::Timeout)).await;
            bench.take_when_due().await;
            bench.finish(2, again(Class::Server)).await.unwrap();
        }
        let letter = bench.list(Filter::ids([id(2)])).await.remove(0);
        assert_eq!(letter.state.first_error, Some(Failure::new(Class::Connect, None, "words")));
        let LetterState { error, attempts, requests, replays, history, .. } = &letter.state;
        assert_eq!((error.class, *attempts, *requests, *replays), (Class::Server, 2, 7, 3));
        let classes: Vec<_> = history.iter().map(|attempt| attempt.class).collect();
        assert_eq!(classes, [Class::Server, Class::Timeout, Class::Server, Class::Timeout, Class::Server]);
        assert_eq!(letter.state.last_attempt_at(), Some(bench.clock.wall()));
        assert_eq!(letter.letter.call, CallId(Uuid::from_u128(2)), "the same call through every replay");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_attempt_and_what_was_said_about_the_time_holds() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.park(2, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        for _ in 0..20 {
            let (taken, _) = bench.take_when_due().await;
            assert_eq!(taken.state.attempts, 0);
            let not_before = bench.clock.wall().checked_add(7 * SECOND).unwrap();
            let end = Ended::Again { not_before, error: Failure::new(Class::Overload, None, "open") };
            bench.ask(Finish::new(id(2), end)).await.unwrap();
            assert_eq!(bench.seen().await.next_due_at, Some(not_before));
        }
        assert_eq!(bench.seen().await.given_up, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_takes_what_it_names_and_an_unknown_call_only_by_its_id() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..10 {
            let class = if n < 5 { Class::Server } else { Class::Timeout };
            bench.park(n, Kind::Dead, class, None).await.unwrap();
        }
        bench.park(10, Kind::Unknown, Class::Timeout, None).await.unwrap();
        bench.seen().await;
        let clay = Filter::default().class(Class::Timeout).vendor("clay").unwrap();
        assert_eq!(ids(&bench.replay(clay).await), [id(6), id(8)], "not the unknown 10");
        let first = bench.choose(Filter::default(), 3).await;
        assert_eq!(first.iter().map(|chosen| chosen.id).collect::<Vec<_>>(), [id(0), id(1), id(2)], "exactly three");
        assert!(bench.ask(TakeChosen(first[1])).await.unwrap().is_some());
        assert_eq!(bench.ask(TakeChosen(first[1])).await.unwrap(), None, "it is out");
        bench.finish_replay(1, again(Class::Server)).await;
        assert_eq!(bench.ask(TakeChosen(first[1])).await.unwrap(), None, "somebody else replayed it since");
        bench.purge([2]).await.unwrap();
        assert_eq!(bench.ask(TakeChosen(first[2])).await.unwrap(), None, "it is gone");
        bench.park(12, Kind::Dead, Class::Server, None).await.unwrap();
        let old = Filter::default().parked_before(parked_at(5));
        assert_eq!(ids(&bench.replay(old).await), [id(0), id(1), id(3), id(4)]);
        assert!(bench.replay(Filter::ids([id(0), id(99)])).await.is_empty(), "what is out is left alone");
        assert_eq!(ids(&bench.replay(Filter::ids([id(10)])).await), [id(10)]);
        bench.finish_replay(10, became(Kind::Dead, Class::Abandoned)).await.unwrap();
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.unknown, seen.taken), (11, 0, 6));
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_removes_what_it_names_for_good_and_leaves_alone_what_is_being_done() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..4 {
            bench.park(n, Kind::Dead, Class::Server, (n == 0).then_some(0)).await.unwrap();
        }
        bench.park(4, Kind::Unknown, Class::Timeout, None).await.unwrap();
        assert_eq!(bench.take(9).await.len(), 1);
        assert_eq!(bench.purge([]).await, Ok(0), "nothing named, nothing removed");
        assert_eq!(bench.purge([0, 1, 4, 99]).await, Ok(2));
        assert_eq!(bench.purge([1, 4]).await, Ok(0));
        assert_eq!(ids(&bench.list(Filter::default()).await), [id(0), id(2), id(3)]);
        assert_eq!(bench.finish(1, Ended::Delivered).await, Ok(None), "one that is gone is no error");
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 0);
        bench.is_even().await;
        bench.park(1, Kind::Dead, Class::Server, None).await.unwrap();
        let last = bench.list(Filter::default()).await.pop().unwrap();
        assert_eq!((last.seq, last.letter.id), (5, id(1)), "its id may be parked anew, at a place of its own");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_the_store_fails_keeps_nothing_out() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..4 {
            bench.park(n, Kind::Dead, Class::Server, None).await.unwrap();
        }
        bench.seen().await;
        bench.store.fails.store(1, SeqCst);
        assert_eq!(bench.purge([0, 1, 2, 3]).await, Err(StoreError::Full.into()));
        let left = bench.total().await;
        assert!(left > 0);
        assert_eq!(
            (bench.seen().await.taken, bench.purge([0, 1, 2, 3]).await),
            (0, Ok(left)),
            "the rest is still to be had"
        );
        bench.is_even().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_drained_page_by_page_without_a_lost_wake() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..100 {
            bench.park(n, Kind::Later, Class::Connect, Some(1)).await.unwrap();
        }
        let mut delivered = 0;
        while delivered < 100 {
            assert!(bench.rings_within(2 * SECOND).await, "asleep with {delivered} done");
            for taken in bench.take(16).await {
                bench.ask(Finish::new(taken.letter.id, Ended::Delivered)).await.unwrap();
                delivered += 1;
            }
        }
        assert_eq!(
            *bench.seen().await,
            DlqSnapshot { letters_max: 100_000, accepted_max: 100_000, ..DlqSnapshot::default() }
        );
        for table in LETTER_TABLES {
            assert_eq!(bench.store.count(table), 0, "{table:?}");
        }
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_export_by_pages_gives_every_letter_once_in_order() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in 0..30 {
            bench.park(n, Kind::Dead, Class::Server, (n < 8).then_some(0)).await.unwrap();
        }
        assert_eq!(bench.take(8).await.len(), 8, "those that are out are listed too");
        let (mut after, mut seqs) = (None, Vec::new());
        loop {
            let page = bench.ask(List { filter: Filter::default(), after, max: 5 }).await.unwrap();
            assert!(page.letters.len() <= 5);
            seqs.extend(page.letters.iter().map(|parked| parked.seq));
            // What was exported may go meanwhile.
            bench.purge(seqs.last().map(|seq| u128::from(*seq))).await.unwrap();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seqs, (0..30).collect::<Vec<_>>());
        assert_eq!(ids(&bench.list(Filter::ids([id(7), id(6), id(99)])).await), [id(6), id(7)]);
        let page = bench.ask(List { filter: Filter::default(), after: None, max: usize::MAX }).await.unwrap();
        assert!(page.next.is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_ends_of_one_letter_at_once_are_counted_once_each() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.park(2, Kind::Unknown, Class::Timeout, None).await.unwrap();
        let end = |class| bench.finish(2, became(Kind::Dead, class));
        let (first, second) = tokio::join!(end(Class::Server), end(Class::Broken));
        assert!(first.is_ok() && second.is_ok());
        let seen = bench.seen().await;
        assert_eq!((seen.dead, seen.unknown, seen.taken), (1, 0, 0));
        assert_eq!(seen.by_class["clay"], BTreeMap::from([(Class::Broken, 1)]), "the last one stands");
        bench.is_even().await;
        assert_eq!(bench.replay(Filter::default()).await.len(), 1);
        let deliver = || bench.finish(2, Ended::Delivered);
        assert_eq!(tokio::join!(deliver(), deliver()), (Ok(None), Ok(None)));
        assert_eq!((bench.total().await, bench.store.counted()), (0, 0));
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::Reprocessed { .. })), 1);
        for table in LETTER_TABLES {
            assert_eq!(bench.store.count(table), 0, "{table:?}");
        }
        assert_eq!(deliver().await, Ok(None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn facts_are_stated_once_each() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        for n in [2, 2, 4, 4] {
            bench.park(n, Kind::Dead, Class::Server, Some(0)).await.unwrap();
            bench.seen().await;
        }
        bench.park(6, Kind::Later, Class::Connect, None).await.unwrap();
        bench.take(1).await;
        for _ in 0..2 {
            bench.finish(2, Ended::Delivered).await.unwrap();
            bench.purge([4]).await.unwrap();
            bench.seen().await;
        }
        let (clay, call) = (vendor("clay"), |n| CallId(Uuid::from_u128(n)));
        let dead = |n, total| Fact::DeadLettered {
            vendor: clay.clone(),
            call: call(n),
            letter: id(n),
            class: Class::Server,
            total,
        };
        let counted = |dead, later, oldest: Option<u128>| Fact::LettersCounted {
            vendor: clay.clone(),
            letters: LetterCounts { dead, later, oldest_at: oldest.map(parked_at), ..LetterCounts::default() },
        };
        let done = Fact::Reprocessed { vendor: clay.clone(), call: call(2), letter: id(2) };
        let purged = Fact::Purged { vendor: clay.clone(), call: call(4), letter: id(4) };
        let expected = [
            dead(2, 1),
            counted(1, 0, Some(2)),
            dead(4, 2),
            counted(2, 0, Some(2)),
            counted(2, 1, Some(2)),
            done,
            counted(1, 1, Some(4)),
            purged,
            counted(0, 1, Some(6)),
        ];
        assert_eq!(*bench.facts.0.lock(), expected);
    })
    .await;
}
