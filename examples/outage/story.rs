//! What happens when, and which limits were turned down or up so that it fits into two minutes.

use std::{sync::Arc, time::Duration};

use mainstay::{
    Clay, Credits, Retell, VendorConfig,
    actors::{
        breaker::{BreakerConfig, Window},
        bulkhead::Rate,
        clock::{SystemWall, WallClock},
        dlq::LetterConfig,
    },
    testing::{Chaos, Episode, Fault, Script, SimulatorConfig, Spread, Vendor},
};

/// Leads for Clay.
pub const LEADS: usize = 2_000;
/// Phone calls by Retell.
pub const CALLS: usize = 200;
/// Over how long they are offered.
pub const OFFERED_OVER: Duration = Duration::from_secs(45);
/// What may be spent on Clay in a day, in credits.
pub const CLAY_LIMIT: u64 = 11_500;
/// What may be spent on Retell in a day, in cents.
pub const RETELL_LIMIT: u64 = 5_000;
/// The Clay breaker's open time, instead of 30 s and 15 min.
pub const CLAY_OPEN: Duration = Duration::from_secs(3);
/// The Retell breaker's open time, instead of 30 s.
pub const RETELL_OPEN: Duration = Duration::from_secs(3);
/// Clay's timeout, instead of 10 s.
pub const CLAY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Retell's timeout, instead of 120 s.
pub const RETELL_TIMEOUT: Duration = Duration::from_secs(3);
/// Records a second and burst at Clay, instead of 10 and 20.
pub const CLAY_RATE: (f64, u32) = (100.0, 50);
/// Call starts a second and burst at Retell, instead of 1 and 1.
pub const RETELL_RATE: (f64, u32) = (20.0, 5);

/// One telling.
pub struct Story {
    pub seed: u64,
}

impl Story {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The vendors. What they allow is a little more than what the application asks for, as in life.
    pub fn vendors(&self, clay_callback: String, retell_callback: String) -> SimulatorConfig {
        let mut config = SimulatorConfig { seed: self.seed, script: self.script(), ..SimulatorConfig::default() };
        config.clay.rate = mainstay::testing::Rate { per_second: CLAY_RATE.0 * 1.3, burst: CLAY_RATE.1 * 2 };
        config.clay.enrichment = Spread::millis(50, 400);
        config.clay.callback_url = Some(clay_callback);
        config.retell.starts = mainstay::testing::Rate { per_second: RETELL_RATE.0 * 1.3, burst: RETELL_RATE.1 * 2 };
        config.retell.call_length = Spread::millis(200, 900);
        config.retell.cents_per_minute = 600;
        config.retell.callback_url = Some(retell_callback);
        config.callbacks.duplicate_share = 0.02;
        config
    }

    /// What goes wrong, when.
    fn script(&self) -> Script {
        episodes().into_iter().fold(Script::seeded(self.seed), Script::episode)
    }

    /// Panics in every kind of actor, and in the attempt loops.
    pub fn chaos(&self) -> Arc<Chaos> {
        let chaos = Chaos::seeded(self.seed)
            .panic_every(150, "*/attempts")
            .panic_every(400, "*/lane/*")
            .panic_every(400, "*/gate")
            .panic_every(400, "*/breaker")
            .panic_every(400, "*/budget")
            .panic_every(400, "*/client")
            .panic_every(400, "*/keys")
            .panic_every(60, "*/fallback")
            .panic_every(100, "runtime/dlq")
            .panic_every(1_500, "runtime/health")
            .panic_every(20, "runtime/debug")
            .panic_every(40, "runtime/api");
        Arc::new(chaos)
    }

    pub fn clay(&self, webhook: String) -> VendorConfig {
        let mut table = Clay::table(webhook);
        table.timeout = CLAY_TIMEOUT;
        VendorConfig::clay("clay", table).daily_limit(Credits::whole(CLAY_LIMIT)).cache_by("/domain").with(|config| {
            config.gate.rate = Some(Rate { per_second: CLAY_RATE.0, burst: CLAY_RATE.1 });
            shorten(&mut config.breaker, CLAY_OPEN);
            config.letters = letters();
        })
    }

    pub fn retell(&self, base_url: String) -> VendorConfig {
        let mut workspace = Retell::workspace("key_test");
        workspace.base_url = base_url.into();
        workspace.timeout = RETELL_TIMEOUT;
        workspace.cents_per_call = Credits::whole(10);
        workspace.call_max = Duration::from_secs(20);
        VendorConfig::retell("retell", workspace).daily_limit(Credits::whole(RETELL_LIMIT)).with(|config| {
            config.gate.rate = Some(Rate { per_second: RETELL_RATE.0, burst: RETELL_RATE.1 });
            config.budget.time_zone = zone_of_noon();
            // Its own list of calls may take five minutes; here the breaker's window is of seconds.
            for operation in config.profile.iter_mut().flat_map(|profile| profile.operations.values_mut()) {
                operation.timeout = operation.timeout.min(RETELL_TIMEOUT);
            }
            shorten(&mut config.breaker, RETELL_OPEN);
            config.letters = letters();
        })
    }
}

/// An outage of seconds, not of hours: parked calls are tried often.
fn letters() -> LetterConfig {
    let (backoff_first, backoff_max) = (Duration::from_secs(1), Duration::from_secs(4));
    LetterConfig { attempts_max: 20, backoff_first, backoff_max, ..LetterConfig::patterns() }
}

/// A time zone in which it is about noon: the day of the budgets must not end in the middle of the story.
fn zone_of_noon() -> String {
    let hour = SystemWall.wall().as_second().rem_euclid(24 * 3600) / 3600;
    // These zones are named after what must be added to reach Greenwich: Etc/GMT-3 is three hours ahead of it.
    match 12 - hour {
        0 => "UTC".into(),
        ahead => format!("Etc/GMT{:+}", -ahead),
    }
}

fn shorten(breaker: &mut BreakerConfig, open_for: Duration) {
    if let Some(rate) = &mut breaker.rate {
        rate.open_for = open_for;
        rate.window = Window::Time(Duration::from_secs(10));
    }
    if let Some(streak) = &mut breaker.streak {
        streak.open_for = open_for;
    }
    breaker.open_max = open_for * 4;
}

fn episode(vendor: Vendor, from: u64, until: u64, share: f64, fault: Fault) -> Episode {
    Episode { from: Duration::from_secs(from), until: Duration::from_secs(until), vendor, fault, share }
}

/// The script: normal, slow, outage, recovery, rate limiting, false successes, broken answers.
fn episodes() -> Vec<Episode> {
    let slow = Fault::Latency { min: Duration::from_millis(300), max: Duration::from_millis(900) };
    let busy = Fault::TooMany { retry_after_secs: Some(1) };
    vec![
        episode(Vendor::Clay, 7, 11, 0.5, slow),
        episode(Vendor::Clay, 12, 22, 0.02, Fault::BlackHole { effect: true }),
        episode(Vendor::Clay, 12, 22, 0.02, Fault::Reset { effect: false }),
        episode(Vendor::Clay, 12, 22, 0.9, Fault::Status { code: 503, effect: false }),
        episode(Vendor::Clay, 27, 31, 0.4, busy),
        episode(Vendor::Clay, 33, 36, 0.2, Fault::FalseSuccess),
        episode(Vendor::Retell, 5, 9, 0.5, slow),
        episode(Vendor::Retell, 14, 25, 0.2, Fault::BlackHole { effect: true }),
        episode(Vendor::Retell, 14, 25, 0.5, Fault::Status { code: 500, effect: false }),
        episode(Vendor::Retell, 14, 25, 0.3, busy),
        episode(Vendor::Retell, 29, 31, 0.2, Fault::Malformed),
        episode(Vendor::Retell, 33, 35, 0.2, Fault::FalseSuccess),
    ]
}

/// The script as a person reads it.
pub fn in_words() -> Vec<String> {
    let line = |e: Episode| {
        let (from, until) = (e.from.as_secs(), e.until.as_secs());
        format!("{from:>2} to {until:>2} s  {:<6} {:>3.0} %  {}", e.vendor.as_str(), e.share * 100.0, words(&e.fault))
    };
    let mut lines: Vec<_> = episodes().into_iter().map(line).collect();
    lines.sort();
    lines
}

fn words(fault: &Fault) -> String {
    let after = |effect: &bool| if *effect { ", after the work was done" } else { ", nothing was done" };
    match fault {
        Fault::Latency { min, max } => format!("slow: answers after {min:?} to {max:?}"),
        Fault::BlackHole { effect } => format!("no answer at all{}", after(effect)),
        Fault::Reset { effect } => format!("connection reset{}", after(effect)),
        Fault::CutBody { effect } => format!("half an answer{}", after(effect)),
        Fault::TooMany { .. } => "429 with Retry-After".into(),
        Fault::Status { code, effect } => format!("HTTP {code}{}", after(effect)),
        Fault::FalseSuccess => "a success whose body says failure".into(),
        Fault::Malformed => "an answer that is no JSON, after the work was done".into(),
    }
}
