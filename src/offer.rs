//! How a call is taken on: in memory, or written down first; and how one of an earlier process is taken up. Its task runs it to its
//! end.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use mainstay_actors::{
    call::{Call, DEFAULT_DEADLINE, Delivery},
    dlq::{DlqError, Letter, LetterId, LetterState, Park, ParkedLetter},
    fact::FinalState,
    kernel::panic_text,
    refusal::{Guard, Reason, Refusal},
};
use tokio::sync::oneshot;

use crate::{
    answer::CallError,
    completions::NotParked,
    endings::to_its_end,
    entry::{Entry, Origin},
    gateway::{Gateway, Waiting},
    sending::SendingNote,
};

/// Takes a call of the application on, and runs it to its end. A durable one is on disk when this returns.
pub(crate) async fn offer(gateway: &Arc<Gateway>, call: Call, usual: Delivery) -> Result<Waiting, Refusal> {
    match call.delivery.unwrap_or(usual) {
        Delivery::InMemory => {
            let waiting = gateway.admit(call, Origin::Application)?;
            gateway.tasks.spawn(Box::pin(run_for_application(gateway.clone(), waiting.entry.clone())));
            Ok(waiting)
        }
        Delivery::Durable => accept(gateway, call).await,
    }
}

/// Takes a durable call on. Whoever asks may go away meanwhile: what is on disk is done.
async fn accept(gateway: &Arc<Gateway>, call: Call) -> Result<Waiting, Refusal> {
    let letter = LetterId(gateway.rng.uuid());
    let waiting = gateway.admit(call, Origin::Durable { letter, resumed: false })?;
    let entry = waiting.entry.clone();
    entry.note_first(SendingNote::new(gateway, letter, false), None);
    let (told, written) = oneshot::channel();
    gateway.tasks.spawn(Box::pin(write_down_and_run(Unended(Some((gateway.clone(), entry))), letter, told)));
    let gone = || Refusal::new(Guard::Gateway, Reason::ShuttingDown);
    written.await.unwrap_or_else(|_| Err(gone())).map(|()| waiting)
}

async fn write_down_and_run(mut unended: Unended, letter: LetterId, told: oneshot::Sender<Result<(), Refusal>>) {
    let Some((gateway, entry)) = unended.0.clone() else { return };
    let call = &entry.call;
    let park = Park { letter: Letter::of_call(letter, call), state: LetterState::accepted(gateway.clock.wall()) };
    match gateway.park(park).await {
        Ok(_) => {
            let _ = told.send(Ok(()));
            run_until_ended(unended).await;
        }
        Err(problem) => {
            unended.0.take();
            let refusal = not_accepted(problem);
            gateway.tally.refused_later(&call.vendor);
            gateway.journal.refused_at_the_door(Some(&call.vendor), &refusal);
            gateway.live.take_off(call.id);
            let _ = told.send(Err(refusal));
        }
    }
}

fn not_accepted(problem: NotParked) -> Refusal {
    let reason = match problem {
        NotParked::Queue(DlqError::AcceptedFull { held, limit }) => {
            Reason::Full { what: "table of accepted calls", held, limit }
        }
        problem => Reason::NotWritten { problem: problem.to_string() },
    };
    Refusal::new(Guard::Gateway, reason)
}

/// Takes up a durable call of an earlier process. `None`: it is under way, or there is no room for it now.
pub(crate) fn resume(gateway: &Arc<Gateway>, parked: &ParkedLetter) -> Option<impl Future<Output = ()> + Send + use<>> {
    let letter = parked.letter.id;
    let origin = Origin::Durable { letter, resumed: true };
    let (entry, _) = gateway.take_on(parked.letter.to_call(), origin, DEFAULT_DEADLINE).ok()?;
    entry.note_first(SendingNote::new(gateway, letter, false), parked.state.sending.map(|sending| sending.since));
    Some(run_for_application(gateway.clone(), entry))
}

/// Runs a call of the application to its end. Where the task is dropped before, even unpolled, the caller hears so: the tokio
/// runtime that it was to run on has ended.
fn run_for_application(gateway: Arc<Gateway>, entry: Arc<Entry>) -> impl Future<Output = ()> + Send {
    let unended = Unended(Some((gateway, entry)));
    run_until_ended(unended)
}

/// A call whose task has not come to its end.
struct Unended(Option<(Arc<Gateway>, Arc<Entry>)>);

impl Drop for Unended {
    fn drop(&mut self) {
        let Some((gateway, entry)) = self.0.take() else { return };
        let call = &entry.call;
        tracing::error!(target: "mainstay::call", vendor = %call.vendor, call = %call.id, "the task of a call to {} was dropped before its end", call.vendor);
        gateway.tally.ended(&call.vendor, FinalState::Lost);
        gateway.ended(call, FinalState::Lost);
        entry.answer(Err(CallError::RuntimeGone { call: call.id }));
        gateway.live.take_off(call.id);
    }
}

/// The call stays in the table until it is in a final state.
async fn run_until_ended(mut unended: Unended) {
    let Some((gateway, entry)) = unended.0.clone() else { return };
    let call = entry.call.clone();
    let place = gateway.live.place(call.id);
    let (state, result) = match AssertUnwindSafe(to_its_end(&gateway, &entry)).catch_unwind().await {
        Ok(end) => end,
        Err(panic) => {
            let problem = panic_text(&*panic).to_string();
            let vendor = &call.vendor;
            tracing::error!(target: "mainstay::call", %vendor, call = %call.id, %problem, "the end of a call to {vendor} panicked");
            (Some(FinalState::Lost), Err(CallError::NotParked { call: call.id, problem }))
        }
    };
    unended.0.take();
    match state {
        Some(state) => {
            gateway.tally.ended(&call.vendor, state);
            gateway.ended(&call, state);
        }
        None => gateway.tally.refused_later(&call.vendor),
    }
    entry.answer(result);
    gateway.end_of_call(place).await;
}
