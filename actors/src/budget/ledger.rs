//! The budget's rule: what is spent, what is reserved, and who may reserve more.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil::Date};

use super::{BudgetConfig, Calendar, Day, Mark, Note, Page};
use crate::{
    credits::Credits,
    grant::{GrantEnd, GrantReport},
    ids::GrantId,
    outcome::{Class, Effect},
    refusal::{Guard, Reason, Refusal},
};

/// How many days' figures are kept, the present one included: a call's end may come after midnight, and the end of an
/// accepted one by callback much later.
pub const DAYS_KEPT: usize = 3;

/// The longest wait a vendor's *exhausted* can ask for: a month, the longest period that the known vendors bill by. A
/// mistaken answer must not close an account for years.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

#[derive(Debug, Clone, Copy)]
struct Reservation {
    day: Date,
    amount: Credits,
    unknown: bool,
}

/// The vendor said that the account is used up: nothing is reserved for the rest of this day, nor before this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exhausted {
    day: Date,
    until: Instant,
    shown: Timestamp,
}

/// A decision on the passing of time: whether a new day has begun, and whether the vendor's *exhausted* is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    day: Option<Day>,
    unblock: bool,
}

/// A decision on a call: the amount to reserve, or the refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Reserve {
    turn: Turn,
    /// Whether it passes, and why not.
    pub verdict: Result<Credits, Refusal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Nothing,
    Refund,
    Keep,
    Settle(Credits),
}

/// A decision on the end of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    turn: Turn,
    grant: GrantId,
    entry: Entry,
    exhausted: Option<Exhausted>,
}

/// The books of one vendor account.
#[derive(Debug, Clone)]
pub struct Ledger {
    limit: Credits,
    /// Only for the critical lane.
    kept: Credits,
    /// Ascending, as share and amount.
    soft_marks: Vec<(f64, Credits)>,
    unit: Arc<str>,
    outstanding_max: usize,
    calendar: Calendar,
    today: Page,
    /// Oldest first, at most [`DAYS_KEPT`] less today's.
    past: VecDeque<Page>,
    open: BTreeMap<GrantId, Reservation>,
    next_grant: u64,
    exhausted: Option<Exhausted>,
    refused_total: u64,
}

impl Ledger {
    /// Empty books for a checked configuration, on the day of `wall`. (An unknown zone, which the check refuses, reads as UTC.)
    pub fn new(config: &BudgetConfig, wall: Timestamp) -> Self {
        let calendar = Calendar::of(&config.time_zone).unwrap_or_else(Calendar::utc);
        let share = |part: f64| Credits::from_micros((config.daily_limit.micros() as f64 * part).round() as u64);
        let mut soft_marks: Vec<_> = config.soft_marks.iter().map(|mark| (*mark, share(*mark))).collect();
        soft_marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self {
            limit: config.daily_limit,
            kept: share(config.critical_share),
            soft_marks,
            unit: config.unit.as_str().into(),
            outstanding_max: config.outstanding_max,
            today: Page::new(calendar.day_of(wall)),
            calendar,
            past: VecDeque::with_capacity(DAYS_KEPT),
            open: BTreeMap::new(),
            next_grant: 1,
            exhausted: None,
            refused_total: 0,
        }
    }

    /// The present day's figures.
    pub fn today(&self) -> &Page {
        &self.today
    }

    /// The figures of a day, if they are still kept.
    pub fn page(&self, date: Date) -> Option<&Page> {
        std::iter::once(&self.today).chain(&self.past).find(|page| page.day.date == date)
    }

    /// Most that may be spent in a day.
    pub fn limit(&self) -> Credits {
        self.limit
    }

    /// What the vendor bills in.
    pub fn unit(&self) -> &Arc<str> {
        &self.unit
    }

    /// Reservations held.
    pub fn outstanding(&self) -> usize {
        self.open.len()
    }

    /// Calls refused so far.
    pub fn refused_total(&self) -> u64 {
        self.refused_total
    }

    /// Until when the vendor's *exhausted* blocks, as it is shown.
    pub fn exhausted_until(&self, now: Instant) -> Option<Timestamp> {
        self.exhausted.filter(|it| it.blocks(self.today.day.date, now)).map(|it| it.shown)
    }

    /// When a block that outlasts its day is to be lifted by [`Self::apply_turn`]; every other ends with the day.
    pub fn unblock_at(&self) -> Option<Instant> {
        self.exhausted.filter(|it| it.day != self.today.day.date).map(|it| it.until)
    }

    /// Has a new day begun? Has a block ended?
    pub fn decide_turn(&self, wall: Timestamp, now: Instant) -> Turn {
        let day = self.calendar.turn(&self.today.day, wall);
        let date = day.unwrap_or(self.today.day).date;
        Turn { day, unblock: self.exhausted.is_some_and(|it| !it.blocks(date, now)) }
    }

    /// Begins the new day: what was reserved before it does not count in it.
    pub fn apply_turn(&mut self, turn: Turn) -> Vec<Note> {
        if turn.unblock {
            self.exhausted = None;
        }
        let Some(day) = turn.day else { return Vec::new() };
        let ended = std::mem::replace(&mut self.today, Page::new(day));
        self.past.push_back(ended);
        while self.past.len() >= DAYS_KEPT {
            self.past.pop_front();
        }
        let oldest = self.past.front().map_or(day.date, |page| page.day.date);
        let held = self.open.len();
        self.open.retain(|_, reservation| reservation.day >= oldest);
        vec![Note::DayEnded(ended, held - self.open.len())]
    }

    /// May a call reserve this much? A pure question: asking changes nothing. A lane that is not critical hears of its own
    /// limit: the day's, less the share that is kept.
    pub fn decide_reserve(&self, wall: Timestamp, now: Instant, amount: Credits, critical: bool) -> Reserve {
        let turn = self.decide_turn(wall, now);
        let page = turn.day.map_or(self.today, Page::new);
        let reset = later(now, page.day.end, wall);
        let verdict = self.admit(&page, now, reset, amount, critical);
        Reserve { turn, verdict: verdict.map(|()| amount) }
    }

    fn admit(&self, page: &Page, now: Instant, reset: Instant, amount: Credits, critical: bool) -> Result<(), Refusal> {
        if let Some(exhausted) = self.exhausted.filter(|it| it.blocks(page.day.date, now)) {
            let day_over = if exhausted.day == page.day.date { reset } else { now };
            let back = day_over.max(exhausted.until);
            return Err(Refusal::new(Guard::Budget, Reason::VendorExhausted).retry_at(back));
        }
        let limit = if critical { self.limit } else { self.limit.minus(self.kept) };
        if page.used().plus(amount) > limit {
            let (settled, reserved, unit) = (page.settled, page.reserved, self.unit.clone());
            let reason = Reason::OverBudget { asked: amount, settled, reserved, limit, unit };
            let refusal = Refusal::new(Guard::Budget, reason);
            // More than a whole day's money is not cured by another day.
            return Err(if amount > limit { refusal } else { refusal.retry_at(reset) });
        }
        let (held, limit) = (self.open.len(), self.outstanding_max);
        if held >= limit {
            return Err(Refusal::new(Guard::Budget, Reason::Full { what: "budget reservations", held, limit }));
        }
        Ok(())
    }

    /// Enters the reservation, or counts the refusal.
    pub fn apply_reserve(&mut self, reserve: Reserve) -> (Result<GrantId, Refusal>, Vec<Note>) {
        let mut notes = self.apply_turn(reserve.turn);
        let verdict = match reserve.verdict {
            Ok(amount) => {
                let grant = GrantId(self.next_grant);
                self.next_grant += 1;
                self.open.insert(grant, Reservation { day: self.today.day.date, amount, unknown: false });
                self.today.reserved = self.today.reserved.plus(amount);
                self.note_soft_marks(&mut notes);
                Ok(grant)
            }
            Err(refusal) => {
                self.refused_total += 1;
                self.note_hard(&refusal, &mut notes);
                Err(refusal)
            }
        };
        (verdict, notes)
    }

    fn note_soft_marks(&mut self, notes: &mut Vec<Note>) {
        let used = self.today.used();
        while let Some((share, amount)) = self.soft_marks.get(self.today.soft_passed)
            && used >= *amount
        {
            notes.push(Note::Marked(Mark::Soft(*share), used));
            self.today.soft_passed += 1;
        }
    }

    /// A call that no day could pay says nothing of this day, so it has no `retry_at` and is no mark.
    fn note_hard(&mut self, refusal: &Refusal, notes: &mut Vec<Note>) {
        let for_want_of_money = matches!(refusal.reason, Reason::OverBudget { .. }) && refusal.retry_at.is_some();
        if for_want_of_money && !self.today.hard {
            self.today.hard = true;
            notes.push(Note::Marked(Mark::Hard, self.today.used()));
        }
    }

    /// What does this end mean for its reservation? Nothing, if it was applied before or is no longer kept.
    pub fn decide_report(&self, report: &GrantReport, wall: Timestamp, now: Instant) -> Posting {
        let turn = self.decide_turn(wall, now);
        let held = self.open.get(&report.grant);
        let entry = held.map_or(Entry::Nothing, |held| held.entry(report.end));
        let today = turn.day.unwrap_or(self.today.day);
        let exhausted = match report.end {
            GrantEnd::Ended(end) if held.is_some() && end.class == Class::Exhausted => {
                let wait = end.retry_after.unwrap_or(Duration::ZERO).min(RETRY_AFTER_MAX);
                let shown = wall.checked_add(wait).unwrap_or(today.end).max(today.end);
                Some(Exhausted { day: today.date, until: now.checked_add(wait).unwrap_or(now), shown })
            }
            _ => None,
        };
        Posting { turn, grant: report.grant, entry, exhausted }
    }

    /// Settles, refunds or keeps the reservation, in the figures of its own day.
    pub fn apply_report(&mut self, posting: Posting) -> Vec<Note> {
        let mut notes = self.apply_turn(posting.turn);
        match posting.entry {
            Entry::Nothing => {}
            Entry::Keep => self.keep(posting.grant),
            Entry::Refund => {
                self.close(posting.grant);
            }
            Entry::Settle(cost) => self.settle(posting.grant, cost, &mut notes),
        }
        if let Some(exhausted) = posting.exhausted {
            self.exhaust(exhausted, &mut notes);
        }
        notes
    }

    fn page_mut(&mut self, date: Date) -> Option<&mut Page> {
        std::iter::once(&mut self.today).chain(&mut self.past).find(|page| page.day.date == date)
    }

    fn keep(&mut self, grant: GrantId) {
        let Some(held) = self.open.get_mut(&grant) else { return };
        let first = !std::mem::replace(&mut held.unknown, true);
        let Reservation { day, amount, .. } = *held;
        if first && let Some(page) = self.page_mut(day) {
            page.unknown = page.unknown.plus(amount);
        }
    }

    /// Takes a reservation out of the books.
    fn close(&mut self, grant: GrantId) -> Option<Reservation> {
        let held = self.open.remove(&grant)?;
        if let Some(page) = self.page_mut(held.day) {
            page.reserved = page.reserved.minus(held.amount);
            if held.unknown {
                page.unknown = page.unknown.minus(held.amount);
            }
        }
        Some(held)
    }

    fn settle(&mut self, grant: GrantId, cost: Credits, notes: &mut Vec<Note>) {
        let Some(held) = self.close(grant) else { return };
        let Some(page) = self.page_mut(held.day) else { return };
        let excess = cost.minus(held.amount);
        page.settled = page.settled.plus(cost);
        page.overage = page.overage.plus(excess);
        let used = page.used();
        if excess > Credits::ZERO {
            notes.push(Note::Marked(Mark::Overage(excess), used));
        }
        self.note_soft_marks(notes);
    }

    /// Blocks, or blocks longer. Many calls in flight hear the same: it is noted once.
    fn exhaust(&mut self, new: Exhausted, notes: &mut Vec<Note>) {
        let old = self.exhausted.unwrap_or(new);
        let known = self.exhausted.is_some_and(|old| old.day == new.day);
        self.exhausted =
            Some(Exhausted { day: new.day, until: old.until.max(new.until), shown: old.shown.max(new.shown) });
        if !known {
            notes.push(Note::Marked(Mark::Exhausted, self.today.used()));
        }
    }
}

impl Reservation {
    fn entry(&self, end: GrantEnd) -> Entry {
        match end {
            // Once it may have been spent, only an end that knows better gives it back.
            GrantEnd::Unused if self.unknown => Entry::Nothing,
            GrantEnd::Unused => Entry::Refund,
            GrantEnd::Unknown => Entry::Keep,
            GrantEnd::Ended(end) => match end.effect {
                Effect::None => Entry::Refund,
                Effect::Unknown => Entry::Keep,
                Effect::Done => Entry::Settle(end.cost.unwrap_or(self.amount)),
            },
        }
    }
}

impl Exhausted {
    fn blocks(&self, today: Date, now: Instant) -> bool {
        self.day == today || now < self.until
    }
}

/// The monotonic moment of a calendar time that is `then` while it is `wall` now.
fn later(now: Instant, then: Timestamp, wall: Timestamp) -> Instant {
    let ahead = Duration::try_from(then.duration_since(wall)).unwrap_or(Duration::ZERO);
    now.checked_add(ahead).unwrap_or(now)
}

#[cfg(test)]
mod tests;
