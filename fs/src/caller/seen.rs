//! What was seen of a process while it waited for our answer. Plain data; the heavy facts are `program`'s.

use std::path::Path;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::Confined;

use super::{ProcessKey, ancestry};

/// A process as it was at its first touch, or after its last execve(2).
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which process.
    pub key: ProcessKey,
    /// The name that the kernel knows it by, at most 15 bytes that it can choose itself.
    pub comm: Vec<u8>,
    /// Its executable, told from where its mount namespace begins; `None` when it may not be read.
    pub exe: Option<PathBytes>,
    /// What the kernel remembered of that file, so that another one at the same path is not taken for it.
    pub exe_identity: Option<FileIdentity>,
    /// Its arguments, with what looks like a secret replaced.
    pub argv: Vec<PathBytes>,
    /// Its working directory, told likewise.
    pub cwd: Option<PathBytes>,
    /// Its root directory, told likewise; a chroot(2) leads away from where the namespace begins.
    pub(crate) root: Option<PathBytes>,
    /// Names of its environment's variables at execve(2), sorted. Never values.
    pub env_names: Vec<String>,
    /// `PATH`, to find which interpreter was asked for. Not for any record.
    pub(crate) search: Option<Vec<u8>>,
    /// Filesystem user id.
    pub uid: u32,
    /// Filesystem group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Effective capabilities.
    pub(crate) effective: u64,
    /// It sees the same files under the same names as the daemon: same mount namespace, same root.
    pub(crate) same_files: bool,
    /// Whether its capabilities count where the daemon lives; `None` when that cannot be told.
    pub(crate) same_users: Option<bool>,
}

impl Seen {
    /// Whether it could have reached the backing files beside the daemon, as far as its capabilities tell.
    pub fn confined(&self) -> Confined {
        // CAP_DAC_READ_SEARCH (open_by_handle_at), CAP_SYS_PTRACE (other processes' descriptors), CAP_SYS_ADMIN (mounts).
        const AROUND: u64 = 1 << 2 | 1 << 19 | 1 << 21;
        match self.same_users {
            _ if self.effective & AROUND == 0 => Confined::Confined,
            Some(true) => Confined::Root,
            // Root in a user namespace of its own has no power over ours.
            Some(false) => Confined::Confined,
            None => Confined::Open,
        }
    }

    /// The same with its executable and its working directory told from its own root, as it would tell them. What lies outside of that
    /// has no such name.
    pub(crate) fn told_from_its_root(&self) -> Self {
        let root = self.root.as_ref().map_or(Path::new("/"), |r| r.as_path());
        let told = |path: &PathBytes| {
            let below = path.as_path().strip_prefix(root).ok()?;
            Some(PathBytes::from(Path::new("/").join(below)))
        };
        Self {
            exe: self.exe.as_ref().and_then(told),
            cwd: self.cwd.as_ref().and_then(told),
            ..self.clone()
        }
    }

    /// True for a shell.
    pub(crate) fn is_shell(&self) -> bool {
        let exe = self.exe.as_ref().map(|e| e.0.as_slice());
        ancestry::is_shell(self.key, &self.comm, exe)
    }

    /// Base name of the program: of the executable, else the name that the kernel knows.
    pub fn program(&self) -> String {
        match &self.exe {
            Some(exe) => {
                let base = exe.base_name();
                String::from_utf8_lossy(base.strip_suffix(b" (deleted)").unwrap_or(base))
                    .into_owned()
            }
            None => String::from_utf8_lossy(&self.comm).into_owned(),
        }
    }
}
