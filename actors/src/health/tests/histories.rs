//! Whatever the facts are, and in whatever order.

use super::*;

fn any_fact() -> impl Strategy<Value = Fact> {
    let state = prop_oneof![Just(BreakerState::Closed), Just(BreakerState::Open), Just(BreakerState::HalfOpen)];
    let guard = prop_oneof![Just(Guard::Lane), Just(Guard::Breaker), Just(Guard::Budget), Just(Guard::Gateway)];
    let mark = prop_oneof![Just("soft"), Just("hard"), Just("overage"), Just("exhausted")];
    prop_oneof![
        8 => prop::sample::select(Class::ALL.to_vec()).prop_map(attempt),
        2 => (prop::sample::select(Class::ALL.to_vec()), any::<bool>()).prop_map(|(class, was_unknown)| ended(class, was_unknown)),
        2 => (prop_oneof![Just(""), Just("leads")], state, 0..4u64).prop_map(|(at, to, n)| turned_at(at, to, n)),
        2 => guard.prop_map(refused),
        1 => (mark, 0..300u64).prop_map(|(mark, used)| marked(mark, used)),
        1 => (0..300u64).prop_map(letters),
        1 => (0..20u64).prop_map(overdue),
        1 => Just(Fact::VendorDown { vendor: vendor(CLAY), cause: "x".into() }),
        1 => any::<bool>().prop_map(probed),
        1 => Just(lane_full("bulk")),
        1 => Just(Fact::VendorUp { vendor: vendor(CLAY) }),
    ]
}

/// What the seeds' own rules look at.
fn seeds_fact() -> impl Strategy<Value = Fact> {
    let class = prop_oneof![8 => Just(Class::Success), 1 => Just(Class::Server), 1 => Just(Class::Timeout)];
    let state = prop_oneof![Just(BreakerState::Closed), Just(BreakerState::Open), Just(BreakerState::HalfOpen)];
    prop_oneof![
        10 => class.prop_map(attempt),
        1 => state.prop_map(|to| turned(to, 0)),
        1 => (90..110u64).prop_map(letters),
        1 => any::<bool>().prop_map(probed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_a_status_agrees_with_its_score_its_reasons_and_its_breaker(
        facts in prop::collection::vec((any_fact(), 0..60u64), 0..80),
    ) {
        let mut world = World::new();
        for (fact, gap) in facts {
            world.after(gap).hear(fact);
            let clay = world.clay();
            prop_assert!(clay.score.is_none_or(|score| (0.0..=1.0).contains(&score)));
            prop_assert!(clay.reasons.iter().all(|reason| reason.at_best.is_none_or(|best| clay.status >= best)));
            prop_assert!(clay.status < Status::Degraded || clay.reasons[0].at_best == Some(clay.status));
            prop_assert!(clay.breaker == BreakerState::Closed || clay.status >= Status::Degraded);
            prop_assert!(clay.status != Status::Unknown || clay.score.is_none());
            prop_assert_eq!(&clay, &world.clay());
        }
    }

    /// The slow model reads every fact again: the score of seed B, and the rule of seeds A and C.
    #[test]
    fn the_status_is_the_worst_of_the_seeds_two_rules(
        facts in prop::collection::vec((seeds_fact(), 0..60u64), 0..80),
    ) {
        let mut world = World::new();
        let mut heard: Vec<(Duration, Fact)> = Vec::new();
        for (fact, gap) in facts {
            world.after(gap).hear(fact.clone());
            heard.push((world.now - world.begun, fact));
            let window = |at: &Duration| at.as_secs() / 10 + 30 > (world.now - world.begun).as_secs() / 10;
            let ends = heard.iter().filter(|(at, _)| window(at)).filter_map(|(_, fact)| match fact {
                Fact::AttemptEnded { class, .. } => Some(*class == Class::Success),
                _ => None,
            });
            let (good, all) = ends.fold((0u64, 0u64), |(good, all), works| (good + u64::from(works), all + 1));
            let seed_b = match 100 * good {
                _ if all < 5 => Status::Unknown,
                percents if percents > 95 * all => Status::Healthy,
                percents if percents > 80 * all => Status::Degraded,
                _ => Status::Unhealthy,
            };
            let last = |of: fn(&Fact) -> Option<Status>| heard.iter().rev().find_map(|(_, fact)| of(fact));
            let api = last(|fact| match fact {
                Fact::Probed { works, .. } => Some(if *works { Status::Healthy } else { Status::Unhealthy }),
                _ => None,
            });
            let breaker = last(|fact| match fact {
                Fact::BreakerChanged { to: BreakerState::Closed, .. } => Some(Status::Unknown),
                Fact::BreakerChanged { .. } => Some(Status::Degraded),
                _ => None,
            });
            let dlq = last(|fact| match fact {
                Fact::LettersCounted { letters, .. } if letters.dead > 100 => Some(Status::Degraded),
                Fact::LettersCounted { .. } => Some(Status::Unknown),
                _ => None,
            });
            let worst = [Some(seed_b), api, breaker, dlq].into_iter().flatten().max().unwrap_or_default();
            prop_assert_eq!(world.status(), worst);
            prop_assert!(worst <= Status::Healthy || world.clay().reasons[0].at_best == Some(worst));
        }
    }

    #[test]
    fn what_does_not_move_stays_as_it_is(
        facts in prop::collection::vec(any_fact(), 0..6),
        idle in prop_oneof![0..1_000u64, 3_000..4_000u64, 80_000..100_000u64],
        later in 0..200_000u64,
    ) {
        let mut world = World::new();
        for fact in facts {
            world.hear(fact);
        }
        let before = world.after(idle).clay();
        let moves = world.health.moves(world.now, |_| Callbacks::default());
        prop_assert!(moves || before == world.after(later).clay());
    }
}
