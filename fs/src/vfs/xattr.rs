//! Extended attributes: the store's own, and the virtual `user.atlas.*`, which nobody can set and no listing names (a tool that copies what is
//! listed would fail on them). POSIX ACLs are extended attributes here; the kernel interprets them.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, XattrFlags};

use super::core::Vfs;
use super::credentials::As;
use super::inode::NodeId;
use super::observer::{Caller, FileKey};
use super::sys;
use super::virtual_files::is_virtual;

const VIRTUAL: &[u8] = b"user.atlas.";
const ACL: &[u8] = b"system.posix_acl_";

/// The kernel's XATTR_SIZE_MAX and XATTR_LIST_MAX.
const MOST: usize = 65_536;

/// Where an attribute's value comes from.
#[derive(Debug)]
pub(crate) enum Value {
    /// The store.
    Stored(Vec<u8>),
    /// The observer, off the FUSE threads.
    Virtual(FileKey),
}

/// Whether the store keeps POSIX ACLs.
pub(crate) fn has_acl(fd: impl AsFd) -> bool {
    let path = sys::proc_path(fd);
    let asked = rustix::fs::getxattr_query(path.as_c_str(), c"system.posix_acl_access");
    !matches!(asked, Err(rustix::io::Errno::OPNOTSUPP))
}

impl Vfs {
    /// GETXATTR.
    pub(crate) fn getxattr(&self, id: NodeId, name: &OsStr) -> io::Result<Value> {
        if is_virtual(id) {
            return Err(no_data());
        }
        let node = self.inodes.node(id)?;
        if is_ours(name) {
            if node.kind != FileType::RegularFile {
                return Err(no_data());
            }
            return Ok(Value::Virtual(node.key));
        }
        let fd = self.inodes.fd(&node)?;
        let mut value = Vec::with_capacity(MOST);
        let name_c = CString::new(name.as_bytes())?;
        let room = rustix::buffer::spare_capacity(&mut value);
        match rustix::fs::getxattr(sys::proc_path(&*fd).as_c_str(), name_c.as_c_str(), room) {
            Ok(_) => Ok(Value::Stored(value)),
            // For the kernel a file without an ACL and a store without ACLs must look alike, else nobody may do anything.
            Err(rustix::io::Errno::OPNOTSUPP) if name.as_bytes().starts_with(ACL) => Err(no_data()),
            Err(e) => Err(e.into()),
        }
    }

    /// LISTXATTR, names ended by zero bytes.
    pub(crate) fn listxattr(&self, id: NodeId) -> io::Result<Vec<u8>> {
        if is_virtual(id) {
            return Ok(Vec::new());
        }
        let node = self.inodes.node(id)?;
        let fd = self.inodes.fd(&node)?;
        let mut names = Vec::with_capacity(MOST);
        let room = rustix::buffer::spare_capacity(&mut names);
        rustix::fs::listxattr(sys::proc_path(&*fd).as_c_str(), room)?;
        Ok(without_virtual(&names))
    }

    /// SETXATTR.
    pub(crate) fn setxattr(
        &self,
        id: NodeId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        caller: Caller,
    ) -> io::Result<()> {
        let (path, name_c, fd) = self.to_change(id, name)?;
        let flags = XattrFlags::from_bits_retain(flags as u32);
        let _as = if name.as_bytes().starts_with(ACL) {
            As::member(caller)
        } else {
            As::changer(caller)
        };
        let before = self.inodes.stat(&*fd)?;
        self.restating(&before, &*fd, || {
            Ok(rustix::fs::setxattr(
                path.as_c_str(),
                name_c.as_c_str(),
                value,
                flags,
            )?)
        })
    }

    /// REMOVEXATTR.
    pub(crate) fn removexattr(&self, id: NodeId, name: &OsStr, caller: Caller) -> io::Result<()> {
        let (path, name_c, fd) = self.to_change(id, name)?;
        let _as = As::changer(caller);
        let before = self.inodes.stat(&*fd)?;
        self.restating(&before, &*fd, || {
            Ok(rustix::fs::removexattr(path.as_c_str(), name_c.as_c_str())?)
        })
    }

    fn to_change(
        &self,
        id: NodeId,
        name: &OsStr,
    ) -> io::Result<(CString, CString, std::sync::Arc<std::os::fd::OwnedFd>)> {
        self.writable()?;
        if is_ours(name) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let node = self.inodes.node(id)?;
        let fd = self.inodes.fd(&node)?;
        Ok((sys::proc_path(&*fd), CString::new(name.as_bytes())?, fd))
    }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().starts_with(VIRTUAL)
}

fn without_virtual(names: &[u8]) -> Vec<u8> {
    let ours = |name: &&[u8]| !name.starts_with(VIRTUAL);
    let kept = names.split_inclusive(|b| *b == 0).filter(ours);
    kept.flatten().copied().collect()
}

pub(crate) fn no_data() -> io::Error {
    io::Error::from_raw_os_error(libc::ENODATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_never_names_a_virtual_attribute() {
        let names = b"user.a\0user.atlas.state\0user.atlasx\0";
        assert_eq!(without_virtual(names), b"user.a\0user.atlasx\0");
        assert!(without_virtual(b"").is_empty());
    }
}
