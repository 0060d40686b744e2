//! A smaller file in the place of a large one.

use std::{io, path::PathBuf};

use mainstay_actors::clock::Clock;

use super::{backups::letter, *};
use crate::store::{compact::rewrite, config::StoreConfig};

/// A directory whose file is much larger than the ten letters in it.
fn bloated() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut store = SledStore::open(&data, Durability::Process).unwrap();
    (0..10).for_each(|n| one(&mut store, letter(n)).unwrap());
    for from in (0..4000u64).step_by(500) {
        let rows = from..from + 500;
        let set = rows.clone().fold(WriteSet::new(), |set, n| {
            set.put(Table::LetterDue, [n.to_be_bytes(), n.to_be_bytes()].concat(), vec![7; 900])
        });
        one(&mut store, set).unwrap();
    }
    let set = (0..4000u64)
        .fold(WriteSet::new(), |set, n| set.delete(Table::LetterDue, [n.to_be_bytes(), n.to_be_bytes()].concat()));
    one(&mut store, set).unwrap();
    (dir, data)
}

fn size(data: &Path) -> u64 {
    fs::metadata(data.join("db")).unwrap().len()
}

fn has_its_letters(data: &Path) {
    let store = SledStore::open(data, Durability::Power).unwrap();
    let found = crate::store::check::look_through(&store);
    assert_eq!(found.problems, [""; 0]);
    assert_eq!(keys(&store, Table::LetterState, b"", &END, 100).len(), 10);
}

#[test]
fn a_start_compacts_a_file_that_is_many_times_larger_than_what_is_in_it() {
    let (dir, data) = bloated();
    let large = size(&data);
    assert!(large > 3 << 20, "{large}");
    let start = |config: &StoreConfig| {
        let (store, thread) = crate::store::open(&data, Durability::Power, config, &Clock::default()).unwrap();
        store.close();
        thread.join().unwrap();
    };
    start(&StoreConfig::default());
    start(&StoreConfig { compact_above_bytes: 0, ..StoreConfig::default() });
    assert!(size(&data) >= large, "it is below the size from which it is looked at, or not wanted");
    start(&StoreConfig { compact_above_bytes: 1 << 20, compact_times: 100_000, ..StoreConfig::default() });
    assert!(size(&data) >= large, "what is live is too much");
    start(&StoreConfig { compact_above_bytes: 1 << 20, ..StoreConfig::default() });
    assert!(size(&data) < large / 2, "{} of {large}", size(&data));
    has_its_letters(&data);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_compaction_that_stops_at_any_moment_leaves_a_whole_directory_and_no_copies_after_the_next_start() {
    for stop_at in 1..=4 {
        let (dir, data) = bloated();
        let mut steps = 0;
        let mut stop = |_: &str| {
            steps += 1;
            if steps == stop_at { Err(io::Error::other("stopped")) } else { Ok(()) }
        };
        let store = SledStore::open(&data, Durability::Power).unwrap();
        rewrite(store, &mut stop).unwrap_err();
        assert_eq!(steps, stop_at);
        has_its_letters(&data);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "stopped at {stop_at}");
    }
}

#[test]
fn a_store_that_lacks_rows_is_not_compacted() {
    let (dir, data) = bloated();
    let mut store = SledStore::open(&data, Durability::Power).unwrap();
    one(&mut store, WriteSet::new().add(Table::Meta, mainstay_actors::dlq::LETTERS_COUNT, 1)).unwrap();
    drop(store);
    let large = size(&data);
    let error = crate::store::compact(&data).unwrap_err().to_string();
    assert!(error.contains("11 parked calls were written, 10 are there"), "{error}");
    assert!(error.contains(&data.display().to_string()), "{error}");
    assert!(size(&data) >= large);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
