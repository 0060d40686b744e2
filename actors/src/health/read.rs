//! What a fact says of a vendor. Pure.

use std::time::Duration;

use super::{score::Counts, state::Change};
use crate::{
    fact::{Event, Fact, FinalState},
    ids::{ActorId, VendorId},
    meter::Whose,
    outcome::{Class, Verdict},
    refusal::Guard,
};

/// Whom a fact is about, and what it says of them.
pub(super) fn read(event: &Event) -> Option<(VendorId, Change)> {
    let (vendor, change) = match &event.fact {
        Fact::AttemptEnded { vendor, class, elapsed_ms, .. } => {
            let succeeded = (class.verdict() == Verdict::Healthy).then_some(event.at);
            let elapsed = Duration::from_millis(*elapsed_ms);
            (vendor, Change::Attempted { counts: of_attempt(*class), succeeded, elapsed })
        }
        // Of an effect that was unknown its attempt has spoken.
        Fact::EffectEnded { vendor, class, was_unknown: false, .. } => (vendor, Change::Counted(of_end(*class))),
        Fact::Refused { vendor, by, .. } => (vendor, Change::Counted(of_refusal(*by)?)),
        Fact::CallEnded { vendor, call, state } if !matches!(state, FinalState::Unknown | FinalState::Lost) => {
            (vendor, Change::Ended(*call))
        }
        Fact::BreakerChanged { vendor, circuit, to, generation, cause, .. } => {
            let (circuit, cause) = (circuit.clone(), cause.clone());
            (vendor, Change::BreakerTurned { circuit, to: *to, generation: *generation, cause })
        }
        Fact::LaneSaturated { vendor, lane, .. } => (vendor, Change::LaneFull(lane.clone())),
        // A tenant that used up its share says nothing of the vendor.
        Fact::BudgetMarked { vendor, which, used, limit, mark } if which.whose == Whose::Account => {
            (vendor, Change::Marked { name: mark, used: *used, limit: *limit })
        }
        Fact::LettersCounted { vendor, letters } => (vendor, Change::Letters(*letters)),
        Fact::Reprocessed { vendor, call, .. } => (vendor, Change::Ended(*call)),
        Fact::Probed { vendor, operation, works, detail } => {
            let (operation, works, detail) = (operation.clone(), *works, detail.clone());
            (vendor, Change::Probed { operation, works, detail })
        }
        Fact::CallbackOverdue { vendor, call } => (vendor, Change::Overdue(*call)),
        Fact::VendorDown { vendor, cause } => (vendor, Change::Down(cause.clone())),
        Fact::VendorUp { vendor } => (vendor, Change::Up),
        Fact::ActorRestarted { actor, .. } => return Some((owner(actor)?, Change::Restarted(actor.clone()))),
        Fact::ActorParked { actor, cause } => {
            return Some((owner(actor)?, Change::Parked(actor.clone(), cause.clone())));
        }
        _ => return None,
    };
    Some((vendor.clone(), change))
}

fn of_attempt(class: Class) -> Counts {
    let none = Counts::default();
    match class.verdict() {
        Verdict::Healthy => Counts { healthy: 1, ..none },
        Verdict::Failing => Counts { failing: 1, ..none },
        Verdict::Silent => Counts {
            credentials: u64::from(class == Class::Auth),
            throttled: u64::from(class == Class::Throttled),
            ..none
        },
    }
}

/// What was taken on counted as healthy then.
fn of_end(class: Class) -> Counts {
    let Counts { failing: failed_later, credentials, throttled, .. } = of_attempt(class);
    Counts { failed_later, credentials, throttled, ..Counts::default() }
}

/// The gateway, guardrails and the table of keys refuse calls that are wrong in themselves; that says nothing of the vendor.
fn of_refusal(by: Guard) -> Option<Counts> {
    let none = Counts::default();
    match by {
        Guard::Breaker => Some(Counts { by_breaker: 1, ..none }),
        Guard::Budget => Some(Counts { by_budget: 1, ..none }),
        Guard::Lane | Guard::Gate => Some(Counts { by_lane: 1, ..none }),
        Guard::Supervisor => Some(Counts { by_supervisor: 1, ..none }),
        Guard::Gateway | Guard::Guardrail | Guard::Idempotency | Guard::Client => None,
    }
}

/// The vendor an actor belongs to: the first part of its path.
fn owner(actor: &ActorId) -> Option<VendorId> {
    let (vendor, _) = actor.as_str().split_once('/')?;
    VendorId::new(vendor).ok()
}
