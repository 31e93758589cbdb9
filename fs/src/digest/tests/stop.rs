//! Digests that are ended by a writer, by `cancel` or by `stop`.

use std::os::unix::fs::OpenOptionsExt as _;

use super::*;

/// Opens for writing without waiting for a lease: EWOULDBLOCK while there is one (fcntl(2)).
fn open_at_once(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// How many of this process's descriptors lead to the path.
fn descriptors_of(path: &Path) -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target == path)
        .count()
}

#[test]
fn a_lease_keeps_writers_out_while_a_digest_runs_and_cancel_lets_them_in() {
    for dir in stores() {
        let path = dir.path().join("f");
        let lab = Lab::new();
        let file = lab.begun(1, &path, ENDLESS, true);
        assert!(lab.pool.cancel(file, FOREVER));
        assert_eq!(descriptors_of(&path), 0);
        let writer = open_at_once(&path).unwrap();
        let identity = lab.names.identity(file).unwrap();
        assert_eq!(
            lab.next(),
            Outcome::Changed {
                ticket: 1,
                identity
            }
        );
        drop(writer);
    }
}

#[test]
fn a_cancel_that_cannot_wait_has_ended_the_lease_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let lab = Lab::new();
    let file = lab.begun(1, &path, ENDLESS, true);
    let _ = lab.pool.cancel(file, Duration::ZERO);
    assert!(open_at_once(&path).is_ok());
    assert!(matches!(lab.next(), Outcome::Changed { ticket: 1, .. }));
}

#[test]
fn a_writer_from_elsewhere_gets_in_at_the_next_block_and_the_version_waits_for_him() {
    for dir in stores() {
        let path = dir.path().join("f");
        let lab = Lab::new();
        lab.begun(1, &path, ENDLESS, true);
        // Were the break not seen, the digest would be done before the kernel let the writer in: the first outcome would be `Done`.
        let file = writer(&path);
        assert_eq!(lab.next(), Outcome::Held { ticket: 1 });
        file.set_len(10).unwrap();
        drop(file);
        // What the newcomer did is not part of the version that had ended.
        assert!(matches!(lab.next(), Outcome::Changed { ticket: 1, .. }));
    }
}

#[test]
fn a_writer_from_elsewhere_who_changes_nothing_costs_nothing_but_a_second_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let lab = Lab::new();
    lab.begun(1, &path, 1 << 30, true);
    drop(writer(&path));
    let outcome = match lab.next() {
        Outcome::Held { ticket: 1 } => lab.next(),
        other => other,
    };
    assert!(
        matches!(
            outcome,
            Outcome::Done {
                ticket: 1,
                quiet: Quiet::Proven,
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[test]
fn a_file_truncated_while_it_is_read_is_never_digested_as_if_it_were_whole() {
    for dir in stores() {
        for ended in [false, true] {
            let path = dir.path().join(ended.to_string());
            let lab = Lab::new();
            lab.begun(1, &path, ENDLESS, ended);
            rustix::fs::ftruncate(writer(&path), 5).unwrap();
            let mut outcome = lab.next();
            if outcome == (Outcome::Held { ticket: 1 }) {
                outcome = lab.next();
            }
            assert!(
                matches!(outcome, Outcome::Changed { ticket: 1, identity } if identity.size == 5),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn cancel_ends_queued_and_held_jobs_too() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let held = dir.path().join("held");
    std::fs::write(&held, b"held").unwrap();
    let file = writer(&held);
    let key = lab.submit(10, &held, true);
    assert_eq!(lab.next(), Outcome::Held { ticket: 10 });
    assert!(lab.pool.cancel(key, Duration::ZERO) || lab.pool.cancel(key, FOREVER));
    assert!(matches!(lab.next(), Outcome::Changed { ticket: 10, .. }));
    assert_eq!(lab.pool.progress(10), None);
    drop(file);

    // Both workers lead a long digest, so that a third job stays in the queue.
    lab.begun(1, &dir.path().join("long"), ENDLESS, true);
    lab.begun(2, &dir.path().join("second"), ENDLESS, true);
    let waiting = dir.path().join("waiting");
    std::fs::write(&waiting, b"waiting").unwrap();
    let key = lab.submit(3, &waiting, false);
    assert_eq!((lab.pool.queued(), lab.pool.progress(3)), (1, Some(0.0)));
    assert!(lab.pool.cancel(key, Duration::ZERO));
    assert_eq!(lab.pool.queued(), 0);
    assert!(matches!(lab.next(), Outcome::Changed { ticket: 3, .. }));
}

#[test]
fn cancel_of_a_file_nobody_digests_has_nothing_to_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"idle").unwrap();
    let lab = Lab::new();
    let file = lab.names.key(&path);
    assert!(lab.pool.cancel(file, Duration::ZERO));
}

#[test]
fn stop_leaves_no_thread_no_lease_and_tells_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let lab = Lab::new();
    lab.begun(1, &path, ENDLESS, true);
    for ticket in 2..200 {
        lab.submit(ticket, &path, false);
    }
    lab.pool.stop();
    assert_eq!(descriptors_of(&path), 0);
    assert!(open_at_once(&path).is_ok());
    lab.submit(500, &path, false);
    assert_eq!((lab.pool.queued(), lab.pool.progress(500)), (0, None));
    let Lab { pool, told, .. } = lab;
    drop(pool);
    // The channel ends with the last thread, since they own its other side.
    assert!(
        told.iter()
            .all(|outcome| matches!(outcome, Outcome::Done { .. }))
    );
}

#[test]
fn a_cancel_between_the_news_of_a_held_file_and_the_wait_for_it_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"held").unwrap();
    let writer = writer(&path);
    let names = Arc::new(Names::default());
    let file = names.key(&path);
    let (tell, told) = channel();
    let later: Arc<std::sync::OnceLock<std::sync::Weak<DigestPool>>> = Arc::default();
    let pool = {
        let later = Arc::clone(&later);
        let tell = move |outcome| {
            if let (Outcome::Held { .. }, Some(pool)) = (&outcome, later.wait().upgrade()) {
                assert!(pool.cancel(file, Duration::ZERO));
            }
            drop(tell.send(outcome));
        };
        DigestPool::start(1, names, Box::new(tell))
    };
    later.set(Arc::downgrade(&pool)).unwrap();
    pool.submit(Job {
        ticket: 1,
        file,
        ended: true,
        tree: None,
        expect: None,
        snapshot: None,
    });
    assert_eq!(told.recv().unwrap(), Outcome::Held { ticket: 1 });
    let next = told.recv_timeout(FOREVER);
    assert!(
        matches!(next, Ok(Outcome::Changed { ticket: 1, .. })),
        "{next:?}"
    );
    drop(writer);
}
