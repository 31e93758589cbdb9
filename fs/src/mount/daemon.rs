//! One process becomes two before any thread runs: one serves the mount, the other looks whether it answers. The daemon itself must never look:
//! a request to its own mount can deadlock.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::failure::{Failure, OTHER};

/// A longer message is cut, in bytes.
const MAX_MESSAGE: u64 = 64 << 10;
/// The first byte of what the server says: the mount is made.
const MADE: u8 = 0;

/// Which of the two this process is.
pub enum Role {
    /// Serves the mount.
    Server(Server),
    /// Waits until the mount answers or the server has failed.
    Watcher(Watcher),
}

/// The serving side.
pub struct Server {
    says: File,
    hears: File,
    background: bool,
    /// In the foreground the watcher is a child, and is waited for.
    child: Option<Pid>,
}

/// The looking side.
pub struct Watcher {
    hears: File,
    says: File,
    mountpoint: PathBuf,
    /// Device of the mount point before the mount.
    before: u64,
    /// In the background the server is a child.
    child: Option<Pid>,
}

/// Splits the process. In the background (`foreground` false) the caller's process watches and a child in a session of its own serves;
/// in the foreground the caller's process serves, as systemd and a terminal expect.
///
/// # Errors
/// When the mount point cannot be looked at, or the system has no room for a process.
pub fn split(mountpoint: &Path, foreground: bool) -> io::Result<Role> {
    let before = std::fs::metadata(mountpoint)?.dev();
    let (from_server, to_watcher) = pipe()?;
    let (from_watcher, to_server) = pipe()?;
    // SAFETY: no other thread has been started: `split` is called first thing by the program, and by a test in a process of its own.
    let forked = unsafe { libc::fork() };
    if forked < 0 {
        return Err(io::Error::last_os_error());
    }
    let child = Pid::from_raw(forked);
    let serves = child.is_some() == foreground;
    if serves {
        drop((from_server, to_server));
        if !foreground {
            rustix::process::setsid()?;
            rustix::process::chdir("/")?;
        }
        Ok(Role::Server(Server {
            says: to_watcher.into(),
            hears: from_watcher.into(),
            background: !foreground,
            child,
        }))
    } else {
        drop((to_watcher, from_watcher));
        Ok(Role::Watcher(Watcher {
            hears: from_server.into(),
            says: to_server.into(),
            mountpoint: mountpoint.to_owned(),
            before,
            child,
        }))
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

impl Server {
    /// The mount is made: has it looked at. Returns when it answers; from then on nobody waits, and in the background nothing of the
    /// caller's terminal is held any more.
    ///
    /// # Errors
    /// When it does not answer, or nobody is left to look: then it should be detached.
    pub fn made(mut self) -> Result<(), Failure> {
        let mut verdict = Vec::new();
        let heard = self
            .says
            .write_all(&[MADE])
            .and_then(|()| (&self.hears).take(MAX_MESSAGE).read_to_end(&mut verdict));
        self.reap();
        heard.map_err(|e| Failure::other(format!("the mount cannot be looked at: {e}")))?;
        match verdict.split_first() {
            Some((0, _)) => {}
            Some((_, text)) => return Err(Failure::other(String::from_utf8_lossy(text))),
            None => return Err(Failure::other("interrupted before the mount answered")),
        }
        if self.background {
            release_terminal().map_err(|e| Failure::other(format!("/dev/null: {e}")))?;
        }
        Ok(())
    }

    /// True when nobody sees what this process writes to stderr once the mount is made.
    pub fn background(&self) -> bool {
        self.background
    }

    /// It failed: in the background the waiting caller says so and takes the exit code; in the foreground the caller is this process.
    /// Gives the failure back when it is still to be said.
    pub fn failed(mut self, failure: Failure) -> Option<Failure> {
        if !self.background {
            drop(self.says);
            if let Some(child) = self.child.take() {
                // The watcher ends at the end of its pipe.
                let _ = waitpid(Some(child), WaitOptions::empty());
            }
            return Some(failure);
        }
        let mut message = vec![u8::try_from(failure.code).unwrap_or(1).max(1)];
        message.extend_from_slice(failure.to_string().as_bytes());
        match self.says.write_all(&message) {
            Ok(()) => None,
            // The caller is gone: the last that can be done is to say it on the terminal.
            Err(_) => Some(failure),
        }
    }

    fn reap(&mut self) {
        if let Some(child) = self.child.take() {
            // It has given its verdict, or is gone: either way there is nothing more to learn from it.
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

impl Watcher {
    /// Waits for the server and looks at the mount. In the background this is the command's result.
    ///
    /// # Errors
    /// What the server said, that it died, or that the mount does not answer.
    pub fn watch(mut self) -> Result<(), Failure> {
        let mut first = [0u8; 1];
        match self.hears.read(&mut first) {
            Ok(0) => return Err(self.died()),
            Ok(_) => {}
            Err(e) => return Err(Failure::other(format!("the daemon cannot be heard: {e}"))),
        }
        if first[0] != MADE {
            let mut text = Vec::new();
            (&self.hears)
                .take(MAX_MESSAGE)
                .read_to_end(&mut text)
                .map_err(Failure::other)?;
            return Err(Failure::new(
                i32::from(first[0]),
                String::from_utf8_lossy(&text),
            ));
        }
        let answer = match std::fs::metadata(&self.mountpoint) {
            Ok(found) if found.dev() != self.before => Ok(()),
            Ok(_) => {
                Err("the mount does not show at the mount point: another mount covers it".into())
            }
            Err(e) => Err(format!("the mount does not answer: {e}")),
        };
        let mut verdict = vec![u8::from(answer.is_err())];
        if let Err(text) = &answer {
            verdict.extend_from_slice(text.as_bytes());
        }
        // A server that died meanwhile hears nothing; the mount answered or not all the same.
        let _ = self.says.write_all(&verdict);
        answer.map_err(Failure::other)
    }

    /// The server closed its pipe without a word.
    fn died(&mut self) -> Failure {
        let how = self
            .child
            .take()
            .and_then(|child| waitpid(Some(child), WaitOptions::empty()).ok().flatten())
            .map(|(_, status)| status);
        let signal = how.and_then(rustix::process::WaitStatus::terminating_signal);
        let how = match (
            signal,
            how.and_then(rustix::process::WaitStatus::exit_status),
        ) {
            (Some(signal), _) => format!("killed by signal {signal}"),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => "no reason known".into(),
        };
        Failure::new(
            OTHER,
            format!("the daemon ended before the mount answered ({how}): see its log"),
        )
    }
}

/// stdin, stdout and stderr become /dev/null, so that no terminal and no pipe waits for the daemon.
fn release_terminal() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..=2 {
        // SAFETY: `null` is open, and no Rust object owns the descriptors 0 to 2.
        if unsafe { libc::dup2(null.as_raw_fd(), standard) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
