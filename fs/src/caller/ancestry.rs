//! Which run and which tree a process belongs to, from a snapshot of its ancestors. Pure: no /proc here.

use atlas_manifests::id::RunId;

use super::cgroup;
use super::{ProcessKey, RunsMode};

/// One process of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ancestor {
    /// Which process.
    pub(crate) key: ProcessKey,
    /// The name it goes by: for a script that the kernel started, the script's.
    pub(crate) comm: Vec<u8>,
    /// Where its executable lies; `None` when that may not be seen.
    pub(crate) exe: Option<Vec<u8>>,
}

/// A process and what is above it, as they were at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The process itself first, then its parent, and so on up to the last that can be seen.
    pub(crate) chain: Vec<Ancestor>,
    /// Its cgroup paths, the v2 one first.
    pub(crate) cgroups: Vec<String>,
}

/// Where a run comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// `atlasctl run` declared it.
    Declared(RunId),
    /// A cgroup made for one job.
    Job(String),
    /// A process tree, named by its root.
    Tree(ProcessKey),
}

/// A declaration that is in force.
#[derive(Debug, Clone)]
pub(crate) struct Declaration {
    /// The run.
    pub(crate) run: RunId,
    /// The process that declared it, a child subreaper: orphans come back under it.
    pub(crate) by: ProcessKey,
    /// The cgroup it made.
    pub(crate) cgroup: Option<String>,
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The run.
    pub(crate) source: Source,
    /// Root of the tree inside the run.
    pub(crate) root: ProcessKey,
    /// Shells between the root and whatever started them, nearest first: a pipe from one of their other children may lead here.
    pub(crate) shells: Vec<ProcessKey>,
}

/// What a process is for, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Starts what a person or script asks for.
    Shell,
    /// Starts sessions, services or containers of all kinds: what is above it is not part of any job.
    Manager,
    /// Runs one command in other clothes, in the middle of a job.
    Wrapper,
    /// Anything else.
    Program,
}

const SHELLS: &[&str] = &[
    "sh", "bash", "rbash", "dash", "zsh", "fish", "ksh", "ksh93", "mksh", "ash", "csh", "tcsh",
    "yash", "pwsh", "nu", "xonsh", "elvish",
];

/// Init systems, logins, terminals, schedulers' and containers' daemons, and servers that people open shells or notebooks in.
const MANAGERS: &[&str] = &[
    "init",
    "systemd",
    "systemd-executor",
    "upstart",
    "openrc",
    "runit",
    "runsv",
    "runsvdir",
    "s6-svscan",
    "s6-supervise",
    "supervisord",
    "circusd",
    "monit",
    "tini",
    "dumb-init",
    "catatonit",
    "docker-init",
    "start-stop-daemon",
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dropbear",
    "login",
    "agetty",
    "getty",
    "in.telnetd",
    "mosh-server",
    "gdm-session-worker",
    "tmux",
    "screen",
    "zellij",
    "dtach",
    "abduco",
    "script",
    "ttyd",
    "xterm",
    "konsole",
    "gnome-terminal-server",
    "kitty",
    "alacritty",
    "wezterm-gui",
    "code",
    "code-server",
    "cron",
    "crond",
    "anacron",
    "atd",
    "fcron",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "dockerd",
    "conmon",
    "crio",
    "kubelet",
    "runc",
    "crun",
    "podman",
    "slurmd",
    "slurmstepd",
    "pbs_mom",
    "sge_execd",
    "sge_shepherd",
    "condor_startd",
    "condor_starter",
    "inetd",
    "xinetd",
];

const WRAPPERS: &[&str] = &[
    "sudo",
    "su",
    "doas",
    "runuser",
    "setpriv",
    "pkexec",
    "systemd-run",
    "atlasctl",
];

/// The kernel cuts a process' name at 15 bytes.
const COMM_MAX: usize = 15;

fn role(a: &Ancestor) -> Role {
    // Init is a manager whatever it is called: in a container or a virtual machine it is some agent.
    if a.key.tgid.0 == 1 {
        return Role::Manager;
    }
    let path = a
        .exe
        .as_deref()
        .map(|p| p.strip_suffix(b" (deleted)").unwrap_or(p));
    if let Some(path) = path {
        let has = |needle: &[u8]| path.windows(needle.len()).any(|w| w == needle);
        if has(b"/.vscode-server/") || has(b"/.cursor-server/") || has(b"/code-server/") {
            return Role::Manager;
        }
    }
    // Managers written in a script language are known only by the name of their script; servers of notebooks are such.
    if a.comm.starts_with(b"jupyter-") || a.comm == b"supervisord" || a.comm == b"circusd" {
        return Role::Manager;
    }
    // A batch script is the job itself, although a shell runs it.
    if a.comm == b"slurm_script" {
        return Role::Program;
    }
    let base = path.and_then(|p| p.rsplit(|b| *b == b'/').next());
    let (name, cut) = match base {
        Some(b"busybox" | b"toybox") | None => (a.comm.as_slice(), true),
        Some(base) => (base, false),
    };
    // `tmux: server`, `sshd: user [priv]` rename themselves; only what stands before the colon is theirs.
    let name = if cut {
        name.split(|b| *b == b':').next().unwrap_or(name)
    } else {
        name
    };
    let name = name.strip_prefix(b"-").unwrap_or(name);
    let is = |list: &[&str]| {
        list.iter().any(|n| {
            let n = n.as_bytes();
            name == n || cut && n.len() > COMM_MAX && name == &n[..COMM_MAX]
        })
    };
    // Shells carry versions at times: ksh93, bash-5.2.
    let unversioned = |name: &[u8]| name.split(|b| *b == b'-').next().map(<[u8]>::to_vec);
    if is(SHELLS) || unversioned(name).is_some_and(|n| n == b"bash" || n == b"zsh") {
        Role::Shell
    } else if is(MANAGERS) {
        Role::Manager
    } else if is(WRAPPERS) {
        Role::Wrapper
    } else {
        Role::Program
    }
}

/// Whether a name is a shell's: then its program may still change by execve(2) within the moment.
pub(crate) fn is_shell(key: ProcessKey, comm: &[u8], exe: Option<&[u8]>) -> bool {
    let a = Ancestor {
        key,
        comm: comm.to_vec(),
        exe: exe.map(<[u8]>::to_vec),
    };
    role(&a) == Role::Shell
}

/// Decides. `own` are the job cgroups that the daemon itself is in: they were made for more than the caller's job.
/// `None` only for an empty snapshot.
pub(crate) fn decide(
    s: &Snapshot,
    declared: &[Declaration],
    own: &[String],
    mode: RunsMode,
) -> Option<Decision> {
    let this = s.chain.first()?;
    let by_ancestor = s.chain.iter().enumerate().find_map(|(at, a)| {
        declared
            .iter()
            .rev()
            .find(|d| d.by == a.key)
            .map(|d| (at, d.run))
    });
    let by_cgroup = || {
        declared
            .iter()
            .filter(|d| {
                d.cgroup
                    .as_deref()
                    .is_some_and(|g| s.cgroups.iter().any(|c| cgroup::within(c, g)))
            })
            .max_by_key(|d| d.cgroup.as_ref().map_or(0, String::len))
            .map(|d| d.run)
    };
    // The declaring process is above the job, not in it; what it opens itself still belongs to the run.
    let end = by_ancestor.map_or(s.chain.len(), |(at, _)| at.max(1));
    let (root, shells) = root(&s.chain[..end]);
    let declared_run = by_ancestor.map(|(_, run)| run).or_else(by_cgroup);
    let source = match declared_run {
        Some(run) => Source::Declared(run),
        None => job(s, own, mode).map_or(Source::Tree(root.unwrap_or(this.key)), Source::Job),
    };
    Some(Decision {
        source,
        root: root.unwrap_or(this.key),
        shells,
    })
}

fn job(s: &Snapshot, own: &[String], mode: RunsMode) -> Option<String> {
    if mode == RunsMode::Tree {
        return None;
    }
    let found = s.cgroups.iter().find_map(|c| cgroup::job(c))?;
    (!own.iter().any(|o| o == found)).then(|| found.to_owned())
}

/// The topmost program below the nearest manager (the process itself when there is none), and the shells above it.
fn root(chain: &[Ancestor]) -> (Option<ProcessKey>, Vec<ProcessKey>) {
    let mut top = 0;
    let mut end = chain.len();
    for (at, a) in chain.iter().enumerate() {
        match role(a) {
            Role::Program => top = at,
            Role::Manager if at > 0 => {
                end = at;
                break;
            }
            Role::Manager | Role::Shell | Role::Wrapper => {}
        }
    }
    let shells = chain
        .get(top + 1..end)
        .unwrap_or_default()
        .iter()
        .filter(|a| role(a) == Role::Shell)
        .map(|a| a.key)
        .collect();
    (chain.get(top).map(|a| a.key), shells)
}

#[cfg(test)]
#[path = "ancestry_tests.rs"]
mod tests;
