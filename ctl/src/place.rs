//! Where a path lies: on a live mount, in a backing directory with state, or anywhere else. Not what is known about it: see `evidence`.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use atlas_manifests::wire::Status;

use crate::client::Client;
use crate::exit::{Code, Failure};
use crate::view::out;

/// Longest `status` that is read, in bytes.
const MAX_STATUS: u64 = 1 << 20;
/// How long a daemon may take to say who it is.
const HELLO: Duration = Duration::from_secs(5);
/// How long a mount may take to say what lies at a path.
const LOOK: Duration = Duration::from_secs(10);

/// A path as asked, and where it really is.
#[derive(Debug)]
pub(crate) struct Located {
    /// The parent's canonical path and the last component. A link in the last component is followed: the link itself has no
    /// content and no history.
    pub real: PathBuf,
    /// Where that is.
    pub place: Place,
}

/// Where a path lies.
#[derive(Debug)]
pub(crate) enum Place {
    /// On a live mount of ours.
    Live {
        /// What the daemon says of itself.
        status: Box<Status>,
        /// The mount's root, as reached from here.
        root: PathBuf,
        /// The path below it, which is the path below SOURCE.
        below: PathBuf,
    },
    /// In a directory that holds, or below one that holds, a state directory.
    Backing {
        /// The state directory.
        state: PathBuf,
        /// The path below SOURCE.
        below: PathBuf,
    },
    /// Anywhere else: a copied file, an exported one.
    Loose,
}

/// Finds out where a path is. The path itself need not exist.
pub(crate) fn locate(path: &Path) -> Result<Located, Failure> {
    look(path, locate_now)?
}

/// The metadata of a path, or of what it links to.
pub(crate) fn metadata(path: &Path, follow: bool) -> Result<io::Result<fs::Metadata>, Failure> {
    look(path, move |path| {
        if follow {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        }
    })
}

/// Looks at a path, and waits for the answer only so long: a mount whose daemon hangs answers nobody, and a thread that asks it cannot
/// be interrupted.
fn look<T: Send + 'static>(
    path: &Path,
    how: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, Failure> {
    let (tell, told) = mpsc::channel();
    let asked = path.to_owned();
    thread::Builder::new()
        .spawn(move || {
            // Whoever asked may have given up.
            let _ = tell.send(how(&asked));
        })
        .map_err(|e| Failure::io(path.display(), &e))?;
    told.recv_timeout(LOOK).map_err(|_| {
        let path = path.display();
        let text = format!("{path}: its mount does not answer: the daemon hangs, see its log");
        Failure::new(Code::NO_DAEMON, text)
    })
}

fn locate_now(path: &Path) -> Result<Located, Failure> {
    let real = resolve(path).map_err(|e| unreachable_path(path, &e))?;
    let place = match live(&real)? {
        Some(place) => place,
        None => backing(&real).unwrap_or(Place::Loose),
    };
    Ok(Located { real, place })
}

/// Every daemon that answers on this machine and lets us ask.
pub(crate) fn daemons() -> Vec<(Client, Status)> {
    let mut found = Vec::new();
    for dir in socket_dirs() {
        let Ok(entries) = fs::read_dir(dir) else {
            continue;
        };
        let mut sockets: Vec<_> = entries
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.extension() == Some(OsStr::new("sock")))
            .collect();
        sockets.sort();
        for socket in sockets {
            // Where nobody listens is a leftover.
            let Ok(client) = Client::connect(&socket) else {
                continue;
            };
            match client.status(HELLO) {
                Ok(status) => found.push((client, status)),
                Err(e) => out::say(&format!("atlasctl: {e}")),
            }
        }
    }
    found
}

fn socket_dirs() -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from("/run/atlas")];
    if let Some(own) = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty()) {
        dirs.push(Path::new(&own).join("atlas"));
    }
    dirs
}

/// The parent's canonical path and the last component, which is followed when it is a link.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let is_link = fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_symlink());
    if is_link && let Ok(target) = fs::canonicalize(path) {
        return Ok(target);
    }
    match (absolute.parent(), path.file_name()) {
        (Some(parent), Some(name)) => match fs::canonicalize(parent) {
            Ok(parent) => Ok(parent.join(name)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(absolute),
            Err(e) => Err(e),
        },
        // `/`, `.` and what ends in `..`
        _ => fs::canonicalize(path),
    }
}

fn live(real: &Path) -> Result<Option<Place>, Failure> {
    let Some(start) = real.ancestors().find(|a| is_dead(a) || a.is_dir()) else {
        return Ok(None);
    };
    if is_dead(start) {
        return Err(dead(start));
    }
    let Some(device) = device(start) else {
        return Ok(None);
    };
    // The ancestors on the same filesystem; beyond them another one begins, which is not this mount.
    let inside = start
        .ancestors()
        .take_while(|a| self::device(a) == Some(device));
    for root in inside {
        if !is_fuse(root) {
            return Ok(None);
        }
        let Some(status) = read_status(root) else {
            continue;
        };
        let below = real.strip_prefix(root).unwrap_or(Path::new("")).to_owned();
        return Ok(Some(Place::Live {
            status: Box::new(status),
            root: root.to_owned(),
            below,
        }));
    }
    Ok(None)
}

fn backing(real: &Path) -> Option<Place> {
    let source = real
        .ancestors()
        .find(|a| a.join(".atlas/FORMAT").is_file())?;
    Some(Place::Backing {
        state: source.join(".atlas"),
        below: real.strip_prefix(source).ok()?.to_owned(),
    })
}

fn read_status(root: &Path) -> Option<Status> {
    use io::Read as _;
    let mut text = Vec::new();
    let file = fs::File::open(root.join(".atlas/status")).ok()?;
    file.take(MAX_STATUS).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|m| m.dev())
}

fn is_fuse(path: &Path) -> bool {
    /// `FUSE_SUPER_MAGIC` of linux/magic.h.
    const FUSE: i64 = 0x6573_5546;
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == FUSE)
}

fn is_dead(path: &Path) -> bool {
    let not_connected = rustix::io::Errno::NOTCONN.raw_os_error();
    fs::metadata(path).is_err_and(|e| e.raw_os_error() == Some(not_connected))
}

fn dead(mount: &Path) -> Failure {
    let mount = mount.display();
    Failure::new(
        Code::NO_DAEMON,
        format!(
            "{mount}: the daemon of this mount has died: mount it again, or detach it with atlas-fs umount {mount}"
        ),
    )
}

fn unreachable_path(path: &Path, error: &io::Error) -> Failure {
    if error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) {
        dead(path)
    } else {
        Failure::io(path.display(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_in(dir: &Path) -> PathBuf {
        fs::create_dir_all(dir.join(".atlas")).unwrap();
        fs::write(dir.join(".atlas/FORMAT"), "atlas 1\n").unwrap();
        dir.join(".atlas")
    }

    fn below(path: &Path) -> PathBuf {
        match locate(path).unwrap().place {
            Place::Backing { below, .. } => below,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_known_by_its_path_below_the_directory_that_holds_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        state_in(&root);
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/f"), "x").unwrap();
        assert_eq!(below(&root.join("a/b/f")), Path::new("a/b/f"));
        assert_eq!(
            below(&root.join("a/b/../b/gone")),
            Path::new("a/b/gone"),
            "need not exist"
        );
        assert_eq!(below(&root.join("no/such/dir")), Path::new("no/such/dir"));
        assert_eq!(below(&root), Path::new(""));
    }

    #[test]
    fn a_link_stands_for_the_file_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        state_in(&root);
        fs::create_dir(root.join("ckpt")).unwrap();
        fs::write(root.join("ckpt/3.pt"), "x").unwrap();
        std::os::unix::fs::symlink("ckpt/3.pt", root.join("latest")).unwrap();
        std::os::unix::fs::symlink("ckpt", root.join("dir")).unwrap();
        assert_eq!(below(&root.join("latest")), Path::new("ckpt/3.pt"));
        assert_eq!(below(&root.join("dir/3.pt")), Path::new("ckpt/3.pt"));
    }

    #[test]
    fn a_copied_file_lies_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "x").unwrap();
        assert!(matches!(
            locate(&dir.path().join("f")).unwrap().place,
            Place::Loose
        ));
    }
}
