//! One limit and its books: a book for the account, or one for each tenant or target that spends.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use jiff::{Timestamp, civil::Date};

use super::{Ask, BudgetConfig, Limit, Mark, Note, Own, Page, Scope, Span, book::Book, first_of, forecast::Pace};
use crate::{
    credits::Credits,
    ids::MeterId,
    meter::{LimitId, Period, Whose},
    refusal::Reason,
};

/// How many days' figures are kept, the present one included: a call's end may come after midnight, and the end of an
/// accepted one by callback much later. Of months, the present one and the last are kept.
pub const DAYS_KEPT: usize = 3;

/// Most tenants or targets with a book in one limit. At the bound those that used nothing in the present period, and whose
/// earlier calls have all ended, are forgotten; where there is none, a new one is refused.
pub const HOLDERS_MAX: usize = 10_000;

/// The holder of the account's own book, and of the vendor's own address among its targets. No tenant or target has an empty
/// name.
const ACCOUNT: &str = "";

/// Why a call does not fit into a limit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Over {
    pub(super) reason: Reason,
    /// When the limit is reset; `None`: never, or no reset would help.
    pub(super) reset: Option<Timestamp>,
    /// Whether it is for want of money that another period would have.
    pub(super) hard: bool,
}

/// A call's share of a shelf: whose book, what amount, and the date of its reservation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch<'a> {
    holder: &'a str,
    pub(super) amount: Credits,
    date: Date,
}

/// One limit and its books.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) meter: MeterId,
    pub(super) period: Period,
    scope: Scope,
    /// Whether it is the first of its meter: it states what is to be stated once.
    first: bool,
    amount: Credits,
    own: BTreeMap<String, Own>,
    /// Ascending.
    soft_marks: Arc<[f64]>,
    critical_share: f64,
    pub(super) span: Span,
    /// The first dates of the past periods that are kept, oldest first.
    kept: VecDeque<Date>,
    pub(super) books: BTreeMap<Arc<str>, Book>,
    /// The holders by what they use.
    pub(super) by_use: BTreeSet<(Credits, Arc<str>)>,
}

impl Shelf {
    pub(super) fn new(limit: &Limit, config: &BudgetConfig, span: Span, first: bool, now: Instant) -> Self {
        let mut soft_marks = config.soft_marks.clone();
        soft_marks.sort_by(f64::total_cmp);
        let mut shelf = Self {
            meter: config.meter_of(limit).clone(),
            period: limit.period,
            scope: limit.scope,
            first,
            amount: limit.amount,
            own: limit.own.clone(),
            soft_marks: soft_marks.into(),
            critical_share: config.critical_share,
            span,
            kept: VecDeque::new(),
            books: BTreeMap::new(),
            by_use: BTreeSet::new(),
        };
        if limit.scope == Scope::Account || limit.used_before > Credits::ZERO {
            shelf.open(ACCOUNT, limit.used_before, now);
        }
        for (name, own) in limit.own.iter().filter(|(_, own)| own.used_before > Credits::ZERO) {
            shelf.open(name, own.used_before, now);
        }
        shelf
    }

    /// What a call takes of this limit; `None` when the limit does not touch it.
    pub(super) fn touch<'a>(&self, ask: &'a Ask, date: Date) -> Option<Touch<'a>> {
        let (_, amount) = ask.amounts.iter().find(|(meter, _)| *meter == self.meter)?;
        let holder = match self.scope {
            Scope::Account => ACCOUNT,
            Scope::Tenant => ask.tenant.as_deref()?,
            Scope::Target => ask.target.as_ref().map_or(ACCOUNT, |target| target.as_str()),
        };
        Some(Touch { holder, amount: *amount, date: first_of(self.period, date) })
    }

    /// Does a call fit, in the period that is `span` by now? A pure question.
    pub(super) fn admit(&self, touch: Touch<'_>, critical: bool, span: &Span) -> Result<(), Over> {
        let book = self.books.get(touch.holder);
        let turned = *span != self.span;
        if let Some(held) = self.has_no_room_for(touch.holder, turned) {
            let what = if self.scope == Scope::Tenant { "budget tenants" } else { "budget targets" };
            let reason = Reason::Full { what, held, limit: HOLDERS_MAX };
            return Err(Over { reason, reset: span.reset(), hard: false });
        }
        let page = book.filter(|_| !turned).map_or(Page::new(*span), |book| book.page);
        let whole = match book {
            Some(book) if !turned => book.limit(),
            _ => self.amount_of(touch.holder),
        };
        let limit = if critical { whole } else { whole.minus(part(whole, self.critical_share)) };
        if page.used().plus(touch.amount) <= limit {
            return Ok(());
        }
        let (settled, reserved, which) = (page.settled, page.reserved, Box::new(self.id_of(touch.holder)));
        let reason = Reason::OverBudget { which, asked: touch.amount, settled, reserved, limit };
        // More than a whole period's money is not cured by another period.
        let hard = touch.amount <= limit;
        Err(Over { reason, reset: span.reset().filter(|_| hard), hard })
    }

    /// How many books there are, when there is no room for one of this holder. `turned`: in the next period.
    pub(super) fn has_no_room_for(&self, holder: &str, turned: bool) -> Option<usize> {
        (!self.books.contains_key(holder) && self.is_full(turned)).then_some(self.books.len())
    }

    fn is_full(&self, turned: bool) -> bool {
        let full = self.scope != Scope::Account && self.books.len() >= HOLDERS_MAX;
        full && !self.books.values().any(|book| book.may_be_forgotten(turned))
    }

    /// Begins a new period: what was reserved before it does not count in it.
    pub(super) fn turn(&mut self, span: Span, now: Instant, notes: &mut Vec<Note>) {
        if span.date == self.span.date {
            return;
        }
        self.kept.push_back(self.span.date);
        self.span = span;
        while self.kept.len() >= pages_kept(self.period) {
            self.kept.pop_front();
        }
        let (oldest, account) = (self.oldest_page(), self.scope == Scope::Account);
        self.books.retain(|_, book| {
            let ended = book.turn(span, oldest, now);
            if account {
                notes.push(Note::Ended(LimitId::account(self.meter.clone(), self.period), ended));
            }
            account || !book.is_blank()
        });
        self.by_use = self.books.keys().map(|holder| (Credits::ZERO, holder.clone())).collect();
    }

    /// The oldest date whose reservations are kept for it. A lifetime has no pages to turn; a month more than the present one
    /// is long enough for an end to come.
    pub(super) fn oldest(&self, today: &Span) -> Date {
        match self.period {
            Period::Lifetime => month_before(today.date),
            Period::Day | Period::Month => self.oldest_page(),
        }
    }

    fn oldest_page(&self) -> Date {
        self.kept.front().copied().unwrap_or(self.span.date)
    }

    /// Takes samples for the forecasts, where they are due.
    pub(super) fn sample(&mut self, now: Instant) {
        if self.scope != Scope::Tenant {
            self.books.values_mut().for_each(|book| book.sample(now));
        }
    }

    pub(super) fn sample_due(&self) -> Option<Instant> {
        let books = (self.scope != Scope::Tenant).then(|| self.books.values());
        books.into_iter().flatten().filter_map(|book| book.pace.as_ref()?.due(book.page.used())).min()
    }

    /// The account's own figures.
    pub(super) fn account(&self) -> Option<&Page> {
        (self.scope == Scope::Account).then(|| self.books.get(ACCOUNT).map(|book| &book.page)).flatten()
    }

    pub(super) fn note_of_account(&self, mark: Mark) -> Option<Note> {
        self.note(mark, ACCOUNT, self.account()?.used())
    }

    /// Enters an amount that was admitted.
    pub(super) fn reserve(&mut self, touch: Touch<'_>, now: Instant, notes: &mut Vec<Note>) {
        if !self.books.contains_key(touch.holder) {
            self.open(touch.holder, Credits::ZERO, now);
        }
        self.change(touch, now, |page| page.open(touch.amount));
        self.note_soft_marks(touch.holder, notes);
    }

    /// Its end is not known.
    pub(super) fn keep(&mut self, touch: Touch<'_>, now: Instant) {
        self.change(touch, now, |page| page.unknown = page.unknown.plus(touch.amount));
    }

    /// Takes a reservation out of the books.
    pub(super) fn refund(&mut self, touch: Touch<'_>, unknown: bool, now: Instant) {
        self.change(touch, now, |page| page.close(touch.amount, unknown));
    }

    /// Puts what was spent in the place of a reservation.
    pub(super) fn settle(
        &mut self,
        touch: Touch<'_>,
        unknown: bool,
        cost: Credits,
        now: Instant,
        notes: &mut Vec<Note>,
    ) {
        let excess = cost.minus(touch.amount);
        let changed = self.change(touch, now, |page| {
            page.close(touch.amount, unknown);
            page.settled = page.settled.plus(cost);
            page.overage = page.overage.plus(excess);
            page.used()
        });
        let Some(used) = changed else { return };
        // One cost is one overage, however many limits it touches.
        if excess > Credits::ZERO && self.first {
            notes.extend(self.note(Mark::Overage(excess), touch.holder, used));
        }
        self.note_soft_marks(touch.holder, notes);
    }

    /// Notes that a call was refused for want of money, once a period.
    pub(super) fn note_hard(&mut self, touch: Touch<'_>, now: Instant, notes: &mut Vec<Note>) {
        let first = self.change(touch, now, |page| (!std::mem::replace(&mut page.hard, true)).then(|| page.used()));
        if let Some(used) = first.flatten() {
            notes.extend(self.note(Mark::Hard, touch.holder, used));
        }
    }

    /// Another limit until the reset; the configured one takes that back.
    pub(super) fn raise(&mut self, holder: &str, to: Credits, now: Instant, notes: &mut Vec<Note>) {
        self.change_book(holder, now, notes, |book| book.raise(to));
    }

    /// So much was spent, whatever is written here.
    pub(super) fn set_spent(&mut self, holder: &str, spent: Credits, now: Instant, notes: &mut Vec<Note>) {
        self.change_book(holder, now, notes, |book| book.set_spent(spent, now));
    }

    /// Changes the present period of one holder by hand. Marks that are not reached any more may be passed again.
    fn change_book(&mut self, holder: &str, now: Instant, notes: &mut Vec<Note>, change: impl FnOnce(&mut Book)) {
        if !self.books.contains_key(holder) {
            self.open(holder, Credits::ZERO, now);
        }
        let marks = self.soft_marks.clone();
        let Some(book) = self.books.get_mut(holder) else { return };
        self.by_use.remove(&(book.page.used(), holder.into()));
        change(book);
        let (used, limit) = (book.page.used(), book.limit());
        let reached = marks.iter().filter(|share| used >= part(limit, **share)).count();
        book.page.soft_passed = book.page.soft_passed.min(reached);
        book.page.hard = false;
        self.by_use.insert((used, holder.into()));
        self.note_soft_marks(holder, notes);
    }

    fn note_soft_marks(&mut self, holder: &str, notes: &mut Vec<Note>) {
        loop {
            let Some(book) = self.books.get_mut(holder) else { return };
            let (used, limit) = (book.page.used(), book.limit());
            let Some(share) = self.soft_marks.get(book.page.soft_passed).copied() else { return };
            if used < part(limit, share) {
                return;
            }
            book.page.soft_passed += 1;
            notes.extend(self.note(Mark::Soft(share), holder, used));
        }
    }

    fn note(&self, mark: Mark, holder: &str, used: Credits) -> Option<Note> {
        let limit = self.books.get(holder)?.limit();
        Some(Note::Marked { mark, which: self.id_of(holder), used, limit })
    }

    /// Changes the page that a reservation belongs to, if it is still kept.
    fn change<R>(&mut self, touch: Touch<'_>, now: Instant, change: impl FnOnce(&mut Page) -> R) -> Option<R> {
        let (holder, book) = self.books.get_key_value(touch.holder)?;
        let (holder, before) = (holder.clone(), book.page.used());
        let book = self.books.get_mut(&holder)?;
        book.sample(now);
        let changed = change(book.page_mut(touch.date)?);
        let after = book.page.used();
        if after != before {
            self.by_use.remove(&(before, holder.clone()));
            self.by_use.insert((after, holder));
        }
        Some(changed)
    }

    /// Whose book a name stands for; `None` when this is not the limit that is meant.
    pub(super) fn holder<'a>(&self, which: &'a LimitId) -> Option<&'a str> {
        if which.meter != self.meter || which.period != self.period {
            return None;
        }
        match (&which.whose, self.scope) {
            (Whose::Account, Scope::Account) => Some(ACCOUNT),
            (Whose::OwnAddress, Scope::Target) => Some(ACCOUNT),
            (Whose::Tenant(name), Scope::Tenant) | (Whose::Target(name), Scope::Target) => Some(name),
            _ => None,
        }
    }

    /// The figures of the period that a date is in, if they are still kept.
    pub(super) fn page(&self, holder: &str, date: Date) -> Option<&Page> {
        let date = first_of(self.period, date);
        self.books.get(holder)?.pages().find(|page| page.span.date == date)
    }

    /// Begins a book, in the place of those that may be forgotten if there are too many.
    fn open(&mut self, holder: &str, used_before: Credits, now: Instant) {
        if self.books.len() >= HOLDERS_MAX {
            self.books.retain(|_, book| !book.may_be_forgotten(false));
            self.by_use.retain(|(_, holder)| self.books.contains_key(holder));
        }
        let page = Page { settled: used_before, ..Page::new(self.span) };
        let holder: Arc<str> = holder.into();
        let amount = self.amount_of(&holder);
        let pace = (self.scope != Scope::Tenant).then(|| Pace::begin(now, used_before));
        self.by_use.insert((used_before, holder.clone()));
        self.books.insert(holder, Book::new(amount, page, pace));
    }

    pub(super) fn amount_of(&self, holder: &str) -> Credits {
        self.own.get(holder).map_or(self.amount, |own| own.amount)
    }

    /// The name of the account's own.
    pub(super) fn account_id(&self) -> LimitId {
        LimitId::account(self.meter.clone(), self.period)
    }

    /// The name of it for everybody.
    pub(super) fn name(&self) -> String {
        let whose = match self.scope {
            Scope::Account => "",
            Scope::Tenant => " of each tenant",
            Scope::Target => " of each target",
        };
        format!("{}{whose}", self.account_id())
    }

    /// The name of the limit of one holder.
    pub(super) fn id_of(&self, holder: &str) -> LimitId {
        let whose = match self.scope {
            Scope::Account => Whose::Account,
            Scope::Tenant => Whose::Tenant(holder.into()),
            Scope::Target if holder == ACCOUNT => Whose::OwnAddress,
            Scope::Target => Whose::Target(holder.into()),
        };
        LimitId { meter: self.meter.clone(), period: self.period, whose }
    }
}

fn pages_kept(period: Period) -> usize {
    match period {
        Period::Day => DAYS_KEPT,
        Period::Month => 2,
        Period::Lifetime => 1,
    }
}

/// The first of the month before that of a date.
fn month_before(date: Date) -> Date {
    date.first_of_month().yesterday().map_or(Date::MIN, Date::first_of_month)
}

/// A share of an amount, rounded.
fn part(amount: Credits, share: f64) -> Credits {
    Credits::from_micros((amount.micros() as f64 * share).round() as u64)
}
