//! Where everything lies in a state directory (CONTRACTS 2), who owns a node's part of it, and which format it has. Not what the files hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::digest::Sha256;
use crate::durable::{MAX_SMALL_FILE, make_dir, read_small, sync_dir, write_durably};
use crate::id::NodeId;

/// What `FORMAT` holds, with a newline after it.
pub const FORMAT: &str = "atlas 1";

/// Stands in a node's directory until the node has an index: without it, one that is missing was lost.
const FRESH: &str = "fresh";

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// There is no state here.
    #[error(
        "{path:?} is not an Atlas state directory (no FORMAT file): make one with `atlas-fs init SOURCE`, or name another with --state"
    )]
    Missing {
        /// What was looked at.
        path: PathBuf,
    },
    /// Made by a program that is not this one.
    #[error(
        "{path:?} says {found:?}, this program knows {FORMAT:?}: use the Atlas version that wrote it, or another --state directory"
    )]
    Unknown {
        /// The FORMAT file.
        path: PathBuf,
        /// Its first line.
        found: String,
    },
    /// Somebody else mounts it.
    #[error("the state in {path:?} is in use by process {} on this machine: unmount it first (`atlas-fs umount`), or give this mount another --node-state", Pid(*pid))]
    Locked {
        /// The node's directory.
        path: PathBuf,
        /// Who holds it, when the lock file says so.
        pid: Option<u32>,
    },
    /// Reading or writing failed.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

struct Pid(Option<u32>);

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "{pid}"),
            None => f.write_str("(unknown)"),
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> LayoutError + '_ {
    move |source| LayoutError::Io {
        path: path.to_owned(),
        source,
    }
}

/// A state directory, and the directory that holds its nodes (usually `nodes/` below it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `SOURCE/.atlas` unless told otherwise.
    pub state: PathBuf,
    /// Holds one directory per node.
    pub node_state: PathBuf,
}

impl Layout {
    /// Names the state without looking at it.
    pub fn at(state: &Path, node_state: Option<&Path>) -> Self {
        Self {
            state: state.to_owned(),
            node_state: node_state.map_or_else(|| state.join("nodes"), Path::to_owned),
        }
    }

    /// Opens an existing state; changes nothing.
    pub fn open(state: &Path, node_state: Option<&Path>) -> Result<Self, LayoutError> {
        let layout = Self::at(state, node_state);
        layout.check_format()?;
        Ok(layout)
    }

    /// Opens the state, or makes it. `FORMAT` is written last, so a half-made state is made again.
    pub fn create(state: &Path, node_state: Option<&Path>) -> Result<Self, LayoutError> {
        let layout = Self::at(state, node_state);
        match layout.check_format() {
            Err(LayoutError::Missing { .. }) => {}
            other => return other.map(|()| layout),
        }
        make_dir(&layout.state, 0o755).map_err(at(&layout.state))?;
        make_dir(&layout.store(), 0o755).map_err(at(&layout.store()))?;
        make_dir(&layout.node_state, 0o755).map_err(at(&layout.node_state))?;
        write_durably(
            &layout.format_file(),
            format!("{FORMAT}\n").as_bytes(),
            0o644,
        )
        .map_err(at(&layout.format_file()))?;
        Ok(layout)
    }

    fn check_format(&self) -> Result<(), LayoutError> {
        let path = self.format_file();
        let text = match read_small(&path) {
            Ok(text) => text,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(LayoutError::Missing {
                    path: self.state.clone(),
                });
            }
            Err(source) => return Err(LayoutError::Io { path, source }),
        };
        if text.strip_suffix('\n').unwrap_or(&text) == FORMAT {
            return Ok(());
        }
        let found = text.lines().next().unwrap_or("").chars().take(64).collect();
        Err(LayoutError::Unknown { path, found })
    }

    /// `FORMAT`.
    pub fn format_file(&self) -> PathBuf {
        self.state.join("FORMAT")
    }

    /// `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.state.join("config.toml")
    }

    /// `authority.pem`: a copy for convenience, never trusted because it lies here.
    pub fn authority_copy(&self) -> PathBuf {
        self.state.join("authority.pem")
    }

    /// `store/`.
    pub fn store(&self) -> PathBuf {
        self.state.join("store")
    }

    /// The directory of one node.
    pub fn node_dir(&self, node: NodeId) -> PathBuf {
        self.node_state.join(node.to_string())
    }

    /// `index.redb` of one node.
    pub fn index(&self, node: NodeId) -> PathBuf {
        self.node_dir(node).join("index.redb")
    }

    /// `journal/` of one node.
    pub fn journal(&self, node: NodeId) -> PathBuf {
        self.node_dir(node).join("journal")
    }

    /// `log/` of one node.
    pub fn log(&self, node: NodeId) -> PathBuf {
        self.node_dir(node).join("log")
    }

    /// Every node that has a directory here, by id. Anything else in the directory is ignored.
    pub fn nodes(&self) -> Result<Vec<NodeId>, LayoutError> {
        let entries = match fs::read_dir(&self.node_state) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(at(&self.node_state)(e)),
        };
        let mut nodes = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&self.node_state))?;
            if let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok()) {
                nodes.push(id);
            }
        }
        nodes.sort_unstable();
        Ok(nodes)
    }

    /// The node of this machine, when it has one already; changes nothing.
    pub fn own_node(&self) -> Result<Option<NodeId>, LayoutError> {
        let machine = machine()?;
        for node in self.nodes()? {
            let path = self.node_dir(node).join("machine");
            match read_small(&path) {
                Ok(text) if text.trim_end() == machine => return Ok(Some(node)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(at(&path)(e)),
            }
        }
        Ok(None)
    }

    /// Takes this machine's node for the life of the returned lock, making the node (and its id, once) when there is none.
    pub fn claim(&self) -> Result<NodeLock, LayoutError> {
        let node = match self.own_node()? {
            Some(node) => node,
            None => self.make_node()?,
        };
        NodeLock::take(self, node)
    }

    /// Made under a temporary name and renamed whole, so that a crash leaves no node without a machine.
    fn make_node(&self) -> Result<NodeId, LayoutError> {
        make_dir(&self.node_state, 0o755).map_err(at(&self.node_state))?;
        let mut id = [0u8; 16];
        random(&mut id).map_err(at(Path::new("/dev/urandom")))?;
        let node = NodeId(id);
        let making = self.node_state.join(format!("tmp-{node}"));
        make_dir(&making, 0o700).map_err(at(&making))?;
        make_dir(&making.join("journal"), 0o700).map_err(at(&making))?;
        make_dir(&making.join("log"), 0o700).map_err(at(&making))?;
        let machine_file = making.join("machine");
        write_durably(&machine_file, format!("{}\n", machine()?).as_bytes(), 0o600)
            .map_err(at(&machine_file))?;
        let fresh = making.join(FRESH);
        write_durably(&fresh, b"", 0o600).map_err(at(&fresh))?;
        let made = self.node_dir(node);
        fs::rename(&making, &made).map_err(at(&made))?;
        sync_dir(&self.node_state).map_err(at(&self.node_state))?;
        Ok(node)
    }

    /// True for a node that never had an index.
    pub fn is_fresh(&self, node: NodeId) -> bool {
        self.node_dir(node).join(FRESH).exists()
    }

    /// The node has an index now.
    pub fn settled(&self, node: NodeId) -> Result<(), LayoutError> {
        let fresh = self.node_dir(node).join(FRESH);
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(&fresh)(e)),
            _ => Ok(()),
        }
    }

    /// Who holds a node, as its lock file says; `None` when nobody does or it cannot be told.
    pub fn holder(&self, node: NodeId) -> Option<u32> {
        let text = read_small(&self.node_dir(node).join("lock")).ok()?;
        Holder::parse(&text).filter(Holder::lives).map(|h| h.pid)
    }
}

/// Exclusive use of one node's directory. The lock goes with the process, however it ends.
#[derive(Debug)]
pub struct NodeLock {
    node: NodeId,
    dir: PathBuf,
    file: File,
}

impl NodeLock {
    fn take(layout: &Layout, node: NodeId) -> Result<Self, LayoutError> {
        let dir = layout.node_dir(node);
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(at(&path))?;
        let mut text = String::new();
        // A damaged lock file names nobody; the lock itself is the kernel's.
        let _ = (&file).take(MAX_SMALL_FILE).read_to_string(&mut text);
        let holder = Holder::parse(&text);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // A store without flock: what the file says is all there is.
            Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LayoutError::Locked {
                    path: dir,
                    pid: holder.map(|h| h.pid),
                });
            }
            Err(e) => return Err(at(&path)(e.into())),
        }
        let us = Holder::ourselves().map_err(at(Path::new("/proc/self/stat")))?;
        // Some stores keep flock to themselves on each client. A holder of this boot that still lives, under the
        // start time it wrote, is believed; one of another boot is gone.
        if let Some(other) = holder.filter(|h| h.pid != us.pid && h.lives()) {
            return Err(LayoutError::Locked {
                path: dir,
                pid: Some(other.pid),
            });
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(us.text().as_bytes())?;
            file.sync_all()
        };
        write(&mut file).map_err(at(&path))?;
        Ok(Self { node, dir, file })
    }

    /// Whose directory this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// `nodes/<node>/`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        // Only so that `holder` names nobody; the lock itself goes with the descriptor.
        let _ = self.file.set_len(0);
    }
}

/// What the lock file says: boot id, pid, and the process' start time, which tells it from a later one of the same pid.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    boot: String,
    pid: u32,
    start: u64,
}

impl Holder {
    fn ourselves() -> io::Result<Self> {
        let pid = std::process::id();
        Ok(Self {
            boot: boot_id()?,
            pid,
            start: start_time(pid)?,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let holder = Self {
            boot: words.next()?.to_owned(),
            pid: words.next()?.parse().ok()?,
            start: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(holder)
    }

    fn text(&self) -> String {
        format!("{} {} {}\n", self.boot, self.pid, self.start)
    }

    fn lives(&self) -> bool {
        boot_id().is_ok_and(|b| b == self.boot)
            && start_time(self.pid).is_ok_and(|s| s == self.start)
    }
}

fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned())
}

/// Field 22 of `/proc/PID/stat`. The command name before it may hold spaces and brackets: counted from the last bracket.
/// A process that has ended and waits to be reaped (field 3 is `Z` or `X`) holds nothing any more: an error, like one that is gone.
fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    let text = String::from_utf8_lossy(&stat);
    let (_, rest) = text
        .rsplit_once(')')
        .ok_or_else(|| io::Error::other("unexpected form"))?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return Err(io::ErrorKind::NotFound.into());
    }
    fields
        .get(19)
        .and_then(|start| start.parse().ok())
        .ok_or_else(|| io::Error::other("unexpected form"))
}

/// What tells this machine from others that share the state. Hashed: the id itself is not for other machines to know.
fn machine() -> Result<String, LayoutError> {
    let id = Path::new("/etc/machine-id");
    let host = Path::new("/proc/sys/kernel/hostname");
    let text = match fs::read_to_string(id) {
        Ok(text) if !text.trim().is_empty() => text,
        _ => fs::read_to_string(host).map_err(at(host))?,
    };
    Ok(Sha256::of(format!("atlas node\0{}", text.trim()).as_bytes()).hex())
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_an_unknown_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Layout::open(dir.path(), None),
            Err(LayoutError::Missing { .. })
        ));
        fs::write(dir.path().join("FORMAT"), "atlas 2\n").unwrap();
        for result in [
            Layout::open(dir.path(), None),
            Layout::create(dir.path(), None),
        ] {
            assert!(result.unwrap_err().to_string().contains("atlas 2"));
        }
        assert!(!dir.path().join("store").exists());
    }

    #[test]
    fn a_pipe_in_a_copied_state_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("FORMAT");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        assert!(matches!(
            Layout::open(dir.path(), None),
            Err(LayoutError::Io { .. })
        ));
        let error = crate::index::Index::open_read_only(&pipe).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }

    #[test]
    fn a_node_keeps_its_id_and_a_lock_left_by_another_boot_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path(), None).unwrap();
        let node = layout.claim().unwrap().node();
        fs::write(layout.node_dir(node).join("lock"), "another-boot 1 1\n").unwrap();
        assert_eq!(layout.holder(node), None);
        assert_eq!(layout.claim().unwrap().node(), node);
    }
}
