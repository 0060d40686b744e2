//! The hours and the expiry of a parked call are on disk: the next process rings no phone at night.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]
mod support;

use std::path::Path;

use mainstay::{
    Answer, Call, Runtime, Snapshot,
    actors::{clock::SteadyWall, dlq::Filter, hours::Hours},
};
use support::{Reply, Wire, clay, lead, ok, s, until};

/// A process whose calendar begins at this moment.
async fn process(dir: &Path, wire: &Wire, at: &str) -> Runtime {
    let wall = SteadyWall::starting_at(at.parse().unwrap());
    Runtime::builder().vendor(clay(wire)).data_dir(dir).wall_clock(wall).start().await.unwrap()
}

async fn end(runtime: Runtime) -> Snapshot {
    let snapshot = runtime.handle().snapshot();
    assert!(runtime.shutdown(s(5)).await.drained);
    snapshot
}

/// Runs a test in real time: the store has a thread of its own.
fn in_real_time(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap().block_on(test);
}

#[test]
fn a_call_that_waits_for_its_hours_waits_for_them_through_every_restart() {
    in_real_time(async {
        let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(ok(200)));
        let hours = Hours::between("Europe/Berlin", "09:00", "10:00").unwrap();
        let evening = process(dir.path(), &wire, "2026-11-24T18:00:00Z").await;
        let answer = evening.handle().call(Call::new("clay", "push-row", lead(0)).hours(hours)).await.unwrap();
        let Answer::Queued { due, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(due.strftime("%F %T").to_string(), "2026-11-25 08:00:00");
        end(evening).await;

        let night = process(dir.path(), &wire, "2026-11-25T02:00:00Z").await;
        night.handle().dead_letters().replay(Filter::default()).run().await.unwrap();
        assert_eq!((wire.count(), end(night).await.calls.queued), (0, 1), "asked for by hand at 3 in the morning");

        let morning = process(dir.path(), &wire, "2026-11-25T08:00:00Z").await;
        until(&morning.handle(), |snapshot| snapshot.calls.delivered == 1).await;
        assert_eq!((wire.count(), end(morning).await.calls.queued), (1, 0));
    });
}

#[test]
fn a_call_that_expired_between_two_processes_is_not_done_by_the_second() {
    in_real_time(async {
        let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(Reply::Busy(503, 600)));
        let first = process(dir.path(), &wire, "2026-11-24T12:00:00Z").await;
        let call = Call::new("clay", "push-row", lead(0)).expires_at("2026-11-24T13:00:00Z".parse().unwrap());
        let answer = first.handle().call(call).await.unwrap();
        assert!(matches!(answer, Answer::Queued { .. }), "{answer:?}");
        end(first).await;

        wire.now_usually(ok(200));
        let second = process(dir.path(), &wire, "2026-11-24T13:00:00Z").await;
        until(&second.handle(), |snapshot| snapshot.parked.given_up == 1).await;
        end(second).await;
        assert_eq!(wire.count(), 1);
    });
}
