//! A full disk: by an engine that plays one, and on a small file system of its own.

use std::{
    collections::VecDeque,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use mainstay_actors::clock;

use super::*;
use crate::store::{config::StoreConfig, room::Reserve};

const RESERVE_BYTES: u64 = 1000;

/// An engine on a disk that is full when it says so. Like sled, it stays in its error until it is opened again.
struct Tight {
    rows: Box<dyn Engine>,
    dir: PathBuf,
    space: Arc<AtomicU64>,
    openings: Arc<AtomicU64>,
    is_stuck: bool,
}

impl Tight {
    fn left(&self) -> u64 {
        let kept = fs::metadata(self.dir.join("reserve")).map_or(0, |meta| meta.len());
        self.space.load(SeqCst).saturating_sub(kept)
    }
}

impl Engine for Tight {
    fn commit(&mut self, sets: &[WriteSet]) -> Vec<Result<(), StoreError>> {
        let bytes: u64 = sets.iter().map(|set| set.bytes() as u64).sum();
        self.is_stuck |= bytes > self.left();
        if self.is_stuck {
            return vec![Err(StoreError::Full); sets.len()];
        }
        self.space.fetch_sub(bytes, SeqCst);
        self.rows.commit(sets)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], max: usize) -> Result<VecDeque<Row>, StoreError> {
        self.rows.scan(table, from, to, max)
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.openings.fetch_add(1, SeqCst);
        if self.left() < 50 {
            return Err(StoreError::Full);
        }
        self.is_stuck = false;
        self.rows.reopen()
    }
}

struct Disk {
    dir: TempDir,
    space: Arc<AtomicU64>,
    openings: Arc<AtomicU64>,
    store: StoreHandle,
}

/// Both engines, each on a disk with room for its reserve and so many bytes.
fn two_disks(bytes: u64, reserve: u64) -> Vec<Disk> {
    let sled = |dir: &Path| Box::new(SledStore::open(dir, Durability::Process).unwrap()) as Box<dyn Engine>;
    let memory = |_: &Path| Box::new(MemoryStore::new()) as Box<dyn Engine>;
    [sled as fn(&Path) -> Box<dyn Engine>, memory]
        .map(|engine| {
            let (dir, openings) = (TempDir::new().unwrap(), Arc::default());
            let space = Arc::new(AtomicU64::new(bytes + reserve));
            let (rows, at) = (engine(dir.path()), dir.path().to_owned());
            let tight =
                Tight { rows, dir: at, space: Arc::clone(&space), openings: Arc::clone(&openings), is_stuck: false };
            let store = StoreHandle::inline_with(tight, Reserve::of(dir.path(), reserve), None);
            Disk { dir, space, openings, store }
        })
        .into()
}

/// 108 bytes.
fn end(n: u64) -> WriteSet {
    WriteSet::new().put(Table::Letters, n.to_be_bytes(), vec![7; 100])
}

fn beginning(n: u64) -> WriteSet {
    end(n).beginning()
}

async fn rows(store: &StoreHandle) -> Vec<u64> {
    let rows = store.scan(Table::Letters, vec![], END.to_vec(), 10_000).await.unwrap();
    rows.iter().map(|(key, _)| u64::from_be_bytes(key[..].try_into().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_ends_are_written_into_the_room_that_was_kept_and_nothing_begins_until_there_is_space() {
    for Disk { dir, space, store, .. } in two_disks(300, RESERVE_BYTES) {
        let reserve = dir.path().join("reserve");
        assert_eq!(fs::metadata(&reserve).unwrap().len(), RESERVE_BYTES);
        store.commit(beginning(0)).await.unwrap();
        store.commit(beginning(1)).await.unwrap();
        assert_eq!(store.commit(beginning(2)).await, Err(StoreError::Full));
        assert_eq!(store.status().state, StoreState::Short);
        assert!(!reserve.exists());
        fs::create_dir(dir.path().join("reserve.part")).unwrap(); // the reserve finds no space
        for n in 10..15 {
            store.commit(end(n)).await.unwrap();
            assert_eq!(store.commit(beginning(n)).await, Err(StoreError::Full));
            tokio::time::advance(Duration::from_secs(100)).await;
        }
        assert_eq!(store.status().state, StoreState::Short);
        space.store(10_000, SeqCst);
        fs::remove_dir(dir.path().join("reserve.part")).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        store.commit(beginning(20)).await.unwrap();
        assert_eq!(store.status().state, StoreState::Working);
        assert!(reserve.exists());
        assert_eq!(rows(&store).await, [0, 1, 10, 11, 12, 13, 14, 20]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_that_finds_the_disk_full_is_written_all_the_same() {
    for Disk { store, .. } in two_disks(300, RESERVE_BYTES) {
        for n in 0..5 {
            store.commit(end(n)).await.unwrap();
        }
        assert_eq!(store.status().state, StoreState::Short);
        assert_eq!(rows(&store).await, [0, 1, 2, 3, 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn when_what_was_kept_is_used_up_too_all_is_refused_at_once_and_the_store_opens_itself_when_there_is_space() {
    for Disk { dir, space, store, openings } in two_disks(0, RESERVE_BYTES) {
        fs::create_dir(dir.path().join("reserve.part")).unwrap();
        let mut written = 0;
        while store.commit(end(written)).await.is_ok() {
            written += 1;
        }
        assert_eq!((written, store.status().state), (9, StoreState::Full));
        assert_eq!(rows(&store).await.len(), 9, "it is read all the same");
        let begun = openings.load(SeqCst);
        for _ in 0..600 {
            assert_eq!(store.commit(end(100)).await, Err(StoreError::Full));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let tried = openings.load(SeqCst) - begun;
        assert!((10..20).contains(&tried), "opened {tried} times in ten minutes");
        fs::remove_dir(dir.path().join("reserve.part")).unwrap();
        space.store(5000, SeqCst);
        tokio::time::advance(Duration::from_secs(60)).await;
        store.commit(beginning(100)).await.unwrap();
        assert_eq!(rows(&store).await.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_reserve_the_store_is_closed_to_writes_until_there_is_space() {
    for Disk { space, store, .. } in two_disks(150, 0) {
        store.commit(end(0)).await.unwrap();
        assert_eq!(store.commit(end(1)).await, Err(StoreError::Full));
        assert_eq!(store.status().state, StoreState::Full);
        assert!(store.status().cause.unwrap().contains("disk is full"));
        space.store(1000, SeqCst);
        assert_eq!(store.commit(end(1)).await, Err(StoreError::Full), "it is not looked at each time");
        tokio::time::advance(Duration::from_secs(1)).await;
        store.commit(end(1)).await.unwrap();
        assert_eq!(rows(&store).await, [0, 1]);
    }
}

/// A small file system in memory; none where nobody may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let option = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

async fn until(store: &StoreHandle, state: StoreState) {
    let begun = clock::now();
    while store.status().state != state {
        assert!(clock::now() - begun < Duration::from_secs(60), "{:?}", store.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn on_a_disk_that_fills_up_nothing_acknowledged_is_missing_and_the_store_goes_on_by_itself() {
    let Some(disk) = SmallDisk::mount("32m") else {
        eprintln!("skipped: nobody may mount a file system here");
        return;
    };
    let dir = disk.0.path().join("data");
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![1; 16 << 20]).unwrap();
    let config = StoreConfig { reserve_bytes: 3 << 20, ..StoreConfig::default() };
    let (store, thread) = crate::store::open(&dir, Durability::Power, &config, &clock::Clock::default()).unwrap();
    let set = |n: u64| WriteSet::new().put(Table::Letters, n.to_be_bytes(), vec![n as u8; 1000]);
    let mut kept = Vec::new();
    for n in 0..100_000 {
        match store.commit(set(n).beginning()).await {
            Ok(()) => kept.push(n),
            Err(error) => {
                assert_eq!(error, StoreError::Full);
                break;
            }
        }
    }
    assert!(kept.len() > 1000, "{} rows", kept.len());
    assert_eq!(store.status().state, StoreState::Short);
    for n in 100_000..100_200 {
        store.commit(set(n)).await.unwrap();
        kept.push(n);
    }
    // Until nothing goes any more.
    for n in 200_000.. {
        match store.commit(set(n)).await {
            Ok(()) => kept.push(n),
            Err(error) => {
                assert_eq!(error, StoreError::Full);
                break;
            }
        }
    }
    assert_eq!(store.status().state, StoreState::Full);
    assert_eq!(store.get(Table::Letters, 5u64.to_be_bytes().to_vec()).await.unwrap().unwrap().len(), 1000);
    fs::remove_file(&filler).unwrap();
    until(&store, StoreState::Working).await;
    store.commit(set(300_000).beginning()).await.unwrap();
    kept.push(300_000);
    store.close();
    thread.join().unwrap();
    let store = SledStore::open(&dir, Durability::Power).unwrap();
    let there = keys(&store, Table::Letters, b"", &END, 1_000_000);
    let missing = kept.iter().filter(|n| !there.contains(&n.to_be_bytes().to_vec())).count();
    assert_eq!(missing, 0, "of {}", kept.len());
}
