use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn weights(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
    pairs
        .iter()
        .map(|(name, weight)| ((*name).to_owned(), *weight))
        .collect()
}

/// Takes everything that waits, one after the other, each lasting a second.
fn order(turns: &mut Turns<&'static str>) -> String {
    let mut order = String::new();
    while let Some(Turn { item, charge }) = turns.take() {
        order.push_str(item);
        turns.ended(&charge, Duration::from_secs(1));
    }
    order
}

#[test]
fn clients_take_turns_by_weight_and_each_client_by_priority_and_age() {
    for (name, pairs, queued, expected) in [
        (
            "one client",
            &[][..],
            &[("a", 5, "1"), ("a", 5, "2"), ("a", 9, "3")][..],
            "312",
        ),
        (
            "a crowd and one",
            &[],
            &[
                ("a", 5, "1"),
                ("a", 5, "2"),
                ("a", 5, "3"),
                ("a", 5, "4"),
                ("b", 1, "B"),
            ],
            "1B234",
        ),
        (
            "priority counts within a client only",
            &[],
            &[("a", 10, "1"), ("a", 10, "2"), ("b", 1, "B"), ("b", 2, "C")],
            "1C2B",
        ),
        (
            "twice the weight, twice the turns",
            &[("a", 2.0)],
            &[
                ("a", 5, "1"),
                ("a", 5, "2"),
                ("a", 5, "3"),
                ("a", 5, "4"),
                ("b", 5, "B"),
                ("b", 5, "C"),
            ],
            "1B23C4",
        ),
    ] {
        let mut turns = Turns::new(weights(pairs));
        for (sequence, (client, priority, item)) in queued.iter().enumerate() {
            turns.add(client, *priority, sequence as u64, *item);
        }
        assert_eq!(order(&mut turns), expected, "{name}");
        assert!(
            turns.clients.is_empty(),
            "{name}: nothing is remembered of clients without queries"
        );
    }
}

#[test]
fn who_comes_late_is_next_and_cannot_catch_up_for_its_absence() {
    let mut turns = Turns::new(BTreeMap::new());
    for sequence in 0..100 {
        turns.add("a", 5, sequence, "a");
    }
    for _ in 0..20 {
        let turn = turns.take().expect("waits");
        turns.ended(&turn.charge, Duration::from_secs(3));
    }
    for sequence in 100..200 {
        turns.add("b", 5, sequence, "b");
    }
    let next: String = (0..6)
        .filter_map(|_| {
            let turn = turns.take()?;
            turns.ended(&turn.charge, Duration::from_secs(3));
            Some(turn.item)
        })
        .collect();
    assert!(next[..2].contains('b'), "{next}");
    assert_eq!(next.matches('a').count(), 3, "{next}");
}

#[test]
fn whoever_runs_long_queries_gets_fewer_turns() {
    let mut turns = Turns::new(BTreeMap::new());
    for sequence in 0..200 {
        turns.add(
            if sequence % 2 == 0 { "long" } else { "short" },
            5,
            sequence,
            sequence % 2 == 0,
        );
    }
    let mut long = 0;
    for _ in 0..88 {
        let turn = turns.take().expect("waits");
        long += usize::from(turn.item);
        turns.ended(&turn.charge, Duration::from_secs(if turn.item { 10 } else { 1 }));
    }
    assert!((7..=9).contains(&long), "{long} of 88 turns were ten times as long");
}

#[test]
fn urgent_queries_are_taken_out_of_turn_and_given_ones_from_the_end() {
    let mut turns = Turns::new(BTreeMap::new());
    for (sequence, client) in ["a", "a", "a", "b"].into_iter().enumerate() {
        turns.add(client, 5, sequence as u64, sequence);
    }
    let urgent = turns.take_first_by(2, |item| (*item != 0).then_some(std::cmp::Reverse(*item)));
    let items: Vec<usize> = urgent.iter().map(|turn| turn.item).collect();
    assert_eq!(items, [3, 2], "the smallest keys first");
    turns.add("b", 5, 9, 9);
    assert_eq!(turns.give_away(5, |item| *item != 0), [1, 9]);
    assert_eq!(turns.iter().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn only_what_others_have_room_for_is_given_away() {
    for (waiting, running, room, free, expected) in [
        (0, 64, 64, 64, 0),
        (10, 64, 64, 0, 0),
        (10, 64, 64, 4, 4),
        (10, 64, 64, 40, 10),
        (10, 60, 64, 40, 6),
        (3, 60, 64, 40, 0),
    ] {
        assert_eq!(
            surplus(waiting, running, room, free),
            expected,
            "{waiting} {running} {room} {free}"
        );
    }
}

/// What came of clients that always had queries waiting, on a lead with some room.
struct Served {
    seconds: Vec<f64>,
    longest_gap_s: Vec<f64>,
}

fn simulate(clients: &[(f64, u32)], room: usize, until_s: f64) -> Served {
    let names: Vec<String> = (0..clients.len()).map(|index| format!("c{index}")).collect();
    let weights = names
        .iter()
        .cloned()
        .zip(clients.iter().map(|(weight, _)| *weight))
        .collect();
    let mut turns: Turns<usize> = Turns::new(weights);
    let mut sequence = 0;
    let mut running: Vec<(f64, f64, usize, Charge)> = Vec::new();
    let mut served = Served {
        seconds: vec![0.0; clients.len()],
        longest_gap_s: vec![0.0; clients.len()],
    };
    let mut started_at = vec![0.0; clients.len()];
    let mut now = 0.0;
    let mut wait = |turns: &mut Turns<usize>, index: usize| {
        sequence += 1;
        turns.add(&names[index], 5, sequence, index);
    };
    (0..clients.len()).for_each(|index| wait(&mut turns, index));
    while now < until_s {
        while running.len() < room {
            let Turn { item, charge } = turns.take().expect("all have queries waiting");
            wait(&mut turns, item);
            served.longest_gap_s[item] = f64::max(served.longest_gap_s[item], now - started_at[item]);
            started_at[item] = now;
            running.push((now + f64::from(clients[item].1), now, item, charge));
        }
        running.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (ends_at, began_at, index, charge) = running.pop().expect("some run");
        now = ends_at;
        served.seconds[index] += ends_at - began_at;
        turns.ended(&charge, Duration::from_secs_f64(ends_at - began_at));
    }
    served
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nobody_gets_less_than_its_share_and_nobody_starves(
        clients in prop::collection::vec((0.5f64..8.0, 1u32..20), 2..6),
        room in 1usize..9,
    ) {
        let until_s = 20_000.0;
        let served = simulate(&clients, room, until_s);
        let total: f64 = served.seconds.iter().sum();
        let weight: f64 = clients.iter().map(|(weight, _)| weight).sum();
        let longest = clients.iter().map(|(_, duration)| *duration).max().map_or(0.0, f64::from);
        for (index, (own, duration)) in clients.iter().enumerate() {
            // No client can use more than the room there is, whatever its weight.
            let share = total * own / weight;
            let slack = 3.0 * room as f64 * longest + 0.02 * share;
            prop_assert!(
                served.seconds[index] >= share - slack,
                "client {index} of {clients:?} in {room} got {} of {share} s", served.seconds[index]
            );
            // Others go first until they have used as much in proportion.
            let turn = 4.0 * (weight / own + 1.0) * (longest + f64::from(*duration));
            prop_assert!(
                served.longest_gap_s[index] <= turn,
                "client {index} of {clients:?} in {room} waited {} s for its turn, {turn} at most", served.longest_gap_s[index]
            );
        }
    }
}
