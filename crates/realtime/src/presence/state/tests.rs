//! Whatever gets lost, comes twice or in another order: in the end everybody knows the same members, and was told of each
//! coming and going exactly once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// The dots of all topics.
fn dots(state: &State) -> BTreeSet<Dot> {
    state.topics.values().flat_map(|it| it.metas.values().flatten()).map(|(dot, _)| *dot).collect()
}

/// What a client of `state` believes after all diffs so far: a dot is there once or not at all.
#[derive(Default)]
struct Client(BTreeMap<Dot, i32>);

impl Client {
    fn hear(&mut self, state: &mut State) {
        for (_, diff) in state.take_diffs() {
            for (dot, _) in diff.joins.into_values().flatten() {
                *self.0.entry(dot).or_default() += 1;
            }
            for (dot, _) in diff.leaves.into_values().flatten() {
                *self.0.entry(dot).or_default() -= 1;
            }
        }
        assert!(self.0.values().all(|it| (0..=1).contains(it)), "told twice: {:?}", self.0);
    }

    fn there(&self) -> BTreeSet<Dot> {
        self.0.iter().filter(|(_, count)| **count == 1).map(|(dot, _)| *dot).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(u8, u8),
    Leave(Index),
    Snapshot,
}

#[derive(Debug, Clone)]
enum Told {
    Op(Op),
    Snapshot(Snapshot),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8, 0..3_u8).prop_map(|(topic, key)| Step::Join(topic, key)),
        3 => any::<Index>().prop_map(Step::Leave),
        1 => Just(Step::Snapshot),
    ];
    proptest::collection::vec(step, 1..40)
}

fn meta(topic: u8, key: u8) -> Meta {
    Meta { topic: format!("t{topic}").into(), key: format!("k{key}").into(), text: "{}".into() }
}

/// What a worker tells while it takes `steps`, and how it ends.
fn history(own: WorkerId, steps: Vec<Step>) -> (Vec<Told>, State) {
    let (mut state, mut told, mut live) = (State::new(own), Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Join(topic, key) => {
                live.push(state.next());
                told.push(Told::Op(state.join(meta(topic, key))));
            }
            Step::Leave(which) if !live.is_empty() => {
                let number = live.swap_remove(which.index(live.len()));
                told.push(Told::Op(state.leave(number)));
            }
            Step::Leave(_) => {}
            Step::Snapshot => told.push(Told::Snapshot(state.snapshot())),
        }
    }
    (told, state)
}

fn hear(state: &mut State, worker: WorkerId, told: Told) {
    match told {
        Told::Op(op) => state.apply(worker, op),
        Told::Snapshot(snapshot) => state.merge(worker, snapshot),
    }
}

proptest! {
    #[test]
    fn any_order_converges(
        first in steps(),
        second in steps(),
        order in proptest::collection::vec((any::<Index>(), any::<bool>(), any::<bool>()), 0..160),
        all_arrive in any::<bool>(),
    ) {
        let (first, one) = history(1, first);
        let (second, two) = history(2, second);
        let all: Vec<_> = first.into_iter().map(|it| (1, it)).chain(second.into_iter().map(|it| (2, it))).collect();
        let (mut listener, mut client) = (State::new(9), Client::default());
        for (which, _, is_told) in order {
            let (worker, told) = all[which.index(all.len())].clone();
            hear(&mut listener, worker, told);
            if is_told {
                client.hear(&mut listener);
            }
        }
        if all_arrive {
            for (worker, told) in all.into_iter().rev() {
                hear(&mut listener, worker, told);
            }
        } else {
            listener.merge(2, two.snapshot());
            listener.merge(1, one.snapshot());
        }
        client.hear(&mut listener);
        let expected: BTreeSet<_> = dots(&one).union(&dots(&two)).copied().collect();
        prop_assert_eq!(dots(&listener), expected.clone());
        prop_assert_eq!(client.there(), expected);
        prop_assert!(!listener.lacks(1, one.clock()) && !listener.lacks(2, two.clock()));

        listener.drop_worker(1);
        client.hear(&mut listener);
        prop_assert_eq!(client.there(), dots(&two));
        listener.drop_worker(2);
        listener.take_diffs();
        prop_assert!(listener.topics.is_empty() && listener.workers.len() == 1, "nothing is left behind");
    }

    #[test]
    fn what_is_missing_is_noticed(steps in steps(), lost in any::<Index>()) {
        let (told, state) = history(1, steps);
        let ops: Vec<_> = told.into_iter().filter(|it| matches!(it, Told::Op(_))).collect();
        prop_assume!(!ops.is_empty());
        let lost = lost.index(ops.len());
        let mut listener = State::new(9);
        for (idx, told) in ops.into_iter().enumerate() {
            if idx != lost {
                hear(&mut listener, 1, told);
            }
        }
        // Whoever does not know that something is missing must know everything all the same.
        prop_assert!(listener.lacks(1, state.clock()) || dots(&listener) == dots(&state));
    }
}

#[test]
fn a_meta_that_came_and_went_is_not_told_of() {
    let mut state = State::new(1);
    state.join(meta(0, 0));
    state.leave(1);
    assert!(state.is_changed());
    assert_eq!(state.take_diffs(), []);
    assert!(state.topics.is_empty());
}

#[test]
fn an_update_is_a_leave_and_a_join() {
    let mut state = State::new(1);
    state.join(meta(0, 0));
    state.take_diffs();
    state.leave(1);
    state.join(meta(0, 0));
    let [(topic, diff)] = state.take_diffs().try_into().unwrap();
    assert_eq!(&*topic, "t0");
    assert_eq!(diff.leaves["k0"][0].0, (1, 1));
    assert_eq!(diff.joins["k0"][0].0, (1, 3));
}
