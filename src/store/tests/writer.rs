//! The owner thread: grouping, order, bounds, and its end.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use super::*;

/// An engine that waits for leave before each commit, and panics where it is told to.
pub(super) struct Gated {
    pub(super) rows: MemoryStore,
    pub(super) began: mpsc::Sender<usize>,
    pub(super) leave: mpsc::Receiver<()>,
}

impl Engine for Gated {
    fn commit(&mut self, sets: &[WriteSet]) -> Vec<Result<(), StoreError>> {
        self.began.send(sets.len()).unwrap();
        self.leave.recv().unwrap();
        assert!(!sets.iter().any(|set| set.ops.is_empty()), "an empty set is this engine's poison");
        self.rows.commit(sets)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        assert!(key != b"poison", "poisoned read");
        self.rows.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        max: usize,
    ) -> Result<std::collections::VecDeque<Row>, StoreError> {
        self.rows.scan(table, from, to, max)
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.rows.reopen()
    }
}

struct Bench {
    store: StoreHandle,
    thread: JoinHandle<()>,
    began: mpsc::Receiver<usize>,
    leave: mpsc::Sender<()>,
}

fn bench() -> Bench {
    let (began_tx, began) = mpsc::channel();
    let (leave, leave_rx) = mpsc::channel();
    let (store, thread) =
        StoreHandle::spawn(Gated { rows: MemoryStore::new(), began: began_tx, leave: leave_rx }).unwrap();
    Bench { store, thread, began, leave }
}

fn put(n: u64) -> WriteSet {
    WriteSet::new().put(Table::Letters, n.to_be_bytes(), *b"x")
}

#[tokio::test]
async fn what_arrives_during_a_commit_goes_together_into_the_next_one() {
    let Bench { store, thread, began, leave } = bench();
    let first = store.commit(put(0));
    assert_eq!(began.recv().unwrap(), 1);
    let waiting: Vec<_> = (1..=2000).map(|n| store.commit(put(n))).collect();
    let seen = store.get(Table::Letters, 1000u64.to_be_bytes().to_vec());
    for _ in 0..3 {
        leave.send(()).unwrap();
    }
    first.await.unwrap();
    for write in waiting {
        write.await.unwrap();
    }
    assert_eq!(began.recv().unwrap(), GROUP_MAX);
    assert_eq!(began.recv().unwrap(), 2000 - GROUP_MAX);
    assert_eq!(seen.await.unwrap(), Some(b"x".to_vec()), "a read sees what was sent before it");
    assert_eq!((store.status().groups, store.status().sets, store.status().queued), (3, 2001, 0));
    store.close();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_takes_again_later() {
    let Bench { store, thread, began, leave } = bench();
    let first = store.commit(put(0));
    began.recv().unwrap();
    let waiting: Vec<_> = (0..QUEUE_MAX as u64).map(|n| store.commit(put(n))).collect();
    let refused = store.commit(put(1)).await.unwrap_err();
    assert!(refused.to_string().contains("queue full"), "{refused}");
    for _ in 0..20 {
        leave.send(()).unwrap();
    }
    first.await.unwrap();
    for write in waiting {
        write.await.unwrap();
    }
    store.commit(put(1)).await.unwrap();
    store.close();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_queue_with_too_many_bytes_refuses_too() {
    let Bench { store, thread, began, leave } = bench();
    let first = store.commit(put(0));
    began.recv().unwrap();
    let large = || (0..5000u64).fold(WriteSet::new(), |set, n| set.put(Table::Letters, n.to_be_bytes(), vec![1; 4096]));
    let waiting: Vec<_> = (0..3).map(|_| store.commit(large())).collect();
    let refused = store.commit(large()).await.unwrap_err();
    assert!(refused.to_string().contains("bytes wait"), "{refused}");
    for _ in 0..4 {
        leave.send(()).unwrap();
    }
    first.await.unwrap();
    for write in waiting {
        write.await.unwrap();
    }
    store.close();
    thread.join().unwrap();
}

#[tokio::test]
async fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    let Bench { store, thread, began, leave } = bench();
    let first = store.commit(put(0));
    began.recv().unwrap();
    let second = store.clone().commit(put(1));
    store.close();
    assert!(matches!(store.commit(put(2)).await, Err(StoreError::Unavailable(_))));
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    thread.join().unwrap();
    assert_eq!((first.await, second.await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_panic_of_the_engine_is_an_error_for_everybody_then_and_later() {
    let Bench { store, thread, began: _began, leave } = bench();
    for _ in 0..3 {
        leave.send(()).unwrap();
    }
    store.commit(put(0)).await.unwrap();
    let error = store.commit(WriteSet::new()).await.unwrap_err();
    assert!(error.to_string().contains("poison"), "{error}");
    let later = [
        store.commit(put(1)).await,
        store.get(Table::Letters, vec![1]).await.map(drop),
        store.scan(Table::Letters, vec![], vec![9], 1).await.map(drop),
        store.disk_bytes().await.map(drop),
    ];
    assert!(later.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{later:?}");
    assert!(store.status().last_error.unwrap().problem.contains("panicked"));
    store.close();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_panic_in_a_read_reaches_its_asker_as_an_error() {
    let Bench { store, thread, .. } = bench();
    let error = store.get(Table::Letters, b"poison".to_vec()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    drop(store);
    thread.join().unwrap();
}

#[tokio::test]
async fn a_hundred_senders_share_flushes() {
    let dir = TempDir::new().unwrap();
    let (store, thread) = StoreHandle::spawn(SledStore::open(dir.path(), Durability::Power).unwrap()).unwrap();
    let store = Arc::new(store);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..100u64 {
        let store = store.clone();
        senders.spawn(async move {
            for n in 0..20 {
                store.commit(put(sender * 20 + n).add(Table::Meta, *b"n", 1)).await.unwrap();
            }
        });
    }
    senders.join_all().await;
    let count = store.get(Table::Meta, b"n".to_vec()).await.unwrap();
    assert_eq!(count, Some(2000u64.to_be_bytes().to_vec()));
    let status = store.status();
    assert!(status.groups * 5 < status.sets, "{status:?}");
    assert!(store.disk_bytes().await.unwrap() > 0);
    let copy = dir.path().join("backup");
    store.backup(copy.clone()).await.unwrap();
    assert_eq!(
        keys(&SledStore::open(&copy, Durability::Process).unwrap(), Table::Letters, b"", &END, 9999).len(),
        2000
    );
    store.close();
    thread.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn inline_answers_without_another_thread() {
    let store = StoreHandle::inline(MemoryStore::new());
    store.commit(put(1)).await.unwrap();
    assert_eq!(store.scan(Table::Letters, vec![], END.to_vec(), 9).await.unwrap().len(), 1);
    store.close();
    assert!(matches!(store.commit(put(2)).await, Err(StoreError::Unavailable(_))));
}
