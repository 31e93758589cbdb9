//! Bookkeeping of runs without a kernel: processes are made up, so none of them is ever asked for.

use super::*;
use crate::caller::ancestry::Source;

const NOW: &str = "2026-01-01T00:00:00Z";

fn key(pid: i32) -> ProcessKey {
    // A start time in the far future: no process of this machine has it.
    ProcessKey {
        tgid: Tgid(pid),
        start: u64::MAX,
    }
}

fn seen(pid: i32) -> Arc<Seen> {
    Arc::new(Seen {
        key: key(pid),
        comm: b"x".to_vec(),
        exe: Some("/usr/bin/x".into()),
        exe_identity: None,
        argv: vec!["x".into()],
        cwd: None,
        root: None,
        env_names: Vec::new(),
        search: None,
        uid: 1000,
        gid: 1000,
        groups: Vec::new(),
        effective: 0,
        same_files: true,
        same_users: Some(true),
    })
}

/// Number and pid of each.
fn numbers(run: &Run) -> Vec<(u32, i32)> {
    let all = run.processes.all().iter();
    all.map(|p| (p.number, p.pid)).collect()
}

fn by(source: Source, root: i32) -> Decision {
    Decision {
        source,
        root: key(root),
        shells: vec![key(20)],
    }
}

/// Pipes are written to when their number is positive, read from when it is negative.
fn flow(pipes: &[i64]) -> Flow {
    let of = |sign: i64| pipes.iter().filter(move |p| p.signum() == sign);
    Flow {
        from: of(-1).map(|p| p.unsigned_abs()).collect(),
        into: of(1).map(|p| p.unsigned_abs()).collect(),
        unfinished: false,
    }
}

fn admit(r: &mut Registry, pid: i32, root: i32, pipes: &[i64]) -> Who {
    let d = by(Source::Tree(key(root)), root);
    r.admit(seen(pid), None, &d, &flow(pipes), Vec::new(), NOW)
}

fn registry() -> Registry {
    Registry::new(InstanceId([1; 16]))
}

#[test]
fn processes_of_one_root_are_one_run_and_are_numbered_in_order_of_touch() {
    let mut r = registry();
    let a = admit(&mut r, 11, 10, &[]);
    let b = admit(&mut r, 12, 10, &[]);
    let c = admit(&mut r, 30, 30, &[]);
    assert_eq!((a.run, a.process, a.tree), (b.run, 0, 0));
    assert_eq!((b.process, b.tree), (1, 0));
    assert_ne!(a.run, c.run);
    assert_eq!(admit(&mut r, 12, 99, &[]), b, "a process keeps its place");
    assert_eq!(r.run(a.run).unwrap().processes.all().len(), 2);
}

#[test]
fn the_reader_and_the_writer_of_a_pipeline_are_one_run_and_one_tree() {
    let mut r = registry();
    let sort = admit(&mut r, 41, 41, &[1]);
    let gzip = admit(&mut r, 43, 43, &[-1, -2]);
    assert_eq!((sort.run, sort.tree), (gzip.run, gzip.tree));
    assert!(r.take_merges().is_empty(), "nothing had to be undone");
    let other = admit(&mut r, 50, 50, &[7]);
    assert_ne!(other.run, sort.run);
}

#[test]
fn runs_that_turn_out_to_be_one_keep_every_process_under_a_number_of_its_own() {
    let mut r = registry();
    let a0 = admit(&mut r, 41, 41, &[1]);
    let a1 = admit(&mut r, 42, 41, &[]);
    let b0 = admit(&mut r, 51, 51, &[2]);
    let b1 = admit(&mut r, 52, 51, &[]);
    assert_ne!(a0.run, b0.run);
    let between = admit(&mut r, 60, 60, &[-1, -2]);
    let merges = r.take_merges();
    assert_eq!(
        merges,
        [Merge {
            absorbed: b0.run,
            into: a0.run,
            processes: 2,
            copy: None
        }]
    );
    assert_eq!((between.run, between.tree), (a0.run, 0));
    let run = r.run(b1.run).unwrap();
    assert_eq!(run.row.id, a0.run, "the absorbed name still answers");
    assert_eq!(numbers(run), [(0, 41), (1, 42), (2, 51), (3, 52), (4, 60)]);
    assert_eq!(
        r.processes[&key(52)].who,
        Who {
            run: a0.run,
            process: 3,
            tree: 0,
            tgid: Tgid(52)
        }
    );
    assert_eq!(a1.process, 1);
    assert_eq!(
        admit(&mut r, 53, 51, &[]).run,
        a0.run,
        "the absorbed tree goes on in the other"
    );
}

#[test]
fn pipes_found_later_join_runs_too() {
    let mut r = registry();
    let a = admit(&mut r, 41, 41, &[1]);
    let b = admit(&mut r, 51, 51, &[]);
    r.connect(key(51), &flow(&[-1]), Vec::new());
    assert_eq!(
        r.take_merges(),
        [Merge {
            absorbed: b.run,
            into: a.run,
            processes: 1,
            copy: None
        }]
    );
}

#[test]
fn steps_of_a_declared_run_are_trees_of_it_and_never_leave_it() {
    let mut r = registry();
    let run = r.declare(None, None, NOW);
    let place = |r: &mut Registry, pid: i32, pipes: &[i64]| {
        let d = by(Source::Declared(run), pid);
        r.admit(seen(pid), None, &d, &flow(pipes), Vec::new(), NOW)
    };
    let prepare = place(&mut r, 61, &[]);
    let train = place(&mut r, 62, &[5]);
    let log = place(&mut r, 63, &[-5]);
    assert_eq!([prepare.run, train.run, log.run], [run; 3]);
    assert_eq!(
        [prepare.tree, train.tree, log.tree],
        [0, 1, 1],
        "a shared pipe is one tree"
    );
    let outsider = admit(&mut r, 70, 70, &[-5]);
    assert_ne!(
        outsider.run, run,
        "a pipe does not lead into a declared run"
    );
    assert!(r.take_merges().is_empty());
}

#[test]
fn nobody_joins_a_run_that_has_ended() {
    let mut r = registry();
    let a = admit(&mut r, 41, 41, &[1]);
    r.end(a.run.n, Some(3), NOW);
    let row = r.run(a.run).unwrap().row.clone();
    assert_eq!((row.exit, row.ended.as_deref()), (Some(3), Some(NOW)));
    assert_ne!(admit(&mut r, 42, 41, &[1]).run, a.run);
    assert!(r.take_merges().is_empty(), "both only write");
    let b = admit(&mut r, 51, 51, &[]);
    r.end(b.run.n, None, NOW);
    r.forget(b.run);
    assert!(r.run(b.run).is_none());
}

#[test]
fn who_reads_what_an_ended_run_wrote_is_a_run_of_its_own_with_its_uses() {
    let mut r = registry();
    let zcat = admit(&mut r, 41, 41, &[1]);
    r.end(zcat.run.n, Some(0), NOW);
    r.forget(zcat.run);
    let train = admit(&mut r, 51, 51, &[-1]);
    assert_ne!(train.run, zcat.run);
    let copied = [Merge {
        absorbed: zcat.run,
        into: train.run,
        processes: 0,
        copy: Some(train.tree),
    }];
    assert_eq!(r.take_merges(), copied);
    let run = r.run(train.run).unwrap();
    let row = &run.row;
    assert_eq!(numbers(run), [(0, 41), (1, 51)]);
    assert_eq!((train.process, row.argv.len()), (1, 1));
    let worker = admit(&mut r, 52, 51, &[-1]);
    assert_eq!(worker.run, train.run);
    assert!(r.take_merges().is_empty(), "once is enough");
}

#[test]
fn a_run_is_called_by_what_was_started_and_not_by_its_first_worker() {
    let mut r = registry();
    let d = by(Source::Tree(key(40)), 40);
    let main = Seen {
        argv: vec!["train.py".into()],
        ..Seen::clone(&seen(40))
    };
    let worker = r.admit(seen(41), Some(main), &d, &Flow::default(), Vec::new(), NOW);
    let mut after = Seen::clone(&seen(41));
    after.argv = vec!["worker".into()];
    r.update(Arc::new(after));
    let run = r.run(worker.run).unwrap();
    assert_eq!(run.row.argv, ["train.py".into()]);
    assert_eq!(run.processes.all()[0].argv, ["worker".into()]);
}

#[test]
fn callers_without_a_name_are_credited_to_every_open_run_and_lost_in_none() {
    let mut r = registry();
    let alone = r.outside(NOW);
    assert_eq!(alone.len(), 1, "also when no run is open");
    let a = admit(&mut r, 41, 41, &[]);
    let b = admit(&mut r, 51, 51, &[]);
    r.end(b.run.n, None, NOW);
    let all = r.outside(NOW);
    assert_eq!(
        all.iter().map(|w| w.run).collect::<Vec<_>>(),
        [alone[0].run, a.run]
    );
    assert_eq!(
        (all[1].process, all[1].tree, all[1].tgid),
        (1, 1, Tgid(0)),
        "as a process and a tree of their own"
    );
    assert_eq!(r.outside(NOW), all, "under one number");
    assert_eq!(r.gone(NOW), all[0]);
}

#[test]
fn a_run_is_as_confined_as_its_least_confined_process() {
    let mut r = registry();
    let a = admit(&mut r, 41, 41, &[]);
    assert_eq!(r.run(a.run).unwrap().row.confined, Confined::Confined);
    let root = Seen {
        effective: 1 << 21,
        ..Seen::clone(&seen(42))
    };
    let d = by(Source::Tree(key(41)), 41);
    let nowhere = Flow::default();
    r.admit(Arc::new(root), None, &d, &nowhere, Vec::new(), NOW);
    assert_eq!(r.run(a.run).unwrap().row.confined, Confined::Root);
}

#[test]
fn execve_changes_what_is_seen_and_not_the_place() {
    let mut r = registry();
    let a = admit(&mut r, 41, 41, &[]);
    let after = Seen {
        exe: Some("/usr/bin/gzip".into()),
        argv: vec!["gzip".into()],
        ..Seen::clone(&seen(41))
    };
    r.update(Arc::new(after));
    let run = r.run(a.run).unwrap();
    assert_eq!(run.row.exe, Some("/usr/bin/gzip".into()));
    assert_eq!(run.processes.all()[0].argv, ["gzip".into()]);
    assert_eq!(r.processes[&key(41)].who, a);
}
