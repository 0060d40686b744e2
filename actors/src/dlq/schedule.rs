//! When a letter is due again. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::DlqConfig;

/// When a letter is due after its `attempts`-th failed attempt (0: it was only refused, nothing was tried). `spread` is a
/// random number in `0.0..1.0`. Never before `not_before`, which is what a refusal or the vendor said.
pub fn due_after(config: &DlqConfig, attempts: u32, now: Timestamp, not_before: Timestamp, spread: f64) -> Timestamp {
    let pause = match attempts {
        0 => Duration::ZERO,
        n => config.backoff_first.saturating_mul(1 << (n - 1).min(30)).min(config.backoff_max),
    };
    let jittered = pause.mul_f64(1.0 - config.jitter + 2.0 * config.jitter * spread.clamp(0.0, 1.0));
    let own = now.checked_add(jittered).unwrap_or(Timestamp::MAX);
    own.max(not_before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let (config, now) = (DlqConfig { jitter: 0.0, ..DlqConfig::default() }, at("2026-11-24T12:00:00Z"));
        let seconds = |attempts| due_after(&config, attempts, now, now, 0.5).duration_since(now).as_secs();
        assert_eq!([0, 1, 2, 3, 7, 8, 500].map(seconds), [0, 30, 60, 120, 1920, 3600, 3600]);
    }

    proptest! {
        #[test]
        fn a_letter_is_never_due_before_the_vendor_said(attempts in 0u32.., spread in 0.0..1.0, ahead in 0i64..1_000_000) {
            let now = at("2026-11-24T12:00:00Z");
            let not_before = now + jiff::SignedDuration::from_secs(ahead);
            let due = due_after(&DlqConfig::default(), attempts, now, not_before, spread);
            prop_assert!(due >= not_before);
            prop_assert!(due <= not_before.max(now + jiff::SignedDuration::from_secs(2 * 3600)));
        }
    }
}
