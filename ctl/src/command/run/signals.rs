//! Signals as a file to read, so that waiting for a command and passing signals on to it is one loop. No handlers: dispositions stay
//! as they were, and the command inherits them.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What is passed on to the command.
const FORWARDED: [i32; 6] = [
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// One signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A child ended.
    Child,
    /// Somebody sent this signal to us with kill(2): the command should have it.
    Forward(i32),
    /// The terminal sent it to its whole foreground group: the command has it already.
    FromTerminal,
}

/// Blocked signals, waiting to be read.
pub(crate) struct Signals {
    fd: OwnedFd,
    /// What was blocked before: the command begins with that.
    before: libc::sigset_t,
}

impl Signals {
    /// Blocks what is forwarded, and SIGCHLD, in this thread, which must be the only one.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set that it is given, and the calls after it get an initialised one.
        let fd = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd just made this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: sigprocmask succeeded, so it has written the old set.
        let before = unsafe { before.assume_init() };
        Ok(Self { fd, before })
    }

    /// Has the command begin with the signals blocked that were blocked before us.
    pub(crate) fn not_inherited_by(&self, command: &mut Command) {
        let before = self.before;
        // SAFETY: between fork and exec only sigprocmask is called, which is async-signal-safe, on a set that is initialised.
        unsafe {
            command.pre_exec(move || {
                match libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut())
                {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
    }

    /// Waits for the next signal.
    pub(crate) fn next(&self) -> io::Result<Signal> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        loop {
            // SAFETY: the buffer is SIZE bytes, and the descriptor is ours.
            let n = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), SIZE) };
            match n {
                n if n == SIZE as isize => break,
                n if n < 0 => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        // SAFETY: zeroed and then filled by the kernel; any bytes are a valid value of this struct of integers.
        let info = unsafe { info.assume_init() };
        Ok(meaning(info.ssi_signo.cast_signed(), info.ssi_code))
    }
}

/// `code` is `si_code` of sigaction(2): positive when the kernel made the signal by itself.
fn meaning(signal: i32, code: i32) -> Signal {
    match signal {
        libc::SIGCHLD => Signal::Child,
        _ if code > 0 => Signal::FromTerminal,
        _ => Signal::Forward(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_is_not_sent_twice_and_kill_is_passed_on() {
        const SI_KERNEL: i32 = 0x80;
        const SI_USER: i32 = 0;
        assert_eq!(meaning(libc::SIGINT, SI_KERNEL), Signal::FromTerminal);
        assert_eq!(
            meaning(libc::SIGINT, SI_USER),
            Signal::Forward(libc::SIGINT)
        );
        assert_eq!(
            meaning(libc::SIGTERM, SI_USER),
            Signal::Forward(libc::SIGTERM)
        );
    }
}
