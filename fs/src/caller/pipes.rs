//! Which trees data flows between through pipes. Pure: ends of pipes in, joins out; finding them in /proc is `proc`.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// One tree of one run, by their numbers.
pub(crate) type Tree = (u64, u32);

/// So many ended runs are remembered for what may still lie in, or be made of what came through, their pipes.
const MAX_PAST: usize = 1024;

/// A descriptor of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    /// The pipe's inode.
    pub(crate) pipe: u64,
    /// It can be read from.
    pub(crate) reads: bool,
    /// It can be written to.
    pub(crate) writes: bool,
}

/// The pipes that lead to a process and from it, through others of the same pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// What is written into these reaches it.
    pub(crate) from: BTreeSet<u64>,
    /// What it writes reaches these.
    pub(crate) into: BTreeSet<u64>,
    /// Of one of those only a shell has the other end: who will read it is not there yet.
    pub(crate) unfinished: bool,
}

/// Follows the pipes of a process through others of the same pipeline.
///
/// `sort | awk | gzip`: sort and gzip share no pipe, but what sort writes reaches gzip through awk. Two commands of a loop that
/// reads a list from a pipe, or of a script whose output goes to `tee`, have an end of one pipe each, and nothing goes from one to
/// the other. `outside` are pipes that lead out of the pipeline to whatever started the shell (an ssh server, a CI agent):
/// everything below that shell writes to them; what it reads from them still came from somewhere.
pub(crate) fn flow(own: &[End], shells: &[Vec<End>], others: &[Vec<End>], outside: &[u64]) -> Flow {
    let inside = |e: &&End| !outside.contains(&e.pipe);
    let reads =
        |ends: &[End]| -> Vec<u64> { ends.iter().filter(|e| e.reads).map(|e| e.pipe).collect() };
    let writes = |ends: &[End]| -> Vec<u64> {
        let written = ends.iter().filter(inside).filter(|e| e.writes);
        written.map(|e| e.pipe).collect()
    };
    let mut flow = Flow {
        from: reads(own).into_iter().collect(),
        into: writes(own).into_iter().collect(),
        unfinished: false,
    };
    loop {
        let before = (flow.from.len(), flow.into.len());
        for other in shells.iter().chain(others) {
            if writes(other).iter().any(|p| flow.from.contains(p)) {
                flow.from.extend(reads(other));
            }
            if reads(other).iter().any(|p| flow.into.contains(p)) {
                flow.into.extend(writes(other));
            }
        }
        if (flow.from.len(), flow.into.len()) == before {
            break;
        }
    }
    let read = |by: &[Vec<End>], pipe: u64| by.iter().any(|ends| reads(ends).contains(&pipe));
    flow.unfinished = flow
        .into
        .iter()
        .any(|p| read(shells, *p) && !read(others, *p));
    flow
}

/// Pipes seen so far, the trees whose data reach them, and the trees that they lead to.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    written: HashMap<u64, BTreeSet<Tree>>,
    read: HashMap<u64, BTreeSet<Tree>>,
    /// Ended runs whose data may still be on their way, oldest first.
    past: VecDeque<u64>,
}

impl Pipes {
    /// The trees that data goes to or comes from.
    pub(crate) fn trees(&self, flow: &Flow) -> BTreeSet<Tree> {
        let sources = flow.from.iter().filter_map(|p| self.written.get(p));
        let targets = flow.into.iter().filter_map(|p| self.read.get(p));
        sources.chain(targets).flatten().copied().collect()
    }

    /// From now on these pipes lead to this tree, and from it.
    pub(crate) fn attach(&mut self, flow: &Flow, tree: Tree) {
        for p in &flow.into {
            self.written.entry(*p).or_default().insert(tree);
        }
        for p in &flow.from {
            self.read.entry(*p).or_default().insert(tree);
        }
    }

    /// A run was absorbed by another: its trees are the other's.
    pub(crate) fn rename(&mut self, from: u64, to: u64) {
        for trees in self.written.values_mut().chain(self.read.values_mut()) {
            if trees.iter().any(|(run, _)| *run == from) {
                let name = |(run, tree)| (if run == from { to } else { run }, tree);
                *trees = std::mem::take(trees).into_iter().map(name).collect();
            }
        }
    }

    /// A run has ended: nothing more is written for it to read. What it wrote may still be read by who comes to the mount later.
    /// Returns a run that ended so long ago that it is not remembered any more.
    pub(crate) fn ended(&mut self, run: u64) -> Option<u64> {
        drop_run(&mut self.read, run);
        if !self.leads_on(run) {
            return None;
        }
        self.past.push_back(run);
        let oldest = (self.past.len() > MAX_PAST).then(|| self.past.pop_front())??;
        drop_run(&mut self.written, oldest);
        Some(oldest)
    }

    /// Whether what a run wrote into pipes is remembered.
    pub(crate) fn leads_on(&self, run: u64) -> bool {
        self.written
            .values()
            .any(|trees| trees.iter().any(|(r, _)| *r == run))
    }
}

fn drop_run(map: &mut HashMap<u64, BTreeSet<Tree>>, run: u64) {
    map.retain(|_, trees| {
        trees.retain(|(r, _)| *r != run);
        !trees.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(pipe: u64) -> End {
        End {
            pipe,
            reads: true,
            writes: false,
        }
    }

    fn w(pipe: u64) -> End {
        End {
            pipe,
            reads: false,
            writes: true,
        }
    }

    fn set(pipes: &[u64]) -> BTreeSet<u64> {
        pipes.iter().copied().collect()
    }

    /// Who meets whom when they come in this order.
    fn meets(flows: &[Flow]) -> Vec<BTreeSet<u64>> {
        let mut pipes = Pipes::default();
        let mut out = Vec::new();
        for (n, flow) in flows.iter().enumerate() {
            out.push(pipes.trees(flow).into_iter().map(|t| t.0).collect());
            pipes.attach(flow, (n as u64, 0));
        }
        out
    }

    #[test]
    fn the_ends_of_a_pipeline_meet_through_a_middle_that_never_touched_the_mount() {
        // sort writes 1; awk reads 1 and writes 2; gzip reads 2; an unrelated job has 9.
        let others = [vec![w(1)], vec![r(1), w(2)], vec![r(9)]];
        let gzip = flow(&[r(2)], &[], &others, &[]);
        assert_eq!(gzip.from, set(&[1, 2]));
        let sort = flow(&[w(1)], &[], &[], &[]);
        assert_eq!(meets(&[sort, gzip]), [set(&[]), set(&[0])]);
    }

    #[test]
    fn a_pipeline_whose_reader_is_still_to_be_started_is_unfinished() {
        let shell = [vec![r(1)]];
        assert!(flow(&[w(1)], &shell, &[], &[]).unfinished);
        assert!(!flow(&[w(1)], &shell, &[vec![r(1)]], &[]).unfinished);
        assert!(!flow(&[w(1)], &[], &[vec![r(1)]], &[]).unfinished);
    }

    #[test]
    fn the_commands_of_a_script_whose_output_goes_to_one_program_do_not_meet() {
        let tee = vec![r(1)];
        let first = flow(&[w(1)], &[], std::slice::from_ref(&tee), &[]);
        assert_eq!(meets(&[first.clone(), first]), [set(&[]), set(&[])]);
    }

    #[test]
    fn the_commands_of_a_loop_that_reads_its_list_from_a_pipe_do_not_meet_but_each_has_the_list() {
        let list = flow(&[w(1)], &[], &[], &[]);
        let each = flow(&[r(1)], &[], &[vec![w(1)]], &[]);
        let met = meets(&[list, each.clone(), each]);
        assert_eq!(met, [set(&[]), set(&[0]), set(&[0])]);
    }

    #[test]
    fn the_pipe_to_an_ssh_server_joins_nothing() {
        let others = [vec![w(5), w(1)], vec![w(5), r(1), w(2)]];
        assert_eq!(flow(&[w(5)], &[], &others, &[5]), Flow::default());
        assert_eq!(flow(&[w(5), r(2)], &[], &others, &[5]).from, set(&[1, 2]));
    }

    #[test]
    fn what_an_ended_run_wrote_is_remembered_and_what_it_read_is_not() {
        let mut pipes = Pipes::default();
        let both = flow(&[r(1), w(2)], &[], &[], &[]);
        pipes.attach(&both, (1, 0));
        assert_eq!(pipes.ended(1), None);
        assert!(pipes.trees(&flow(&[w(1)], &[], &[], &[])).is_empty());
        assert_eq!(
            pipes.trees(&flow(&[r(2)], &[], &[], &[])),
            BTreeSet::from([(1, 0)])
        );
        for run in 2..2 + MAX_PAST as u64 {
            pipes.attach(&flow(&[w(run + 10)], &[], &[], &[]), (run, 0));
            let forgotten = pipes.ended(run);
            assert_eq!(forgotten, (run > MAX_PAST as u64).then_some(1));
        }
        assert!(pipes.trees(&flow(&[r(2)], &[], &[], &[])).is_empty());
        assert_eq!(
            (pipes.written.len(), pipes.read.len()),
            (MAX_PAST, 0),
            "bounded"
        );
    }

    #[test]
    fn an_absorbed_runs_pipes_lead_to_the_one_that_has_it() {
        let mut pipes = Pipes::default();
        pipes.attach(&flow(&[w(1)], &[], &[], &[]), (1, 0));
        pipes.attach(&flow(&[w(2)], &[], &[], &[]), (2, 0));
        pipes.rename(2, 1);
        assert_eq!(
            pipes.trees(&flow(&[r(2)], &[], &[], &[])),
            BTreeSet::from([(1, 0)])
        );
    }

    proptest::proptest! {
        #[test]
        fn who_meets_whom_does_not_depend_on_who_came_first(
            flows in proptest::collection::vec((proptest::collection::btree_set(0u64..8, 0..3), proptest::collection::btree_set(0u64..8, 0..3)), 2..6),
        ) {
            let flows: Vec<Flow> = flows.into_iter().map(|(from, into)| Flow { from, into, unfinished: false }).collect();
            let n = flows.len() as u64;
            let backward: Vec<Flow> = flows.iter().rev().cloned().collect();
            let pairs = |met: Vec<BTreeSet<u64>>, name: &dyn Fn(u64) -> u64| -> BTreeSet<(u64, u64)> {
                let all = met.into_iter().enumerate().flat_map(|(a, met)| met.into_iter().map(move |b| (a as u64, b)));
                all.map(|(a, b)| (name(a).min(name(b)), name(a).max(name(b)))).collect()
            };
            proptest::prop_assert_eq!(pairs(meets(&flows), &|a| a), pairs(meets(&backward), &|a| n - 1 - a));
        }
    }
}
