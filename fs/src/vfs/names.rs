//! Names: making, linking, moving and removing them. The kernel has checked that the caller may; here owner, mode and umask come out right.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};

use super::attr::{Attr, Shown};
use super::core::Vfs;
use super::credentials::As;
use super::inode::{Node, NodeId, open_path};
use super::observer::Caller;
use super::sys;
use super::virtual_files::is_door;

impl Vfs {
    /// MKDIR.
    pub(crate) fn mkdir(
        &self,
        parent: NodeId,
        name: &OsStr,
        (mode, umask): (u32, u32),
        caller: Caller,
    ) -> io::Result<Shown> {
        let (dir, fd) = self.place(parent, name)?;
        {
            let _as = As::creator(caller, umask);
            // S_ISGID comes from the parent directory, as everywhere; mkdir(2) itself ignores it.
            rustix::fs::mkdirat(&*fd, name, Mode::from_raw_mode(mode & 0o7777))?;
        }
        self.made(&dir, &fd, name)
    }

    /// MKNOD of any kind the store allows, regular files too.
    pub(crate) fn mknod(
        &self,
        parent: NodeId,
        name: &OsStr,
        (mode, umask, rdev): (u32, u32, u32),
        caller: Caller,
    ) -> io::Result<Shown> {
        let (dir, fd) = self.place(parent, name)?;
        let c_name = CString::new(name.as_bytes())?;
        {
            let _as = As::creator(caller, umask);
            sys::mknod(&*fd, &c_name, mode, rdev.into())?;
        }
        self.made(&dir, &fd, name)
    }

    /// SYMLINK.
    pub(crate) fn symlink(
        &self,
        parent: NodeId,
        name: &OsStr,
        target: &Path,
        caller: Caller,
    ) -> io::Result<Shown> {
        let (dir, fd) = self.place(parent, name)?;
        {
            let _as = As::creator(caller, 0);
            rustix::fs::symlinkat(target, &*fd, name)?;
        }
        self.made(&dir, &fd, name)
    }

    /// READLINK.
    pub(crate) fn readlink(&self, id: NodeId) -> io::Result<Vec<u8>> {
        let node = self.inodes.node(id)?;
        let fd = self.inodes.fd(&node)?;
        Ok(rustix::fs::readlinkat(&*fd, "", Vec::new())?.into_bytes())
    }

    /// LINK: one more name for an inode.
    pub(crate) fn link(&self, id: NodeId, parent: NodeId, name: &OsStr) -> io::Result<Shown> {
        let (dir, dir_fd) = self.place(parent, name)?;
        let node = self.inodes.node(id)?;
        let fd = self.inodes.fd(&node)?;
        let before = self.inodes.stat(&*fd)?;
        self.restating(&before, &*fd, || {
            match rustix::fs::linkat(&*fd, "", &*dir_fd, name, AtFlags::EMPTY_PATH) {
                // Without CAP_DAC_READ_SEARCH the magic link is the way.
                Err(rustix::io::Errno::NOENT) => Ok(rustix::fs::linkat(
                    rustix::fs::CWD,
                    sys::proc_path(&*fd).as_c_str(),
                    &*dir_fd,
                    name,
                    AtFlags::SYMLINK_FOLLOW,
                )?),
                done => Ok(done?),
            }
        })?;
        let shown = self.made(&dir, &dir_fd, name)?;
        if node.kind == FileType::RegularFile {
            let path = self.inodes.path_in(&dir, name);
            self.observer()?.linked(node.key, &path);
        }
        Ok(shown)
    }

    /// UNLINK.
    pub(crate) fn unlink(&self, parent: NodeId, name: &OsStr, caller: Caller) -> io::Result<()> {
        let (dir, dir_fd) = self.existing(parent, name)?;
        let victim = open_path(&dir_fd, name)?;
        let before = self.inodes.stat(&victim)?;
        // Who has other names goes by one of them from now on: nobody may note the lost one once more.
        let changing = (before.nlink > 1).then(|| self.moves.changing());
        let mut left = before;
        self.restating(&before, &victim, || {
            rustix::fs::unlinkat(&*dir_fd, name, AtFlags::empty())?;
            // A store that goes by names (FUSE) does not know any more what this one was.
            left = self.inodes.stat(&victim).unwrap_or(Attr {
                nlink: before.nlink.saturating_sub(1),
                ..before
            });
            if let Some(node) = self.inodes.by_key(before.key) {
                self.inodes.unname(&node, parent, name, left.nlink == 0);
            }
            Ok(())
        })?;
        drop(changing);
        let path = self.inodes.path_in(&dir, name);
        if left.is_file() {
            let last = left.nlink == 0;
            self.observer()?.unlinked(left.key, &path, last, caller);
        }
        Ok(())
    }

    /// RMDIR.
    pub(crate) fn rmdir(&self, parent: NodeId, name: &OsStr) -> io::Result<()> {
        let (_, fd) = self.existing(parent, name)?;
        let victim = self.inodes.stat_at(&fd, name)?;
        rustix::fs::unlinkat(&*fd, name, AtFlags::REMOVEDIR)?;
        if let Some(node) = self.inodes.by_key(victim.key) {
            self.inodes.unname(&node, parent, name, true);
        }
        Ok(())
    }

    /// RENAME with the flags of renameat2(2).
    pub(crate) fn rename(
        &self,
        (from, name): (NodeId, &OsStr),
        (to, new_name): (NodeId, &OsStr),
        flags: RenameFlags,
        caller: Caller,
    ) -> io::Result<()> {
        let (from_dir, from_fd) = self.existing(from, name)?;
        let (to_dir, to_fd) = self.place(to, new_name)?;
        let observer = self.observer()?;
        let rename = self.moves.begin();
        let moving = open_path(&from_fd, name)?;
        let moved = self.inodes.stat(&moving)?;
        // Held until it is told that it is gone: its number is not given out again before.
        let held = open_path(&to_fd, new_name).ok();
        let target = held.as_ref().and_then(|fd| self.inodes.stat(fd).ok());
        let (old, new) = (
            self.inodes.path_in(&from_dir, name),
            self.inodes.path_in(&to_dir, new_name),
        );
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let mut left = target.map_or(0, |t| t.nlink.saturating_sub(1));
        {
            let _changing = self.moves.changing();
            let both = || {
                self.restating(&moved, &moving, || {
                    Ok(rustix::fs::renameat_with(
                        &*from_fd, name, &*to_fd, new_name, flags,
                    )?)
                })
            };
            match (&held, target) {
                (Some(fd), Some(target)) => self.restating(&target, fd, both)?,
                _ => both()?,
            }
            if target.is_some_and(|t| t.key == moved.key) {
                // rename(2) of two names of one inode does nothing.
                return Ok(());
            }
            self.renamed(&moved, (from, name), (to, new_name));
            match target.filter(|_| exchange) {
                Some(target) => self.renamed(&target, (to, new_name), (from, name)),
                None => {
                    // Another name may have come or gone since it was looked at.
                    let stat = held.as_ref().and_then(|fd| self.inodes.stat(fd).ok());
                    if let Some(stat) = stat {
                        left = stat.nlink;
                    }
                    if let Some((target, node)) =
                        target.and_then(|t| Some((t, self.inodes.by_key(t.key)?)))
                    {
                        let last = left == 0 || target.kind == FileType::Directory;
                        self.inodes.unname(&node, to, new_name, last);
                    }
                }
            }
        }
        if exchange {
            observer.exchanged(&old, &new, caller);
        } else {
            let replaced = target.filter(Attr::is_file);
            // What has another name lost this one, and no more.
            if let Some(linked) = replaced.filter(|_| left > 0) {
                observer.unlinked(linked.key, &new, false, caller);
            }
            let replaced = replaced.filter(|_| left == 0).map(|t| t.key);
            observer.renamed(&old, &new, replaced, caller);
        }
        for file in rename.doubted() {
            observer.placed(file);
        }
        Ok(())
    }

    fn renamed(&self, moved: &Attr, from: (NodeId, &OsStr), to: (NodeId, &OsStr)) {
        if let Some(node) = self.inodes.by_key(moved.key) {
            node.named(to.0, to.1);
            node.unnamed(from.0, from.1);
        }
    }

    /// A directory in which something is about to be made, moved or removed.
    fn place(&self, parent: NodeId, name: &OsStr) -> io::Result<(Arc<Node>, Arc<OwnedFd>)> {
        self.writable()?;
        let dir = self.inodes.node(parent)?;
        self.not_hidden(&dir, name)?;
        let fd = self.inodes.fd(&dir)?;
        Ok((dir, fd))
    }

    /// The same for a name that must be there: hidden ones are not.
    fn existing(&self, parent: NodeId, name: &OsStr) -> io::Result<(Arc<Node>, Arc<OwnedFd>)> {
        self.writable()?;
        let dir = self.inodes.node(parent)?;
        if is_door(parent, name) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        if self.is_hidden(&dir, name) {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        let fd = self.inodes.fd(&dir)?;
        Ok((dir, fd))
    }

    /// The entry just made.
    fn made(&self, dir: &Arc<Node>, dir_fd: &OwnedFd, name: &OsStr) -> io::Result<Shown> {
        let _looking = self.moves.looking();
        let fd = open_path(dir_fd, name)?;
        let stat = self.inodes.stat(&fd)?;
        let node = self.inodes.enter(dir.id, name, fd, &stat);
        Ok(self.shown(&node, stat))
    }
}
