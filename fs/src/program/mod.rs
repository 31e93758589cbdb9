//! What can be found out about a process' program: executable, script, source state, packages. Read by workers, off the FUSE threads.
//!
//! Everything read here belongs to the job, so it is opened as the job's user, regular files only, with bounds on size and
//! time, and never through a mount of our own. Nothing of it is executed.

pub(crate) mod access;
mod git;
mod packages;
mod passwd;
mod repository;
pub(crate) mod script;
mod walk;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Blake3;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::statement::{Git, Python};
use atlas_manifests::vocabulary::Confined;

use crate::caller::{self, ProcessKey, Seen};
use walk::{Found, Walker};

pub use walk::{Place, Resolve};

/// No executable beyond this is digested, in bytes.
const MAX_EXE: u64 = 4 << 30;
/// So many answers are remembered.
const MAX_REMEMBERED: usize = 4096;

/// What is known of a process' program.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Base name of the program seen last.
    pub program: String,
    /// Its executable's path, told from where the mount namespace of the process begins.
    pub exe: Option<PathBytes>,
    /// Its executable's bytes; `None` when it could not be read as the job's user, or is another file by now.
    pub exe_digest: Option<Blake3>,
    /// The script that its interpreter runs, as an absolute path without symbolic links.
    pub script: Option<PathBytes>,
    /// Source state, when the script lies in a git work tree.
    pub git: Option<Git>,
    /// Installed Python distributions, and the `name==version` lines behind the digest.
    pub python: Option<(Python, Vec<String>)>,
    /// Names of its environment's variables.
    pub env_names: Vec<String>,
    /// Its arguments, with what looks like a secret replaced.
    pub argv: Vec<PathBytes>,
    /// Its working directory.
    pub cwd: Option<PathBytes>,
    /// This machine's name.
    pub host: String,
    /// The name of its user in /etc/passwd, else the number.
    pub user: String,
    /// Whether its capabilities lead around the mount.
    pub confined: Confined,
}

type Program = (ProcessKey, Option<PathBytes>, Vec<PathBytes>);

/// Finds facts, and remembers them.
pub struct Programs {
    walker: Walker,
    digests: Mutex<HashMap<FileIdentity, Blake3>>,
    known: Mutex<HashMap<Program, Arc<Facts>>>,
}

impl Programs {
    /// `mountpoint`: where our mount answers, or will. `resolve` opens what lies below it on the backing side, files and directories
    /// alike, by path relative to the mount's root; `place` tells such a path by inode number.
    pub fn new(mountpoint: &Path, resolve: Resolve, place: Place) -> Self {
        Self {
            walker: Walker::new(mountpoint, resolve, place),
            digests: Mutex::new(HashMap::new()),
            known: Mutex::new(HashMap::new()),
        }
    }

    /// The facts of a process' program. May read much: for workers. What cannot be found out is left out, and is never an error.
    pub fn facts(&self, seen: &Seen) -> Arc<Facts> {
        let name = (seen.key, seen.exe.clone(), seen.argv.clone());
        if let Some(known) = lock(&self.known).get(&name) {
            return Arc::clone(known);
        }
        let mut facts = Facts {
            program: seen.program(),
            exe: seen.exe.clone(),
            exe_digest: None,
            script: None,
            git: None,
            python: None,
            env_names: seen.env_names.clone(),
            argv: seen.argv.clone(),
            cwd: seen.cwd.clone(),
            host: caller::HOST.clone(),
            user: passwd::of(seen.uid).map_or_else(|| seen.uid.to_string(), |u| u.name),
            confined: seen.confined(),
        };
        // A thread of its own takes the job's identity, and dies with it: nothing has to be given back.
        let read = access::as_user(seen.uid, seen.gid, &seen.groups, || self.read(seen));
        match read {
            Ok(found) => {
                facts.exe_digest = found.exe_digest;
                facts.script = found.script;
                facts.git = found.git;
                facts.python = found.python;
            }
            Err(error) => {
                tracing::debug!(uid = seen.uid, %error, "program not looked at: the job's identity could not be taken");
            }
        }
        let facts = Arc::new(facts);
        let mut known = lock(&self.known);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(name, Arc::clone(&facts));
        facts
    }

    fn read(&self, seen: &Seen) -> Read {
        let Some(view) = View::of(seen) else {
            return Read::default();
        };
        let seen = &seen.told_from_its_root();
        let open = |path: &Path| self.walker.find(view.root.as_fd(), path).ok();
        let exe = seen.exe.as_ref().map(|e| e.as_path().to_owned());
        let script = script::path(seen).and_then(|candidates| {
            candidates
                .iter()
                .find_map(|c| open(c).filter(Found::is_file).map(|f| f.path))
        });
        let git = script.as_deref().and_then(|s| git::state(s, &open));
        Read {
            exe_digest: exe.and_then(|e| self.digest(&open(&e)?, seen.exe_identity.as_ref())),
            python: packages::installed(seen, &open),
            script: script.map(PathBytes::from),
            git,
        }
    }

    /// `expect` is what the process really executed: another file at the same path has another digest.
    fn digest(&self, found: &Found, expect: Option<&FileIdentity>) -> Option<Blake3> {
        if !found.is_file() {
            return None;
        }
        let (file, identity) = found.open().ok()?;
        // Inside our mount the process sees the daemon's numbers, and the backing file has others.
        if !found.inside
            && expect.is_some_and(|e| {
                (e.ino, e.size, e.mtime) != (identity.ino, identity.size, identity.mtime)
            })
        {
            return None;
        }
        if let Some(known) = lock(&self.digests).get(&identity) {
            return Some(*known);
        }
        let digest = blake3_of(file, identity.size)?;
        let mut digests = lock(&self.digests);
        if digests.len() >= MAX_REMEMBERED {
            digests.clear();
        }
        digests.insert(identity, digest);
        Some(digest)
    }
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").finish_non_exhaustive()
    }
}

/// The part of the facts that has to be read from files.
#[derive(Default)]
struct Read {
    exe_digest: Option<Blake3>,
    script: Option<PathBytes>,
    git: Option<Git>,
    python: Option<(Python, Vec<String>)>,
}

/// Where a process' paths begin.
struct View {
    root: File,
}

impl View {
    /// `None`: the process saw other files than we do, and is gone.
    fn of(seen: &Seen) -> Option<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let open = |path: &Path| {
            std::fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
                .open(path)
                .ok()
        };
        if seen.same_files {
            return open(Path::new("/")).map(|root| Self { root });
        }
        let root = open(&caller::root_of(seen.key.tgid))?;
        (caller::key(seen.key.tgid.0) == Some(seen.key)).then_some(Self { root })
    }
}

fn blake3_of(file: File, size: u64) -> Option<Blake3> {
    if size > MAX_EXE {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut left = file.take(size);
    loop {
        let n = left.read(&mut buffer).ok()?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    (left.limit() == 0).then(|| Blake3(*hasher.finalize().as_bytes()))
}

/// Reads a small regular file whole; `None` when it is larger than `max` bytes.
fn small(found: &Found, max: u64) -> Option<Vec<u8>> {
    if !found.is_file() {
        return None;
    }
    let (file, _) = found.open().ok()?;
    let mut out = Vec::new();
    file.take(max + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= max).then_some(out)
}

/// A job's path as an absolute one.
fn absolute(cwd: Option<&PathBytes>, path: &Path) -> Option<PathBuf> {
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    Some(cwd?.as_path().join(path))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Maps of finished answers: always whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
