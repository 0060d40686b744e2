//! One suite for both engines, and what only a directory can do.

mod backups;
mod compact;
mod room;
mod watch;
mod writer;

use std::{collections::BTreeMap, fs::File, path::Path};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

type Named = (&'static str, Box<dyn Engine>);

fn two_engines() -> (TempDir, Vec<Named>) {
    let dir = TempDir::new().unwrap();
    let sled = SledStore::open(&dir.path().join("sled"), Durability::Process).unwrap();
    (dir, vec![("sled", Box::new(sled)), ("memory", Box::new(MemoryStore::new()))])
}

fn one(engine: &mut dyn Engine, set: WriteSet) -> Result<(), StoreError> {
    engine.commit(&[set]).pop().unwrap()
}

fn keys(engine: &dyn Engine, table: Table, from: &[u8], to: &[u8], max: usize) -> Vec<Vec<u8>> {
    engine.scan(table, from, to, max).unwrap().into_iter().map(|(key, _)| key).collect()
}

fn number(engine: &dyn Engine, key: &[u8]) -> Option<u64> {
    engine.get(Table::Meta, key).unwrap().map(|v| u64::from_be_bytes(v.try_into().unwrap()))
}

#[test]
fn a_set_whose_precondition_fails_is_left_out_alone() {
    let (_dir, engines) = two_engines();
    for (name, mut engine) in engines {
        one(&mut *engine, WriteSet::new().put(Table::Letters, *b"taken", *b"1")).unwrap();
        let answers = engine.commit(&[
            WriteSet::new().put(Table::Letters, *b"a", *b"1").add(Table::Meta, *b"n", 1),
            WriteSet::new()
                .put(Table::Letters, *b"b", *b"1")
                .add(Table::Meta, *b"n", 1)
                .absent(Table::Letters, *b"taken"),
            WriteSet::new().present(Table::Letters, *b"nobody").put(Table::LetterDue, *b"c", *b""),
            WriteSet::new().present(Table::Letters, *b"a").put(Table::LetterDue, *b"d", *b"").add(
                Table::Meta,
                *b"n",
                1,
            ),
        ]);
        assert_eq!(answers[0], Ok(()), "{name}");
        assert_eq!(answers[1], Err(StoreError::Precondition { table: "letters", found: "there" }), "{name}");
        assert_eq!(answers[2], Err(StoreError::Precondition { table: "letters", found: "not there" }), "{name}");
        assert_eq!(answers[3], Ok(()), "{name}: it sees the set before it");
        assert_eq!(engine.get(Table::Letters, b"b").unwrap(), None, "{name}");
        assert_eq!(keys(&*engine, Table::LetterDue, b"", &END, 10), [b"d".to_vec()], "{name}");
        assert_eq!(number(&*engine, b"n"), Some(2), "{name}");
    }
}

#[test]
fn a_set_with_one_impossible_change_changes_nothing() {
    let (_dir, engines) = two_engines();
    for (name, mut engine) in engines {
        let large = vec![0; VALUE_MAX_BYTES + 1];
        let set = WriteSet::new().put(Table::Letters, *b"a", *b"1").put(Table::Letters, *b"b", large);
        assert_eq!(one(&mut *engine, set), Err(StoreError::ValueTooLarge { bytes: 4097 }), "{name}");
        let set = WriteSet::new().put(Table::Letters, *b"a", *b"1").put(Table::Letters, vec![1; 256], *b"");
        assert!(matches!(one(&mut *engine, set), Err(StoreError::Engine(_))), "{name}");
        one(&mut *engine, WriteSet::new().put(Table::Meta, *b"odd", *b"xyz")).unwrap();
        let set = WriteSet::new().put(Table::Letters, *b"a", *b"1").add(Table::Meta, *b"odd", 1);
        assert!(matches!(one(&mut *engine, set), Err(StoreError::Damaged(_))), "{name}");
        assert_eq!(engine.get(Table::Letters, b"a").unwrap(), None, "{name}");
        let fits = WriteSet::new().put(Table::Letters, *b"b", vec![7; VALUE_MAX_BYTES]);
        assert_eq!(one(&mut *engine, fits), Ok(()), "{name}");
    }
}

#[test]
fn a_counter_starts_at_nothing_and_stops_at_its_ends() {
    let (_dir, engines) = two_engines();
    for (name, mut engine) in engines {
        assert_eq!(number(&*engine, b"n"), None, "{name}");
        one(&mut *engine, WriteSet::new().add(Table::Meta, *b"n", 5).add(Table::Meta, *b"n", -2)).unwrap();
        assert_eq!(number(&*engine, b"n"), Some(3), "{name}");
        one(&mut *engine, WriteSet::new().add(Table::Meta, *b"n", -9)).unwrap();
        assert_eq!(number(&*engine, b"n"), Some(0), "{name}");
        one(&mut *engine, WriteSet::new().put(Table::Meta, *b"n", u64::MAX.to_be_bytes()).add(Table::Meta, *b"n", 1))
            .unwrap();
        assert_eq!(number(&*engine, b"n"), Some(u64::MAX), "{name}");
    }
}

#[test]
fn the_rows_of_keys_are_counted_by_the_engine_whoever_puts_or_deletes_them_twice() {
    let (dir, engines) = two_engines();
    for (name, mut engine) in engines {
        let counted = |engine: &dyn Engine| number(engine, Table::Keys.counter().unwrap()).unwrap_or(0);
        one(&mut *engine, WriteSet::new().put(Table::Keys, *b"a", *b"1").put(Table::Keys, *b"a", *b"2")).unwrap();
        one(&mut *engine, WriteSet::new().put(Table::Keys, *b"b", *b"1").delete(Table::Keys, *b"nobody")).unwrap();
        assert_eq!(counted(&*engine), 2, "{name}");
        let refused = WriteSet::new().put(Table::Keys, *b"c", *b"1").absent(Table::Keys, *b"a");
        assert!(one(&mut *engine, refused).is_err(), "{name}");
        assert_eq!(counted(&*engine), 2, "{name}");
        let to = dir.path().join(format!("counted-{name}"));
        copy(&*engine, &to).unwrap();
        assert_eq!(counted(&SledStore::open(&to, Durability::Process).unwrap()), 2, "{name}: a backup counts alike");
        one(&mut *engine, WriteSet::new().delete(Table::Keys, *b"a").delete(Table::Keys, *b"a")).unwrap();
        assert_eq!(counted(&*engine), 1, "{name}");
    }
}

#[test]
fn a_scan_is_ordered_and_bounded_and_keeps_to_its_table() {
    let (_dir, engines) = two_engines();
    for (name, mut engine) in engines {
        let set = (0..300u64).rev().fold(WriteSet::new(), |set, n| set.put(Table::Letters, n.to_be_bytes(), *b"x"));
        one(&mut *engine, set.put(Table::LetterIndex, 7u64.to_be_bytes(), *b"y")).unwrap();
        let seen = keys(&*engine, Table::Letters, &10u64.to_be_bytes(), &250u64.to_be_bytes(), 1000);
        assert_eq!(seen, (10..250u64).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>(), "{name}");
        assert_eq!(keys(&*engine, Table::Letters, b"", &END, 5).len(), 5, "{name}");
        assert!(keys(&*engine, Table::Letters, &9u64.to_be_bytes(), &3u64.to_be_bytes(), 5).is_empty(), "{name}");
        assert_eq!(keys(&*engine, Table::LetterIndex, b"", &END, 5).len(), 1, "{name}");
    }
}

#[test]
fn a_backup_opens_as_a_data_directory_with_everything_in_it() {
    let (dir, engines) = two_engines();
    for (name, mut engine) in engines {
        for from in (0..1500u64).step_by(500) {
            let set = (from..from + 500).fold(WriteSet::new(), |set, n| {
                set.put(Table::Letters, n.to_be_bytes(), n.to_be_bytes()).add(Table::Meta, *b"n", 1)
            });
            one(&mut *engine, set.put(Table::LetterDue, from.to_be_bytes(), *b"")).unwrap();
        }
        let to = dir.path().join(format!("backup-{name}"));
        copy(&*engine, &to).unwrap();
        assert!(matches!(copy(&*engine, &to), Err(StoreError::Unusable { .. })), "{name}: not over another one");
        let copied = SledStore::open(&to, Durability::Process).unwrap();
        for table in Table::ALL {
            let rows = copied.scan(table, b"", &END, 10_000).unwrap();
            assert_eq!(rows, engine.scan(table, b"", &END, 10_000).unwrap(), "{name} {table:?}");
        }
        assert_eq!(number(&copied, b"n"), Some(1500), "{name}");
    }
}

/// A small world of keys, so that sets meet each other.
fn any_set() -> impl Strategy<Value = WriteSet> {
    let op = (0..5u8, 2..5usize, 0..4u8, -2..3i64).prop_map(|(kind, table, key, n)| {
        let (table, key) = (Table::ALL[table], vec![key]);
        match kind {
            0 => Op::Put(table, key, n.to_be_bytes().to_vec()),
            1 => Op::Delete(table, key),
            2 => Op::Add(Table::Meta, key, n),
            3 => Op::Absent(table, key),
            _ => Op::Present(table, key),
        }
    });
    proptest::collection::vec(op, 0..5).prop_map(|ops| WriteSet { ops, ..WriteSet::new() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_engines_give_the_same_answers_and_hold_the_same_rows(
        groups in proptest::collection::vec(proptest::collection::vec(any_set(), 1..5), 1..8)
    ) {
        let (_dir, mut engines) = two_engines();
        for group in &groups {
            let answers: Vec<_> = engines.iter_mut().map(|(_, engine)| engine.commit(group)).collect();
            prop_assert_eq!(&answers[0], &answers[1]);
        }
        for table in Table::ALL {
            let rows: Vec<_> = engines.iter().map(|(_, engine)| engine.scan(table, b"", &END, 1000).unwrap()).collect();
            prop_assert_eq!(&rows[0], &rows[1]);
        }
    }
}

fn filled(dir: &Path) {
    let mut store = SledStore::open(dir, Durability::Power).unwrap();
    for from in (0..4000u64).step_by(500) {
        let set =
            (from..from + 500).fold(WriteSet::new(), |set, n| set.put(Table::Letters, n.to_be_bytes(), vec![7; 200]));
        one(&mut store, set.add(Table::Meta, *b"rows", 500)).unwrap();
    }
}

/// Every file with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let store = SledStore::open(dir.path(), Durability::Power).unwrap();
    assert_eq!(keys(&store, Table::Letters, b"", &END, 10_000).len(), 4000);
    assert!(store.disk_bytes() > 4000 * 200);
}

#[test]
fn a_half_written_snapshot_does_not_stop_the_next_start() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    let leftover = dir.path().join("snap.0000000000C0FFEE.generating");
    fs::write(&leftover, b"half").unwrap();
    let store = SledStore::open(dir.path(), Durability::Power).unwrap();
    assert_eq!(keys(&store, Table::Letters, b"", &END, 10_000).len(), 4000);
    assert!(!leftover.exists());
}

#[test]
fn a_second_opening_in_one_process_hears_that_the_directory_is_in_use() {
    let dir = TempDir::new().unwrap();
    let first = SledStore::open(dir.path(), Durability::Power).unwrap();
    let error = SledStore::open(dir.path(), Durability::Power).unwrap_err();
    assert!(matches!(&error, StoreError::InUse { .. }), "{error}");
    drop(first);
    for _ in 0..10 {
        SledStore::open(dir.path(), Durability::Power).expect("a lock that is being given back is waited for");
    }
}

#[test]
fn a_shortened_data_file_is_an_error_and_the_directory_is_left_as_it_was() {
    let whole = TempDir::new().unwrap();
    filled(whole.path());
    let length = fs::metadata(whole.path().join("db")).unwrap().len();
    for keep in [0, 1, 10, 50, 75] {
        let dir = copy_of(whole.path());
        let data = File::options().write(true).open(dir.path().join("db")).unwrap();
        data.set_len(length * keep / 100).unwrap();
        let before = files(dir.path());
        let error = SledStore::open(dir.path(), Durability::Power).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged(_)), "{keep} %: {error}");
        assert!(before == files(dir.path()), "{keep} %: the files were changed");
    }
}

/// The rows of a filled store, unless the engine says that it cannot read them, or they differ from the counter that was
/// committed with them: what the owner of a table compares at its start.
fn counted_rows(store: &SledStore) -> Option<usize> {
    let rows = store.scan(Table::Letters, b"", &END, 10_000).ok()?.len();
    let counter = store.get(Table::Meta, b"rows").ok()??;
    (counter == (rows as u64).to_be_bytes()).then_some(rows)
}

#[test]
fn rows_are_never_missing_without_a_word_from_the_engine_or_from_the_counter_committed_with_them() {
    let whole = TempDir::new().unwrap();
    filled(whole.path());
    let mut told = 0;
    for n in 0..12 {
        let dir = copy_of(whole.path());
        let data = dir.path().join("db");
        let mut bytes = fs::read(&data).unwrap();
        let at = n * bytes.len() / 12;
        bytes[at..at + 100].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&data, &bytes).unwrap();
        let before = files(dir.path());
        match SledStore::open(dir.path(), Durability::Power) {
            Ok(store) => match counted_rows(&store) {
                Some(rows) => assert_eq!(rows, 4000, "damage at {at}"),
                None => told += 1,
            },
            Err(error) => {
                assert!(matches!(&error, StoreError::Damaged(_)), "{error}");
                assert!(before == files(dir.path()), "damage at {at}: the files were changed");
                told += 1;
            }
        }
    }
    assert!(told > 0, "no place in the file mattered");
}

fn copy_of(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for (path, bytes) in files(dir) {
        fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    copy
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = TempDir::new().unwrap();
    let mut store = SledStore::open(dir.path(), Durability::Power).unwrap();
    one(&mut store, WriteSet::new().put(Table::Meta, FORMAT_KEY, 9u64.to_be_bytes())).unwrap();
    drop(store);
    let error = SledStore::open(dir.path(), Durability::Power).unwrap_err();
    assert!(matches!(error, StoreError::Format { found: 9, known: FORMAT, .. }), "{error}");
}

#[test]
fn a_path_that_is_no_directory_is_unusable_in_words() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = SledStore::open(&path, Durability::Power).unwrap_err();
        assert!(matches!(&error, StoreError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_directory_that_was_in_use_and_lost_its_data_file_does_not_start_empty() {
    let dir = TempDir::new().unwrap();
    filled(dir.path());
    fs::remove_file(dir.path().join("db")).unwrap();
    let error = SledStore::open(dir.path(), Durability::Power).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged(_)), "{error}");
    assert!(!dir.path().join("db").exists());
}
