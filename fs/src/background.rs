//! Work that nobody waits for gives way to the job: its threads, and its writes to the disk.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// The niceness of a thread that seals.
const NICE: i32 = 10;

/// The calling thread is not in a hurry.
pub(crate) fn give_way() {
    // On Linux this is about the calling thread only; it needs no privilege and fails for nobody.
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// Begins to write out a file's bytes, or (`wait`) waits for it, without a commit of the filesystem's journal, which would hold up
/// every job that creates files meanwhile.
pub(crate) fn write_out(file: &File, wait: bool) -> io::Result<()> {
    let begin = libc::SYNC_FILE_RANGE_WRITE;
    let all = begin | libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a system call on a descriptor that `file` keeps open; no memory is passed.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, if wait { all } else { begin }) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
