//! `mainstay store`, as an operator runs it: real processes, on the directory of a runtime that has stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use mainstay::{
    Answer, Call, Placement, Runtime,
    actors::store::{Engine as _, Table, WriteSet},
    store::{Durability, SledStore},
};
use support::{Reply, Wire, clay, lead, until};
use tempfile::TempDir;

async fn start(dir: &Path) -> Runtime {
    let wire = Wire::usually(Reply::Busy(503, 3_600));
    let builder = Runtime::builder().vendor(clay(&wire)).data_dir(dir);
    builder.placement(Placement::Threads { threads: 1 }).start().await.unwrap()
}

async fn stop(runtime: Runtime) {
    runtime.shutdown(Duration::from_secs(10)).await;
}

/// A directory `data` with so many calls in it that wait for the vendor.
async fn used(calls: usize) -> (TempDir, PathBuf) {
    let house = TempDir::new().unwrap();
    let dir = house.path().join("data");
    let runtime = start(&dir).await;
    for n in 0..calls {
        let answer = runtime.handle().call(Call::new("clay", "push-row", lead(n))).await.unwrap();
        assert!(matches!(answer, Answer::Queued { .. }), "{answer:?}");
    }
    stop(runtime).await;
    (house, dir)
}

async fn has_parked(dir: &Path, number: u64) {
    let runtime = start(dir).await;
    let handle = runtime.handle();
    let seen = until(&handle, |seen| seen.parked.later == number);
    tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap();
    stop(runtime).await;
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// In a house of its own for temporary files, which must be empty afterwards.
fn store(arguments: &[&Path]) -> Output {
    let temporary = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.arg("store").args(arguments).env("RUST_LOG", "off").env("TMPDIR", temporary.path());
    let output = command.output().unwrap();
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "copies are left behind");
    output
}

fn check(dir: &Path) -> Output {
    store(&["check".as_ref(), dir])
}

fn salvage(dir: &Path, out: &Path) -> Output {
    store(&["salvage".as_ref(), dir, "--out".as_ref(), out])
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_counts_what_is_there_says_what_is_wrong_and_changes_nothing() {
    let (house, dir) = used(5).await;
    let before = files(&dir);
    let output = check(&dir);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for part in ["format 1", "letters                5 rows", "is sound"] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    assert!(before == files(&dir));

    let mut open = SledStore::open(&dir, Durability::Power).unwrap();
    assert_eq!(check(&dir).status.code(), Some(2), "it is in use");
    assert_eq!(open.commit(&[WriteSet::new().add(Table::Meta, *b"letters.count", 2)]), [Ok(())]);
    drop(open);
    let output = check(&dir);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("7 parked calls were written, 5 are there"), "{}", said(&output));

    let data = fs::read(dir.join("db")).unwrap();
    fs::write(dir.join("db"), &data[..data.len() / 100]).unwrap();
    let before = files(&dir);
    let output = check(&dir);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("data directory {}", dir.display())), "{}", said(&output));
    assert!(before == files(&dir));

    let nowhere = house.path().join("nowhere");
    for output in [check(&nowhere), store(&["compact".as_ref(), &nowhere]), check(house.path())] {
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    }
    assert!(!nowhere.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_salvaged_is_read_in_by_another_runtime() {
    let (house, dir) = used(20).await;
    let out = house.path().join("letters.jsonl");
    let output = salvage(&dir, &out);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("20 of 20 parked calls"), "{}", said(&output));
    assert_eq!(salvage(&dir, &out).status.code(), Some(2), "it writes over nothing");

    let other = house.path().join("other");
    let runtime = start(&other).await;
    let lines = BufReader::new(fs::File::open(&out).unwrap());
    let report = runtime.handle().dead_letters().import(lines, |line, reason| panic!("{line}: {reason}")).await;
    assert_eq!((report.imported, report.rejected), (20, 0));
    stop(runtime).await;
    has_parked(&other, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_around_a_broken_place_are_salvaged_and_the_rest_is_not_passed_over_in_silence() {
    let (house, dir) = used(150).await;
    has_parked(&dir, 150).await; // opened once more: the engine notes where everything is
    let (db, out) = (dir.join("db"), house.path().join("letters.jsonl"));
    let whole = fs::read(&db).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut partly = 0;
    for n in 0..16 {
        let mut bytes = whole.clone();
        let at = n * end / 16 + 40;
        bytes[at..at + 60].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&db, bytes).unwrap();
        let output = salvage(&dir, &out);
        let letters = fs::read_to_string(&out).map_or(0, |text| text.lines().count());
        match output.status.code() {
            Some(0) => assert_eq!(letters, 150, "damage at {at}: {}", said(&output)),
            Some(1) => partly += usize::from(letters > 100),
            _ => panic!("damage at {at}: {}", said(&output)),
        }
        assert!(said(&output).contains("parked calls are in") || said(&output).contains("store damaged"));
        let _ = fs::remove_file(&out);
    }
    assert!(partly > 0, "no damage left a part");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_a_compacted_directory_are_started_from() {
    let (house, dir) = used(5).await;
    let copy = house.path().join("copy");
    let output = store(&["backup".as_ref(), &dir, "--to".as_ref(), &copy]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("5 rows"), "{}", said(&output));
    let again = store(&["backup".as_ref(), &dir, "--to".as_ref(), &copy]);
    assert!(again.status.code() == Some(2) && said(&again).contains("not empty"), "{}", said(&again));
    has_parked(&copy, 5).await;

    let output = store(&["compact".as_ref(), &dir]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("bytes became"), "{}", said(&output));
    has_parked(&dir, 5).await;
    assert_eq!(fs::read_dir(house.path()).unwrap().count(), 2);
}
