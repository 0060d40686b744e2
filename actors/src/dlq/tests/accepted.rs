//! Durable calls, from their acceptance to their end, and what the next process finds of them.

use super::*;

impl Bench {
    async fn accept(&self, n: u128) -> Result<Parked, DlqError> {
        self.ask(Park { letter: letter(n), state: LetterState::accepted(self.clock.wall()) }).await
    }

    async fn send(&self, n: u128) {
        self.ask(NoteSending { id: id(n), replayed: false }).await.unwrap();
    }

    /// What a process that is started now finds of a letter.
    async fn found(&self, n: u128) -> LetterState {
        let index = DlqActor::load(&self.store, &DlqConfig::default()).await.unwrap();
        index.find(id(n)).unwrap().1.state.clone()
    }
}

fn sent(was: Kind, attempts: u32) -> LetterState {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let due = (was == Kind::Later).then_some(now);
    let begun = LetterState::new(was, Failure::new(Class::Server, Some(500), "words"), 0, due, now);
    LetterState { attempts, ..begun }.sending(now)
}

fn after(old: &LetterState, end: &Ended, requests: u32) -> LetterState {
    let now = old.updated_at.checked_add(SECOND).unwrap();
    state_after(&LetterConfig::default(), old, end, requests, now, 0.5).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_accepted_call_is_on_disk_and_neither_parked_nor_anybodys_to_replay_or_purge() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.accept(2).await.unwrap();
        assert_eq!(bench.found(2).await.kind, Kind::Accepted);
        let seen = bench.seen().await;
        assert_eq!((seen.accepted, seen.pending(), seen.oldest_at, seen.by_class.len()), (1, 0, None, 0));
        assert_eq!(
            (bench.list(Filter::default()).await, bench.list(Filter::kind(Kind::Accepted)).await.len()),
            (vec![], 1)
        );
        for filter in [Filter::default(), Filter::ids([id(2)]), Filter::kind(Kind::Accepted)] {
            assert_eq!((bench.replay(filter.clone()).await, bench.choose(filter, 9).await), (vec![], vec![]));
        }
        assert_eq!(bench.purge([2]).await, Ok(0));
        bench.finish(2, Ended::Delivered).await.unwrap();
        assert_eq!((bench.store.counted(), bench.seen().await.accepted), (0, 0));
        assert_eq!(bench.facts.count(|_| true), 0, "whoever made the call states its end");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_accepted_call_that_is_parked_in_the_end_was_parked_then_and_for_that_reason() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.accept(2).await.unwrap();
        time::advance(60 * SECOND).await;
        let state = bench.finish(2, became(Kind::Dead, Class::CallerError)).await.unwrap().unwrap();
        assert_eq!((state.parked_at, state.first_error), (bench.clock.wall(), Some(state.error.clone())));
        let seen = bench.seen().await;
        assert_eq!((seen.accepted, seen.dead, seen.oldest_at), (0, 1, Some(bench.clock.wall())));
        assert_eq!(bench.facts.count(|fact| matches!(fact, Fact::DeadLettered { total: 1, .. })), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn more_accepted_calls_than_allowed_are_refused_and_take_no_place_from_letters() {
    local(async {
        let bench = bench(DlqConfig { accepted_max: 2, letters_max: 1, ..DlqConfig::default() }).await;
        for n in 0..2 {
            bench.accept(n).await.unwrap();
        }
        assert_eq!(bench.accept(2).await, Err(DlqError::AcceptedFull { held: 2, limit: 2 }));
        bench.park(3, Kind::Dead, Class::Server, None).await.unwrap();
        bench.finish(0, became(Kind::Dead, Class::Server)).await.unwrap();
        bench.accept(2).await.unwrap();
        assert_eq!(bench.park(4, Kind::Dead, Class::Server, None).await, Err(DlqError::Full { held: 2, limit: 1 }));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_only_taken_is_what_it_was_and_what_was_being_sent_is_unknown_to_the_next_process() {
    local(async {
        let bench = bench(DlqConfig::default()).await;
        bench.accept(2).await.unwrap();
        bench.park(4, Kind::Later, Class::Connect, Some(0)).await.unwrap();
        bench.take(1).await;
        let taken = bench.found(4).await;
        assert_eq!((taken.kind, taken.sending, taken.due.is_some()), (Kind::Later, None, true));
        for (n, was) in [(2, Kind::Accepted), (4, Kind::Later)] {
            bench.send(n).await;
            let found = bench.found(n).await;
            let sending = Some(Sending { was, since: bench.clock.wall() });
            assert_eq!((found.kind, found.sending, found.attempts, found.due), (Kind::Unknown, sending, 1, None));
        }
        let seen = bench.seen().await;
        assert_eq!((seen.accepted, seen.later, seen.unknown), (1, 1, 0), "this process knows better");
        bench.finish(4, again(Class::Server)).await.unwrap();
        let found = bench.found(4).await;
        assert_eq!((found.kind, found.sending), (Kind::Later, None));
    })
    .await;
}

#[test]
fn what_a_dead_process_was_sending_and_may_be_sent_again_is_what_it_was_until_its_attempts_are_used_up() {
    for was in [Kind::Accepted, Kind::Later] {
        let mut state = sent(was, 0);
        for crash in 1..5 {
            let resumed = after(&state, &Ended::Resumed, 0);
            assert_eq!((resumed.kind, resumed.attempts, resumed.due.is_some()), (was, crash, was == Kind::Later));
            assert_eq!(resumed.sending, state.sending, "the vendor's window began then");
            state = resumed.sending(state.updated_at.checked_add(SECOND).unwrap());
        }
        assert_eq!(state.sending, sent(was, 0).sending);
        let worn_out = after(&state, &Ended::Resumed, 0);
        assert_eq!(
            (worn_out.kind, worn_out.due, worn_out.given_up),
            (Kind::Unknown, None, false),
            "{}",
            worn_out.error
        );
    }
}

#[test]
fn what_may_have_happened_in_a_dead_process_is_never_dead_or_given_up_before_something_was_sent_for_it() {
    let resumed = |was| after(&sent(was, 0), &Ended::Resumed, 0);
    let error = || Failure::new(Class::CallerError, None, "refused");
    let dead = Ended::Became { kind: Kind::Dead, due: None, error: error() };
    let given_up = Ended::GivenUp { error: error() };
    for (was, end) in [(Kind::Accepted, &dead), (Kind::Later, &dead), (Kind::Later, &given_up)] {
        let refused = after(&resumed(was), end, 0);
        assert_eq!((refused.kind, refused.given_up), (Kind::Unknown, false), "{was:?} {end:?}");
        let tried = after(&resumed(was), end, 1);
        assert!(tried.kind != Kind::Unknown && tried.sending.is_none(), "{was:?} {end:?}");
    }
    let later = Ended::Again { not_before: Timestamp::UNIX_EPOCH, error: error() };
    assert_eq!(
        after(&resumed(Kind::Later), &later, 0).sending,
        resumed(Kind::Later).sending,
        "it waits, and is not forgotten"
    );
}

#[test]
fn an_accepted_call_that_is_read_in_elsewhere_waits_for_its_turn_there() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let there = LetterState::accepted(now).sound();
    assert_eq!((there.kind, there.due), (Kind::Later, Some(now)));
}
