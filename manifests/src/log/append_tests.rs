use super::*;
use crate::log::reader::LogReader;
use crate::log::recovery::OpenError;
use crate::log::testing::{Fault, Memory, TestKey, check, leaf, leaves, open};
use crate::merkle::is_consistent;
use crate::statement::SetHead;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;

fn new() -> (tempfile::TempDir, Memory, LogWriter) {
    let dir = tempfile::tempdir().unwrap();
    let register = Memory::default();
    let log = open(dir.path(), &register).unwrap();
    (dir, register, log)
}

fn grow(log: &mut LogWriter, count: u64) -> Appended {
    let from = log.size();
    let appended = log.append(&leaves(from, count)).unwrap();
    assert_eq!((appended.first, appended.count), (from, count));
    assert_eq!(log.size(), from + count);
    appended
}

/// Sizes at which tiles fill, by the batches that lead there.
#[test]
fn heads_are_those_of_a_second_implementation_where_tiles_fill() {
    let (dir, register, mut log) = new();
    let mut other: MemoryBackedTree<sha2::Sha256, Vec<u8>> = MemoryBackedTree::new();
    let mut heads: Vec<SetHead> = Vec::new();
    let batches = [1, 1, 253, 1, 1, 254, 1, 2, 65_020, 1, 1, 1, 255, 1, 256];
    for batch in batches {
        let appended = grow(&mut log, batch);
        (appended.first..log.size()).for_each(|n| other.push(leaf(n)));
        let head = appended.checkpoint.head.head;
        assert_eq!(head.root.0[..], other.root().as_bytes()[..], "{head:?}");
        assert_eq!(register.value(), Some(appended.checkpoint.encode()));
        heads.push(head);
    }
    let reader = LogReader::open(super::super::reader::Directory::new(dir.path())).unwrap();
    for old in &heads {
        for new in &heads {
            if old.size <= new.size {
                let proof = reader.consistency(old.size, new.size).unwrap();
                assert!(is_consistent(old, new, &proof), "{old:?} {new:?}");
            }
        }
        let last = old.size - 1;
        let proof = reader.inclusion(last, reader.head().size).unwrap();
        let theirs = other.prove_inclusion(last as usize);
        let flat: Vec<u8> = proof.iter().flat_map(|h| h.0).collect();
        assert_eq!(flat, theirs.as_bytes());
    }
    check(dir.path(), log.size());
}

#[test]
fn all_keys_sign_each_checkpoint() {
    let (_dir, _, mut log) = new();
    let appended = grow(&mut log, 3);
    for (name, seed) in [("log.example", 1), ("log.example/instance", 2)] {
        let key = TestKey::log(name, seed).key;
        let said = appended.checkpoint.note.signed_by(&key);
        assert_eq!(said, crate::log::note::Signed::Yes);
    }
}

/// Tells the child of the next test where to write.
const OPEN_UMASK: &str = "ATLAS_TEST_LOG_WITHOUT_UMASK";

/// Not a test when nobody asks for it: a umask is the whole process's.
#[test]
fn child_without_a_umask() {
    let Ok(dir) = std::env::var(OPEN_UMASK) else {
        return;
    };
    let dir = std::path::Path::new(&dir).join("log");
    let mut log = open(&dir, &Memory::default()).unwrap();
    for batch in [300, 65_300] {
        grow(&mut log, batch);
    }
    log.settle().unwrap();
    grow(&mut log, 3);
}

#[test]
fn a_daemon_without_a_umask_makes_nothing_that_others_can_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let done = std::process::Command::new("sh")
        .args(["-c", "umask 0; exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("log::append::tests::child_without_a_umask")
        .env(OPEN_UMASK, dir.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let (mut left, mut seen) = (vec![dir.path().join("log")], 0);
    while let Some(path) = left.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let mode = meta.permissions().mode() & 0o777;
        let ours = path.components().any(|c| c.as_os_str() == "wal");
        let wanted = match (ours, meta.is_dir()) {
            (true, true) => 0o700,
            (true, false) => 0o600,
            (false, true) => 0o755,
            (false, false) => 0o644,
        };
        assert_eq!(mode, wanted, "{}: {mode:o}", path.display());
        if meta.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        seen += 1;
    }
    assert!(seen > 500, "{seen}");
}

#[test]
fn a_log_has_one_writer_at_a_time() {
    let (dir, register, log) = new();
    let second = open(dir.path(), &register);
    assert!(matches!(second, Err(OpenError::Busy(_))));
    drop(log);
    open(dir.path(), &register).unwrap();
}

#[test]
fn what_cannot_be_a_leaf_changes_nothing() {
    let (dir, _, mut log) = new();
    grow(&mut log, 2);
    for bad in [vec![], vec![leaf(2), vec![0; MAX_LEAF + 1]]] {
        assert!(matches!(log.append(&bad), Err(AppendError::Refused(_))));
    }
    grow(&mut log, 2);
    check(dir.path(), 4);
}

#[test]
fn a_writer_whose_register_was_taken_signs_nothing_any_more() {
    let (dir, register, mut log) = new();
    grow(&mut log, 2);
    let signed = std::fs::read(dir.path().join("checkpoint")).unwrap();
    register.fault(Some(Fault::Lost));
    assert!(matches!(
        log.append(&leaves(2, 1)),
        Err(AppendError::Lost { .. })
    ));
    assert!(matches!(
        log.append(&leaves(2, 1)),
        Err(AppendError::Closed(_))
    ));
    assert!(matches!(log.resume(), Err(AppendError::Closed(_))));
    assert!(matches!(log.settle(), Err(AppendError::Closed(_))));
    assert_eq!(
        std::fs::read(dir.path().join("checkpoint")).unwrap(),
        signed
    );
}

#[test]
fn a_swap_whose_answer_was_lost_is_found_to_be_done() {
    let (dir, register, mut log) = new();
    grow(&mut log, 2);
    register.fault(Some(Fault::Unheard));
    grow(&mut log, 3);
    check(dir.path(), 5);
}

#[test]
fn a_swap_that_did_not_arrive_is_tried_again_with_the_same_checkpoint() {
    for fault in [Fault::Unsent, Fault::Down] {
        let (dir, register, mut log) = new();
        grow(&mut log, 2);
        register.fault(Some(fault));
        assert!(matches!(
            log.append(&leaves(2, 3)),
            Err(AppendError::Pending(_))
        ));
        assert!(log.is_pending());
        assert_eq!(log.size(), 2);
        check(dir.path(), 2);
        register.fault(None);
        let appended = log.resume().unwrap().unwrap();
        assert_eq!((appended.first, appended.count), (2, 3));
        grow(&mut log, 1);
        check(dir.path(), 6);
    }
}

#[test]
fn a_batch_waits_for_a_key_that_does_not_sign() {
    struct Sometimes(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Signer for Sometimes {
        fn sign(&self, text: &str) -> Result<Vec<Signature>, String> {
            if !self.0.load(std::sync::atomic::Ordering::SeqCst) {
                return Err("not now".to_owned());
            }
            let key = TestKey::log("log.example", 1);
            Ok(vec![key.key.line(key.sign(text.as_bytes()).to_vec())])
        }
    }
    let (dir, _, mut log) = new();
    let can = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    log.signers = vec![Box::new(Sometimes(can.clone()))];
    let pending = log.append(&leaves(0, 3));
    assert!(matches!(
        pending,
        Err(AppendError::Pending(PendingError::Sign(_)))
    ));
    assert!(!dir.path().join("checkpoint").exists());
    can.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(log.resume().unwrap().is_some());
    check(dir.path(), 3);
}

#[test]
fn witnesses_lines_are_added_to_the_same_head_and_to_no_other() {
    let (dir, _, mut log) = new();
    let old = grow(&mut log, 2).checkpoint;
    let mut cosigned = old.clone();
    let witness = TestKey::witness("witness.example", 9);
    let line = crate::log::cosignature::cosign(&witness.key, &old, 5, |m| witness.sign(m));
    cosigned.note.signatures = vec![line.clone()];
    let merged = log.replace_checkpoint(&cosigned).unwrap();
    assert_eq!(merged.note.signatures.len(), old.note.signatures.len() + 1);
    let read = std::fs::read(dir.path().join("checkpoint")).unwrap();
    assert!(
        Checkpoint::parse(&read)
            .unwrap()
            .note
            .signatures
            .contains(&line)
    );
    check(dir.path(), 2);
    grow(&mut log, 1);
    assert!(log.replace_checkpoint(&cosigned).is_err());
    check(dir.path(), 3);
}

#[test]
fn a_cosigned_checkpoint_outlives_a_start() {
    let (dir, register, mut log) = new();
    let mut cosigned = grow(&mut log, 2).checkpoint;
    let other = TestKey::log("other.example", 7);
    let line = other.sign(cosigned.note.text.as_bytes()).to_vec();
    cosigned.note.add(other.key.line(line));
    log.replace_checkpoint(&cosigned).unwrap();
    drop(log);
    let log = open(dir.path(), &register).unwrap();
    assert_eq!(log.checkpoint(), Some(&cosigned));
}

/// Errors of the disk at each step: nothing is acknowledged, and the same writer goes on when the disk does.
#[test]
fn a_step_that_fails_loses_nothing_and_can_be_tried_again() {
    use crate::log::stop::Stop;
    let steps = [
        (Step::Durable, 0),
        (Step::Sign, 0),
        (Step::Swap, 0),
        (Step::Swapped, 0),
        (Step::File, 0),
        (Step::File, 1),
        (Step::File, 3),
        (Step::Publish, 0),
        (Step::Published, 0),
    ];
    for (step, after) in steps {
        let (dir, _, mut log) = new();
        grow(&mut log, 200);
        log.stop = Stop::on(step, after);
        let stopped = log.append(&leaves(200, 100));
        let error = stopped.unwrap_err();
        assert_eq!(log.size(), 200, "{step:?}");
        log.stop = Stop::default();
        if step == Step::Durable {
            assert!(matches!(error, AppendError::Disk { .. }));
            grow(&mut log, 100);
        } else {
            assert!(
                matches!(error, AppendError::Pending(_)),
                "{step:?}: {error}"
            );
            let appended = log.resume().unwrap().unwrap();
            assert_eq!((appended.first, appended.count), (200, 100));
        }
        grow(&mut log, 5);
        check(dir.path(), 305);
    }
}

#[test]
fn tiles_that_cannot_be_made_durable_keep_their_segment() {
    use crate::log::stop::Stop;
    let (dir, register, mut log) = new();
    grow(&mut log, 300);
    log.stop = Stop::on(Step::Sync, 0);
    assert!(matches!(log.settle(), Err(AppendError::Disk { .. })));
    log.stop = Stop::default();
    assert!(matches!(log.settle(), Err(AppendError::Disk { .. })));
    grow(&mut log, 300);
    drop(log);
    let mut log = open(dir.path(), &register).unwrap();
    log.settle().unwrap();
    log.settle().unwrap();
    grow(&mut log, 10);
    check(dir.path(), 610);
}

#[test]
fn a_new_segment_that_finds_no_room_leaves_the_old_one_in_use() {
    let (dir, register, mut log) = new();
    log.segment = 1000;
    grow(&mut log, 3);
    // In the way of the file that becomes the next segment, as a full disk is.
    let way = dir.path().join("wal/.new");
    std::fs::create_dir(&way).unwrap();
    for _ in 0..3 {
        grow(&mut log, 100);
    }
    assert!(matches!(log.settle(), Err(AppendError::Disk { .. })));
    assert_eq!(log.wal.start(), 0);
    drop(log);
    let mut log = open(dir.path(), &register).unwrap();
    std::fs::remove_dir(&way).unwrap();
    log.settle().unwrap();
    assert_eq!(log.wal.start(), 303);
    grow(&mut log, 10);
    check(dir.path(), 313);
}

#[test]
fn a_new_segment_that_may_be_there_closes_the_log() {
    let (dir, _, mut log) = new();
    grow(&mut log, 3);
    std::fs::create_dir(dir.path().join(format!("wal/{:020}", 3))).unwrap();
    assert!(matches!(log.settle(), Err(AppendError::Disk { .. })));
    let after = log.append(&leaves(3, 1));
    assert!(matches!(after, Err(AppendError::Closed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_batches_with_starts_and_segments_between_make_the_same_log(batches in prop::collection::vec((1u64..300, 0u8..5), 1..14)) {
        let (dir, register, mut log) = new();
        for (batch, then) in batches {
            grow(&mut log, batch);
            match then {
                0 => {
                    drop(log);
                    log = open(dir.path(), &register).unwrap();
                }
                1 => log.settle().unwrap(),
                2 => {
                    log.settle().unwrap();
                    drop(log);
                    log = open(dir.path(), &register).unwrap();
                }
                _ => {}
            }
        }
        let mut plain: MemoryBackedTree<sha2::Sha256, Vec<u8>> = MemoryBackedTree::new();
        (0..log.size()).for_each(|n| plain.push(leaf(n)));
        let theirs = plain.root();
        prop_assert_eq!(&log.tree.head().root.0[..], &theirs.as_bytes()[..]);
        check(dir.path(), log.size());
    }
}
