//! Each run's input set as it grows: what a manifest commits to, and which segments have to be stored for it. No storage here.

use std::collections::HashMap;

use atlas_manifests::digest::Sha256;
use atlas_manifests::id::RunId;
use atlas_manifests::set::{Leaf, Segment, SetTree, empty_head};
use atlas_manifests::statement::SetHead;

/// The input sets of every run that sealed something.
#[derive(Default)]
pub(super) struct Sets {
    runs: HashMap<RunId, Growing>,
}

#[derive(Default)]
struct Growing {
    tree: SetTree,
    leaves: Vec<Leaf>,
    /// Sizes at which a segment ends, ascending.
    ends: Vec<u64>,
}

impl Sets {
    /// No version of this run will be sealed any more.
    pub(super) fn forget(&mut self, run: RunId) {
        self.runs.remove(&run);
    }

    /// Appends leaves, and says which head a version with this cut commits to; with the segment to store, when there is a new one.
    pub(super) fn commit(
        &mut self,
        run: RunId,
        leaves: Vec<Leaf>,
        cut: u64,
    ) -> (SetHead, Option<(Sha256, Vec<u8>)>) {
        let set = self.runs.entry(run).or_default();
        for leaf in leaves {
            set.tree.push(&leaf);
            set.leaves.push(leaf);
        }
        let cut = cut.min(set.tree.len());
        let head = set.tree.head_at(cut).unwrap_or_else(empty_head);
        if cut == 0 || set.ends.contains(&cut) {
            return (head, None);
        }
        // A cut between two earlier ones shares its beginning with them and ends in a segment of its own.
        let before = set
            .ends
            .iter()
            .copied()
            .filter(|e| *e < cut)
            .max()
            .unwrap_or(0);
        let prev = set.tree.head_at(before).unwrap_or_else(empty_head);
        let (from, to) = (place(before), place(cut));
        let segment = Segment {
            prev,
            leaves: set.leaves[from..to].to_vec(),
        };
        set.ends.push(cut);
        (head, Some((head.root, segment.encode())))
    }
}

fn place(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atlas_manifests::digest::{Blake3, Digests};
    use atlas_manifests::id::{InstanceId, NodeRef};
    use atlas_manifests::set::collect;
    use atlas_manifests::vocabulary::{Kind, State};

    fn leaf(i: u8) -> Leaf {
        Leaf {
            node: NodeRef::Content(Blake3([i; 32])),
            digests: Some(Digests::of(&[i])),
            manifest: None,
            kind: Kind::Read,
            state: State::Unattested,
            process: 0,
            tree: 0,
        }
    }

    #[test]
    fn a_cut_that_is_sealed_late_can_still_be_collected() {
        let run = RunId {
            instance: InstanceId([1; 16]),
            n: 1,
        };
        let mut sets = Sets::default();
        let mut stored = HashMap::new();
        let mut heads = Vec::new();
        let steps = [
            ((0..3).map(leaf).collect(), 3),
            ((3..10).map(leaf).collect(), 10),
            (vec![], 7),
            (vec![], 7),
            (vec![], 0),
        ];
        for (leaves, cut) in steps {
            let (head, segment) = sets.commit(run, leaves, cut);
            stored.extend(segment);
            heads.push((head, cut));
        }
        for (head, cut) in heads {
            assert_eq!(head.size, cut);
            let got = collect(head, &|root| Ok(stored.get(root).cloned())).unwrap();
            assert_eq!(got, (0..10).map(leaf).take(place(cut)).collect::<Vec<_>>());
        }
    }
}
