//! Real processes of this machine. What needs a mount (a FLUSH that waits) is tested where there is one.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use atlas_manifests::vocabulary::RunHow;

use super::*;

struct Job(Child);

impl Job {
    fn start(command: &mut Command) -> Self {
        // A group of its own, so that all of it can be ended.
        Self(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()
                .unwrap(),
        )
    }

    fn shell(script: &str) -> Self {
        Self::start(Command::new("bash").args(["-c", script]))
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Numbers from the first line that it writes.
    fn numbers(&mut self) -> Vec<i32> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect()
    }

    fn end(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid()) {
            rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
        }
        self.0.wait().ok();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end();
    }
}

fn callers() -> Callers {
    Callers::new(InstanceId([9; 16]), RunsMode::Tree)
}

fn by(tid: i32) -> Caller {
    Caller {
        tid: Tid(tid),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

/// Waits until a condition of the kernel's making holds; the test runner's own limit ends it if it never does.
fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::yield_now();
    }
}

#[test]
fn the_ends_of_a_real_pipeline_are_connected_and_its_neighbour_is_not() {
    // `cat` in the middle; `sleep` on its own in the background.
    let mut job = Job::shell(
        "sleep 1000 | cat | sleep 1000 & a=$!; sleep 1000 & echo $$ $a $! $(jobs -p); wait",
    );
    let n = job.numbers();
    let shell = key(n[0]).unwrap();
    let (last, alone, first) = (key(n[1]).unwrap(), key(n[2]).unwrap(), key(n[3]).unwrap());
    assert_ne!(first, last);
    until(|| proc::children(&[shell], first.tgid).len() >= 3);
    let of = |k: ProcessKey| connected(k, k, &[shell]);
    until(|| of(first).into.len() == 2);
    assert_eq!(
        of(last).from.intersection(&of(first).into).count(),
        2,
        "through the middle"
    );
    assert!(
        of(alone).into.is_empty() && of(alone).from.is_disjoint(&of(first).into),
        "what the shell was started with is not a pipeline"
    );
}

#[test]
fn every_way_to_end_is_told_by_what_the_kernel_keeps_of_the_leader() {
    if !proc::may_see_exit_code() {
        return;
    }
    let threads = "import threading,time,sys,os\nfor _ in range(8): threading.Thread(target=time.sleep,args=(1000,),daemon=True).start()\n";
    let python = |end: &str| {
        let mut c = Command::new("python3");
        c.args(["-c", &format!("{threads}{end}")]);
        c
    };
    let bash = |script: &str| {
        let mut c = Command::new("bash");
        c.args(["-c", script]);
        c
    };
    let mut cases = vec![
        (bash("exit 0"), Closed::Exit, 0),
        (bash("exit 3"), Closed::Exit, 3),
        (bash("kill -9 $$"), Closed::Killed, 9),
        (bash("kill -15 $$"), Closed::Killed, 15),
        (bash("ulimit -c 0; kill -ABRT $$"), Closed::Killed, 6),
    ];
    if Command::new("python3")
        .arg("-c")
        .arg("")
        .status()
        .is_ok_and(|s| s.success())
    {
        cases.extend([
            (python("sys.exit(3)"), Closed::Exit, 3),
            (python("os._exit(4)"), Closed::Exit, 4),
            (
                python("threading.Thread(target=lambda: os._exit(5)).start(); time.sleep(1000)"),
                Closed::Exit,
                5,
            ),
            (python("os.kill(os.getpid(), 9)"), Closed::Killed, 9),
            (python("os.abort()"), Closed::Killed, 6),
        ]);
    }
    for (mut command, how, status) in cases {
        let job = Job::start(&mut command);
        // Nobody waits for it yet, so it stays as the kernel keeps it.
        until(|| proc::group_stat(Tgid(job.pid())).is_some_and(|s| s.state == b'Z'));
        let s = proc::group_stat(Tgid(job.pid())).unwrap();
        assert!(s.exiting);
        assert_eq!(
            closing::closed(s.exiting, Some(s.exit_code)),
            (how, Some(status)),
            "{command:?}"
        );
    }
}

#[test]
fn a_declared_run_has_its_descendants_ends_with_them_and_is_finished_by_nobody_else() {
    let callers = callers();
    let mut job = Job::shell("read go; sleep 1000 & echo $!; wait");
    let run = callers.declare(
        job.pid(),
        Some("n".into()),
        Vec::new(),
        vec!["x".into(), "--token".into(), "t".into()],
        None,
    );
    std::io::Write::write_all(job.0.stdin.as_mut().unwrap(), b"\n").unwrap();
    let child = job.numbers()[0];
    let who = callers.resolve(by(child), false);
    assert_eq!((who.len(), who[0].run, who[0].tgid), (1, run, Tgid(child)));
    assert_eq!(callers.resolve(by(child), true), who);
    let row = callers.row(run).unwrap();
    assert_eq!(
        (row.how, row.name.as_deref(), row.ended),
        (RunHow::Declared, Some("n"), None)
    );
    assert_eq!(row.argv.last(), Some(&PathBytes::from("[withheld]")));
    assert!(callers.sweep().is_empty());

    let stranger = rustix::process::getpid().as_raw_nonzero().get();
    assert!(callers.finish(run, stranger, 0).is_err());
    assert!(
        callers
            .finish(RunId { n: 99, ..run }, job.pid(), 0)
            .is_err()
    );
    callers.finish(run, job.pid(), 7).unwrap();
    assert!(callers.sweep().is_empty(), "a child still lives");
    job.end();
    until(|| callers.sweep() == [run]);
    let row = callers.row(run).unwrap();
    assert!(row.ended.is_some());
    assert_eq!(row.exit, Some(7));
    callers.forget(run);
    assert_eq!(callers.row(run), None);
}

#[test]
fn what_a_declared_command_leaves_behind_stays_in_its_run_when_the_declaring_process_is_gone() {
    let callers = callers();
    // The orphan's own child is what touches the mount, after everybody above it but the orphan is gone.
    let mut job = Job::shell("(sleep 1000 & echo $! ; wait) & read go");
    let run = callers.declare(job.pid(), None, Vec::new(), Vec::new(), None);
    let writer = job.numbers()[0];
    callers.finish(run, job.pid(), 0).unwrap();
    std::io::Write::write_all(job.0.stdin.as_mut().unwrap(), b"\n").unwrap();
    drop(job.0.stdin.take());
    job.0.wait().unwrap();
    assert!(callers.sweep().is_empty(), "somebody is left");
    assert_eq!(callers.resolve(by(writer), true)[0].run, run);
    job.end();
    until(|| callers.sweep() == [run]);
}

#[test]
fn execve_is_noticed_when_the_process_opens_for_writing_again() {
    let callers = callers();
    let mut job = Job::shell("echo $$; read go; exec sleep 1000");
    let pid = job.numbers()[0];
    let who = callers.resolve(by(pid), true)[0];
    assert_eq!(callers.seen(&who).unwrap().program(), "bash");
    std::io::Write::write_all(job.0.stdin.as_mut().unwrap(), b"\n").unwrap();
    // Its name is there before its arguments are.
    until(|| proc::program(Tgid(pid)).is_some_and(|(_, argv)| argv.len() == 2));
    assert_eq!(
        callers.resolve(by(pid), true),
        [who],
        "it is the same process"
    );
    let seen = callers.seen(&who).unwrap();
    assert_eq!(seen.argv, ["sleep".into(), "1000".into()]);
    let rows = callers.row(who.run).unwrap().processes;
    assert_eq!(rows[who.process as usize].argv, seen.argv);
}

#[test]
fn execve_is_noticed_at_the_next_open_of_who_was_a_shell_or_told_of_it() {
    const PERL: &str = "$| = 1; print \"$$\\n\"; <>; exec qw(sleep 1000)";
    for (first, told, mut job) in [
        (
            "bash",
            false,
            Job::shell("echo $$; read go; exec sleep 1000"),
        ),
        (
            "perl",
            true,
            Job::start(Command::new("perl").args(["-e", PERL])),
        ),
    ] {
        let callers = callers();
        let pid = job.numbers()[0];
        let who = callers.resolve(by(pid), false)[0];
        if told {
            callers.executes(by(pid));
        }
        std::io::Write::write_all(job.0.stdin.as_mut().unwrap(), b"\n").unwrap();
        until(|| proc::program(Tgid(pid)).is_some_and(|(_, argv)| argv.len() == 2));
        assert_eq!(callers.resolve(by(pid), false), [who]);
        assert_eq!(callers.seen(&who).unwrap().program(), "sleep", "{first}");
    }
}

#[test]
fn a_caller_that_is_gone_or_has_no_name_here_is_unknown_and_counted() {
    let callers = callers();
    let mut job = Job::shell("exit");
    let pid = job.pid();
    job.0.wait().unwrap();
    let gone = callers.resolve(by(pid), true);
    assert_eq!((gone.len(), gone[0].tgid), (1, Tgid(0)));
    let outside = callers.resolve(by(0), false);
    assert_eq!(outside[0], gone[0]);
    assert_eq!(
        callers.closing(by(0)),
        Some(Closing {
            who: gone[0],
            closed: Closed::Explicit,
            status: None,
            executing: false
        })
    );
    assert_eq!(callers.unnamed(), (1, 1));
    assert!(callers.row(gone[0].run).is_some());
}

#[test]
fn threads_of_one_process_are_one_caller() {
    let callers = callers();
    let this = Tgid(rustix::process::getpid().as_raw_nonzero().get());
    let thread = std::thread::scope(|s| {
        s.spawn(|| {
            let tid = Tid(rustix::thread::gettid().as_raw_nonzero().get());
            assert_ne!(tid.0, this.0);
            assert!(callers.same_process(tid, this));
            callers.resolve(by(tid.0), false)
        })
        .join()
        .unwrap()
    });
    assert_eq!(callers.resolve(by(this.0), false), thread);
    assert!(!callers.same_process(Tid(1), this));
}
