mod model;

use std::{cell::Cell, rc::Rc, time::Duration};

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::*;
use crate::clock;

const KEEP: Duration = Duration::from_secs(60);

/// A waiting caller: a number, and whether it went away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Caller(u64, Rc<Cell<bool>>);

impl Waiter for Caller {
    fn is_gone(&self) -> bool {
        self.1.get()
    }
}

type Table = Keys<u64, Caller>;

fn config(keys_max: usize, joined_max: usize) -> IdempotencyConfig {
    IdempotencyConfig { keep: KEEP, keys_max, joined_max }
}

fn key(number: u8) -> IdempotencyKey {
    IdempotencyKey(format!("key-{number}").into())
}

fn call(number: u8) -> CallId {
    CallId(Uuid::from_u128(u128::from(number)))
}

fn asked(key_number: u8, print: u8, by: u8) -> Asked {
    let at = Timestamp::UNIX_EPOCH;
    Asked { key: key(key_number), fingerprint: Fingerprint([print; 32]), call: call(by), at, again: false }
}

fn claim(table: &mut Table, asked: &Asked, now: Instant) -> Decision<u64> {
    let decision = table.decide_claim(asked, now);
    table.apply_claim(asked, &decision, now);
    decision
}

fn mine(table: &mut Table, asked: &Asked, now: Instant) -> GrantId {
    match claim(table, asked, now) {
        Decision::Mine(mine) => mine.claim,
        other => panic!("not mine: {other:?}"),
    }
}

fn report(table: &mut Table, report: KeyReport<u64>, now: Instant) -> Option<Told<u64, Caller>> {
    table.decide_report(&report).then(|| table.apply_report(report, now)).flatten()
}

fn end(table: &mut Table, key_number: u8, claim: GrantId, end: End<u64>, now: Instant) -> Option<Told<u64, Caller>> {
    report(table, KeyReport::Ended { key: key(key_number), claim, end }, now)
}

fn resolve(table: &mut Table, key_number: u8, by: u8, end: End<u64>, now: Instant) -> Option<Told<u64, Caller>> {
    report(table, KeyReport::Resolved { key: key(key_number), call: call(by), end }, now)
}

fn caller(number: u64) -> Caller {
    Caller(number, Rc::default())
}

#[test]
fn a_repeat_joins_the_call_in_flight_and_hears_its_end() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    assert_eq!(claim(&mut table, &asked(1, 0, 2), now), Decision::Join);
    table.join(&key(1), caller(2));
    let told = end(&mut table, 1, first, End::Done(7), now).unwrap();
    assert_eq!(told.joined, [caller(2)]);
    assert_eq!(told.answer, Answered::Done { call: call(1), answer: 7 });
    assert_eq!(claim(&mut table, &asked(1, 0, 3), now), Decision::Stored { call: call(1), answer: 7 });
}

#[test]
fn the_same_key_with_another_payload_is_a_conflict_in_every_state() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    assert_eq!(claim(&mut table, &asked(1, 9, 2), now), Decision::Conflict);
    assert_eq!(claim(&mut table, &asked(1, 9, 1), now), Decision::Conflict, "the owner itself too");
    end(&mut table, 1, first, End::Unknown, now);
    assert_eq!(claim(&mut table, &asked(1, 9, 2), now), Decision::Conflict);
    resolve(&mut table, 1, 1, End::Done(7), now);
    assert_eq!(claim(&mut table, &asked(1, 9, 2), now), Decision::Conflict);
    assert_eq!(table.snapshot(VendorId::new("v").unwrap()).totals.conflicts_total, 4);
}

#[test]
fn the_owner_that_asks_again_gets_its_key_again_and_the_lost_claim_has_no_say() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let lost = mine(&mut table, &asked(1, 0, 1), now);
    table.join(&key(1), caller(2));
    let again = mine(&mut table, &asked(1, 0, 1), now);
    assert_ne!(lost, again);
    assert_eq!(end(&mut table, 1, lost, End::Free, now), None);
    assert_eq!(end(&mut table, 1, again, End::Done(7), now).unwrap().joined, [caller(2)], "who joined is kept");
}

#[test]
fn a_report_is_applied_once() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    assert!(end(&mut table, 1, first, End::Free, now).is_some());
    assert!(end(&mut table, 1, first, End::Free, now).is_none());
    let second = mine(&mut table, &asked(1, 0, 2), now);
    assert!(end(&mut table, 1, first, End::Done(7), now).is_none(), "a late report of an old claim");
    assert!(end(&mut table, 1, second, End::Done(8), now).is_some());
}

#[test]
fn an_unknown_key_is_blocked_until_somebody_finds_out() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    end(&mut table, 1, first, End::Unknown, now);
    let much_later = now + KEEP * 100;
    let blocked = Decision::Unknown { call: call(1) };
    assert_eq!(claim(&mut table, &asked(1, 0, 2), much_later), blocked);
    assert_eq!(claim(&mut table, &asked(1, 0, 1), much_later), blocked, "its own call too, unless it may try again");
    assert!(resolve(&mut table, 1, 2, End::Free, much_later).is_none(), "another call cannot resolve it");
    assert!(resolve(&mut table, 1, 1, End::Free, much_later).is_some());
    mine(&mut table, &asked(1, 0, 2), much_later);
}

#[test]
fn only_the_call_that_left_it_unknown_may_try_again() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    end(&mut table, 1, first, End::Unknown, now);
    let other = Asked { again: true, ..asked(1, 0, 2) };
    assert_eq!(claim(&mut table, &other, now), Decision::Unknown { call: call(1) });
    let again = mine(&mut table, &Asked { again: true, ..asked(1, 0, 1) }, now);
    assert_eq!(claim(&mut table, &asked(1, 0, 2), now), Decision::Join);
    assert!(resolve(&mut table, 1, 1, End::Free, now).is_none(), "in flight again: the claim decides");
    assert!(end(&mut table, 1, again, End::Done(7), now).is_some());
}

#[test]
fn a_stored_answer_is_forgotten_exactly_when_its_time_is_over() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    end(&mut table, 1, first, End::Done(7), now);
    assert_eq!(table.next_expiry(), Some(now + KEEP));
    let just_before = now + KEEP - Duration::from_nanos(1);
    assert_eq!(claim(&mut table, &asked(1, 0, 2), just_before), Decision::Stored { call: call(1), answer: 7 });
    mine(&mut table, &asked(1, 9, 2), now + KEEP);
}

#[test]
fn a_full_table_forgets_the_oldest_done_key_and_never_one_in_flight_or_unknown() {
    let (mut table, now) = (Table::new(config(4, 10)), clock::now());
    mine(&mut table, &asked(1, 0, 1), now);
    let unknown = mine(&mut table, &asked(2, 0, 2), now);
    end(&mut table, 2, unknown, End::Unknown, now);
    for number in [3, 4] {
        let claim = mine(&mut table, &asked(number, 0, number), now);
        end(&mut table, number, claim, End::Done(u64::from(number)), now);
    }
    mine(&mut table, &asked(5, 0, 5), now);
    assert_eq!(claim(&mut table, &asked(4, 0, 9), now), Decision::Stored { call: call(4), answer: 4 });
    mine(&mut table, &asked(6, 0, 6), now);
    assert_eq!(claim(&mut table, &asked(7, 0, 7), now), Decision::Full { what: "keys", held: 4, limit: 4 });
    let shown = table.snapshot(VendorId::new("v").unwrap());
    assert_eq!(
        (shown.in_flight, shown.stored, shown.unknown, shown.totals.evicted_total, shown.totals.full_total),
        (3, 0, 1, 2, 1)
    );
}

#[test]
fn callers_who_went_away_make_room_for_others() {
    let (mut table, now) = (Table::new(config(10, 2)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    let (patient, gone) = (caller(2), caller(3));
    for waiting in [&patient, &gone] {
        assert_eq!(claim(&mut table, &asked(1, 0, 9), now), Decision::Join);
        table.join(&key(1), waiting.clone());
    }
    let full = Decision::Full { what: "callers joined to one key", held: 2, limit: 2 };
    assert_eq!(claim(&mut table, &asked(1, 0, 9), now), full);
    gone.1.set(true);
    assert_eq!(claim(&mut table, &asked(1, 0, 9), now), Decision::Join);
    table.join(&key(1), caller(4));
    assert_eq!(end(&mut table, 1, first, End::Free, now).unwrap().joined, [patient, caller(4)]);
}

fn restored(key_number: u8, by: u8, end: End<u64>) -> KeyReport<u64> {
    let since = Timestamp::UNIX_EPOCH;
    KeyReport::Restored { key: key(key_number), fingerprint: Fingerprint([0; 32]), call: call(by), since, end }
}

fn left(number: u8, done: Option<(u64, Instant)>) -> LeftKey<u64> {
    let since = Timestamp::from_second(i64::from(number)).unwrap();
    LeftKey { key: key(number), fingerprint: Fingerprint([0; 32]), call: call(number), since, done }
}

#[test]
fn keys_of_an_earlier_process_answer_repeats_to_their_end_and_unknown_ones_stay_whatever_the_room() {
    let (mut table, now) = (Table::new(config(3, 10)), clock::now());
    let until = |seconds| now + Duration::from_secs(seconds);
    let found = vec![left(4, Some((4, until(40)))), left(1, None), left(3, Some((3, until(30)))), left(2, None)];
    assert_eq!(table.take_in(found), [(key(3), 3)], "no room: the one that would end first");
    assert_eq!(table.next_expiry(), Some(until(40)));
    assert_eq!(claim(&mut table, &asked(1, 0, 9), now), Decision::Unknown { call: call(1) });
    assert_eq!(claim(&mut table, &asked(4, 9, 9), now), Decision::Conflict);
    assert_eq!(claim(&mut table, &asked(4, 0, 9), now), Decision::Stored { call: call(4), answer: 4 });
    assert_eq!(table.expire(until(40)), [(key(4), 4)]);
    mine(&mut table, &asked(4, 9, 9), until(40));
}

#[test]
fn a_key_taken_up_again_after_an_unknown_effect_says_since_when_it_may_have_been_sent() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let at = |second, again| Asked { at: Timestamp::from_second(second).unwrap(), again, ..asked(1, 0, 1) };
    let mut taken = |asked: &Asked, ends: End<u64>| {
        let Decision::Mine(mine) = claim(&mut table, asked, now) else { panic!("not mine") };
        end(&mut table, 1, mine.claim, ends, now);
        (mine.since.as_second(), mine.unknown, mine.again)
    };
    assert_eq!(taken(&at(10, false), End::Parked(7)), (10, false, false));
    assert_eq!(taken(&at(20, false), End::Unknown), (20, false, true), "nothing was sent before: its time begins anew");
    assert_eq!(taken(&at(30, true), End::Unknown), (20, true, true));
    assert_eq!(taken(&at(40, true), End::Free), (20, true, true), "however often");
    assert_eq!(taken(&at(50, false), End::Free), (50, false, false));
}

#[test]
fn a_parked_call_says_better_than_its_own_interrupted_claim_what_stands_for_its_key() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    table.take_in(vec![left(1, None), left(2, None), left(3, Some((3, now + KEEP)))]);
    assert!(report(&mut table, restored(1, 1, End::Parked(7)), now).is_some());
    assert!(report(&mut table, restored(2, 9, End::Parked(7)), now).is_none(), "of another call");
    assert!(report(&mut table, restored(3, 3, End::Unknown), now).is_none(), "it is done");
    assert_eq!(claim(&mut table, &asked(1, 0, 9), now), Decision::Stored { call: call(1), answer: 7 });
    assert_eq!(claim(&mut table, &asked(2, 0, 9), now), Decision::Unknown { call: call(2) });
    let shown = table.snapshot(VendorId::new("v").unwrap());
    assert_eq!((shown.parked, shown.unknown, shown.stored), (1, 1, 1));
}

#[test]
fn what_the_store_remembers_as_unknown_is_blocked_from_the_start() {
    let (mut table, now) = (Table::new(config(1, 10)), clock::now());
    let left = |n| restored(n, n, End::Unknown);
    assert!(table.decide_report(&left(1)) && table.apply_report(left(1), now).is_some());
    assert!(!table.decide_report(&left(1)), "there already");
    assert!(!table.decide_report(&left(2)), "no room");
    assert_eq!(claim(&mut table, &asked(1, 0, 2), now), Decision::Unknown { call: call(1) });
}

#[test]
fn a_parked_call_of_an_earlier_process_stands_for_its_key_before_any_answer_is_stored() {
    for end in [End::Unknown, End::Parked(7)] {
        let (mut table, now) = (Table::new(config(1, 10)), clock::now());
        table.take_in(vec![left(3, Some((3, now + KEEP)))]);
        let told = report(&mut table, restored(1, 1, end), now).expect("stored answers make room");
        assert_eq!(told.forgotten, [(key(3), 3)]);
        let repeat = claim(&mut table, &asked(1, 0, 9), now);
        assert!(!matches!(repeat, Decision::Mine(_)), "{repeat:?}");
    }
}

#[test]
fn a_parked_call_answers_repeats_and_takes_its_key_up_again_itself() {
    let (mut table, now) = (Table::new(config(10, 10)), clock::now());
    let first = mine(&mut table, &asked(1, 0, 1), now);
    end(&mut table, 1, first, End::Parked(7), now);
    assert_eq!(claim(&mut table, &asked(1, 0, 2), now), Decision::Stored { call: call(1), answer: 7 });
    let second = mine(&mut table, &asked(1, 0, 1), now);
    assert_eq!(claim(&mut table, &asked(1, 0, 2), now), Decision::Join);
    end(&mut table, 1, second, End::Done(8), now);
    assert_eq!(claim(&mut table, &asked(1, 0, 3), now), Decision::Stored { call: call(1), answer: 8 });
}
