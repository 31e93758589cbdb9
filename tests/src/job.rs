//! Runs a command as a job of somebody who knows nothing of Atlas: an orphan, so that it is a process tree of its own. Not a run
//! declared with `atlasctl run`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sandbox;
use crate::wait;

/// Starts the inner shell in a session of its own and ends at once: the inner shell becomes an orphan.
const OUTER: &str = r#"exec 4<&0; setsid bash -c "$0" sh "$@" <&4 >/dev/null 2>&1 &"#;
/// Waits for the word (the outer shell is gone by then), lets go of what cargo and the tester had open (a pipe in common would make
/// all jobs one run), runs the job, and writes down how it ended.
const INNER: &str = r#"read -r go; f=$1; shift
for fd in /proc/$$/fd/*; do fd=${fd##*/}; case $fd in 0 | 1 | 2 | 255) ;; *) eval "exec $fd>&-" ;; esac; done
"$@" </dev/null >"$f.out" 2>"$f.err"; echo $? >"$f.code""#;

/// Who runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// With every capability.
    Root,
    /// With none: cannot reach around an in-place mount.
    Nobody,
}

/// A command to be run on a mount.
#[derive(Debug, Clone)]
pub struct Job {
    user: User,
    cwd: PathBuf,
    scratch: PathBuf,
    env: Vec<(OsString, OsString)>,
    argv: Vec<OsString>,
}

/// A job that has started.
#[derive(Debug)]
pub struct Running {
    base: PathBuf,
    shown: String,
}

/// How a job ended.
#[derive(Debug)]
pub struct Done {
    /// Exit status, 128 + n when signal n ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    shown: String,
}

impl Job {
    /// A job that runs `argv` in `cwd`; `scratch` is a directory outside of any mount.
    pub fn new<S: AsRef<OsStr>>(cwd: &Path, scratch: &Path, argv: &[S]) -> Self {
        Self {
            user: User::Nobody,
            cwd: cwd.to_path_buf(),
            scratch: scratch.to_path_buf(),
            env: Vec::new(),
            argv: argv.iter().map(|a| a.as_ref().to_os_string()).collect(),
        }
    }

    /// By whom; an ordinary user unless said otherwise.
    #[must_use]
    pub fn by(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_os_string()));
        self
    }

    /// Starts it.
    pub fn start(self) -> Running {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sandbox::enter();
        let base = self
            .scratch
            .join(format!("job-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut command = Command::new("sh");
        command.args(["-c", OUTER, INNER]).arg(&base);
        if self.user == User::Nobody {
            command.args([
                "setpriv",
                "--reuid=nobody",
                "--regid=nogroup",
                "--clear-groups",
                "--inh-caps=-all",
                "--",
            ]);
        }
        command.args(&self.argv).current_dir(&self.cwd).env_clear();
        command
            .env("PATH", path())
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8");
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        let mut outer = command.stdin(Stdio::piped()).spawn().expect("sh is there");
        let mut word = outer.stdin.take().expect("asked for");
        let status = outer.wait().expect("it ends at once");
        assert!(
            status.success(),
            "the outer shell: {:?} {:?}",
            status.code(),
            status.signal()
        );
        std::io::Write::write_all(&mut word, b"go\n").expect("the inner shell waits");
        Running {
            base,
            shown: format!("{:?}", self.argv),
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.start().wait()
    }

    /// Runs it to its end, which must be 0.
    pub fn ok(self) -> Done {
        self.run().expect(0)
    }
}

impl Running {
    /// Waits for its end.
    pub fn wait(self) -> Done {
        let read = |ending: &str| {
            let bytes = fs::read(self.base.with_extension(ending)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let code = wait::until(&format!("{} ends", self.shown), || {
            read("code")
                .strip_suffix('\n')
                .map(|text| text.parse().expect("a status"))
        });
        Done {
            code,
            stdout: read("out"),
            stderr: read("err"),
            shown: self.shown,
        }
    }

    /// Waits until its standard output holds `text`.
    pub fn says(&self, text: &str) {
        wait::until(&format!("{} says {text:?}", self.shown), || {
            let bytes = fs::read(self.base.with_extension("out")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(text).then_some(())
        });
    }
}

impl Done {
    /// Panics, showing everything, unless it ended so.
    pub fn expect(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "{} ended with {}, not {code}\n{}{}",
            self.shown,
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }
}

/// The `PATH` of jobs: the virtual environment first.
pub fn path() -> OsString {
    let mut path = sandbox::venv().join("bin").into_os_string();
    path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}
