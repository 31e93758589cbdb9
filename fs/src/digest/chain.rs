//! BLAKE3 from the chaining values of whole groups. Pure arithmetic on the tree of the BLAKE3 paper, section 2.1; no I/O.

use atlas_manifests::digest::Blake3;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

/// Bytes of a group: the unit of dirty marks, of reads and of hand-over between workers. A power of two times BLAKE3's chunk of 1024.
pub(super) const GROUP: u64 = 1 << 20;

/// The chaining value of one group that is not the whole input. `bytes` are neither empty nor more than a group.
pub(super) fn group_value(index: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * GROUP);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// Merges the chaining values of groups, given in order, in logarithmic memory.
#[derive(Debug, Default)]
pub(super) struct Chain {
    stack: Vec<ChainingValue>,
    groups: u64,
}

impl Chain {
    /// Takes the next group's value.
    pub(super) fn push(&mut self, value: ChainingValue) {
        // Subtrees are completed one group late, because the topmost merge of all must be the root merge.
        while self.stack.len() > self.groups.count_ones() as usize {
            self.merge();
        }
        self.stack.push(value);
        self.groups += 1;
    }

    /// The digest of everything; `None` for fewer than two groups, whose digest is not made of chaining values.
    pub(super) fn root(mut self) -> Option<Blake3> {
        while self.stack.len() > 2 {
            self.merge();
        }
        let [left, right] = self.stack.as_slice() else {
            return None;
        };
        Some(Blake3(
            *merge_subtrees_root(left, right, Mode::Hash).as_bytes(),
        ))
    }

    fn merge(&mut self) {
        if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            self.stack
                .push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_groups_gives_the_plain_digest() {
        let bytes: Vec<u8> = (0..9 * GROUP + 1).map(|i| (i % 251) as u8).collect();
        for groups in 2..=9u64 {
            for tail in [1 - GROUP as i64, -1, 0, 1] {
                let len = (groups * GROUP).wrapping_add_signed(tail) as usize;
                let mut chain = Chain::default();
                for (i, group) in bytes[..len].chunks(GROUP as usize).enumerate() {
                    chain.push(group_value(i as u64, group));
                }
                assert_eq!(chain.root(), Some(Blake3::of(&bytes[..len])), "{len}");
            }
        }
    }
}
