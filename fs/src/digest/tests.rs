//! The pool on real files, writers and mappings. Nothing here asserts how long something took.

mod held;
mod soak;
mod stop;

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use atlas_manifests::digest::Digests;
use atlas_manifests::vocabulary::Quiet;

use super::testing::{Names, stores};
use super::*;
use crate::vfs::observer::Backing as _;

/// A pool over a backing of names, and what it tells.
struct Lab {
    names: Arc<Names>,
    pool: Arc<DigestPool>,
    told: Receiver<Outcome>,
}

/// Longer than any test: what ends such a wait is a broken pool.
const FOREVER: Duration = Duration::from_secs(100);

impl Lab {
    fn new() -> Self {
        Self::with_patience(FOREVER)
    }

    fn with_patience(patience: Duration) -> Self {
        let names = Arc::new(Names::default());
        let (tell, told) = channel();
        let pool = DigestPool::start_with(
            2,
            Arc::clone(&names) as Arc<_>,
            Box::new(move |outcome| drop(tell.send(outcome))),
            Tuning {
                patience,
                retry: Duration::from_millis(100),
            },
        );
        Self { names, pool, told }
    }

    fn submit(&self, ticket: u64, path: &Path, ended: bool) -> FileKey {
        let file = self.names.key(path);
        self.pool.submit(Job {
            ticket,
            file,
            ended,
            tree: None,
            expect: None,
            snapshot: None,
        });
        file
    }

    fn next(&self) -> Outcome {
        self.told.recv_timeout(FOREVER).unwrap()
    }

    /// The next outcome, which must be a digest.
    fn done(&self) -> (u64, Digests, Quiet) {
        match self.next() {
            Outcome::Done {
                ticket,
                digests,
                quiet,
                ..
            } => (ticket, digests, quiet),
            other => panic!("{other:?}"),
        }
    }

    /// A digest of so many bytes of zeros, under way.
    fn begun(&self, ticket: u64, path: &Path, len: u64, ended: bool) -> FileKey {
        File::create(path).unwrap().set_len(len).unwrap();
        let_go(path);
        let file = self.submit(ticket, path, ended);
        while self.pool.progress(ticket).is_none_or(|part| part == 0.0) {
            std::thread::yield_now();
        }
        file
    }
}

#[test]
fn many_small_files_are_each_proven_and_right() {
    for dir in stores() {
        let lab = Lab::new();
        let content = |n: u64| format!("file number {n}\n").repeat(n as usize % 700);
        for n in 0..1500 {
            let path = dir.path().join(n.to_string());
            std::fs::write(&path, content(n)).unwrap();
            let_go(&path);
            lab.submit(n, &path, n % 3 == 0);
        }
        for _ in 0..1500 {
            let (ticket, digests, quiet) = lab.done();
            assert_eq!(digests, Digests::of(content(ticket).as_bytes()));
            assert_eq!(quiet, Quiet::Proven);
        }
        assert_eq!(lab.pool.queued(), 0);
    }
}

#[test]
fn readers_and_their_mappings_do_not_stand_in_the_way_of_proof() {
    for dir in stores() {
        let path = dir.path().join("f");
        std::fs::write(&path, b"read by many").unwrap();
        let readers: Vec<_> = (0..20).map(|_| File::open(&path).unwrap()).collect();
        let map = Map::of(&readers[0], false);
        let_go(&path);
        let lab = Lab::new();
        lab.submit(1, &path, true);
        assert_eq!(lab.done(), (1, Digests::of(b"read by many"), Quiet::Proven));
        drop((map, readers));
    }
}

#[test]
fn a_rename_during_the_digest_does_not_supersede_the_version() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let path = dir.path().join("model.tmp");
    let file = lab.begun(1, &path, 1 << 30, true);
    std::fs::rename(&path, dir.path().join("model")).unwrap();
    let Outcome::Done {
        quiet, identity, ..
    } = lab.next()
    else {
        panic!("not digested")
    };
    assert_eq!(quiet, Quiet::Proven);
    let now = lab
        .names
        .key_of(&File::open(dir.path().join("model")).unwrap());
    assert_eq!(now.unwrap(), file);
    let opened = File::open(dir.path().join("model")).unwrap();
    assert_eq!(identity, lab.names.identity_of(&opened).unwrap());
}

#[test]
fn more_than_four_gib_are_counted_and_digested() {
    let dir = roomy();
    let path = dir.path().join("sparse");
    let file = File::create(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", 1 << 32).unwrap();
    drop(file);
    let_go(&path);
    let lab = Lab::new();
    lab.submit(1, &path, false);
    let (_, digests, quiet) = lab.done();
    assert_eq!(digests.size, (1 << 32) + 3);
    assert_eq!(
        digests.sha256.hex(),
        "318e01702cd7413290bc5004d33f5a0bc296ca51e70ed23a0c41922589640900",
        "what sha256sum says"
    );
    assert_eq!(
        digests.blake3.hex(),
        "0ba4460615b952e17a9478956439f49cb9fbe6f1f4dd5d8f008dff65d87486dd",
        "what blake3::Hasher says when it is given the bytes in order"
    );
    assert_eq!(quiet, Quiet::Proven);
}

#[test]
fn a_directory_and_a_file_made_up_as_it_is_read_are_refused() {
    let lab = Lab::new();
    for (ticket, path) in [(1, "/proc/version"), (2, "/proc")] {
        lab.submit(ticket, Path::new(path), true);
        match lab.next() {
            Outcome::Failed { ticket: t, error } => {
                assert_eq!(t, ticket);
                assert!(!error.contains('\n'), "{error}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn a_deleted_or_replaced_file_is_gone_and_its_successor_is_not_taken_for_it() {
    for dir in stores() {
        let lab = Lab::new();
        let path = dir.path().join("f");
        std::fs::write(&path, b"old").unwrap();
        let kept = File::open(&path).unwrap();
        let file = lab.names.key(&path);
        for replaced in [false, true] {
            let _ = std::fs::remove_file(&path);
            if replaced {
                std::fs::write(&path, b"new").unwrap();
            }
            lab.pool.submit(Job {
                ticket: 5,
                file,
                ended: replaced,
                tree: None,
                expect: None,
                snapshot: None,
            });
            assert_eq!(lab.next(), Outcome::Gone { ticket: 5 });
        }
        drop(kept);
    }
}

#[test]
fn a_file_that_is_not_what_was_expected_is_not_digested() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let path = dir.path().join("f");
    std::fs::write(&path, b"then").unwrap();
    let file = lab.names.key(&path);
    let expect = Some(lab.names.identity(file).unwrap());
    std::fs::write(&path, b"now, and longer").unwrap();
    let_go(&path);
    for ended in [false, true] {
        lab.pool.submit(Job {
            ticket: 1,
            file,
            ended,
            tree: None,
            expect,
            snapshot: None,
        });
        let identity = lab.names.identity(file).unwrap();
        assert_eq!(
            lab.next(),
            Outcome::Changed {
                ticket: 1,
                identity
            }
        );
    }
}

#[test]
fn a_tree_of_what_was_written_is_finished_and_one_of_other_bytes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let path = dir.path().join("f");
    let content: Vec<u8> = (0..(5u32 << 20) + 9).map(|i| (i % 241) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let_go(&path);
    let file = lab.names.key(&path);
    let submit = |written: &[u8]| {
        let mut tree = ContentTree::new();
        // Out of order, so that SHA-256 has to pass over the file again.
        tree.write(1 << 20, &written[1 << 20..]);
        tree.write(0, &written[..1 << 20]);
        lab.pool.submit(Job {
            ticket: 1,
            file,
            ended: true,
            tree: Some(tree),
            expect: None,
            snapshot: None,
        });
    };
    submit(&content);
    assert_eq!(lab.done(), (1, Digests::of(&content), Quiet::Proven));
    let mut other = content.clone();
    other[3 << 20] ^= 1;
    for wrong in [&other[..], &content[1..]] {
        submit(wrong);
        let Outcome::Failed { error, .. } = lab.next() else {
            panic!("not refused")
        };
        assert!(error.contains("behind the mount"), "{error}");
    }
}

/// More bytes than any test waits for.
const ENDLESS: u64 = 64 << 30;

/// A directory for large sparse files: on a tmpfs, where there is one, since reading a hole there fills no page cache.
fn roomy() -> tempfile::TempDir {
    stores().pop().unwrap()
}

/// Waits until nobody has the file open for writing. Other tests start processes, and between fork and exec a child has this process's descriptors.
fn let_go(path: &Path) {
    let file = File::open(path).unwrap();
    while quiet::leases(&file) == quiet::Leases::Refused {
        std::thread::yield_now();
    }
}

/// A shared mapping of a whole file.
struct Map {
    at: *mut std::ffi::c_void,
    len: usize,
}

impl Map {
    fn of(file: &File, writable: bool) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let len = file.metadata().unwrap().len() as usize;
        let mut access = ProtFlags::READ;
        access.set(ProtFlags::WRITE, writable);
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let at = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) };
        Self {
            at: at.unwrap(),
            len,
        }
    }

    fn store(&self, at: usize, byte: u8) {
        assert!(at < self.len);
        // SAFETY: within the mapping, which lives as long as `self` and is writable wherever this is called.
        unsafe { self.at.cast::<u8>().add(at).write_volatile(byte) };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: nothing borrows from the mapping.
        let _ = unsafe { rustix::mm::munmap(self.at, self.len) };
    }
}

fn writer(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}
