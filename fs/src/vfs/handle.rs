//! Open files: which there are, and which of the two ways of moving bytes an inode is in. Not the inodes themselves.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use super::dir::DirHandle;
use super::inode::Node;
use super::observer::{Access, Caller, HandleId};
use super::virtual_files::VirtualHandle;
use crate::descriptors::Own;

/// A backing file registered with the kernel; it is registered as long as one of these lives.
#[derive(Clone)]
pub(crate) struct Token(pub(crate) Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Registers a backing file with the kernel. The other side of this seam is the only file that knows how.
pub(crate) trait Register {
    /// Fails where the kernel will not pass this file through.
    fn register(&self, backing: BorrowedFd<'_>) -> io::Result<Token>;
}

/// The open state of an inode. The kernel refuses (EIO) an open in one way while another is open in the other, so the first decides.
#[derive(Debug, Default)]
pub(crate) struct Opens {
    pub(crate) way: Option<Way>,
    pub(crate) total: u32,
    pub(crate) writers: u32,
    /// Bytes and times may change unseen: somebody could store into mapped pages, and it was not proven since that nobody can any more.
    pub(crate) restless: bool,
}

/// Who moves an inode's bytes while it is open.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    Passthrough(Token),
    Inline,
}

impl Opens {
    /// True when attributes that the kernel has may be wrong from now on.
    pub(crate) fn opened(&mut self, way: Way, write: bool) -> bool {
        let unseen = write && matches!(way, Way::Passthrough(_));
        let begins = unseen && !self.restless;
        self.restless |= unseen;
        self.way = Some(way);
        self.total += 1;
        self.writers += u32::from(write);
        begins
    }

    /// Nobody could write when this was found out.
    pub(crate) fn at_rest(&mut self) {
        self.restless = self.restless && self.writers > 0;
    }

    pub(crate) fn closed(&mut self, write: bool) {
        self.total = self.total.saturating_sub(1);
        self.writers = self.writers.saturating_sub(u32::from(write));
        if self.total == 0 {
            self.way = None;
        }
    }
}

/// One open regular file.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) id: HandleId,
    pub(crate) node: Arc<Node>,
    pub(crate) access: Access,
    pub(crate) opener: Caller,
    /// Inline only: in passthrough the daemon holds no description, so that a lease tells whether any job does.
    pub(crate) backing: Option<Own>,
}

/// What a handle number stands for.
#[derive(Debug, Clone)]
pub(crate) enum Open {
    File(Arc<Handle>),
    Dir(Arc<DirHandle>),
    Virtual(Arc<VirtualHandle>),
}

/// All open files, directories and virtual files.
#[derive(Debug)]
pub(crate) struct Handles {
    open: DashMap<u64, Open>,
    next: AtomicU64,
}

impl Handles {
    pub(crate) fn new() -> Self {
        Self {
            open: DashMap::new(),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn next(&self) -> HandleId {
        HandleId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn insert(&self, id: HandleId, open: Open) {
        self.open.insert(id.0, open);
    }

    pub(crate) fn remove(&self, id: HandleId) -> Option<Open> {
        self.open.remove(&id.0).map(|(_, open)| open)
    }

    pub(crate) fn any(&self, id: HandleId) -> io::Result<Open> {
        let open = self.open.get(&id.0).map(|o| o.clone());
        open.ok_or_else(bad_handle)
    }

    pub(crate) fn file(&self, id: HandleId) -> io::Result<Arc<Handle>> {
        match self.any(id)? {
            Open::File(file) => Ok(file),
            _ => Err(bad_handle()),
        }
    }

    pub(crate) fn dir(&self, id: HandleId) -> io::Result<Arc<DirHandle>> {
        match self.any(id)? {
            Open::Dir(dir) => Ok(dir),
            _ => Err(bad_handle()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// The open regular files at this moment.
    pub(crate) fn files(&self) -> Vec<Arc<Handle>> {
        let files = self.open.iter().filter_map(|entry| match entry.value() {
            Open::File(file) => Some(Arc::clone(file)),
            _ => None,
        });
        files.collect()
    }
}

pub(crate) fn bad_handle() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_open_again_only_when_the_last_handle_is_gone() {
        let mut opens = Opens::default();
        opens.opened(Way::Inline, true);
        opens.opened(Way::Inline, false);
        opens.closed(true);
        assert_eq!((opens.writers, opens.total), (0, 1));
        assert!(matches!(opens.way, Some(Way::Inline)));
        opens.closed(false);
        assert!(opens.way.is_none());
    }
}
