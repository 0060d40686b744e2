//! The store across the death of its process: this binary runs itself as a child, and kills it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use mainstay::store::{Durability, Engine, SledStore, Store, StoreError, StoreHandle, Table, WriteSet};
use mainstay_actors::clock::Rng;
use tempfile::TempDir;

const DIR: &str = "MAINSTAY_TEST_DIR";
const FIRST_ID: &str = "MAINSTAY_TEST_FIRST_ID";
const KILLS: u64 = 20;

fn child(dir: &Path, first_id: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(FIRST_ID, first_id.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the others kill. It says what it was promised, one line each.
#[test]
fn child_that_writes_until_it_is_killed() {
    let (Ok(dir), Ok(first)) = (env::var(DIR), env::var(FIRST_ID)) else { return };
    let first: u64 = first.parse().unwrap();
    let durability = if first.is_multiple_of(2) { Durability::Process } else { Durability::Power };
    let (store, _thread) = StoreHandle::spawn(SledStore::open(Path::new(&dir), durability).unwrap()).unwrap();
    say("open", 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..32 {
            let store = store.clone();
            senders.spawn(async move {
                for id in (first + sender..).step_by(32) {
                    store.commit(put(id)).await.unwrap();
                    say("has", id);
                    if id.is_multiple_of(3) {
                        say("removing", id);
                        store.commit(remove(id)).await.unwrap();
                        say("removed", id);
                    }
                }
            });
        }
        senders.join_all().await;
    });
}

fn say(what: &str, id: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {id}").unwrap();
    out.flush().unwrap();
}

fn put(id: u64) -> WriteSet {
    let key = id.to_be_bytes();
    WriteSet::new()
        .absent(Table::Letters, key)
        .put(Table::Letters, key, vec![7; 900])
        .put(Table::LetterDue, [key, key].concat(), *b"")
        .add(Table::Meta, *b"rows", 1)
}

fn remove(id: u64) -> WriteSet {
    let key = id.to_be_bytes();
    WriteSet::new()
        .present(Table::Letters, key)
        .delete(Table::Letters, key)
        .delete(Table::LetterDue, [key, key].concat())
        .add(Table::Meta, *b"rows", -1)
}

/// Reads the child's promises, kills it after `lines` of them, and takes what it said until then.
fn promises(mut child: Child, lines: usize) -> Vec<(String, u64)> {
    let mut said = Vec::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while out.read_line(&mut line).unwrap() > 0 {
        if let Some((what, id)) = line.trim_end().split_once(' ')
            && let (true, Ok(id)) = (line.ends_with('\n'), id.parse())
        {
            said.push((what.to_owned(), id));
        }
        line.clear();
        if said.len() == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    said
}

fn rows(store: &SledStore, table: Table) -> BTreeSet<u64> {
    let rows = store.scan(table, b"", &[0xff; 32], 1_000_000).unwrap();
    rows.iter().map(|(key, _)| u64::from_be_bytes(key[..8].try_into().unwrap())).collect()
}

#[test]
fn after_kill_9_everything_acknowledged_is_there_and_the_counter_equals_the_rows() {
    let dir = TempDir::new().unwrap();
    let rng = Rng::seeded(9);
    let (mut kept, mut gone) = (BTreeSet::new(), BTreeSet::new());
    let mut unsure = BTreeSet::new();
    for kill in 0..KILLS {
        let lines = 1 + (rng.unit() * 800.0) as usize;
        let mut said = promises(child(dir.path(), kill * 1_000_000 + kill % 2), lines);
        said.retain(|(what, _)| what != "open" && what != "running" && what != "test");
        for (what, id) in said {
            match what.as_str() {
                "has" => drop(kept.insert(id)),
                "removing" => drop((kept.remove(&id), unsure.insert(id))),
                "removed" => drop((unsure.remove(&id), gone.insert(id))),
                _ => {}
            }
        }
        let store = SledStore::open(dir.path(), Durability::Power).unwrap();
        let there = rows(&store, Table::Letters);
        assert!(kept.is_subset(&there), "kill {kill}: lost {:?}", kept.difference(&there).take(5).collect::<Vec<_>>());
        assert!(gone.is_disjoint(&there), "kill {kill}: came back {:?}", gone.intersection(&there).next());
        assert_eq!(there, rows(&store, Table::LetterDue), "kill {kill}");
        let counted = store.get(Table::Meta, b"rows").unwrap().map_or(0, |v| u64::from_be_bytes(v.try_into().unwrap()));
        assert_eq!(counted, there.len() as u64, "kill {kill}");
    }
    assert!(kept.len() > 500, "only {} rows were ever acknowledged", kept.len());
}

#[test]
fn another_process_hears_that_the_directory_is_in_use_until_the_first_one_is_dead() {
    let dir = TempDir::new().unwrap();
    let mut first = child(dir.path(), 0);
    let mut out = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    // The test harness writes its own words before the first line.
    while !line.ends_with("open 0\n") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child did not open");
    }
    // Read on, or the child stops at a full pipe; it must be writing while we knock.
    let reader = std::thread::spawn(move || out.lines().count());
    let error = SledStore::open(dir.path(), Durability::Power).unwrap_err();
    assert!(matches!(&error, StoreError::InUse { .. }), "{error}");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(reader.join().unwrap() > 0);
    SledStore::open(dir.path(), Durability::Power).unwrap();
}
