//! The figures of one holder of one limit: the present period's page, and those of earlier ones that ends may still change.

use std::{collections::VecDeque, time::Instant};

use jiff::civil::Date;

use super::{Page, Span, forecast::Pace};
use crate::credits::Credits;

/// One holder's figures.
#[derive(Debug, Clone)]
pub(super) struct Book {
    /// By the configuration.
    amount: Credits,
    /// By an operator, until the reset.
    raised: Option<Credits>,
    pub(super) page: Page,
    /// Oldest first; only those that an end may still change or somebody may look up.
    past: VecDeque<Page>,
    /// For a forecast. Tenants are too many for one.
    pub(super) pace: Option<Pace>,
}

impl Book {
    pub(super) fn new(amount: Credits, page: Page, pace: Option<Pace>) -> Self {
        Self { amount, raised: None, page, past: VecDeque::new(), pace }
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.is_some()
    }

    pub(super) fn limit(&self) -> Credits {
        self.raised.unwrap_or(self.amount)
    }

    /// Begins a new period, and forgets the pages before `oldest`. Returns the page that ended.
    pub(super) fn turn(&mut self, span: Span, oldest: Date, now: Instant) -> Page {
        let ended = std::mem::replace(&mut self.page, Page::new(span));
        self.raised = None;
        self.pace = self.pace.as_ref().map(|_| Pace::begin(now, Credits::ZERO));
        if !ended.is_blank() {
            self.past.push_back(ended);
        }
        self.past.retain(|page| page.span.date >= oldest);
        ended
    }

    /// Another limit until the reset; the configured one takes that back.
    pub(super) fn raise(&mut self, to: Credits) {
        self.raised = (to != self.amount).then_some(to);
    }

    /// So much was spent, whatever is written here. The pace begins anew: this was not spent now.
    pub(super) fn set_spent(&mut self, spent: Credits, now: Instant) {
        self.page.settled = spent;
        self.page.overage = self.page.overage.min(spent);
        self.pace = self.pace.as_ref().map(|_| Pace::begin(now, self.page.used()));
    }

    pub(super) fn sample(&mut self, now: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.sample(now, self.page.used());
        }
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = &Page> {
        std::iter::once(&self.page).chain(&self.past)
    }

    pub(super) fn page_mut(&mut self, date: Date) -> Option<&mut Page> {
        std::iter::once(&mut self.page).chain(&mut self.past).find(|page| page.span.date == date)
    }

    /// It may make room for another: nothing is used or raised in the present period, or a new one begins, and every
    /// reservation in it has ended.
    pub(super) fn may_be_forgotten(&self, turned: bool) -> bool {
        let in_use = !turned && (!self.page.is_blank() || self.is_raised());
        !in_use && self.pages().all(|page| page.open == 0)
    }

    /// Nothing is lost when it is forgotten.
    pub(super) fn is_blank(&self) -> bool {
        self.page.is_blank() && self.past.is_empty() && self.raised.is_none()
    }
}
