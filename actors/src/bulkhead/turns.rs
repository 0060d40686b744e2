//! Whose turn it is: shares by weight, idle shares borrowed, and a bound on the wait of the lowest. Pure.
//!
//! Each line has a *tag*: how far it has been served, in shares. A turn moves its tag by 1/weight, and the smallest tag is
//! next (start-time fair queueing). A line that comes back begins at the present tag: what it did not use while it was empty
//! the others had, and it gets nothing for it later.
//!
//! Tags alone let a low line wait up to its share of turns and one more for each other line. So the lines of the smallest
//! weight have a promise beside: while one waits, it has at least one of every ceil(sum of weights / its weight) turns.

/// One share of weight 1. 2^44 turns fit into a tag: 55 years of 10,000 a second.
const SHARE: u64 = 1 << 20;

#[derive(Debug, Clone)]
struct Turn {
    weight: u32,
    tag: u64,
    /// Turns that went to others since its last one, or since it began to wait.
    passed_over: u64,
}

/// The state of the turns, a place for each line.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    lines: Vec<Turn>,
    /// The tag that lines which begin to wait start from.
    present: u64,
    lowest: u32,
    /// The lowest lines have one of so many turns.
    every: u64,
}

impl Turns {
    /// Lines of these weights; 0 counts as 1.
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let lines: Vec<_> = weights.map(|weight| Turn { weight: weight.max(1), tag: 0, passed_over: 0 }).collect();
        let lowest = lines.iter().map(|line| line.weight).min().unwrap_or(1);
        let sum: u64 = lines.iter().map(|line| u64::from(line.weight)).sum();
        Self { lines, present: 0, lowest, every: sum.div_ceil(u64::from(lowest)) }
    }

    /// A line begins to wait.
    pub(super) fn join(&mut self, line: usize) {
        if let Some(turn) = self.lines.get_mut(line) {
            turn.tag = turn.tag.max(self.present);
            turn.passed_over = 0;
        }
    }

    /// Whose turn it is among the lines that wait.
    pub(super) fn next(&self, waits: &dyn Fn(usize) -> bool) -> Option<usize> {
        self.next_promised(waits).or_else(|| {
            let waiting = self.lines.iter().enumerate().filter(|(at, _)| waits(*at));
            // At equal tags the heavier line is first.
            waiting.min_by_key(|(_, line)| (line.tag, u32::MAX - line.weight)).map(|(at, _)| at)
        })
    }

    /// A lowest line that must have this turn: were they all served from now on, the longest waiting first, one of them
    /// would come just in time. Not earlier, or several lowest lines would take every turn.
    fn next_promised(&self, waits: &dyn Fn(usize) -> bool) -> Option<usize> {
        let mut lowest: Vec<_> =
            self.lines.iter().enumerate().filter(|(at, line)| line.weight == self.lowest && waits(*at)).collect();
        lowest.sort_by_key(|(_, line)| std::cmp::Reverse(line.passed_over));
        let last_call = (1..).zip(&lowest).any(|(nth, (_, line))| line.passed_over.saturating_add(nth) >= self.every);
        lowest.first().filter(|_| last_call).map(|(at, _)| *at)
    }

    /// A line had its turn; `waits` is what it was when it was chosen.
    pub(super) fn took(&mut self, line: usize, waits: &dyn Fn(usize) -> bool) {
        let waiting = self.lines.iter().enumerate().filter(|(at, _)| waits(*at) || *at == line);
        self.present = waiting.map(|(_, turn)| turn.tag).min().unwrap_or(self.present).max(self.present);
        for (at, turn) in self.lines.iter_mut().enumerate() {
            if at == line {
                turn.tag = turn.tag.saturating_add(SHARE / u64::from(turn.weight));
                turn.passed_over = 0;
            } else if waits(at) {
                turn.passed_over += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes `turns` turns with all lines waiting.
    fn all_wait(weights: &[u32], turns: usize) -> Vec<usize> {
        let mut rule = Turns::new(weights.iter().copied());
        let take = |_| {
            let line = rule.next(&|_| true).unwrap();
            rule.took(line, &|_| true);
            line
        };
        (0..turns).map(take).collect()
    }

    #[test]
    fn under_load_the_shares_are_the_weights() {
        let taken = all_wait(&[10, 5, 2], 17_000);
        let share = |line| taken.iter().filter(|at| **at == line).count();
        assert!((9_990..=10_010).contains(&share(0)), "{}", share(0));
        assert!((4_990..=5_010).contains(&share(1)), "{}", share(1));
        assert!((1_990..=2_010).contains(&share(2)), "{}", share(2));
    }

    #[test]
    fn a_line_alone_has_every_turn_and_owes_nothing_for_it_later() {
        let mut rule = Turns::new([10, 5, 2].into_iter());
        rule.join(2);
        for _ in 0..1_000 {
            assert_eq!(rule.next(&|at| at == 2), Some(2));
            rule.took(2, &|at| at == 2);
        }
        rule.join(0);
        rule.join(1);
        let mut bulk = 0;
        for _ in 0..17 {
            let line = rule.next(&|_| true).unwrap();
            rule.took(line, &|_| true);
            bulk += usize::from(line == 2);
        }
        assert!((1..=3).contains(&bulk), "{bulk}");
    }

    #[test]
    fn who_comes_back_is_not_paid_for_its_absence() {
        let mut rule = Turns::new([1, 1].into_iter());
        for _ in 0..1_000 {
            rule.took(0, &|at| at == 0);
        }
        rule.join(1);
        let mut second = 0;
        for _ in 0..10 {
            let line = rule.next(&|_| true).unwrap();
            rule.took(line, &|_| true);
            second += line;
        }
        assert!((5..=6).contains(&second), "{second}");
    }

    /// Lets lines come and go as `busy` says; `stays` are there all the time. The longest gap between two turns of each.
    fn longest_gaps(weights: &[u32], stays: impl Fn(usize) -> bool, busy: &[u8]) -> Vec<u32> {
        let mut rule = Turns::new(weights.iter().copied());
        let mut before = vec![false; weights.len()];
        let (mut gaps, mut longest) = (vec![0; weights.len()], vec![0; weights.len()]);
        for bits in busy {
            let now: Vec<_> = (0..weights.len()).map(|at| stays(at) || bits & (1 << at) != 0).collect();
            (0..weights.len()).filter(|at| now[*at] && !before[*at]).for_each(|at| rule.join(at));
            let line = rule.next(&|at| now[at]).unwrap();
            assert!(now[line]);
            rule.took(line, &|at| now[at]);
            for at in 0..weights.len() {
                gaps[at] = if at == line { 0 } else { gaps[at] + 1 };
                longest[at] = longest[at].max(gaps[at]);
            }
            before = now;
        }
        longest
    }

    fn weights() -> impl Strategy<Value = Vec<u32>> {
        proptest::collection::vec(prop_oneof![1u32..=4, 1u32..=20, 1u32..=100], 1..=6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_lowest_line_has_one_of_every_n_turns(
            weights in weights(),
            busy in proptest::collection::vec(0u8..64, 400),
        ) {
            let low = *weights.iter().min().unwrap();
            let bound = weights.iter().sum::<u32>().div_ceil(low);
            let gaps = longest_gaps(&weights, |at| weights[at] == low, &busy);
            for at in (0..weights.len()).filter(|at| weights[*at] == low) {
                prop_assert!(gaps[at] < bound, "{} turns passed line {at}, bound {bound}", gaps[at]);
            }
        }

        #[test]
        fn no_line_waits_longer_than_its_share_and_one_turn_for_each_other(
            weights in weights(),
            line in 0usize..6,
            busy in proptest::collection::vec(0u8..64, 400),
        ) {
            let line = line % weights.len();
            let bound = weights.iter().sum::<u32>().div_ceil(weights[line]) + weights.len() as u32;
            let gap = longest_gaps(&weights, |at| at == line, &busy)[line];
            prop_assert!(gap < bound, "{gap} turns passed line {line}, bound {bound}");
        }
    }
}
