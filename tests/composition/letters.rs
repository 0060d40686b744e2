//! Parked calls in an operator's hands: replayed, purged, written out and read in again.

use super::*;
use mainstay::{LettersError, ReplayReport, Replayed};

/// So many dead letters: the vendor did not like the rows, and likes everything from now on.
async fn dead(mainstay: &Handle, wire: &Wire, rows: std::ops::Range<usize>) -> Vec<LetterId> {
    wire.now_usually(after(400, 0));
    let mut letters = Vec::new();
    for n in rows {
        letters.push(letter_of(mainstay.call(row(n)).await));
    }
    wire.now_usually(ok(200));
    letters
}

async fn left(mainstay: &Handle) -> Vec<LetterId> {
    let page = mainstay.dead_letters().list(Filter::default(), None).await.unwrap();
    page.letters.iter().map(|parked| parked.letter.id).collect()
}

#[test]
fn peers_29_a_replay_does_exactly_its_limit_and_its_cut_off_and_waits_for_a_paused_lane() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([clay(&wire)]).await;
        let letters = mainstay.dead_letters();
        let old = dead(&mainstay, &wire, 0..4).await;
        tokio::time::sleep(s(60)).await;
        let cut_off = mainstay.snapshot().at;
        let new = dead(&mainstay, &wire, 4..8).await;
        let before = wire.count();
        let two = letters.replay(Filter::default()).limit(2).run().await.unwrap();
        assert_eq!(two, ReplayReport { chosen: 2, retried: 2, succeeded: 2, ..ReplayReport::default() });
        assert_eq!((left(&mainstay).await, wire.count() - before), ([&old[2..], &new].concat(), 2));
        let rest = letters.replay(Filter::default().parked_before(cut_off)).run().await.unwrap();
        assert_eq!((rest.succeeded, left(&mainstay).await, wire.count() - before), (2, new.clone(), 4));

        let lane = mainstay.lane("clay", "normal").unwrap();
        lane.pause("a look at the numbers").await.unwrap();
        let waiting = tokio::task::spawn_local(letters.replay(Filter::default()).run());
        tokio::time::sleep(s(10)).await;
        assert_eq!((wire.count() - before, waiting.is_finished()), (4, false), "a paused lane lets nothing through");
        lane.resume().await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().succeeded, 4);
        assert_eq!((left(&mainstay).await, wire.count() - before), (vec![], 8));
        at_rest(&mainstay);
    });
}

#[test]
fn overlapping_replays_do_each_letter_once_and_count_it_once_and_leave_what_arrives_alone() {
    paused(async {
        let (wire, other) = (Wire::default(), Wire::usually(after(400, 0)));
        let mainstay = start([clay(&wire), retell(&other)]).await;
        dead(&mainstay, &wire, 0..20).await;
        wire.now_usually(after(200, 2));
        let before = wire.count();
        let replay = || mainstay.dead_letters().replay(Filter::default()).pace(Duration::from_millis(100)).run();
        let (first, second) = (tokio::task::spawn_local(replay()), tokio::task::spawn_local(replay()));
        tokio::time::sleep(s(1)).await;
        let arrived = letter_of(mainstay.call(ring("a")).await);
        let reports = [first.await.unwrap().unwrap(), second.await.unwrap().unwrap()];
        let sum = |count: fn(&ReplayReport) -> u64| reports.iter().map(count).sum::<u64>();
        assert_eq!((reports[0].chosen, reports[1].chosen), (20, 20));
        assert!(reports.iter().all(|report| report.chosen == report.succeeded + report.skipped), "{reports:?}");
        assert_eq!((sum(|report| report.succeeded), sum(|report| report.retried)), (20, 20));
        assert_eq!((wire.count() - before, other.count()), (20, 1), "each of them once");
        assert_eq!((left(&mainstay).await, mainstay.snapshot().calls.delivered), (vec![arrived], 20));
        at_rest(&mainstay);
    });
}

#[test]
fn a_replay_hears_what_came_of_its_letters_through_crashes_of_the_queue() {
    for message in ["choose", "take_chosen", "finish", "written"] {
        paused(async move {
            let wire = Wire::default();
            let chaos = panics_at("runtime/dlq", message, Some(2));
            let mainstay = builder().vendor(clay(&wire)).hazard(chaos).start().await.unwrap().handle();
            dead(&mainstay, &wire, 0..3).await;
            let report = mainstay.dead_letters().replay(Filter::default()).run().await.unwrap();
            assert_eq!((report.succeeded, report.chosen), (3, 3), "{message}");
            until(&mainstay, |snapshot| snapshot.parked.dead == 0 && snapshot.calls.delivered == 3).await;
            at_rest(&mainstay);
        });
    }
}

#[test]
fn one_letter_is_replayed_and_says_what_came_of_it() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([clay(&wire)]).await;
        let letters = mainstay.dead_letters();
        let id = dead(&mainstay, &wire, 0..1).await[0];
        wire.now_usually(after(422, 0));
        let Replayed::NotDone(state) = letters.replay_one(id).await.unwrap() else { panic!("it cannot be done") };
        assert!(state.given_up && state.due.is_none());
        assert_eq!((state.error.status, state.replays, state.requests), (Some(422), 1, 2));
        wire.now_usually(after(200, 5));
        let (first, second) = tokio::join!(letters.replay_one(id), letters.replay_one(id));
        let (done, told) = if first.is_ok() { (first, second) } else { (second, first) };
        assert_eq!(done, Ok(Replayed::Delivered));
        assert_eq!(told, Err(LettersError::NotThere(id)), "it is somebody else's");
        assert_eq!(letters.replay_one(id).await, Err(LettersError::NotThere(id)), "it is done");
    });
}

#[test]
fn a_letter_keeps_what_the_vendor_said_though_the_breaker_that_this_opened_refused_the_next_try() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        let mainstay = start([touchy(clay(&wire))]).await;
        let letters = mainstay.dead_letters();
        let id = letter_of(mainstay.call(row(0).on_denied(OnDenied::DeadLetter)).await);
        let error = letters.list(Filter::default(), None).await.unwrap().letters[0].state.error.clone();
        let both = |detail: &str| detail.contains("not tried again, refused by the circuit breaker: open (");
        assert!((error.class, error.status) == (Class::Connect, None) && both(&error.detail), "{error:?}");
        wire.now_usually(Reply::Answer(503, json!({ "message": "down for repair" }), s(0)));
        tokio::time::sleep(s(3_600)).await;
        let Replayed::NotDone(state) = letters.replay_one(id).await.unwrap() else { panic!("it cannot be done") };
        let error = state.error;
        assert!(
            error.status == Some(503) && error.detail.contains("down for repair") && both(&error.detail),
            "{error:?}"
        );
        assert_eq!(wire.count(), 2, "each of them opened it");
    });
}

#[test]
fn a_poison_letter_is_given_up_after_its_attempts_and_never_spins() {
    paused(async {
        let wire = Wire::usually(Reply::Fail(WireFault::Connect, s(1)));
        // Each attempt opens the breaker, so that its repetition is refused: it was an attempt all the same.
        let mainstay = start([touchy(retell(&wire))]).await;
        let mut heard = mainstay.subscribe();
        letter_of(mainstay.call(ring("a")).await);
        let before = wire.count();
        tokio::time::sleep(s(1_000)).await;
        assert_eq!(wire.count(), before, "a dead letter waits for a person");
        let report = mainstay.dead_letters().replay(Filter::default()).run().await.unwrap();
        assert_eq!((report.retried, report.again, report.permanent_failures), (1, 1, 0));
        tokio::time::sleep(s(6 * 3600)).await;
        let sent: Vec<_> = wire.seen().iter().skip(before).map(|seen| seen.at).collect();
        assert_eq!((sent.len(), mainstay.snapshot().parked.given_up), (5, 1));
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] > s(30)), "{sent:?}");
        let given_up = |fact: &Fact| matches!(fact, Fact::GivenUp { attempts: 5, .. });
        assert_eq!(facts(&mut heard).iter().filter(|fact| given_up(fact)).count(), 1);
        let permanent = mainstay.dead_letters().list(Filter::given_up(), None).await.unwrap();
        assert_eq!(permanent.letters.len(), 1, "it is never dropped");
    });
}

#[test]
fn a_request_that_can_never_succeed_is_given_up_at_once() {
    for status in [400, 401, 413, 422] {
        paused(async move {
            let wire = Wire::default();
            let mainstay = start([clay(&wire)]).await;
            wire.now_usually(after(status, 0));
            mainstay.call(row(0)).await.unwrap_err();
            let report = mainstay.dead_letters().replay(Filter::default()).run().await.unwrap();
            assert_eq!((report.retried, report.permanent_failures), (1, 1), "{status}");
            tokio::time::sleep(s(600)).await;
            assert_eq!((wire.count(), mainstay.snapshot().parked.given_up), (2, 1), "{status}");
        });
    }
}

#[test]
fn a_letter_that_the_budget_denies_waits_for_the_next_day_and_uses_up_no_attempt() {
    paused(async {
        let wire = Wire::usually(ok(200));
        let mainstay = start([clay(&wire).daily_limit(Credits::whole(12))]).await;
        for n in 0..3 {
            mainstay.call(row(n)).await.unwrap();
        }
        let letters = mainstay.dead_letters();
        for _ in 0..10 {
            let report = letters.replay(Filter::default()).run().await.unwrap();
            assert_eq!(report, ReplayReport { chosen: 1, again: 1, ..ReplayReport::default() }, "nothing was tried");
        }
        assert_eq!((wire.count(), money(&mainstay, "clay")), (2, whole(0, 12)), "a replay spends like everybody");
        let state = letters.list(Filter::default(), None).await.unwrap().letters.remove(0).state;
        assert_eq!((state.attempts, state.requests, state.given_up), (0, 0, false));
        assert_eq!(state.due.unwrap().to_string(), "2026-11-25T00:00:00Z");
        tokio::time::sleep(s(12 * 3600)).await;
        until(&mainstay, |snapshot| snapshot.calls.delivered == 3).await;
    });
}

/// Everything that is parked, as JSON lines.
async fn exported(mainstay: &Handle) -> String {
    let mut lines = String::new();
    mainstay.dead_letters().export(Filter::default(), |line| lines += &format!("{line}\n")).await.unwrap();
    lines
}

#[test]
fn what_was_exported_and_purged_is_imported_whole_and_done() {
    paused(async {
        let wire = Wire::default();
        let mainstay = start([clay(&wire)]).await;
        let letters = mainstay.dead_letters();
        dead(&mainstay, &wire, 0..3).await;
        wire.now_usually(after(422, 0));
        letters.replay(Filter::default()).limit(1).run().await.unwrap();
        wire.now_usually(ok(200));
        let (file, before) = (exported(&mainstay).await, wire.count());
        let parked = letters.list(Filter::default(), None).await.unwrap().letters;
        assert_eq!(letters.purge(Filter::default(), Some(2)).await, Ok(2), "a limit that is one");
        assert_eq!(letters.purge(Filter::default(), None).await, Ok(1));
        assert_eq!((mainstay.snapshot().calls.cancelled, mainstay.snapshot().parked.pending()), (3, 0));

        let report = letters.import(file.as_bytes(), |line, reason| panic!("{line}: {reason}")).await;
        assert_eq!((report.imported, report.already), (3, 0));
        let again = letters.import(file.as_bytes(), |line, reason| panic!("{line}: {reason}")).await;
        assert_eq!((again.imported, again.already), (0, 3), "by its id a letter is there once");
        let back = letters.list(Filter::default(), None).await.unwrap().letters;
        let same = |parked: &[mainstay::actors::dlq::ParkedLetter]| -> Vec<_> {
            parked.iter().map(|parked| (parked.letter.clone(), parked.state.clone())).collect()
        };
        assert_eq!(same(&back), same(&parked), "keys, attempts, ends and the calls they belong to");
        assert_eq!(exported(&mainstay).await.replace("\"seq\":", ""), {
            let places = |n: usize, line: &str| line.replace(&format!("\"seq\":{n},"), &format!("{},", n + 3));
            file.lines().enumerate().map(|(n, line)| places(n, line) + "\n").collect::<String>()
        });
        let snapshot = mainstay.snapshot();
        assert!(snapshot.calls.add_up() && snapshot.calls.dead_lettered == 3, "{:?}", snapshot.calls);
        let repeat = mainstay.call(row(1)).await.unwrap_err();
        assert!(matches!(repeat, CallError::DeadLettered { letter, .. } if letter == back[1].letter.id), "{repeat:?}");

        let report = letters.replay(Filter::default()).run().await.unwrap();
        assert_eq!((report.succeeded, wire.count() - before), (3, 3));
        assert_eq!(call_of(mainstay.call(row(1)).await), back[1].letter.call, "one effect for its key");
        at_rest(&mainstay);
    });
}

#[test]
fn lines_that_are_no_letters_are_told_by_their_number_and_the_rest_is_imported() {
    paused(async {
        let wire = Wire::default();
        let mainstay =
            builder().vendor(clay(&wire)).with(|runtime| runtime.dlq.letters_max = 3).start().await.unwrap().handle();
        let letters = mainstay.dead_letters();
        dead(&mainstay, &wire, 0..3).await;
        let file = exported(&mainstay).await;
        letters.purge(Filter::default(), None).await.unwrap();
        let good: Vec<&str> = file.lines().collect();
        let extra = good[0].replace(&good[0][15..23], "00000000");
        let mut lines: Vec<u8> = Vec::new();
        for line in [
            good[0],
            "",
            "not json",
            &good[1][..good[1].len() / 2],
            &good[1].replace("\"clay\"", "\"nobody\""),
            &good[1].replace("push-row", "hang-up"),
            &good[1].replace("\"normal\"", "\"fast\""),
            &good[1].replace("\"vendor\"", "\"seller\""),
        ] {
            lines.extend(line.bytes().chain([b'\n']));
        }
        lines.extend(b"{\"id\": \"\xff\xfe\"}\n");
        for line in [good[1], good[2], extra.as_str()] {
            lines.extend(line.bytes().chain([b'\n']));
        }
        lines.extend(vec![b'x'; mainstay::LINE_MAX_BYTES as usize + 5]);
        lines.extend(b"\n   \n{");
        let mut rejects = Vec::new();
        let report = letters.import(lines.as_slice(), |line, reason| rejects.push((line, reason.to_owned()))).await;
        assert_eq!((report.imported, report.already, report.rejected, report.stopped), (3, 0, 10, None));
        let expected = [
            (3, "is no letter: expected ident"),
            (4, "is no letter: "),
            (5, "vendor"),
            (6, "operation"),
            (7, "lane"),
            (8, "is no letter: missing field `vendor`"),
            (9, "is no letter: invalid unicode"),
            (12, "the dead letter queue is full: 3 of 3"),
            (13, "is longer than"),
            (15, "is no letter: EOF"),
        ];
        for ((line, reason), (expected, why)) in rejects.iter().zip(expected) {
            assert!(*line == expected && reason.contains(why), "{line}: {reason}, not {expected}: {why}");
        }
        let snapshot = mainstay.snapshot();
        assert!(snapshot.calls.add_up() && snapshot.calls.dead_lettered == 3, "{:?}", snapshot.calls);
    });
}

#[test]
fn a_letter_that_comes_back_after_its_call_was_done_takes_nothing_from_the_call() {
    for (first, kind, reserved_before) in [(after(400, 0), Kind::Dead, 0), (Reply::Hang, Kind::Unknown, 310)] {
        paused(async move {
            let wire = Wire::usually(ok(201));
            wire.then([first]);
            let mainstay = start([retell(&wire)]).await;
            let letters = mainstay.dead_letters();
            mainstay.call(ring("a").deadline(s(600))).await.unwrap_err();
            let call = letters.list(Filter::kind(kind), None).await.unwrap().letters[0].letter.call;
            let mut file = String::new();
            letters.export(Filter::kind(kind), |line| file += line).await.unwrap();
            assert_eq!(letters.replay(Filter::kind(kind)).run().await.unwrap().succeeded, 1, "it rings");

            let report = letters.import(file.as_bytes(), |line, reason| panic!("{line}: {reason}")).await;
            assert_eq!(report.imported, 1);
            assert_eq!(letters.replay(Filter::kind(kind)).run().await.unwrap().succeeded, 1, "by its key");
            assert_eq!(wire.count(), 2);
            mainstay.complete(call, Completion::happened(Credits::whole(20))).await.unwrap();
            turn().await;
            assert_eq!(money(&mainstay, "retell"), whole(20, reserved_before));
            assert!(mainstay.snapshot().calls.add_up());
        });
    }
}

#[test]
fn an_unknown_call_that_was_purged_and_read_in_again_is_paid_by_its_end() {
    paused(async {
        let wire = Wire::usually(Reply::Hang);
        let mainstay = start([retell(&wire)]).await;
        let letters = mainstay.dead_letters();
        let call = unknown(&mainstay, "a").await;
        let mut file = String::new();
        letters.export(Filter::kind(Kind::Unknown), |line| file += line).await.unwrap();
        assert_eq!(letters.purge(Filter::call(call), None).await, Ok(1));
        let report = letters.import(file.as_bytes(), |line, reason| panic!("{line}: {reason}")).await;
        assert_eq!(report.imported, 1);
        mainstay.complete(call, Completion::happened(Credits::whole(20))).await.unwrap();
        turn().await;
        assert_eq!(money(&mainstay, "retell"), whole(20, 0));
        let calls = mainstay.snapshot().calls;
        assert!(calls.add_up() && (calls.unknown, calls.delivered) == (0, 1), "{calls:?}");
    });
}
