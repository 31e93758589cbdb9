use super::*;
use crate::log::append::Step;
use crate::log::stop::Stop;
use crate::log::testing::{Memory, ORIGIN, WAL_KEY, check, leaves, open, signers};
use proptest::prelude::*;
use std::fs;

fn grown(batches: &[u64]) -> (tempfile::TempDir, Memory, LogWriter) {
    let dir = tempfile::tempdir().unwrap();
    let register = Memory::default();
    let mut log = open(dir.path(), &register).unwrap();
    for batch in batches {
        let from = log.size();
        log.append(&leaves(from, *batch)).unwrap();
    }
    (dir, register, log)
}

fn segment(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("wal")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.retain(|p| !p.ends_with("lock"));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The kill comes at each step of a batch and of a new segment, for batches that fill tiles and such that do not.
#[test]
fn a_kill_at_any_step_keeps_what_was_logged_and_finishes_or_drops_the_rest() {
    let steps = [
        (Step::Durable, 0),
        (Step::Sign, 0),
        (Step::Swap, 0),
        (Step::Swapped, 0),
        (Step::File, 0),
        (Step::File, 1),
        (Step::File, 2),
        (Step::File, 4),
        (Step::Publish, 0),
        (Step::Published, 0),
        (Step::Sync, 0),
        (Step::Segment, 0),
    ];
    for before in [0, 5, 250, 512] {
        for (step, after) in steps {
            let (dir, register, mut log) = grown(&[]);
            if before > 0 {
                log.append(&leaves(0, before)).unwrap();
            }
            log.stop = Stop::on(step, after);
            let acked = log.append(&leaves(before, 270)).is_ok();
            let _ = log.settle();
            drop(log);
            let mut log = open(dir.path(), &register).unwrap();
            let finished = step != Step::Durable;
            assert!(finished || !acked);
            let size = before + if finished { 270 } else { 0 };
            assert_eq!(log.size(), size, "{before} {step:?} {after}");
            log.append(&leaves(size, 3)).unwrap();
            check(dir.path(), size + 3);
        }
    }
}

#[test]
fn a_batch_that_is_torn_at_any_byte_is_dropped_or_whole() {
    let (dir, register, log) = grown(&[3]);
    let from = log.wal.length() as usize;
    drop(log);
    let logged = register.value();
    let old = tempfile::tempdir().unwrap();
    copy(dir.path(), old.path());
    let mut log = open(dir.path(), &register).unwrap();
    log.append(&leaves(3, 2)).unwrap();
    let to = log.wal.length() as usize;
    drop(log);
    let bytes = fs::read(segment(dir.path())).unwrap();
    for cut in from..=to {
        for rest in [0, 0xff] {
            let mut torn = bytes[..cut].to_vec();
            // What was never written is nothing, zeroes or something else.
            torn.resize(bytes.len(), rest);
            fs::write(segment(old.path()), &torn).unwrap();
            register.set(logged.clone());
            let mut log = open(old.path(), &register).unwrap();
            let whole = cut == to;
            let size = if whole { 5 } else { 3 };
            assert_eq!(log.size(), size, "{cut} {rest}");
            log.append(&leaves(size, 1)).unwrap();
            drop(log);
            drop(open(old.path(), &register).unwrap());
            check(old.path(), size + 1);
            fs::write(old.path().join("checkpoint"), logged.clone().unwrap()).unwrap();
        }
    }
}

/// A loss of power: none of what was not synced came to the disk.
#[test]
fn tiles_and_checkpoint_that_never_came_to_the_disk_are_made_again() {
    for batches in [&[1][..], &[256], &[200, 200], &[300, 300, 300]] {
        let (dir, register, log) = grown(batches);
        drop(log);
        fs::remove_dir_all(dir.path().join("tile")).unwrap();
        fs::write(dir.path().join("checkpoint"), b"").unwrap();
        let log = open(dir.path(), &register).unwrap();
        check(dir.path(), log.size());
    }
}

#[test]
fn of_a_log_with_segments_only_the_last_need_be_made_again() {
    let (dir, register, mut log) = grown(&[700]);
    log.settle().unwrap();
    log.append(&leaves(700, 600)).unwrap();
    drop(log);
    // Partial files of before are gone, full ones of the new segment are cut short.
    fs::remove_dir_all(dir.path().join("tile/1/000.p")).unwrap();
    fs::write(dir.path().join("tile/0/002"), b"").unwrap();
    fs::write(dir.path().join("tile/entries/002"), b"short").unwrap();
    let log = open(dir.path(), &register).unwrap();
    check(dir.path(), log.size());
    assert_eq!(log.size(), 1300);
}

#[test]
fn a_directory_that_was_restored_from_a_copy_is_refused() {
    let (dir, register, log) = grown(&[10]);
    drop(log);
    let old = tempfile::tempdir().unwrap();
    copy(dir.path(), old.path());
    let mut log = open(dir.path(), &register).unwrap();
    log.append(&leaves(10, 300)).unwrap();
    drop(log);
    let refused = open(old.path(), &register);
    assert!(matches!(
        refused,
        Err(OpenError::Behind {
            held: 310,
            have: 10,
            ..
        })
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        open(empty.path(), &register),
        Err(OpenError::Behind { have: 0, .. })
    ));
    open(dir.path(), &register).unwrap();
}

#[test]
fn a_register_that_was_restored_from_a_copy_is_refused() {
    let (dir, register, mut log) = grown(&[10]);
    let old = register.value();
    log.append(&leaves(10, 10)).unwrap();
    log.append(&leaves(20, 10)).unwrap();
    drop(log);
    let new = register.value();
    for value in [None, old] {
        register.set(value);
        let refused = open(dir.path(), &register);
        assert!(matches!(
            refused,
            Err(OpenError::RegisterBehind { have: 30, .. })
        ));
    }
    register.set(new);
    open(dir.path(), &register).unwrap();
}

#[test]
fn a_register_of_another_history_is_refused_whatever_its_size() {
    for (ours, theirs) in [(10, 10), (10, 7), (7, 10), (600, 300), (600, 600)] {
        let (dir, register, log) = grown(&[3, ours - 3]);
        drop(log);
        let other = tempfile::tempdir().unwrap();
        let held = Memory::default();
        let mut log = open(other.path(), &held).unwrap();
        log.append(&leaves(1000, theirs)).unwrap();
        fs::remove_file(dir.path().join("checkpoint")).unwrap();
        register.set(held.value());
        match open(dir.path(), &register) {
            Err(OpenError::Forked { held, have, .. }) => assert_eq!(held.size, have.size),
            Err(OpenError::Behind { .. }) => assert!(theirs > ours),
            _ => panic!("{ours} {theirs}"),
        }
    }
}

#[test]
fn a_register_of_another_log_or_of_nothing_is_refused() {
    let (dir, register, log) = grown(&[3]);
    drop(log);
    let other = crate::log::testing::TestKey::log("other.example", 1);
    let head = crate::log::testing::head(b"x", 3).head;
    for value in [b"nothing".to_vec(), other.checkpoint(head).encode()] {
        register.set(Some(value));
        let refused = open(dir.path(), &register);
        assert!(matches!(refused, Err(OpenError::Foreign { .. })));
    }
}

#[test]
fn two_machines_with_one_register_do_not_both_sign() {
    let (dir, register, log) = grown(&[10]);
    drop(log);
    let copied = tempfile::tempdir().unwrap();
    copy(dir.path(), copied.path());
    let mut one = open(dir.path(), &register).unwrap();
    let mut other = open(copied.path(), &register).unwrap();
    one.append(&leaves(10, 1)).unwrap();
    let lost = other.append(&leaves(500, 1));
    assert!(matches!(lost, Err(AppendError::Lost { .. })));
    drop(other);
    assert!(matches!(
        open(copied.path(), &register),
        Err(OpenError::Forked { .. })
    ));
    check(dir.path(), 11);
}

#[test]
fn a_log_without_its_write_ahead_log_is_refused() {
    let (dir, register, log) = grown(&[10]);
    drop(log);
    fs::remove_file(segment(dir.path())).unwrap();
    assert!(open(dir.path(), &register).is_err());
    register.set(None);
    assert!(matches!(
        open(dir.path(), &register),
        Err(OpenError::Damaged { .. })
    ));
}

#[test]
fn a_segment_that_another_key_wrote_is_refused_and_named() {
    let (dir, register, log) = grown(&[10]);
    drop(log);
    let register = || Box::new(register.clone());
    let other = LogWriter::open(dir.path(), register(), ORIGIN, signers(), &[8; 32]);
    match other {
        Err(OpenError::Damaged { path, .. }) => assert_eq!(path, segment(dir.path())),
        _ => panic!("a segment of another key is read"),
    }
    LogWriter::open(dir.path(), register(), ORIGIN, signers(), &WAL_KEY).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_damaged_write_ahead_log_is_an_error_or_changes_nothing(at: prop::sample::Index, bit in 0u8..8) {
        let (dir, register, mut log) = grown(&[3, 4]);
        log.settle().unwrap();
        log.append(&leaves(7, 5)).unwrap();
        log.append(&leaves(12, 5)).unwrap();
        let length = log.wal.length() as usize;
        drop(log);
        let path = segment(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[at.index(length)] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        prop_assert!(open(dir.path(), &register).is_err());
    }
}
