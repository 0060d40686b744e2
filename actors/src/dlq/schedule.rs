//! What a letter is after an end, and when it is due again. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{Ended, Failure, Kind, LetterConfig, LetterState};
use crate::outcome::Class;

/// When a letter is due after its `attempts`-th failed attempt (0: it was only refused, nothing was tried). `spread` is a
/// random number in `0.0..1.0`. Never before `not_before`, which is what a refusal or the vendor said.
pub fn due_after(
    config: &LetterConfig,
    attempts: u32,
    now: Timestamp,
    not_before: Timestamp,
    spread: f64,
) -> Timestamp {
    let pause = match attempts {
        0 => Duration::ZERO,
        n => config.backoff_first.saturating_mul(1 << (n - 1).min(30)).min(config.backoff_max),
    };
    let jittered = pause.mul_f64(1.0 - config.jitter + 2.0 * config.jitter * spread.clamp(0.0, 1.0));
    let own = now.checked_add(jittered).unwrap_or(Timestamp::MAX);
    own.max(not_before)
}

/// The state of a letter after an end for which so many requests were sent. `None`: it is done. Where nothing was sent, no
/// attempt is used up.
pub fn state_after(
    config: &LetterConfig,
    old: &LetterState,
    end: &Ended,
    requests: u32,
    now: Timestamp,
    spread: f64,
) -> Option<LetterState> {
    let tried = u32::from(requests > 0);
    let attempts = old.attempts.saturating_add(tried);
    Some(match end {
        Ended::Delivered => return None,
        Ended::Became { kind, due, error } => {
            let due = due.filter(|_| kind.may_be_due());
            LetterState { attempts: 0, due, ..old.after(*kind, error.clone(), requests, now) }
        }
        Ended::Resumed => resumed(config, old, now),
        Ended::GivenUp { error } => {
            let kind = if old.kind == Kind::Later && old.sending.is_some() { Kind::Dead } else { old.kind };
            let next = old.after(kind, error.clone(), requests, now);
            LetterState { attempts, given_up: next.kind.may_be_due(), ..next }
        }
        Ended::Again { not_before, error } => {
            let next = LetterState { attempts, ..old.after(old.kind, error.clone(), requests, now) };
            // Attempts are used up by trying: being refused after the last one would be no reason.
            if tried > 0 && attempts >= config.attempts_max {
                return Some(LetterState { given_up: true, ..next });
            }
            let due = due_after(config, if tried > 0 { attempts } else { 0 }, now, *not_before, spread);
            LetterState { due: Some(due).filter(|_| next.kind.may_be_due()), ..next }
        }
    })
}

/// What a letter is that its dead process was sending. The attempt was counted when it began.
fn resumed(config: &LetterConfig, old: &LetterState, now: Timestamp) -> LetterState {
    let Some(sending) = old.sending else { return old.clone() };
    let error = Failure::new(Class::Abandoned, None, "the process ended while it was being done");
    if old.attempts >= config.attempts_max {
        let detail = format!("the process ended {} times while it was being done", old.attempts);
        return old.after(Kind::Unknown, Failure { detail, ..error }, 0, now);
    }
    let due = (sending.was == Kind::Later).then_some(now);
    LetterState { due, ..old.after(sending.was, error, 0, now) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dlq::HISTORY_MAX;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let (config, now) = (LetterConfig { jitter: 0.0, ..LetterConfig::default() }, at("2026-11-24T12:00:00Z"));
        let seconds = |attempts| due_after(&config, attempts, now, now, 0.5).duration_since(now).as_secs();
        assert_eq!([0, 1, 2, 3, 7, 8, 500].map(seconds), [0, 30, 60, 120, 1920, 3600, 3600]);
    }

    fn ends() -> impl Strategy<Value = (u32, Ended)> {
        let error = || Failure::new(Class::Server, Some(500), "x");
        let end = prop_oneof![
            6 => Just(Ended::Again { not_before: Timestamp::UNIX_EPOCH, error: error() }),
            1 => Just(Ended::GivenUp { error: error() }),
            1 => Just(Ended::Became { kind: Kind::Dead, due: None, error: error() }),
        ];
        (0u32..3, end)
    }

    proptest! {
        /// The slow model counts the attempts since the last that made it another kind.
        #[test]
        fn a_letter_is_given_up_when_its_attempts_are_used_up_and_never_for_being_refused(
            ends in proptest::collection::vec(ends(), 1..30), attempts_max in 1u32..6,
        ) {
            let (now, config) = (at("2026-11-24T12:00:00Z"), LetterConfig { attempts_max, ..LetterConfig::default() });
            let mut state = LetterState::new(Kind::Later, Failure::new(Class::Connect, None, "x"), 1, Some(now), now);
            let mut seen: Vec<(u32, Ended)> = Vec::new();
            for (requests, end) in ends {
                state = state_after(&config, &state, &end, requests, now, 0.5).unwrap();
                seen.push((requests, end.clone()));
                let since = seen.iter().rposition(|(_, end)| matches!(end, Ended::Became { .. })).map_or(0, |n| n + 1);
                let tried = seen[since..].iter().filter(|(requests, _)| *requests > 0).count() as u32;
                prop_assert_eq!(state.attempts, tried);
                prop_assert_eq!(state.requests, 1 + seen.iter().map(|(requests, _)| requests).sum::<u32>());
                prop_assert!(state.history.len() <= HISTORY_MAX);
                let given_up = match end {
                    Ended::GivenUp { .. } => true,
                    Ended::Again { .. } => requests > 0 && tried >= attempts_max,
                    _ => false,
                };
                prop_assert_eq!(state.given_up, given_up);
                prop_assert_eq!(state.due.is_some(), matches!(end, Ended::Again { .. }) && !given_up);
            }
        }

        #[test]
        fn a_letter_is_never_due_before_the_vendor_said(attempts in 0u32.., spread in 0.0..1.0, ahead in 0i64..1_000_000) {
            let now = at("2026-11-24T12:00:00Z");
            let not_before = now + jiff::SignedDuration::from_secs(ahead);
            let due = due_after(&LetterConfig::default(), attempts, now, not_before, spread);
            prop_assert!(due >= not_before);
            prop_assert!(due <= not_before.max(now + jiff::SignedDuration::from_secs(2 * 3600)));
        }
    }
}
