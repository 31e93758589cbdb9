//! A cgroup of its own for one run, where we may make one. What the run means by it is the daemon's business.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A cgroup that this process has moved into; children are born there. Left and removed when dropped, unless somebody still lives in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// Where it is in the filesystem.
    dir: PathBuf,
    /// Where this process was before.
    home: PathBuf,
    /// Its path below the cgroup2 root.
    pub path: String,
}

impl Cgroup {
    /// Makes a cgroup below our own and moves into it; `None` where that is not allowed, or there is no cgroup2.
    pub(crate) fn enter() -> Option<Self> {
        let memberships = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own_path(&memberships)?;
        let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        let name = format!("atlas-run-{}", std::process::id());
        let home = mount.join(own.trim_start_matches('/'));
        let dir = home.join(&name);
        fs::create_dir(&dir).ok()?;
        // From here on the directory is removed again whatever happens.
        let cgroup = Self {
            path: format!("{}/{name}", own.trim_end_matches('/')),
            dir,
            home,
        };
        move_into(&cgroup.dir).ok()?;
        Some(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A daemonised heir keeps it alive (EBUSY): then it belongs to that one.
        let _ = move_into(&self.home).and_then(|()| fs::remove_dir(&self.dir));
    }
}

/// `0` is whoever writes it.
fn move_into(dir: &Path) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(dir.join("cgroup.procs"))
        .and_then(|mut f| io::Write::write_all(&mut f, b"0"))
}

/// The unified hierarchy's line of `/proc/PID/cgroup`.
fn own_path(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|l| l.strip_prefix("0::"))?;
    // Outside our cgroup namespace nothing can be named.
    (path.starts_with('/') && !path.starts_with("/..")).then_some(path)
}

/// Where the whole of cgroup2, as our namespace sees it, is mounted: `/proc/PID/mountinfo`, proc(5).
fn mount_point(text: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let ours = filesystem.starts_with("cgroup2 ") && root == "/" && !point.contains('\\');
        ours.then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_line_is_found_among_the_old_ones() {
        assert_eq!(
            own_path("12:cpu:/x\n0::/user.slice/a\n"),
            Some("/user.slice/a")
        );
        assert_eq!(own_path("12:cpu:/x\n"), None);
        assert_eq!(own_path("0::/../b\n"), None);
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_taken_for_its_root() {
        let line = |root: &str| {
            format!("30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup rw\n")
        };
        assert_eq!(
            mount_point(&line("/")),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(mount_point(&line("/kubepods")), None);
        assert_eq!(mount_point("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"), None);
    }
}
