//! A writer of a log that is killed (SIGKILL) at any time: a process of its own, this test program again. What it acknowledged is there.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::append::LogWriter;
use super::checkpoint::Checkpoint;
use super::reader::{Directory, LogReader};
use super::testing::{InFile, ORIGIN, WAL_KEY, check, leaves, signers};
use crate::digest::Sha256;
use crate::statement::SetHead;

/// Tells the child where the log is.
const DIR: &str = "ATLAS_TEST_KILLED_LOG";
const KILLS: u64 = 24;

fn open(dir: &Path) -> LogWriter {
    let register = InFile(dir.join("register"));
    LogWriter::open(dir, Box::new(register), ORIGIN, signers(), &WAL_KEY).unwrap()
}

/// Not a test when nobody kills it: the child of the next one.
#[test]
fn child_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut log = open(Path::new(&dir));
    log.segment = 20_000;
    for turn in 0_u64.. {
        let count = [1, 7, 90, 300][turn as usize % 4];
        let done = log.append(&leaves(log.size(), count)).unwrap();
        let head = done.checkpoint.head.head;
        let line = format!("ACK {} {}\n", head.size, head.root.hex());
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_and_extends_all_that_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen: Vec<SetHead> = Vec::new();
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "log::kill_tests::child_that_is_killed",
            ])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Times that share no rhythm with the writer's.
        let wait = 12 + (kill * 7919) % 61;
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(wait / 4));
            let published = std::fs::read(dir.path().join("checkpoint"));
            let published = published.ok().and_then(|b| Checkpoint::parse(&b).ok());
            seen.extend(published.map(|c| c.head.head));
        }
        child.kill().unwrap();
        let mut said = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        child.wait().unwrap();
        for line in said.lines().filter_map(|l| l.split_once("ACK ")) {
            let Some((size, root)) = line.1.split_once(' ') else {
                continue;
            };
            let Ok(root) = Sha256::from_hex(root) else {
                continue;
            };
            let size = size.parse().unwrap();
            seen.push(SetHead { size, root });
        }
        let log = open(dir.path());
        if log.size() == 0 {
            assert!(seen.is_empty());
            continue;
        }
        let reader = LogReader::open(Directory::new(dir.path())).unwrap();
        assert_eq!(reader.head().size, log.size());
        for head in &seen {
            assert!(head.size <= log.size(), "{head:?}");
            assert_eq!(reader.root(head.size).unwrap(), head.root, "{head:?}");
        }
    }
    let size = LogReader::open(Directory::new(dir.path()))
        .unwrap()
        .head()
        .size;
    assert!(size > 0 && !seen.is_empty(), "the child wrote nothing");
    check(dir.path(), size);
}
