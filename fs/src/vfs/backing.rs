//! The backing side for the rest of the daemon: files by identity or by path below SOURCE, never through the mount.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use atlas_manifests::rows::FileIdentity;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::attr;
use super::core::Vfs;
use super::inode::stale;
use super::observer::{Backing, FileKey};
use super::open::open_again;

impl Vfs {
    /// A descriptor (O_PATH) of exactly this inode, or ESTALE.
    fn anchor(&self, file: FileKey) -> io::Result<Arc<OwnedFd>> {
        let node = self.inodes.by_key(file).ok_or_else(stale)?;
        let fd = self.inodes.fd(&node).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => stale(),
            _ => e,
        })?;
        Ok(fd)
    }
}

impl Backing for Vfs {
    fn open_read(&self, file: FileKey) -> io::Result<File> {
        let fd = self.anchor(file)?;
        let opened = open_again(&*fd, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        Ok(opened.into())
    }

    fn identity(&self, file: FileKey) -> io::Result<FileIdentity> {
        let now = attr::stat(&*self.anchor(file)?)?;
        if now.key != file {
            return Err(stale());
        }
        Ok(now.identity())
    }

    fn open_path(&self, path: &Path) -> io::Result<File> {
        let below: PathBuf = path
            .components()
            .filter(|c| !matches!(c, Component::RootDir | Component::CurDir))
            .collect();
        let below = if below.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            below
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let root = self.inodes.root_fd();
        let fd = rustix::fs::openat2(&**root, &below, flags, Mode::empty(), resolve)?;
        Ok(fd.into())
    }

    fn key_of(&self, file: &File) -> io::Result<FileKey> {
        Ok(attr::stat(file)?.key)
    }

    fn source(&self) -> PathBuf {
        self.source.clone()
    }
}
