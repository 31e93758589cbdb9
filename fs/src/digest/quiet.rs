//! The proof that nobody can write a file: a read lease on it. Not what is done when the proof cannot be had: see `work`.
//!
//! The kernel grants `F_SETLEASE F_RDLCK` only while no description of the inode is open for writing, which includes every shared writable
//! mapping, and lets no writer in before the lease is given up, or 45 s (`/proc/sys/fs/lease-break-time`) have passed. fcntl(2).
//!
//! The kernel announces a break with a signal, SIGIO by default, whose default action ends the process. A lease here asks for SIGURG instead
//! (`F_SETSIG`), which is ignored by default: nothing is installed process-wide, nothing is inherited by children, no system call is interrupted.
//! The holder looks for a break between two blocks (`holds`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use rustix::io::Errno;

/// What the kernel says to a request for a read lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leases {
    /// Given: nobody has the file open for writing.
    Given,
    /// Refused: someone can write it.
    Refused,
    /// Never to be had here: the store has no leases, or the caller neither owns the file nor has `CAP_LEASE`.
    Unsupported(Errno),
}

/// Asks for a read lease on a file opened read-only, and gives it back at once: says whether quiet can be proven on this store.
pub fn leases(file: &File) -> Leases {
    let answer = take(file);
    if answer == Leases::Given {
        give_up(file);
    }
    answer
}

/// Takes a read lease. It belongs to the open file description and ends with it, if `give_up` does not end it before.
pub(super) fn take(file: &File) -> Leases {
    // Before the lease, so that no break can send SIGIO.
    if let Err(e) = fcntl(file, F_SETSIG, libc::SIGURG) {
        return Leases::Unsupported(e);
    }
    match fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(_) => Leases::Given,
        Err(Errno::AGAIN) => Leases::Refused,
        Err(e) => Leases::Unsupported(e),
    }
}

/// True while the lease stands and nobody waits for its end.
pub(super) fn holds(file: &File) -> bool {
    fcntl(file, libc::F_GETLEASE, 0) == Ok(libc::F_RDLCK)
}

/// Ends the lease; a writer who waits for it goes on. From any thread; harmless where there is none.
pub(super) fn give_up(file: &File) {
    let _ = fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
}

/// From `asm-generic/fcntl.h`; the libc crate has it for some targets only.
const F_SETSIG: libc::c_int = 10;

fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> Result<libc::c_int, Errno> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and these commands take an int and touch no memory of ours.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if answer < 0 {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    } else {
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_lease_is_refused_while_a_writer_lives_and_given_after() {
        for dir in crate::digest::testing::stores() {
            let path = dir.path().join("f");
            let writer = File::create(&path).unwrap();
            let reader = File::open(&path).unwrap();
            assert_eq!(leases(&reader), Leases::Refused);
            drop(writer);
            // A child that another test is starting has a copy until it is another program.
            while take(&reader) == Leases::Refused {
                std::thread::yield_now();
            }
            assert!(holds(&reader));
            give_up(&reader);
            assert!(!holds(&reader));
        }
    }

    #[test]
    fn a_break_is_seen_by_the_holder_and_ends_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"content").unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(take(&reader), Leases::Given);
        let opener = std::thread::spawn(move || OpenOptions::new().write(true).open(path));
        while holds(&reader) {
            std::thread::yield_now();
        }
        give_up(&reader);
        assert!(opener.join().unwrap().is_ok());
    }

    #[test]
    fn a_store_without_leases_says_so_and_is_not_taken_for_a_busy_file() {
        let file = File::open("/proc/self/maps").unwrap();
        assert!(!matches!(leases(&file), Leases::Refused));
        let directory = File::open("/").unwrap();
        assert!(matches!(
            leases(&directory),
            Leases::Given | Leases::Unsupported(_)
        ));
    }
}
