//! What an earlier process left parked stands for its keys, and may still end: before the first call is taken on, the tables
//! in memory hear of it.

use std::sync::Arc;

use mainstay_actors::{
    dlq::{Filter, Kind, ParkedLetter},
    idempotency::{End, KeyReport, fingerprint},
    outcome::Effect,
};

use crate::{
    answer::{Because, Shared},
    effects,
    endings::UNKNOWN_HOLDS,
    gateway::Gateway,
    letters::{DeadLetters, LettersError},
};

/// Reads every parked call once, page by page.
pub(crate) async fn restore(gateway: &Arc<Gateway>) -> Result<(), LettersError> {
    let letters = DeadLetters::new(gateway.clone());
    // Unknown ones first: if a table has no room for all, a key that must not be sent again matters most.
    for kind in [Kind::Unknown, Kind::Later, Kind::Dead] {
        let mut after = None;
        loop {
            let page = letters.list(Filter::kind(kind), after).await?;
            page.letters.into_iter().for_each(|parked| restore_one(gateway, parked));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

fn restore_one(gateway: &Gateway, parked: ParkedLetter) {
    let (letter, call, state) = (parked.letter.id, Arc::new(parked.letter.to_call()), parked.state);
    let unknown = state.kind == Kind::Unknown;
    if unknown {
        // Its money and its slots were the earlier process's.
        gateway.effects.hold(&call, effects::Kind::Unknown(letter), None, UNKNOWN_HOLDS);
    }
    let (Some(route), Some(key)) = (gateway.routes.get(&call.vendor), &call.key) else { return };
    let because = Because::Failed {
        class: state.class,
        effect: if unknown { Effect::Unknown } else { Effect::None },
        status: None,
        detail: state.detail.into(),
        retry_after: None,
    };
    let end = if unknown { End::Unknown } else { End::Parked(Shared::Parked { call: call.id, letter, because }) };
    let (key, fingerprint) = (key.clone(), fingerprint(&call.payload));
    route.key_reports.push(KeyReport::Restored { key, fingerprint, call: call.id, end });
}
