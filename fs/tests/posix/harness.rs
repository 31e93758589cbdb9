//! Mounts in a process of its own (a daemon must not ask itself), beside a plain twin directory, and takes everything down again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atlas_fs::fuse;
use atlas_fs::vfs::{IoMode, Options, Vfs};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

use super::recorder::Recorder;

const READY: &str = "MOUNT-READY";

/// Both modes.
pub const MODES: [&str; 2] = ["passthrough", "inline"];

/// What may be different about a mount.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub mode: &'static str,
    pub in_place: bool,
    pub read_only: bool,
    /// A small tmpfs as SOURCE, of so many KiB.
    pub tmpfs: Option<u32>,
    /// An existing directory as SOURCE.
    pub over: Option<PathBuf>,
    /// Another tmpfs at `below` in SOURCE.
    pub tmpfs_below: bool,
    /// RLIMIT_NOFILE of the daemon.
    pub files: Option<u64>,
    /// Runs in the daemon after mounting; see `daemon_process`.
    pub errand: &'static str,
    /// SOURCE holds a file `f` and a symlink `out` before it is mounted.
    pub prepared: bool,
}

/// A live mount with its source and its twin; unmounted when dropped.
pub struct Mount {
    pub source: PathBuf,
    pub path: PathBuf,
    pub twin: PathBuf,
    log: PathBuf,
    tmpfs: Vec<PathBuf>,
    daemon: Child,
    _dir: TempDir,
}

/// The two things without which nothing here can run. Said once, and loudly by the caller's failure, not by a silent pass.
fn required() {
    assert!(
        rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists(),
        "these tests mount: they need root and /dev/fuse"
    );
}

impl Mount {
    pub fn new(mode: &'static str) -> Self {
        Self::with(&Setup {
            mode,
            ..Setup::default()
        })
    }

    pub fn with(setup: &Setup) -> Self {
        required();
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), mode_bits(0o755)).expect("open to other users");
        let place = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).expect("made");
            path
        };
        let (own, twin) = (place("source"), place("twin"));
        let source = setup.over.clone().unwrap_or(own);
        let mut tmpfs = Vec::new();
        if let Some(kib) = setup.tmpfs {
            for at in [&source, &twin] {
                mount_tmpfs(at, kib);
                tmpfs.push(at.clone());
            }
        }
        if setup.tmpfs_below {
            let at = source.join("below");
            fs::create_dir(&at).expect("made");
            mount_tmpfs(&at, 64 << 10);
            tmpfs.push(at);
        }
        if setup.prepared {
            fs::write(source.join("f"), b"x").expect("written");
            std::os::unix::fs::symlink("/etc/passwd", source.join("out")).expect("made");
        }
        let path = if setup.in_place {
            source.clone()
        } else {
            place("mount")
        };
        let log = dir.path().join("events");
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command
            .args(["--exact", "daemon_process", "--nocapture"])
            .env("TEST_MOUNT_MODE", setup.mode)
            .env("TEST_MOUNT_SOURCE", &source)
            .env("TEST_MOUNT_PLACE", &path)
            .env("TEST_MOUNT_LOG", &log)
            .env("TEST_MOUNT_READ_ONLY", setup.read_only.to_string())
            .env("TEST_MOUNT_ERRAND", setup.errand)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(files) = setup.files {
            let limit = rustix::process::Rlimit {
                current: Some(files),
                maximum: Some(files),
            };
            // SAFETY: setrlimit is one system call and may be made between fork and exec.
            unsafe {
                command.pre_exec(move || {
                    let what = rustix::process::Resource::Nofile;
                    Ok(rustix::process::setrlimit(what, limit)?)
                });
            }
        }
        let mut daemon = command.spawn().expect("the daemon process starts");
        let mut lines = BufReader::new(daemon.stdout.take().expect("piped")).lines();
        let ready = lines.any(|line| line.is_ok_and(|l| l.contains(READY)));
        assert!(ready, "the daemon did not mount");
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            source,
            path,
            twin,
            log,
            tmpfs,
            daemon,
            _dir: dir,
        }
    }

    /// The events so far that begin with `prefix`.
    pub fn events(&self, prefix: &str) -> Vec<String> {
        let all = fs::read_to_string(&self.log).expect("the log is there");
        let wanted = all.lines().filter(|l| l.starts_with(prefix));
        wanted.map(str::to_owned).collect()
    }

    /// Waits until `count` events begin with `prefix`: RELEASE and FORGET come when they come.
    pub fn await_events(&self, prefix: &str, count: usize) -> Vec<String> {
        let late = Instant::now() + Duration::from_secs(20);
        loop {
            let events = self.events(prefix);
            if events.len() >= count {
                return events;
            }
            let all = self.events("");
            assert!(Instant::now() < late, "no {count} x {prefix:?} in {all:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Does the same on the mount and on the twin, and compares what it says.
    #[track_caller]
    pub fn compare(&self, scenario: impl Fn(&Path) -> Vec<String>) {
        let wanted = scenario(&self.twin);
        let got = scenario(&self.path);
        assert!(
            !wanted.is_empty(),
            "a scenario that says nothing proves nothing"
        );
        assert_eq!(got, wanted, "left: the mount, right: the plain directory");
    }

    /// Ends the daemon and its mount; the directories stay until the result is dropped.
    pub fn uncover(mut self) -> Self {
        self.end();
        self
    }

    fn end(&mut self) {
        // Closing stdin asks the daemon to unmount; a mount that is left is detached from here.
        drop(self.daemon.stdin.take());
        let late = Instant::now() + Duration::from_secs(10);
        while matches!(self.daemon.try_wait(), Ok(None)) && Instant::now() < late {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if is_fuse(&self.path) {
            let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
        }
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.end();
        for at in &self.tmpfs {
            let _ = rustix::mount::unmount(at, UnmountFlags::DETACH);
        }
    }
}

pub fn is_fuse(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let wanted = format!(" {} fuse.atlas ", path.display());
    mounts.contains(&wanted)
}

pub fn mode_bits(mode: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

fn mount_tmpfs(at: &Path, kib: u32) {
    let options = std::ffi::CString::new(format!("size={kib}k")).expect("no zero");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", at, "tmpfs", flags, options.as_c_str()).expect("tmpfs");
}

/// Waits until `done`. For what a descriptor keeps from happening: other tests fork, and their children hold copies until they exec.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let late = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < late, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One comparable line about a result: the value, or the errno's name.
pub fn say<T: std::fmt::Debug>(what: &str, result: std::io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{what}: {value:?}"),
        Err(e) => format!("{what}: errno {:?}", e.raw_os_error()),
    }
}

/// The daemon's side: mounts what the environment says and serves until stdin ends.
pub fn daemon_process() {
    let Some(mode) = std::env::var_os("TEST_MOUNT_MODE") else {
        return;
    };
    let var = |name: &str| std::env::var_os(name).expect("set by the harness");
    let log = File::options()
        .append(true)
        .create(true)
        .open(var("TEST_MOUNT_LOG"))
        .expect("a log");
    let io = match mode.to_str() {
        Some("passthrough") => IoMode::Passthrough,
        Some("inline") => IoMode::Inline,
        _ => IoMode::Auto,
    };
    let vfs = Vfs::new(Options {
        source: var("TEST_MOUNT_SOURCE").into(),
        mountpoint: var("TEST_MOUNT_PLACE").into(),
        io,
        allow_other: true,
        read_only: var("TEST_MOUNT_READ_ONLY") == "true",
        fuse_options: vec!["suid".into(), "dev".into()],
        ..Options::default()
    })
    .expect("the source opens");
    let mounted = fuse::serve(&vfs, Arc::new(Recorder::new(log))).expect("it mounts");
    match var("TEST_MOUNT_ERRAND").to_str() {
        Some("ask yourself") => super::mounts::ask_yourself(&vfs),
        Some("refuse opens") => vfs.refuse_new_opens(true),
        _ => {}
    }
    println!("{READY}");
    let mut nothing = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut nothing);
    let _ = mounted.unmount(true);
    let _ = mounted.wait();
}
