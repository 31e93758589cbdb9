//! As whom the daemon acts on the backing store. Not who may do what: that the kernel decides before a request is sent.
//!
//! The connection has `default_permissions` and POSIX ACLs, so the kernel has checked mode bits, ACLs, supplementary groups, sticky bits and
//! capabilities against the real caller. What is left is that new objects belong to the caller, and that set-id bits go where the caller lacks
//! CAP_FSETID. A thread therefore creates with the caller's filesystem ids and all its own capabilities, and otherwise works as itself without
//! CAP_FSETID. Supplementary groups matter in one place only: setting an ACL on a set-group-id file.
//!
//! One difference from a plain directory is left, on purpose: in passthrough the kernel writes with the credentials of the thread that registered
//! the file, which all its writers share. They are without CAP_FSETID, so a write takes set-id bits away even when root writes.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::observer::Caller;
use super::sys;

thread_local! {
    static READY: Cell<bool> = const { Cell::new(false) };
}

/// The process's capabilities at start, or `None` for a daemon that cannot change identity.
fn permitted() -> Option<CapabilitySets> {
    static SETS: OnceLock<Option<CapabilitySets>> = OnceLock::new();
    *SETS.get_or_init(|| {
        let sets = rustix::thread::capabilities(None).ok()?;
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::DAC_OVERRIDE;
        sets.permitted.contains(needed).then_some(sets)
    })
}

/// True when files can be made in the caller's name.
pub(crate) fn can_impersonate() -> bool {
    permitted().is_some()
}

fn set_effective(fsetid: bool) {
    if let Some(mut sets) = permitted() {
        sets.effective = sets.permitted;
        if !fsetid {
            sets.effective.remove(CapabilitySet::FSETID);
        }
        if let Err(e) = rustix::thread::set_capabilities(None, sets) {
            tracing::error!("cannot set the thread's capabilities: {e}");
        }
    }
}

/// Prepares the current thread once: its own umask (0), and no CAP_FSETID.
pub(crate) fn prepare_thread() {
    if READY.get() {
        return;
    }
    READY.set(true);
    match sys::own_umask() {
        Ok(()) => sys::umask(0),
        Err(e) => tracing::warn!("cannot give a thread its own umask: {e}"),
    }
    set_effective(false);
}

/// What the thread becomes for the length of one call; it is itself again when this is dropped.
pub(crate) struct As {
    ids: bool,
    groups: bool,
}

impl As {
    /// The caller as owner of what is made, under its umask.
    pub(crate) fn creator(caller: Caller, umask: u32) -> Self {
        prepare_thread();
        sys::umask(umask & 0o777);
        if !can_impersonate() {
            return Self {
                ids: false,
                groups: false,
            };
        }
        let ids = caller.uid != 0 || caller.gid != 0;
        if ids {
            sys::set_fs_ids(caller.uid, caller.gid);
        }
        set_effective(true);
        Self { ids, groups: false }
    }

    /// The daemon itself, with CAP_FSETID exactly when the caller is the superuser.
    pub(crate) fn changer(caller: Caller) -> Self {
        prepare_thread();
        if caller.uid == 0 {
            set_effective(true);
        }
        Self {
            ids: false,
            groups: false,
        }
    }

    /// Who changes length, allocation or owner of a file of this mode. Where a set-group-id bit without group execution is at stake, which the store
    /// leaves only to members of the group, that is the caller with its groups.
    pub(crate) fn group_aware(caller: Caller, perm: u16) -> Self {
        if u32::from(perm) & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID {
            Self::member(caller)
        } else {
            Self::changer(caller)
        }
    }

    /// The daemon with every capability: the kernel has already taken away what the caller may not set.
    pub(crate) fn trusted() -> Self {
        prepare_thread();
        set_effective(true);
        Self {
            ids: false,
            groups: false,
        }
    }

    /// The caller with its groups but without CAP_FSETID: the store itself decides about the set-group-id bit.
    pub(crate) fn member(caller: Caller) -> Self {
        if caller.uid == 0 || !can_impersonate() {
            return Self::changer(caller);
        }
        prepare_thread();
        let groups = supplementary(caller.tid.0).unwrap_or_default();
        let groups = sys::set_groups(&groups).is_ok();
        sys::set_fs_ids(caller.uid, caller.gid);
        set_effective(false);
        Self { ids: true, groups }
    }
}

impl Drop for As {
    fn drop(&mut self) {
        if self.ids {
            sys::set_fs_ids(
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            );
        }
        if self.groups
            && let Err(e) = sys::set_groups(own_groups())
        {
            tracing::error!("cannot take back the daemon's own groups: {e}");
        }
        set_effective(false);
    }
}

/// The groups the daemon started with.
fn own_groups() -> &'static [u32] {
    static GROUPS: OnceLock<Vec<u32>> = OnceLock::new();
    GROUPS.get_or_init(|| supplementary(rustix::process::getpid().as_raw_pid()).unwrap_or_default())
}

/// Remembers what the daemon is before any thread changes it.
pub(crate) fn remember() {
    permitted();
    own_groups();
}

/// The `Groups:` line of `/proc/TID/status`.
fn supplementary(tid: i32) -> io::Result<Vec<u32>> {
    let status = std::fs::read(format!("/proc/{tid}/status"))?;
    Ok(parse_groups(&String::from_utf8_lossy(&status)))
}

fn parse_groups(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|l| l.strip_prefix("Groups:"));
    line.unwrap_or_default()
        .split_whitespace()
        .filter_map(|g| g.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_status_line() {
        assert_eq!(
            parse_groups("Name:\tx\nGroups:\t4 24 1000 \nKthread:\t0\n"),
            [4, 24, 1000]
        );
        assert!(parse_groups("Groups:\t\n").is_empty());
        assert!(parse_groups("").is_empty());
    }
}
