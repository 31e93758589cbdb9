//! The uses that stand nearest to whoever writes: the few that a manifest names. All of them stand in the input set; see `run`.

use std::collections::{HashMap, VecDeque};

use atlas_manifests::vocabulary::Kind;

use super::node::NodeIx;

/// So many of each sort are kept.
const KEPT: usize = 16;

/// Whose uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Process(u32),
    Tree(u32),
    Run,
}

/// What kind of input it is likely to be: what has, or will have, a manifest of its own is not crowded out by data that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Sealed,
    Plain,
    Code,
}

impl Sort {
    pub(super) fn of(kind: Kind, has_manifest: bool) -> Self {
        match (kind, has_manifest) {
            (Kind::Code, _) => Self::Code,
            (_, true) => Self::Sealed,
            (_, false) => Self::Plain,
        }
    }
}

/// The latest uses of each process, of each tree, and of the run, by their places in the run's list. Kept as uses are entered,
/// because looking through thousands of them at each seal holds up every other request.
#[derive(Debug, Default)]
pub(super) struct Near {
    rings: HashMap<Of, [VecDeque<(NodeIx, usize)>; 3]>,
}

impl Near {
    pub(super) fn enter(
        &mut self,
        process: u32,
        tree: u32,
        sort: Sort,
        node: NodeIx,
        place: usize,
    ) {
        for of in [Of::Process(process), Of::Tree(tree), Of::Run] {
            let ring = &mut self.rings.entry(of).or_default()[sort as usize];
            ring.retain(|(n, _)| *n != node);
            ring.push_back((node, place));
            if ring.len() > KEPT {
                ring.pop_front();
            }
        }
    }

    /// Places before `cut` that may be the nearest to this writer.
    pub(super) fn of(&self, process: u32, tree: u32, cut: u64) -> Vec<usize> {
        let mut places: Vec<usize> = [Of::Process(process), Of::Tree(tree), Of::Run]
            .iter()
            .filter_map(|of| self.rings.get(of))
            .flatten()
            .flatten()
            .map(|(_, place)| *place)
            .filter(|place| (*place as u64) < cut)
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_model_is_not_crowded_out_by_ten_thousand_shards() {
        let mut near = Near::default();
        near.enter(0, 0, Sort::Sealed, NodeIx(0), 0);
        for n in 1..10_000 {
            near.enter(1 + n % 4, 0, Sort::Plain, NodeIx(n), n as usize);
        }
        let places = near.of(0, 0, 10_000);
        assert_eq!(places.first(), Some(&0), "its own process read it");
        assert_eq!(places.last(), Some(&9_999));
        assert!(places.len() <= 9 * KEPT, "{}", places.len());
        assert!(near.of(0, 0, 9_990).iter().all(|p| *p < 9_990));
        assert!(near.of(7, 0, 10_000).contains(&0), "so did its tree");
    }
}
