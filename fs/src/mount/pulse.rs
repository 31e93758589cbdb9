//! Whether a mount answers, is dead or hangs. Looked at by a process of its own: one that asks a daemon that hangs hangs too.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A daemon answers within this time, however busy it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It answers, or it is no mount that could hang.
    Answers,
    /// Its daemon is gone.
    Dead,
    /// Nothing came within the time.
    Silent,
}

/// Asks what is mounted at `point`.
///
/// # Errors
/// When no process can be started for it.
pub(super) fn pulse(point: &Path, patience: Duration) -> io::Result<Pulse> {
    let path = CString::new(point.as_os_str().as_bytes())?;
    let (hears, says) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: between fork and `_exit` the child makes three system calls with what was made before, and allocates nothing.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        // Not stat: for a second after its daemon's death the kernel would answer from what it remembers.
        let dead = matches!(
            rustix::fs::statfs(path.as_c_str()),
            Err(Errno::NOTCONN | Errno::CONNABORTED)
        );
        let byte = u8::from(dead);
        // SAFETY: one byte of this function's own; then the process ends without running anything else.
        unsafe {
            libc::write(says.as_raw_fd(), (&raw const byte).cast(), 1);
            libc::_exit(0);
        }
    }
    let Some(child) = Pid::from_raw(forked).filter(|_| forked > 0) else {
        return Err(io::Error::last_os_error());
    };
    drop(says);
    let heard = listen(&hears, patience);
    if matches!(heard, Ok(Pulse::Silent)) {
        // A request that the daemon has taken up cannot be killed: the child ends when it can, and is not waited for.
        let _ = kill_process(child, Signal::KILL);
    } else {
        let _ = waitpid(Some(child), WaitOptions::empty());
    }
    heard
}

fn listen(hears: &impl std::os::fd::AsFd, patience: Duration) -> io::Result<Pulse> {
    let limit = Timespec {
        tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(hears, PollFlags::IN)];
    if poll(&mut fds, Some(&limit))? == 0 {
        return Ok(Pulse::Silent);
    }
    let mut byte = [0u8];
    match rustix::io::read(hears, &mut byte)? {
        1 if byte[0] == 1 => Ok(Pulse::Dead),
        1 => Ok(Pulse::Answers),
        _ => Err(io::Error::other("the process that looked was killed")),
    }
}
