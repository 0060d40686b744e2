//! What an earlier process left parked stands for its keys, and may still end; and so does a call that its death
//! interrupted. Before the first call is taken on, the tables in memory hear of it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mainstay_actors::{
    call::AcceptedCall,
    dlq::{Dlq, Ended, Filter, Finish, Kind, LetterId, ParkedLetter},
    fact::{FinalState, LetterCounts},
    idempotency::{self, End, FoundKey, IdempotencyConfig, KeyReport, fingerprint},
    ids::{CallId, VendorId},
    outcome::Effect,
    profile::Repeat,
};
use serde_json::Value;

use crate::{
    answer::{Because, Shared},
    asking, effects,
    endings::UNKNOWN_HOLDS,
    error::StartError,
    gateway::Gateway,
    letters::{DeadLetters, LettersError, state_of},
    plan::Plan,
    store::StoreHandle,
};

/// The keys of an earlier process. Those of a vendor that is not configured any more live as long as any by default.
pub(crate) async fn load_keys(plan: &Plan, store: &StoreHandle) -> Result<Vec<FoundKey>, StartError> {
    let usual = IdempotencyConfig::default().keep;
    let keep = |vendor: &VendorId| plan.vendors.get(vendor).map_or(usual, |(_, config)| config.keys.keep);
    Ok(idempotency::load(store, plan.runtime.clock.wall(), keep).await?)
}

/// Calls of earlier processes that are parked: they are somewhere too.
pub(crate) fn inherited<'a>(
    parked: &Dlq,
    vendors: impl Iterator<Item = &'a VendorId>,
) -> Vec<(VendorId, LetterCounts)> {
    vendors.map(|vendor| (vendor.clone(), parked.counts(vendor))).collect()
}

/// Each vendor's own.
pub(crate) fn by_vendor(keys: Vec<FoundKey>) -> BTreeMap<VendorId, Vec<FoundKey>> {
    let mut by_vendor = BTreeMap::<VendorId, Vec<FoundKey>>::new();
    for found in keys {
        by_vendor.entry(found.vendor().clone()).or_default().push(found);
    }
    by_vendor
}

/// What the keys of an earlier process say of its calls.
pub(crate) struct LeftKeys {
    /// Calls whose key was claimed when their process died, and of which nothing else is known: they may have happened. What of
    /// them is left can hear their end.
    interrupted: BTreeMap<CallId, AcceptedCall>,
    /// Calls that were done.
    done: HashSet<CallId>,
}

impl LeftKeys {
    pub(crate) fn new(keys: &[FoundKey], parked: &Dlq) -> Self {
        let call = |found: &FoundKey| {
            let ((id, at), vendor, operation) = (found.call(), found.vendor().clone(), found.interrupted()?.clone());
            let call = AcceptedCall::new(id, vendor, operation, Value::Null, at);
            Some((id, AcceptedCall { key: Some(found.key().clone()), ..call }))
        };
        let mut interrupted: BTreeMap<_, _> = keys.iter().filter_map(call).collect();
        // A letter says more.
        parked.calls().for_each(|call| drop(interrupted.remove(&call)));
        let done = keys.iter().filter(|found| found.interrupted().is_none()).map(|found| found.call().0).collect();
        Self { interrupted, done }
    }

    pub(crate) fn has_interrupted(&self) -> bool {
        !self.interrupted.is_empty()
    }

    /// Holds them open, as unknown effects.
    fn hold(self, gateway: &Arc<Gateway>) {
        let calls = self.interrupted.into_values().filter(|call| gateway.routes.contains_key(&call.vendor));
        for call in calls {
            let (vendor, call) = (call.vendor.clone(), Arc::new(call));
            tracing::warn!(target: "mainstay::idempotency", %vendor, call = %call.id, operation = %call.operation, "a call to {vendor} was on its way when the last process died: it may have happened, and its key is blocked until somebody finds out");
            gateway.tally.inherited(&vendor, FinalState::Unknown, 1);
            hold(gateway, &call, None);
        }
    }
}

/// Reads every parked call once, page by page. A parked call says itself what stands for its key.
pub(crate) async fn restore(gateway: &Arc<Gateway>, left: LeftKeys) -> Result<(), LettersError> {
    let letters = DeadLetters::new(gateway.clone());
    // Unknown ones first: if a table has no room for all, a key that must not be sent again matters most.
    for kind in [Kind::Unknown, Kind::Later, Kind::Dead] {
        let mut after = None;
        loop {
            let page = letters.list(Filter::kind(kind), after).await?;
            for parked in page.letters {
                if let Some(parked) = settled(gateway, &left, parked).await {
                    restore_one(gateway, parked);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    left.hold(gateway);
    Ok(())
}

/// A letter, as it stands after the death of the process that was sending it. `None`: it is not parked, or not here any more.
async fn settled(gateway: &Gateway, left: &LeftKeys, parked: ParkedLetter) -> Option<ParkedLetter> {
    if parked.state.kind != Kind::Unknown || parked.state.sending.is_none() {
        return Some(parked);
    }
    let (id, vendor) = (parked.letter.id, &parked.letter.vendor);
    if left.done.contains(&parked.letter.call) {
        gateway.finish_letter(Finish::new(id, Ended::Delivered)).await;
        gateway.tally.moved(vendor, FinalState::Unknown, FinalState::Delivered);
        return None;
    }
    if !may_be_sent_again(gateway, &parked) {
        return Some(parked);
    }
    let Some(state) = gateway.finish_letter(Finish::new(id, Ended::Resumed)).await else { return Some(parked) };
    match state.kind {
        Kind::Accepted => {
            gateway.tally.not_inherited(vendor, FinalState::Unknown);
            gateway.tally.taken_up(vendor, 1);
            return None;
        }
        // Until now, what is restored here is read once: it was not among those that wait.
        kind => gateway.tally.moved(vendor, FinalState::Unknown, state_of(kind)),
    }
    Some(ParkedLetter { state, ..parked })
}

/// Whether the vendor takes it for the same effect if it is sent once more.
fn may_be_sent_again(gateway: &Gateway, parked: &ParkedLetter) -> bool {
    let letter = &parked.letter;
    let profile = gateway.routes.get(&letter.vendor).map(|route| &route.profile);
    let operation = profile.and_then(|profile| profile.operation(letter.target.as_ref(), &letter.operation));
    match (operation.map(|operation| operation.repeat), parked.state.sending) {
        (Some(Repeat::Always), _) => true,
        (Some(Repeat::WithKey { window }), Some(sending)) => {
            sending.since.checked_add(window).is_ok_and(|end| end > gateway.clock.wall())
        }
        _ => false,
    }
}

/// Holds an unknown effect open, and asks the vendor about it where its profile says how. The configuration may know the
/// operation no more.
pub(crate) fn hold(gateway: &Arc<Gateway>, call: &Arc<AcceptedCall>, letter: Option<LetterId>) {
    gateway.effects.hold(call, effects::Kind::Unknown(letter), None, UNKNOWN_HOLDS);
    let profile = gateway.routes.get(&call.vendor).map(|route| &route.profile);
    if let Some(operation) = profile.and_then(|profile| profile.operation(call.target.as_ref(), &call.operation)) {
        asking::reconcile(gateway, operation, call, letter);
    }
}

/// One parked call stands for its key, and an unknown one may still end.
pub(crate) fn restore_one(gateway: &Arc<Gateway>, parked: ParkedLetter) {
    let (letter, call, state) = (parked.letter.id, Arc::new(parked.letter.to_call()), parked.state);
    let unknown = state.kind == Kind::Unknown;
    // One that is read in again may be here already, and its end to come.
    if unknown && !gateway.effects.is_open(call.id, effects::Kind::Accepted) {
        // Its money and its slots were the earlier process's.
        hold(gateway, &call, Some(letter));
    }
    let (Some(route), Some(key)) = (gateway.routes.get(&call.vendor), &call.key) else { return };
    let because = Because::Failed {
        class: state.error.class,
        effect: if unknown { Effect::Unknown } else { Effect::None },
        status: state.error.status,
        detail: state.error.detail.into(),
        retry_after: None,
        phase: None,
    };
    let end = if unknown { End::Unknown } else { End::Parked(Shared::Parked { call: call.id, letter, because }) };
    let (key, fingerprint, since) = (key.clone(), fingerprint(&call.payload), call.accepted_at);
    route.key_reports.push(KeyReport::Restored { key, fingerprint, call: call.id, since, end });
}
