use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::{LocalSet, yield_now},
};

use super::*;
use crate::{
    budget::{BudgetConfig, CRITICAL_LANE},
    call::AcceptedCall,
    clock::{self, Rng, SteadyWall},
    ids::{ActorId, Circuit, LaneId, OperationId},
    kernel::{Child, Hazard, Launch, Vault, Worker, testing::Restarts},
    outcome::{Class, Effect, Outcome},
    profile::Clay,
    refusal::{Reason, Refusal},
    ticket::{Lease, Reply},
};

const VENDOR: &str = "clay";

/// Panics at every n-th beginning of a message of this name.
struct Every(u64, &'static str, AtomicU64);

impl Every {
    fn nth(nth: u64, message: &'static str) -> Arc<Self> {
        Arc::new(Self(nth, message, AtomicU64::new(0)))
    }
}

impl Hazard for Every {
    fn strike(&self, _: &ActorId, message: &'static str) {
        if message == self.1 && self.2.fetch_add(1, SeqCst) % self.0 == self.0 - 1 {
            panic!("injected in {message}");
        }
    }
}

/// Remembers the marks; panics at the first one if told to.
#[derive(Default)]
struct Facts {
    marks: Mutex<Vec<&'static str>>,
    panics: AtomicBool,
}

impl FactSink for Facts {
    fn state(&self, fact: Fact) {
        if let Fact::BudgetMarked { mark, .. } = fact {
            self.marks.lock().push(mark);
        }
        if self.panics.swap(false, SeqCst) {
            panic!("injected in a fact");
        }
    }
}

struct Bench {
    vault: Arc<Vault<BudgetActor>>,
    door: Door<Ticket>,
    passed: mpsc::UnboundedReceiver<Ticket>,
    shown: Published<BudgetSnapshot>,
    facts: Arc<Facts>,
    rng: Rng,
}

impl Bench {
    /// A budget at 20:00 UTC with this behind it.
    fn with(config: &BudgetConfig, hazard: Arc<dyn Hazard>, room_behind: usize) -> Self {
        let clock = Clock::new(SteadyWall::starting_at("2026-05-02T20:00:00Z".parse().unwrap()));
        let (now, wall) = (clock.now(), clock.wall());
        let ledger = Ledger::new(config, wall, now);
        let vendor = VendorId::new(VENDOR).unwrap();
        let shown = Published::new(ledger.snapshot(&vendor, wall, now));
        let (next, passed) = Door::to_channel(room_behind);
        let facts = Arc::new(Facts::default());
        let profile = Arc::new(Clay::table("https://clay.test/hook").profile(VENDOR).unwrap());
        let parts = BudgetParts { vendor, profile, next, facts: facts.clone(), clock, shown: shown.clone() };
        let launch = Launch {
            id: ActorId::new("clay/budget"),
            worker: Worker::here("bench"),
            overseer: Restarts::at_once(),
            hazard,
        };
        let vault = Vault::new(launch, ledger, move |inc| BudgetActor::new(inc, parts.clone()));
        vault.launch();
        Self { door: vault.door(10_000), vault, passed, shown, facts, rng: Rng::seeded(1) }
    }

    /// A budget of so many credits without soft marks.
    fn new(limit: u64, hazard: Arc<dyn Hazard>) -> Self {
        let config = BudgetConfig { soft_marks: vec![], ..BudgetConfig::per_day(Credits::whole(limit)) };
        Self::with(&config, hazard, 10_000)
    }

    fn ticket(&self, units: u64, lane: &str) -> (Ticket, oneshot::Receiver<Reply>) {
        let (vendor, operation) = (VendorId::new(VENDOR).unwrap(), OperationId::new("push-row").unwrap());
        let (id, payload) = (self.rng.call_id(), serde_json::Value::Null);
        let call = AcceptedCall {
            lane: LaneId::new(lane).unwrap(),
            estimate: Credits::whole(units),
            ..AcceptedCall::new(id, vendor, operation, payload, Timestamp::UNIX_EPOCH)
        };
        let deadline = clock::now() + Duration::from_secs(300);
        let (ticket, _, answer) = Ticket::issue(Arc::new(call), Circuit::default(), 1, deadline, tracing::Span::none());
        (ticket, answer)
    }

    /// Sends a call of so many credits.
    fn offer(&self, units: u64) -> oneshot::Receiver<Reply> {
        let (ticket, answer) = self.ticket(units, "normal");
        self.door.pass(ticket).unwrap();
        answer
    }

    /// Sends a call and takes the ticket out behind the budget.
    async fn admitted(&mut self, units: u64) -> (Ticket, oneshot::Receiver<Reply>) {
        let answer = self.offer(units);
        self.settle_down().await;
        (self.passed.try_recv().unwrap(), answer)
    }

    async fn refused(&self, units: u64) -> Refusal {
        match self.offer(units).await.unwrap() {
            Reply::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// Until the actor has nothing to do.
    async fn settle_down(&self) {
        let mut calm = 0;
        while calm < 20 {
            yield_now().await;
            let status = self.vault.status();
            calm = if status.mailbox + status.reports == 0 { calm + 1 } else { 0 };
        }
    }

    /// Settled, reserved, unknown, overage in whole credits, as published.
    fn figures(&self) -> [u64; 4] {
        let shown = self.shown.get();
        [shown.settled, shown.reserved, shown.unknown, shown.overage].map(|amount| amount.micros() / 1_000_000)
    }
}

fn outcome(class: Class, effect: Effect, cost: Option<u64>) -> Outcome {
    Outcome { cost: cost.map(Credits::whole), ..Outcome::without_answer(class, effect, "") }
}

fn lease_of(reply: Reply) -> Lease {
    match reply {
        Reply::Settled { lease: Some(lease), .. } => lease,
        other => panic!("{other:?}"),
    }
}

fn sent(ticket: Ticket) -> Ticket {
    assert!(ticket.begin_sending());
    ticket
}

fn no_hazard() -> Arc<dyn Hazard> {
    Arc::new(crate::kernel::NoHazard)
}

#[tokio::test(start_paused = true)]
async fn of_1000_calls_of_6_at_once_exactly_83_pass_a_limit_of_500() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(500, no_hazard());
            let answers: Vec<_> = (0..1_000).map(|_| bench.offer(6)).collect();
            bench.settle_down().await;
            let mut passed = Vec::new();
            while let Ok(ticket) = bench.passed.try_recv() {
                passed.push(ticket);
            }
            assert_eq!(passed.len(), 83);
            assert_eq!(bench.figures(), [0, 498, 0, 0]);
            for ticket in passed {
                sent(ticket).settle(outcome(Class::Success, Effect::Done, Some(6)));
            }
            let (mut settled, mut refused) = (0, 0);
            for answer in answers {
                match answer.await.unwrap() {
                    Reply::Settled { .. } => settled += 1,
                    Reply::Refused(refusal) => {
                        assert!(matches!(refusal.reason, Reason::OverBudget { .. }));
                        refused += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((settled, refused), (83, 917));
            bench.settle_down().await;
            assert_eq!((bench.figures(), bench.shown.get().refused_total), ([498, 0, 0, 0], 917));
            assert_eq!(*bench.facts.marks.lock(), ["hard"]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_ticket_gives_its_money_back() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(10, no_hazard());
            for _ in 0..50 {
                let (ticket, answer) = bench.admitted(10).await;
                assert_eq!(bench.figures(), [0, 10, 0, 0]);
                drop(ticket);
                assert!(matches!(answer.await.unwrap(), Reply::Abandoned { at: Guard::Budget }));
                bench.settle_down().await;
                assert_eq!(bench.figures(), [0; 4]);
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_ticket_nobody_waits_for_reserves_nothing() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(10, no_hazard());
            drop(bench.offer(10));
            bench.settle_down().await;
            assert!(bench.passed.try_recv().is_err());
            bench.admitted(10).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_behind_the_budget_refuses_and_refunds() {
    LocalSet::new()
        .run_until(async {
            let bench = Bench::with(&BudgetConfig::per_day(Credits::whole(100)), no_hazard(), 0);
            let refusal = bench.refused(6).await;
            assert_eq!(refusal.reason, Reason::Full { what: "queue behind the budget", held: 0, limit: 0 });
            bench.settle_down().await;
            assert_eq!(bench.figures(), [0; 4]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_with_a_ticket_in_hand_loses_that_ticket_alone_and_no_money() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(1_000, Every::nth(10, "ticket"));
            let answers: Vec<_> = (0..100).map(|_| bench.offer(6)).collect();
            bench.settle_down().await;
            let mut passed = 0;
            while let Ok(ticket) = bench.passed.try_recv() {
                passed += 1;
                sent(ticket).settle(outcome(Class::Success, Effect::Done, Some(5)));
            }
            let mut lost = 0;
            for answer in answers {
                lost += u64::from(matches!(answer.await.unwrap(), Reply::Abandoned { at: Guard::Budget }));
            }
            bench.settle_down().await;
            assert_eq!((passed, lost), (90, 10));
            assert_eq!(bench.figures(), [450, 0, 0, 0]);
            assert_eq!(bench.vault.status().restarts, 10);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_with_a_report_in_hand_settles_it_once() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(1_000, Every::nth(2, "report"));
            for round in 1..=20 {
                let (ticket, _answer) = bench.admitted(6).await;
                sent(ticket).settle(outcome(Class::Success, Effect::Done, Some(7)));
                bench.settle_down().await;
                assert_eq!(bench.figures(), [7 * round, 0, 0, round]);
            }
            assert!(bench.vault.status().restarts >= 10);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_reservation_and_the_next_stage_refunds() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::with(&BudgetConfig::per_day(Credits::whole(100)), no_hazard(), 10);
            bench.facts.panics.store(true, SeqCst);
            let answer = bench.offer(80);
            assert!(matches!(answer.await.unwrap(), Reply::Abandoned { at: Guard::Budget }));
            bench.settle_down().await;
            assert_eq!((bench.figures(), bench.vault.status().restarts), ([0; 4], 1));
            bench.admitted(100).await;
            assert_eq!(*bench.facts.marks.lock(), ["soft", "soft"], "each mark once a day, over restarts too");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn peers_b12_a_crash_between_reserve_and_settle_passes_no_limit_and_leaves_no_reservation_open() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(12, Every::nth(2, "report"));
            let (spent, _a) = bench.admitted(6).await;
            let (lost, _b) = bench.admitted(6).await;
            drop(lost);
            bench.settle_down().await;
            let (last, _c) = bench.admitted(6).await;
            sent(spent).settle(outcome(Class::Success, Effect::Done, Some(6)));
            bench.refused(1).await;
            bench.settle_down().await;
            sent(last).settle(outcome(Class::Success, Effect::Done, None));
            bench.refused(1).await;
            bench.settle_down().await;
            assert_eq!((bench.figures(), bench.shown.get().reservations), ([12, 0, 0, 0], 0));
            assert!(bench.vault.status().restarts >= 1);
            bench.refused(1).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_a_report_was_applied_does_not_apply_it_again() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(100, no_hazard());
            let (ticket, _answer) = bench.admitted(10).await;
            bench.facts.panics.store(true, SeqCst);
            sent(ticket).settle(outcome(Class::Success, Effect::Done, Some(15)));
            bench.settle_down().await;
            assert_eq!((bench.figures(), bench.vault.status().restarts), ([15, 0, 0, 5], 1));
            assert_eq!(*bench.facts.marks.lock(), ["overage"]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_ticket_lost_after_its_first_byte_keeps_its_money_until_the_end_is_known() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(100, no_hazard());
            let (ticket, answer) = bench.admitted(10).await;
            drop(sent(ticket));
            let lease = lease_of(answer.await.unwrap());
            bench.settle_down().await;
            assert_eq!(bench.figures(), [0, 10, 0, 0], "the lease still speaks for it");
            drop(lease);
            bench.settle_down().await;
            assert_eq!(bench.figures(), [0, 10, 10, 0]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_accepted_call_is_settled_by_its_completion() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(100, no_hazard());
            let (ticket, answer) = bench.admitted(10).await;
            sent(ticket).settle(Outcome { pending: true, ..outcome(Class::Success, Effect::Done, None) });
            let mut lease = lease_of(answer.await.unwrap());
            lease.release_slots();
            bench.settle_down().await;
            assert_eq!(bench.figures(), [0, 10, 0, 0]);
            lease.end((&outcome(Class::Success, Effect::Done, Some(4))).into());
            bench.settle_down().await;
            assert_eq!(bench.figures(), [4, 0, 0, 0]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_turns_with_the_day_though_nothing_is_sent() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(100, no_hazard());
            let (_kept, _answer) = bench.admitted(100).await;
            let shown = |bench: &Bench| {
                let shown = bench.shown.get();
                (shown.limits[0].span.clone(), shown.remaining)
            };
            assert_eq!(shown(&bench), ("2026-05-02".to_owned(), Credits::ZERO));
            tokio::time::sleep(Duration::from_secs(4 * 3600 - 1)).await;
            bench.settle_down().await;
            assert_eq!(shown(&bench), ("2026-05-02".to_owned(), Credits::ZERO));
            tokio::time::sleep(Duration::from_secs(2)).await;
            bench.settle_down().await;
            assert_eq!(shown(&bench), ("2026-05-03".to_owned(), Credits::whole(100)));
            let shown = bench.shown.get();
            assert_eq!((shown.reservations, shown.used_ratio), (1, 0.0));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_is_used_up_is_shown_until_it_may_be_asked_again() {
    LocalSet::new()
        .run_until(async {
            let mut bench = Bench::new(100, no_hazard());
            let (ticket, _answer) = bench.admitted(10).await;
            let wait = Some(Duration::from_secs(6 * 3600));
            sent(ticket).settle(Outcome { retry_after: wait, ..outcome(Class::Exhausted, Effect::None, None) });
            bench.settle_down().await;
            let until = "2026-05-03T02:00:00Z".parse().unwrap();
            assert_eq!(bench.shown.get().exhausted_until, Some(until));
            let refusal = bench.refused(1).await;
            assert_eq!((refusal.reason.clone(), refusal.retry_after(clock::now())), (Reason::VendorExhausted, wait));
            tokio::time::sleep(Duration::from_secs(6 * 3600 + 1)).await;
            bench.settle_down().await;
            assert_eq!((bench.shown.get().exhausted_until, bench.figures()), (None, [0; 4]));
            bench.admitted(1).await;
            assert_eq!(*bench.facts.marks.lock(), ["exhausted"]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_critical_lane_has_its_share_when_the_others_have_none() {
    LocalSet::new()
        .run_until(async {
            let config = BudgetConfig { critical_share: 0.5, ..BudgetConfig::per_day(Credits::whole(10)) };
            let mut bench = Bench::with(&config, no_hazard(), 10);
            let (_kept, _answer) = bench.admitted(5).await;
            assert!(matches!(bench.refused(1).await.reason, Reason::OverBudget { .. }));
            let (ticket, _waits) = bench.ticket(5, CRITICAL_LANE);
            bench.door.pass(ticket).unwrap();
            bench.settle_down().await;
            assert!(bench.passed.try_recv().is_ok());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_overages_is_one_line_a_second() {
    let mut seldom = Seldom::default();
    let start = clock::now();
    let mut lines = Vec::new();
    for millis in 0..2_500 {
        let now = start + Duration::from_millis(millis);
        seldom.hold(millis);
        lines.extend(seldom.take(now));
    }
    assert_eq!(lines, [(1, 0), (1_000, 1_000), (1_000, 2_000)]);
    assert_eq!(seldom.due(), Some(start + Duration::from_secs(3)));
    assert_eq!(seldom.take(start + Duration::from_secs(3)), Some((499, 2_499)));
    assert_eq!(seldom.due(), None);
}
