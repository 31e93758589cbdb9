//! What a worker does with one task: open, lease, pass, compare. Not when: the pool decides that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use atlas_manifests::digest::Digests;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::Quiet;

use rustix::io::Errno;

use super::pass::{Content, Pass};
use super::quiet::{self, Leases};
use super::running::Running;
use super::watch::{Inode, Since, Watch};
use super::{ContentTree, HEAD, Job, Outcome, Snapshot, TreeError};
use crate::vfs::observer::{Backing, FileKey};

/// A job and how far it has come. Holds no descriptor.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) ticket: u64,
    pub(super) file: FileKey,
    pub(super) ended: bool,
    tree: Option<ContentTree>,
    /// What the file must be when its first digest starts, unless it was held.
    expect: Option<FileIdentity>,
    /// Whatever becomes of the file: what is digested is this.
    pub(super) snapshot: Option<Snapshot>,
    /// What it was when the lease was had: later writers are not part of this version.
    ended_as: Option<FileIdentity>,
    /// The lease was refused once. The kernel tells of the last close a moment before it lets go of the file.
    refused: bool,
    /// Since the lease was refused again.
    held: Option<Held>,
    /// Between the last try and the next.
    pub(super) delay: Duration,
}

/// The first pause between two tries.
const FIRST_DELAY: Duration = Duration::from_millis(1);

/// A version that someone can still write.
#[derive(Debug)]
struct Held {
    since: Instant,
    /// Marked in fanotify, to be unmarked at the end.
    watched: Option<Inode>,
    /// Digested as `Quiet::Held` already.
    digested: Option<(Digests, FileIdentity)>,
}

impl Task {
    pub(super) fn new(job: Job) -> Self {
        Self {
            ticket: job.ticket,
            file: job.file,
            ended: job.ended,
            tree: job.tree,
            expect: job.expect,
            snapshot: job.snapshot,
            ended_as: None,
            refused: false,
            held: None,
            delay: FIRST_DELAY,
        }
    }

    /// The inode whose closing is waited for.
    pub(super) fn watched(&self) -> Option<Inode> {
        self.held.as_ref()?.watched
    }

    /// The identity is not what it has to be.
    fn is_other(&self, now: &FileIdentity) -> bool {
        let differs = |then: FileIdentity| !then.same_bytes(now);
        self.expect.is_some_and(differs) || self.ended_as.is_some_and(differs)
    }

    /// When it will be digested without proof of quiet, if it still can be.
    pub(super) fn patience_ends(&self, patience: Duration) -> Option<Instant> {
        let held = self.held.as_ref()?;
        held.digested.is_none().then(|| held.since + patience)
    }
}

/// What is left to do with a task after a worker had it.
#[derive(Debug)]
pub(super) enum After {
    /// Nothing.
    Over(Outcome),
    /// Try again later; tell this now, if anything.
    Park(Option<Outcome>),
    /// Try again at once: a lease was broken, so a writer is there now.
    Again,
}

/// Why a digest ended early.
#[derive(Debug)]
enum Stop {
    Cancelled,
    /// The lease did not last: someone wants to write.
    Broken,
    Read(io::Error),
    Differs(TreeError),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Read(e)
    }
}

/// What a worker needs besides its task.
pub(super) struct Worker<'a> {
    pub(super) backing: &'a dyn Backing,
    pub(super) watch: Option<&'a Watch>,
    pub(super) patience: Duration,
    /// Tells idle workers of a large pass until the guard is dropped.
    pub(super) offer: &'a dyn Fn(&Arc<Pass>),
}

impl Worker<'_> {
    /// Does what can be done now. When it returns, no descriptor and no lease is left.
    pub(super) fn work(&self, task: &mut Task, running: &Running) -> After {
        if let Some(snapshot) = task.snapshot.take() {
            return self.read_snapshot(task, running, &snapshot);
        }
        let file = match self.open(task) {
            Ok(file) => Arc::new(file),
            Err(e) if is_passing(&e) => return After::Park(None),
            Err(e) => {
                if let Some((watch, inode)) = self.watch.zip(task.watched()) {
                    watch.stop(inode, None);
                }
                return After::Over(unreadable(task.ticket, &e));
            }
        };
        let result = self.attempt(task, running, &file);
        running.give_up();
        let after = result.unwrap_or_else(|stop| self.stopped(task, &file, stop));
        if matches!(after, After::Over(_)) {
            self.unwatch(task.watched(), &file);
        }
        after
    }

    /// A copy changes no more, and quiet was proven when it was taken.
    fn read_snapshot(&self, task: &mut Task, running: &Running, snapshot: &Snapshot) -> After {
        match self.read(task, running, &snapshot.file, &snapshot.of, &mut false) {
            Ok(content) => After::Over(done(task.ticket, content, true, snapshot.of)),
            Err(stop) => self.stopped(task, &snapshot.file, stop),
        }
    }

    fn open(&self, task: &Task) -> io::Result<File> {
        let file = self.backing.open_read(task.file)?;
        if self.backing.key_of(&file)? != task.file {
            return Err(Errno::STALE.into());
        }
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(file)
    }

    fn attempt(&self, task: &mut Task, running: &Running, file: &Arc<File>) -> Result<After, Stop> {
        let mut lease = running.lease(file).ok_or(Stop::Cancelled)?;
        if lease == Leases::Refused && task.ended {
            // Whoever lets go between that refusal and the watch causes no event: ask once more.
            let watched = self.watch(file);
            lease = running.lease(file).ok_or(Stop::Cancelled)?;
            if lease == Leases::Refused {
                return self.held(task, running, file, watched);
            }
            if task.held.is_none() {
                self.unwatch(watched.map(|since| since.inode), file);
            }
        }
        let before = self.backing.identity_of(file)?;
        let ticket = task.ticket;
        if task.is_other(&before) {
            if task.refused && task.held.is_none() {
                return Ok(hold(task, None));
            }
            return Ok(After::Over(Outcome::Changed {
                ticket,
                identity: before,
            }));
        }
        let mut proven = lease == Leases::Given;
        let content = match self.read(task, running, file, &before, &mut proven) {
            Err(Stop::Broken) => {
                // The version ended: what the newcomer does is not part of it.
                task.ended_as = Some(before);
                return Err(Stop::Broken);
            }
            other => other?,
        };
        let identity = self.backing.identity_of(file)?;
        // In this order: a lease that still stands now stood while the identity was taken.
        if proven && !quiet::holds(file) {
            proven = false;
            if task.ended {
                task.ended_as = Some(before);
                return Err(Stop::Broken);
            }
        }
        if !proven && identity != before && identity.same_bytes(&before) {
            return Ok(After::Park(None)); // renamed, perhaps; without a lease that is not good enough
        }
        let same_as_held = task
            .held
            .as_ref()
            .and_then(|held| held.digested.as_ref())
            .is_none_or(|(digests, then)| {
                *digests == content.digests && then.same_bytes(&identity)
            });
        let unchanged = identity == before || (proven && identity.same_bytes(&before));
        Ok(After::Over(if unchanged && same_as_held {
            done(ticket, content, proven, identity)
        } else {
            Outcome::Changed { ticket, identity }
        }))
    }

    /// The lease is refused: wait, or after `patience` digest while watching.
    fn held(
        &self,
        task: &mut Task,
        running: &Running,
        file: &Arc<File>,
        watched: Option<Since>,
    ) -> Result<After, Stop> {
        let ticket = task.ticket;
        if !std::mem::replace(&mut task.refused, true) {
            self.unwatch(watched.map(|since| since.inode), file);
            return Ok(After::Park(None));
        }
        let Some(held) = task.held.as_mut() else {
            return Ok(hold(task, watched.map(|since| since.inode)));
        };
        held.watched = watched.map(|since| since.inode);
        if held.digested.is_some() || held.since.elapsed() < self.patience {
            return Ok(After::Park(None));
        }
        let before = self.backing.identity_of(file)?;
        if task.is_other(&before) {
            return Ok(After::Over(Outcome::Changed {
                ticket,
                identity: before,
            }));
        }
        let content = self.read(task, running, file, &before, &mut false)?;
        let written = watched
            .zip(self.watch)
            .is_some_and(|(since, watch)| watch.modified(since));
        let identity = self.backing.identity_of(file)?;
        if written || !identity.same_bytes(&before) {
            return Ok(After::Over(Outcome::Changed { ticket, identity }));
        }
        if identity != before {
            return Ok(After::Park(None)); // renamed, perhaps: again
        }
        if let Some(held) = task.held.as_mut() {
            held.digested = Some((content.digests, identity));
        }
        Ok(After::Park(Some(done(ticket, content, false, identity))))
    }

    fn watch(&self, file: &File) -> Option<Since> {
        self.watch?.start(file).ok()
    }

    fn unwatch(&self, inode: Option<Inode>, file: &File) {
        if let Some((watch, inode)) = self.watch.zip(inode) {
            watch.stop(inode, Some(file));
        }
    }

    /// Reads the content once. `leased` goes to false when an input's lease is broken and the digest goes on without.
    fn read(
        &self,
        task: &mut Task,
        running: &Running,
        file: &Arc<File>,
        before: &FileIdentity,
        leased: &mut bool,
    ) -> Result<Content, Stop> {
        let ended = task.ended;
        running.size.store(before.size, Ordering::Relaxed);
        let mut go_on = |done: u64| {
            running.done.store(done, Ordering::Relaxed);
            if running.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            if *leased && !quiet::holds(file) {
                if ended {
                    return Err(Stop::Broken);
                }
                running.give_up();
                *leased = false;
            }
            Ok(())
        };
        let content = match task.tree.as_mut().filter(|tree| !tree.knows_nothing()) {
            Some(tree) => finish(tree, file, before.size, &mut go_on)?,
            None => {
                let pass = Arc::new(Pass::new(Arc::clone(file), before.size));
                if Pass::is_large(before.size) {
                    (self.offer)(&pass);
                }
                pass.lead(&mut go_on)?
            }
        };
        if file.read_at(&mut [0], before.size)? > 0
            && self.backing.identity_of(file)?.size == before.size
        {
            return Err(Stop::Read(io::Error::other(
                "it has more bytes than its length says (made up as it is read, as in /proc?)",
            )));
        }
        Ok(content)
    }

    fn stopped(&self, task: &Task, file: &File, stop: Stop) -> After {
        let ticket = task.ticket;
        let changed = || match self.backing.identity_of(file) {
            Ok(identity) => Outcome::Changed { ticket, identity },
            Err(e) => unreadable(ticket, &e),
        };
        match stop {
            Stop::Cancelled => After::Over(changed()),
            Stop::Broken => After::Again,
            Stop::Read(e) if e.kind() == io::ErrorKind::UnexpectedEof => After::Over(changed()),
            Stop::Read(e) => After::Over(unreadable(ticket, &e)),
            Stop::Differs(e) => After::Over(failed(ticket, &e)),
        }
    }
}

/// Somebody could still write it after all were told that it had ended: the content is whatever it is when the last writer lets go.
fn hold(task: &mut Task, watched: Option<Inode>) -> After {
    task.expect = None;
    task.tree = None;
    task.held = Some(Held {
        since: Instant::now(),
        watched,
        digested: None,
    });
    After::Park(Some(Outcome::Held {
        ticket: task.ticket,
    }))
}

fn finish(
    tree: &mut ContentTree,
    file: &File,
    size: u64,
    go_on: &mut impl FnMut(u64) -> Result<(), Stop>,
) -> Result<Content, Stop> {
    if tree.len() != size {
        return Err(Stop::Differs(TreeError::Length {
            written: tree.len(),
            stored: size,
        }));
    }
    let mut head = vec![0; size.min(HEAD as u64) as usize];
    file.read_exact_at(&mut head, 0)?;
    let mut stop = None;
    let digests = tree.finish(|at, buffer| {
        go_on(at).map_err(|why| {
            stop = Some(why);
            io::Error::other("stopped")
        })?;
        file.read_exact_at(buffer, at)
    });
    match (digests, stop) {
        (_, Some(why)) => Err(why),
        (Ok(digests), None) => {
            go_on(size)?;
            Ok(Content { digests, head })
        }
        (Err(TreeError::Read(e)), None) => Err(Stop::Read(e)),
        (Err(e), None) => Err(Stop::Differs(e)),
    }
}

fn done(ticket: u64, content: Content, proven: bool, identity: FileIdentity) -> Outcome {
    Outcome::Done {
        ticket,
        digests: content.digests,
        quiet: if proven { Quiet::Proven } else { Quiet::Held },
        identity,
        head: content.head,
    }
}

fn failed(ticket: u64, error: &dyn std::fmt::Display) -> Outcome {
    Outcome::Failed {
        ticket,
        error: error.to_string(),
    }
}

/// `Gone` when the file does not exist any more, else `Failed`.
pub(super) fn unreadable(ticket: u64, e: &io::Error) -> Outcome {
    if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESTALE) {
        Outcome::Gone { ticket }
    } else {
        failed(ticket, e)
    }
}

/// The machine is short of something that will come back.
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
    )
}
