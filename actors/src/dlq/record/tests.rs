use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{dlq::HISTORY_MAX, outcome::DETAIL_MAX_BYTES};

/// The bytes of each version as they were first written. They must open for ever: these files are never to be written anew.
/// When a test below fails, the code is wrong, not the file; what must look different is a new version with files of its own.
const LETTER_V1: &[u8] = include_bytes!("../../../tests/fixtures/letter_v1.bin");
const LETTER_V2: &[u8] = include_bytes!("../../../tests/fixtures/letter_v2.bin");
const STATE_V1: &[u8] = include_bytes!("../../../tests/fixtures/letter_state_v1.bin");
const STATE_V2: &[u8] = include_bytes!("../../../tests/fixtures/letter_state_v2.bin");

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// The letter in the newest fixture: every field is set, and none has the same value as another.
fn letter() -> Letter {
    Letter {
        id: LetterId(Uuid::from_u128(7)),
        call: CallId(Uuid::from_u128(8)),
        vendor: VendorId::new("retell").unwrap(),
        operation: OperationId::new("create-phone-call").unwrap(),
        target: Some(TargetId::new("leads").unwrap()),
        lane: LaneId::new("critical").unwrap(),
        payload: serde_json::json!({ "to_number": "+15550100", "rate": 0.1, "tags": ["a", null] }),
        key: Some(IdempotencyKey("lead-42".into())),
        tenant: Some("acme".into()),
        estimate: Credits::from_micros(1_500_000),
        fallback: false,
        holds_slot: true,
        expires_at: Some(at(1_900_000_000_123)),
        accepted_at: at(1_800_000_000_000),
        hours: Some(Hours::between("America/New_York", "09:00", "17:30").unwrap().on(Day::WORKDAYS)),
    }
}

/// The letter as version 1 knew it.
fn letter_v1() -> Letter {
    Letter { target: None, hours: None, ..letter() }
}

/// The state in the newest fixture.
fn named() -> Entry {
    let Letter { id, call, vendor, .. } = letter();
    let attempt = |ms, class, status| Attempt { at: at(ms), class, status };
    let state = LetterState {
        kind: Kind::Later,
        parked_at: at(1_800_000_000_456),
        first_error: Some(Failure::new(Class::Connect, None, "no connection")),
        error: Failure::new(Class::Server, Some(500), "the vendor answered 500"),
        attempts: 3,
        requests: 7,
        replays: 2,
        given_up: true,
        due: Some(at(1_800_000_030_456)),
        updated_at: at(1_800_000_001_000),
        history: vec![
            attempt(1_800_000_000_500, Class::Timeout, None),
            attempt(1_800_000_000_900, Class::Server, Some(503)),
        ],
        sending: Some(Sending { was: Kind::Accepted, since: at(1_800_000_000_800) }),
    };
    Entry { id, call, vendor, parts: Some(3), state }
}

/// The state as version 1 knew it: without a status, the sum of its attempts, replays and a history.
fn named_v1() -> Entry {
    let Entry { state, .. } = named();
    let error = Failure { status: None, ..state.error };
    let state = LetterState {
        first_error: None,
        error,
        requests: 3,
        replays: 0,
        given_up: false,
        history: Vec::new(),
        sending: None,
        ..state
    };
    Entry { parts: None, state, ..named() }
}

#[test]
fn the_records_of_version_1_open_as_what_was_written() {
    assert_eq!(decode_letter(LETTER_V1), Ok(letter_v1()));
    assert_eq!(decode_state(STATE_V1), Ok(named_v1()));
}

#[test]
fn the_records_of_version_2_open_as_what_was_written() {
    assert_eq!(decode_letter(LETTER_V2), Ok(letter()));
    assert_eq!(decode_state(STATE_V2), Ok(named()));
}

#[test]
fn what_is_written_today_is_the_newest_version_byte_by_byte() {
    assert_eq!(encode_letter(&decode_letter(LETTER_V2).unwrap()).unwrap(), LETTER_V2);
    assert_eq!(encode_state(&decode_state(STATE_V2).unwrap()).unwrap(), STATE_V2);
}

#[test]
fn a_newer_version_is_an_error_by_its_number() {
    let newer = |version: u8, bytes: &[u8]| [&[version], &bytes[1..]].concat();
    for version in [0, 3, 99, 255] {
        assert_eq!(decode_letter(&newer(version, LETTER_V2)), Err(RecordError::Version(version)));
        assert_eq!(decode_state(&newer(version, STATE_V2)), Err(RecordError::Version(version)));
    }
}

#[test]
fn a_record_that_is_cut_short_or_goes_on_is_damaged() {
    let damaged = |letter: &[u8], state: &[u8]| {
        assert!(matches!(decode_letter(letter), Err(RecordError::Damaged(_))), "{letter:?}");
        assert!(matches!(decode_state(state), Err(RecordError::Damaged(_))), "{state:?}");
    };
    for (letter, state) in [(LETTER_V1, STATE_V1), (LETTER_V2, STATE_V2)] {
        for end in 0..letter.len() {
            damaged(&letter[..end], &state[..end.min(state.len() - 1)]);
        }
        damaged(&[letter, &[0]].concat(), &[state, &[0]].concat());
    }
}

#[test]
fn a_name_or_a_time_that_cannot_be_is_damage() {
    let swap = |bytes: &[u8], old: &[u8], new: &[u8]| {
        let place = bytes.windows(old.len()).position(|part| part == old).unwrap();
        [&bytes[..place], new, &bytes[place + old.len()..]].concat()
    };
    for (letter, state) in
        [(&b"retell"[..], &b"retell"[..]), (b"critical", b"retell"), (b"create", b"retell"), (b"leads", b"retell")]
    {
        let bad = |name: &[u8]| vec![b' '; name.len()];
        assert!(matches!(decode_letter(&swap(LETTER_V2, letter, &bad(letter))), Err(RecordError::Damaged(_))));
        assert!(matches!(decode_state(&swap(STATE_V2, state, &bad(state))), Err(RecordError::Damaged(_))));
    }
    assert!(time(i64::MAX).is_err() && time(i64::MIN).is_err());
    assert!(matches!(decode_letter(&swap(LETTER_V2, b"{\"", b"{{")), Err(RecordError::Damaged(_))));
}

#[test]
fn every_kind_and_class_survives_under_its_number_on_disk() {
    for (kind_number, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(postcard::to_extend(&kind, Vec::new()).unwrap(), [kind_number as u8]);
        for (class_number, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(postcard::to_extend(&class, Vec::new()).unwrap(), [class_number as u8]);
            let mut named = named();
            named.state = LetterState::new(kind, Failure::new(class, Some(503), "x"), 1, None, at(5));
            assert_eq!(decode_state(&encode_state(&named).unwrap()), Ok(named));
        }
    }
}

#[test]
fn what_is_not_known_of_a_letter_stays_unknown() {
    let bare = Letter {
        target: None,
        key: None,
        tenant: None,
        expires_at: None,
        fallback: true,
        holds_slot: false,
        ..letter()
    };
    assert_eq!(decode_letter(&encode_letter(&bare).unwrap()), Ok(bare));
}

#[test]
fn a_call_comes_back_as_it_was_parked() {
    let call = letter().to_call();
    let again = Letter::of_call(letter().id, &call);
    let read = decode_letter(&encode_letter(&again).unwrap()).unwrap();
    assert_eq!((read.to_call(), read), (call, letter()));
}

#[test]
fn an_unknown_call_gets_no_date_and_a_long_reason_is_cut() {
    let error = Failure::new(Class::Timeout, None, "x".repeat(9000));
    let state = LetterState::new(Kind::Unknown, error, 1, Some(at(5)), at(1));
    assert_eq!(state.due, None);
    assert!(state.error.detail.len() <= DETAIL_MAX_BYTES);
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_.-]{1,64}"
}

/// Times in the range of the calendar, in milliseconds.
fn moment() -> impl Strategy<Value = Timestamp> {
    (-62_000_000_000_000i64..253_000_000_000_000).prop_map(at)
}

fn any_class() -> impl Strategy<Value = Class> {
    proptest::sample::select(&Class::ALL[..])
}

prop_compose! {
    fn any_failure()((class, status, detail) in (any_class(), any::<Option<u16>>(), ".{0,60}")) -> Failure {
        Failure::new(class, status, detail)
    }
}

prop_compose! {
    fn any_attempt()((at, class, status) in (moment(), any_class(), any::<Option<u16>>())) -> Attempt {
        Attempt { at, class, status }
    }
}

prop_compose! {
    fn any_hours()(
        time_zone in name(),
        (from, until) in (0i8..24, 0i8..24),
        days in proptest::collection::btree_set(proptest::sample::select(&Day::ALL), 0..7),
    ) -> Hours {
        Hours { time_zone, from: Time::constant(from, 30, 1, 5), until: Time::constant(until, 0, 0, 0), days }
    }
}

prop_compose! {
    fn any_letter()(
        (id, call, estimate) in any::<(u128, u128, u64)>(),
        (vendor, operation, target, lane) in (name(), name(), proptest::option::of(name()), name()),
        (text, number) in (".{0,40}", any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite())),
        (key, tenant) in (proptest::option::of(".{1,40}"), proptest::option::of(".{1,40}")),
        (fallback, holds_slot) in any::<(bool, bool)>(),
        (expires_at, accepted_at) in (proptest::option::of(moment()), moment()),
        hours in proptest::option::of(any_hours()),
    ) -> Letter {
        Letter {
            id: LetterId(Uuid::from_u128(id)),
            call: CallId(Uuid::from_u128(call)),
            vendor: VendorId::new(&vendor).unwrap(),
            operation: OperationId::new(&operation).unwrap(),
            target: target.map(|name| TargetId::new(&name).unwrap()),
            lane: LaneId::new(&lane).unwrap(),
            payload: serde_json::json!({ "text": text, "number": number }),
            key: key.map(|key| IdempotencyKey(key.into())),
            tenant: tenant.map(Into::into),
            estimate: Credits::from_micros(estimate),
            fallback,
            holds_slot,
            expires_at,
            accepted_at,
            hours,
        }
    }
}

prop_compose! {
    fn any_named()(
        (id, call, vendor) in (any::<u128>(), any::<u128>(), name()),
        (attempts, requests, replays, given_up) in any::<(u32, u32, u32, bool)>(),
        (kind, was) in (proptest::sample::select(&Kind::ALL[..]), proptest::sample::select(&Kind::ALL[..])),
        (first_error, error) in (proptest::option::of(any_failure()), any_failure()),
        (parts, since) in (any::<Option<u16>>(), proptest::option::of(moment())),
        history in vec(any_attempt(), 0..=HISTORY_MAX),
        (due, parked_at, updated_at) in (proptest::option::of(moment()), moment(), moment()),
    ) -> Entry {
        let sending = since.map(|since| Sending { was, since });
        let state = LetterState {
            kind, parked_at, first_error, error, attempts, requests, replays, given_up, due, updated_at, history, sending
        };
        let (id, call) = (LetterId(Uuid::from_u128(id)), CallId(Uuid::from_u128(call)));
        Entry { id, call, vendor: VendorId::new(&vendor).unwrap(), parts, state }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_field_survives(letter in any_letter(), named in any_named()) {
        prop_assert_eq!(decode_letter(&encode_letter(&letter).unwrap()), Ok(letter));
        prop_assert_eq!(decode_state(&encode_state(&named).unwrap()), Ok(named));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in vec(any::<u8>(), 0..200)) {
        for version in [None, Some(V1), Some(V2)] {
            if let (Some(first), Some(version)) = (bytes.first_mut(), version) {
                *first = version;
            }
            let _ = (decode_letter(&bytes), decode_state(&bytes));
        }
    }
}

/// Every byte at every place, so that no run finds what another did not.
#[test]
fn a_record_with_one_wrong_byte_is_an_error_or_another_letter() {
    fn unnoticed<T: PartialEq>(record: &[u8], decode: fn(&[u8]) -> Result<T, RecordError>) -> Vec<(char, char)> {
        let told = decode(record);
        let spoiled = |(place, byte): &(usize, u8)| {
            let mut spoiled = record.to_vec();
            spoiled[*place] = *byte;
            spoiled != record && decode(&spoiled) == told
        };
        let all = (0..record.len()).flat_map(|place| (0..=u8::MAX).map(move |byte| (place, byte)));
        all.filter(spoiled).map(|(place, byte)| (record[place].into(), byte.into())).collect()
    }
    // "17:30+00" is another way to write "17:30:00".
    let of_times = |(was, is): &(char, char)| *was == ':' && "+-".contains(*is);
    assert_eq!(unnoticed(LETTER_V2, decode_letter).into_iter().filter(|one| !of_times(one)).collect::<Vec<_>>(), []);
    assert_eq!(unnoticed(STATE_V1, decode_state), []);
    assert_eq!(unnoticed(STATE_V2, decode_state), []);
}
