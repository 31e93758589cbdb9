//! Servers for one test each: started on a free port with a directory of their own, and stopped with the test. Not what is asked of them.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A program that runs until this is dropped.
pub(crate) struct Server {
    child: Option<Child>,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    pub(crate) dir: TempDir,
    /// Whom it runs as, when this process is root.
    user: Option<(u32, u32)>,
}

impl Server {
    pub(crate) fn new(program: PathBuf, dir: TempDir) -> Self {
        Self {
            child: None,
            program,
            args: Vec::new(),
            env: Vec::new(),
            dir,
            user: None,
        }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// From its next start on.
    pub(crate) fn more(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&a| a.to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// As somebody who is not root: some servers want that.
    pub(crate) fn not_root(mut self) -> Self {
        self.user = not_root();
        self
    }

    pub(crate) fn start(mut self) -> Self {
        self.restart();
        self
    }

    /// Starts it, when it was killed.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("own directory");
        let mut command = as_user(&self.program, self.user);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(n, v)| (n, v)))
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        self.child = Some(command.spawn().expect("it was found"));
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Waits until it answers; a program that ended, since what it was before it was killed is not gone yet, is started again.
    pub(crate) fn until<T, E: std::fmt::Debug>(
        &mut self,
        mut ready: impl FnMut() -> Result<T, E>,
    ) -> T {
        let begun = Instant::now();
        loop {
            match ready() {
                Ok(ready) => return ready,
                Err(e) if begun.elapsed() > Duration::from_secs(60) => {
                    let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                    panic!("{} does not answer: {e:?}\n{log}", self.program.display());
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
            let child = self.child.as_mut().expect("it was started");
            if child.try_wait().expect("our child").is_some() {
                self.child = None;
                thread::sleep(Duration::from_millis(200));
                self.restart();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("our child");
    }

    /// As a crash does.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("our child");
    }

    /// It has its sockets, and answers nothing on them; so do the processes it made for its connections.
    pub(crate) fn freeze(&self) {
        // It first: it makes no more of them then.
        self.signal(Signal::STOP);
        self.signal_children(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal_children(Signal::CONT);
        self.signal(Signal::CONT);
    }

    fn signal_children(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        let children = format!("/proc/{id}/task/{id}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        for pid in children.split_whitespace() {
            let pid = pid.parse().ok().and_then(Pid::from_raw);
            // Those end by themselves too.
            let _ = kill_process(pid.expect("a process"), signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A test that failed left children frozen, which end by themselves once they run.
            self.signal_children(Signal::CONT);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command that ends with this thread at the latest, whatever ends it.
pub(crate) fn as_user(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some((uid, gid)) = user {
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()]);
        command.arg("--clear-groups");
    }
    command.arg("--").arg(program);
    command
}

/// `nobody`, when this is root.
pub(crate) fn not_root() -> Option<(u32, u32)> {
    let root = rustix::process::geteuid().is_root();
    root.then_some((65534, 65534))
}

/// A directory that a server may write to.
pub(crate) fn dir() -> TempDir {
    let dir = TempDir::new().expect("a temporary directory");
    if let Some((uid, gid)) = not_root() {
        chown(dir.path(), Some(uid), Some(gid)).expect("root");
    }
    dir
}

/// Only its server may read it.
pub(crate) fn private(path: &Path) {
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("own file");
    if let Some((uid, gid)) = not_root() {
        chown(path, Some(uid), Some(gid)).expect("root");
    }
}

pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("loopback");
    socket.local_addr().expect("it is bound").port()
}

/// The program that this variable names, or the first of these places that is there. `None`, after a line on the terminal, when none is.
pub(crate) fn program(variable: &str, places: &[&str]) -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os(variable).map(PathBuf::from);
    let mut all = named
        .into_iter()
        .chain(places.iter().map(|place| repository.join(place)));
    let found = all.find(|path| path.exists());
    if found.is_none() {
        // Not `eprintln`, which the test harness would keep to itself: a test that did not run must be seen.
        let name = thread::current().name().unwrap_or("?").to_owned();
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {name}: {variable} names no program, and there is none at {}",
            places.join(", ")
        );
    }
    found
}
