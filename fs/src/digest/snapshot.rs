//! A copy of a file at rest that shares its blocks (FICLONE), taken before a writer is let in, so that what the file held can still be digested.
//! Not the digest of it: see `work`; nor whether it is worth one: the ledger decides that.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use atlas_manifests::rows::FileIdentity;
use rustix::fs::ioctl_ficlone;
use rustix::io::Errno;

use super::quiet::{self, Leases};
use super::running::Running;
use crate::vfs::observer::{Backing, FileKey};

/// Copies that wait for their digest at most: each is a descriptor, and keeps the blocks that the file itself has given up.
const MOST: usize = 64;
/// How long a writer waits for a copy: before the kernel shares a file's blocks it writes out what is dirty. A second is worth a version's proof.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same while another writer waits already: not every thread of the mount may stand still for it.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// A copy. It has no name, and is gone when this is dropped.
#[derive(Debug)]
pub struct Snapshot {
    /// Its bytes.
    pub(super) file: Arc<File>,
    /// What identified the file when it was taken.
    pub of: FileIdentity,
    _place: Place,
}

/// One of `MOST`.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes copies, on a thread of its own, so that no writer waits longer than he is meant to.
#[derive(Debug)]
pub struct Snapshots {
    ask: Sender<Request>,
    thread: Option<JoinHandle<()>>,
    taken: Arc<AtomicUsize>,
    /// Writers that wait for a copy.
    waiting: AtomicUsize,
    /// The copy that is perhaps still being made although its writer waits no more.
    late: Mutex<Weak<Running>>,
    /// Devices of stores that have shown that they cannot do it.
    unable: Arc<Mutex<BTreeSet<u64>>>,
}

#[derive(Debug)]
struct Request {
    file: FileKey,
    expect: Option<FileIdentity>,
    running: Arc<Running>,
    answer: SyncSender<Snapshot>,
    place: Place,
}

impl Snapshots {
    /// Starts the thread. Without one there are no copies.
    pub fn start(backing: Arc<dyn Backing>) -> Self {
        let (ask, inbox) = channel();
        let unable = Arc::<Mutex<BTreeSet<u64>>>::default();
        let told = Arc::clone(&unable);
        let thread = std::thread::Builder::new()
            .name("digest-snapshots".to_owned())
            .spawn(move || serve(&*backing, &inbox, &told))
            .inspect_err(|e| tracing::error!("digest-snapshots did not start: {e}"))
            .ok();
        Self {
            ask,
            thread,
            taken: Arc::default(),
            waiting: AtomicUsize::new(0),
            late: Mutex::default(),
            unable,
        }
    }

    /// False where it is known that there will be no copy: not worth asking for one.
    pub fn can(&self, file: FileKey) -> bool {
        self.taken.load(Ordering::Relaxed) < MOST
            && lock(&self.late).strong_count() == 0
            && !lock(&self.unable).contains(&file.dev)
    }

    /// A copy of a file that nobody can write and that is still what `expect` says, if it does, but for its change time. `None` when there is none
    /// within a second, less when others wait too.
    pub fn take(&self, file: FileKey, expect: Option<FileIdentity>) -> Option<Snapshot> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let running = Arc::new(Running::default());
        let (answer, answers) = sync_channel(1);
        let request = Request {
            file,
            expect,
            running: Arc::clone(&running),
            answer,
            place: Place(Arc::clone(&self.taken)),
        };
        self.ask.send(request).ok()?;
        let first = self.waiting.fetch_add(1, Ordering::Relaxed) == 0;
        let answer = answers.recv_timeout(if first { PATIENCE } else { IMPATIENCE });
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if matches!(answer, Err(RecvTimeoutError::Timeout)) {
            *lock(&self.late) = Arc::downgrade(&running);
            // From here on no lease of this request is in a writer's way, and the copy that is still being made does not count.
            running.cancel();
        }
        answer.ok()
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        let (closed, _) = channel();
        self.ask = closed;
        if let Some(thread) = self.thread.take() {
            // Fails only when the thread panicked, which it has said itself.
            let _ = thread.join();
        }
    }
}

fn serve(backing: &dyn Backing, inbox: &Receiver<Request>, unable: &Mutex<BTreeSet<u64>>) {
    for request in inbox {
        let made = copy(backing, &request);
        request.running.give_up();
        match made {
            Ok(Some((file, of))) => {
                // Who has given up waiting drops it.
                let _ = request.answer.send(Snapshot {
                    file: Arc::new(file),
                    of,
                    _place: request.place,
                });
            }
            Ok(None) => {}
            Err(e) => {
                if is_lasting(&e) {
                    lock(unable).insert(request.file.dev);
                }
                tracing::debug!("no copy of a file that is written again: {e}");
            }
        }
    }
}

fn copy(backing: &dyn Backing, request: &Request) -> io::Result<Option<(File, FileIdentity)>> {
    let Request {
        file: key,
        expect,
        running,
        ..
    } = request;
    let none = |why: &str| {
        tracing::debug!("no copy of a file that is written again: {why}");
        Ok(None)
    };
    if running.is_cancelled() {
        return none("it would come too late");
    }
    let file = Arc::new(backing.open_read(*key)?);
    if backing.key_of(&file)? != *key {
        return none("it is another file by now");
    }
    if running.lease(&file) != Some(Leases::Given) {
        return none("somebody could still write it, or it would come too late");
    }
    let of = backing.identity_of(&file)?;
    if expect.is_some_and(|expect| !expect.same_bytes(&of)) {
        return none("it has changed since it was closed");
    }
    let copy = backing.nameless()?;
    ioctl_ficlone(&copy, &*file)?;
    // A lease that still stands now stood while the blocks were shared.
    if !quiet::holds(&file) {
        return none("a writer came first");
    }
    Ok(Some((copy, of)))
}

/// The store does not do it, now or later.
fn is_lasting(e: &io::Error) -> bool {
    let never = [
        Errno::OPNOTSUPP,
        Errno::NOTTY,
        Errno::XDEV,
        Errno::INVAL,
        Errno::NOSYS,
        Errno::ISDIR,
        Errno::ROFS,
    ];
    Errno::from_io_error(e).is_some_and(|e| never.contains(&e))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
