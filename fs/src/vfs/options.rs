//! What a mount is asked for, and what was decided about it. Not the command line: that is parsed elsewhere.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Who moves the bytes, as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// The kernel where that works here, else the daemon.
    #[default]
    Auto,
    /// The kernel; mounting fails where that cannot work.
    Passthrough,
    /// The daemon, always.
    Inline,
}

/// Who moves the bytes, as decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel, straight to the backing file: no READ and no WRITE is seen.
    Passthrough,
    /// The daemon: every byte read and written is seen.
    Inline,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passthrough => "passthrough",
            Self::Inline => "inline",
        })
    }
}

/// The mode in force and why, in words for the log and for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoDecision {
    /// The mode.
    pub mode: Mode,
    /// Why; one line.
    pub reason: String,
}

/// One mount.
#[derive(Debug, Default)]
pub struct Options {
    /// The backing directory, as given. Used for display and, when `source_fd` is `None`, opened once in `Vfs::new`.
    pub source: PathBuf,
    /// The backing directory already opened (before it was covered).
    pub source_fd: Option<OwnedFd>,
    /// Where to mount; may be SOURCE itself, or `/dev/fd/N` for a FUSE descriptor that somebody else mounted.
    pub mountpoint: PathBuf,
    /// Who moves the bytes.
    pub io: IoMode,
    /// Refuse every change.
    pub read_only: bool,
    /// Let users other than the daemon's own in.
    pub allow_other: bool,
    /// FUSE threads; 0 chooses by the number of processors.
    pub threads: usize,
    /// More `-o` options for the kernel (`nosuid`, `nodev`, `noexec`, `suid`, `dev`, `noatime`, ...), one each.
    pub fuse_options: Vec<String>,
    /// A name directly below SOURCE that is neither listed nor reachable: the state directory. `.atlas` is always hidden.
    pub hidden: Option<PathBuf>,
}
