//! A laboratory: a directory tree for one test, and mounts of it that end with the test. Starts the real `atlas-fs`.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::ctl::{self, Answer};
use crate::files;
use crate::job::Job;
use crate::lineage::Lineage;
use crate::sandbox;
use crate::store::{self, Store};
use crate::wait;

/// User and group `nobody` and `nogroup` of Debian: the jobs' owner.
pub const NOBODY: u32 = 65534;

/// Who moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// The kernel.
    Passthrough,
    /// The daemon.
    Inline,
}

impl Io {
    /// As the flag and `status` spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Inline => "inline",
        }
    }
}

/// How to mount.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--io`.
    pub io: Io,
    /// Over SOURCE itself.
    pub in_place: bool,
    /// Further flags.
    pub flags: Vec<String>,
    /// How many descriptors the daemon may have, when not as many as the tester.
    pub descriptors: Option<u32>,
}

impl Options {
    /// Beside SOURCE, with nothing special.
    pub fn new(io: Io) -> Self {
        Self {
            io,
            in_place: false,
            flags: Vec::new(),
            descriptors: None,
        }
    }

    /// Over SOURCE itself.
    #[must_use]
    pub fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// With a further flag.
    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }
}

/// A directory tree for one test: `data` is SOURCE, `mnt` the mount point, `scratch` lies outside.
#[derive(Debug)]
pub struct Lab {
    /// Before the directory, which goes after what is mounted in it.
    store: Option<store::Mounted>,
    dir: TempDir,
    source: File,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty one, in a private mount namespace.
    pub fn new() -> Self {
        sandbox::enter();
        let dir = tempfile::Builder::new()
            .prefix("atlas-test-")
            .tempdir()
            .expect("a temporary directory");
        Self::at(dir)
    }

    /// An empty one whose data lie on a disk of their own of so many bytes.
    pub fn on_small_disk(bytes: u64) -> Self {
        sandbox::enter();
        let dir = tempfile::Builder::new()
            .prefix("atlas-test-")
            .tempdir()
            .expect("a temporary directory");
        sandbox::small_disk(&dir.path().join("data"), bytes);
        Self::at(dir)
    }

    /// One whose data are these files on a store of this kind; `None` where the machine has none, which is told.
    pub fn on(store: Store, files: &[(&str, &[u8])]) -> Option<Self> {
        sandbox::enter();
        let dir = tempfile::Builder::new()
            .prefix("atlas-test-")
            .tempdir()
            .expect("a temporary directory");
        fs::create_dir(dir.path().join("room")).expect("own directory");
        let room = dir.path().join("room");
        let made = store.make(&dir.path().join("data"), &room, files)?;
        let mut lab = Self::at(dir);
        lab.store = Some(made);
        Some(lab)
    }

    /// The store of the data is unmounted and mounted again, as by a reboot.
    pub fn reboot(&mut self) {
        let nothing = File::open("/").expect("there is a root");
        drop(std::mem::replace(&mut self.source, nothing));
        self.store.as_mut().expect("a store of its own").again();
        self.source = File::open(self.source()).expect("own directory");
    }

    fn at(dir: TempDir) -> Self {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("own directory");
        for name in ["data", "mnt", "scratch"] {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).expect("own directory");
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may chown");
        }
        // Opened before anything is mounted over it: the way behind an in-place mount.
        let source = File::open(dir.path().join("data")).expect("own directory");
        Self {
            store: None,
            dir,
            source,
        }
    }

    /// SOURCE.
    pub fn source(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The place where mounts beside SOURCE appear.
    pub fn mountpoint(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// A directory outside of SOURCE.
    pub fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    /// A path of the backing directory, also while something is mounted over it.
    pub fn behind(&self, path: &str) -> PathBuf {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.source);
        PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())).join(path)
    }

    /// The authority's directory.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("authority")
    }

    /// Puts a file into SOURCE behind the mount, owned by the jobs' user.
    pub fn put(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let to = self.behind(path);
        let mut made = self.behind("");
        for part in Path::new(path).parent().into_iter().flatten() {
            made.push(part);
            if !made.exists() {
                fs::create_dir(&made).expect("own directory");
                chown(&made, Some(NOBODY), Some(NOBODY)).expect("root may chown");
            }
        }
        fs::write(&to, bytes).expect("own directory");
        chown(&to, Some(NOBODY), Some(NOBODY)).expect("root may chown");
        to
    }

    /// The command that mounts, ready to be changed or run.
    pub fn command(&self, options: &Options) -> Command {
        let to = if options.in_place {
            self.source()
        } else {
            self.mountpoint()
        };
        let program = sandbox::program("atlas-fs");
        let mut command = match options.descriptors {
            None => ctl::command(&program, Path::new("/")),
            Some(most) => {
                let mut limited = ctl::command(Path::new("prlimit"), Path::new("/"));
                limited.arg(format!("--nofile={most}:{most}")).arg(program);
                limited
            }
        };
        command
            .arg("mount")
            .arg(self.source())
            .arg(to)
            .arg("--authority")
            .arg(self.authority());
        command
            .args(["--allow-other", "--io", options.io.word()])
            .args(&options.flags);
        command
    }

    /// Mounts, and waits until the mount answers.
    pub fn mount(&self, options: Options) -> Mount<'_> {
        let log = self.dir.path().join("atlas-fs.log");
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("own directory");
        let mut command = self.command(&options);
        command
            .arg("--foreground")
            .stdout(out.try_clone().expect("a descriptor"))
            .stderr(out)
            .stdin(Stdio::null());
        let mut child = command.spawn().expect("atlas-fs can be started");
        let point = if options.in_place {
            self.source()
        } else {
            self.mountpoint()
        };
        let status = point.join(".atlas/status");
        wait::until("the mount answers", || {
            if let Some(ended) = child.try_wait().expect("own child") {
                panic!(
                    "atlas-fs mount ended: {ended}\n{}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
            }
            fs::read(&status).ok()
        });
        Mount {
            lab: self,
            point,
            log,
            child: Some(child),
        }
    }

    /// Refuses to mount: the answer of `atlas-fs mount` without `--foreground`.
    pub fn mount_refused(&self, options: &Options) -> Answer {
        Answer::of(self.command(options))
    }

    /// `atlasctl ARGS` in the scratch directory.
    pub fn ctl<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Answer {
        ctl::ctl(&self.scratch(), args)
    }
}

/// A live mount. Unmounted when it goes; the daemon's log is shown when the test failed.
#[derive(Debug)]
pub struct Mount<'a> {
    lab: &'a Lab,
    point: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Mount<'_> {
    /// A path through the mount.
    pub fn path(&self, path: &str) -> PathBuf {
        self.point.join(path)
    }

    /// A job in the mount's root.
    pub fn job<S: AsRef<std::ffi::OsStr>>(&self, argv: &[S]) -> Job {
        Job::new(&self.point, &self.lab.scratch(), argv)
    }

    /// A shell script as a job in the mount's root.
    pub fn sh(&self, script: &str) -> Job {
        self.job(&["sh", "-euc", script])
    }

    /// A Python program as a job in the mount's root, with NumPy and safetensors at hand.
    pub fn python(&self, program: &str) -> Job {
        self.job(&["python", "-c", program])
    }

    /// Waits until the daemon has answered all that the kernel has asked it, in the background too: a last close is told there.
    pub fn drained(&self) {
        let dev = fs::metadata(&self.point).expect("it is mounted").dev();
        let connections = Path::new("/sys/fs/fuse/connections");
        let waiting = connections.join(format!("{}/waiting", rustix::fs::minor(dev)));
        if !waiting.exists() {
            let nothing = rustix::mount::MountFlags::empty();
            rustix::mount::mount("none", connections, "fusectl", nothing, None)
                .expect("fusectl can be mounted");
        }
        wait::spin("no request waits", || {
            (fs::read_to_string(&waiting)
                .expect("a live connection")
                .trim()
                == "0")
                .then_some(())
        });
    }

    /// A file is sealed, with the digest that it has behind the mount now; the bytes there.
    pub fn sealed_as_it_is(&self, path: &str) -> Vec<u8> {
        self.sync();
        self.await_state(path, "logged");
        let behind = self.lab.behind(path);
        let sum = files::sha256sum(&behind);
        assert_eq!(self.lineage(path).root().sha256.as_deref(), Some(&*sum));
        self.verify(path, 0);
        fs::read(behind).expect("it is there")
    }

    /// Waits until all that has ended is sealed.
    pub fn sync(&self) {
        wait::until("everything is sealed", || {
            let said =
                fs::read_to_string(self.path(".atlas/sync")).expect(".atlas/sync can be read");
            match said.trim() {
                "ok" => Some(()),
                other => {
                    assert!(other.starts_with("pending "), ".atlas/sync said {other:?}");
                    None
                }
            }
        });
    }

    /// `MOUNT/.atlas/status`.
    pub fn status(&self) -> Value {
        let text =
            fs::read_to_string(self.path(".atlas/status")).expect(".atlas/status can be read");
        serde_json::from_str(&text).expect("status is JSON")
    }

    /// `atlasctl ARGS` in the mount's root.
    pub fn ctl<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Answer {
        ctl::ctl(&self.point, args)
    }

    /// `atlasctl lineage --json` of a path.
    pub fn lineage(&self, path: &str) -> Lineage {
        Lineage::of(self.ctl(&["lineage", "--json", path]).expect(0).json())
    }

    /// `atlasctl verify --json` of a path, which must end with this code.
    pub fn verify(&self, path: &str, code: i32) -> Value {
        self.ctl(&["verify", "--json", path]).expect(code).json()
    }

    /// A virtual attribute, as text; `None` for ENODATA.
    pub fn attribute(&self, path: &str, name: &str) -> Option<String> {
        let mut value = vec![0; 4096];
        match rustix::fs::getxattr(self.path(path), name, &mut value[..]) {
            Ok(len) => Some(String::from_utf8_lossy(&value[..len]).into_owned()),
            Err(rustix::io::Errno::NODATA) => None,
            Err(e) => panic!("{name} of {path}: {e}"),
        }
    }

    /// The bytes of a sealed file's manifest.
    pub fn manifest(&self, path: &str) -> Vec<u8> {
        let digest = self
            .attribute(path, "user.atlas.digest")
            .expect("a sealed file has a digest");
        let hex = digest
            .strip_prefix("blake3:")
            .expect("its own digest is BLAKE3");
        fs::read(self.path(&format!(".atlas/by-digest/{hex}.c2pa")))
            .expect("a sealed file has a manifest")
    }

    /// Waits until a path's state is this.
    pub fn await_state(&self, path: &str, state: &str) {
        wait::until(&format!("{path} is {state}"), || {
            (self.attribute(path, "user.atlas.state").as_deref() == Some(state)).then_some(())
        });
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon lives").id()
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills the daemon as a crash would. The dead mount stays.
    pub fn crash(mut self) {
        let mut child = self.child.take().expect("the daemon lives");
        child.kill().expect("own child");
        child.wait().expect("own child");
    }

    /// Waits for the daemon to end by itself, without an error.
    pub fn ended(mut self) {
        let mut child = self.child.take().expect("the daemon lives");
        let status = wait::until("the daemon ends", || child.try_wait().expect("own child"));
        assert!(
            status.success(),
            "the daemon ended with {status}\n{}",
            self.log()
        );
    }

    /// Unmounts as a person would, and waits for the daemon's end.
    pub fn unmount(self) {
        let mut command = ctl::command(&sandbox::program("atlas-fs"), Path::new("/"));
        command.arg("umount").arg(&self.point);
        Answer::of(command).expect(0);
        self.ended();
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            #[expect(clippy::print_stderr, reason = "shown with the failed test")]
            {
                eprintln!("--- atlas-fs log\n{}\n---", tail.join("\n"));
            }
        }
        // Detached first: whatever a failed test has left open must not keep the daemon.
        let _ = unmount(&self.point, UnmountFlags::DETACH);
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        for _ in 0..250 {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
