//! Whose threads, until when.

use std::{fs, thread, time::Duration};

use mainstay::{CallError, Guard, MakeCall, Placement, Reason, Runtime, RuntimeConfig};

use crate::{
    live::{TWO, alone, soon},
    row,
    support::{Reply, Wire, clay, ok, retell},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_usable_from_another_thread_with_a_runtime_of_its_own() {
    let wire = Wire::usually(ok(200));
    let runtime = Runtime::builder().vendor(clay(&wire)).placement(TWO).start().await.unwrap();
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let mainstay = runtime.handle();
            thread::spawn(move || {
                // Without timers and without sockets: a handle asks nothing of the runtime it is used from.
                let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
                own.block_on(mainstay.call(row(n))).unwrap();
            })
        })
        .collect();
    tokio::task::spawn_blocking(|| threads.into_iter().for_each(|thread| thread.join().unwrap())).await.unwrap();
    assert_eq!((wire.count(), runtime.handle().snapshot().calls.delivered), (4, 4));
    runtime.shutdown(Duration::from_secs(10)).await;
}

#[test]
fn a_call_whose_tokio_runtime_ended_ends_too_and_a_new_one_does_not_wait_for_ever() {
    let wire = Wire::usually(Reply::Hang);
    let host = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let runtime = host.block_on(Runtime::builder().vendor(retell(&wire)).placement(TWO).start()).unwrap();
    let mainstay = runtime.handle();
    let own = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    own.block_on(async {
        let receipt = mainstay.submit(crate::dial(1)).await.unwrap();
        soon(async {
            while wire.count() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        host.shutdown_background();
        let ended = soon(receipt.outcome()).await.unwrap_err();
        assert!(matches!(ended, CallError::RuntimeGone { .. }), "{ended:?}");
        let late = soon(mainstay.call(crate::dial(2))).await.unwrap_err();
        assert!(matches!(late, CallError::RuntimeGone { .. }), "{late:?}");
        let calls = mainstay.snapshot().calls;
        assert!(calls.add_up() && calls.under_way == 0, "{calls:?}");
        assert_eq!(calls.lost, 2, "{calls:?}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_shutdown_does_nothing_and_calls_after_it_are_refused_in_words() {
    let wire = Wire::usually(ok(200));
    let runtime = Runtime::builder().vendor(clay(&wire)).placement(TWO).start().await.unwrap();
    let mainstay = runtime.handle();
    mainstay.call(row(1)).await.unwrap();
    let (one, two) = soon(async {
        tokio::join!(mainstay.shutdown(Duration::from_secs(10)), mainstay.shutdown(Duration::from_secs(10)))
    })
    .await;
    assert!(one.drained && one == two, "{one:?} {two:?}");
    assert_eq!(soon(runtime.shutdown(Duration::from_secs(10))).await, one);
    let error = soon(mainstay.call(row(2))).await.unwrap_err();
    assert_eq!(error.to_string(), "refused by the gateway: the runtime is shutting down");
    let refusal = soon(mainstay.submit(row(2))).await.unwrap_err();
    assert_eq!((refusal.by, refusal.reason), (Guard::Gateway, Reason::ShuttingDown));
    let snapshot = mainstay.snapshot();
    assert!(snapshot.shutting_down && snapshot.calls.add_up());
    assert_eq!((snapshot.calls.refused, wire.count()), (2, 1));
    assert!(soon(mainstay.dead_letters().list(mainstay::actors::dlq::Filter::default(), None)).await.is_err());
}

/// Threads of the runtime in this process.
fn threads() -> Vec<String> {
    let names = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        let name = fs::read_to_string(task.unwrap().path().join("comm")).ok()?;
        name.starts_with("mainstay").then(|| name.trim().to_owned())
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// A thread gives itself its name a moment after it was started.
async fn until_threads_are(expected: &[&str]) {
    soon(async {
        while threads() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// In a process of its own: other tests have threads of the same names.
#[cfg(target_os = "linux")]
#[test]
fn dropping_the_last_handle_ends_every_thread() {
    if !alone("life::dropping_the_last_handle_ends_every_thread") {
        return;
    }
    let host = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    host.block_on(async {
        let (wire, dir) = (Wire::usually(ok(200)), tempfile::tempdir().unwrap());
        let start = |change: fn(&mut RuntimeConfig)| {
            let builder = Runtime::builder().vendor(clay(&wire)).vendor(retell(&wire)).placement(TWO);
            builder.data_dir(dir.path()).with(change).start()
        };

        let runtime = start(|_| ()).await.unwrap();
        let expected =
            ["mainstay-0", "mainstay-1", "mainstay-disk", "mainstay-own", "mainstay-store", "mainstay-watchd"];
        until_threads_are(&expected).await;
        let mainstay = runtime.handle();
        drop(runtime);
        mainstay.call(row(1)).await.unwrap();
        assert_eq!(threads(), expected, "a handle is enough");
        let other = mainstay.clone();
        drop(mainstay);
        thread::spawn(move || drop(other)).join().unwrap();
        until_threads_are(&[]).await;

        // The last one is dropped by an actor, on a thread that is to end.
        let runtime = start(|_| ()).await.unwrap();
        wire.now_usually(Reply::Answer(200, serde_json::json!({}), Duration::from_millis(200)));
        let api = runtime.handle().address();
        let answer = tokio::spawn(async move { api.send(MakeCall(row(2))).await });
        soon(async {
            while wire.count() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        drop(runtime);
        let answer = soon(answer).await.unwrap();
        assert!(matches!(answer, Ok(Ok(_))), "{answer:?}");
        until_threads_are(&[]).await;

        // A start that fails leaves nothing behind.
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let at = taken.local_addr().unwrap();
        let builder = Runtime::builder().vendor(clay(&wire)).placement(Placement::Threads { threads: 3 });
        builder.data_dir(dir.path()).debug_http(at).start().await.unwrap_err();
        until_threads_are(&[]).await;
        soon(start(|_| ())).await.unwrap().shutdown(Duration::from_secs(10)).await;
        until_threads_are(&[]).await;
    });
}
