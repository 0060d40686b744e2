//! From an actix system: the runtime as an actor among others.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};

use mainstay::{
    Alert, AlertKind, Answer, Complete, Completion, Credits, GetDeadLetters, GetSnapshot, MakeCall, Placement, Runtime,
    Shutdown, Submit, Subscribe,
    actors::dlq::Filter,
    testing::{
        Chaos, Simulator,
        chaos::{Action, Rule},
    },
};

use crate::{
    dial,
    live::{TWO, clay, quick, retell, soon},
    row,
    support::until,
};

fn talks_to_the_runtime_by_messages(placement: Placement) {
    actix_rt::System::new().block_on(async {
        let vendors = Simulator::start(quick()).unwrap();
        let builder = Runtime::builder().vendor(clay(&vendors)).vendor(retell(&vendors)).placement(placement);
        let runtime = builder.start().await.unwrap();
        let mainstay = runtime.handle();
        let (api, debug) = (mainstay.address(), mainstay.debug());

        let answer = soon(api.send(MakeCall(row(1)))).await.unwrap().unwrap();
        let Answer::Delivered(first) = answer else { panic!("{answer:?}") };
        let receipt = soon(api.send(Submit(dial(1)))).await.unwrap().unwrap();
        let second = receipt.call;
        assert!(matches!(soon(receipt.outcome()).await, Ok(Answer::Delivered(answer)) if answer.call == second));
        let error = soon(api.send(MakeCall(row(1).lane("urgent")))).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("known: bulk, critical, normal"), "{error}");

        let snapshot = soon(debug.send(GetSnapshot)).await.unwrap().unwrap();
        assert_eq!((snapshot.open_effects, snapshot.calls.delivered, snapshot.calls.refused), (2, 2, 1));
        for (call, cost) in [(first.call, 5), (second, 120)] {
            let end = || Complete { call, completion: Completion::happened(Credits::whole(cost)) };
            soon(api.send(end())).await.unwrap().unwrap();
            let again = soon(api.send(end())).await.unwrap().unwrap_err();
            assert_eq!(again.call, call, "a callback that comes twice");
        }
        let settled = |name: &'static str, cost| {
            let mainstay = mainstay.clone();
            async move { soon(until(&mainstay, |s| s.vendors[name].budget.settled == Credits::whole(cost))).await }
        };
        settled("clay", 5).await;
        let snapshot = settled("retell", 120).await;
        assert!(snapshot.vendors.values().all(|vendor| vendor.budget.reserved == Credits::ZERO));

        let mut facts = soon(api.send(Subscribe)).await.unwrap().unwrap();
        let letters = soon(api.send(GetDeadLetters)).await.unwrap().unwrap();
        assert!(soon(letters.list(Filter::default(), None)).await.unwrap().letters.is_empty());
        assert!(soon(api.send(GetSnapshot)).await.unwrap().is_some_and(|seen| seen.calls.delivered == 2));
        soon(api.send(MakeCall(row(3)))).await.unwrap().unwrap();
        assert!(soon(facts.recv()).await.is_ok());

        drop(runtime);
        let report = soon(api.send(Shutdown { deadline: Duration::from_secs(10) })).await.unwrap().unwrap();
        assert!(report.drained && report.calls.add_up());
        assert!(soon(api.send(MakeCall(row(2)))).await.is_err(), "its mailbox is closed");
        assert!(soon(debug.send(GetSnapshot)).await.is_err());
    });
}

#[test]
fn an_actix_system_makes_calls_by_messages_with_the_actors_on_its_own_thread() {
    talks_to_the_runtime_by_messages(Placement::Local);
}

#[test]
fn an_actix_system_makes_calls_by_messages_with_the_actors_on_threads_of_their_own() {
    talks_to_the_runtime_by_messages(TWO);
}

struct Operations(tokio::sync::mpsc::UnboundedSender<Alert>);

impl Actor for Operations {
    type Context = Context<Self>;
}

impl Handler<Alert> for Operations {
    type Result = ();

    fn handle(&mut self, alert: Alert, _: &mut Context<Self>) {
        let _ = self.0.send(alert);
    }
}

#[test]
fn an_actor_of_the_applications_is_told_the_alerts() {
    actix_rt::System::new().block_on(async {
        let vendors = Simulator::start(quick()).unwrap();
        let (send, mut alerts) = tokio::sync::mpsc::unbounded_channel();
        let operations = Operations(send).start();
        let chaos = Chaos::seeded(7).rule(Rule {
            actor: "clay/breaker".into(),
            message: Some("ticket".into()),
            probability: 1.0,
            max: None,
            action: Action::Panic,
        });
        let builder = Runtime::builder().vendor(clay(&vendors)).alerts_to(operations.recipient());
        let builder = builder.with(|runtime| runtime.child.intensity.max_restarts = 0).hazard(Arc::new(chaos));
        let runtime = builder.start().await.unwrap();
        let mainstay = runtime.handle();
        let receipt = mainstay.submit(row(1).deadline(Duration::from_secs(1))).await.unwrap();
        soon(receipt.outcome()).await.unwrap();
        assert_eq!(soon(alerts.recv()).await.unwrap().kind, AlertKind::VendorDown);
        runtime.shutdown(Duration::from_secs(1)).await;
    });
}
