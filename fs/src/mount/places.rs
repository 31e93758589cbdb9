//! Paths of a mount, resolved before anything is mounted, and how they may lie to each other. Asks no filesystem that could be dead.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::failure::{Failure, shown};

/// A mount point's path without symbolic links. The last component is not looked into: a dead mount there would answer nothing.
///
/// # Errors
/// When a directory above it is missing, or links go round in a circle.
pub fn mountpoint(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    // As many as the kernel follows (path_resolution(7)).
    for _ in 0..40 {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return fs::canonicalize(&path);
        };
        if path.components().next_back() == Some(Component::ParentDir) {
            return fs::canonicalize(&path);
        }
        let plain = fs::canonicalize(parent)?.join(name);
        match fs::read_link(&plain) {
            Ok(target) => path = plain.parent().unwrap_or(Path::new("/")).join(target),
            // Not a link, not there, or a dead mount: whoever uses it will see.
            Err(_) => return Ok(plain),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// An absolute path without symbolic links, also of something that is not there yet.
///
/// # Errors
/// When a directory above it cannot be looked into.
pub fn planned(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut missing: Vec<&OsStr> = Vec::new();
    let mut there = path.as_path();
    loop {
        match fs::canonicalize(there) {
            Ok(mut found) => {
                found.extend(missing.iter().rev());
                return Ok(found);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match (there.parent(), there.file_name()) {
                    (Some(parent), Some(name)) => {
                        missing.push(name);
                        there = parent;
                    }
                    _ => return Err(e),
                }
            }
            Err(e) => return Err(e),
        }
    }
}

/// True when `path` lies below `above`, seen by name or by inode (a bind mount gives a directory two names), and is not the same.
pub fn lies_below(path: &Path, above: &Path) -> bool {
    if path.starts_with(above) {
        return path != above;
    }
    let Ok(target) = fs::metadata(above) else {
        return false;
    };
    path.ancestors()
        .skip(1)
        .filter_map(|p| fs::metadata(p).ok())
        .any(|p| (p.dev(), p.ino()) == (target.dev(), target.ino()))
}

/// Where SOURCE, the mount point and the state may lie.
#[derive(Debug, Clone)]
pub struct Sites<'a> {
    /// Canonical.
    pub source: &'a Path,
    /// Canonical; `None` for `init`.
    pub mountpoint: Option<&'a Path>,
    /// See `planned`.
    pub state: &'a Path,
    /// See `planned`.
    pub node_state: Option<&'a Path>,
    /// See `planned`.
    pub authority: &'a Path,
    /// See `planned`.
    pub log_file: Option<&'a Path>,
}

impl Sites<'_> {
    /// Refuses what would make the daemon ask itself, show its state as data, or lay its key beside the data.
    ///
    /// # Errors
    /// Names the two places and what to do.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(point) = self.mountpoint.filter(|p| *p != self.source) {
            for (inner, outer) in [(self.source, point), (point, self.source)] {
                if lies_below(inner, outer) {
                    return Err(Failure::other(format!(
                        "{} lies inside {}: mount somewhere else, or over the directory itself",
                        shown(inner),
                        shown(outer)
                    )));
                }
            }
        }
        let inside = |path: &Path| path.starts_with(self.source);
        if inside(self.state) && self.state.parent() != Some(self.source) {
            return Err(Failure::other(format!(
                "--state {}: inside SOURCE the state may only lie directly below it, or it would show as data; use {} or a place outside",
                shown(self.state),
                shown(&self.source.join(".atlas"))
            )));
        }
        if let Some(node) = self
            .node_state
            .filter(|n| inside(n) && !n.starts_with(self.state))
        {
            return Err(Failure::other(format!(
                "--node-state {}: inside SOURCE it would show as data; use a place outside",
                shown(node)
            )));
        }
        if inside(self.authority) {
            return Err(Failure::other(format!(
                "--authority {}: the authority's key must not lie below SOURCE, where jobs can read; use a place outside",
                shown(self.authority)
            )));
        }
        if let Some(log) = self.log_file.filter(|l| inside(l)) {
            return Err(Failure::other(format!(
                "--log-file {}: inside SOURCE the log would show as data; use a place outside",
                shown(log)
            )));
        }
        let Some(point) = self.mountpoint else {
            return Ok(());
        };
        let own = [
            Some(self.state),
            self.node_state,
            Some(self.authority),
            self.log_file,
        ];
        for path in own.into_iter().flatten() {
            if point != self.source && path.starts_with(point) {
                return Err(Failure::other(format!(
                    "{} lies below the mount point and would be covered by the mount: use a place outside",
                    shown(path)
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sites<'a>(state: &'a str, node: Option<&'a str>, authority: &'a str) -> Sites<'a> {
        Sites {
            source: Path::new("/nonexistent/s"),
            mountpoint: Some(Path::new("/nonexistent/m")),
            state: Path::new(state),
            node_state: node.map(Path::new),
            authority: Path::new(authority),
            log_file: None,
        }
    }

    #[test]
    fn state_and_key_lie_where_no_job_sees_them() {
        let key = "/nonexistent/k";
        for (state, node, authority, fits) in [
            ("/nonexistent/s/.atlas", None, key, true),
            ("/nonexistent/s/.state", None, key, true),
            (
                "/nonexistent/elsewhere",
                Some("/nonexistent/local"),
                key,
                true,
            ),
            (
                "/nonexistent/s/.atlas",
                Some("/nonexistent/s/.atlas/nodes"),
                key,
                true,
            ),
            ("/nonexistent/s/a/b", None, key, false),
            ("/nonexistent/s", None, key, false),
            (
                "/nonexistent/s/.atlas",
                Some("/nonexistent/s/n"),
                key,
                false,
            ),
            (
                "/nonexistent/s/.atlas",
                None,
                "/nonexistent/s/.atlas/authority",
                false,
            ),
            ("/nonexistent/m/state", None, key, false),
            (
                "/nonexistent/s/.atlas",
                Some("/nonexistent/m/n"),
                key,
                false,
            ),
            ("/nonexistent/s/.atlas", None, "/nonexistent/m/k", false),
        ] {
            let result = sites(state, node, authority).check();
            assert_eq!(
                result.is_ok(),
                fits,
                "{state} {node:?} {authority}: {result:?}"
            );
        }
    }

    #[test]
    fn proper_nesting_is_refused_either_way_and_equality_is_not() {
        let key = "/nonexistent/k";
        for (source, point, fits) in [
            ("/nonexistent/a", "/nonexistent/a/b", false),
            ("/nonexistent/a/b", "/nonexistent/a", false),
            ("/nonexistent/a", "/nonexistent/a", true),
            ("/nonexistent/a", "/nonexistent/ab", true),
        ] {
            let mut sites = sites("/nonexistent/state", None, key);
            sites.source = Path::new(source);
            sites.mountpoint = Some(Path::new(point));
            assert_eq!(sites.check().is_ok(), fits, "{source} {point}");
        }
    }

    #[test]
    fn a_mount_point_is_resolved_without_looking_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(top.join("real")).unwrap();
        symlink("real", top.join("link")).unwrap();
        symlink("link", top.join("link2")).unwrap();
        symlink("round", top.join("round")).unwrap();
        for name in ["real", "link", "link2", "real/", "./link", "real/../link"] {
            assert_eq!(
                mountpoint(&top.join(name)).unwrap(),
                top.join("real"),
                "{name}"
            );
        }
        assert_eq!(mountpoint(&top.join("none")).unwrap(), top.join("none"));
        assert_eq!(mountpoint(&top.join("real/..")).unwrap(), top);
        assert_eq!(mountpoint(Path::new("/")).unwrap(), Path::new("/"));
        assert!(mountpoint(&top.join("round")).is_err());
        assert!(mountpoint(&top.join("none/below")).is_err());
    }

    #[test]
    fn a_place_that_is_not_there_yet_has_a_path_already() {
        let dir = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(dir.path()).unwrap();
        symlink(&top, top.join("link")).unwrap();
        assert_eq!(planned(&top.join("link/a/b")).unwrap(), top.join("a/b"));
        assert_eq!(planned(&top.join("link")).unwrap(), top);
    }
}
