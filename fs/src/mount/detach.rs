//! Taking a mount out of the directory tree, and who stands in the way. The system calls of a mount's end; when it ends is `lifecycle`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::holders::{self, Holder};
use super::mountinfo;
use crate::failure::{plain, shown};

/// A place in the directory tree where something is mounted.
pub trait MountPoint {
    /// Takes the mount away: at once when nobody uses it, else `ResourceBusy`. `lazily`: out of sight now, gone with its last user.
    ///
    /// # Errors
    /// What the kernel said.
    fn detach(&self, lazily: bool) -> io::Result<()>;
    /// Who uses it, as far as this process may see.
    fn holders(&self) -> Vec<Holder>;
}

/// A mount in this process's mount namespace, named by the kernel's number for it.
#[derive(Debug, Clone)]
pub struct KernelMount {
    /// Where.
    pub point: PathBuf,
    /// `Mount::id`.
    pub id: u64,
}

impl KernelMount {
    /// The mount of ours that one sees at `point`.
    ///
    /// # Errors
    /// When /proc cannot be read, or nothing of ours is mounted there.
    pub fn find(point: &Path) -> io::Result<Self> {
        let mounts = mountinfo::mounts()?;
        mountinfo::at(&mounts, point)
            .filter(|m| m.fs_type == mountinfo::FS_TYPE)
            .map(|m| Self {
                point: point.to_owned(),
                id: m.id,
            })
            .ok_or_else(|| {
                io::Error::other(format!(
                    "{}: nothing of ours is mounted there",
                    shown(point)
                ))
            })
    }
}

impl MountPoint for KernelMount {
    fn detach(&self, lazily: bool) -> io::Result<()> {
        let mounts = mountinfo::mounts()?;
        if !mounts.iter().any(|m| m.id == self.id) {
            return Ok(());
        }
        // Detaching goes by path, and would take away whatever covers ours.
        if mountinfo::at(&mounts, &self.point).is_none_or(|m| m.id != self.id) {
            return Err(io::Error::other(
                "another mount covers it: unmount that first",
            ));
        }
        let mut flags = UnmountFlags::NOFOLLOW;
        if lazily {
            flags |= UnmountFlags::DETACH;
        }
        match unmount(&self.point, flags) {
            Err(Errno::PERM) => fusermount(&self.point, lazily),
            other => Ok(other?),
        }
    }

    fn holders(&self) -> Vec<Holder> {
        holders::of_mount(self.id)
    }
}

/// An ordinary user's way: the set-user-id helper of fuse3.
fn fusermount(point: &Path, lazily: bool) -> io::Result<()> {
    let flag = if lazily { "-uz" } else { "-u" };
    for program in ["fusermount3", "fusermount"] {
        let ran = Command::new(program)
            .arg(flag)
            .arg("--")
            .arg(point)
            .stdin(Stdio::null())
            .output();
        match ran {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = plain(String::from_utf8_lossy(&output.stderr).trim());
                if said.to_ascii_lowercase().contains("busy") {
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, said));
                }
                return Err(io::Error::other(said));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other(
        "only root can unmount without fusermount3: install fuse3",
    ))
}
