//! A live mount from outside: waiting for its end and bringing it about. Not the answering of requests.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::core::Vfs;
use super::inode::lock;
use super::options::Mode;
use crate::mount::mountinfo;

/// Read-ahead of an inline mount in KiB: the kernel's default of 128 leaves sequential reads at a third of what they can be.
const READ_AHEAD: &str = "1024";

struct End {
    result: Mutex<Option<Result<(), String>>>,
    reached: Condvar,
}

/// A live mount. Dropping it detaches the mount if nobody has unmounted it.
pub struct Mounted {
    vfs: Arc<Vfs>,
    mountpoint: PathBuf,
    end: Arc<End>,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounted")
            .field("mountpoint", &self.mountpoint)
            .finish_non_exhaustive()
    }
}

impl Mounted {
    /// Lets `run` answer requests on a thread of its own.
    pub(crate) fn start(
        vfs: Arc<Vfs>,
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let end = Arc::new(End {
            result: Mutex::new(None),
            reached: Condvar::new(),
        });
        let mountpoint = vfs.mountpoint.clone();
        let told = Arc::clone(&end);
        thread::Builder::new()
            .name("fuse-session".into())
            .spawn(move || {
                let result = run().map_err(|e| e.to_string());
                *lock(&told.result) = Some(result);
                told.reached.notify_all();
            })?;
        if vfs.io().mode == Mode::Inline {
            read_ahead(&mountpoint);
        }
        Ok(Self {
            vfs,
            mountpoint,
            end,
        })
    }

    /// The filesystem that is mounted.
    pub fn vfs(&self) -> &Arc<Vfs> {
        &self.vfs
    }

    /// Waits until the mount is gone, however that came about.
    pub fn wait(&self) -> io::Result<()> {
        let mut result = lock(&self.end.result);
        loop {
            if let Some(result) = &*result {
                return result.clone().map_err(io::Error::other);
            }
            result = match self.end.reached.wait(result) {
                Ok(result) => result,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// True when the mount is gone.
    pub fn is_over(&self) -> bool {
        lock(&self.end.result).is_some()
    }

    /// Unmounts. EBUSY while anything is open on it; `detach` takes the mount out of the tree at once and lets open files end by themselves.
    /// Returns before the last request is answered: `wait` does not.
    pub fn unmount(&self, detach: bool) -> io::Result<()> {
        if self.is_over() || !is_ours(&self.mountpoint) {
            return Ok(());
        }
        let mut flags = UnmountFlags::NOFOLLOW;
        if detach {
            flags |= UnmountFlags::DETACH;
        }
        match rustix::mount::unmount(&self.mountpoint, flags) {
            Err(Errno::PERM) => by_helper(&self.mountpoint, detach),
            // Somebody else was faster.
            Err(Errno::INVAL) => Ok(()),
            done => Ok(done?),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(e) = self.unmount(true) {
            tracing::warn!("cannot detach {}: {e}", self.mountpoint.display());
        }
    }
}

/// Unmounting goes by path: once ours is gone, what is there is the filesystem that it covered, and not ours to take away.
fn is_ours(mountpoint: &Path) -> bool {
    let Ok(mounts) = mountinfo::mounts() else {
        return false;
    };
    mountinfo::at(&mounts, mountpoint).is_some_and(|m| m.fs_type == mountinfo::FS_TYPE)
}

/// Users unmount through the setuid helper.
fn by_helper(mountpoint: &Path, detach: bool) -> io::Result<()> {
    let mut helper = Command::new("fusermount3");
    helper.arg("-u");
    if detach {
        helper.arg("-z");
    }
    let output = helper
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(said.trim().escape_debug().to_string()))
}

/// The N of a mount point `/dev/fd/N`: a FUSE descriptor that somebody else has mounted.
pub(crate) fn given_descriptor(mountpoint: &Path) -> Option<RawFd> {
    let n = mountpoint.strip_prefix("/dev/fd").ok()?;
    n.to_str()?.parse().ok()
}

/// Best effort: a mount without it works, slower. Found in mountinfo, because a stat would be a request to ourselves.
fn read_ahead(mountpoint: &Path) {
    let Ok(mountpoint) = mountpoint.parent().map_or_else(
        || Ok(mountpoint.to_owned()),
        |parent| {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            let name = mountpoint.file_name().unwrap_or_default();
            fs::canonicalize(parent).map(|p| p.join(name))
        },
    ) else {
        return;
    };
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return;
    };
    if let Some(device) = device_of(&mounts, &mountpoint)
        && let Err(e) = fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), READ_AHEAD)
    {
        tracing::debug!("read-ahead stays at its default: {e}");
    }
}

/// `major:minor` of the topmost mount at a path.
fn device_of(mountinfo: &str, mountpoint: &Path) -> Option<String> {
    let wanted = mountpoint.to_str()?;
    let found = mountinfo.lines().rev().find(|line| {
        let place = line.split(' ').nth(4).unwrap_or_default();
        unescape(place) == wanted
    })?;
    Some(found.split(' ').nth(2)?.to_owned())
}

/// mountinfo writes space, tab, newline and backslash in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_of_two_mounts_at_a_place_is_ours() {
        let info = "36 35 98:0 / /mnt/a\\040b rw - ext4 /dev/x rw\n\
                    37 35 0:52 / /mnt/a\\040b rw - fuse.atlas s rw\n";
        let device = device_of(info, Path::new("/mnt/a b"));
        assert_eq!(device.as_deref(), Some("0:52"));
        assert_eq!(device_of(info, Path::new("/mnt")), None);
    }

    #[test]
    fn only_a_numbered_descriptor_is_a_given_one() {
        assert_eq!(given_descriptor(Path::new("/dev/fd/7")), Some(7));
        assert_eq!(given_descriptor(Path::new("/dev/fd/x")), None);
        assert_eq!(given_descriptor(Path::new("/mnt")), None);
    }
}
