//! Runs `atlasctl` and reads what it says. Not what it should say: that is for the tests.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::sandbox;

/// What `atlasctl` answered.
#[derive(Debug)]
pub struct Answer {
    /// Exit code, 128 + n when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    shown: String,
}

/// A command with a clean environment, whose home is not the tester's.
pub fn command(program: &Path, cwd: &Path) -> Command {
    sandbox::enter();
    let mut command = Command::new(program);
    command
        .current_dir(cwd)
        .env_clear()
        .env("PATH", crate::job::path());
    command
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// `atlasctl ARGS` in `cwd`.
pub fn ctl<S: AsRef<OsStr>>(cwd: &Path, args: &[S]) -> Answer {
    let mut command = command(&sandbox::program("atlasctl"), cwd);
    command.args(args);
    Answer::of(command)
}

impl Answer {
    /// Runs a command to its end.
    pub fn of(mut command: Command) -> Self {
        let shown = format!("{:?} {:?}", command.get_program(), command.get_args());
        let out = command.output().expect("it can be started");
        let signal = std::os::unix::process::ExitStatusExt::signal(&out.status);
        Self {
            code: out
                .status
                .code()
                .or(signal.map(|n| 128 + n))
                .expect("it exited or was killed"),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
            shown,
        }
    }

    /// Panics, showing everything, unless it ended so.
    pub fn expect(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "{} ended with {}, not {code}\n--- stdout\n{}--- stderr\n{}",
            self.shown,
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| {
            panic!(
                "{} did not print JSON: {e}\n{}{}",
                self.shown, self.stdout, self.stderr
            )
        })
    }

    /// Checks the manners of a refusal: this code, nothing on stdout, one line on stderr that names `about` and sends no control
    /// character to the terminal. Returns the line.
    pub fn refusal(self, code: i32, about: &str) -> String {
        let this = self.expect(code);
        let line = this.stderr.trim_end().to_owned();
        assert!(
            this.stdout.is_empty(),
            "{}: on stdout: {}",
            this.shown,
            this.stdout
        );
        assert!(
            !line.is_empty() && !line.contains('\n'),
            "{}: not one line:\n{line}",
            this.shown
        );
        assert!(
            line.contains(about),
            "{}: {line:?} does not name {about:?}",
            this.shown
        );
        assert!(
            !line.chars().any(char::is_control),
            "{}: a control character in {line:?}",
            this.shown
        );
        line
    }
}
