use super::*;
use crate::log::testing::{Files, TestKey};
use proptest::prelude::*;
use std::path::Path;

const SIZE: u64 = 2 * SPAN + 700;

fn digest(n: u64) -> Sha256 {
    Sha256::of(&n.to_be_bytes())
}

fn id(n: u8) -> InstanceId {
    InstanceId([n; 16])
}

/// Manifests, and what is said of two instances.
fn leaf(n: u64) -> Vec<u8> {
    let instance = id(1);
    let anchor = |seq, last| Leaf::Anchor {
        instance,
        seq,
        manifests: n,
        evidence: None,
        last,
    };
    let said = match n {
        0 => Leaf::Instance {
            instance,
            evidence: None,
            seal_key: digest(0),
            log_key: None,
        },
        5 => return b"of another version".to_vec(),
        1_000 => anchor(0, false),
        65_535 => anchor(1, false),
        70_000 => anchor(2, true),
        100_000 => Leaf::Revocation {
            what: Revoked::Manifest(digest(7)),
            reason: Reason::Wrong,
        },
        131_500 => Leaf::Revocation {
            what: Revoked::Instance(instance),
            reason: Reason::Compromised,
        },
        _ => Leaf::Manifest {
            // Logged twice: the first counts.
            manifest: digest(if n == 131_400 { 9 } else { n }),
            instance,
        },
    };
    said.encode()
}

fn log() -> (tempfile::TempDir, LogReader<Directory>) {
    let dir = tempfile::tempdir().unwrap();
    Files::new(dir.path()).write(&TestKey::log("log.example", 1), SIZE, leaf);
    let reader = LogReader::open(Directory::new(dir.path())).unwrap();
    (dir, reader)
}

fn right<S: Source>(finder: &Finder<'_, S>, manifests: &[u64]) {
    for n in manifests.iter().copied() {
        let found = finder.manifest(&digest(n)).unwrap().unwrap();
        assert_eq!(found.index, n);
    }
    assert_eq!(finder.manifest(&digest(SIZE)).unwrap(), None);
    let life = finder.life(&id(1)).unwrap();
    let index = |found: Option<Found>| found.map(|f| f.index);
    assert_eq!(index(life.begun), Some(0));
    assert_eq!(index(life.anchor), Some(70_000));
    assert_eq!(index(life.ended), Some(70_000));
    assert_eq!(index(life.revoked), Some(131_500));
    assert_eq!(finder.life(&id(2)).unwrap(), Life::default());
    let revoked = finder.revoked(Revoked::Manifest(digest(7))).unwrap();
    assert_eq!(revoked, Some((100_000, Reason::Wrong)));
    let revoked = finder.revoked(Revoked::Manifest(digest(8))).unwrap();
    assert_eq!(revoked, None);
}

fn damage(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn leaves_are_found_with_files_without_and_with_those_of_another_log() {
    let (dir, reader) = log();
    right(&Finder::scanning(&reader), &[9, SIZE - 1]);
    assert_eq!(refresh(&reader, 1).unwrap(), 1);
    assert!(!dir.path().join("find/000").exists());
    assert_eq!(refresh(&reader, 9).unwrap(), 1);
    assert_eq!(refresh(&reader, 9).unwrap(), 0);
    let all = [1, 9, 999, 65_534, 65_536, 131_071, 131_072, SIZE - 1];
    right(&Finder::new(&reader), &all);
    // The files of two spans in each other's place.
    let (one, other) = (dir.path().join("find/000"), dir.path().join("find/001"));
    let bytes = std::fs::read(&one).unwrap();
    std::fs::copy(&other, &one).unwrap();
    std::fs::write(&other, bytes).unwrap();
    let found = Finder::new(&reader).manifest(&digest(70_001)).unwrap();
    assert_eq!(found.map(|f| f.index), Some(70_001));
}

#[test]
fn a_lookup_file_that_is_damaged_is_not_believed() {
    let (dir, reader) = log();
    refresh(&reader, 9).unwrap();
    let (root, path) = (reader.subtree(16, 0).unwrap(), dir.path().join("find/000"));
    let whole = std::fs::read(&path).unwrap();
    let key = lookup::of_digest(&digest(1));
    let files = dir.path().join("find");
    assert!(lookup::read(&files, 0, &root, key).is_some());
    for at in [0, 20, 60, 3000, 3140] {
        damage(&path, at);
        assert_eq!(lookup::read(&files, 0, &root, key), None, "{at}");
        std::fs::write(&path, &whole).unwrap();
    }
    // Each byte of the entries, in strides: either another bucket, or not believed.
    let good = lookup::read(&files, 0, &root, key);
    for at in (3152..whole.len()).step_by(4999) {
        damage(&path, at);
        let read = lookup::read(&files, 0, &root, key);
        assert!(read.is_none() || read == good, "{at}");
        std::fs::write(&path, &whole).unwrap();
    }
    std::fs::write(&path, &whole[..5000]).unwrap();
    let found = Finder::new(&reader).manifest(&digest(1)).unwrap();
    assert_eq!(found.map(|f| f.index), Some(1));
}

/// A file that is whole, and says what is not so.
#[test]
fn an_entry_that_leads_to_another_leaf_finds_nothing() {
    let (dir, reader) = log();
    let key = lookup::of_digest(&digest(SIZE + 1));
    let kind = Kind::Manifest;
    let lie = Entry { key, kind, at: 9 };
    let root = reader.subtree(16, 0).unwrap();
    lookup::write(&dir.path().join("find"), 0, &root, &[lie]).unwrap();
    let found = Finder::new(&reader).manifest(&digest(SIZE + 1)).unwrap();
    assert_eq!(found, None);
}

proptest! {
    #[test]
    fn hostile_lookup_files_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000), key: [u8; 8]) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("000"), bytes).unwrap();
        prop_assert_eq!(lookup::read(dir.path(), 0, &Sha256([1; 32]), key), None);
    }
}
