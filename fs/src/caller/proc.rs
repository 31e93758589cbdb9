//! Reading /proc: the edge between the kernel and the decisions. Nothing is decided here.
//!
//! The kernel waits for an execve(2) under way before it shows `stat` or a link of a process, and that execve may wait for us: of anybody
//! but the caller of the request at hand, who is not in one (`replacing` tells), they are read with a bound only (`memory`).
//!
//! No call opens, walks or stats a path of the job: links are read as text, and the one stat of an executable asks the
//! kernel for what it has cached, so that none of it can become a request to our own mount.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::rows::FileIdentity;
use rustix::fs::{AtFlags, CWD, StatxFlags, readlinkat, statx};

use super::ancestry::{Ancestor, Snapshot};
use super::parse::{self, Memory, Stat, Status};
use super::pipes::End;
use super::seen::Seen;
use super::{ProcessKey, Tgid, Tid, argv, cgroup, memory};

/// No /proc text is read beyond this: a command line may be 2 MiB.
const MAX_TEXT: u64 = 64 << 10;
/// No chain of ancestors is followed further.
const MAX_DEPTH: usize = 64;
/// Descriptors looked at in one process when pipes are sought.
const MAX_FDS: usize = 256;
/// A pipeline's processes are forked within moments: brothers are sought among pids no further away.
const NEAR: i32 = 1024;

pub(super) fn read(path: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1024);
    std::fs::File::open(path)
        .and_then(|f| f.take(MAX_TEXT).read_to_end(&mut out))
        .ok()?;
    Some(out)
}

fn link(path: &str) -> Option<Vec<u8>> {
    readlinkat(CWD, path, Vec::new())
        .ok()
        .map(std::ffi::CString::into_bytes)
}

/// Of a process or a thread, whoever it is.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    memory::ask(pid, move || callers_stat(pid))
}

/// Of who waits for our answer. A thread's own line: the sums over a whole group cost a hundred times more in a large one.
pub(crate) fn callers_stat(pid: i32) -> Option<Stat> {
    parse::stat(&read(&format!("/proc/{pid}/task/{pid}/stat"))?)
}

/// Which memory a process or thread has. The kernel shows it at any time: never waits.
pub(crate) fn memory_of(pid: i32) -> Option<Memory> {
    parse::memory(&read(&format!("/proc/{pid}/statm"))?)
}

/// True in the middle of execve(2), when the old program is gone, the new one is not there, and what was marked close-on-exec is being
/// closed.
pub(crate) fn replacing(pid: i32) -> bool {
    memory_of(pid) == Some(Memory::Replaced)
}

/// Of a process that waits for our answer, with the exit code of the whole group.
pub(crate) fn group_stat(tgid: Tgid) -> Option<Stat> {
    parse::stat(&read(&format!("/proc/{}/stat", tgid.0))?)
}

pub(crate) fn status(pid: i32) -> Option<Status> {
    parse::status(&read(&format!("/proc/{pid}/status"))?)
}

/// The process that has this pid now.
pub(crate) fn key(tgid: i32) -> Option<ProcessKey> {
    stat(tgid).map(|s| ProcessKey {
        tgid: Tgid(tgid),
        start: s.start,
    })
}

/// The process of a thread that waits for our answer, and the thread's own start.
pub(crate) fn process_of(tid: Tid) -> Option<(ProcessKey, u64)> {
    let tgid = status(tid.0)?.tgid;
    let own = callers_stat(tid.0)?.start;
    let start = if tgid == tid.0 {
        own
    } else {
        callers_stat(tgid)?.start
    };
    Some((
        ProcessKey {
            tgid: Tgid(tgid),
            start,
        },
        own,
    ))
}

/// True when a process whose leader is a zombie has other threads.
pub(crate) fn has_threads(tgid: i32) -> bool {
    std::fs::read_dir(format!("/proc/{tgid}/task")).is_ok_and(|d| d.count() > 1)
}

/// Field 52 is 0 for readers that may not trace the process: only root can be sure.
pub(crate) fn may_see_exit_code() -> bool {
    rustix::process::geteuid().is_root()
}

/// Executable and arguments now: they change at execve(2) while pid and start time stay. `None` when they cannot be read, as in
/// a process that is exiting.
pub(crate) fn program(tgid: Tgid) -> Option<(Option<PathBytes>, Vec<PathBytes>)> {
    let (text, exe) = memory::ask(tgid.0, move || {
        let text = read(&format!("/proc/{}/cmdline", tgid.0))?;
        Some((text, link(&format!("/proc/{}/exe", tgid.0))))
    })?;
    let arguments = parse::pieces(&text);
    if exe.is_none() && arguments.is_empty() {
        return None;
    }
    Some((exe.map(PathBytes), argv::redact(&arguments)))
}

/// All that is kept of a process, taken while it waits for our answer.
///
/// `uid` and `gid` are those of the request: nothing may ever be read as root because a process was gone too soon.
pub(crate) fn seen(key: ProcessKey, uid: u32, gid: u32) -> Seen {
    let pid = key.tgid.0;
    let status = status(pid).unwrap_or(Status {
        fsuid: uid,
        fsgid: gid,
        ..Status::default()
    });
    let raw = memory::read(pid, "cmdline")
        .map(|c| parse::pieces(&c))
        .unwrap_or_default();
    let environment = memory::read(pid, "environ").unwrap_or_default();
    let search = parse::pieces(&environment)
        .into_iter()
        .find_map(|e| e.strip_prefix(b"PATH=").map(<[u8]>::to_vec));
    let places = memory::ask(pid, move || Some(places(pid))).unwrap_or_default();
    let same = |theirs: Option<&Vec<u8>>, what: &str| {
        Some(*theirs? == link(&format!("/proc/self/{what}"))?)
    };
    let [mounts, users] = [0, 1].map(|n| places.namespaces[n].as_ref());
    let same_files =
        same(mounts, "ns/mnt") == Some(true) && same(places.root.as_ref(), "root") == Some(true);
    Seen {
        key,
        comm: places.comm,
        exe: places.exe.map(PathBytes),
        exe_identity: places.exe_identity,
        argv: argv::redact(&raw),
        cwd: places.cwd.map(PathBytes),
        env_names: parse::env_names(&environment),
        search,
        uid: status.fsuid,
        gid: status.fsgid,
        groups: status.groups,
        effective: status.effective,
        same_files,
        same_users: same(users, "ns/user"),
        root: places.root.map(PathBytes),
    }
}

/// What the links of a process lead to.
#[derive(Default)]
struct Places {
    comm: Vec<u8>,
    exe: Option<Vec<u8>>,
    exe_identity: Option<FileIdentity>,
    cwd: Option<Vec<u8>>,
    root: Option<Vec<u8>>,
    /// Of mounts, of users.
    namespaces: [Option<Vec<u8>>; 2],
}

fn places(pid: i32) -> Places {
    let exe = format!("/proc/{pid}/exe");
    Places {
        comm: callers_stat(pid).map(|s| s.comm).unwrap_or_default(),
        exe: link(&exe),
        exe_identity: cached_identity(&exe),
        cwd: link(&format!("/proc/{pid}/cwd")),
        root: link(&format!("/proc/{pid}/root")),
        namespaces: ["mnt", "user"].map(|what| link(&format!("/proc/{pid}/ns/{what}"))),
    }
}

/// What the kernel remembers of a file's identity, without asking its filesystem.
pub(crate) fn cached_identity(path: &str) -> Option<FileIdentity> {
    let s = statx(
        CWD,
        path,
        AtFlags::STATX_DONT_SYNC,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )
    .ok()?;
    Some(identity(&s))
}

/// A statx answer in the index' words.
pub(crate) fn identity(s: &rustix::fs::Statx) -> FileIdentity {
    let ns = |t: rustix::fs::StatxTimestamp| {
        i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec)
    };
    let born = if s.stx_mask & StatxFlags::BTIME.bits() != 0 {
        ns(s.stx_btime)
    } else {
        0
    };
    FileIdentity {
        dev: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
        ino: s.stx_ino,
        born,
        size: s.stx_size,
        mtime: ns(s.stx_mtime),
        ctime: ns(s.stx_ctime),
    }
}

/// A process and what is above it.
pub(crate) fn snapshot(key: ProcessKey) -> Snapshot {
    let mut chain = Vec::new();
    let mut pid = key.tgid.0;
    let mut younger = u64::MAX;
    while chain.len() < MAX_DEPTH && pid > 0 {
        let look = move || Some((callers_stat(pid)?, link(&format!("/proc/{pid}/exe"))));
        let own = pid == key.tgid.0;
        let Some((s, exe)) = (if own { look() } else { memory::ask(pid, look) }) else {
            break;
        };
        // A parent is older than its child: this pid belongs to somebody else by now.
        if s.start > younger {
            break;
        }
        younger = s.start;
        chain.push(Ancestor {
            key: ProcessKey {
                tgid: Tgid(pid),
                start: s.start,
            },
            comm: s.comm,
            exe,
        });
        pid = s.ppid;
    }
    Snapshot {
        chain,
        cgroups: cgroups(key.tgid.0),
    }
}

/// The cgroup paths of a process.
pub(crate) fn cgroups(pid: i32) -> Vec<String> {
    read(&format!("/proc/{pid}/cgroup"))
        .map(|t| cgroup::paths(&t))
        .unwrap_or_default()
}

/// The pipes at standard input, output and error.
pub(crate) fn standard_pipes(tgid: Tgid) -> Vec<End> {
    let look = move |fd| end(&format!("/proc/{}/fd/{fd}", tgid.0));
    memory::ask(tgid.0, move || Some((0..3).filter_map(look).collect())).unwrap_or_default()
}

/// All ends of pipes of a process, each once.
pub(crate) fn pipes(tgid: Tgid) -> Vec<End> {
    memory::ask(tgid.0, move || Some(all_pipes(tgid))).unwrap_or_default()
}

fn all_pipes(tgid: Tgid) -> Vec<End> {
    let Ok(dir) = std::fs::read_dir(format!("/proc/{}/fd", tgid.0)) else {
        return Vec::new();
    };
    let mut out: Vec<End> = dir
        .flatten()
        .take(MAX_FDS)
        .filter_map(|d| end(d.path().to_str()?))
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// A descriptor, when it is one of a pipe. The mode of its link tells what it was opened for.
fn end(path: &str) -> Option<End> {
    let pipe = parse::pipe(&link(path)?)?;
    let mode = rustix::fs::lstat(path).ok()?.st_mode;
    Some(End {
        pipe,
        reads: mode & 0o400 != 0,
        writes: mode & 0o200 != 0,
    })
}

/// The children of these shells among the pids around `near`. There is no cheaper way: `task/TID/children` needs
/// CONFIG_PROC_CHILDREN.
pub(crate) fn children(shells: &[ProcessKey], near: Tgid) -> Vec<Tgid> {
    let Ok(dir) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|d| d.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| pid.abs_diff(near.0) <= NEAR.unsigned_abs() && *pid != near.0)
        .filter(|pid| status(*pid).is_some_and(|s| shells.iter().any(|p| p.tgid.0 == s.ppid)))
        .map(Tgid)
        .collect()
}

/// All processes below one.
pub(crate) fn descendants(of: Tgid) -> Vec<ProcessKey> {
    let Ok(dir) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let pids = dir
        .flatten()
        .filter_map(|d| d.file_name().to_str()?.parse::<i32>().ok());
    for (pid, s) in pids.filter_map(|pid| Some((pid, status(pid)?))) {
        children.entry(s.ppid).or_default().push(pid);
    }
    let mut out = children.remove(&of.0).unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = out.get(at) {
        // Taken out, so a pid that was used again meanwhile leads round no circle.
        let below = children.remove(pid).unwrap_or_default();
        out.extend(below);
        at += 1;
    }
    out.into_iter().filter_map(key).collect()
}

/// Where cgroups are mounted.
pub(crate) fn cgroup_root() -> &'static Path {
    Path::new("/sys/fs/cgroup")
}

/// This machine's name, as uname(2) gives it.
pub(crate) static HOST: LazyLock<String> = LazyLock::new(|| {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
});

/// Where a process' own view of the filesystem begins.
pub(crate) fn root_of(tgid: Tgid) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", tgid.0))
}
