//! Alerts: what a person should hear of, told to the application once per change.
//!
//! ```text
//!   fact --ear--> queue of 1,000 --task: finds the letter--> queue of 1,000 --thread of its own--> the application's sinks
//! ```
//!
//! A sink that is slow holds up the alerts behind it and nobody else; one that panics loses the alert in its hand. Alerts that
//! find no room are dropped, counted in the next alert's `missed`, and logged.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc as thread_queue,
    },
    thread,
    time::Duration,
};

use actix::Message;
use mainstay_actors::{
    clock::Clock,
    dlq::{Filter, List, ParkedLetter},
    fact::{BreakerState, Event, Fact, FinalState},
    ids::{CallId, VendorId},
    kernel::panic_text,
    seldom::Seldom,
    store::StoreState,
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{facts::FactBus, gateway::Gateway};

/// How many alerts wait for a slow sink; beyond it they are dropped and counted.
pub const ALERTS_WAITING_MAX: usize = 1_000;

/// Costs above their reservation may come with every call: one alert a minute of each limit.
const OVERAGE_EVERY: Duration = Duration::from_secs(60);

/// How long an alert waits for its letter. It is told without it rather than late.
const LETTER_WITHIN: Duration = Duration::from_secs(1);

/// Where alerts go.
pub type AlertSink = Arc<dyn Fn(&Alert) + Send + Sync>;

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A circuit breaker opened that was closed. A probe that fails is no new outage.
    BreakerOpened,
    /// A parked call was given up: it waits for a person. The alert has the whole letter.
    PermanentFailure,
    /// Spending passed a mark, refuses calls, or was more than was reserved for it.
    BudgetMark,
    /// The vendor says that its account is used up.
    QuotaExhausted,
    /// A vendor's actors passed their restart limit.
    VendorDown,
    /// A call may have happened. The alert has the whole letter.
    UnknownCall,
    /// The end of an accepted call did not come in time.
    CallbackOverdue,
    /// The store has no space, hangs, or has ended.
    StoreTrouble,
}

/// Something a person should hear of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// Whose vendor; none when it is about the store.
    pub vendor: Option<VendorId>,
    /// In plain words, with the vendor's name.
    pub text: String,
    /// The fact behind it.
    pub event: Event,
    /// The parked call it is about, as it stands now, if there is one.
    pub letter: Option<Box<ParkedLetter>>,
    /// Alerts that were dropped before this one, because a sink was too slow.
    pub missed: u64,
}

impl Message for Alert {
    type Result = ();
}

impl Alert {
    /// The alert that a fact is worth, if any. `is_loud`: whether one more cost above its reservation is.
    fn of(event: &Event, is_loud: impl FnOnce() -> bool) -> Option<Self> {
        let (kind, vendor, text) = match &event.fact {
            Fact::BreakerChanged {
                vendor, circuit, from: BreakerState::Closed, to: BreakerState::Open, cause, ..
            } => {
                let whose = circuit.named(vendor.as_str());
                (AlertKind::BreakerOpened, vendor, format!("the circuit breaker of {whose} opened: {cause}"))
            }
            Fact::GivenUp { vendor, call, attempts, .. } => {
                let text = format!("call {call} to {vendor} is given up after {attempts} attempts: replay or purge it");
                (AlertKind::PermanentFailure, vendor, text)
            }
            Fact::BudgetMarked { mark: "overage", .. } if !is_loud() => return None,
            Fact::BudgetMarked { vendor, which, used, limit, mark } => {
                let (kind, what) = match *mark {
                    "soft" => (AlertKind::BudgetMark, "has passed a mark"),
                    "hard" => (AlertKind::BudgetMark, "refuses calls until its reset"),
                    "overage" => (AlertKind::BudgetMark, "was charged more than was reserved"),
                    _ => (AlertKind::QuotaExhausted, "is used up, as the vendor says"),
                };
                (kind, vendor, format!("the budget of {vendor} {what}: {used} of {limit} {which}"))
            }
            Fact::VendorDown { vendor, cause } => {
                (AlertKind::VendorDown, vendor, format!("{vendor} is down until it is revived: {cause}"))
            }
            Fact::CallEnded { vendor, call, state: FinalState::Unknown } => {
                let text = format!("call {call} to {vendor} may have happened: look it up there; it is not sent again");
                (AlertKind::UnknownCall, vendor, text)
            }
            Fact::CallbackOverdue { vendor, call } => {
                (AlertKind::CallbackOverdue, vendor, format!("the end of call {call} to {vendor} is overdue"))
            }
            Fact::StoreRestored { problem, damaged, backup } => {
                let text =
                    format!("the backup {backup} was put in the place of damaged data, now in {damaged}: {problem}");
                return Some(Self::of_store(event, text));
            }
            Fact::StoreChanged { state, detail } if *state != StoreState::Working => {
                return Some(Self::of_store(event, format!("the store: {detail}")));
            }
            _ => return None,
        };
        let vendor = Some(vendor.clone());
        Some(Self { kind, vendor, text, event: event.clone(), letter: None, missed: 0 })
    }

    fn of_store(event: &Event, text: String) -> Self {
        Self { kind: AlertKind::StoreTrouble, vendor: None, text, event: event.clone(), letter: None, missed: 0 }
    }

    /// The call whose letter belongs to it.
    fn call_of_letter(&self) -> Option<CallId> {
        match &self.event.fact {
            Fact::GivenUp { call, .. } | Fact::CallEnded { call, .. } => Some(*call),
            _ => None,
        }
    }
}

/// Alerts that found no room.
#[derive(Debug, Clone, Default)]
struct Dropped(Arc<AtomicU64>);

impl Dropped {
    fn one_more(&self) {
        if self.0.fetch_add(1, SeqCst) == 0 {
            tracing::error!(target: "mainstay::alerts", waiting = ALERTS_WAITING_MAX, "an alert sink is too slow: alerts are dropped");
        }
    }

    fn take(&self) -> u64 {
        self.0.swap(0, SeqCst)
    }
}

/// Passes alerts on from now until the facts' ears are taken off.
pub(crate) fn start(gateway: &Arc<Gateway>, sinks: Vec<AlertSink>) -> std::io::Result<()> {
    if sinks.is_empty() {
        return Ok(());
    }
    let dropped = Dropped::default();
    let (to_thread, queue) = thread_queue::sync_channel(ALERTS_WAITING_MAX);
    thread::Builder::new().name("mainstay-alerts".into()).spawn(move || tell(&queue, &sinks))?;
    let heard = listen(&gateway.facts, gateway.clock.clone(), dropped.clone());
    gateway.tasks.spawn(Box::pin(pass_on(gateway.clone(), heard, to_thread, dropped)));
    Ok(())
}

fn listen(facts: &FactBus, clock: Clock, dropped: Dropped) -> mpsc::Receiver<Alert> {
    let (queue, heard) = mpsc::channel(ALERTS_WAITING_MAX);
    let overages = Mutex::new(Seldom::new(OVERAGE_EVERY));
    facts.listen(move |event| {
        let is_loud = || match &event.fact {
            Fact::BudgetMarked { vendor, which, .. } => {
                overages.lock().admit(clock.now(), (vendor.clone(), which.clone())).is_some()
            }
            _ => true,
        };
        if let Some(alert) = Alert::of(event, is_loud)
            && queue.try_send(alert).is_err()
        {
            dropped.one_more();
        }
    });
    heard
}

/// Ends when the ears are off, and with it the thread, once it has told all it took on.
async fn pass_on(
    gateway: Arc<Gateway>,
    mut heard: mpsc::Receiver<Alert>,
    queue: thread_queue::SyncSender<Alert>,
    dropped: Dropped,
) {
    while let Some(mut alert) = heard.recv().await {
        if let Some(call) = alert.call_of_letter() {
            let found = tokio::time::timeout(LETTER_WITHIN, letter_of(&gateway, call));
            alert.letter = found.await.ok().flatten().map(Box::new);
        }
        alert.missed = dropped.take();
        if let Err(full) = queue.try_send(alert) {
            let (thread_queue::TrySendError::Full(alert) | thread_queue::TrySendError::Disconnected(alert)) = full;
            dropped.0.fetch_add(alert.missed, SeqCst);
            dropped.one_more();
        }
    }
}

async fn letter_of(gateway: &Gateway, call: CallId) -> Option<ParkedLetter> {
    let page = gateway.ask_dlq(List { filter: Filter::call(call), after: None, max: 1 }).await;
    page.ok()?.ok()?.letters.pop()
}

/// A thread of its own: a sink may block, and the runtime does not wait for it.
fn tell(queue: &thread_queue::Receiver<Alert>, sinks: &[AlertSink]) {
    for alert in queue {
        for sink in sinks {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| sink(&alert))) {
                let problem = panic_text(&*panic);
                tracing::error!(target: "mainstay::alerts", %problem, alert = %alert.text, "an alert sink panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_actors::{
        fact::FactSink as _,
        ids::{Circuit, TargetId},
    };

    use super::*;

    fn down() -> Fact {
        Fact::VendorDown { vendor: VendorId::new("clay").unwrap(), cause: "three crashes".into() }
    }

    #[test]
    fn alerts_that_find_no_room_are_counted_and_stop_nobody() {
        let (facts, dropped) = (FactBus::new(Clock::default()), Dropped::default());
        let mut heard = listen(&facts, Clock::default(), dropped.clone());
        (0..ALERTS_WAITING_MAX + 5).for_each(|_| facts.state(down()));
        assert_eq!((dropped.take(), dropped.take()), (5, 0));
        assert_eq!(heard.try_recv().unwrap().text, "clay is down until it is revived: three crashes");
        facts.state(down());
        assert_eq!(dropped.take(), 0);
    }

    #[test]
    fn what_may_come_with_every_call_is_told_once_a_minute_for_each_limit() {
        let facts = FactBus::new(Clock::default());
        let mut heard = listen(&facts, Clock::default(), Dropped::default());
        let marked = |vendor: &str, mark| Fact::BudgetMarked {
            vendor: VendorId::new(vendor).unwrap(),
            which: Default::default(),
            used: Default::default(),
            limit: Default::default(),
            mark,
        };
        for _ in 0..100 {
            facts.state(marked("clay", "overage"));
            facts.state(marked("retell", "overage"));
        }
        facts.state(marked("clay", "hard"));
        let told: Vec<_> =
            std::iter::from_fn(|| heard.try_recv().ok()).map(|alert| alert.vendor.unwrap().to_string()).collect();
        assert_eq!(told, ["clay", "retell", "clay"]);
    }

    #[test]
    fn trouble_of_the_store_is_an_alert_without_a_vendor_and_its_end_is_none() {
        let alert = |state| {
            let fact = Fact::StoreChanged { state, detail: "the disk is full".into() };
            Alert::of(&Event { seq: 1, at: jiff::Timestamp::UNIX_EPOCH, fact }, || true)
        };
        let told = alert(StoreState::Short).unwrap();
        assert_eq!((told.vendor, told.text.as_str()), (None, "the store: the disk is full"));
        assert_eq!(alert(StoreState::Working), None);
    }

    #[test]
    fn a_probe_that_fails_is_no_new_outage() {
        let changed = |from, to| Event {
            seq: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            fact: Fact::BreakerChanged {
                vendor: VendorId::new("clay").unwrap(),
                circuit: Circuit { target: TargetId::new("leads").ok(), group: None },
                from,
                to,
                generation: 1,
                cause: "5 failures in a row".into(),
                retry_at: None,
            },
        };
        let text = |from, to| Alert::of(&changed(from, to), || true).map(|alert| alert.text);
        let opened = text(BreakerState::Closed, BreakerState::Open);
        assert_eq!(opened.as_deref(), Some("the circuit breaker of clay leads opened: 5 failures in a row"));
        assert_eq!(text(BreakerState::HalfOpen, BreakerState::Open), None);
        assert_eq!(text(BreakerState::HalfOpen, BreakerState::Closed), None);
    }
}
