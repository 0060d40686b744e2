//! What happened, in the past tense. Guards and supervisors state facts; health, logs, snapshots and subscribers read them.

mod words;

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

pub use self::words::{BreakerMode, BreakerState, LetterCounts};
pub use crate::call::FinalState;
use crate::{
    credits::Credits,
    ids::{ActorId, CallId, Circuit, LaneId, LetterId, OperationId, VendorId},
    meter::LimitId,
    outcome::{Class, Effect, Phase},
    refusal::Guard,
    store::StoreState,
};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fact {
    /// An attempt ended.
    AttemptEnded {
        /// The vendor.
        vendor: VendorId,
        /// The operation.
        operation: OperationId,
        /// The call.
        call: CallId,
        /// The kind of its end.
        class: Class,
        /// What is known of the effect.
        effect: Effect,
        /// For a timeout: where it struck.
        phase: Option<Phase>,
        /// Milliseconds from the first byte to the end.
        elapsed_ms: u64,
    },
    /// A ticket was refused on its way.
    Refused {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
        /// Who refused.
        by: Guard,
    },
    /// A call reached, or moved to, a final state.
    CallEnded {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
        /// Where it stands now.
        state: FinalState,
    },
    /// A breaker changed its state, or an operator ordered one open that was open already. Stated once per change.
    BreakerChanged {
        /// The vendor.
        vendor: VendorId,
        /// Which of its circuits.
        circuit: Circuit,
        /// From.
        from: BreakerState,
        /// To.
        to: BreakerState,
        /// The period this state belongs to; results of other periods are ignored.
        generation: u64,
        /// The numbers that caused it.
        cause: Arc<str>,
        /// For open: when a probe may pass.
        retry_at: Option<Timestamp>,
    },
    /// An operator's order to a breaker began or ended.
    BreakerModeChanged {
        /// The vendor.
        vendor: VendorId,
        /// Which of its circuits.
        circuit: Circuit,
        /// Who decides now.
        mode: BreakerMode,
        /// When the order ends, if one is in force.
        until: Option<Timestamp>,
        /// Why, and who says so.
        reason: Arc<str>,
    },
    /// A breaker that only counts would have opened. Stated once for each opening there would have been.
    BreakerWouldOpen {
        /// The vendor.
        vendor: VendorId,
        /// Which of its circuits.
        circuit: Circuit,
        /// The numbers.
        cause: Arc<str>,
        /// Until when it would be open. Before that it is not stated again.
        until: Timestamp,
    },
    /// A lane refused because its queue is full. Summarised: at most one a second.
    LaneSaturated {
        /// The vendor.
        vendor: VendorId,
        /// The lane.
        lane: LaneId,
        /// Refused since the last of these facts.
        refused: u64,
    },
    /// A failed call was not tried again, because too many of the vendor's calls are tried again already. Once in a window.
    RetriesSpent {
        /// The vendor.
        vendor: VendorId,
        /// Retries granted in the window.
        retries: u64,
        /// Calls made in it.
        calls: u64,
    },
    /// An operator changed a limit while calls run: paused, resumed, resized.
    LimitsChanged {
        /// The vendor.
        vendor: VendorId,
        /// The lane; none for the vendor's gate.
        lane: Option<LaneId>,
        /// What is different now: `concurrency 2 -> 4`, `paused: maintenance`.
        what: Arc<str>,
    },
    /// Spending passed a mark, or the vendor said it is used up.
    BudgetMarked {
        /// The vendor.
        vendor: VendorId,
        /// Of which limit: meter, period, and whose.
        which: LimitId,
        /// Spent and reserved in the period.
        used: Credits,
        /// The limit of the period.
        limit: Credits,
        /// `soft`, `hard`, `overage` or `exhausted`.
        mark: &'static str,
    },
    /// An operator changed a budget: raised a limit until its reset, set what was spent, or lifted the vendor's *exhausted*.
    BudgetChanged {
        /// The vendor.
        vendor: VendorId,
        /// Which limit.
        which: LimitId,
        /// `raised`, `spent` or `reopened`.
        what: &'static str,
        /// Spent and reserved in the period.
        used: Credits,
        /// The limit of the period, as it is now.
        limit: Credits,
        /// Why.
        reason: Arc<str>,
    },
    /// A call went into the dead letter queue.
    DeadLettered {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
        /// The letter.
        letter: LetterId,
        /// Why.
        class: Class,
        /// Letters now waiting.
        total: u64,
    },
    /// Something changed of a vendor's parked calls: so many there are now.
    LettersCounted {
        /// The vendor.
        vendor: VendorId,
        /// The calls.
        letters: LetterCounts,
    },
    /// A dead letter, or a call queued for later, was delivered by a replay.
    Reprocessed {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
        /// The letter, which is gone now.
        letter: LetterId,
    },
    /// A permanent failure: a letter used up its attempts, or cannot succeed, and waits for a person.
    GivenUp {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
        /// The letter; the whole of it is listed by this id.
        letter: LetterId,
        /// Why.
        class: Class,
        /// How often it was tried since it was parked or last replayed.
        attempts: u32,
    },
    /// A person removed a letter for good.
    Purged {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
        /// The letter, which is gone now.
        letter: LetterId,
    },
    /// An effect that the vendor had taken on, or of which nobody knew, ended.
    EffectEnded {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
        /// The kind of its end.
        class: Class,
        /// Whether anything came of it.
        effect: Effect,
        /// What it cost, where that was said.
        cost: Option<Credits>,
        /// True when nobody knew of it; else the vendor had taken it on.
        was_unknown: bool,
    },
    /// A vendor was asked whether it is there, beside the application's own calls.
    Probed {
        /// The vendor.
        vendor: VendorId,
        /// The free operation it was asked by.
        operation: OperationId,
        /// Whether it works, and lets us in.
        works: bool,
        /// What it said, in words.
        detail: Arc<str>,
    },
    /// The end of an accepted call did not come in time.
    CallbackOverdue {
        /// The vendor.
        vendor: VendorId,
        /// The call.
        call: CallId,
    },
    /// An actor's incarnation ended.
    ActorExited {
        /// Which.
        actor: ActorId,
        /// `panic`, `hang`, `stopped`, `factory`.
        cause: &'static str,
        /// The panic's text and place, or what was seen.
        detail: Arc<str>,
        /// Which incarnation ended.
        generation: u64,
        /// The message that was in hand, if any.
        in_hand: Option<Arc<str>>,
    },
    /// An actor runs again.
    ActorRestarted {
        /// Which.
        actor: ActorId,
        /// The new incarnation.
        generation: u64,
        /// Restarts so far.
        restarts: u64,
    },
    /// An actor passed its restart limit: its queue is kept, it does not run.
    ActorParked {
        /// Which.
        actor: ActorId,
        /// Why.
        cause: Arc<str>,
    },
    /// A report that crashed its guard too often was set aside.
    ReportSetAside {
        /// Whose.
        actor: ActorId,
        /// How often it was tried.
        attempts: u32,
    },
    /// A supervisor passed its restart limit: the whole vendor refuses until it is revived.
    VendorDown {
        /// The vendor.
        vendor: VendorId,
        /// Which actor, and why.
        cause: Arc<str>,
    },
    /// A vendor was revived.
    VendorUp {
        /// The vendor.
        vendor: VendorId,
    },
    /// A thread did not turn for too long; its actors were moved.
    ThreadStuck {
        /// The thread's name.
        thread: Arc<str>,
        /// How many actors were moved.
        moved: usize,
    },
    /// The store has no space, hangs, has ended, or is well again.
    StoreChanged {
        /// How it is now.
        state: StoreState,
        /// Why, in words.
        detail: Arc<str>,
    },
    /// The data directory was damaged, and a backup was put in its place.
    StoreRestored {
        /// What was wrong.
        problem: Arc<str>,
        /// Where the damaged directory is now.
        damaged: Arc<str>,
        /// Which backup.
        backup: Arc<str>,
    },
    /// An attempt loop panicked; its call was taken up again or parked.
    AttemptLoopLost {
        /// The call.
        call: CallId,
        /// The panic's text.
        detail: Arc<str>,
    },
}

/// A fact with its place in the order of things.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Counts up by one; a gap means that a slow reader missed some.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// Where facts are stated. Stating one never blocks and never fails.
pub trait FactSink: Send + Sync {
    /// States a fact.
    fn state(&self, fact: Fact);
}

/// A sink that forgets, for rules and actors on their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFacts;

impl FactSink for NoFacts {
    fn state(&self, _: Fact) {}
}
