//! The program as a shell script uses it: readiness, files it leaves, commands, a clean end. Needs root and /dev/fuse.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_atlas-tdx-sim");

/// A running guest; killed and unmounted when a test panics.
struct Running {
    child: Child,
    dir: TempDir,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(PROGRAM)
            .arg("run")
            .arg(dir.path())
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Self { child, dir };
        let mut line = String::new();
        let mut out = BufReader::new(running.child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        running
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn tell(&self, command: &[&str]) -> ExitStatus {
        let mut tell = Command::new(PROGRAM);
        tell.arg("tell").arg(self.path()).args(command);
        tell.stderr(Stdio::null()).status().unwrap()
    }

    fn quote(&self, name: &str) -> Vec<u8> {
        let item = self.path().join("mnt/report").join(name);
        fs::create_dir(&item).unwrap();
        fs::write(item.join("inblob"), [5; 64]).unwrap();
        fs::read(item.join("outblob")).unwrap()
    }

    fn collateral(&self) -> String {
        fs::read_to_string(self.path().join("collateral/B0C06F000000.json")).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = unmount(self.path().join("mnt"), UnmountFlags::DETACH);
    }
}

#[test]
fn it_is_ready_when_it_says_so_and_leaves_no_mount_behind() {
    let mut running = Running::start(&["--quote", "v5td15", "--pad", "8000"]);
    let quote = running.quote("a");
    assert_eq!((quote.len(), quote[0]), (8000, 5));
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = running.path().join("mnt");
    assert!(mounts().contains(mount.to_str().unwrap()));
    let pid = Pid::from_child(&running.child);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(running.child.wait().unwrap().success());
    assert!(!mounts().contains(mount.to_str().unwrap()));
    assert!(mount.exists());
}

#[test]
fn commands_reach_the_guest_and_wrong_ones_are_told() {
    let running = Running::start(&[]);
    let root = fs::read_to_string(running.path().join("root.pem")).unwrap();
    let kept = fs::read_to_string(running.path().join("pki/root.pem")).unwrap();
    assert_eq!(root, kept);
    assert!(!running.collateral().contains("OutOfDate"));
    assert!(running.tell(&["tcb", "OutOfDate"]).success());
    assert!(running.collateral().contains("OutOfDate"));
    assert!(running.tell(&["debug", "on"]).success());
    assert_eq!(running.quote("a")[48 + 120] & 1, 1);
    assert!(running.tell(&["quote", "v5"]).success());
    assert_eq!(running.quote("b")[0], 5);
    assert!(!running.tell(&["sing"]).success());
}

#[test]
fn a_world_is_used_again_and_its_platform_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, flags: &[&str]| {
        let path = dir.path().join(name);
        let status = Command::new(PROGRAM)
            .args(["quote", "--report-data", &"ab".repeat(64), "--pki"])
            .arg(dir.path().join("pki"))
            .args(flags)
            .arg("-o")
            .arg(&path)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        status.success().then(|| fs::read(&path).unwrap())
    };
    let first = make("1", &["--smt"]).unwrap();
    let second = make("2", &["--extend", &"01".repeat(48)]).unwrap();
    // Another register, another signature; the same keys behind it.
    assert_ne!(first[48 + 472..48 + 520], second[48 + 472..48 + 520]);
    let key = 48 + 584 + 4 + 64;
    assert_eq!(first[key..key + 64], second[key..key + 64]);
    assert_eq!(make("3", &["--dynamic-platform"]), None);
}
