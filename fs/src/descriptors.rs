//! How the daemon's descriptors are shared out: to what jobs have open, to inodes, to seals, and a rest for all else, so that a job that
//! opens too much is refused more, and nobody else is. Not which inodes are held: see `vfs::inode`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit};

/// More are not held for inodes: the next ones would only be reached faster by a hair.
const ANCHORS: usize = 16_384;

/// For seals, digests, the state, sockets, and calls that need one for a moment: so many, or an eighth of all if that is less.
const REST: usize = 2048;

/// What jobs have open, as far as it takes descriptors of the daemon.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    lent: Arc<AtomicUsize>,
}

/// The right to one descriptor for something that a job has open.
#[derive(Debug)]
pub(crate) struct Lent(Arc<AtomicUsize>);

/// A descriptor for something that a job has open.
#[derive(Debug)]
pub(crate) struct Own {
    fd: OwnedFd,
    _lent: Lent,
}

impl Descriptors {
    /// ENFILE when all that jobs can have are lent: EMFILE would tell a job that it has too much open itself.
    pub(crate) fn lend(&self) -> io::Result<Lent> {
        let before = self.lent.fetch_add(1, Ordering::Relaxed);
        let lent = Lent(Arc::clone(&self.lent));
        if before < for_jobs(limit()) {
            Ok(lent)
        } else {
            Err(io::Error::from_raw_os_error(libc::ENFILE))
        }
    }
}

impl Lent {
    pub(crate) fn own(self, fd: OwnedFd) -> Own {
        Own { fd, _lent: self }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Own {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many the process may have. Asked each time: it can be changed while the mount lives (prlimit).
fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// How many inodes may hold.
pub(crate) fn for_inodes() -> usize {
    (limit() / 2).min(ANCHORS)
}

/// How many open files and directories of jobs may take at a time.
fn for_jobs(limit: usize) -> usize {
    limit - (limit / 2).min(ANCHORS) - rest(limit)
}

fn rest(limit: usize) -> usize {
    (limit / 8).min(REST)
}

/// So many objects may be written to the store at a time.
pub(crate) fn for_seals() -> usize {
    (rest(limit()) / 2).max(1)
}

/// So many files at a time can be open in inline mode.
pub(crate) fn most_open() -> usize {
    for_jobs(limit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_everybody_whatever_the_limit() {
        for limit in [0, 1, 16, 256, 1024, 20_000, 1 << 20, usize::MAX] {
            let jobs = for_jobs(limit);
            assert!(jobs <= limit);
            assert!(limit < 1024 || limit - jobs - (limit / 2).min(ANCHORS) >= 128);
        }
        assert_eq!(for_jobs(1024), 384);
    }

    #[test]
    fn what_is_given_back_can_be_lent_again() {
        let all = Descriptors::default();
        let most = most_open();
        let lent: Vec<_> = (0..most)
            .map(|_| all.lend().expect("there is one"))
            .collect();
        let full = all.lend().expect_err("all are lent");
        assert_eq!(full.raw_os_error(), Some(libc::ENFILE));
        drop(lent);
        assert!(all.lend().is_ok());
    }
}
