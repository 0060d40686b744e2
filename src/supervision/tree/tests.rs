use std::time::Duration;

use mainstay_actors::kernel::{Lost, Worker};
use tokio::task::spawn_local;

use super::*;
use crate::supervision::{
    Intensity, Restart, Strategy,
    testing::{Pull, Stage, crash, locally, pull, settle},
};

fn here() -> Stage {
    Stage::new(Worker::here("here"), RootSpec::default())
}

#[tokio::test(start_paused = true)]
async fn a_child_past_its_limit_is_parked_and_its_vendor_is_down_in_words() {
    locally(async {
        let s = here();
        let retell = s.vendor("retell");
        let breaker = s.adopt(retell, "retell/breaker", ChildSpec::default());
        let budget = s.adopt(retell, "retell/budget", ChildSpec::default());
        s.tree.launch_all();
        crash(&breaker, 10).await;
        assert_eq!(s.tree.down_cause(retell), None, "ten are allowed");
        crash(&breaker, 1).await;

        let cause = s.tree.down_cause(retell).unwrap();
        assert!(cause.starts_with("retell/breaker passed 10 restarts in 60 s: scripted at "), "{cause}");
        assert_eq!(s.state("retell/breaker"), ChildState::Parked);
        assert_eq!(pull(&budget, Pull::Add).await, Ok(Ok(1)), "its siblings go on");
        assert_eq!(s.heard.count(|fact| matches!(fact, Fact::ActorExited { .. })), 11);
        assert_eq!(s.heard.count(|fact| matches!(fact, Fact::ActorRestarted { .. })), 10);
        let last = s.heard.all().split_off(s.heard.all().len() - 2);
        assert!(matches!(&last[..], [Fact::ActorParked { .. }, Fact::VendorDown { .. }]), "{last:?}");
        let totals = s.tree.totals();
        assert_eq!((totals.panics, totals.restarts, totals.parked), (11, 10, 1));
        assert!(s.fatal.lock().is_empty());
        println!("child limit: {cause}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_the_others_do_without_is_parked_alone_and_revived_with_them() {
    locally(async {
        let s = here();
        let clay = s.vendor("clay");
        let cache = s.adopt_optional(clay, "clay/fallback", ChildSpec::default());
        let gate = s.adopt(clay, "clay/gate", ChildSpec::default());
        s.tree.launch_all();
        crash(&cache, 11).await;
        crash(&gate, 10).await;
        assert_eq!((s.tree.down_cause(clay), s.state("clay/fallback")), (None, ChildState::Parked));
        assert!(s.tree.revive(clay));
        assert_ne!(s.state("clay/fallback"), ChildState::Parked);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn crashes_that_are_far_enough_apart_park_nobody() {
    locally(async {
        let s = here();
        let clay = s.vendor("clay");
        let gate = s.adopt(clay, "clay/gate", ChildSpec::default());
        s.tree.launch_all();
        for _ in 0..100 {
            crash(&gate, 1).await;
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
        assert_eq!(s.tree.down_cause(clay), None);
        assert_eq!(s.child("clay/gate").restarts, 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revived_vendor_serves_what_was_queued_and_has_its_whole_limit_again() {
    locally(async {
        let s = here();
        let retell = s.vendor("retell");
        let breaker = s.adopt(retell, "retell/breaker", ChildSpec::default());
        s.tree.launch_all();
        crash(&breaker, 11).await;
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let breaker = breaker.clone();
                spawn_local(async move { pull(&breaker, Pull::Add).await })
            })
            .collect();
        settle().await;
        assert!(waiting.iter().all(|task| !task.is_finished()));

        assert!(s.tree.revive(retell));
        for task in waiting {
            assert!(matches!(task.await.unwrap(), Ok(Ok(_))));
        }
        assert_eq!(s.tree.down_cause(retell), None);
        assert_eq!(s.heard.count(|fact| matches!(fact, Fact::VendorUp { .. })), 1);
        crash(&breaker, 10).await;
        assert_eq!(s.tree.down_cause(retell), None, "the window was forgotten");
        println!("revive: 100 of 100 queued while parked were answered");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_past_its_limit_parks_all_its_children_and_no_others() {
    locally(async {
        let s = here();
        let (clay, retell) = (s.vendor("clay"), s.vendor("retell"));
        let patient =
            ChildSpec { intensity: Intensity { max_restarts: 100, ..Intensity::CHILD }, ..ChildSpec::default() };
        let lanes: Vec<_> = (0..3).map(|n| s.adopt(clay, &format!("clay/lane/{n}"), patient)).collect();
        let other = s.adopt(retell, "retell/breaker", ChildSpec::default());
        s.tree.launch_all();
        for _ in 0..17 {
            for lane in &lanes {
                if s.tree.down_cause(clay).is_none() {
                    crash(lane, 1).await;
                }
            }
        }
        let cause = s.tree.down_cause(clay).unwrap();
        assert!(cause.starts_with("clay passed 50 restarts in 60 s, the last of clay/lane/2: scripted"), "{cause}");
        for n in 0..3 {
            assert_eq!(s.state(&format!("clay/lane/{n}")), ChildState::Parked);
        }
        assert_eq!(s.heard.count(|fact| matches!(fact, Fact::VendorDown { .. })), 1);
        assert_eq!((pull(&other, Pull::Add).await, s.tree.down_cause(retell)), (Ok(Ok(1)), None));
        assert!(s.tree.revive(clay));
        assert_eq!(pull(&lanes[0], Pull::Add).await, Ok(Ok(1)));
        println!("supervisor limit: {cause}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn too_many_vendors_down_are_fatal_once() {
    locally(async {
        let s = here();
        let strict = ChildSpec { intensity: Intensity { max_restarts: 0, ..Intensity::CHILD }, ..ChildSpec::default() };
        let children: Vec<_> =
            (0..6).map(|n| s.adopt(s.vendor(&format!("v{n}")), &format!("v{n}/breaker"), strict)).collect();
        s.tree.launch_all();
        for child in &children[..3] {
            crash(child, 1).await;
        }
        assert!(s.fatal.lock().is_empty(), "three are allowed");
        for child in &children[3..] {
            crash(child, 1).await;
        }
        let fatal = s.fatal.lock().clone();
        assert_eq!(fatal.len(), 1);
        assert!(
            fatal[0].starts_with("the root passed 3 vendors down in 10 min: v3/breaker passed 0 restarts"),
            "{fatal:?}"
        );
        assert_eq!(s.tree.status().fatal.as_deref(), Some(&*fatal[0]));
        println!("root limit: {}", fatal[0]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_of_the_runtime_that_goes_down_is_fatal_at_once() {
    locally(async {
        let s = here();
        let own = s.tree.supervisor(SupervisorSpec::of_runtime(ActorId::new("runtime")));
        let dlq = s.adopt(own, "runtime/dlq", ChildSpec::default());
        s.tree.launch_all();
        crash(&dlq, 11).await;
        assert_eq!(s.fatal.lock().len(), 1);
        assert_eq!(s.heard.count(|fact| matches!(fact, Fact::VendorDown { .. })), 0);
        let late = super::super::testing::Log::default();
        let said = late.clone();
        s.tree.on_fatal(Box::new(move |cause| said.lock().push(cause.to_string())));
        assert!(late.lock().is_empty(), "once means once");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_callback_set_after_the_fact_hears_of_it() {
    let tree =
        Tree::new(Arc::new(mainstay_actors::fact::NoFacts), Clock::default(), Rng::seeded(1), RootSpec::default());
    tree.fatal("early".into());
    let heard = super::super::testing::Log::default();
    let said = heard.clone();
    tree.on_fatal(Box::new(move |cause| said.lock().push(cause.to_string())));
    assert_eq!(*heard.lock(), ["early"]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_starts_the_younger_siblings_again_and_counts_only_the_guilty() {
    locally(async {
        let s = here();
        let spec = SupervisorSpec {
            strategy: Strategy::RestForOne,
            ..SupervisorSpec::of_vendor(VendorId::new("clay").unwrap())
        };
        let clay = s.tree.supervisor(spec);
        let vaults: Vec<_> = ["a", "b", "c"].map(|id| s.adopt(clay, id, ChildSpec::default())).into();
        s.tree.launch_all();
        settle().await;
        for _ in 0..10 {
            crash(&vaults[1], 1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let restarts: Vec<_> = ["a", "b", "c"].map(|id| s.child(id).restarts).into();
        assert_eq!(restarts, [0, 10, 10]);
        assert_eq!(s.tree.totals().panics, 10);
        assert_eq!(s.tree.down_cause(clay), None, "the ones taken along did not exit");
        let log = s.log.lock().clone();
        assert_eq!(log[..6], ["+a", "+b", "+c", "-b", "+b", "-c"], "the elder is up before the younger follows");
        for (n, vault) in vaults.iter().enumerate() {
            assert_eq!(pull(vault, Pull::Add).await, Ok(Ok(1)), "{n}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_stop_in_reverse() {
    struct Spy(ActorId, super::super::testing::Log);
    impl Child for Spy {
        fn id(&self) -> &ActorId {
            &self.0
        }
        fn status(&self) -> mainstay_actors::kernel::ChildStatus {
            unreachable!("not asked")
        }
        fn launch(&self) {
            self.1.lock().push(format!("+{}", self.0));
        }
        fn evacuate(&self, _: Worker) {}
        fn worker(&self) -> Worker {
            unreachable!("not asked")
        }
        fn park(&self, _: Arc<str>) {}
        fn stop(&self) {
            self.1.lock().push(format!("-{}", self.0));
        }
    }
    locally(async {
        let s = here();
        let (clay, retell) = (s.vendor("clay"), s.vendor("retell"));
        for (key, id) in [(clay, "1"), (retell, "2"), (clay, "3")] {
            assert!(s.tree.adopt(key, Arc::new(Spy(ActorId::new(id), s.log.clone())), ChildSpec::default()));
        }
        assert!(
            !s.tree.adopt(clay, Arc::new(Spy(ActorId::new("2"), s.log.clone())), ChildSpec::default()),
            "names are unique"
        );
        s.tree.launch_all();
        s.tree.stop_all();
        assert_eq!(*s.log.lock(), ["+1", "+2", "+3", "-3", "-2", "-1"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_what_was_queued_is_answered_and_nothing_starts_again() {
    locally(async {
        let s = here();
        let clay = s.vendor("clay");
        let gate = s.adopt(clay, "clay/gate", ChildSpec::default());
        let queued = {
            let gate = gate.clone();
            spawn_local(async move { pull(&gate, Pull::Add).await })
        };
        settle().await;
        s.tree.stop_all();
        assert_eq!(queued.await.unwrap(), Err(Lost::Stopped));
        assert!(!s.tree.revive(clay) && !s.tree.relaunch(&ActorId::new("clay/gate")));
        assert_eq!(s.state("clay/gate"), ChildState::Stopped);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_operators_relaunch_counts_as_no_crash_and_lifts_the_last_parking() {
    locally(async {
        let s = here();
        let clay = s.vendor("clay");
        let (gate, lane) =
            (s.adopt(clay, "clay/gate", ChildSpec::default()), s.adopt(clay, "clay/lane", ChildSpec::default()));
        s.tree.launch_all();
        crash(&gate, 11).await;
        crash(&lane, 11).await;
        assert!(!s.tree.relaunch(&ActorId::new("nobody")));
        assert!(s.tree.relaunch(&ActorId::new("clay/gate")));
        assert_eq!(pull(&gate, Pull::Add).await, Ok(Ok(1)));
        assert!(s.tree.down_cause(clay).is_some(), "the lane is parked still");
        assert!(s.tree.relaunch(&ActorId::new("clay/lane")));
        assert_eq!(s.tree.down_cause(clay), None);
        for _ in 0..100 {
            s.tree.relaunch(&ActorId::new("clay/gate"));
            settle().await;
        }
        assert_eq!((pull(&gate, Pull::Add).await, s.tree.down_cause(clay)), (Ok(Ok(2)), None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_that_crashes_is_left_and_answers_its_queue() {
    locally(async {
        let s = here();
        let clay = s.vendor("clay");
        let once = s.adopt(clay, "clay/once", ChildSpec { restart: Restart::Temporary, ..ChildSpec::default() });
        s.tree.launch_all();
        let (guilty, behind) = tokio::join!(pull(&once, Pull::Panic), pull(&once, Pull::Add));
        assert_eq!((guilty, behind), (Err(Lost::Stopped), Err(Lost::Stopped)), "the crash was its end");
        assert_eq!((s.state("clay/once"), s.tree.down_cause(clay)), (ChildState::Stopped, None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_was_never_adopted_is_parked_at_its_first_exit() {
    locally(async {
        let s = here();
        let verdict = s.tree.overseer(s.vendor("clay")).on_exit(
            &ActorId::new("stranger"),
            &Exit { cause: Cause::Panic, detail: "x".into(), generation: 1, in_hand: None },
        );
        assert_eq!(verdict, Verdict::Park { cause: "no supervisor has adopted it".into() });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_may_ask_the_tree_while_it_is_told() {
    struct Curious(std::sync::OnceLock<Tree>);
    impl FactSink for Curious {
        fn state(&self, _: Fact) {
            let tree = self.0.get().unwrap();
            let key = tree.of_vendor(&VendorId::new("clay").unwrap()).unwrap();
            let _ = (tree.status(), tree.totals(), tree.down_cause(key), tree.revive(key));
        }
    }
    locally(async {
        let sink = Arc::new(Curious(std::sync::OnceLock::new()));
        let mut s = here();
        s.tree = Tree::new(sink.clone(), Clock::default(), Rng::seeded(1), RootSpec::default());
        let _ = sink.0.set(s.tree.clone());
        let gate = s.adopt(s.vendor("clay"), "clay/gate", ChildSpec::default());
        s.tree.launch_all();
        crash(&gate, 30).await;
        assert_eq!(pull(&gate, Pull::Add).await, Ok(Ok(1)), "no lock was held, and each revival forgot the past");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_status_is_json_that_names_states_and_reasons() {
    locally(async {
        let s = here();
        let gate = s.adopt(s.vendor("clay"), "clay/gate", ChildSpec::default());
        s.tree.launch_all();
        crash(&gate, 11).await;
        let json = serde_json::to_value(s.tree.status()).unwrap();
        let clay = &json["supervisors"][0];
        assert_eq!((&clay["strategy"], &clay["children"][0]["state"]), (&"one_for_one".into(), &"parked".into()));
        assert!(clay["down"].as_str().unwrap().contains("passed 10 restarts"));
    })
    .await;
}
