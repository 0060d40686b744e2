//! The runtime inside an application: on plain tokio and in an actix system, over real HTTP, real threads and real disks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod actors;
mod letters;
mod life;
#[path = "../live/mod.rs"]
mod live;
mod supervision;
#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeSet, time::Duration};

use live::{Desk, TWO, clay, quick, retell, soon};
use mainstay::{
    Answer, Call, Credits, Fact, FinalState, Runtime,
    testing::{Simulator, Totals},
};
use support::{lead, phone, until};

const ROWS: usize = 60;
const PHONES: usize = 20;

fn row(n: usize) -> Call {
    Call::new("clay", "push-row", lead(n)).lane(["critical", "normal", "bulk"][n % 3])
}

fn dial(n: usize) -> Call {
    Call::new("retell", "create-phone-call", phone()).key(format!("reminder-{n}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_real_http_are_paid_ended_by_their_callbacks_and_agree_with_the_vendors_own_ledger() {
    let desk = Desk::open().await;
    let vendors = Simulator::start(desk.known_to(quick())).unwrap();
    let runtime =
        Runtime::builder().vendor(clay(&vendors)).vendor(retell(&vendors)).placement(TWO).start().await.unwrap();
    let mainstay = runtime.handle();
    desk.serve(mainstay.clone());
    let mut facts = mainstay.subscribe();

    let mut calls = tokio::task::JoinSet::new();
    for call in (0..ROWS).map(row).chain((0..PHONES).map(dial)) {
        let mainstay = mainstay.clone();
        calls.spawn(async move { mainstay.call(call).await });
    }
    let mut delivered = BTreeSet::new();
    for answer in soon(calls.join_all()).await {
        let Answer::Delivered(answer) = answer.unwrap() else { panic!("not by the vendor") };
        assert!(answer.pending, "a 2xx is not the end");
        delivered.insert(answer.call);
    }
    assert_eq!(delivered.len(), ROWS + PHONES);

    let snapshot = soon(until(&mainstay, |s| {
        s.open_effects == 0 && s.vendors.values().all(|vendor| vendor.budget.reserved == Credits::ZERO)
    }))
    .await;
    let Totals { clay, retell, .. } = vendors.totals();
    assert_eq!((clay.effects, clay.duplicate_effects), (ROWS as u64, 0));
    assert_eq!((retell.effects, retell.duplicate_effects), (PHONES as u64, 0));
    assert_eq!(snapshot.vendors["clay"].budget.settled.micros(), clay.charged_micros);
    assert_eq!(snapshot.vendors["retell"].budget.settled.micros(), retell.charged_micros);
    assert!(retell.max_live <= 20, "{} live calls are over the cap", retell.max_live);
    assert!(snapshot.calls.add_up() && snapshot.overdue_total == 0);
    assert_eq!(snapshot.calls.delivered, (ROWS + PHONES) as u64);

    let mut ended = BTreeSet::new();
    let mut last = None;
    while ended.len() < ROWS + PHONES {
        let event = soon(facts.recv()).await.unwrap();
        assert!(last.is_none_or(|last| event.seq == last + 1), "{last:?} is followed by {}", event.seq);
        last = Some(event.seq);
        if let Fact::CallEnded { call, state, .. } = event.fact {
            assert_eq!(state, FinalState::Delivered);
            assert!(ended.insert(call), "a call ends once");
        }
    }
    assert_eq!(ended, delivered);
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_tells_its_id_at_once_and_its_outcome_in_the_end() {
    let vendors = Simulator::start(quick()).unwrap();
    let runtime = Runtime::builder().vendor(clay(&vendors)).placement(TWO).start().await.unwrap();
    let mainstay = runtime.handle();
    let receipt = mainstay.submit(row(1)).await.unwrap();
    let id = receipt.call;
    let Ok(Answer::Delivered(delivered)) = soon(receipt.outcome()).await else { panic!("not by the vendor") };
    assert_eq!(delivered.call, id);
    drop(mainstay.submit(row(2)).await.unwrap());
    let snapshot = soon(until(&mainstay, |s| s.calls.delivered == 2)).await;
    assert_eq!(snapshot.calls.under_way, 0, "a receipt that is dropped stops nothing");
    assert_eq!(vendors.totals().clay.effects, 2);
    runtime.shutdown(Duration::from_secs(10)).await;
}
