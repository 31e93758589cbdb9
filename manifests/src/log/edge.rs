//! The right edge of a log's tree: the tiles that are not full yet. All that is needed to append, and to check a root. Never the tree.

use super::tile::{MAX_LEVEL, Resource, WIDTH};
use crate::digest::Sha256;
use crate::merkle::{empty_root, node_hash};
use crate::statement::SetHead;

/// Partial tiles, by level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Edge {
    size: u64,
    levels: Vec<Vec<Sha256>>,
}

/// A tile that became full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FullTile {
    pub(super) level: u8,
    pub(super) index: u64,
    pub(super) hashes: Vec<Sha256>,
}

impl Edge {
    /// The edge of a tree of this size: `partial` has the hashes of each partial tile.
    ///
    /// # Errors
    /// Those of `partial`; it must give as many hashes as it is asked for.
    pub(super) fn load<E>(
        size: u64,
        mut partial: impl FnMut(Resource) -> Result<Vec<Sha256>, E>,
    ) -> Result<Self, E> {
        let mut levels = Vec::new();
        for level in 0..=MAX_LEVEL {
            let Some(resource) = partial_tile(size, level) else {
                levels.push(Vec::new());
                continue;
            };
            levels.push(partial(resource)?);
        }
        let mut made = Self { size, levels };
        made.trim();
        Ok(made)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the partial tile of a level, none where there is no such tile.
    pub(super) fn level(&self, level: u8) -> &[Sha256] {
        self.levels
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }

    /// Adds a leaf's hash; tells which tiles became full, lowest first.
    pub(super) fn push(&mut self, leaf: Sha256, full: &mut Vec<FullTile>) {
        let mut hash = leaf;
        self.size += 1;
        for level in 0..=MAX_LEVEL {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push(Vec::with_capacity(WIDTH as usize));
            }
            self.levels[at].push(hash);
            if self.levels[at].len() < WIDTH as usize {
                break;
            }
            let hashes =
                std::mem::replace(&mut self.levels[at], Vec::with_capacity(WIDTH as usize));
            hash = subtree_root(&hashes);
            full.push(FullTile {
                level,
                index: (self.size >> (8 * (u32::from(level) + 1))) - 1,
                hashes,
            });
        }
        self.trim();
    }

    /// The tree's root.
    pub(super) fn root(&self) -> Sha256 {
        let mut right: Option<Sha256> = None;
        for hashes in &self.levels {
            // The binary digits of the number of hashes, smallest first, from the right.
            let mut end = hashes.len();
            while end > 0 {
                let part = 1 << end.trailing_zeros();
                let left = subtree_root(&hashes[end - part..end]);
                right = Some(right.map_or(left, |r| node_hash(&left, &r)));
                end -= part;
            }
        }
        right.unwrap_or_else(empty_root)
    }

    pub(super) fn head(&self) -> SetHead {
        SetHead {
            size: self.size,
            root: self.root(),
        }
    }

    /// Its partial tiles, lowest first.
    pub(super) fn partial(&self) -> impl Iterator<Item = (Resource, &[Sha256])> {
        (0..=MAX_LEVEL).filter_map(|level| {
            let resource = partial_tile(self.size, level)?;
            Some((resource, self.level(level)))
        })
    }

    /// Equal edges compare equal.
    fn trim(&mut self) {
        while self.levels.last().is_some_and(Vec::is_empty) {
            self.levels.pop();
        }
    }
}

/// The partial tile of a level in a tree of this size, where there is one.
pub(super) fn partial_tile(size: u64, level: u8) -> Option<Resource> {
    let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
    let width = (hashes % WIDTH) as u16;
    (width > 0).then_some(Resource::Tile {
        level,
        index: hashes / WIDTH,
        width,
    })
}

/// The root over a power of two of hashes; of one it is that.
pub(super) fn subtree_root(hashes: &[Sha256]) -> Sha256 {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            node_hash(&subtree_root(left), &subtree_root(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;

    #[test]
    fn the_root_is_that_of_a_second_implementation_where_tiles_fill() {
        let mut other: MemoryBackedTree<sha2::Sha256, Vec<u8>> = MemoryBackedTree::new();
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        assert_eq!(edge.root(), empty_root());
        for n in 1..=66_000_u64 {
            let leaf = n.to_be_bytes();
            other.push(leaf.to_vec());
            edge.push(leaf_hash(&leaf), &mut full);
            let near = n % 65_536 < 3 || n % 65_536 > 65_533 || n < 520 || n % 9_973 == 0;
            if near {
                assert_eq!(edge.root().0[..], other.root().as_bytes()[..], "{n}");
            }
        }
        let level_1: Vec<u64> = full
            .iter()
            .filter(|t| t.level == 1)
            .map(|t| t.index)
            .collect();
        assert_eq!(level_1, [0]);
        assert_eq!(full.len(), 66_000 / 256 + 1);
        let names: Vec<String> = edge.partial().map(|(r, _)| r.path()).collect();
        assert_eq!(
            names,
            ["tile/0/257.p/208", "tile/1/001.p/1", "tile/2/000.p/1"]
        );
    }

    #[test]
    fn an_edge_that_is_loaded_is_the_one_that_grew() {
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for n in 0..700_u64 {
            edge.push(leaf_hash(&n.to_be_bytes()), &mut full);
            let again = Edge::load(edge.size(), |r| {
                let found = edge.partial().find(|(name, _)| *name == r);
                found.map(|(_, h)| h.to_vec()).ok_or(r)
            });
            assert_eq!(again.unwrap(), edge);
        }
    }
}
