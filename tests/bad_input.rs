//! What is wrong is refused in words, before it costs anything: configurations, calls, data directories.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod support;

/// A configuration with faults: all of them at once, by field, with what is allowed.
mod configuration {
    use std::{net::SocketAddr, time::Duration};

    use mainstay::{Clay, Credits, Placement, Retell, Runtime, StartError, VendorConfig, actors::faults::Fault};

    use crate::support::{Wire, clay, ok};

    async fn faults_of(builder: mainstay::Builder) -> (Vec<Fault>, String) {
        let error = builder.start().await.unwrap_err();
        let text = error.to_string();
        let StartError::Config(faults) = error else { panic!("{error:?}") };
        (faults, text)
    }

    fn problem<'a>(faults: &'a [Fault], field: &str) -> &'a str {
        let found = faults.iter().find(|fault| fault.field == field);
        &found.unwrap_or_else(|| panic!("{field} is not among {faults:#?}")).problem
    }

    #[tokio::test]
    async fn every_fault_is_named_at_once_by_its_field_with_what_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let wrong = VendorConfig::clay("clay", Clay::table("clay.test/hook_canary"))
            .daily_limit(Credits::whole(5))
            .with(|clay| {
                clay.lanes[0].concurrency = 0;
                clay.lanes[1].wait_max = Duration::ZERO;
                clay.gate.cap = 0;
                clay.budget.time_zone = "Mars/Olympus".into();
                clay.breaker.rate.as_mut().unwrap().failure_ratio = 1.5;
                clay.breaker.probes = 0;
            });
        let twin = VendorConfig::clay("clay", Clay::table("https://clay.test/hook"));
        let unnamed = VendorConfig::retell("no spaces", Retell::workspace("key_canary"));
        let laneless =
            VendorConfig::retell("retell", Retell::workspace("key_canary")).with(|retell| retell.lanes.clear());
        let (faults, text) = faults_of(
            Runtime::builder()
                .vendor(wrong)
                .vendor(twin)
                .vendor(unnamed)
                .vendor(laneless)
                .data_dir(&data)
                .placement(Placement::Threads { threads: 0 })
                .debug_http(SocketAddr::from(([0, 0, 0, 0], 7070)))
                .with(|runtime| {
                    runtime.live_max = 0;
                    runtime.redrive.at_a_time = 0;
                    runtime.watchdog.hang_after = Duration::ZERO;
                    runtime.child.intensity.max_restarts = 1_001;
                }),
        )
        .await;
        for (field, allowed) in [
            ("placement.threads", "1..=64"),
            ("live_max", "1..=1000000"),
            ("redrive.at_a_time", "1..=1000"),
            ("debug_http", "loopback"),
            ("child.intensity.max_restarts", "0..=1000"),
            ("watchdog.hang_after", "200 ms..=5 min"),
            ("vendors.clay.profile.base_url", "http:// or https://"),
            ("vendors.clay.lanes.critical.concurrency", "1..=1024"),
            ("vendors.clay.lanes.normal.wait_max", "1ms..=1h"),
            ("vendors.clay.gate.cap", "1..=10000"),
            ("vendors.clay.breaker.rate.failure_ratio", "up to 1.0"),
            ("vendors.clay.breaker.probes", "1..=100"),
            ("vendors.clay.budget.time_zone", "Europe/Berlin"),
            ("vendors.clay.budget.daily_limit", "less than one call of push-row may cost (6"),
            ("vendors.clay", "given twice"),
            ("vendors.#3.name", "1 to 64 of a-z"),
            ("vendors.retell.lanes.lanes", "1..=16"),
        ] {
            let problem = problem(&faults, field);
            assert!(problem.contains(allowed), "{field}: {problem:?} does not say {allowed:?}");
            assert!(text.contains(&format!("\n  {field}: ")), "{field} has no line of its own in {text}");
        }
        assert_eq!(faults.len(), 17, "{text}");
        assert!(!text.contains("canary") && !format!("{faults:?}").contains("canary"), "{text}");
        assert!(!data.exists(), "nothing is touched");
    }

    #[tokio::test]
    async fn no_vendor_at_all_is_a_fault() {
        let (faults, _) = faults_of(Runtime::builder()).await;
        assert_eq!(problem(&faults, "vendors"), "0 vendors is not within 1..=64");
    }

    #[tokio::test]
    async fn an_address_that_is_no_url_is_found_at_the_start_and_not_shown() {
        for address in ["https://", "http://exa mple.test/hook_canary", "https://clay.test:99999/hook_canary"] {
            let clay = VendorConfig::clay("clay", Clay::table(address));
            let (faults, text) = faults_of(Runtime::builder().vendor(clay)).await;
            assert!(problem(&faults, "vendors.clay.profile.base_url").contains("not shown"), "{text}");
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_secret_that_cannot_travel_in_a_header_is_found_at_the_start_and_not_shown() {
        for key in ["", "key_canary\n", "key_canary\u{fc}"] {
            let retell = VendorConfig::retell("retell", Retell::workspace(key));
            let (faults, text) = faults_of(Runtime::builder().vendor(retell)).await;
            assert!(problem(&faults, "vendors.retell.profile.auth").contains("not shown"), "{text}");
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn the_callers_own_thread_without_a_local_set_is_an_error_in_words() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let wire = Wire::usually(ok(200));
        let started = runtime.block_on(Runtime::builder().vendor(clay(&wire)).placement(Placement::Local).start());
        let error = started.unwrap_err();
        assert!(matches!(error, StartError::System(_)), "{error:?}");
        assert!(error.to_string().contains("LocalSet"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_and_the_data_directory_is_free_again() {
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let at = taken.local_addr().unwrap();
        let (dir, wire) = (tempfile::tempdir().unwrap(), Wire::usually(ok(200)));
        let builder = || Runtime::builder().vendor(clay(&wire)).data_dir(dir.path());
        let error = builder().debug_http(at).start().await.unwrap_err();
        assert!(matches!(error, StartError::System(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&at.to_string()) && text.contains("in use"), "{text}");
        let runtime = builder().start().await.unwrap();
        runtime.shutdown(Duration::from_secs(5)).await;
    }
}

/// A call with a fault: refused by the gateway. The vendor sees nothing, the budget sees nothing, the counts see a refusal.
mod calls {
    use std::time::Duration;

    use mainstay::{Call, CallError, Completion, Credits, DEADLINE_MAX, Guard, Handle, KEY_MAX_BYTES, Reason, Refusal};
    use serde_json::{Value, json};

    use crate::support::{Wire, clay, lead, ok, paused, phone, retell, start};

    struct House {
        mainstay: Handle,
        clay: Wire,
        retell: Wire,
    }

    async fn house() -> House {
        let (to_clay, to_retell) = (Wire::usually(ok(200)), Wire::usually(ok(201)));
        let mainstay = start([clay(&to_clay), retell(&to_retell)]).await;
        House { mainstay, clay: to_clay, retell: to_retell }
    }

    impl House {
        /// Offers a call in both ways, and proves that its refusals cost nothing.
        async fn refusal(&self, call: impl Fn() -> Call) -> Refusal {
            let before = self.mainstay.snapshot();
            let error = self.mainstay.call(call()).await.unwrap_err();
            let CallError::Refused(refusal) = error else { panic!("{error:?}") };
            assert_eq!(self.mainstay.submit(call()).await.unwrap_err(), refusal);
            assert_eq!(refusal.by, Guard::Gateway);
            assert!(refusal.is_callers_fault() && refusal.retry_at.is_none(), "{refusal:?}");
            let after = self.mainstay.snapshot();
            assert_eq!((self.clay.count(), self.retell.count()), (0, 0), "the wires are untouched");
            for vendor in after.vendors.values() {
                let budget = &vendor.budget;
                assert_eq!((budget.reserved, budget.settled, budget.reservations), (Credits::ZERO, Credits::ZERO, 0));
                assert_eq!(budget.refused_total, 0, "it never came to the budget");
            }
            assert_eq!(after.calls.refused, before.calls.refused + 2);
            assert_eq!((after.calls.accepted, after.parked.dead), (0, 0));
            assert!(after.calls.add_up());
            refusal
        }

        async fn bad_field(&self, field: &str, says: &str, call: impl Fn() -> Call) {
            let refusal = self.refusal(call).await;
            let Reason::BadField { field: named, problem } = &refusal.reason else { panic!("{refusal:?}") };
            assert_eq!(named, field);
            assert!(problem.contains(says), "{problem:?} does not say {says:?}");
        }
    }

    fn dial() -> Call {
        Call::new("retell", "create-phone-call", phone()).key("reminder-1")
    }

    fn push(payload: Value) -> Call {
        Call::new("clay", "push-row", payload)
    }

    /// A payload with this many objects in one another. Made without recursion.
    fn nested(depth: usize) -> Value {
        (1..depth).fold(json!({}), |inner, _| {
            let mut outer = serde_json::Map::new();
            outer.insert("in".into(), inner);
            Value::Object(outer)
        })
    }

    #[test]
    fn an_unknown_vendor_operation_or_lane_is_refused_by_name_with_the_known_ones() {
        paused(async {
            let house = house().await;
            for (call, what, name, known) in [
                (Call::new("hubspot", "x", lead(1)), "vendor", "hubspot", "clay, retell"),
                (Call::new("", "x", lead(1)), "vendor", "", "clay, retell"),
                (Call::new("clay", "pull-row", lead(1)), "operation", "pull-row", "push-row"),
                (push(lead(1)).lane("urgent"), "lane", "urgent", "bulk, critical, normal"),
                (push(lead(1)).lane("no such\nlane"), "lane", "no such\nlane", "bulk, critical, normal"),
            ] {
                let refusal = house.refusal(|| call.clone()).await;
                let expected = Reason::UnknownName { what, name: name.into(), known: known.into() };
                assert_eq!(refusal.reason, expected);
            }
            let text = house.refusal(|| Call::new("x".repeat(100_000), "x", lead(1))).await.to_string();
            assert!(text.len() < 300, "a name of any length makes a short text");
        });
    }

    #[test]
    fn a_payload_over_its_limit_is_refused_and_one_at_its_limit_is_sent() {
        paused(async {
            let house = house().await;
            // {"text":"..."} is 11 bytes around the text; Clay takes 100,000.
            let of = |bytes: usize| json!({ "text": "x".repeat(bytes - 11) });
            let refusal = house.refusal(|| push(of(100_001))).await;
            assert_eq!(refusal.reason, Reason::PayloadTooLarge { bytes: 100_001, limit: 100_000 });
            house.mainstay.call(push(of(100_000))).await.unwrap();
            assert_eq!(house.clay.count(), 1);
        });
    }

    #[test]
    fn a_payload_nested_deeper_than_its_limit_is_refused_however_deep_it_is() {
        paused(async {
            let house = house().await;
            for depth in [65, 1_000, 10_000, 100_000] {
                house.bad_field("payload", "64", || push(nested(depth))).await;
                house.bad_field("payload", "64", || Call::new("hubspot", "x", nested(depth))).await;
            }
            let list = || json!({ "list": (0..100).fold(json!([]), |inner, _| json!([inner])) });
            house.bad_field("payload", "64", || push(list())).await;
            house.mainstay.call(push(nested(64))).await.unwrap();
            assert_eq!(house.clay.count(), 1);
        });
    }

    #[test]
    fn a_payload_that_is_no_object_or_lacks_a_needed_field_is_refused_by_field() {
        paused(async {
            let house = house().await;
            for payload in [json!(null), json!("text"), json!([1, 2]), json!(7)] {
                house.bad_field("payload", "object", || push(payload.clone())).await;
            }
            let half = |payload: Value| move || Call::new("retell", "create-phone-call", payload.clone()).key("k");
            house.bad_field("/to_number", "needed", half(json!({ "from_number": "+14155550100" }))).await;
            house.bad_field("/from_number", "needed", half(json!({ "from_number": null, "to_number": "+1" }))).await;
        });
    }

    #[test]
    fn an_operation_that_may_never_be_repeated_wants_a_key_of_a_sane_length() {
        paused(async {
            let house = house().await;
            let refusal = house.refusal(|| Call::new("retell", "create-phone-call", phone())).await;
            assert_eq!(refusal.reason, Reason::KeyRequired { operation: "create-phone-call".into() });
            house.bad_field("key", "1..=255", || dial().key("")).await;
            house.bad_field("key", "256 bytes is not within 1..=255", || dial().key("k".repeat(256))).await;
            house.bad_field("tenant", "1..=255", || dial().tenant("")).await;
            house.bad_field("tenant", "1..=255", || dial().tenant("t".repeat(256))).await;
            let longest = "k".repeat(KEY_MAX_BYTES);
            house.mainstay.call(dial().key(longest.clone()).tenant(longest)).await.unwrap();
            assert_eq!(house.retell.count(), 1);
        });
    }

    #[test]
    fn a_deadline_of_nothing_or_of_more_than_a_day_is_refused() {
        paused(async {
            let house = house().await;
            house.bad_field("deadline", "24h", || push(lead(1)).deadline(Duration::ZERO)).await;
            house.bad_field("deadline", "24h", || push(lead(1)).deadline(DEADLINE_MAX + Duration::from_nanos(1))).await;
            house.bad_field("deadline", "24h", || push(lead(1)).deadline(Duration::MAX)).await;
            house.mainstay.call(push(lead(1)).deadline(DEADLINE_MAX)).await.unwrap();
        });
    }

    #[test]
    fn a_call_that_may_not_begin_any_more_never_begins() {
        paused(async {
            let house = house().await;
            let call = push(lead(1)).expires_at("2026-11-24T12:00:00Z".parse().unwrap());
            let error = house.mainstay.call(call).await.unwrap_err();
            let CallError::Refused(refusal) = error else { panic!("{error:?}") };
            assert_eq!((refusal.reason, house.clay.count()), (Reason::Expired, 0));
        });
    }

    #[test]
    fn the_end_of_a_call_that_was_never_accepted_is_refused_in_words() {
        paused(async {
            let house = house().await;
            let never = "00000000-0000-4000-8000-000000000000".parse().unwrap();
            let error = house.mainstay.complete(never, Completion::happened(None)).await.unwrap_err();
            assert!(error.to_string().contains("no open effect"), "{error}");
            let error = house.mainstay.revive("hubspot").unwrap_err();
            assert_eq!(error.to_string(), "unknown vendor \"hubspot\"; known: clay, retell");
        });
    }
}

/// A data directory that cannot be used: a clear error, and not a byte of it changed.
mod directory {
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
}
