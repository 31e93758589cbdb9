//! The append-only Merkle tree of RFC 6962 section 2.1: hashes, proofs and their verification. Not where hashes are kept: whoever keeps them
//! answers for complete subtrees (`Subtrees`), and proofs of any size the tree ever had follow.

use sha2::Digest as _;

use crate::digest::Sha256;
use crate::statement::SetHead;

/// Leaf and node prefixes: neither can be taken for the other.
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// No proof has more hashes: a tree has at most 2^64 leaves.
pub const MAX_PROOF: usize = 64;

/// The hash of a leaf's bytes.
pub fn leaf_hash(leaf: &[u8]) -> Sha256 {
    let mut h = sha2::Sha256::new_with_prefix([LEAF]);
    h.update(leaf);
    Sha256(h.finalize().into())
}

/// The hash of two subtrees.
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut h = sha2::Sha256::new_with_prefix([NODE]);
    h.update(left.0);
    h.update(right.0);
    Sha256(h.finalize().into())
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Sha256 {
    Sha256::of(b"")
}

/// Who keeps the hashes of complete subtrees.
pub trait Subtrees {
    /// Why a hash cannot be had.
    type Error;

    /// The hash over leaves `index * 2^level .. (index + 1) * 2^level`, all of which the tree has.
    ///
    /// # Errors
    /// When it cannot be read.
    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, Self::Error>;
}

/// The root over the first `size` leaves.
///
/// # Errors
/// Those of `tree`.
pub fn root<T: Subtrees + ?Sized>(tree: &T, size: u64) -> Result<Sha256, T::Error> {
    if size == 0 {
        return Ok(empty_root());
    }
    range(tree, 0, size)
}

/// The proof that leaf `index` is in the tree of `size` leaves, from the leaf's sibling up; `index` is below `size`.
///
/// # Errors
/// Those of `tree`.
pub fn inclusion<T: Subtrees + ?Sized>(
    tree: &T,
    index: u64,
    size: u64,
) -> Result<Vec<Sha256>, T::Error> {
    let mut proof = Vec::new();
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(range(tree, middle, high)?);
            high = middle;
        } else {
            proof.push(range(tree, low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `new` leaves extends that of `old`; `old` is at most `new`. Empty where nothing is to be proven.
///
/// # Errors
/// Those of `tree`.
pub fn consistency<T: Subtrees + ?Sized>(
    tree: &T,
    old: u64,
    new: u64,
) -> Result<Vec<Sha256>, T::Error> {
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let (mut low, mut high, mut whole) = (0, new, true);
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            proof.push(range(tree, middle, high)?);
            high = middle;
        } else {
            proof.push(range(tree, low, middle)?);
            low = middle;
            whole = false;
        }
    }
    if !whole {
        proof.push(range(tree, low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root that a proof of inclusion leads to; `None` when no tree of that size has such a proof (RFC 9162 section 2.1.3.2).
pub fn root_of_inclusion(leaf: &Sha256, index: u64, size: u64, proof: &[Sha256]) -> Option<Sha256> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(step, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// The root that the tree had before leaf `index` came: a proof of inclusion has the hashes of all that stands left of its leaf. `None` when
/// no tree of that size has such a proof; whether the proof holds is for `root_of_inclusion` to say.
pub fn root_before(index: u64, size: u64, proof: &[Sha256]) -> Option<Sha256> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut before) = (index, size - 1, None);
    for step in proof {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            before = Some(before.map_or(*step, |right| node_hash(step, &right)));
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then(|| before.unwrap_or_else(empty_root))
}

/// Whether `proof` shows that `new` extends `old` (RFC 9162 section 2.1.4.2).
pub fn is_consistent(old: &SetHead, new: &SetHead, proof: &[Sha256]) -> bool {
    if old.size > new.size {
        return false;
    }
    if old.size == 0 {
        return old.root == empty_root() && proof.is_empty();
    }
    if old.size == new.size {
        return old.root == new.root && proof.is_empty();
    }
    let (mut at, mut last) = (old.size - 1, new.size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let mut steps = proof.iter();
    let first = if old.size.is_power_of_two() {
        Some(&old.root)
    } else {
        steps.next()
    };
    let Some(first) = first else { return false };
    let (mut was, mut is) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            was = node_hash(step, &was);
            is = node_hash(step, &is);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            is = node_hash(&is, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && was == old.root && is == new.root
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// The hash over leaves `low .. high`, as the tree splits them: `low` is a multiple of the power of two that is not below their number.
fn range<T: Subtrees + ?Sized>(tree: &T, low: u64, high: u64) -> Result<Sha256, T::Error> {
    let n = high - low;
    if n.is_power_of_two() {
        let level = n.trailing_zeros();
        return tree.subtree(level, low >> level);
    }
    let middle = low + split(n);
    Ok(node_hash(
        &range(tree, low, middle)?,
        &range(tree, middle, high)?,
    ))
}

#[cfg(test)]
#[path = "merkle_tests.rs"]
mod tests;
