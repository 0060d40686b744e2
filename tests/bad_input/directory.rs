//! A data directory that cannot be used: a clear error, and not a byte of it changed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use mainstay::{
    Answer, Call, Fact, Placement, Runtime, StartError,
    actors::store::{Engine as _, StoreError, Table, WriteSet},
    store::OnDamage,
};

use crate::support::{Reply, Wire, clay, lead, ok, until};

async fn start(dir: &Path, wire: &Wire) -> Result<Runtime, StartError> {
    let builder = Runtime::builder().vendor(clay(wire)).data_dir(dir);
    builder.placement(Placement::Threads { threads: 1 }).start().await
}

async fn stop(runtime: Runtime) {
    runtime.shutdown(Duration::from_secs(10)).await;
}

async fn still_has_its_call(runtime: &Runtime) {
    let handle = runtime.handle();
    let seen = tokio::time::timeout(Duration::from_secs(10), until(&handle, |seen| seen.parked.later == 1));
    seen.await.unwrap();
}

/// Every name below a directory, with its bytes.
fn listing(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path.clone());
            }
            found.insert(path.clone(), fs::read(&path).ok());
        }
    }
    found
}

/// A directory `data` with one call in it that waits for the vendor.
async fn used() -> tempfile::TempDir {
    let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(Reply::Busy(503, 3_600)));
    let runtime = start(&dir.path().join("data"), &wire).await.unwrap();
    let answer = runtime.handle().call(Call::new("clay", "push-row", lead(1))).await.unwrap();
    assert!(matches!(answer, Answer::Queued { .. }), "{answer:?}");
    stop(runtime).await;
    dir
}

/// Starts on a directory that must not do, and proves that it is as it was. Returns what was said.
async fn refused(dir: &Path) -> StoreError {
    let before = listing(dir.parent().unwrap());
    let error = start(dir, &Wire::usually(ok(200))).await.unwrap_err();
    assert!(error.to_string().contains(&dir.display().to_string()), "it names the directory: {error}");
    let after = listing(dir.parent().unwrap());
    let changed: Vec<_> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "changed by a failed start: {changed:?}");
    let StartError::Store(error) = error else { panic!("{error:?}") };
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_in_use_is_refused_and_its_owner_is_not_disturbed() {
    let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(ok(200)));
    let owner = start(dir.path(), &wire).await.unwrap();
    let error = start(dir.path(), &Wire::usually(ok(200))).await.unwrap_err();
    assert!(matches!(error, StartError::Store(StoreError::InUse { .. })), "{error:?}");
    let expected = format!(
        "data directory {} is in use by another runtime: stop that one, or give this one a directory of its own",
        dir.path().display()
    );
    assert_eq!(error.to_string(), expected);
    wire.now_usually(Reply::Busy(503, 3_600));
    let answer = owner.handle().call(Call::new("clay", "push-row", lead(1))).await.unwrap();
    assert!(matches!(answer, Answer::Queued { .. }), "its owner still writes: {answer:?}");
    stop(owner).await;
    let next = start(dir.path(), &wire).await.unwrap();
    still_has_its_call(&next).await;
    stop(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_its_place_or_something_unreadable_in_it_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not yours").unwrap();
    assert!(matches!(refused(&file).await, StoreError::Unusable { .. }));
    let below = file.join("data");
    let error = start(&below, &Wire::usually(ok(200))).await.unwrap_err();
    assert!(error.to_string().contains(&below.display().to_string()), "{error}");
    for name in ["db", "mainstay.state"] {
        let odd = dir.path().join(format!("odd-{name}"));
        fs::create_dir_all(odd.join(name)).unwrap();
        let error = refused(&odd).await;
        assert!(matches!(error, StoreError::Unusable { .. }), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_too_new_one_is_left_as_it_is_and_opens_again_when_it_is_repaired() {
    let house = used().await;
    let dir = house.path().join("data");
    let (db, state) = (dir.join("db"), dir.join("mainstay.state"));
    let (whole, mark) = (fs::read(&db).unwrap(), fs::read(&state).unwrap());

    for (what, bytes) in [
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("noise", whole.iter().map(|byte| byte ^ 0x5a).collect()),
    ] {
        fs::write(&db, bytes).unwrap();
        let error = refused(&dir).await;
        assert!(matches!(error, StoreError::Damaged(_)), "{what}: {error:?}");
        assert!(error.to_string().contains("Nothing was deleted"), "{what}: {error}");
    }
    fs::remove_file(&db).unwrap();
    assert!(matches!(refused(&dir).await, StoreError::Damaged(_)));
    fs::write(&db, &whole).unwrap();
    fs::write(&state, "9 00000000000000000001\n").unwrap();
    assert!(matches!(refused(&dir).await, StoreError::Format { found: 9, known: 1, .. }));

    fs::write(&state, mark).unwrap();
    let runtime = start(&dir, &Wire::usually(ok(200))).await.unwrap();
    still_has_its_call(&runtime).await;
    stop(runtime).await;
}

/// Starts with backups every minute of the year, and with orders for a damaged directory.
async fn start_restoring(dir: &Path, backups: &Path, told: &Told) -> Result<Runtime, StartError> {
    let (backups, told) = (backups.to_owned(), told.clone());
    let builder = Runtime::builder().vendor(clay(&Wire::usually(Reply::Busy(503, 3_600)))).data_dir(dir);
    let builder = builder.placement(Placement::Threads { threads: 1 }).alerts(move |alert| {
        told.lock().unwrap().push(alert.text.clone());
    });
    builder
        .with(|config| {
            config.store.on_damage = OnDamage::Restore;
            config.store.backup.dir = Some(backups);
        })
        .start()
        .await
}

type Told = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

#[tokio::test(flavor = "multi_thread")]
async fn by_configuration_a_damaged_one_is_moved_aside_and_the_newest_backup_used_and_both_are_told() {
    let house = used().await;
    let (dir, backups, told) = (house.path().join("data"), house.path().join("backups"), Told::default());
    let runtime = start_restoring(&dir, &backups, &told).await.unwrap();
    let backed_up = |seen: &mainstay::Snapshot| seen.store.last_backup.is_some();
    tokio::time::timeout(Duration::from_secs(10), until(&runtime.handle(), backed_up)).await.unwrap();
    stop(runtime).await;
    let mut letter = mainstay::store::SledStore::open(&dir, mainstay::store::Durability::Power).unwrap();
    // A row that went missing: it opens, and only the counter says it.
    let missing = WriteSet::new().add(Table::Meta, mainstay::actors::dlq::LETTERS_COUNT, 3);
    assert_eq!(letter.commit(&[missing]), [Ok(())]);
    drop(letter);

    let error = start(&dir, &Wire::usually(ok(200))).await.unwrap_err().to_string();
    assert!(error.contains(&dir.display().to_string()), "{error}");
    assert!(error.contains("4 parked calls were written, 1 are there") && error.contains("Keep this"), "{error}");
    let runtime = start_restoring(&dir, &backups, &told).await.unwrap();
    still_has_its_call(&runtime).await;
    let events = runtime.handle().snapshot().events;
    let (damaged, backup) = events
        .iter()
        .find_map(|event| match &event.fact {
            Fact::StoreRestored { damaged, backup, .. } => Some((damaged.to_string(), backup.to_string())),
            _ => None,
        })
        .unwrap();
    assert!(Path::new(&damaged).join("db").exists() && damaged.contains("data.damaged-2"), "{damaged}");
    assert!(Path::new(&backup).starts_with(&backups), "{backup}");
    stop(runtime).await;
    while !told.lock().unwrap().iter().any(|text| text.contains(&damaged) && text.contains(&backup)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_damaged_while_there_is_no_backup_is_refused_even_where_backups_are_wanted() {
    let house = used().await;
    let dir = house.path().join("data");
    fs::remove_file(dir.join("db")).unwrap();
    let before = listing(house.path());
    let error = start_restoring(&dir, &house.path().join("backups"), &Told::default()).await.unwrap_err();
    assert!(error.to_string().contains("no good backup in"), "{error}");
    assert_eq!(before, listing(house.path()));
}
