//! What must be true before a mount, with what to do about it when it is not. Changes nothing but a dead mount of ours, which it clears away.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::thread::CapabilitySet;

use super::detach::{KernelMount, MountPoint as _};
use super::places::Sites;
use super::pulse::{PATIENCE, Pulse, pulse};
use super::{links, mountinfo, places};
use crate::control::{Peer, socket_path};
use crate::failure::{Failure, shown};
use crate::mount::state;
use crate::options::{KernelFlags, MountOptions};

/// The inode of the initial pid namespace: `PROC_PID_INIT_INO` of linux/proc_ns.h.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// The look for hard links takes no longer.
const LINKS: Duration = Duration::from_millis(500);
/// So many dead mounts at one place are cleared away at most.
const DEAD: usize = 16;

/// What a mount stands on.
#[derive(Debug)]
pub struct Ground {
    /// SOURCE, canonical.
    pub source: PathBuf,
    /// SOURCE, opened before it is covered.
    pub source_fd: OwnedFd,
    /// The mount point, canonical.
    pub mountpoint: PathBuf,
    /// The mount covers SOURCE.
    pub in_place: bool,
    /// Asked for, or SOURCE cannot be written.
    pub read_only: bool,
    /// As asked, and never freer than the mount that SOURCE lies on.
    pub kernel: KernelFlags,
    /// State directory: absolute, perhaps not there yet.
    pub state: PathBuf,
    /// Likewise, when it was named.
    pub node_state: Option<PathBuf>,
    /// Likewise.
    pub authority: PathBuf,
    /// Likewise, when it was named.
    pub log_file: Option<PathBuf>,
    /// What a person should know, one line each.
    pub warnings: Vec<String>,
}

impl Ground {
    /// `path` as it can still be reached once the mount covers SOURCE: through the descriptor when it lies below a covered SOURCE.
    pub fn behind(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.source) {
            Ok(below) if self.in_place => {
                PathBuf::from(format!("/proc/self/fd/{}", self.source_fd.as_raw_fd())).join(below)
            }
            _ => path.to_owned(),
        }
    }
}

/// Checks everything. `say` hears of a dead mount that was cleared away.
///
/// # Errors
/// The first thing that stands in the way, and the remedy.
pub fn examine(options: &MountOptions, say: &mut dyn FnMut(&str)) -> Result<Ground, Failure> {
    pid_namespace(options.any_pid_namespace)?;
    fuse_device(Path::new("/dev/fuse"))?;
    privilege(options.allow_other)?;
    let mountpoint = places::mountpoint(&options.mountpoint)
        .map_err(|e| missing("mount point", &options.mountpoint, &e))?;
    let state = options
        .place
        .state
        .clone()
        .unwrap_or_else(|| options.source.join(".atlas"));
    clear_dead(&mountpoint, say)?;
    let found = state::source(&options.source)?;
    let (source, source_fd) = (found.path, found.fd);
    let resolve = |path: &Path| {
        places::planned(path).map_err(|e| Failure::other(format!("{}: {e}", shown(path))))
    };
    let state = resolve(&state)?;
    let node_state = options
        .place
        .node_state
        .as_deref()
        .map(resolve)
        .transpose()?;
    let authority = resolve(&state::authority_dir(options.place.authority.as_deref())?)?;
    let log_file = options.log_file.as_deref().map(resolve).transpose()?;
    let mounts =
        mountinfo::mounts().map_err(|e| Failure::other(format!("/proc: {e}: mount it")))?;
    not_ours(&mounts, &source, &mountpoint, &state)?;
    Sites {
        source: &source,
        mountpoint: Some(&mountpoint),
        state: &state,
        node_state: node_state.as_deref(),
        authority: &authority,
        log_file: log_file.as_deref(),
    }
    .check()?;
    let same = usable(&mountpoint, &source_fd)?;
    let in_place = mountpoint == source;
    let flags = rustix::fs::fstatvfs(&source_fd)
        .map_err(|e| Failure::other(format!("{}: {e}", shown(&source))))?
        .f_flag;
    let mut warnings = Vec::new();
    if in_place || same {
        warnings.extend(ways_around(&mounts, &source, &mountpoint));
    }
    Ok(Ground {
        in_place,
        read_only: options.read_only || flags.contains(StatVfsMountFlags::RDONLY),
        kernel: inherit(options.kernel, flags),
        source,
        source_fd,
        mountpoint,
        state,
        node_state,
        authority,
        log_file,
        warnings,
    })
}

/// Process ids in requests mean something only in the initial namespace, or when all callers share ours.
fn pid_namespace(any: bool) -> Result<(), Failure> {
    let own = fs::read_link("/proc/self/ns/pid")
        .map_err(|e| Failure::other(format!("/proc/self/ns/pid: {e}: mount /proc")))?;
    if any || own == Path::new(INITIAL_PID_NAMESPACE) {
        return Ok(());
    }
    Err(Failure::other(
        "not in the initial pid namespace: callers outside this one could not be told apart; mount on the host, or say --any-pid-namespace",
    ))
}

fn fuse_device(device: &Path) -> Result<(), Failure> {
    let is_device = fs::metadata(device).is_ok_and(|m| m.file_type().is_char_device());
    if !is_device {
        return Err(Failure::other(format!(
            "no {}: load the kernel's fuse module (modprobe fuse), or give this container the device (--device /dev/fuse)",
            shown(device)
        )));
    }
    match File::options().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(e) => Err(Failure::other(format!(
            "{}: {e}: it must be readable and writable for this user (chmod 666 is usual)",
            shown(device)
        ))),
    }
}

/// Root's capability, or the set-user-id helper and what it allows.
fn privilege(allow_other: bool) -> Result<(), Failure> {
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|c| c.effective.contains(CapabilitySet::SYS_ADMIN));
    if capable {
        return Ok(());
    }
    let helper = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|dir| dir.join("fusermount3").is_file() || dir.join("fusermount").is_file())
    });
    if !helper {
        return Err(Failure::other(
            "mounting needs CAP_SYS_ADMIN, or the helper fusermount3: run as root, or install fuse3",
        ));
    }
    let allowed = fs::read_to_string("/etc/fuse.conf")
        .is_ok_and(|text| text.lines().any(|l| l.trim() == "user_allow_other"));
    if allow_other && !allowed {
        return Err(Failure::other(
            "--allow-other: root must first add the line `user_allow_other` to /etc/fuse.conf",
        ));
    }
    Ok(())
}

/// Detaches mounts of ours at `point` whose daemon is gone.
fn clear_dead(point: &Path, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    for _ in 0..DEAD {
        let Ok(found) = KernelMount::find(point) else {
            return Ok(());
        };
        match pulse(point, PATIENCE).map_err(Failure::other)? {
            Pulse::Dead => {}
            Pulse::Answers => return Ok(()),
            Pulse::Silent => {
                return Err(Failure::other(format!(
                    "{}: a mount is there whose daemon does not answer: `atlas-fs umount --force` it first",
                    shown(point)
                )));
            }
        }
        found.detach(true).map_err(|e| {
            Failure::other(format!(
                "{}: a dead mount is in the way and cannot be detached: {e}",
                shown(point)
            ))
        })?;
        say(&format!("detached the dead mount at {}", shown(point)));
    }
    Ok(())
}

/// Refuses a second mount of one state, one inside a mount of ours, and one over a mount of ours.
fn not_ours(
    mounts: &[mountinfo::Mount],
    source: &Path,
    point: &Path,
    state: &Path,
) -> Result<(), Failure> {
    if let Some(pid) = serving(state) {
        return Err(taken(source, pid));
    }
    for (path, word) in [(point, "mount point"), (source, "source")] {
        if mountinfo::covering(mounts, path).is_some_and(|m| m.fs_type == mountinfo::FS_TYPE) {
            return Err(Failure::other(format!(
                "{}: the {word} lies in an Atlas mount: `atlas-fs umount` that first, or choose another place",
                shown(path)
            )));
        }
    }
    Ok(())
}

/// A state has one daemon, which after an unmount goes on until what is queued is sealed.
pub(super) fn taken(source: &Path, pid: impl std::fmt::Display) -> Failure {
    Failure::other(format!(
        "{} is mounted already by process {pid}: use that mount, or `atlas-fs umount` it first (if that is done, wait: it seals what is queued)",
        shown(source)
    ))
}

/// The process that serves the control socket of this state.
fn serving(state: &Path) -> Option<i32> {
    let stream = UnixStream::connect(socket_path(state)).ok()?;
    Peer::of(&stream).ok().map(|peer| peer.pid)
}

/// The mount point is a directory, and empty or SOURCE itself; the latter is told.
fn usable(point: &Path, source: &OwnedFd) -> Result<bool, Failure> {
    let found = fs::metadata(point).map_err(|e| missing("mount point", point, &e))?;
    if !found.is_dir() {
        return Err(Failure::other(format!(
            "{}: the mount point is not a directory",
            shown(point)
        )));
    }
    let source = rustix::fs::fstat(source).map_err(Failure::other)?;
    if (found.dev(), found.ino()) == (source.st_dev, source.st_ino) {
        return Ok(true);
    }
    let mut entries =
        fs::read_dir(point).map_err(|e| Failure::other(format!("{}: {e}", shown(point))))?;
    if entries.next().is_some() {
        return Err(Failure::other(format!(
            "{}: the mount point is not empty, and the mount would hide what it holds: choose an empty directory, or SOURCE itself",
            shown(point)
        )));
    }
    Ok(false)
}

/// Where the backing files of a covered SOURCE can still be reached by name.
fn ways_around(mounts: &[mountinfo::Mount], source: &Path, point: &Path) -> Vec<String> {
    let mut warnings: Vec<String> = mountinfo::other_ways(mounts, source)
        .iter()
        .filter(|way| *way != point)
        .take(3)
        .map(|way| {
            format!(
                "{} also shows files of {}: what a job does there is not seen",
                shown(way),
                shown(source)
            )
        })
        .collect();
    let links = links::leaving(source, LINKS);
    if let Some(example) = links.example {
        warnings.push(format!(
            "{} files have names outside {} too (one is {}): what a job does there is not seen",
            links.leaving,
            shown(source),
            shown(&example)
        ));
    }
    warnings
}

/// What SOURCE's own mount forbids stays forbidden.
fn inherit(asked: KernelFlags, flags: StatVfsMountFlags) -> KernelFlags {
    KernelFlags {
        nosuid: asked.nosuid || flags.contains(StatVfsMountFlags::NOSUID),
        nodev: asked.nodev || flags.contains(StatVfsMountFlags::NODEV),
        noexec: asked.noexec || flags.contains(StatVfsMountFlags::NOEXEC),
        noatime: asked.noatime || flags.contains(StatVfsMountFlags::NOATIME),
        ..asked
    }
}

fn missing(what: &str, path: &Path, error: &io::Error) -> Failure {
    let path = shown(path);
    Failure::other(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{path}: the {what} does not exist: make it with `mkdir -p`")
        }
        io::ErrorKind::NotADirectory => format!("{path}: the {what} is not a directory"),
        _ => format!("{path}: the {what} cannot be used: {error}"),
    })
}

/// Opens a directory for reading.
pub(super) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
