//! Who closed or changed a held file, from fanotify on its backing inode. A hint and an alarm: without it a timer and the identity have to do.
//!
//! Needs `CAP_SYS_ADMIN`. The kernel queues an event before the system call that caused it returns, so a queue read empty (`drain`) has missed
//! nothing that came before. Stores through a mapping cause no event but the close.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::fstat;

/// Which inode, as an event's descriptor tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    dev: u64,
    ino: u64,
}

impl Inode {
    /// Of an open file.
    pub(super) fn of(file: impl AsFd) -> io::Result<Self> {
        let s = fstat(file)?;
        Ok(Self {
            dev: s.st_dev,
            ino: s.st_ino,
        })
    }
}

/// What happened to one watched inode.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    closed: bool,
    /// Counts up with `FAN_MODIFY`, though not once for each write: see `Watch::enter`.
    writes: u64,
}

/// How far an inode's writes had come when a watch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) inode: Inode,
    writes: u64,
}

/// A fanotify group with one mark for each watched inode.
pub(super) struct Watch {
    group: OwnedFd,
    /// Locked over the reading of the queue too, so that no event is in between: read, and not yet entered.
    seen: Mutex<HashMap<Inode, Seen>>,
}

impl Watch {
    /// Fails with EPERM without the privilege, with ENOSYS or EINVAL on a kernel without fanotify.
    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_UNLIMITED_QUEUE
            | libc::FAN_UNLIMITED_MARKS;
        let event_flags = libc::O_RDONLY | libc::O_LARGEFILE | libc::O_CLOEXEC | libc::O_NOATIME;
        // SAFETY: takes two integers, returns a descriptor or -1.
        let fd = unsafe { libc::fanotify_init(flags, event_flags as libc::c_uint) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the kernel has just made it for us, and nobody else knows it.
            group: unsafe { OwnedFd::from_raw_fd(fd) },
            seen: Mutex::default(),
        })
    }

    /// Watches the inode from now on. May be called again for the same inode, by several tasks.
    pub(super) fn start(&self, file: &File) -> io::Result<Since> {
        let inode = Inode::of(file)?;
        let mut seen = self.lock();
        self.read_queue(&mut seen);
        self.mark(file.as_fd(), libc::FAN_MARK_ADD, EVENTS)?;
        let writes = seen.entry(inode).or_default().writes;
        Ok(Since { inode, writes })
    }

    /// Stops watching. Without the file at hand (`None`) the mark goes at its next event, or with the inode, which it does not pin.
    pub(super) fn stop(&self, inode: Inode, file: Option<&File>) {
        let mut seen = self.lock();
        seen.remove(&inode);
        if let Some(file) = file {
            let _ = self.mark(file.as_fd(), libc::FAN_MARK_REMOVE, EVENTS);
        }
    }

    /// Reads the queue empty.
    pub(super) fn drain(&self) {
        self.read_queue(&mut self.lock());
    }

    /// True if a writer closed the inode since the last time this was asked. Reads no queue.
    pub(super) fn take_closed(&self, inode: Inode) -> bool {
        self.lock()
            .get_mut(&inode)
            .is_some_and(|seen| std::mem::take(&mut seen.closed))
    }

    /// True if the inode was written since then, as far as events tell. Reads the queue first. An inode that is not watched counts as written.
    pub(super) fn modified(&self, since: Since) -> bool {
        let mut seen = self.lock();
        self.read_queue(&mut seen);
        seen.get(&since.inode)
            .is_none_or(|seen| seen.writes != since.writes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Inode, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, file: BorrowedFd<'_>, action: libc::c_uint, events: u64) -> io::Result<()> {
        // Evictable: a mark shall not keep an inode in memory that everybody else has forgotten.
        let evictable = if action == libc::FAN_MARK_ADD {
            FAN_MARK_EVICTABLE
        } else {
            0
        };
        // SAFETY: both descriptors are open; a null path means the descriptor's own inode (fanotify_mark(2)).
        let answer = unsafe {
            libc::fanotify_mark(
                self.group.as_raw_fd(),
                action | evictable,
                events,
                file.as_raw_fd(),
                std::ptr::null(),
            )
        };
        if answer < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn read_queue(&self, seen: &mut HashMap<Inode, Seen>) {
        let mut buffer = [0u8; 8192];
        loop {
            match rustix::io::read(&self.group, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return,
                Ok(n) => self.enter(&buffer[..n], seen),
                Err(rustix::io::Errno::INTR) => {}
                // The event is lost with the error (EMFILE, ENFILE, EOVERFLOW, ...): it may have been about any of them.
                Err(_) => {
                    alarm(seen);
                    return;
                }
            }
        }
    }

    fn enter(&self, mut events: &[u8], seen: &mut HashMap<Inode, Seen>) {
        while let Some(event) = Event::parse(events) {
            events = &events[event.len..];
            let Some(file) = event.file else {
                alarm(seen); // FAN_Q_OVERFLOW
                continue;
            };
            let Ok(inode) = Inode::of(&file) else {
                alarm(seen);
                continue;
            };
            let Some(entry) = seen.get_mut(&inode) else {
                let _ = self.mark(file.as_fd(), libc::FAN_MARK_REMOVE, EVENTS);
                continue;
            };
            entry.closed |= event.mask & libc::FAN_CLOSE_WRITE != 0;
            if event.mask & libc::FAN_MODIFY != 0 {
                entry.writes += 1;
                // One is enough until somebody asks again; a standing mark makes small writes two or three times slower.
                let _ = self.mark(file.as_fd(), libc::FAN_MARK_REMOVE, libc::FAN_MODIFY);
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// Events were lost: whatever is watched may have changed, and may be free.
fn alarm(seen: &mut HashMap<Inode, Seen>) {
    for entry in seen.values_mut() {
        entry.closed = true;
        entry.writes += 1;
    }
}

/// One event, as fanotify(7) lays it out: length u32, version u8, reserved u8, header length u16, mask u64, descriptor i32, pid i32.
struct Event {
    len: usize,
    mask: u64,
    file: Option<OwnedFd>,
}

impl Event {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
        let len = u32::from_ne_bytes(word(0)?) as usize;
        if len < HEADER
            || len > bytes.len()
            || bytes.get(4) != Some(&libc::FANOTIFY_METADATA_VERSION)
        {
            return None;
        }
        let fd = i32::from_ne_bytes(word(16)?);
        Some(Self {
            len,
            mask: u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?),
            // SAFETY: the kernel has opened it for the reader of this event alone, and each event is parsed once.
            file: (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) }),
        })
    }
}

const HEADER: usize = 24;
const EVENTS: u64 = libc::FAN_CLOSE_WRITE | libc::FAN_MODIFY;
/// Linux 5.19, `linux/fanotify.h`.
const FAN_MARK_EVICTABLE: libc::c_uint = 0x200;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn watch() -> Option<Watch> {
        match Watch::new() {
            Ok(watch) => Some(watch),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => None,
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn a_write_and_a_close_before_the_question_are_never_missed() {
        let Some(watch) = watch() else { return };
        for dir in crate::digest::testing::stores() {
            let path = dir.path().join("f");
            let mut writer = File::create(&path).unwrap();
            let reader = File::open(&path).unwrap();
            writer.write_all(b"before the watch").unwrap();
            let first = watch.start(&reader).unwrap();
            assert!(!watch.modified(first));
            writer.write_all(b"x").unwrap();
            let second = watch.start(&reader).unwrap();
            assert!(watch.modified(first), "a second watcher hides no write");
            assert!(!watch.modified(second));
            writer.write_all(b"y").unwrap();
            assert!(watch.modified(second));
            assert!(!watch.take_closed(first.inode));
            drop(writer);
            watch.drain();
            assert!(watch.take_closed(first.inode));
            assert!(!watch.take_closed(first.inode));
        }
    }

    #[test]
    fn an_inode_that_nobody_watches_counts_as_modified() {
        let Some(watch) = watch() else { return };
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("f")).unwrap();
        let since = watch.start(&file).unwrap();
        assert!(!watch.modified(since));
        watch.stop(since.inode, None);
        assert!(watch.modified(since));
    }

    #[test]
    fn a_damaged_event_ends_the_parse() {
        assert!(Event::parse(&[]).is_none());
        assert!(Event::parse(&[24, 0, 0, 0, 3]).is_none());
        assert!(Event::parse(&[0; 24]).is_none());
        assert!(Event::parse(&[255; 24]).is_none());
    }
}
