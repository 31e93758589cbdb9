//! Which trees share a pipe. Pure: inodes in, joins out; finding them in /proc is `proc`.

use std::collections::{BTreeSet, HashMap};

/// One tree of one run, by their numbers.
pub(crate) type Tree = (u64, u32);

/// All pipes that a process is connected to through others of the same pipeline, itself included.
///
/// `sort | awk | gzip`: sort and gzip share no pipe, but awk has one of each. `outside` are pipes that lead out of the
/// pipeline to whatever started the shell (an ssh server, a CI agent): everything below that shell has them.
pub(crate) fn component(own: &[u64], others: &[Vec<u64>], outside: &[u64]) -> BTreeSet<u64> {
    let inside = |p: &&u64| !outside.contains(p);
    let mut reached: BTreeSet<u64> = own.iter().filter(inside).copied().collect();
    loop {
        let before = reached.len();
        for other in others {
            if other.iter().filter(inside).any(|p| reached.contains(p)) {
                reached.extend(other.iter().filter(inside));
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

/// Pipes seen so far and the trees that they connect. Groups only ever grow together; they go when their trees' runs do.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    group_of: HashMap<u64, u64>,
    groups: HashMap<u64, Group>,
    next: u64,
}

#[derive(Debug, Default)]
struct Group {
    pipes: Vec<u64>,
    trees: BTreeSet<Tree>,
}

impl Pipes {
    /// The trees that are connected to any of these pipes.
    pub(crate) fn trees(&self, pipes: &BTreeSet<u64>) -> BTreeSet<Tree> {
        pipes
            .iter()
            .filter_map(|p| self.groups.get(self.group_of.get(p)?))
            .flat_map(|g| g.trees.iter().copied())
            .collect()
    }

    /// From now on these pipes are one, and lead to this tree.
    pub(crate) fn attach(&mut self, pipes: &BTreeSet<u64>, tree: Tree) {
        if pipes.is_empty() {
            return;
        }
        let old: BTreeSet<u64> = pipes
            .iter()
            .filter_map(|p| self.group_of.get(p).copied())
            .collect();
        let mut group = Group::default();
        for id in old {
            if let Some(g) = self.groups.remove(&id) {
                group.pipes.extend(g.pipes);
                group.trees.extend(g.trees);
            }
        }
        group.pipes.extend(pipes);
        group.pipes.sort_unstable();
        group.pipes.dedup();
        group.trees.insert(tree);
        self.next += 1;
        for p in &group.pipes {
            self.group_of.insert(*p, self.next);
        }
        self.groups.insert(self.next, group);
    }

    /// A run was absorbed by another: its trees are the other's.
    pub(crate) fn rename(&mut self, from: u64, to: u64, trees: u32) {
        for g in self.groups.values_mut() {
            g.trees = std::mem::take(&mut g.trees)
                .into_iter()
                .map(|(run, tree)| {
                    if run == from {
                        (to, tree + trees)
                    } else {
                        (run, tree)
                    }
                })
                .collect();
        }
    }

    /// A run has ended: pipe inodes are used again, and nothing may join it any more.
    pub(crate) fn forget(&mut self, run: u64) {
        self.groups.retain(|_, g| {
            g.trees.retain(|(r, _)| *r != run);
            !g.trees.is_empty()
        });
        let groups = &self.groups;
        self.group_of.retain(|_, id| groups.contains_key(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pipes: &[u64]) -> BTreeSet<u64> {
        pipes.iter().copied().collect()
    }

    #[test]
    fn the_ends_of_a_pipeline_meet_through_a_middle_that_never_touched_the_mount() {
        // sort has 1; awk 1 and 2; gzip 2; an unrelated job 9.
        let others = [vec![1], vec![1, 2], vec![9]];
        assert_eq!(component(&[2], &others, &[]), set(&[1, 2]));
        let mut pipes = Pipes::default();
        pipes.attach(&set(&[1]), (1, 0));
        assert_eq!(
            pipes.trees(&component(&[2], &others, &[])),
            BTreeSet::from([(1, 0)])
        );
    }

    #[test]
    fn the_pipe_to_an_ssh_server_joins_nothing() {
        let others = [vec![5, 1], vec![5, 1, 2]];
        assert_eq!(component(&[5], &others, &[5]), set(&[]));
        assert_eq!(component(&[5, 2], &others, &[5]), set(&[1, 2]));
    }

    #[test]
    fn an_ended_run_is_not_joined_through_a_reused_inode() {
        let mut pipes = Pipes::default();
        pipes.attach(&set(&[1, 2]), (1, 0));
        pipes.attach(&set(&[2, 3]), (2, 0));
        pipes.forget(1);
        assert_eq!(pipes.trees(&set(&[1])), BTreeSet::from([(2, 0)]));
        pipes.forget(2);
        assert!(pipes.trees(&set(&[1, 2, 3])).is_empty() && pipes.group_of.is_empty());
    }

    #[test]
    fn an_absorbed_runs_pipes_lead_to_the_one_that_has_it() {
        let mut pipes = Pipes::default();
        pipes.attach(&set(&[1]), (1, 0));
        pipes.attach(&set(&[2]), (2, 0));
        pipes.rename(2, 1, 0);
        assert_eq!(pipes.trees(&set(&[2])), BTreeSet::from([(1, 0)]));
    }

    proptest::proptest! {
        #[test]
        fn connection_does_not_depend_on_the_order_in_which_it_was_seen(
            sets in proptest::collection::vec(proptest::collection::btree_set(0u64..12, 1..4), 1..8),
        ) {
            let mut forward = Pipes::default();
            let mut backward = Pipes::default();
            for (n, s) in sets.iter().enumerate() {
                forward.attach(s, (n as u64, 0));
            }
            for (n, s) in sets.iter().enumerate().rev() {
                backward.attach(s, (n as u64, 0));
            }
            for s in &sets {
                proptest::prop_assert_eq!(forward.trees(s), backward.trees(s));
            }
        }
    }
}
