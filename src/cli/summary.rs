//! Where each row ended, and that the numbers add up.

use std::{collections::BTreeMap, fmt};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use mainstay::{CallId, actors::dlq::Kind};
use serde_json::json;

/// Where an accepted row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Delivered,
    Cached,
    Queued,
    Local,
    DeadLettered,
    Unknown,
    /// Its caller's time was over while it was on the wire; where it ended is seen at the end.
    UnderWay,
    /// It ended and could not be written down.
    Lost,
}

/// What became of the rows: `offered` is `refused` and the sum of the places.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) offered: u64,
    pub(crate) refused: u64,
    places: BTreeMap<Place, u64>,
    /// Rows that may still move, with the call that stands for them: two rows with one key have one call.
    open: Vec<(CallId, Place)>,
}

impl Summary {
    /// An accepted row is here now.
    ///
    /// What is unknown stays so: it is never sent again by itself.
    pub(crate) fn ended(&mut self, call: CallId, place: Place) {
        *self.places.entry(place).or_default() += 1;
        if matches!(place, Place::Queued | Place::DeadLettered | Place::UnderWay) {
            self.open.push((call, place));
        }
    }

    /// Whether a row may still move.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Looks where the open rows are: what is not parked any more was delivered from there. Where a call may still be on the
    /// wire (not `quiet`), nothing is said of one that is parked nowhere.
    pub(crate) fn look_again(&mut self, parked: &BTreeMap<CallId, Kind>, quiet: bool) {
        for (call, before) in std::mem::take(&mut self.open) {
            let place = match parked.get(&call) {
                Some(Kind::Dead) => Place::DeadLettered,
                Some(Kind::Later | Kind::Accepted) => Place::Queued,
                Some(Kind::Unknown) => Place::Unknown,
                None if before == Place::UnderWay && !quiet => continue,
                None => Place::Delivered,
            };
            self.places.entry(before).and_modify(|rows| *rows -= 1);
            *self.places.entry(place).or_default() += 1;
        }
    }

    /// The runtime has stopped: it has parked what was still on the wire as unknown.
    pub(crate) fn stopped(&mut self) {
        let left = self.places.remove(&Place::UnderWay).unwrap_or_default();
        *self.places.entry(Place::Unknown).or_default() += left;
    }

    fn count(&self, place: Place) -> u64 {
        self.places.get(&place).copied().unwrap_or_default()
    }

    fn accepted(&self) -> u64 {
        self.places.values().sum()
    }

    /// Rows of which nothing is known: those that could not be written down, and any that were not counted.
    pub(crate) fn lost(&self) -> u64 {
        let uncounted = self.offered.saturating_sub(self.refused + self.accepted());
        self.count(Place::Lost) + self.count(Place::UnderWay) + uncounted
    }

    /// For the line that moves.
    pub(crate) fn one_line(&self, under_way: usize) -> String {
        let parked = self.count(Place::Queued) + self.count(Place::DeadLettered) + self.count(Place::Unknown);
        let served = self.count(Place::Delivered) + self.count(Place::Cached) + self.count(Place::Local);
        let Self { offered, refused, .. } = self;
        format!("{offered} rows: {served} served, {parked} parked, {refused} refused, {under_way} under way")
    }

    /// One object with the exclusive ends.
    pub(crate) fn to_json(&self) -> String {
        json!({
            "offered": self.offered,
            "accepted": self.accepted(),
            "refused": self.refused,
            "delivered": self.count(Place::Delivered),
            "cached": self.count(Place::Cached),
            "queued": self.count(Place::Queued),
            "local": self.count(Place::Local),
            "dead_lettered": self.count(Place::DeadLettered),
            "unknown": self.count(Place::Unknown),
            "cancelled": 0,
            "lost": self.lost(),
        })
        .to_string()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("delivered", self.count(Place::Delivered), "done by the vendor, or taken on by it"),
            ("cached", self.count(Place::Cached), "served from the last good answers"),
            ("local", self.count(Place::Local), "served by a local function"),
            (
                "queued",
                self.count(Place::Queued),
                "on disk, done when the vendor is back: run again with the same data",
            ),
            ("dead-lettered", self.count(Place::DeadLettered), "on disk, waiting for a replay"),
            ("unknown", self.count(Place::Unknown), "may have happened; on disk, never sent again by itself"),
            ("refused", self.refused, "wrong, or refused by a guard: see --rejects"),
            ("lost", self.lost(), "must be 0"),
        ];
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_header(["rows", "", ""]);
        table.add_row(["offered", &self.offered.to_string(), ""]);
        for (name, count, what) in rows.iter().filter(|(_, count, _)| *count > 0) {
            table.add_row([*name, &count.to_string(), *what]);
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n: u128) -> CallId {
        CallId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_row_that_left_the_queue_is_delivered_and_the_numbers_add_up() {
        let mut summary = Summary { offered: 6, refused: 1, ..Summary::default() };
        summary.ended(call(1), Place::Delivered);
        summary.ended(call(2), Place::Queued);
        summary.ended(call(3), Place::Queued);
        summary.ended(call(4), Place::UnderWay);
        summary.ended(call(5), Place::Cached);
        summary.look_again(&[(call(3), Kind::Dead)].into(), true);
        let counts: serde_json::Value = serde_json::from_str(&summary.to_json()).unwrap();
        let of = |name: &str| counts[name].as_u64().unwrap();
        assert_eq!([of("delivered"), of("cached"), of("dead_lettered"), of("queued"), of("lost")], [3, 1, 1, 0, 0]);
        assert_eq!(of("offered"), of("accepted") + of("refused"));
    }

    #[test]
    fn two_rows_of_one_call_are_two_rows_and_an_unknown_one_is_never_called_delivered() {
        let mut summary = Summary { offered: 4, ..Summary::default() };
        summary.ended(call(1), Place::Queued);
        summary.ended(call(1), Place::DeadLettered);
        summary.ended(call(2), Place::Unknown);
        summary.ended(call(3), Place::UnderWay);
        summary.look_again(&[(call(1), Kind::Later)].into(), false);
        assert_eq!((summary.count(Place::Queued), summary.count(Place::Unknown)), (2, 1));
        assert_eq!((summary.count(Place::Delivered), summary.lost()), (0, 1));
        summary.stopped();
        assert_eq!((summary.count(Place::Unknown), summary.lost()), (2, 0));
    }

    #[test]
    fn a_row_that_was_not_counted_is_lost_and_said_so() {
        let mut summary = Summary { offered: 3, ..Summary::default() };
        summary.ended(call(1), Place::Delivered);
        summary.ended(call(2), Place::Lost);
        assert_eq!(summary.lost(), 2);
    }
}
