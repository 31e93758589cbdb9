//! Who holds a mount: processes with files open below it, or standing in it. Read from /proc, without a request to the mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::failure::plain;

/// So long somebody else's execve(2) is waited for: the kernel shows nothing of him meanwhile.
const EXECVE: Duration = Duration::from_millis(100);

/// One process that holds a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: i32,
    /// Its name, escaped.
    pub name: String,
    /// How it holds the mount, for example `cwd` or an open file's path, escaped.
    pub how: String,
}

/// Processes that hold the mount with the kernel's number `mount`, this one aside. Those that this user may not look into are missing.
pub fn of_mount(mount: u64) -> Vec<Holder> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id().cast_signed();
    let mut found: Vec<Holder> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| holds(pid, mount))
        .collect();
    found.sort_by_key(|h| h.pid);
    found
}

/// In words, for one line: at most three by name.
pub fn listed(holders: &[Holder]) -> String {
    let mut text: Vec<String> = holders
        .iter()
        .take(3)
        .map(|h| format!("{} (process {}: {})", h.name, h.pid, h.how))
        .collect();
    if holders.len() > 3 {
        text.push(format!("and {} more", holders.len() - 3));
    }
    text.join(", ")
}

/// The name of a process, escaped; `?` when it is gone.
pub fn name_of(pid: i32) -> String {
    fs::read(format!("/proc/{pid}/comm")).map_or_else(
        |_| "?".into(),
        |comm| plain(String::from_utf8_lossy(&comm).trim_end()),
    )
}

fn holds(pid: i32, mount: u64) -> Option<Holder> {
    // One that is held up inside execve(2), by whatever filesystem, would hold up the unmounting too; as a rule that is over in a moment.
    let until = Instant::now() + EXECVE;
    while crate::caller::replacing(pid) {
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let how = standing(&dir, mount).or_else(|| opened(&dir, mount))?;
    Some(Holder {
        pid,
        name: name_of(pid),
        how,
    })
}

fn standing(dir: &Path, mount: u64) -> Option<String> {
    ["cwd", "root", "exe"]
        .into_iter()
        .find(|link| mount_of(&dir.join(link)) == Some(mount))
        .map(String::from)
}

/// The mount that a link of /proc leads into. With AT_STATX_DONT_SYNC no filesystem is asked.
fn mount_of(link: &Path) -> Option<u64> {
    let found = statx(
        CWD,
        link,
        AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT,
        StatxFlags::MNT_ID,
    )
    .ok()?;
    Some(found.stx_mnt_id)
}

fn opened(dir: &Path, mount: u64) -> Option<String> {
    let infos = fs::read_dir(dir.join("fdinfo")).ok()?;
    for info in infos.flatten() {
        let Ok(text) = fs::read_to_string(info.path()) else {
            continue;
        };
        let id = text
            .lines()
            .find_map(|l| l.strip_prefix("mnt_id:"))
            .and_then(|id| id.trim().parse::<u64>().ok());
        if id == Some(mount) {
            let name = fs::read_link(dir.join("fd").join(info.file_name()));
            return Some(name.map_or_else(
                |_| "an open file".into(),
                |path| plain(&path.to_string_lossy()),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::mount::mountinfo;

    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn who_stands_in_a_mount_or_has_a_file_open_is_named() {
        let proc_mount = mountinfo::mounts().unwrap();
        let id = mountinfo::at(&proc_mount, Path::new("/proc")).unwrap().id;
        let standing = Ended(
            Command::new("sleep")
                .arg("600")
                .current_dir("/proc")
                .spawn()
                .unwrap(),
        );
        let open = Ended(
            Command::new("sleep")
                .arg("600")
                .stdin(Stdio::from(fs::File::open("/proc/uptime").unwrap()))
                .spawn()
                .unwrap(),
        );
        let found = of_mount(id);
        let by = |pid: u32| found.iter().find(|h| h.pid == pid.cast_signed()).unwrap();
        assert_eq!(by(standing.0.id()).how, "cwd");
        assert_eq!(by(open.0.id()).how, "/proc/uptime");
        assert!(
            !found
                .iter()
                .any(|h| h.pid == std::process::id().cast_signed())
        );
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let one = |pid| Holder {
            pid,
            name: "sh".into(),
            how: "cwd".into(),
        };
        let text = listed(&[one(1), one(2), one(3), one(4), one(5)]);
        assert!(text.starts_with("sh (process 1: cwd), "));
        assert!(text.ends_with("and 2 more"));
    }
}
