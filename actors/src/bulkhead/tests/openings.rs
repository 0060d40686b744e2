//! What waits when a breaker opens.

use super::*;

#[tokio::test(start_paused = true)]
async fn when_the_breaker_opens_everybody_who_waits_is_refused_at_once() {
    local(async {
        let (next, mut breaker) = Door::to_channel(100);
        let gate = OneGate::start(GateConfig { cap: 1, ..GateConfig::default() }, next, no_hazard());
        let lane = OneLane::start(lane("normal"), gate.door.clone(), no_hazard());
        let mut answers = offer(&lane.door, "normal", 0..400);
        until_idle().await;
        let until = clock::now() + ms(5_000);
        lane.circuits.set(open_until(until));
        gate.circuits.set(open_until(until));
        lane.vault.door(10).pass(CircuitsChanged).unwrap();
        gate.vault.door(10).pass(CircuitsChanged).unwrap();
        for _ in 0..4 {
            until_idle().await;
        }
        for answer in &mut answers[1..] {
            let Ok(Reply::Refused(refusal)) = answer.try_recv() else { panic!("still waits") };
            assert_eq!((refusal.by, refusal.retry_at), (Guard::Breaker, Some(until)));
        }
        assert!(offer(&lane.door, "normal", 400..401)[0].try_recv().is_err());
        tokio::time::sleep(ms(5_000)).await;
        drop(arrived(&mut breaker));
        let _later = offer(&lane.door, "normal", 401..402);
        until_idle().await;
        assert_eq!(numbers(&arrived(&mut breaker)), [401], "the news said until when, and no longer");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_refused_though_the_word_that_the_breaker_opened_crashed_the_lane_and_the_gate() {
    local(async {
        let (next, _breaker) = Door::to_channel(100);
        let word = "CircuitsChanged";
        let gate = OneGate::start(GateConfig { cap: 1, ..GateConfig::default() }, next, every_second(word));
        let lane = OneLane::start(lane("normal"), gate.door.clone(), every_second(word));
        let mut answers = offer(&lane.door, "normal", 0..10);
        until_idle().await;
        for circuits in [&lane.circuits, &gate.circuits] {
            circuits.set(open_until(clock::now() + ms(5_000)));
        }
        lane.vault.door(10).pass(CircuitsChanged).unwrap();
        gate.vault.door(10).pass(CircuitsChanged).unwrap();
        until_idle().await;
        assert_eq!((lane.vault.status().restarts, gate.vault.status().restarts), (1, 1));
        for answer in &mut answers[1..] {
            assert_eq!(refusal(answer).0, Guard::Breaker);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_too_full_to_be_told_that_the_breaker_opened_sees_it_after_what_is_in_its_mailbox() {
    local(async {
        let (next, _gate) = Door::to_channel(100);
        let lane = OneLane::start(lane("normal"), next, no_hazard());
        let mut answers = offer(&lane.door, "normal", 0..10);
        until_idle().await;
        let mut last = offer(&lane.door, "normal", 10..11);
        lane.circuits.set(open_until(clock::now() + ms(5_000)));
        assert!(lane.vault.door(1).pass(CircuitsChanged).is_err(), "the mailbox is full");
        until_idle().await;
        for answer in answers[5..].iter_mut().chain(&mut last) {
            assert_eq!(refusal(answer).0, Guard::Breaker);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_gate_passes_a_ticket_to_the_breaker_of_its_circuit() {
    local(async {
        let circuit = |name: &str| Circuit { target: TargetId::new(name).ok(), group: None };
        let ((to_leads, mut leads), (to_accounts, mut accounts)) = (Door::to_channel(10), Door::to_channel(10));
        let next = [(circuit("leads"), to_leads), (circuit("accounts"), to_accounts)].into();
        let gate = OneGate::before(next, GateConfig::default(), no_hazard());
        let mut answers = Vec::new();
        for (n, target) in ["accounts", "leads", "accounts", "other"].into_iter().enumerate() {
            let (ticket, answer) = ticket_on(circuit(target), n as u128, "normal");
            gate.door.pass(ticket).unwrap();
            answers.push(answer);
        }
        until_idle().await;
        assert_eq!((numbers(&arrived(&mut leads)), numbers(&arrived(&mut accounts))), (vec![1], vec![0, 2]));
        let (by, reason) = refusal(&mut answers[3]);
        assert_eq!((by, reason.to_string()), (Guard::Gate, "unknown circuit \"other\"; known: accounts, leads".into()));
    })
    .await;
}
