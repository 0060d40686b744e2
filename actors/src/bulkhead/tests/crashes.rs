//! Panics and restarts of lanes and the gate: nothing that waits is lost, no place is.

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_tickets_lost_behind_the_lane_do_not_close_it() {
    local(async {
        let (next, mut gate) = Door::to_channel(100);
        let lane = OneLane::start(lane("critical"), next, no_hazard());
        let mut answers = offer(&lane.door, "critical", 0..10);
        until_idle().await;
        drop(arrived(&mut gate));
        assert!(answers.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Reply::Abandoned { .. }))));
        let _later = offer(&lane.door, "critical", 10..20);
        until_idle().await;
        assert_eq!(arrived(&mut gate).len(), 10);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reports_that_panic_lose_no_permit_and_no_waiting_ticket() {
    local(async {
        let (next, mut gate) = Door::to_channel(100);
        let hazard = every_second("GrantReport");
        let lane = OneLane::start(lane("critical"), next, hazard.clone());
        let _answers = offer(&lane.door, "critical", 0..30);
        for round in 0..3 {
            until_idle().await;
            let running = arrived(&mut gate);
            assert_eq!(numbers(&running), (round * 10..round * 10 + 10).collect::<Vec<_>>());
        }
        until_idle().await;
        assert_eq!((lane.shown.get().running, lane.shown.get().queued), (0, 0));
        assert_eq!((hazard.1.load(SeqCst), lane.vault.status().restarts), (60, 30));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_loses_only_the_ticket_in_hand_and_says_where() {
    local(async {
        let (next, mut gate) = Door::to_channel(100);
        let lane = OneLane::start(lane("bulk"), next, every_second("Ticket"));
        let mut answers = offer(&lane.door, "bulk", 0..20);
        let mut ran = Vec::new();
        for _ in 0..5 {
            until_idle().await;
            ran.extend(numbers(&arrived(&mut gate)));
        }
        assert_eq!(ran, (0..20).filter(|n| n % 2 == 1).collect::<Vec<_>>());
        for lost in answers.iter_mut().step_by(2) {
            assert!(matches!(lost.try_recv(), Ok(Reply::Abandoned { at: Guard::Lane })));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_at_any_moment_loses_nothing_and_keeps_the_order() {
    local(async {
        let (next, mut breaker) = Door::to_channel(100);
        let gate = OneGate::start(GateConfig { cap: 1, ..GateConfig::default() }, next, no_hazard());
        let lane = OneLane::start(lane("normal"), gate.door.clone(), no_hazard());
        let _answers = offer(&lane.door, "normal", 0..40);
        let mut ran = Vec::new();
        for _ in 0..45 {
            until_idle().await;
            lane.vault.launch();
            gate.vault.launch();
            ran.extend(numbers(&arrived(&mut breaker)));
        }
        assert_eq!(ran, (0..40).collect::<Vec<_>>());
        assert!(lane.vault.status().restarts >= 40);
        assert_eq!((lane.shown.get().running, gate.shown.get().in_use), (0, 0));
        assert_eq!((lane.shown.get().dispatched_total, gate.shown.get().granted_total), (40, 40));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn panics_in_the_gate_lose_no_slot_and_no_waiting_ticket() {
    local(async {
        for message in ["GrantReport", "deadline"] {
            let (next, mut breaker) = Door::to_channel(100);
            let rate = Some(Rate { per_second: 100.0, burst: 1 });
            let gate =
                OneGate::start(GateConfig { cap: 2, rate, ..GateConfig::default() }, next, every_second(message));
            let _answers = offer(&gate.door, "critical", 0..10);
            let mut ran = Vec::new();
            for _ in 0..200 {
                until_idle().await;
                for ticket in arrived(&mut breaker) {
                    ran.extend(numbers(std::slice::from_ref(&ticket)));
                    assert!(ticket.begin_sending());
                    ticket.settle(Outcome::without_answer(Class::Success, Effect::Done, ""));
                }
            }
            assert_eq!(ran, (0..10).collect::<Vec<_>>(), "panics in {message}");
            assert!(gate.vault.status().restarts >= 5);
            assert_eq!(gate.shown.get().in_use, 0);
        }
    })
    .await;
}
