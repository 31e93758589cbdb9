//! How a set is stored: segments, each naming the head before it, found by the root at its end. Not how they are kept on disk.

use super::{Leaf, MAX_LEAVES, MAX_SET_BYTES, SetError, SetTree, empty_head};
use crate::cbor::{CborError, Reader, Writer};
use crate::digest::Sha256;
use crate::shelf::ShelfError;
use crate::statement::SetHead;

/// The first element of every segment: what it is, and in which version.
const MAGIC: &str = "atlas-inputs-1";

/// A stretch of an input set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The head before the first of `leaves`.
    pub prev: SetHead,
    /// What was appended to it, in order.
    pub leaves: Vec<Leaf>,
}

impl Segment {
    /// The bytes of FORMAT.md, "Segment".
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(64 + self.leaves.len() * 160));
        w.array(4);
        w.text(MAGIC);
        w.uint(self.prev.size);
        w.bytes(&self.prev.root.0);
        w.array(self.leaves.len());
        for leaf in &self.leaves {
            leaf.write(&mut w);
        }
        w.0
    }

    /// Reads untrusted bytes; only what `encode` writes is accepted. Whether the heads are true is for `collect` to say.
    pub fn decode(bytes: &[u8]) -> Result<Self, SetError> {
        let parse = || {
            let mut r = Reader::new(bytes);
            if bytes.len() > MAX_SET_BYTES {
                return Err(r.error("longer than the limit"));
            }
            r.array_of(4)?;
            if r.text()? != MAGIC {
                return Err(r.error("unknown kind or version"));
            }
            let prev = SetHead {
                size: r.uint()?,
                root: Sha256(r.fixed()?),
            };
            // Not reserved at once: each leaf must first be paid for with bytes.
            let count = r.array()?;
            let leaves = (0..count)
                .map(|_| Leaf::read(&mut r))
                .collect::<Result<Vec<_>, CborError>>()?;
            r.end()?;
            Ok(Self { prev, leaves })
        };
        parse().map_err(|source| SetError::Malformed {
            what: "segment of an input set",
            source,
        })
    }
}

/// Finds a segment's bytes by the root at its end; `None` when it is not there.
pub type Fetch<'a> = dyn Fn(&Sha256) -> Result<Option<Vec<u8>>, ShelfError> + 'a;

/// Every leaf of the set with this head, from the segments that `fetch` finds by root. Nothing is believed: each root is computed again.
///
/// Every head that is asked for must be the end of a segment; the daemon ends one whenever it seals.
pub fn collect(head: SetHead, fetch: &Fetch<'_>) -> Result<Vec<Leaf>, SetError> {
    if head.size > MAX_LEAVES {
        return Err(SetError::TooLarge(head.size));
    }
    // Backwards from the end. Sizes fall strictly, so this ends, after at most `head.size` steps.
    let mut chain: Vec<(Sha256, Segment)> = Vec::new();
    let mut want = head;
    while want.size > 0 {
        let bytes = fetch(&want.root)?.ok_or(SetError::Missing(want.root))?;
        let segment = Segment::decode(&bytes)?;
        let length = segment.leaves.len() as u64;
        if length == 0 || segment.prev.size.checked_add(length) != Some(want.size) {
            return Err(SetError::Tampered {
                name: want.root,
                why: "its length is not what the next head says",
            });
        }
        let prev = segment.prev;
        chain.push((want.root, segment));
        want = prev;
    }
    if want != empty_head() {
        return Err(SetError::Tampered {
            name: want.root,
            why: "the set does not begin with the empty one",
        });
    }
    // Forwards, checking each root.
    let mut tree = SetTree::new();
    let mut leaves = Vec::new();
    for (name, segment) in chain.into_iter().rev() {
        for leaf in &segment.leaves {
            tree.push(leaf);
        }
        if tree.head().root != name {
            return Err(SetError::Tampered {
                name,
                why: "its leaves have another root",
            });
        }
        leaves.extend(segment.leaves);
    }
    Ok(leaves)
}

#[cfg(test)]
mod tests {
    use super::super::leaf::tests::any_leaf;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Cuts the leaves into segments after the given lengths, as a daemon would store them.
    fn store(leaves: &[Leaf], cuts: &[usize]) -> (HashMap<Sha256, Vec<u8>>, SetHead) {
        let mut tree = SetTree::new();
        let mut shelf = HashMap::new();
        let mut rest = leaves;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            if now.is_empty() {
                continue;
            }
            let prev = tree.head();
            for l in now {
                tree.push(l);
            }
            let segment = Segment {
                prev,
                leaves: now.to_vec(),
            };
            shelf.insert(tree.head().root, segment.encode());
        }
        (shelf, tree.head())
    }

    fn get(shelf: &HashMap<Sha256, Vec<u8>>, head: SetHead) -> Result<Vec<Leaf>, SetError> {
        collect(head, &|name| Ok(shelf.get(name).cloned()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_stored_in_any_pieces_is_collected(
            leaves in prop::collection::vec(any_leaf(), 0..20),
            cuts in prop::collection::vec(1usize..6, 0..6),
        ) {
            let (shelf, head) = store(&leaves, &cuts);
            prop_assert_eq!(get(&shelf, head).unwrap(), leaves);
        }

        #[test]
        fn a_changed_byte_anywhere_is_refused(
            leaves in prop::collection::vec(any_leaf(), 1..8),
            cuts in prop::collection::vec(1usize..4, 0..4),
            which: prop::sample::Index, at: prop::sample::Index, flip in 1u8..,
        ) {
            let (mut shelf, head) = store(&leaves, &cuts);
            let mut names: Vec<_> = shelf.keys().copied().collect();
            names.sort();
            let bytes = shelf.get_mut(which.get(&names)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(get(&shelf, head).is_err());
        }

        #[test]
        fn a_missing_segment_is_named(leaves in prop::collection::vec(any_leaf(), 2..8)) {
            let (mut shelf, head) = store(&leaves, &[1]);
            shelf.remove(&head.root);
            prop_assert!(matches!(get(&shelf, head), Err(SetError::Missing(root)) if root == head.root));
        }

        #[test]
        fn noise_is_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(Segment::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_segment_that_leads_back_to_itself_ends() {
        let root = Sha256([5; 32]);
        let prev = SetHead { size: 7, root };
        let leaves = Vec::new();
        let bytes = Segment { prev, leaves }.encode();
        let got = collect(prev, &|_| Ok(Some(bytes.clone())));
        assert!(matches!(got, Err(SetError::Tampered { .. })), "{got:?}");
    }

    #[test]
    fn a_head_that_promises_too_much_is_refused_before_anything_is_fetched() {
        let head = SetHead {
            size: u64::MAX,
            root: Sha256([0; 32]),
        };
        let got = collect(head, &|_| panic!("fetched"));
        assert!(matches!(got, Err(SetError::TooLarge(_))));
    }

    #[test]
    fn an_empty_set_under_a_made_up_root_is_refused() {
        let head = SetHead {
            size: 0,
            root: Sha256([0; 32]),
        };
        assert!(get(&HashMap::new(), head).is_err());
        assert_eq!(get(&HashMap::new(), empty_head()).unwrap(), []);
    }
}
