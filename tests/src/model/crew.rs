//! The workers of the model test: orphans that execute what they are sent, several runs of one or more processes. Chooses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::job::{Job, Running, User};

/// No operation takes so long, on a machine however busy: it hangs.
const HANGS: Duration = Duration::from_secs(120);

/// One process.
#[derive(Debug)]
pub struct Worker {
    /// Of which run.
    pub run: usize,
    /// Its process id.
    pub pid: u32,
    /// The slots that hold an open file, with its number in the last tree.
    pub open: BTreeMap<u32, i32>,
    out: UnixStream,
    lines: BufReader<UnixStream>,
    trees: usize,
}

/// What one tree answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `ok ...`, or `E` and a number.
    pub result: String,
    /// What is the same in equal trees: kind, mode, links, size, owner.
    pub seen: String,
    /// Inode, mtime, ctime and the number of the open file.
    pub own: Vec<i128>,
}

/// All of them; they end when it is dropped.
#[derive(Debug)]
pub struct Crew {
    /// In no order that means anything.
    pub workers: Vec<Worker>,
    jobs: Vec<Running>,
}

impl Crew {
    /// Starts runs with so many processes each, which work on these trees. `program` is the worker's.
    pub fn new(program: &Path, scratch: &Path, trees: &[PathBuf], runs: &[(User, u32)]) -> Self {
        let mine = scratch.join("worker");
        fs::copy(program, &mine).expect("a place where ordinary users can start it");
        fs::set_permissions(&mine, fs::Permissions::from_mode(0o755)).expect("own file");
        let socket = scratch.join("socket");
        let listener = UnixListener::bind(&socket).expect("own directory");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("own file");
        let mut jobs = Vec::new();
        let mut workers = Vec::new();
        for (run, (user, processes)) in runs.iter().enumerate() {
            let mut argv = vec![mine.clone().into_os_string(), socket.clone().into()];
            argv.extend([run.to_string().into(), processes.to_string().into()]);
            argv.extend(trees.iter().map(|t| t.clone().into_os_string()));
            jobs.push(Job::new(scratch, scratch, &argv).by(*user).start());
            for _ in 0..*processes {
                let (out, _) = listener.accept().expect("they connect");
                out.set_read_timeout(Some(HANGS)).expect("not zero");
                let mut lines = BufReader::new(out.try_clone().expect("a descriptor"));
                let mut hello = String::new();
                lines.read_line(&mut hello).expect("it says hello");
                let (_, pid) = hello.trim().split_once(' ').expect("name and pid");
                workers.push(Worker {
                    run,
                    pid: pid.parse().expect("a pid"),
                    open: BTreeMap::new(),
                    out,
                    lines,
                    trees: trees.len(),
                });
            }
        }
        Self { workers, jobs }
    }

    /// Ends them all.
    pub fn end(self) {
        drop(self.workers);
        for job in self.jobs {
            job.wait().expect(0);
        }
    }
}

impl Worker {
    /// Has a line executed; an answer for each tree.
    pub fn ask(&mut self, line: &str) -> Vec<Reply> {
        self.out
            .write_all(format!("{line}\n").as_bytes())
            .unwrap_or_else(|e| panic!("{line}: the worker is gone: {e}"));
        let mut text = String::new();
        let n = self.lines.read_line(&mut text);
        match n {
            Ok(n) if n > 0 => {}
            other => panic!("{line}: no answer ({other:?}): a hang, or the worker died"),
        }
        let parts: Vec<&str> = text.split('\t').collect();
        let replies: Vec<Reply> = parts
            .chunks_exact(2)
            .map(|pair| {
                let (own, seen) = pair[1].split_once(" | ").unwrap_or(("", ""));
                Reply {
                    result: pair[0].to_owned(),
                    seen: seen.to_owned(),
                    own: own.split(' ').filter_map(|n| n.parse().ok()).collect(),
                }
            })
            .collect();
        assert_eq!(replies.len(), self.trees, "{line}: {text:?}");
        let last = &replies[self.trees - 1];
        let mut words = line.split(' ');
        let (verb, slot) = (words.next(), words.next().and_then(|s| s.parse().ok()));
        match (verb, slot) {
            (Some("open"), Some(slot)) if last.ok() => {
                let fd = i32::try_from(last.own[3]).expect("a descriptor");
                self.open.insert(slot, fd);
            }
            (Some("close"), Some(slot)) => {
                self.open.remove(&slot);
            }
            _ => {}
        }
        replies
    }

    /// Slots in use, and one that is not.
    pub fn slots(&self) -> (Vec<u32>, Option<u32>) {
        let used: Vec<u32> = self.open.keys().copied().collect();
        let taken: BTreeSet<u32> = used.iter().copied().collect();
        let free = (0..super::chance::SLOTS).find(|s| !taken.contains(s));
        (used, free)
    }

    /// The way to a file that it has open in the last tree.
    pub fn behind(&self, slot: u32) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", self.pid, self.open[&slot]))
    }
}

impl Reply {
    /// Whether it worked.
    pub fn ok(&self) -> bool {
        self.result.starts_with("ok")
    }

    /// The number that it said, such as how many bytes were written.
    pub fn number(&self) -> u64 {
        let words = self.result.split(' ').skip(1);
        words.filter_map(|w| w.parse::<u64>().ok()).sum()
    }
}
