use proptest::prelude::*;

use super::*;
use crate::history::History;
use crate::id::{InstanceId, NodeId, VersionId};
use crate::rows::UseRow;
use crate::scan::tests::{run_row, version_row};

fn v(n: u64) -> NodeRef {
    NodeRef::Version(VersionId {
        node: NodeId([1; 16]),
        n,
    })
}

fn r(n: u64) -> RunId {
    RunId {
        instance: InstanceId([2; 16]),
        n,
    }
}

fn used(run: u64, order: u64, node: NodeRef, kind: Kind) -> UseRow {
    UseRow {
        run: r(run),
        order,
        node,
        kind,
        process: 0,
        tree: 0,
        path: None,
    }
}

/// Each output is written by a run of its own, which used what is listed.
fn history(outputs: &[(u64, Vec<(u64, Kind)>)]) -> History {
    let mut h = History::new();
    for (n, inputs) in outputs {
        let mut row = version_row(v(*n));
        row.run = Some(r(*n));
        row.inputs = inputs.len() as u64;
        h.add_version(row);
        h.add_run(run_row(r(*n)));
        for (order, (input, kind)) in (0..).zip(inputs) {
            h.add_use(used(*n, order, v(*input), *kind));
        }
    }
    h
}

fn pairs(l: &Lineage) -> BTreeSet<(NodeRef, NodeRef)> {
    l.edges.iter().map(|e| (e.from, e.to)).collect()
}

fn is_acyclic(l: &Lineage) -> bool {
    let mut edges = pairs(l);
    loop {
        let sources: BTreeSet<_> = edges.iter().map(|(f, _)| *f).collect();
        let before = edges.len();
        edges.retain(|(_, to)| sources.contains(to));
        if edges.is_empty() || edges.len() == before {
            return edges.is_empty();
        }
    }
}

#[test]
fn a_version_that_was_used_and_replaced_by_the_same_one_is_both() {
    let mut h = history(&[(1, vec![]), (2, vec![(1, Kind::Opened)])]);
    let mut second = version_row(v(2));
    (second.run, second.inputs, second.parent) = (Some(r(2)), 1, Some(v(1)));
    h.add_version(second);
    let kinds = |options: Options| -> Vec<Kind> {
        let l = lineage(&h, &[v(2)], &options).unwrap();
        l.edges.iter().map(|e| e.kind).collect()
    };
    assert_eq!(kinds(Options::default()), [Kind::Opened, Kind::Parent]);
    for kind in [Kind::Opened, Kind::Parent] {
        let only = Options {
            kinds: vec![kind],
            ..Options::default()
        };
        assert_eq!(kinds(only), [kind]);
    }
}

#[test]
fn a_resumed_checkpoint_leads_back_through_its_predecessor_to_the_data() {
    let h = history(&[
        (1, vec![]),
        (2, vec![(1, Kind::Read)]),
        (3, vec![(2, Kind::Read)]),
    ]);
    let l = lineage(&h, &[v(3)], &Options::default()).unwrap();
    assert_eq!(pairs(&l), BTreeSet::from([(v(3), v(2)), (v(2), v(1))]));
    let down = Options {
        downstream: true,
        ..Options::default()
    };
    assert_eq!(
        pairs(&lineage(&h, &[v(1)], &down).unwrap()),
        pairs(&l),
        "the same edges seen from the other end"
    );
    let one = Options {
        depth: Some(1),
        ..Options::default()
    };
    let l = lineage(&h, &[v(3)], &one).unwrap();
    assert_eq!((l.nodes.len(), l.cut), (2, true));
}

#[test]
fn an_ephemeral_is_replaced_by_its_own_inputs_unless_all_is_asked() {
    let mut h = history(&[
        (1, vec![]),
        (2, vec![(1, Kind::Read)]),
        (3, vec![(2, Kind::Opened)]),
    ]);
    let mut tmp = h.version(v(2)).unwrap().clone();
    tmp.ephemeral = true;
    h.add_version(tmp);
    let l = lineage(&h, &[v(3)], &Options::default()).unwrap();
    assert_eq!(pairs(&l), BTreeSet::from([(v(3), v(1))]));
    let down = Options {
        downstream: true,
        ..Options::default()
    };
    assert_eq!(
        pairs(&lineage(&h, &[v(1)], &down).unwrap()),
        BTreeSet::from([(v(3), v(1))])
    );
    let all = Options {
        all: true,
        ..Options::default()
    };
    assert_eq!(lineage(&h, &[v(3)], &all).unwrap().edges.len(), 2);
}

#[test]
fn code_is_counted_and_shown_only_when_asked() {
    let h = history(&[
        (1, vec![]),
        (2, vec![]),
        (3, vec![(1, Kind::Code), (2, Kind::Read)]),
    ]);
    let l = lineage(&h, &[v(3)], &Options::default()).unwrap();
    assert_eq!(
        (pairs(&l), l.runs.last().unwrap().code),
        (BTreeSet::from([(v(3), v(2))]), 1)
    );
    let code = Options {
        kinds: vec![Kind::Code],
        ..Options::default()
    };
    let l = lineage(&h, &[v(3)], &code).unwrap();
    assert_eq!(
        (pairs(&l), l.runs.last().unwrap().code),
        (BTreeSet::from([(v(3), v(1))]), 0)
    );
}

#[test]
fn another_tree_of_the_run_is_shown_only_when_its_grade_is_asked() {
    let mut h = history(&[(1, vec![]), (2, vec![(1, Kind::Read)])]);
    let mut far = used(2, 0, v(1), Kind::Read);
    (far.process, far.tree) = (7, 7);
    h.add_use(far);
    assert!(
        lineage(&h, &[v(2)], &Options::default())
            .unwrap()
            .edges
            .is_empty()
    );
    let run = Options {
        min_grade: Grade::Run,
        ..Options::default()
    };
    assert_eq!(
        lineage(&h, &[v(2)], &run).unwrap().edges[0].grade,
        Grade::Run
    );
}

#[test]
fn an_input_used_after_the_cut_and_the_version_itself_are_no_inputs() {
    let mut h = history(&[(1, vec![]), (2, vec![(2, Kind::Read)])]);
    h.add_use(used(2, 1, v(1), Kind::Read));
    assert!(
        lineage(&h, &[v(2)], &Options::default())
            .unwrap()
            .edges
            .is_empty()
    );
}

proptest! {
    #[test]
    fn rows_that_contradict_each_other_end_in_a_graph_without_cycles(
        outputs in prop::collection::vec((0u64..8, prop::collection::vec((0u64..8, prop::sample::select(Kind::ALL)), 0..5)), 0..10),
        downstream: bool,
        all: bool,
        root in 0u64..8,
    ) {
        let h = history(&outputs);
        let o = Options { downstream, all, ..Options::default() };
        let l = lineage(&h, &[v(root)], &o).unwrap();
        prop_assert!(is_acyclic(&l));
        prop_assert!(l.edges.iter().all(|e| e.from != e.to));
    }

    #[test]
    fn a_graph_without_cycles_is_shown_exactly(
        inputs in prop::collection::vec(prop::collection::vec(0u64..12, 0..4), 1..12),
    ) {
        let outputs: Vec<(u64, Vec<(u64, Kind)>)> = (0..).zip(&inputs)
            .map(|(n, i)| (n, i.iter().filter(|i| **i < n).map(|i| (*i, Kind::Read)).collect()))
            .collect();
        let h = history(&outputs);
        let root = outputs.len() as u64 - 1;
        // The closure, naively: add edges of what was reached until nothing is added.
        let mut reached = BTreeSet::from([root]);
        let mut want = BTreeSet::new();
        loop {
            let before = (reached.len(), want.len());
            for (n, inputs) in &outputs {
                if reached.contains(n) {
                    for (i, _) in inputs {
                        want.insert((v(*n), v(*i)));
                    }
                }
            }
            for (n, inputs) in &outputs {
                if reached.contains(n) {
                    reached.extend(inputs.iter().map(|(i, _)| *i));
                }
            }
            if before == (reached.len(), want.len()) {
                break;
            }
        }
        let l = lineage(&h, &[v(root)], &Options::default()).unwrap();
        prop_assert_eq!(pairs(&l), want);
        prop_assert_eq!(l.nodes.len(), reached.len());
    }
}
