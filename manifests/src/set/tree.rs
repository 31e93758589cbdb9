//! The append-only Merkle tree itself: hashes only, no leaf contents.

use super::{Leaf, empty_head};
use crate::digest::Sha256;
use crate::merkle::{leaf_hash, node_hash};
use crate::statement::SetHead;

/// An append-only Merkle tree that remembers every head it ever had. 64 bytes a leaf.
#[derive(Debug, Clone, Default)]
pub struct SetTree {
    /// `levels[k][i]` is the hash of the complete subtree over leaves `i * 2^k .. (i + 1) * 2^k`.
    levels: Vec<Vec<Sha256>>,
}

impl SetTree {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf and returns its position.
    pub fn push(&mut self, leaf: &Leaf) -> u64 {
        self.push_encoded(&leaf.encode())
    }

    /// Appends a leaf by its bytes and returns its position.
    pub fn push_encoded(&mut self, leaf: &[u8]) -> u64 {
        let at = self.len();
        let mut hash = leaf_hash(leaf);
        let mut k = 0;
        loop {
            if self.levels.len() == k {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[k];
            level.push(hash);
            let [.., left, right] = level.as_slice() else {
                return at;
            };
            if level.len() % 2 == 1 {
                return at;
            }
            hash = node_hash(left, right);
            k += 1;
        }
    }

    /// Number of leaves.
    pub fn len(&self) -> u64 {
        self.levels.first().map_or(0, |l| l.len() as u64)
    }

    /// True when there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The head over all leaves.
    pub fn head(&self) -> SetHead {
        self.head_of(self.len())
    }

    /// The head that the tree had with `n` leaves; `None` when it never had so many.
    pub fn head_at(&self, n: u64) -> Option<SetHead> {
        (n <= self.len()).then(|| self.head_of(n))
    }

    /// `n` is at most `len()`: every complete subtree of the first `n` leaves is then stored.
    fn head_of(&self, n: u64) -> SetHead {
        // The tree over n leaves is the complete subtrees of n's binary digits, folded from the right.
        let mut root: Option<Sha256> = None;
        for (k, level) in self.levels.iter().enumerate() {
            if n >> k & 1 == 1 {
                let left = &level[(n >> k) as usize - 1];
                root = Some(root.map_or(*left, |right| node_hash(left, &right)));
            }
        }
        root.map_or_else(empty_head, |root| SetHead { size: n, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 section 2.1, word for word: split at the largest power of two below n.
    fn naive(leaves: &[Vec<u8>]) -> [u8; 32] {
        match leaves {
            [] => Sha256::of(b"").0,
            [one] => Sha256::of(&[&[0u8][..], one].concat()).0,
            many => {
                let k = many.len().next_power_of_two() / 2;
                let (l, r) = many.split_at(k);
                Sha256::of(&[&[1u8][..], &naive(l), &naive(r)].concat()).0
            }
        }
    }

    /// The leaves and some of the roots that implementations of RFC 6962 test each other with.
    #[test]
    fn the_roots_are_those_of_rfc6962() {
        let leaves = ["", "00", "10", "2021", "3031", "40414243"];
        let mut t = SetTree::new();
        for l in leaves {
            t.push_encoded(&crate::digest::unhex(l).unwrap());
        }
        let root = |n| t.head_at(n).unwrap().root.hex();
        assert_eq!(
            root(0),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            root(1),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(
            root(2),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
        assert_eq!(
            root(3),
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
    }

    proptest! {
        #[test]
        fn every_head_is_the_naive_one_and_stays_so(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..70)) {
            let mut tree = SetTree::new();
            for (i, l) in leaves.iter().enumerate() {
                prop_assert_eq!(tree.push_encoded(l), i as u64);
            }
            for n in 0..=leaves.len() {
                let head = tree.head_at(n as u64).unwrap();
                prop_assert_eq!(head, SetHead { size: n as u64, root: Sha256(naive(&leaves[..n])) });
            }
            prop_assert_eq!(tree.head_at(leaves.len() as u64 + 1), None);
            prop_assert_eq!(tree.head_at(u64::MAX), None);
        }
    }
}
