//! Versions that someone can still write after they have ended.

use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};

use super::*;

const SOON: Duration = Duration::from_millis(200);

/// A process that has inherited a writable description and does nothing, like a data loader's worker.
fn heir(file: File) -> Child {
    Command::new("sleep")
        .arg("1000")
        .stdout(Stdio::from(file))
        .spawn()
        .unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_store_through_a_mapping_after_the_close_is_in_the_proven_digest() {
    for dir in stores() {
        let path = dir.path().join("f");
        std::fs::write(&path, vec![b'a'; 300_000]).unwrap();
        let file = writer(&path);
        let map = Map::of(&file, true);
        map.store(0, b'b');
        drop(file);
        let lab = Lab::new();
        lab.submit(1, &path, true);
        assert_eq!(lab.next(), Outcome::Held { ticket: 1 });
        assert_eq!(lab.pool.progress(1), Some(0.0));
        map.store(0, b'c');
        map.store(299_999, b'd');
        drop(map);
        let (_, digests, quiet) = lab.done();
        assert_eq!(digests, Digests::of(&std::fs::read(&path).unwrap()));
        assert_eq!(quiet, Quiet::Proven);
    }
}

#[test]
fn an_heir_that_never_writes_gives_a_held_digest_and_a_proven_one_when_it_goes() {
    for dir in stores() {
        let path = dir.path().join("f");
        std::fs::write(&path, b"inherited").unwrap();
        let heir = heir(writer(&path));
        let lab = Lab::with_patience(SOON);
        lab.submit(1, &path, true);
        assert_eq!(lab.next(), Outcome::Held { ticket: 1 });
        assert_eq!(lab.done(), (1, Digests::of(b"inherited"), Quiet::Held));
        end(heir);
        assert_eq!(lab.done(), (1, Digests::of(b"inherited"), Quiet::Proven));
        assert_eq!(lab.pool.progress(1), None);
    }
}

#[test]
fn a_write_after_the_held_digest_is_a_change() {
    for dir in stores() {
        let path = dir.path().join("f");
        std::fs::write(&path, b"first").unwrap();
        let file = writer(&path);
        let lab = Lab::with_patience(SOON);
        lab.submit(1, &path, true);
        assert_eq!(lab.next(), Outcome::Held { ticket: 1 });
        assert_eq!(lab.done(), (1, Digests::of(b"first"), Quiet::Held));
        file.write_all_at(b"later", 0).unwrap();
        drop(file);
        assert!(matches!(lab.next(), Outcome::Changed { ticket: 1, .. }));
    }
}

#[test]
fn a_store_that_moves_no_time_stamp_is_a_change_all_the_same() {
    for dir in stores() {
        let path = dir.path().join("f");
        std::fs::write(&path, vec![0; 8192]).unwrap();
        let file = writer(&path);
        let map = Map::of(&file, true);
        map.store(100, 1); // the page is dirty now: later stores leave mtime and ctime alone
        drop(file);
        let lab = Lab::with_patience(SOON);
        lab.submit(1, &path, true);
        assert_eq!(lab.next(), Outcome::Held { ticket: 1 });
        assert!(matches!(lab.done(), (1, _, Quiet::Held)));
        map.store(100, 2);
        drop(map);
        assert!(matches!(lab.next(), Outcome::Changed { ticket: 1, .. }));
    }
}

#[test]
fn a_write_during_the_held_digest_is_noticed_though_its_time_stamp_is_set_back() {
    if watch::Watch::new().is_err() {
        return; // without fanotify nothing but the time stamps can tell
    }
    let dir = roomy();
    let path = dir.path().join("f");
    let lab = Lab::with_patience(Duration::ZERO);
    File::create(&path).unwrap().set_len(2 << 30).unwrap();
    let file = writer(&path);
    let then = file.metadata().unwrap().modified().unwrap();
    lab.submit(1, &path, true);
    assert_eq!(lab.next(), Outcome::Held { ticket: 1 });
    while lab.pool.progress(1).is_none_or(|part| part == 0.0) {
        std::thread::yield_now();
    }
    file.write_all_at(b"x", 0).unwrap();
    file.set_modified(then).unwrap();
    assert!(matches!(lab.next(), Outcome::Changed { ticket: 1, .. }));
}

#[test]
fn a_write_during_the_wait_is_part_of_the_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"first").unwrap();
    let lab = Lab::new();
    let file = writer(&path);
    let key = lab.names.key(&path);
    let mut tree = ContentTree::new();
    tree.write(0, b"first");
    lab.pool.submit(Job {
        ticket: 1,
        file: key,
        ended: true,
        tree: Some(tree),
        expect: Some(lab.names.identity(key).unwrap()),
        snapshot: None,
    });
    assert_eq!(lab.next(), Outcome::Held { ticket: 1 });
    file.write_all_at(b"later", 0).unwrap();
    drop(file);
    assert_eq!(lab.done(), (1, Digests::of(b"later"), Quiet::Proven));
}

#[test]
fn an_input_with_a_writer_is_digested_without_waiting_and_is_not_called_proven() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"input").unwrap();
    let file = writer(&path);
    let lab = Lab::new();
    lab.submit(1, &path, false);
    assert_eq!(lab.done(), (1, Digests::of(b"input"), Quiet::Held));
    drop(file);
    assert_eq!(lab.pool.progress(1), None);
}

#[test]
fn two_jobs_on_one_held_file_both_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"twice").unwrap();
    let file = writer(&path);
    let lab = Lab::new();
    lab.submit(1, &path, true);
    lab.submit(2, &path, true);
    let mut held = [lab.next(), lab.next()];
    held.sort_by_key(|outcome| format!("{outcome:?}"));
    assert_eq!(
        held,
        [Outcome::Held { ticket: 1 }, Outcome::Held { ticket: 2 }]
    );
    drop(file);
    let mut tickets = [lab.done().0, lab.done().0];
    tickets.sort_unstable();
    assert_eq!(tickets, [1, 2]);
}
