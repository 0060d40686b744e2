//! What an operator may order, and when the order is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Breaker, Change, Move, Outage, Position, Step, later};
use crate::{
    breaker::{
        Figures,
        trip::{Counts, words},
    },
    fact::BreakerMode,
};

/// The longest that an order may last. A longer one is given again, by somebody who still thinks so.
pub const ORDER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest reason, in bytes.
pub const ORDER_REASON_MAX_BYTES: usize = 200;

/// How long an order lasts, and why it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    lasting: Duration,
    reason: Arc<str>,
}

impl Order {
    /// An order lasts 1 ms to [`ORDER_MAX`]. Its reason says why, and who says so; it is shown in refusals, facts, logs and the
    /// snapshot, and has 1 to [`ORDER_REASON_MAX_BYTES`] bytes.
    ///
    /// # Errors
    ///
    /// [`BadOrder`] when one of them is out of its range.
    ///
    /// ```
    /// use std::time::Duration;
    /// use mainstay_actors::breaker::Order;
    ///
    /// assert!(Order::new(Duration::from_secs(3_600), "vendor's maintenance, Ana").is_ok());
    /// assert!(Order::new(Duration::from_secs(90_000), "for ever").is_err());
    /// ```
    pub fn new(lasting: Duration, reason: &str) -> Result<Self, BadOrder> {
        if lasting < Duration::from_millis(1) || lasting > ORDER_MAX {
            return Err(BadOrder::Lasting { asked: lasting });
        }
        if reason.trim().is_empty() || reason.len() > ORDER_REASON_MAX_BYTES {
            return Err(BadOrder::Reason { bytes: reason.len() });
        }
        Ok(Self { lasting, reason: reason.into() })
    }

    /// How long it is in force.
    pub fn lasting(&self) -> Duration {
        self.lasting
    }

    /// Why, and who says so.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// An order that cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum BadOrder {
    /// It would last too long, or not at all.
    #[error("{asked:?} is not within 1ms..=24h: an order has an end, and is given again if it must go on")]
    Lasting {
        /// How long it was to last.
        asked: Duration,
    },
    /// It has no reason, or a long one.
    #[error("a reason of {bytes} bytes is not within 1..={ORDER_REASON_MAX_BYTES}: say why, and who says so")]
    Reason {
        /// Its length.
        bytes: usize,
    },
}

/// What an operator tells a breaker. Each takes the place of the one before, and begins a new period with nothing counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Refuse every call. When the order ends it is half-open: a probe finds out.
    ForceOpen(Order),
    /// Let every call pass and judge none; what ends is counted, for people to see. When the order ends it is closed.
    ForceClosed(Order),
    /// Let every call pass, and say when it would have opened. When the order ends it is closed.
    MetricsOnly(Order),
    /// The order in force ends now. Without one, nothing happens.
    Automatic,
    /// Closed, and no order in force: the operator knows that the vendor works.
    Reset,
}

/// The order in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// What it makes of the breaker.
    pub mode: BreakerMode,
    /// When it ends.
    pub until: Instant,
    /// Why it was given.
    pub reason: Arc<str>,
    /// For metrics only: until when it would be open, had it opened.
    pub would_be_open_until: Option<Instant>,
}

impl Breaker {
    /// What an operator's word changes.
    pub fn decide_control(&self, now: Instant, control: &Control) -> Change {
        let step = match control {
            Control::ForceOpen(order) => self.forced_open(now, order),
            Control::ForceClosed(order) => self.held_closed(now, order, BreakerMode::ForcedClosed),
            Control::MetricsOnly(order) => self.held_closed(now, order, BreakerMode::MetricsOnly),
            Control::Automatic if self.hold.is_some() => self.order_ended(now),
            Control::Automatic => Step::Nothing,
            Control::Reset => self.closing(now, "reset by an operator".into(), Figures::default()),
        };
        Change(step)
    }

    /// Back to the rules: after forced open by way of a probe, else with a fresh start.
    pub(super) fn order_ended(&self, now: Instant) -> Step {
        let cause = "the operator's order ended".to_owned();
        match &self.position {
            Position::Open { outage, .. } => self.half_opening(now, outage, cause),
            _ => self.closing(now, cause, Figures::default()),
        }
    }

    fn forced_open(&self, now: Instant, order: &Order) -> Step {
        let hold = hold(now, order, BreakerMode::ForcedOpen);
        let cause: Arc<str> = format!("forced open for {}: {}", words(order.lasting), order.reason).into();
        // Should the probe after it fail, it opens as if a rule had opened it.
        let outage = Outage { cause: cause.clone(), open_for: self.config.first_open_time(), reopenings: 0 };
        let to = Position::Open { until: hold.until, outage };
        Step::Move(Move { to, hold: Some(hold), at: now, cause, figures: Figures::default() })
    }

    fn held_closed(&self, now: Instant, order: &Order, mode: BreakerMode) -> Step {
        let hold = hold(now, order, mode);
        let cause = format!("{mode} for {}: {}", words(order.lasting), order.reason).into();
        let to = Position::Closed(Counts::new(&self.config));
        Step::Move(Move { to, hold: Some(hold), at: now, cause, figures: Figures::default() })
    }
}

fn hold(now: Instant, order: &Order, mode: BreakerMode) -> Hold {
    Hold { mode, until: later(now, order.lasting), reason: order.reason.clone(), would_be_open_until: None }
}
