//! `atlas-fs umount`: asks the daemon to end, waits until it has, and clears away what has no daemon. Never looks into the mount while that could block.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use atlas_manifests::wire::{Ask, Say};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::detach::{KernelMount, MountPoint as _};
use super::pulse::{PATIENCE, Pulse, pulse};
use super::{mountinfo, places};
use crate::control::{Client, ClientError, sockets};
use crate::failure::{Failure, UNREACHABLE, shown};
use crate::options::UmountOptions;

/// A daemon that was not told a time takes its own, which is not known here: waited for so long at most.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// After it has detached, the kernel takes no longer to say so.
const SETTLE: Duration = Duration::from_secs(10);

/// Detaches the mount. `say` hears what was done beside what was asked.
///
/// # Errors
/// When it is no mount of ours, somebody holds it, or its daemon cannot be reached.
pub fn umount(options: &UmountOptions, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let point = places::mountpoint(&options.mountpoint)
        .map_err(|e| Failure::other(format!("{}: {e}", shown(&options.mountpoint))))?;
    let mount = find(&point)?;
    match daemon(&point) {
        Some((client, process)) => ask(client, process, options, &mount),
        None => without_daemon(&mount, options.force, say),
    }
}

fn find(point: &Path) -> Result<KernelMount, Failure> {
    let mounts =
        mountinfo::mounts().map_err(|e| Failure::other(format!("/proc: {e}: mount it")))?;
    match mountinfo::at(&mounts, point) {
        Some(m) if m.fs_type == mountinfo::FS_TYPE => Ok(KernelMount {
            point: point.to_owned(),
            id: m.id,
        }),
        Some(m) => Err(Failure::other(format!(
            "{}: mounted, but not by atlas-fs (it is {}): use umount",
            shown(point),
            m.fs_type
        ))),
        None => Err(Failure::other(format!(
            "{}: nothing is mounted there",
            shown(point)
        ))),
    }
}

/// A connection to the daemon that says it serves `point`. Sockets of the dead, the deaf and the others are passed over.
fn daemon(point: &Path) -> Option<(Client, Option<OwnedFd>)> {
    sockets().into_iter().find_map(|socket| {
        let mut client = Client::connect(&socket, PATIENCE).ok()?;
        match client.ask(Ask::Status) {
            Ok(Say::Status(status)) if status.mountpoint.as_path() == point => {
                Some((client, process(status.pid)))
            }
            _ => None,
        }
    })
}

/// A process, to be waited for. `None` when it is gone, or out of this pid namespace.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(pid.try_into().ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Waits for the process' end. The connection may close before: the daemon ends those that are silent for long.
fn gone(process: Option<&OwnedFd>, patience: Duration) {
    let Some(process) = process else { return };
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        let time = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut fds, Some(&time)) {
            Err(Errno::INTR) if !left.is_zero() => {}
            _ => return,
        }
    }
}

fn ask(
    mut client: Client,
    process: Option<OwnedFd>,
    options: &UmountOptions,
    mount: &KernelMount,
) -> Result<(), Failure> {
    let drain = options.drain.map(Duration::from_secs);
    let patience = drain.map_or(LONGEST, |d| {
        d.saturating_add(Duration::from_secs(120)).min(LONGEST)
    });
    let ask = Ask::Unmount {
        force: options.force,
        drain_ms: options.drain.map(|s| s.saturating_mul(1000)),
    };
    let answer = client.set_patience(patience).and_then(|()| client.ask(ask));
    match answer {
        Ok(Say::Error { text, code }) => return Err(Failure::new(code, text)),
        // The daemon ends when it has let go of everything, so that the next mount finds nothing locked.
        Ok(_) => {
            while client.reply().is_ok() {}
            gone(process.as_ref(), patience);
        }
        // It may have ended faster than it could answer: the mount table knows.
        Err(ClientError::Io(_) | ClientError::NotAReply(_)) => {}
    }
    let deadline = Instant::now() + SETTLE;
    while is_there(mount) {
        if Instant::now() >= deadline {
            return Err(Failure::new(
                UNREACHABLE,
                format!(
                    "{}: the daemon went away and left the mount: say --force",
                    shown(&mount.point)
                ),
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn is_there(mount: &KernelMount) -> bool {
    mountinfo::mounts().is_ok_and(|all| all.iter().any(|m| m.id == mount.id))
}

/// Nobody answers: a dead mount is cleared away, a deaf one only with force.
fn without_daemon(
    mount: &KernelMount,
    force: bool,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let point = shown(&mount.point);
    let alive = !force && pulse(&mount.point, PATIENCE).map_err(Failure::other)? != Pulse::Dead;
    if alive {
        return Err(Failure::new(
            UNREACHABLE,
            format!(
                "{point}: its daemon does not answer on a control socket that this user can reach: ask as the user who mounted it, or say --force"
            ),
        ));
    }
    mount
        .detach(true)
        .map_err(|e| Failure::other(format!("{point}: cannot be detached: {e}")))?;
    say(&format!("no daemon answered: detached {point}"));
    Ok(())
}

#[cfg(test)]
#[path = "umount_tests.rs"]
mod tests;
