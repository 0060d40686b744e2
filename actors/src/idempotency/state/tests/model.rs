//! Random histories, against a naive model.

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Claim { key: u8, print: u8, call: u8, again: bool },
    End { key: u8, stale: bool, end: End<u64> },
    Resolve { key: u8, call: u8, end: End<u64> },
    Leave { joined: usize },
    Wait(u64),
}

fn any_end() -> impl Strategy<Value = End<u64>> {
    prop_oneof![
        2 => any::<u64>().prop_map(End::Done),
        1 => any::<u64>().prop_map(End::Parked),
        1 => Just(End::Free),
        1 => Just(End::Unknown),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..5, prop_oneof![9 => Just(0u8), 1 => Just(1u8)], 0u8..4, any::<bool>())
            .prop_map(|(key, print, call, again)| Step::Claim { key, print, call, again }),
        4 => (0u8..5, prop::bool::weighted(0.2), any_end()).prop_map(|(key, stale, end)| Step::End { key, stale, end }),
        1 => (0u8..5, 0u8..4, any_end()).prop_map(|(key, call, end)| Step::Resolve { key, call, end }),
        1 => (0usize..8).prop_map(|joined| Step::Leave { joined }),
        2 => (1u64..50).prop_map(Step::Wait),
    ]
}

#[derive(Debug, Clone)]
enum Is {
    InFlight { owner: u8, claim: GrantId, joined: Vec<Caller> },
    Done { by: u8, answer: u64, at: Instant },
    Unknown { by: u8 },
    Parked { by: u8, answer: u64 },
}

/// A list of keys, oldest end first, searched from the front for everything.
#[derive(Debug, Default)]
struct Model(Vec<(u8, u8, Is)>);

const KEYS_MAX: usize = 3;
const JOINED_MAX: usize = 2;

impl Model {
    fn expire(&mut self, now: Instant) {
        self.0.retain(|(_, _, is)| !matches!(is, Is::Done { at, .. } if *at + KEEP <= now));
    }

    fn find(&mut self, key: u8) -> Option<&mut (u8, u8, Is)> {
        self.0.iter_mut().find(|(known, ..)| *known == key)
    }

    /// What the table should say; `Mine` with the claim it said.
    fn expect(&mut self, (key, print, by, again): (u8, u8, u8, bool), said: Mine) -> Decision<u64> {
        let claim = said.claim;
        let since = Timestamp::UNIX_EPOCH;
        let mine = |unknown, again| Decision::Mine(Mine { claim, since, unknown, again });
        let held = self.0.len();
        let done = self.0.iter().position(|(_, _, is)| matches!(is, Is::Done { .. }));
        let Some((_, known, is)) = self.find(key) else {
            if held == KEYS_MAX {
                let Some(oldest) = done else {
                    return Decision::Full { what: "keys", held, limit: KEYS_MAX };
                };
                self.0.remove(oldest);
            }
            self.0.push((key, print, Is::InFlight { owner: by, claim, joined: Vec::new() }));
            return mine(false, false);
        };
        if *known != print {
            return Decision::Conflict;
        }
        match is {
            Is::InFlight { owner, claim: old, .. } if *owner == by => {
                *old = claim;
                mine(false, true)
            }
            Is::InFlight { joined, .. } => {
                let held = joined.iter().filter(|caller| !caller.is_gone()).count();
                if held < JOINED_MAX {
                    return Decision::Join;
                }
                Decision::Full { what: "callers joined to one key", held, limit: JOINED_MAX }
            }
            Is::Done { by, answer, .. } => Decision::Stored { call: call(*by), answer: *answer },
            Is::Unknown { by: left } if again && *left == by => {
                *is = Is::InFlight { owner: by, claim, joined: Vec::new() };
                mine(true, true)
            }
            Is::Unknown { by } => Decision::Unknown { call: call(*by) },
            Is::Parked { by: left, .. } if *left == by => {
                *is = Is::InFlight { owner: by, claim, joined: Vec::new() };
                mine(false, true)
            }
            Is::Parked { by, answer } => Decision::Stored { call: call(*by), answer: *answer },
        }
    }

    fn end(&mut self, key: u8, by: u8, end: &End<u64>, now: Instant) -> Answered<u64> {
        let at = self.0.iter().position(|(known, ..)| *known == key).unwrap();
        let (_, print, _) = self.0.remove(at);
        match end {
            End::Free => Answered::Freed,
            End::Unknown => {
                self.0.push((key, print, Is::Unknown { by }));
                Answered::Unknown { call: call(by) }
            }
            End::Parked(answer) => {
                self.0.push((key, print, Is::Parked { by, answer: *answer }));
                Answered::Done { call: call(by), answer: *answer }
            }
            End::Done(answer) => {
                self.0.push((key, print, Is::Done { by, answer: *answer, at: now }));
                Answered::Done { call: call(by), answer: *answer }
            }
        }
    }
}

struct Run {
    table: Table,
    model: Model,
    now: Instant,
    joined: Vec<Caller>,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.now += Duration::from_secs(*seconds),
            Step::Leave { joined } => {
                if let Some(caller) = self.joined.get(*joined) {
                    caller.1.set(true);
                }
            }
            Step::Claim { key, print, call, again } => self.claim(*key, *print, *call, *again),
            Step::End { key, stale, end } => self.end(*key, *stale, end),
            Step::Resolve { key, call, end } => self.resolve(*key, *call, end),
        }
    }

    fn claim(&mut self, number: u8, print: u8, by: u8, again: bool) {
        let said = claim(&mut self.table, &Asked { again, ..asked(number, print, by) }, self.now);
        let nobody = Mine { claim: GrantId(0), since: Timestamp::UNIX_EPOCH, unknown: false, again: false };
        let fresh = if let Decision::Mine(mine) = said { mine } else { nobody };
        self.model.expire(self.now);
        assert_eq!(said, self.model.expect((number, print, by, again), fresh));
        if said == Decision::Join {
            let waiting = caller(self.joined.len() as u64);
            self.joined.push(waiting.clone());
            self.table.join(&key(number), waiting.clone());
            if let Some((_, _, Is::InFlight { joined, .. })) = self.model.find(number) {
                joined.push(waiting);
            }
        }
    }

    fn end(&mut self, number: u8, stale: bool, how: &End<u64>) {
        let Some((_, _, Is::InFlight { owner, claim, joined })) = self.model.find(number).cloned() else {
            return assert_eq!(end(&mut self.table, number, GrantId(1), how.clone(), self.now), None);
        };
        if stale {
            return assert_eq!(end(&mut self.table, number, GrantId(claim.0 - 1), how.clone(), self.now), None);
        }
        let told = end(&mut self.table, number, claim, how.clone(), self.now).unwrap();
        assert_eq!(told.answer, self.model.end(number, owner, how, self.now));
        let here = |callers: Vec<Caller>| callers.into_iter().filter(|c| !c.is_gone()).collect::<Vec<_>>();
        assert_eq!(here(told.joined), here(joined), "nobody who still waits is forgotten");
    }

    fn resolve(&mut self, number: u8, by: u8, how: &End<u64>) {
        let told = resolve(&mut self.table, number, by, how.clone(), self.now);
        let ours = matches!(self.model.find(number), Some((_, _, Is::Unknown { by: left } | Is::Parked { by: left, .. })) if *left == by);
        assert_eq!(told.is_some(), ours && *how != End::Unknown);
        if told.is_some() {
            self.model.end(number, by, how, self.now);
        }
    }

    fn check(&mut self) {
        self.table.expire(self.now);
        self.model.expire(self.now);
        let shown = self.table.snapshot(VendorId::new("v").unwrap());
        let count = |wanted: fn(&Is) -> bool| self.model.0.iter().filter(|(_, _, is)| wanted(is)).count();
        assert_eq!(shown.in_flight, count(|is| matches!(is, Is::InFlight { .. })));
        assert_eq!(shown.stored, count(|is| matches!(is, Is::Done { .. })));
        assert_eq!(shown.unknown, count(|is| matches!(is, Is::Unknown { .. })));
        assert_eq!(shown.parked, count(|is| matches!(is, Is::Parked { .. })));
        assert!(self.table.entries.len() <= KEYS_MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_table_does_what_a_plain_list_would_do(steps in vec(any_step(), 1..80)) {
        let table = Table::new(config(KEYS_MAX, JOINED_MAX));
        let mut run = Run { table, model: Model::default(), now: clock::now(), joined: Vec::new() };
        for step in &steps {
            run.step(step);
            run.check();
        }
    }
}
