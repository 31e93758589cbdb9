use std::cell::Cell;
use std::fs;

use super::*;
use crate::log::testing::TestKey;
use crate::merkle::{Subtrees, consistency, leaf_hash, node_hash, root};

/// A tree of the leaves 0, 1, 2, ..., of which those from `other` on are others.
struct Tree {
    other: u64,
}

impl Subtrees for Tree {
    type Error = String;

    fn subtree(&self, level: u32, index: u64) -> Result<Sha256, String> {
        if level == 0 {
            let leaf = [
                index.to_be_bytes(),
                u64::from(index >= self.other).to_be_bytes(),
            ];
            return Ok(leaf_hash(&leaf.concat()));
        }
        let left = self.subtree(level - 1, index * 2)?;
        Ok(node_hash(&left, &self.subtree(level - 1, index * 2 + 1)?))
    }
}

impl Tree {
    fn head(&self, size: u64) -> SetHead {
        let root = root(self, size).unwrap();
        SetHead { size, root }
    }

    fn proof(&self, old: &SetHead, new: &SetHead) -> Result<Vec<Sha256>, String> {
        consistency(self, old.size, new.size)
    }
}

const GOOD: Tree = Tree { other: u64::MAX };
const FORK: Tree = Tree { other: 6 };

fn setup() -> (tempfile::TempDir, Memory, TestKey) {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::open(&dir.path().join("a/b")).unwrap();
    (dir, memory, TestKey::log("log.example/1", 1))
}

#[test]
fn a_log_that_grows_is_followed_and_its_head_survives() {
    let (_dir, memory, log) = setup();
    let see = |size| {
        let shown = log.checkpoint(GOOD.head(size));
        memory
            .observe(&shown, &log.key, |o, n| GOOD.proof(o, n))
            .unwrap()
    };
    assert_eq!(see(0), Judged::First);
    assert_eq!(see(5), Judged::Grown { from: GOOD.head(0) });
    assert_eq!(see(5), Judged::Same);
    assert_eq!(see(300), Judged::Grown { from: GOOD.head(5) });
    let again = Memory::open(&memory.dir).unwrap();
    let kept = again.load("log.example/1").unwrap().unwrap();
    assert_eq!(kept.head.head, GOOD.head(300));
    assert_eq!(again.load("log.example/2").unwrap(), None);
}

#[test]
fn a_log_that_shows_another_history_is_found_out_and_nothing_is_forgotten() {
    let (_dir, memory, log) = setup();
    let see = |tree: &Tree, size| {
        let shown = log.checkpoint(tree.head(size));
        memory
            .observe(&shown, &log.key, |o, n| tree.proof(o, n))
            .unwrap()
    };
    assert_eq!(see(&GOOD, 10), Judged::First);
    for (tree, size) in [(&FORK, 10), (&FORK, 12)] {
        let Judged::Split(both) = see(tree, size) else {
            panic!("{size}");
        };
        assert_eq!(both.remembered.head.head, GOOD.head(10));
        assert_eq!(both.shown.head.head, tree.head(size));
        let [old, new] = memory.keep(&both).unwrap();
        assert_eq!(fs::read(old).unwrap(), both.remembered.encode());
        assert_eq!(fs::read(new).unwrap(), both.shown.encode());
        assert_eq!(memory.keep(&both).unwrap(), memory.keep(&both).unwrap());
    }
    for tree in [&GOOD, &FORK] {
        assert!(matches!(see(tree, 9), Judged::Rollback(_)));
    }
    assert_eq!(see(&GOOD, 10), Judged::Same);
    assert!(matches!(see(&GOOD, 11), Judged::Grown { .. }));
}

#[test]
fn a_proof_that_proves_nothing_is_a_split_and_one_that_is_missing_an_error() {
    let (_dir, memory, log) = setup();
    let observe = |size, proof: &dyn Fn() -> Result<Vec<Sha256>, String>| {
        let shown = log.checkpoint(GOOD.head(size));
        memory.observe(&shown, &log.key, |_, _| proof())
    };
    observe(5, &|| panic!("not needed")).unwrap();
    assert!(matches!(
        observe(6, &|| Ok(Vec::new())),
        Ok(Judged::Split(_))
    ));
    let missing = observe(6, &|| Err("no tile".to_owned())).unwrap_err();
    assert!(
        missing.to_string().ends_with("from 5 to 6: no tile"),
        "{missing}"
    );
    assert_eq!(
        memory
            .load("log.example/1")
            .unwrap()
            .unwrap()
            .head
            .head
            .size,
        5
    );
}

#[test]
fn what_the_log_did_not_sign_is_neither_remembered_nor_believed() {
    let (_dir, memory, log) = setup();
    let other = TestKey::log("log.example/1", 2);
    let none = |_: &SetHead, _: &SetHead| Ok(Vec::new());
    let shown = other.checkpoint(GOOD.head(5));
    assert!(matches!(
        memory.observe(&shown, &log.key, none),
        Err(MemoryError::Unsigned { .. })
    ));
    assert_eq!(memory.load("log.example/1").unwrap(), None);
    memory.observe(&shown, &other.key, none).unwrap();
    let next = log.checkpoint(GOOD.head(5));
    assert!(matches!(
        memory.observe(&next, &log.key, none),
        Err(MemoryError::Unsigned { .. })
    ));
}

#[test]
fn a_damaged_memory_is_an_error_and_not_an_empty_one() {
    let (_dir, memory, log) = setup();
    let shown = log.checkpoint(GOOD.head(5));
    let file = memory.file("log.example/1");
    let foreign = TestKey::log("log.example/2", 1).checkpoint(GOOD.head(5));
    for bytes in [Vec::new(), vec![b'x'; MAX_NOTE + 1], foreign.encode()] {
        fs::write(&file, bytes).unwrap();
        let seen = memory.observe(&shown, &log.key, |_, _| Ok(Vec::new()));
        assert!(matches!(seen, Err(MemoryError::Damaged { .. })), "{seen:?}");
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(memory.load("log.example/1").is_err());
}

#[test]
fn a_swap_compares_first_and_never_goes_back() {
    let (_dir, memory, log) = setup();
    let [a, b, c] = [5, 6, 7].map(|size| log.checkpoint(GOOD.head(size)));
    assert!(!memory.swap(Some(&a), &b).unwrap(), "nothing is remembered");
    assert!(memory.swap(None, &b).unwrap());
    assert!(!memory.swap(None, &c).unwrap(), "something is");
    assert!(!memory.swap(Some(&a), &c).unwrap());
    assert!(memory.swap(Some(&b), &a).is_err());
    assert!(
        memory
            .swap(Some(&b), &log.checkpoint(Tree { other: 0 }.head(6)))
            .is_err()
    );
    assert!(memory.swap(Some(&b), &b).unwrap(), "with other lines, say");
    assert_eq!(memory.load("log.example/1").unwrap(), Some(b));
}

#[test]
fn of_two_that_race_the_larger_head_is_remembered() {
    let (_dir, memory, log) = setup();
    let first = log.checkpoint(GOOD.head(5));
    memory
        .observe(&first, &log.key, |_, _| Ok(Vec::new()))
        .unwrap();
    // While the proof for 6 is on its way, somebody else remembers 8.
    let asked = Cell::new(0);
    let shown = log.checkpoint(GOOD.head(6));
    let judged = memory.observe(&shown, &log.key, |old, new| {
        if asked.replace(asked.get() + 1) == 0 {
            let eight = log.checkpoint(GOOD.head(8));
            memory
                .observe(&eight, &log.key, |o, n| GOOD.proof(o, n))
                .unwrap();
        }
        GOOD.proof(old, new)
    });
    assert!(matches!(judged, Ok(Judged::Rollback(_))), "{judged:?}");
    assert_eq!(
        memory
            .load("log.example/1")
            .unwrap()
            .unwrap()
            .head
            .head
            .size,
        8
    );

    std::thread::scope(|s| {
        for i in 0..8u64 {
            let (memory, log) = (&memory, &log);
            s.spawn(move || {
                for size in 9 + i..40 {
                    let shown = log.checkpoint(GOOD.head(size));
                    let seen = memory.observe(&shown, &log.key, |o, n| GOOD.proof(o, n));
                    assert!(!matches!(seen, Ok(Judged::Split(_)) | Err(_)), "{seen:?}");
                }
            });
        }
    });
    assert_eq!(
        memory
            .load("log.example/1")
            .unwrap()
            .unwrap()
            .head
            .head
            .size,
        39
    );
}
