use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::select};
use uuid::Uuid;

use super::*;
use crate::dlq::Failure;

const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "any moment will do")]
fn some_moment() -> Instant {
    Instant::now()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + secs).unwrap()
}

fn id(n: u64) -> LetterId {
    LetterId(Uuid::from_u128(u128::from(n)))
}

fn vendor(name: &str) -> VendorId {
    VendorId::new(name).unwrap()
}

fn state(kind: Kind, class: Class, due: Option<i64>, attempts: u32) -> LetterState {
    let given_up = attempts > 0 && due.is_none() && kind.may_be_due();
    let fresh = LetterState::new(kind, Failure::new(class, None, ""), 0, due.map(at), at(0));
    LetterState { attempts, given_up, ..fresh }
}

fn entry(n: u64, vendor_name: &str, state: LetterState) -> Entry {
    let call = CallId(Uuid::from_u128(u128::from(n)));
    let state = LetterState { parked_at: at(n as i64), ..state };
    Entry { id: id(n), call, vendor: vendor(vendor_name), parts: Some(1), state }
}

fn room(letters_max: usize) -> DlqConfig {
    DlqConfig { letters_max, accepted_max: 2, ..DlqConfig::default() }
}

fn put(seq: u64, entry: Entry) -> Change {
    Change::Put { seq, entry: Box::new(entry) }
}

fn park(index: &mut Dlq, entry: Entry) -> u64 {
    let seq = index.decide_park(entry.id, entry.state.kind).unwrap().unwrap();
    index.apply_park(seq, entry.id, entry.state.kind);
    assert_eq!(index.apply(put(seq, entry.clone())), Meant::Parked(entry));
    seq
}

/// Five letters of clay (even) and retell (odd), due at their own second.
fn five() -> Dlq {
    let mut index = Dlq::new(&room(100), 0, []);
    for n in 0..5 {
        let name = if n % 2 == 0 { "clay" } else { "retell" };
        park(&mut index, entry(n, name, state(Kind::Later, Class::Connect, Some(n as i64), 0)));
    }
    index
}

#[test]
fn letters_that_are_being_written_count_towards_the_limit() {
    let mut index = Dlq::new(&room(2), 0, []);
    for n in 0..2 {
        assert_eq!(index.decide_park(id(n), Kind::Dead), Ok(Some(n)));
        index.apply_park(n, id(n), Kind::Dead);
    }
    assert_eq!(index.decide_park(id(9), Kind::Dead), Err(2));
    index.apply(Change::Back { seq: 0 });
    assert_eq!((index.len(), index.decide_park(id(9), Kind::Dead)), (1, Ok(Some(2))), "a place is never given twice");
    index.apply_arrived(1);
    assert!(index.is_empty());
}

#[test]
fn a_full_queue_knows_what_it_holds() {
    let mut index = Dlq::new(&room(1), 0, []);
    park(&mut index, entry(1, "clay", state(Kind::Dead, Class::Server, None, 0)));
    assert_eq!((index.decide_park(id(1), Kind::Dead), index.decide_park(id(2), Kind::Dead)), (Ok(None), Err(1)));
}

#[test]
fn a_letter_that_is_still_being_written_is_written_again_even_when_there_is_no_room() {
    // Its first write may yet fail: only the disk can say that it is there, and it lets only one of the two stand.
    let mut index = Dlq::new(&room(1), 0, []);
    index.apply_park(0, id(1), Kind::Dead);
    assert_eq!(index.decide_park(id(1), Kind::Dead), Ok(Some(1)));
    assert_eq!(index.decide_park(id(2), Kind::Dead), Err(1));
}

#[test]
fn the_next_place_lies_behind_everything_that_was_found() {
    let found = |seq| (seq, entry(seq, "clay", state(Kind::Dead, Class::Server, None, 0)));
    assert_eq!(Dlq::new(&room(9), 3, [found(7)]).decide_park(id(1), Kind::Dead), Ok(Some(8)));
    assert_eq!(Dlq::new(&room(9), 12, [found(7)]).decide_park(id(1), Kind::Dead), Ok(Some(12)));
}

#[test]
fn the_longest_due_is_taken_first_and_nobody_gets_what_is_out() {
    let (mut index, now) = (five(), some_moment());
    assert_eq!(index.decide_take(at(2), now, 9, &BTreeSet::new()), [0, 1, 2]);
    assert_eq!(index.decide_take(at(9), now, 2, &BTreeSet::new()), [0, 1]);
    index.apply_out(&[0, 2], now + SECOND);
    assert_eq!((index.decide_take(at(9), now, 9, &BTreeSet::new()), index.next_due(now)), (vec![1, 3, 4], Some(at(1))));
    let after_lease = index.decide_take(at(9), now + SECOND, 9, &BTreeSet::new());
    assert_eq!(after_lease, [0, 1, 2, 3, 4], "a lease that has ended holds nobody up");
    index.apply(Change::Back { seq: 2 });
    assert_eq!(index.decide_take(at(9), now, 9, &BTreeSet::new()), [1, 2, 3, 4]);
    index.apply_out(&[0, 1, 2, 3, 4], now + SECOND);
    assert_eq!((index.next_due(now), index.snapshot(now).taken), (None, 5));
    assert_eq!((index.next_due(now + SECOND), index.snapshot(now + SECOND).taken), (Some(at(0)), 0));
}

#[test]
fn the_letter_of_a_call_is_found_whatever_its_kind() {
    let (mut index, now) = (five(), some_moment());
    index.apply(put(3, entry(3, "retell", state(Kind::Unknown, Class::Timeout, None, 0))));
    let of_call = |n: u128| index.select(&Filter::call(CallId(Uuid::from_u128(n))), None, 9, now, true);
    assert_eq!((of_call(3), of_call(2), of_call(9)), (vec![3], vec![2], vec![]));
}

#[test]
fn a_vendor_that_is_left_out_holds_up_no_other() {
    let (index, now) = (five(), some_moment());
    let but = |name| BTreeSet::from([vendor(name)]);
    assert_eq!(index.decide_take(at(9), now, 9, &but("clay")), [1, 3]);
    assert_eq!(index.decide_take(at(9), now, 1, &but("retell")), [0]);
}

#[test]
fn a_selection_takes_what_it_names_and_unknown_ones_only_when_asked_for() {
    let (mut index, now) = (five(), some_moment());
    let unknown = park(&mut index, entry(5, "clay", state(Kind::Unknown, Class::Timeout, None, 0)));
    let dead = park(&mut index, entry(6, "clay", state(Kind::Dead, Class::Timeout, None, 0)));
    let select = |filter: Filter| index.select(&filter, None, 100, now, false);
    assert_eq!(select(Filter::default()), [0, 1, 2, 3, 4, dead]);
    assert_eq!(select(Filter::default().class(Class::Timeout)), [dead]);
    assert_eq!(select(Filter::default().vendor("retell").unwrap()), [1, 3]);
    assert_eq!(select(Filter::kind(Kind::Unknown)), [unknown]);
    assert_eq!(select(Filter::ids([id(5), id(3), id(5), id(99)])), [3, unknown], "once each, in order");
    assert_eq!(select(Filter::ids([])), [0u64; 0], "no id names no letter");
    assert_eq!(select(Filter::ids([id(5), id(3)]).class(Class::Connect)), [3]);
    assert_eq!(select(Filter { kind: Some(Kind::Dead), ..Filter::ids([id(5)]) }), [0u64; 0]);
    assert_eq!(index.select(&Filter::default(), Some(1), 2, now, false), [2, 3]);
    assert_eq!(index.select(&Filter::ids([id(1), id(4)]), Some(1), 9, now, false), [4]);
    index.apply_out(&[0, 4], now + SECOND);
    assert_eq!(index.select(&Filter::default(), None, 9, now, false), [1, 2, 3, dead]);
    assert_eq!(index.select(&Filter::default(), None, 9, now, true), [0, 1, 2, 3, 4, dead]);
}

#[test]
fn giving_up_is_meant_once() {
    let mut index = five();
    let given_up = entry(0, "clay", state(Kind::Later, Class::Connect, None, 5));
    assert_eq!(
        index.apply(put(0, given_up.clone())),
        Meant::Changed { was: Kind::Later, entry: given_up.clone(), given_up: true }
    );
    assert_eq!(index.apply(put(0, given_up)), Meant::Nothing);
    let other_words = entry(0, "clay", state(Kind::Dead, Class::Server, None, 5));
    assert!(matches!(index.apply(put(0, other_words)), Meant::Changed { given_up: false, .. }));
    assert_eq!(index.snapshot(some_moment()).given_up, 1);
    let unknown = entry(1, "retell", state(Kind::Unknown, Class::Timeout, None, 5));
    assert!(matches!(index.apply(put(1, unknown)), Meant::Changed { given_up: false, .. }));
    let waits = entry(2, "clay", state(Kind::Dead, Class::Server, None, 0));
    assert!(matches!(index.apply(put(2, waits)), Meant::Changed { given_up: false, .. }));
    assert_eq!(index.snapshot(some_moment()).given_up, 1, "unknown ones and those never tried are none");
}

#[test]
fn what_a_removal_meant_is_said_once() {
    let mut index = five();
    let (first, second) = (index.entry(0).unwrap().clone(), index.entry(1).unwrap().clone());
    let removed = |seq, delivered| Change::Removed { seq, delivered };
    assert_eq!(index.apply(removed(0, true)), Meant::Delivered(first));
    assert_eq!(index.apply(removed(1, false)), Meant::Purged(second));
    assert_eq!((index.apply(removed(0, true)), index.apply(removed(1, false))), (Meant::Nothing, Meant::Nothing));
    assert_eq!((index.find(id(0)), index.len()), (None, 3));
}

fn is_parked(entry: &&Entry) -> bool {
    entry.state.kind != Kind::Accepted
}

/// The same promises, kept by looking at every letter each time.
#[derive(Debug, Default)]
struct Naive {
    letters: BTreeMap<u64, Entry>,
    out: BTreeMap<u64, Instant>,
    arriving: BTreeMap<u64, Kind>,
}

impl Naive {
    fn is_out(&self, seq: u64, now: Instant) -> bool {
        self.out.get(&seq).is_some_and(|until| *until > now)
    }

    fn in_due_order(&self, now: Instant) -> Vec<(Timestamp, u64)> {
        let dated = self.letters.iter().filter_map(|(seq, entry)| Some((entry.state.due?, *seq)));
        let mut due: Vec<_> = dated.filter(|(_, seq)| !self.is_out(*seq, now)).collect();
        due.sort();
        due
    }

    fn number(&self, fits: impl Fn(&Entry) -> bool) -> u64 {
        self.letters.values().filter(|entry| fits(entry)).count() as u64
    }

    fn select(&self, filter: &Filter, after: Option<u64>, max: usize, now: Instant, out_too: bool) -> Vec<u64> {
        let fits = |entry: &Entry| {
            let (kind, named) = (entry.state.kind, filter.ids.as_ref().is_some_and(|ids| ids.contains(&entry.id)));
            (named || filter.ids.is_none())
                && (filter.kind == Some(kind)
                    || filter.kind.is_none() && (named || kind != Kind::Unknown && kind != Kind::Accepted))
                && (filter.vendor.is_none() || filter.vendor.as_ref() == Some(&entry.vendor))
                && (filter.class.is_none() || filter.class == Some(entry.state.error.class))
                && filter.parked_before.is_none_or(|before| entry.state.parked_at < before)
                && (!filter.given_up || entry.state.given_up)
        };
        let letters = self.letters.iter().filter(|(seq, entry)| fits(entry) && after.is_none_or(|after| **seq > after));
        let is_free = |seq: u64, entry: &Entry| !self.is_out(seq, now) && entry.state.kind != Kind::Accepted;
        let free = letters.filter(|(seq, entry)| out_too || is_free(**seq, entry));
        free.map(|(seq, _)| *seq).take(max).collect()
    }

    fn counts(&self, vendor: &VendorId) -> LetterCounts {
        let of_kind = |kind| self.number(|entry| entry.vendor == *vendor && entry.state.kind == kind);
        let theirs = self.letters.values().filter(|entry| entry.vendor == *vendor);
        LetterCounts {
            dead: of_kind(Kind::Dead),
            later: of_kind(Kind::Later),
            unknown: of_kind(Kind::Unknown),
            given_up: self.number(|entry| entry.vendor == *vendor && entry.state.given_up),
            oldest_at: theirs.filter(is_parked).map(|entry| entry.state.parked_at).min(),
        }
    }

    fn accepted(&self) -> u64 {
        let arriving = self.arriving.values().filter(|kind| **kind == Kind::Accepted).count() as u64;
        arriving + self.number(|entry| entry.state.kind == Kind::Accepted)
    }

    fn snapshot(&self, letters_max: usize, now: Instant) -> DlqSnapshot {
        let mut by_class = BTreeMap::<String, BTreeMap<Class, u64>>::new();
        for entry in self.letters.values().filter(is_parked) {
            *by_class.entry(entry.vendor.to_string()).or_default().entry(entry.state.error.class).or_default() += 1;
        }
        let vendors: BTreeSet<VendorId> = self.letters.values().map(|entry| entry.vendor.clone()).collect();
        DlqSnapshot {
            dead: self.number(|entry| entry.state.kind == Kind::Dead),
            later: self.number(|entry| entry.state.kind == Kind::Later),
            unknown: self.number(|entry| entry.state.kind == Kind::Unknown),
            given_up: self.number(|entry| entry.state.given_up),
            by_vendor: vendors.into_iter().map(|vendor| (vendor.to_string(), self.counts(&vendor))).collect(),
            by_class,
            oldest_at: self.letters.values().filter(is_parked).map(|entry| entry.state.parked_at).min(),
            accepted: self.accepted() as usize,
            accepted_max: 2,
            next_due_at: self.in_due_order(now).first().map(|(due, _)| *due),
            taken: self.out.values().filter(|until| **until > now).count(),
            letters_max,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Park { n: u64, vendor: &'static str, state: LetterState, written: bool },
    Change { nth: usize, state: LetterState },
    Remove { nth: usize, delivered: bool },
    Back { nth: usize },
    Take { due: i64, max: usize, but: Option<&'static str> },
    Pass { secs: u64 },
}

fn any_state() -> impl Strategy<Value = LetterState> {
    let classes = select(vec![Class::Server, Class::Timeout, Class::Connect]);
    (select(Kind::ALL.to_vec()), classes, proptest::option::of(0i64..40), 0u32..3)
        .prop_map(|(kind, class, due, attempts)| state(kind, class, due, attempts))
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..30, select(vec!["clay", "retell"]), any_state(), any::<bool>())
            .prop_map(|(n, vendor, state, late)| Step::Park { n, vendor, state, written: !late || n % 3 > 0 }),
        3 => (0usize..30, any_state()).prop_map(|(nth, state)| Step::Change { nth, state }),
        1 => (0usize..30, any::<bool>()).prop_map(|(nth, delivered)| Step::Remove { nth, delivered }),
        1 => (0usize..30).prop_map(|nth| Step::Back { nth }),
        2 => (0i64..40, 0usize..5, select(vec![None, None, Some("clay"), Some("retell")]))
            .prop_map(|(due, max, but)| Step::Take { due, max, but }),
        1 => (0u64..20).prop_map(|secs| Step::Pass { secs }),
    ]
}

const LETTERS_MAX: usize = 12;
const LEASE: Duration = Duration::from_secs(10);

/// The index, and the same without any cleverness.
struct Both {
    index: Dlq,
    naive: Naive,
    now: Instant,
}

impl Both {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let known = |naive: &Naive, nth: usize| naive.letters.keys().nth(nth).copied();
        match step {
            Step::Park { n, vendor, state, written } => {
                let here = self.naive.letters.values().any(|entry| entry.id == id(n));
                let kind = state.kind;
                let full = match kind {
                    Kind::Accepted => self.naive.accepted() >= 2,
                    _ => self.naive.letters.values().filter(is_parked).count() >= LETTERS_MAX,
                };
                let place = self.index.decide_park(id(n), kind);
                prop_assert_eq!((place == Ok(None), place.is_err()), (here, full && !here));
                let Ok(Some(seq)) = place else { return Ok(()) };
                self.index.apply_park(seq, id(n), kind);
                self.naive.arriving.insert(seq, kind);
                self.same()?;
                let change = if written { put(seq, entry(n, vendor, state)) } else { Change::Back { seq } };
                self.apply(change)?;
            }
            Step::Change { nth, state } => {
                let Some(seq) = known(&self.naive, nth) else { return Ok(()) };
                let changed = Entry { state, ..self.naive.letters[&seq].clone() };
                self.apply(put(seq, changed))?;
            }
            Step::Remove { nth, delivered } => {
                let Some(seq) = known(&self.naive, nth) else { return Ok(()) };
                self.apply(Change::Removed { seq, delivered })?;
            }
            Step::Back { nth } => {
                let Some(seq) = known(&self.naive, nth) else { return Ok(()) };
                self.apply(Change::Back { seq })?;
            }
            Step::Take { due, max, but } => {
                let but: BTreeSet<_> = but.into_iter().map(vendor).collect();
                let taken = self.index.decide_take(at(due), self.now, max, &but);
                let naive = self.naive.in_due_order(self.now).into_iter().filter(|(there, _)| *there <= at(due));
                let naive = naive.filter(|(_, seq)| !but.contains(&self.naive.letters[seq].vendor));
                prop_assert_eq!(&taken, &naive.map(|(_, seq)| seq).take(max).collect::<Vec<_>>());
                self.index.apply_out(&taken, self.now + LEASE);
                self.naive.out.extend(taken.into_iter().map(|seq| (seq, self.now + LEASE)));
            }
            Step::Pass { secs } => self.now += Duration::from_secs(secs),
        }
        self.same()
    }

    /// Applies a change twice, as reports may come twice: the second time means nothing and changes nothing.
    fn apply(&mut self, change: Change) -> Result<(), TestCaseError> {
        let seq = change.seq();
        let old = self.naive.letters.get(&seq).cloned();
        let meant = match &change {
            Change::Put { entry, .. } => match self.naive.letters.insert(seq, (**entry).clone()) {
                None => Meant::Parked((**entry).clone()),
                Some(old) if old == **entry => Meant::Nothing,
                Some(old) => {
                    let gone =
                        |state: &LetterState| state.kind.may_be_due() && state.attempts > 0 && state.due.is_none();
                    Meant::Changed {
                        was: old.state.kind,
                        entry: (**entry).clone(),
                        given_up: gone(&entry.state) && !gone(&old.state),
                    }
                }
            },
            Change::Removed { delivered, .. } => {
                self.naive.letters.remove(&seq);
                match (old, delivered) {
                    (None, _) => Meant::Nothing,
                    (Some(old), true) => Meant::Delivered(old),
                    (Some(old), false) => Meant::Purged(old),
                }
            }
            Change::Back { .. } => Meant::Nothing,
        };
        self.naive.out.remove(&seq);
        self.naive.arriving.remove(&seq);
        prop_assert_eq!(self.index.apply(change.clone()), meant);
        self.same()?;
        prop_assert_eq!(self.index.apply(change), Meant::Nothing);
        self.same()
    }

    /// Everything that can be asked has one answer.
    fn same(&self) -> Result<(), TestCaseError> {
        let Self { index, naive, now } = self;
        prop_assert_eq!(index.len(), naive.letters.len() + naive.arriving.len());
        prop_assert_eq!(index.snapshot(*now), naive.snapshot(LETTERS_MAX, *now));
        prop_assert_eq!(index.next_due(*now), naive.in_due_order(*now).first().map(|(due, _)| *due));
        for name in ["clay", "retell"] {
            for kind in Kind::ALL {
                let number = naive.number(|entry| entry.vendor.as_str() == name && entry.state.kind == kind);
                prop_assert_eq!(index.count(&vendor(name), kind), number);
            }
        }
        for (seq, entry) in &naive.letters {
            prop_assert_eq!(index.find(entry.id), Some((*seq, entry)));
            prop_assert_eq!(index.entry(*seq), Some(entry));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_index_says_what_the_letters_are(steps in vec(any_step(), 1..60)) {
        let mut both = Both { index: Dlq::new(&room(LETTERS_MAX), 0, []), naive: Naive::default(), now: some_moment() };
        for step in steps {
            both.step(step)?;
        }
        let again = Dlq::new(&room(LETTERS_MAX), 0, both.naive.letters.clone());
        prop_assert_eq!(
            DlqSnapshot { taken: 0, ..again.snapshot(both.now + LEASE) },
            DlqSnapshot { taken: 0, ..both.index.snapshot(both.now + LEASE) },
            "read back from disk it says the same"
        );
    }

    #[test]
    fn a_selection_is_what_looking_at_every_letter_finds(
        states in vec((select(vec!["clay", "retell"]), any_state()), 0..20),
        out in vec(0u64..20, 0..6),
        (kind, class) in (proptest::option::of(select(Kind::ALL.to_vec())), proptest::option::of(select(vec![Class::Server, Class::Connect]))),
        (name, ids) in (proptest::option::of(select(vec!["clay", "retell"])), vec(0u64..25, 0..6)),
        (before, given_up) in (proptest::option::of(0i64..25), any::<bool>()),
        (after, max, out_too) in (proptest::option::of(0u64..20), 0usize..25, any::<bool>()),
    ) {
        let now = some_moment();
        let letters = (0u64..).zip(states).map(|(n, (name, state))| (n, entry(n, name, state)));
        let letters: BTreeMap<u64, Entry> = letters.collect();
        let out: BTreeMap<u64, Instant> = out.into_iter().filter(|n| letters.contains_key(n)).map(|n| (n, now + LEASE)).collect();
        let mut index = Dlq::new(&room(100), 0, letters.clone());
        index.apply_out(&out.keys().copied().collect::<Vec<_>>(), now + LEASE);
        let naive = Naive { letters, out, ..Naive::default() };
        let ids = (!ids.is_empty()).then(|| ids.into_iter().map(id).collect());
        let parked_before = before.map(at);
        let filter = Filter { kind, class, vendor: name.map(vendor), ids, call: None, parked_before, given_up };
        prop_assert_eq!(index.select(&filter, after, max, now, out_too), naive.select(&filter, after, max, now, out_too));
        // Page by page it is the same, each letter once.
        let (mut pages, mut behind) = (Vec::new(), after);
        loop {
            let page = index.select(&filter, behind, 3, now, out_too);
            behind = page.last().copied();
            if page.is_empty() { break }
            pages.extend(page);
        }
        prop_assert_eq!(pages, index.select(&filter, after, usize::MAX, now, out_too));
    }
}
