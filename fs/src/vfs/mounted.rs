//! A live mount from outside: waiting for its end and bringing it about. Not the answering of requests.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::core::Vfs;
use super::inode::lock;
use super::options::Mode;
use crate::mount::detach::{KernelMount, MountPoint as _};

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
    /// The kernel's mount; `None` when somebody else mounted it and handed the descriptor over: it is theirs to unmount.
    mount: Option<KernelMount>,
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
        let resolved = resolved(&mountpoint);
        let mount = match given_descriptor(&mountpoint) {
            Some(_) => None,
            // Now, while the topmost mount there is the one that was just made.
            None => Some(KernelMount::find(&resolved)?),
        };
        let told = Arc::clone(&end);
        thread::Builder::new()
            .name("fuse-session".into())
            .spawn(move || {
                let result = run().map_err(|e| e.to_string());
                *lock(&told.result) = Some(result);
                told.reached.notify_all();
            })?;
        if vfs.io().mode == Mode::Inline {
            read_ahead(&resolved);
        }
        Ok(Self {
            vfs,
            mountpoint,
            mount,
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

    /// Unmounts this mount and no other at its place: nothing is done when it is gone. EBUSY while anything is open on it; `detach` takes the
    /// mount out of the tree at once and lets open files end by themselves. Returns before the last request is answered: `wait` does not.
    pub fn unmount(&self, detach: bool) -> io::Result<()> {
        match &self.mount {
            Some(mount) if !self.is_over() => mount.detach(detach),
            _ => Ok(()),
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

/// The N of a mount point `/dev/fd/N`: a FUSE descriptor that somebody else has mounted.
pub(crate) fn given_descriptor(mountpoint: &Path) -> Option<RawFd> {
    let n = mountpoint.strip_prefix("/dev/fd").ok()?;
    n.to_str()?.parse().ok()
}

/// As mountinfo names a mount point. Its last part is not looked at: that would be a request to ourselves.
fn resolved(mountpoint: &Path) -> PathBuf {
    let Some((parent, name)) = mountpoint.parent().zip(mountpoint.file_name()) else {
        return mountpoint.to_owned();
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    fs::canonicalize(parent).map_or_else(|_| mountpoint.to_owned(), |p| p.join(name))
}

/// Best effort: a mount without it works, slower. Found in mountinfo, because a stat would be a request to ourselves.
fn read_ahead(mountpoint: &Path) {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return;
    };
    if let Some(device) = device_of(&mounts, mountpoint)
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
