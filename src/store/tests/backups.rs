//! Copies of a store in use, and one of them in the place of a damaged directory.

use std::{io, path::PathBuf, time::Duration};

use jiff::Timestamp;
use mainstay_actors::clock::{Clock, SteadyWall};

use super::*;
use crate::store::{
    backups::{Plan, whole},
    config::BackupConfig,
    copying::Copying,
    restore::restore_until,
};

fn everything(engine: &dyn Engine) -> Vec<Row> {
    Table::ALL.into_iter().flat_map(|table| engine.scan(table, b"", &END, 100_000).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_copy_made_in_steps_while_others_commit_is_the_store_as_it_is_at_its_end(
        before in proptest::collection::vec(any_set(), 0..30),
        meanwhile in proptest::collection::vec((any_set(), 0..3usize), 0..40),
        step in 1..4usize,
    ) {
        let dir = TempDir::new().unwrap();
        let mut store = MemoryStore::new();
        store.commit(&before);
        let mut copying = Copying::begin(&dir.path().join("copy")).unwrap().in_steps_of(step);
        let mut is_whole = false;
        for (set, steps) in meanwhile {
            if is_whole {
                break;
            }
            let group = [set];
            store.commit(&group);
            copying.follow(&store, &group).unwrap();
            for _ in 0..steps {
                is_whole = is_whole || copying.step(&store).unwrap();
            }
        }
        while !is_whole {
            is_whole = copying.step(&store).unwrap();
        }
        copying.finish().unwrap();
        let copy = SledStore::open(&dir.path().join("copy"), Durability::Process).unwrap();
        prop_assert_eq!(everything(&copy), everything(&store));
    }
}

pub(super) fn letter(n: u64) -> WriteSet {
    WriteSet::new()
        .put(Table::Letters, [n.to_be_bytes().as_slice(), &[0, 0]].concat(), vec![7; 100])
        .put(Table::LetterState, n.to_be_bytes(), *b"state")
        .put(Table::LetterIndex, [n.to_be_bytes(), n.to_be_bytes()].concat(), n.to_be_bytes())
        .put(Table::Keys, n.to_be_bytes(), *b"key")
        .add(Table::Meta, mainstay_actors::dlq::LETTERS_COUNT, 1)
}

fn clock() -> Clock {
    Clock::new(SteadyWall::starting_at("2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap()))
}

fn names(found: &[PathBuf]) -> Vec<String> {
    found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn plan(dir: &Path, keep: usize) -> Plan {
    let config =
        BackupConfig { dir: Some(dir.to_owned()), every: Duration::from_secs(3600), keep, ..BackupConfig::default() };
    Plan::of(&config, &clock()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn backups_are_made_every_so_often_and_the_newest_are_kept() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("backups");
    fs::create_dir_all(to.join("backup-20250101T000000Z.part")).unwrap(); // of a process that was killed
    fs::create_dir_all(to.join("backup-of-mine")).unwrap();
    let store = StoreHandle::inline_with(MemoryStore::new(), None, Some(plan(&to, 2)));
    for n in 0..60 {
        store.commit(letter(n)).await.unwrap();
        tokio::time::advance(Duration::from_secs(300)).await;
    }
    let found = whole(&to).unwrap();
    assert_eq!(names(&found), ["backup-20260102T070405Z", "backup-20260102T060405Z"]);
    assert!(to.join("backup-of-mine").exists() && !to.join("backup-20250101T000000Z.part").exists());
    let copy = SledStore::open(&found[0], Durability::Process).unwrap();
    assert!(crate::store::check::look_through(&copy).problems.is_empty());
    assert!(keys(&copy, Table::Keys, b"", &END, 100).len() > 45);
    let status = store.status().last_backup.unwrap();
    assert_eq!((status.path.as_ref(), status.problem), (Some(&found[0]), None));

    // The next process goes on with the same pace.
    let next = StoreHandle::inline_with(MemoryStore::new(), None, Some(plan(&to, 2)));
    for n in 0..10 {
        next.commit(letter(n)).await.unwrap();
    }
    assert_eq!(whole(&to).unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_cannot_be_made_is_said_tried_again_and_stops_nobody() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("backups");
    fs::write(&to, b"no directory").unwrap();
    let store = StoreHandle::inline_with(MemoryStore::new(), None, Some(plan(&to, 2)));
    store.commit(letter(0)).await.unwrap();
    assert!(store.status().last_backup.unwrap().problem.unwrap().contains("backups"));
    fs::remove_file(&to).unwrap();
    for n in 1..30 {
        store.commit(letter(n)).await.unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(whole(&to).unwrap().len(), 1);
}

#[tokio::test]
async fn a_backup_that_is_asked_for_is_whole_while_a_hundred_others_write() {
    let dir = TempDir::new().unwrap();
    let (store, thread) =
        StoreHandle::spawn(SledStore::open(&dir.path().join("data"), Durability::Process).unwrap()).unwrap();
    for n in 0..3000 {
        drop(store.commit(letter(n)));
    }
    let copy = dir.path().join("copy");
    let mut backup = store.backup(copy.clone());
    let mut n = 3000;
    let done = loop {
        tokio::select! {
            done = &mut backup => break done,
            written = store.commit(letter(n)) => written.unwrap(),
        }
        n += 1;
    };
    done.unwrap();
    let copy = SledStore::open(&copy, Durability::Process).unwrap();
    let found = crate::store::check::look_through(&copy);
    assert_eq!(found.problems, [""; 0]);
    assert!(keys(&copy, Table::Keys, b"", &END, 100_000).len() >= 3000);
    store.close();
    thread.join().unwrap();
}

/// A data directory with ten letters, spoiled, and two backups: the newer one is spoiled too.
struct Spoiled {
    dir: TempDir,
    data: PathBuf,
    backups: PathBuf,
}

fn spoil(dir: &Path) {
    let data = File::options().write(true).open(dir.join("db")).unwrap();
    data.set_len(fs::metadata(dir.join("db")).unwrap().len() / 2).unwrap();
}

fn spoiled() -> Spoiled {
    let dir = TempDir::new().unwrap();
    let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
    let mut store = SledStore::open(&data, Durability::Power).unwrap();
    for (n, name) in [(5, "backup-20260101T000000Z"), (8, "backup-20260102T000000Z"), (10, "backup-20260103T000000Z")] {
        let from = keys(&store, Table::Keys, b"", &END, 100).len() as u64;
        (from..n).for_each(|n| one(&mut store, letter(n)).unwrap());
        copy(&store, &backups.join(name)).unwrap();
    }
    drop(store);
    fs::rename(backups.join("backup-20260103T000000Z"), backups.join("backup-20260103T000000Z.part")).unwrap();
    spoil(&backups.join("backup-20260102T000000Z"));
    spoil(&data);
    Spoiled { dir, data, backups }
}

fn words() -> StoreError {
    StoreError::Damaged("data directory data: spoiled".into())
}

#[test]
fn the_newest_good_backup_takes_the_place_of_damaged_files_which_are_kept_as_they_were() {
    let Spoiled { dir, data, backups } = spoiled();
    let before = files(&data);
    let restored = crate::store::restore(&data, &backups, &words(), &clock()).unwrap();
    assert_eq!(restored.backup, backups.join("backup-20260101T000000Z"));
    assert_eq!(restored.damaged, dir.path().join("data.damaged-20260102T030405Z"));
    let kept: Vec<_> = files(&restored.damaged).into_values().collect();
    assert!(kept == before.into_values().collect::<Vec<_>>());
    let store = SledStore::open(&data, Durability::Power).unwrap();
    assert_eq!(keys(&store, Table::LetterState, b"", &END, 100).len(), 5);
}

#[test]
fn without_a_good_backup_nothing_is_moved_and_nothing_starts_empty() {
    let Spoiled { dir, data, backups } = spoiled();
    spoil(&backups.join("backup-20260101T000000Z"));
    let before = files(&data);
    for place in [&backups, &dir.path().join("nowhere")] {
        let error = crate::store::restore(&data, place, &words(), &clock()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no good backup in") && text.contains(&*place.display().to_string()), "{text}");
        assert!(before == files(&data));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "copies are cleared away");
}

#[test]
fn a_restoring_that_stops_at_any_moment_leaves_the_damage_or_the_backup_and_never_an_empty_store() {
    for stop_at in 1..=4 {
        let Spoiled { dir: _dir, data, backups } = spoiled();
        let mut steps = 0;
        let mut stop = |_: &str| {
            steps += 1;
            if steps == stop_at { Err(io::Error::other("stopped")) } else { Ok(()) }
        };
        restore_until(&data, &backups, &words(), &clock(), &mut stop).unwrap_err();
        let store = match SledStore::open(&data, Durability::Power) {
            Ok(store) => store,
            Err(StoreError::Damaged(_)) => {
                crate::store::restore(&data, &backups, &words(), &clock()).unwrap();
                SledStore::open(&data, Durability::Power).unwrap()
            }
            Err(error) => panic!("stopped at {stop_at}: {error}"),
        };
        assert_eq!(keys(&store, Table::LetterState, b"", &END, 100).len(), 5, "stopped at {stop_at}");
    }
}

#[test]
fn an_empty_directory_made_by_somebody_else_does_not_hide_a_replacement_that_was_interrupted() {
    let Spoiled { dir: _dir, data, backups } = spoiled();
    let mut stop = |step: &str| if step.contains("aside") { Err(io::Error::other("stopped")) } else { Ok(()) };
    restore_until(&data, &backups, &words(), &clock(), &mut stop).unwrap_err();
    fs::create_dir(&data).unwrap();
    let store = SledStore::open(&data, Durability::Power).unwrap();
    assert_eq!(keys(&store, Table::LetterState, b"", &END, 100).len(), 5);
}
