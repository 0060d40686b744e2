//! What a start finds on disk. A damaged directory is refused, or replaced by a backup, as the configuration says.

use std::{path::Path, thread::JoinHandle};

use mainstay_actors::{
    dlq::{Dlq, DlqActor},
    fact::Fact,
    idempotency::FoundKey,
    store::StoreError,
};

use crate::{
    error::StartError,
    plan::Plan,
    restore,
    store::{self, MemoryStore, OnDamage, Restored, StoreHandle},
};

/// An open store, and what was in it.
pub(crate) struct Opened {
    pub(crate) store: StoreHandle,
    pub(crate) thread: Option<JoinHandle<()>>,
    pub(crate) parked: Dlq,
    pub(crate) keys: Vec<FoundKey>,
    /// Said when there is somebody to hear it.
    pub(crate) restored: Option<Fact>,
}

impl Opened {
    pub(crate) async fn open(plan: &Plan) -> Result<Self, StartError> {
        let Some(dir) = &plan.runtime.data_dir else {
            return Self::load(plan, StoreHandle::inline(MemoryStore::new()), None).await;
        };
        let store = &plan.runtime.store;
        match (Self::open_dir(plan, dir).await, store.on_damage, &store.backup.dir) {
            (Err(StartError::Store(problem @ StoreError::Damaged(_))), OnDamage::Restore, Some(backups)) => {
                let restored = restored(plan, dir, backups, problem).await?;
                let mut opened = Self::open_dir(plan, dir).await?;
                opened.restored = Some(restored);
                Ok(opened)
            }
            (opened, ..) => opened,
        }
    }

    /// Opens the directory, off the async threads.
    async fn open_dir(plan: &Plan, dir: &Path) -> Result<Self, StartError> {
        let (runtime, at) = (plan.runtime.clone(), dir.to_owned());
        let open = move || store::open(&at, runtime.durability, &runtime.store, &runtime.clock);
        let (store, thread) = tokio::task::spawn_blocking(open).await.map_err(std::io::Error::other)??;
        match Self::load(plan, store.clone(), Some(thread)).await {
            Err(StartError::Store(error)) => Err(store::damaged_in(dir, error).into()),
            loaded => loaded,
        }
    }

    async fn load(plan: &Plan, store: StoreHandle, thread: Option<JoinHandle<()>>) -> Result<Self, StartError> {
        let read = async {
            let parked = DlqActor::load(&store, &plan.runtime.dlq).await?;
            Ok::<_, StartError>((parked, restore::load_keys(plan, &store).await?))
        };
        match read.await {
            Ok((parked, keys)) => {
                store.seat(plan.runtime.hazard.clone());
                Ok(Self { store, thread, parked, keys, restored: None })
            }
            Err(error) => {
                store.close();
                if let Some(thread) = thread {
                    // Whoever opens the directory next finds it free.
                    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
                }
                Err(error)
            }
        }
    }
}

async fn restored(plan: &Plan, dir: &Path, backups: &Path, problem: StoreError) -> Result<Fact, StartError> {
    let (dir, backups, clock) = (dir.to_owned(), backups.to_owned(), plan.runtime.clock.clone());
    let restore = move || store::restore(&dir, &backups, &problem, &clock);
    let restored = tokio::task::spawn_blocking(restore).await.map_err(std::io::Error::other)??;
    let Restored { problem, damaged, backup } = restored;
    let (damaged, backup) = (damaged.display().to_string(), backup.display().to_string());
    tracing::error!(target: "mainstay::store", damaged, backup, problem, "the data directory was damaged: a backup was put in its place, and what was written after it is missing");
    Ok(Fact::StoreRestored { problem: problem.into(), damaged: damaged.into(), backup: backup.into() })
}
