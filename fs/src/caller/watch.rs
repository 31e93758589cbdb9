//! Whether a thread or process seen before still lives, without reading /proc: a pidfd each. Not who it is.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{ProcessKey, proc};

/// So many descriptors at most: beyond that, /proc is read instead. A mount needs its descriptors for files.
const MAX_OPEN: usize = 4096;
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A pidfd that counts itself.
#[derive(Debug)]
pub(crate) struct Pidfd(OwnedFd);

impl Pidfd {
    /// Of a process. `None`: gone, too many, or not supported.
    pub(crate) fn process(pid: i32) -> Option<Self> {
        Self::open(pid, PidfdFlags::empty())
    }

    /// Of a single thread (Linux 6.9 and later).
    pub(crate) fn thread(tid: i32) -> Option<Self> {
        // PIDFD_THREAD is O_EXCL (include/uapi/linux/pidfd.h).
        Self::open(
            tid,
            PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned()),
        )
    }

    fn open(pid: i32, flags: PidfdFlags) -> Option<Self> {
        if OPEN.fetch_add(1, Ordering::Relaxed) >= MAX_OPEN {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let fd = Pid::from_raw(pid).and_then(|p| pidfd_open(p, flags).ok());
        if fd.is_none() {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
        fd.map(Self)
    }

    /// True until the thread, or the last thread of the process, has exited. One system call, no sleep.
    pub(crate) fn alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        !matches!(poll(&mut fds, Some(&zero)), Ok(n) if n > 0)
    }

    /// The exit code of a process that is gone, as wait(2) gives it, also after it was waited for. Linux 6.15 and later.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        info::exit_code(self.0.as_fd())
    }
}

impl Drop for Pidfd {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// PIDFD_GET_INFO (include/uapi/linux/pidfd.h).
mod info {
    use std::os::fd::BorrowedFd;

    use rustix::ioctl::{Updater, ioctl, opcode};

    /// `PIDFD_INFO_EXIT`.
    const EXIT: u64 = 1 << 3;

    /// `struct pidfd_info`, version 0: 64 bytes.
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroupid: u64,
        ids: [u32; 11],
        exit_code: i32,
    }

    pub(super) fn exit_code(fd: BorrowedFd<'_>) -> Option<i32> {
        const GET_INFO: rustix::ioctl::Opcode = opcode::read_write::<PidfdInfo>(0xff, 11);
        let mut info = PidfdInfo {
            mask: EXIT,
            ..PidfdInfo::default()
        };
        // SAFETY: the opcode carries the size of the struct; the kernel writes no more than that, and every bit pattern of
        // its fields is a value.
        let done = unsafe { ioctl(fd, Updater::<GET_INFO, PidfdInfo>::new(&mut info)) };
        (done.is_ok() && info.mask & EXIT != 0).then_some(info.exit_code)
    }
}

/// A process that a run waits for.
#[derive(Debug)]
pub(crate) struct Watch {
    key: ProcessKey,
    pidfd: Option<Pidfd>,
}

impl Watch {
    /// Of a process that lives, or did a moment ago.
    pub(crate) fn new(key: ProcessKey) -> Self {
        let pidfd = Pidfd::process(key.tgid.0);
        // Between reading its start time and opening the pidfd the pid may have been used again.
        let same = proc::stat(key.tgid.0).is_some_and(|s| s.start == key.start);
        Self {
            key,
            pidfd: pidfd.filter(|_| same),
        }
    }

    /// True while any thread of the process lives.
    pub(crate) fn alive(&self) -> bool {
        match &self.pidfd {
            Some(fd) => fd.alive(),
            None => proc::stat(self.key.tgid.0).is_some_and(|s| {
                s.start == self.key.start && (s.state != b'Z' || proc::has_threads(self.key.tgid.0))
            }),
        }
    }

    /// How it ended, as wait(2) gives it, when that can still be told.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.pidfd.as_ref().and_then(Pidfd::exit_code).or_else(|| {
            proc::stat(self.key.tgid.0)
                .filter(|s| {
                    s.start == self.key.start && s.state == b'Z' && proc::may_see_exit_code()
                })
                .map(|s| s.exit_code)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_waited_for_is_gone_and_its_exit_code_is_not() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read x; exit 3"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let key = proc::key(child.id().cast_signed()).unwrap();
        let watch = Watch::new(key);
        assert!(watch.alive());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!watch.alive());
        // Linux before 6.15 cannot tell once it was waited for.
        assert!(matches!(watch.exit_code(), Some(768) | None));
    }

    #[test]
    fn a_reused_pid_is_not_the_process_that_had_it() {
        let mut key = proc::key(rustix::process::getpid().as_raw_nonzero().get()).unwrap();
        key.start += 1;
        assert!(!Watch::new(key).alive());
    }
}
