use super::*;
use crate::log::testing::{Files, TestKey};
use crate::merkle::{is_consistent, root_of_inclusion};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;

fn leaf(n: u64) -> Vec<u8> {
    format!("leaf {n}").into_bytes()
}

fn log(size: u64) -> (tempfile::TempDir, Directory) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path());
    files.write(&TestKey::log("log.example", 1), size, leaf);
    let source = Directory::new(dir.path());
    (dir, source)
}

fn second_opinion(size: u64) -> MemoryBackedTree<sha2::Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    (0..size).for_each(|n| tree.push(leaf(n)));
    tree
}

fn flat(hashes: &[Sha256]) -> Vec<u8> {
    hashes.iter().flat_map(|h| h.0).collect()
}

#[test]
fn proofs_from_tiles_are_those_of_a_second_implementation() {
    for size in [1, 2, 255, 256, 257, 511, 513, 1000, 65_536, 65_537] {
        let (_dir, source) = log(size);
        let reader = LogReader::open(source).unwrap();
        let other = second_opinion(size);
        assert_eq!(reader.head().root.0[..], other.root().as_bytes()[..]);
        let at = [
            0,
            1,
            254,
            255,
            256,
            257,
            size / 3,
            size / 2,
            size.saturating_sub(2),
            size - 1,
        ];
        for index in at.into_iter().filter(|i| *i < size) {
            let proof = reader.inclusion(index, size).unwrap();
            let theirs = other.prove_inclusion(index as usize);
            assert_eq!(flat(&proof), theirs.as_bytes(), "{index} of {size}");
            assert_eq!(reader.leaf(index).unwrap(), leaf(index));
            assert!(reader.proof(index).unwrap().holds(&leaf_hash(&leaf(index))));
        }
        for old in at.into_iter().filter(|i| *i > 0 && *i < size) {
            let proof = reader.consistency(old, size).unwrap();
            let theirs = other.prove_consistency((size - old) as usize);
            assert_eq!(flat(&proof), theirs.as_bytes(), "{old} to {size}");
        }
    }
}

#[test]
fn older_trees_are_proven_from_the_tiles_of_the_newest() {
    let (_dir, source) = log(1000);
    let reader = LogReader::open(source).unwrap();
    for size in [1, 2, 255, 256, 257, 700, 999, 1000] {
        let root = reader.root(size).unwrap();
        assert_eq!(root.0[..], second_opinion(size).root().as_bytes()[..]);
        for index in [0, size / 2, size - 1] {
            let hash = leaf_hash(&leaf(index));
            let proof = reader.inclusion(index, size).unwrap();
            assert_eq!(root_of_inclusion(&hash, index, size, &proof), Some(root));
        }
        for old in [0, 1, size / 2, size] {
            let was = SetHead {
                size: old,
                root: reader.root(old).unwrap(),
            };
            let proof = reader.consistency(old, size).unwrap();
            assert!(is_consistent(&was, &SetHead { size, root }, &proof));
        }
    }
}

#[test]
fn what_is_beyond_the_head_is_an_error_and_no_panic() {
    let (_dir, source) = log(300);
    let reader = LogReader::open(source).unwrap();
    for asked in [300, 301, 512, u64::MAX] {
        assert!(matches!(reader.leaf(asked), Err(LogError::Beyond { .. })));
        assert!(reader.proof(asked).is_err());
        assert!(reader.inclusion(0, asked).is_err() || asked == 300);
        assert!(reader.consistency(asked, 300).is_err() || asked == 300);
        assert!(reader.leaves(asked).is_err());
    }
    assert!(reader.inclusion(9, 9).is_err());
}

#[test]
fn a_partial_tile_that_was_removed_is_read_from_the_full_one() {
    let (dir, source) = log(300);
    let old = LogReader::open(source.clone())
        .unwrap()
        .checkpoint()
        .clone();
    Files::new(dir.path()).write(&TestKey::log("log.example", 1), 512, leaf);
    for partial in ["tile/0/001.p", "tile/entries/001.p"] {
        std::fs::remove_dir_all(dir.path().join(partial)).unwrap();
    }
    let reader = LogReader::at(source, old).unwrap();
    assert_eq!(reader.leaf(299).unwrap(), leaf(299));
    assert!(reader.leaf(300).is_err());
}

#[test]
fn a_log_that_is_not_there_or_not_as_large_as_it_says_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let source = Directory::new(dir.path().join("none"));
    assert!(matches!(LogReader::open(&source), Err(LogError::Empty(_))));
    let (dir, source) = log(700);
    std::fs::remove_dir_all(dir.path().join("tile/0/002.p")).unwrap();
    assert!(matches!(
        LogReader::open(&source),
        Err(LogError::Damaged { .. })
    ));
    std::fs::write(dir.path().join("checkpoint"), "nothing").unwrap();
    assert!(matches!(
        LogReader::open(&source),
        Err(LogError::Checkpoint(_))
    ));
}

/// Each file of the log of 600 leaves.
const PATHS: [&str; 7] = [
    "tile/0/000",
    "tile/0/001",
    "tile/0/002.p/88",
    "tile/1/000.p/2",
    "tile/entries/000",
    "tile/entries/001",
    "tile/entries/002.p/88",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_damaged_file_is_an_error_where_it_is_used_and_never_a_wrong_answer(which in 0..PATHS.len(), at: prop::sample::Index, bit in 0u8..8, length in prop::option::of(any::<prop::sample::Index>())) {
        let (dir, source) = log(600);
        let path = dir.path().join(PATHS[which]);
        let mut bytes = std::fs::read(&path).unwrap();
        let spot = at.index(bytes.len());
        match length {
            Some(length) => bytes.truncate(length.index(bytes.len())),
            None => bytes[spot] ^= 1 << bit,
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut refused = 0;
        match LogReader::open(source) {
            Ok(reader) => {
                for index in [0, 255, 256, 511, 512, 599] {
                    match reader.leaf(index) {
                        Ok(found) => prop_assert_eq!(found, leaf(index)),
                        Err(_) => refused += 1,
                    }
                    match reader.proof(index) {
                        Ok(proof) => prop_assert!(proof.holds(&leaf_hash(&leaf(index)))),
                        Err(_) => refused += 1,
                    }
                }
            }
            Err(_) => refused += 1,
        }
        prop_assert!(refused > 0);
    }
}
