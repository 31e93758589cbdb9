//! Keeps what the process holds in memory from those who could read it from outside: no core dump, no ptrace, no /proc/PID/mem, root excepted.
//! Not the place where keys lie: that is `atlas_manifests::vault`.
//!
//! When a process changes its credentials, as the daemon of root does for its callers, the kernel sets it to `fs.suid_dumpable`: 0, or 2, with
//! which a crash goes to a pipe or an absolute path, for root (1 is for debugging and says of itself that it is insecure). RLIMIT_CORE stops a
//! file, not a pipe. From either the vault's pages are left out.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Makes this process unreadable for other processes of its user, and its crash leave no core file. Children of fork are the same; a program
/// that is executed is readable again, but writes no core.
///
/// From then on root owns this process' files under /proc: other processes of an ordinary user see no more of it than anybody does.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub(crate) fn keep_memory_private() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "ATLAS_TEST_SECRECY_CHILD";

    #[test]
    fn a_process_that_keeps_its_memory_private_still_finds_itself_and_dumps_nothing() {
        if std::env::var_os(CHILD).is_some() {
            keep_memory_private().unwrap();
            assert!(matches!(
                rustix::process::dumpable_behavior(),
                Ok(DumpableBehavior::NotDumpable)
            ));
            assert_eq!(rustix::process::getrlimit(Resource::Core).maximum, Some(0));
            // What the daemon reads of itself.
            for own in ["stat", "status", "mountinfo", "uid_map", "cgroup", "maps"] {
                std::fs::read(format!("/proc/self/{own}")).unwrap();
            }
            let null = std::fs::File::open("/dev/null").unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&null);
            for link in [&format!("fd/{fd}"), "ns/pid", "cwd", "exe", "root"] {
                std::fs::read_link(format!("/proc/self/{link}")).unwrap();
            }
            std::fs::File::open(format!("/proc/self/fd/{fd}")).unwrap();
            std::fs::read_dir("/proc/self/fd").unwrap();
            return;
        }
        // In a process of its own, because it cannot be undone; of an ordinary user where this one is root, for root may look at everything.
        let me = std::env::current_exe().unwrap();
        let name = std::thread::current().name().unwrap().to_owned();
        let test = |mut command: Command| {
            let done = command
                .args(["--exact", &name])
                .env(CHILD, "1")
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
            assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
        };
        test(Command::new(&me));
        if rustix::process::geteuid().is_root() {
            use std::os::unix::process::CommandExt as _;
            // Where an ordinary user can execute it.
            let dir = tempfile::tempdir().unwrap();
            let copy = dir.path().join("test");
            std::fs::copy(&me, &copy).unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            for path in [dir.path(), &copy] {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            let mut ordinary = Command::new(&copy);
            ordinary.uid(65534).gid(65534);
            test(ordinary);
        }
    }
}
