//! How a writer let go of a file: by close(2), by its exit, or killed. Pure.

use atlas_manifests::vocabulary::Closed;

use super::Who;

/// One FLUSH: who closed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// Whose descriptor it was.
    pub who: Who,
    /// How it was closed.
    pub closed: Closed,
    /// Exit status or signal.
    pub status: Option<i32>,
    /// By execve(2), which closes what the new program shall not have: it never wrote there.
    pub executing: bool,
}

/// From a FLUSH's caller: whether its thread is exiting, and its leader's exit code as wait(2) gives it (`None`: may not be seen).
///
/// PF_SIGNALED is not asked: the last thread of every multithreaded program that exits normally carries it.
pub(crate) fn closed(exiting: bool, leader_exit_code: Option<i32>) -> (Closed, Option<i32>) {
    if !exiting {
        return (Closed::Explicit, None);
    }
    match leader_exit_code {
        None => (Closed::Exit, None),
        Some(code) => match code & 0x7f {
            0 => (Closed::Exit, Some(code >> 8 & 0xff)),
            signal => (Closed::Killed, Some(signal)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_told_from_an_exit_and_a_core_dump_is_still_a_kill() {
        assert_eq!(closed(false, Some(9)), (Closed::Explicit, None));
        assert_eq!(closed(true, Some(0)), (Closed::Exit, Some(0)));
        assert_eq!(closed(true, Some(768)), (Closed::Exit, Some(3)));
        assert_eq!(closed(true, Some(9)), (Closed::Killed, Some(9)));
        assert_eq!(closed(true, Some(6 | 0x80)), (Closed::Killed, Some(6)));
        assert_eq!(closed(true, None), (Closed::Exit, None));
    }
}
