use super::*;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;

/// Keeps the leaves, and hashes all of them for each answer.
struct Plain(Vec<Sha256>);

impl Plain {
    fn of(n: u64) -> Self {
        Self((0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect())
    }

    fn head(&self, n: u64) -> SetHead {
        SetHead {
            size: n,
            root: root(self, n).unwrap(),
        }
    }
}

impl Subtrees for Plain {
    type Error = std::convert::Infallible;

    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, Self::Error> {
        if level == 0 {
            return Ok(self.0[index as usize]);
        }
        Ok(node_hash(
            &self.subtree(level - 1, index * 2)?,
            &self.subtree(level - 1, index * 2 + 1)?,
        ))
    }
}

fn second_opinion(n: u64) -> MemoryBackedTree<sha2::Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    for i in 0..n {
        tree.push(i.to_be_bytes().to_vec());
    }
    tree
}

#[test]
fn the_tree_is_that_of_a_second_implementation() {
    let plain = Plain::of(130);
    for n in 1..=130 {
        let other = second_opinion(n);
        assert_eq!(
            root(&plain, n).unwrap().0[..],
            other.root().as_bytes()[..],
            "{n}"
        );
        for i in [0, n / 3, n / 2, n - 1] {
            let ours: Vec<u8> = inclusion(&plain, i, n)
                .unwrap()
                .iter()
                .flat_map(|h| h.0)
                .collect();
            assert_eq!(
                ours,
                other.prove_inclusion(i as usize).as_bytes(),
                "{i} of {n}"
            );
        }
        for old in [1, n / 3, n / 2, n - 1]
            .into_iter()
            .filter(|o| *o > 0 && *o < n)
        {
            let ours: Vec<u8> = consistency(&plain, old, n)
                .unwrap()
                .iter()
                .flat_map(|h| h.0)
                .collect();
            let theirs = other.prove_consistency((n - old) as usize);
            assert_eq!(ours, theirs.as_bytes(), "{old} to {n}");
        }
    }
}

#[test]
fn each_proof_holds_and_holds_for_nothing_else() {
    let plain = Plain::of(70);
    for n in 1..=70 {
        let head = plain.head(n);
        for i in 0..n {
            let leaf = plain.0[i as usize];
            let proof = inclusion(&plain, i, n).unwrap();
            assert_eq!(root_of_inclusion(&leaf, i, n, &proof), Some(head.root));
            for other in (0..=n).filter(|o| *o != i) {
                assert_ne!(
                    root_of_inclusion(&leaf, other, n, &proof),
                    Some(head.root),
                    "{i} as {other} of {n}"
                );
            }
            let mut long = proof.clone();
            long.push(leaf);
            assert_ne!(root_of_inclusion(&leaf, i, n, &long), Some(head.root));
            if let Some((_, short)) = proof.split_last() {
                assert_ne!(root_of_inclusion(&leaf, i, n, short), Some(head.root));
            }
        }
        for old in 0..=n {
            let was = plain.head(old);
            let proof = consistency(&plain, old, n).unwrap();
            assert!(is_consistent(&was, &head, &proof), "{old} to {n}");
            let forked = SetHead {
                root: Sha256([9; 32]),
                ..was
            };
            assert!(!is_consistent(&forked, &head, &proof), "{old} to {n}");
            assert!(!is_consistent(&head, &was, &proof) || old == n);
            let mut long = proof.clone();
            long.push(head.root);
            assert!(!is_consistent(&was, &head, &long));
            if let Some((_, short)) = proof.split_last() {
                assert!(!is_consistent(&was, &head, short));
            }
        }
    }
}

proptest! {
    #[test]
    fn hostile_proofs_neither_panic_nor_pass(index: u64, old: u64, new: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70)) {
        let hashes: Vec<Sha256> = hashes.into_iter().map(Sha256).collect();
        let root = Sha256([7; 32]);
        prop_assert_ne!(root_of_inclusion(&Sha256([1; 32]), index, new, &hashes), Some(root));
        let (a, b) = (SetHead { size: old, root: Sha256([2; 32]) }, SetHead { size: new, root });
        prop_assert!(!is_consistent(&a, &b, &hashes));
    }
}

#[test]
fn a_proof_of_inclusion_shows_the_tree_before_its_leaf() {
    let tree = Plain::of(70);
    for size in 1..=70 {
        for index in 0..size {
            let mut proof = inclusion(&tree, index, size).unwrap();
            let before = root(&tree, index).unwrap();
            assert_eq!(root_before(index, size, &proof), Some(before));
            proof.push(before);
            assert_eq!(root_before(index, size, &proof), None);
            assert_eq!(root_before(size, size, &proof), None);
        }
    }
}
