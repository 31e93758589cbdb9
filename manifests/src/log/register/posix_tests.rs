use std::fs;

use tempfile::TempDir;

use super::*;

fn dir() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("checkpoint");
    (dir, path)
}

fn unfit(opened: Result<Posix, RegisterError>) -> String {
    let told = opened.unwrap_err();
    assert!(matches!(told, RegisterError::Unfit { .. }), "{told}");
    told.to_string()
}

/// Overwrites one copy with what a disk may give back.
fn spoil(path: &Path, copy: usize, with: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(with, at(copy)).unwrap();
}

#[test]
fn a_value_is_there_after_the_process_is_not() {
    let (_dir, path) = dir();
    for value in [&b""[..], b"a", &[7; MAX_VALUE], &[8; BLOCK], b"b"] {
        let register = Posix::open(&path).unwrap();
        let old = register.load().unwrap();
        let swapped = register.swap(old.as_deref(), value).unwrap();
        assert_eq!(swapped, Swapped::Done);
        assert_eq!(register.load().unwrap().as_deref(), Some(value));
        drop(register);
        let register = Posix::open(&path).unwrap();
        assert_eq!(register.load().unwrap().as_deref(), Some(value));
    }
}

#[test]
fn a_stale_swap_changes_nothing() {
    let (_dir, path) = dir();
    let register = Posix::open(&path).unwrap();
    assert_eq!(register.load().unwrap(), None);
    assert_eq!(register.swap(Some(b""), b"x").unwrap(), Swapped::Lost);
    assert_eq!(register.swap(None, b"one").unwrap(), Swapped::Done);
    for old in [None, Some(&b"two"[..]), Some(b""), Some(b"on")] {
        assert_eq!(register.swap(old, b"two").unwrap(), Swapped::Lost);
        assert_eq!(register.load().unwrap().as_deref(), Some(&b"one"[..]));
    }
    let long = vec![0; MAX_VALUE + 1];
    let told = register.swap(Some(b"one"), &long).unwrap_err();
    assert!(matches!(told, RegisterError::Unfit { .. }), "{told}");
}

#[test]
fn two_threads_do_not_both_win() {
    let (_dir, path) = dir();
    let register = Posix::open(&path).unwrap();
    let mut old = None;
    for round in 0..20_u8 {
        let won: Vec<_> = std::thread::scope(|scope| {
            let (register, old) = (&register, &old);
            let threads: Vec<_> = (0..16_u8)
                .map(|i| scope.spawn(move || register.swap(Option::as_deref(old), &[round, i])))
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap().unwrap())
                .collect()
        });
        let winners: Vec<_> = (0..16_u8)
            .filter(|&i| won[usize::from(i)] == Swapped::Done)
            .collect();
        assert_eq!(winners.len(), 1);
        old = register.load().unwrap();
        assert_eq!(old, Some(vec![round, winners[0]]));
    }
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let (_dir, path) = dir();
    let first = Posix::open(&path).unwrap();
    let told = unfit(Posix::open(&path));
    let pid = std::process::id();
    assert!(
        told.contains(&format!("process {pid} has it open")),
        "{told}"
    );
    // A lock file that was removed lets nobody in.
    fs::remove_file(path.with_extension("lock")).unwrap();
    let told = unfit(Posix::open(&path));
    assert!(told.contains("another process has it open"), "{told}");
    drop(first);
    Posix::open(&path).unwrap();
}

#[test]
fn a_copy_that_the_disk_lost_is_made_good_and_two_are_never_an_older_value() {
    let (_dir, path) = dir();
    let register = Posix::open(&path).unwrap();
    register.swap(None, b"older").unwrap();
    register.swap(Some(b"older"), b"newest").unwrap();
    drop(register);
    let good = fs::read(&path).unwrap();
    for garbage in [
        vec![0; BLOCK],
        vec![0xff; BLOCK],
        b"atlasreg".to_vec(),
        vec![1; 30],
    ] {
        for copy in 0..COPIES {
            fs::write(&path, &good).unwrap();
            spoil(&path, copy, &garbage);
            let spoilt = fs::read(&path).unwrap() != good;
            let register = Posix::open(&path).unwrap();
            assert_eq!(register.load().unwrap().as_deref(), Some(&b"newest"[..]));
            drop(register);
            // And is whole again: the other one may be lost now.
            spoil(&path, copy ^ 1, &garbage);
            let register = Posix::open(&path).unwrap();
            assert_eq!(register.load().unwrap().as_deref(), Some(&b"newest"[..]));
            drop(register);
            fs::write(&path, &good).unwrap();
            spoil(&path, copy, &garbage);
            spoil(&path, copy ^ 1, &garbage);
            if spoilt {
                assert!(unfit(Posix::open(&path)).contains("damaged"));
            }
        }
    }
}

#[test]
fn any_bit_may_flip() {
    let (_dir, path) = dir();
    let register = Posix::open(&path).unwrap();
    register.swap(None, b"older").unwrap();
    register.swap(Some(b"older"), b"value").unwrap();
    drop(register);
    let good = fs::read(&path).unwrap();
    for copy in 0..COPIES {
        for byte in 0..HEADER + 5 {
            let mut bytes = good.clone();
            bytes[copy * COPY + byte] ^= 0x10;
            let decoded = |copy: usize| decode(&bytes[copy * COPY..][..COPY], copy);
            assert_eq!(decoded(copy), None, "byte {byte} of copy {copy}");
            let all: Vec<_> = (0..COPIES).map(decoded).collect();
            assert_eq!(judge(&all).unwrap().value.as_deref(), Some(&b"value"[..]));
        }
    }
}

#[test]
fn a_crash_leaves_the_old_value_or_the_new_one() {
    let copy = |generation, value: &[u8]| {
        Some(Stored {
            generation,
            value: Some(value.to_vec()),
        })
    };
    let (before, old, new) = (copy(6, b"before"), copy(7, b"old"), copy(8, b"new"));
    // What each of the two places that are written may be found with.
    for first in [&before, &None, &new] {
        for second in [&before, &None, &new] {
            let found = [first.clone(), second.clone(), old.clone(), old.clone()];
            let judged = judge(&found);
            let expected = match (first, second) {
                // Both torn: at most one is on its way at a time, or each is written whole.
                (None, None) => None,
                (a, b) if *a == new || *b == new => new.clone(),
                _ => old.clone(),
            };
            assert_eq!(judged, expected, "{found:?}");
        }
    }
    // What no crash leaves: generations apart, and two values of one.
    let apart = [copy(4, b"x"), copy(4, b"x"), old.clone(), old.clone()];
    assert_eq!(judge(&apart), None);
    let two = [copy(8, b"x"), new, old.clone(), old];
    assert_eq!(judge(&two), None);
}

#[test]
fn what_is_no_register_is_refused_without_a_panic() {
    let (dir, path) = dir();
    for bytes in [
        vec![],
        b"origin\n5\nroot\n".to_vec(),
        vec![0; COPIES * COPY],
        vec![0xff; COPIES * COPY],
    ] {
        fs::write(&path, &bytes).unwrap();
        unfit(Posix::open(&path));
        assert_eq!(fs::read(&path).unwrap(), bytes, "it is not overwritten");
    }
    unfit(Posix::open(dir.path()));
    unfit(Posix::open(&dir.path().join("nowhere/checkpoint")));
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    unfit(Posix::open(&pipe));
}

#[test]
fn a_file_put_in_its_place_is_not_written_behind_its_back() {
    let (_dir, path) = dir();
    let register = Posix::open(&path).unwrap();
    register.swap(None, b"one").unwrap();
    fs::rename(&path, path.with_extension("old")).unwrap();
    assert!(matches!(register.load(), Err(RegisterError::Unfit { .. })));
    fs::write(&path, b"another").unwrap();
    let told = register.swap(Some(b"one"), b"two").unwrap_err();
    assert!(told.to_string().contains("another file has its name"));
    assert_eq!(fs::read(&path).unwrap(), b"another");
}

/// Not a test of a number, which a busy machine would fail: of what a swap waits for. With `--nocapture` it says how long they take.
#[test]
fn many_swaps_leave_one_file_of_one_size() {
    let (_dir, path) = dir();
    let register = Posix::open(&path).unwrap();
    let size = fs::metadata(&path).unwrap();
    let mut took = Vec::new();
    let mut old: Option<Vec<u8>> = None;
    for i in 0..500_u16 {
        let new = [&i.to_be_bytes()[..], &[9; 600]].concat();
        let begun = std::time::Instant::now();
        let swapped = register.swap(old.as_deref(), &new).unwrap();
        took.push(begun.elapsed());
        assert_eq!(swapped, Swapped::Done);
        old = Some(new);
    }
    took.sort();
    let _ = writeln!(
        io::stderr(),
        "file: p50 {:?}, p99 {:?}",
        took[250],
        took[495]
    );
    let now = fs::metadata(&path).unwrap();
    assert_eq!(
        (now.len(), now.blocks(), now.ino()),
        (size.len(), size.blocks(), size.ino())
    );
}
