//! Bytes of open files: READ and WRITE of inline handles, and what reaches the daemon in both modes (fsync, lseek, fallocate, copies).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};

use super::announced::Announced;
use super::core::Vfs;
use super::credentials::{As, prepare_thread};
use super::handle::{Handle, Open, bad_handle};
use super::observer::{Caller, Change, HandleId};
use super::open::open_again;
use crate::descriptors::Own;

/// The most one copy_file_range may answer: its reply counts in 32 bits, and the kernel stops here itself.
const COPY_MOST: u64 = 0x7fff_f000;

impl Vfs {
    /// READ of an inline handle (or a virtual file) into `buffer`, which is made as long as what was read.
    pub(crate) fn read(
        &self,
        id: HandleId,
        offset: u64,
        size: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let handle = match self.handles.any(id)? {
            Open::File(handle) => handle,
            Open::Virtual(snapshot) => {
                snapshot.read(offset, size, buffer);
                return Ok(());
            }
            Open::Dir(_) => return Err(bad_handle()),
        };
        let file = handle.backing.as_ref().ok_or_else(bad_handle)?;
        buffer.resize(size, 0);
        let mut filled = 0;
        while filled < size {
            match rustix::io::pread(file, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if filled > 0 => break,
                Err(e) => return Err(e.into()),
            }
        }
        buffer.truncate(filled);
        self.observer()?.read(id, offset, buffer);
        Ok(())
    }

    /// WRITE of an inline handle; how much was written. `kill` is the kernel's word that set-id bits must go.
    pub(crate) fn write(
        &self,
        id: HandleId,
        offset: u64,
        bytes: &[u8],
        kill: bool,
    ) -> io::Result<usize> {
        let handle = self.handles.file(id)?;
        let file = handle.backing.as_ref().ok_or_else(bad_handle)?;
        prepare_thread();
        let _as = (!kill).then(As::trusted);
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pwrite(file, &bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    // With O_SYNC it may be in the file all the same.
                    self.observer()?.write_failed(id);
                    if done == 0 {
                        return Err(e.into());
                    }
                    break;
                }
            }
        }
        self.observer()?.wrote(id, offset, &bytes[..done]);
        Ok(done)
    }

    /// FSYNC. In passthrough a description is made for it: the store's dirty pages belong to the inode, not to who wrote them.
    pub(crate) fn fsync(&self, id: HandleId, data_only: bool) -> io::Result<()> {
        let handle = match self.handles.any(id)? {
            Open::File(handle) => handle,
            Open::Dir(_) | Open::Virtual(_) => return Ok(()),
        };
        let file = self.description(&handle, OFlags::RDONLY)?;
        let done = if data_only {
            rustix::fs::fdatasync(file.fd())
        } else {
            rustix::fs::fsync(file.fd())
        };
        Ok(done?)
    }

    /// LSEEK for data or a hole; the kernel does the others itself.
    pub(crate) fn lseek(&self, id: HandleId, offset: i64, whence: i32) -> io::Result<i64> {
        let handle = self.handles.file(id)?;
        let file = self.description(&handle, OFlags::RDONLY)?;
        let at = u64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::ENXIO))?;
        let seek = match whence {
            libc::SEEK_DATA => SeekFrom::Data(at),
            libc::SEEK_HOLE => SeekFrom::Hole(at),
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        Ok(rustix::fs::seek(file.fd(), seek)? as i64)
    }

    /// FALLOCATE, whatever modes the store has.
    pub(crate) fn fallocate(
        &self,
        id: HandleId,
        offset: u64,
        length: u64,
        mode: i32,
        caller: Caller,
    ) -> io::Result<()> {
        self.writable()?;
        let handle = self.handles.file(id)?;
        let observer = self.observer()?;
        let _announced = Announced::new(&**observer, handle.node.key, true);
        let done = {
            let file = self.description(&handle, OFlags::WRONLY)?;
            let perm = self.inodes.stat(&*self.inodes.fd(&handle.node)?)?.perm;
            let _as = As::group_aware(caller, perm);
            let flags = FallocateFlags::from_bits_retain(mode as u32);
            rustix::fs::fallocate(file.fd(), flags, offset, length)
        };
        // One that fails may have zeroed or allocated some of it.
        let path = self.inodes.path(&handle.node);
        observer.changed(handle.node.key, Some(id), &path, Change::Allocate, caller);
        Ok(done?)
    }

    /// COPY_FILE_RANGE inside the kernel; how much was copied.
    pub(crate) fn copy_range(
        &self,
        (from, mut from_at): (HandleId, u64),
        (to, mut to_at): (HandleId, u64),
        length: u64,
        caller: Caller,
    ) -> io::Result<u32> {
        self.writable()?;
        let (source, target) = (self.handles.file(from)?, self.handles.file(to)?);
        let observer = self.observer()?;
        let _announced = Announced::new(&**observer, target.node.key, true);
        let length = usize::try_from(length.min(COPY_MOST)).unwrap_or(usize::MAX);
        let copied = {
            let input = self.description(&source, OFlags::RDONLY)?;
            let output = self.description(&target, OFlags::WRONLY)?;
            let _as = As::changer(caller);
            rustix::fs::copy_file_range(
                input.fd(),
                Some(&mut from_at),
                output.fd(),
                Some(&mut to_at),
                length,
            )?
        };
        if copied > 0 {
            observer.copied(from, to, caller);
        }
        Ok(u32::try_from(copied).unwrap_or(u32::MAX))
    }

    /// A description that can do what `need` says: the handle's own, or one made for this call and given up after it.
    fn description<'h>(&self, handle: &'h Handle, need: OFlags) -> io::Result<Description<'h>> {
        if need == OFlags::WRONLY && !handle.access.write {
            return Err(bad_handle());
        }
        if let Some(file) = &handle.backing {
            return Ok(Description::Kept(file));
        }
        let fd = self.inodes.fd(&handle.node)?;
        Ok(Description::Made(open_again(&*fd, need)?))
    }
}

enum Description<'h> {
    Kept(&'h Own),
    Made(OwnedFd),
}

impl Description<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kept(fd) => fd.as_fd(),
            Self::Made(fd) => fd.as_fd(),
        }
    }
}
