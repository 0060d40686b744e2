//! The claim on a call's key: before the first ticket, and again after a lost loop.

use mainstay_actors::{
    clock::Clock,
    idempotency::{Answered, Claim, ClaimGrant, Claimed},
    kernel::{Lost, ask},
    profile::Operation,
    refusal::{Guard, Reason},
};

use crate::{
    answer::Shared,
    entry::Entry,
    route::Route,
    verdict::{CRASHES_MAX, Verdict, not_begun, refused},
};

/// Claims the call's key, or finds out who has it.
pub(crate) async fn claim(
    clock: &Clock,
    route: &Route,
    operation: &Operation,
    entry: &Entry,
) -> Result<Option<ClaimGrant<Shared>>, Verdict> {
    let call = &entry.call;
    let Some(key) = &call.key else { return Ok(None) };
    // A redrive comes back to what it left behind itself, and a loop that was lost to the ticket it left under way.
    let resumes = entry.progress().flight.is_some();
    let again = resumes || entry.origin.comes_back();
    let mut crashes = 0;
    loop {
        let question = Claim::new(key.clone(), call, operation.repeat, clock.wall());
        let question = if again { question.again() } else { question };
        // Nobody waits for a table of keys that is parked longer than for anything else.
        let asked = tokio::select! {
            biased;
            asked = ask(&route.keys, question) => asked,
            verdict = not_begun(entry) => return Err(verdict),
        };
        let claimed = match asked {
            Ok(claimed) => claimed,
            Err(Lost::Crashed) if crashes < CRASHES_MAX => {
                crashes += 1;
                continue;
            }
            Err(Lost::Crashed) => {
                let reason = Reason::CrashedTooOften { guard: Guard::Idempotency, lost: crashes };
                return Err(refused(Guard::Idempotency, reason));
            }
            Err(Lost::Stopped) => return Err(refused(Guard::Idempotency, Reason::ShuttingDown)),
        };
        let joined = match claimed {
            Claimed::Mine(grant) => {
                let sent_before = grant.sent_before();
                entry.note(|progress| progress.sent_before = progress.sent_before.or(sent_before));
                return Ok(Some(grant));
            }
            Claimed::Stored { answer, .. } => return Err(Verdict::Shared(answer)),
            Claimed::Unknown { call } => return Err(Verdict::Shared(Shared::Unknown { call })),
            Claimed::Conflict => {
                return Err(refused(Guard::Idempotency, Reason::KeyConflict { key: key.to_string() }));
            }
            Claimed::Full { what, held, limit } => {
                return Err(refused(Guard::Idempotency, Reason::Full { what, held, limit }));
            }
            Claimed::Joined(answer) => answer,
        };
        tokio::select! {
            answer = joined => match answer {
                Ok(Answered::Done { answer, .. }) => return Err(Verdict::Shared(answer)),
                Ok(Answered::Unknown { call }) => return Err(Verdict::Shared(Shared::Unknown { call })),
                // The first one did not do it: the key is free again, and may be ours now.
                Ok(Answered::Freed) | Err(_) => {}
            },
            verdict = not_begun(entry) => return Err(verdict),
        }
    }
}
