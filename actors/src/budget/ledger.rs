//! The budget's rule: what is spent, what is reserved, and who may reserve more.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil::Date};

use super::{Ask, BudgetConfig, Calendar, Mark, Note, Page, Span, exhausted::Exhausted, shelf::Shelf};
use crate::{
    credits::Credits,
    grant::{GrantEnd, GrantReport},
    ids::{GrantId, MeterId},
    meter::LimitId,
    outcome::{Class, Effect},
    profile::Charge,
    refusal::{Guard, Reason, Refusal},
};

/// A reservation is in every book that its call touches, in the pages of one date.
#[derive(Debug, Clone)]
struct Reservation {
    date: Date,
    ask: Ask,
    unknown: bool,
}

/// A decision on the passing of time: whether a new day has begun, and whether the vendor's *exhausted* is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    now: Instant,
    day: Option<Span>,
    unblock: bool,
}

/// A decision on a call: what it reserves, or the refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Reserve {
    turn: Turn,
    ask: Ask,
    /// Which limit lacks money that another period would have.
    hard: Option<usize>,
    /// Whether it passes, and why not.
    pub verdict: Result<(), Refusal>,
}

/// What an effect cost, where that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Costs {
    main: Option<Credits>,
    also: BTreeMap<MeterId, Credits>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Nothing,
    Refund,
    Keep,
    /// At the costs that are stated, else at what was reserved.
    Settle(Costs),
}

/// A decision on the end of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    turn: Turn,
    grant: GrantId,
    entry: Entry,
    exhausted: Option<Exhausted>,
}

/// The books of one vendor account.
#[derive(Debug, Clone)]
pub struct Ledger {
    calendar: Calendar,
    today: Span,
    main: MeterId,
    /// One for each limit; the first one is the account's own on the main meter.
    pub(super) shelves: Vec<Shelf>,
    open: BTreeMap<GrantId, Reservation>,
    outstanding_max: usize,
    next_grant: u64,
    exhausted: Option<Exhausted>,
    refused_total: u64,
}

impl Ledger {
    /// Books for a checked configuration, on the day of `wall`. (An unknown zone, which the check refuses, reads as UTC.)
    pub fn new(config: &BudgetConfig, wall: Timestamp, now: Instant) -> Self {
        let calendar = Calendar::of(&config.time_zone).unwrap_or_else(Calendar::utc);
        let today = calendar.day_of(wall);
        let limits = config.all_limits();
        let shelf = |(at, limit)| {
            let first = !limits.iter().take(at).any(|other| config.meter_of(other) == config.meter_of(limit));
            Shelf::new(limit, config, calendar.span(limit.period, &today), first, now)
        };
        Self {
            shelves: limits.iter().enumerate().map(shelf).collect(),
            today,
            calendar,
            main: config.unit.clone(),
            open: BTreeMap::new(),
            outstanding_max: config.outstanding_max,
            next_grant: 1,
            exhausted: None,
            refused_total: 0,
        }
    }

    /// The present day.
    pub fn today(&self) -> &Span {
        &self.today
    }

    /// What the vendor bills in.
    pub fn main_meter(&self) -> &MeterId {
        &self.main
    }

    /// The figures of a limit in the period that a date is in, if they are still kept.
    pub fn page(&self, which: &LimitId, date: Date) -> Option<&Page> {
        self.shelves.iter().find_map(|shelf| shelf.page(shelf.holder(which)?, date))
    }

    /// The name of the account's own limit on the main meter.
    pub fn first_limit(&self) -> LimitId {
        self.shelves.first().map(Shelf::account_id).unwrap_or_default()
    }

    pub(super) fn lift_exhausted(&mut self) {
        self.exhausted = None;
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
        self.exhausted.filter(|it| it.blocks(self.today.date, now)).map(|it| it.shown())
    }

    /// When [`Self::apply_turn`] has something to do before the day ends: lift a block, or take a sample for the forecast.
    pub fn due(&self) -> Option<Instant> {
        let unblock = self.exhausted.and_then(|it| it.lift_at(self.today.date));
        unblock.into_iter().chain(self.shelves.iter().filter_map(Shelf::sample_due)).min()
    }

    /// Has a new day begun? Has a block ended?
    pub fn decide_turn(&self, wall: Timestamp, now: Instant) -> Turn {
        let day = self.calendar.turn(&self.today, wall);
        let date = day.unwrap_or(self.today).date;
        Turn { now, day, unblock: self.exhausted.is_some_and(|it| !it.blocks(date, now)) }
    }

    /// Begins the new day, and the new month with its first: what was reserved before does not count in it.
    pub fn apply_turn(&mut self, turn: Turn) -> Vec<Note> {
        let mut notes = Vec::new();
        if turn.unblock {
            self.exhausted = None;
        }
        self.shelves.iter_mut().for_each(|shelf| shelf.sample(turn.now));
        let Some(day) = turn.day else { return notes };
        self.today = day;
        for shelf in &mut self.shelves {
            shelf.turn(self.calendar.span(shelf.period, &day), turn.now, &mut notes);
        }
        self.write_off(turn.now, &mut notes);
        notes
    }

    /// A reservation is kept as long as a page of days or months knows it. After that it counts as spent, and its end is
    /// ignored: or those whose end nobody ever knows would fill the table.
    fn write_off(&mut self, now: Instant, notes: &mut Vec<Note>) {
        let oldest = self.shelves.iter().map(|shelf| shelf.oldest(&self.today)).min();
        let old = |held: &Reservation| oldest.is_some_and(|oldest| held.date < oldest);
        let gone: Vec<_> = self.open.iter().filter(|(_, held)| old(held)).map(|(grant, _)| *grant).collect();
        for grant in &gone {
            self.settle(*grant, &Costs::default(), now, &mut Vec::new());
        }
        if !gone.is_empty() {
            notes.push(Note::WrittenOff(gone.len()));
        }
    }

    /// May a call reserve what it asks for, in every limit that it touches? A pure question: asking changes nothing. A lane
    /// that is not critical hears of its own limit: the whole, less the share that is kept.
    pub fn decide_reserve(&self, wall: Timestamp, now: Instant, ask: Ask) -> Reserve {
        let turn = self.decide_turn(wall, now);
        let (hard, verdict) = match self.admit(&ask, &turn, wall) {
            Ok(()) => (None, Ok(())),
            Err((hard, refusal)) => (hard, Err(refusal)),
        };
        Reserve { turn, ask, hard, verdict }
    }

    fn admit(&self, ask: &Ask, turn: &Turn, wall: Timestamp) -> Result<(), (Option<usize>, Refusal)> {
        let (now, day) = (turn.now, turn.day.unwrap_or(self.today));
        let blocked = self.exhausted.filter(|it| it.blocks(day.date, now) && !ask.amounts.is_empty());
        if let Some(exhausted) = blocked {
            let back = exhausted.over_at(day.date, later(now, day.end, wall), now);
            return Err((None, Refusal::new(Guard::Budget, Reason::VendorExhausted).retry_at(back)));
        }
        let mut worst = None;
        for (at, shelf) in self.shelves.iter().enumerate() {
            let Some(touch) = shelf.touch(ask, day.date) else { continue };
            let span = self.span_after(turn, shelf);
            let Err(over) = shelf.admit(touch, ask.critical, &span) else { continue };
            // The caller hears of the limit that keeps it away longest: it is no use to come back before.
            let reset = over.reset.unwrap_or(Timestamp::MAX);
            if worst.as_ref().is_none_or(|(_, longest, _)| reset > *longest) {
                worst = Some((at, reset, over));
            }
        }
        if let Some((at, _, over)) = worst {
            let refusal = Refusal::new(Guard::Budget, over.reason);
            let refusal = match over.reset {
                Some(reset) => refusal.retry_at(later(now, reset, wall)),
                None => refusal,
            };
            return Err((over.hard.then_some(at), refusal));
        }
        let (held, limit) = (self.open.len(), self.outstanding_max);
        if held >= limit {
            let reason = Reason::Full { what: "budget reservations", held, limit };
            return Err((None, Refusal::new(Guard::Budget, reason)));
        }
        Ok(())
    }

    /// The period of a limit once a turn is made.
    pub(super) fn span_after(&self, turn: &Turn, shelf: &Shelf) -> Span {
        turn.day.map_or(shelf.span, |day| self.calendar.span(shelf.period, &day))
    }

    /// Enters the reservation in every book it touches, or counts the refusal.
    pub fn apply_reserve(&mut self, reserve: Reserve) -> (Result<GrantId, Refusal>, Vec<Note>) {
        let Reserve { turn, ask, hard, verdict } = reserve;
        let mut notes = self.apply_turn(turn);
        if let Err(refusal) = verdict {
            self.refused_total += 1;
            if let Some(shelf) = hard.and_then(|at| self.shelves.get_mut(at))
                && let Some(touch) = shelf.touch(&ask, self.today.date)
            {
                shelf.note_hard(touch, turn.now, &mut notes);
            }
            return (Err(refusal), notes);
        }
        for shelf in &mut self.shelves {
            if let Some(touch) = shelf.touch(&ask, self.today.date) {
                shelf.reserve(touch, turn.now, &mut notes);
            }
        }
        let grant = GrantId(self.next_grant);
        self.next_grant += 1;
        self.open.insert(grant, Reservation { date: self.today.date, ask, unknown: false });
        (Ok(grant), notes)
    }

    /// What does this end mean for its reservation? Nothing, if it was applied before or is no longer kept.
    pub fn decide_report(&self, report: &GrantReport, wall: Timestamp, now: Instant) -> Posting {
        let turn = self.decide_turn(wall, now);
        let held = self.open.get(&report.grant);
        let entry = held.map_or(Entry::Nothing, |held| held.entry(&report.end));
        let today = turn.day.unwrap_or(self.today);
        let exhausted = match &report.end {
            GrantEnd::Ended(end) if held.is_some() && end.class == Class::Exhausted => {
                Some(Exhausted::said(end.retry_after, &today, wall, now))
            }
            _ => None,
        };
        Posting { turn, grant: report.grant, entry, exhausted }
    }

    /// Settles, refunds or keeps the reservation, in the figures of its own day and month.
    pub fn apply_report(&mut self, posting: Posting) -> Vec<Note> {
        let mut notes = self.apply_turn(posting.turn);
        let now = posting.turn.now;
        match posting.entry {
            Entry::Nothing => {}
            Entry::Keep => self.keep(posting.grant, now),
            Entry::Refund => self.refund(posting.grant, now),
            Entry::Settle(costs) => self.settle(posting.grant, &costs, now, &mut notes),
        }
        if let Some(exhausted) = posting.exhausted {
            self.exhaust(exhausted, &mut notes);
        }
        notes
    }

    fn keep(&mut self, grant: GrantId, now: Instant) {
        let Some(held) = self.open.get_mut(&grant).filter(|held| !held.unknown) else { return };
        held.unknown = true;
        for shelf in &mut self.shelves {
            if let Some(touch) = shelf.touch(&held.ask, held.date) {
                shelf.keep(touch, now);
            }
        }
    }

    fn refund(&mut self, grant: GrantId, now: Instant) {
        let Some(held) = self.open.remove(&grant) else { return };
        for shelf in &mut self.shelves {
            if let Some(touch) = shelf.touch(&held.ask, held.date) {
                shelf.refund(touch, held.unknown, now);
            }
        }
    }

    fn settle(&mut self, grant: GrantId, costs: &Costs, now: Instant, notes: &mut Vec<Note>) {
        let Some(held) = self.open.remove(&grant) else { return };
        for shelf in &mut self.shelves {
            let Some(touch) = shelf.touch(&held.ask, held.date) else { continue };
            let known = if shelf.meter == self.main { costs.main } else { costs.also.get(&shelf.meter).copied() };
            let cost = known.unwrap_or(touch.amount);
            shelf.settle(touch, held.unknown, cost, now, notes);
        }
    }

    /// Blocks, or blocks longer. Many calls in flight hear the same: it is noted once.
    fn exhaust(&mut self, new: Exhausted, notes: &mut Vec<Note>) {
        let known = self.exhausted.is_some();
        self.exhausted = Some(new.and(self.exhausted));
        if !known && let Some(first) = self.shelves.first() {
            notes.extend(first.note_of_account(Mark::Exhausted));
        }
    }
}

impl Turn {
    /// When it was decided.
    pub(super) fn now(&self) -> Instant {
        self.now
    }
}

impl Reservation {
    fn entry(&self, end: &GrantEnd) -> Entry {
        let end = match end {
            // Once it may have been spent, only an end that knows better gives it back.
            GrantEnd::Unused if self.unknown => return Entry::Nothing,
            GrantEnd::Unused => return Entry::Refund,
            GrantEnd::Unknown => return Entry::Keep,
            GrantEnd::Ended(end) => end,
        };
        match (end.effect, self.ask.charges.get(&end.class)) {
            (Effect::Unknown, _) => Entry::Keep,
            (_, Some(Charge::Nothing)) => Entry::Refund,
            (_, Some(Charge::Estimate)) => Entry::Settle(Costs::default()),
            (_, Some(Charge::Fixed(cost))) => Entry::Settle(Costs { main: Some(*cost), ..Costs::default() }),
            (Effect::None, None) => Entry::Refund,
            (Effect::Done, None) => Entry::Settle(Costs { main: end.cost, also: end.also.clone() }),
        }
    }
}

/// The monotonic moment of a calendar time that is `then` while it is `wall` now.
fn later(now: Instant, then: Timestamp, wall: Timestamp) -> Instant {
    let ahead = Duration::try_from(then.duration_since(wall)).unwrap_or(Duration::ZERO);
    now.checked_add(ahead).unwrap_or(now)
}

#[cfg(test)]
mod tests;
