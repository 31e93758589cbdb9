//! The filesystem's reports, turned into ledger events: who it was, what was known, what is left out.

use std::path::Path;
use std::sync::MutexGuard;
use std::time::Duration;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::rows::FileIdentity;
use rustix::io::Errno;

use super::{Engine, Work, lock};
use crate::caller::{Closing, Who};
use crate::digest::{ContentTree, Job, Snapshot};
use crate::ledger::{Flush, Ledger, Opening, Ticket};
use crate::vfs::observer::{Access, Caller, Change, FileKey, HandleId, Observer, Opened};

/// A writable open waits for a digest to let go for at most so long.
const LET_GO: Duration = Duration::from_millis(100);

impl Engine {
    fn who(&self, caller: Caller, writing: bool) -> Vec<Who> {
        let who = self.callers.resolve(caller, writing);
        self.join();
        for who in &who {
            self.facts.learn(&self.callers, who);
        }
        who
    }

    /// Tells the ledger of runs between which data goes. Nobody goes on with the place that a join gave it before the ledger knows of it.
    fn join(&self) {
        let _in_order = lock(&self.joining);
        for merge in self.callers.take_merges() {
            self.step(|l| l.merge(&merge));
        }
    }

    fn opening(&self, o: &Opened<'_>) -> Opening {
        let path = PathBytes::from(o.path);
        let new = !lock(&self.ledger).knows(o.file);
        let fresh = new && !o.access.created && o.before.size > 0;
        let who = self.who(o.caller, o.access.write);
        if o.access.exec {
            self.callers.executes(o.caller);
        }
        let code = is_code(
            &path,
            || who.iter().any(|w| self.callers.is_python(w)),
            || who.iter().any(|w| self.callers.is_its_script(w, o.path)),
        );
        Opening {
            handle: o.handle,
            file: o.file,
            access: o.access,
            before: o.before,
            who,
            known: if fresh {
                self.known_identity(&o.before)
            } else {
                None
            },
            excluded: (new || o.access.write) && self.exclusions.excluded(o.path),
            code,
            inline: o.inline,
            removed: false,
            path,
        }
    }

    /// Names may have moved since the kernel asked: what the ledger is told under its lock is the newest.
    fn at_its_name(&self, opening: &mut Opening) {
        opening.removed = self.backing.is_removed(opening.file);
        let Some(path) = self.backing.path(opening.file) else {
            return;
        };
        let now = PathBytes::from(&*path);
        if now != opening.path {
            opening.excluded = opening.excluded || self.exclusions.excluded(&path);
            opening.path = now;
        }
    }

    /// True when a shell opened the file and somebody else, who is no shell, closes it.
    fn for_shell(&self, handle: HandleId, closer: &Who) -> bool {
        let opener = self.openers.get(&handle).map(|w| *w);
        opener.is_some_and(|o| {
            o.tgid != closer.tgid && self.callers.is_shell(&o) && !self.callers.is_shell(closer)
        })
    }

    /// A step that is told how the file is now: `seen` by the filesystem a moment ago, looked up again when its turn has come.
    fn in_turn(
        &self,
        handle: HandleId,
        seen: Option<&FileIdentity>,
        step: impl FnOnce(&mut Ledger, Option<FileIdentity>),
    ) {
        let file = self.handles.get(&handle).map(|f| *f);
        let _turn = file.map(|f| self.turns.of(f));
        let now = seen.map(|seen| {
            let now = file.and_then(|f| self.backing.identity(f).ok());
            now.unwrap_or(*seen)
        });
        self.step(|l| step(l, now));
    }

    /// A file's turn, and how the file is then. Who `alters` nothing himself waits a moment for a change that was announced and not told.
    fn look(&self, file: FileKey, alters: bool) -> (MutexGuard<'_, ()>, Option<FileIdentity>) {
        let turn = self.turns.of(file);
        let now = self.backing.identity(file).ok();
        // Asked after the look: a change is announced before it is made.
        if alters || !self.turns.is_changing(file) {
            return (turn, now);
        }
        drop(turn);
        self.turns.settled(file);
        (self.turns.of(file), self.backing.identity(file).ok())
    }

    /// What a file holds whose digest is not done, where the store can copy that without copying its bytes.
    fn snapshot(&self, file: FileKey) -> Option<Snapshot> {
        if !self.snapshots.can(file) {
            return None;
        }
        let expect = lock(&self.ledger).at_stake(file)?;
        self.snapshots.take(file, expect)
    }

    /// Inline mode: follow what passes through a file that is being written.
    fn follow(&self, o: &Opened<'_>) {
        if o.access.created || o.access.truncate {
            self.trees.insert(o.file, ContentTree::new());
        }
    }
}

/// Libraries, modules that `a Python` opens, and the script that a shell was started with, by name; what is executed is told by
/// the kernel.
fn is_code(
    path: &PathBytes,
    a_python: impl FnOnce() -> bool,
    its_script: impl FnOnce() -> bool,
) -> bool {
    let name = path.base_name();
    let ends = |endings: &[&[u8]]| endings.iter().any(|e| name.ends_with(e));
    let library = name.ends_with(b".so") || name.windows(4).any(|w| w == b".so.");
    library || ends(&[b".py", b".pyc"]) && a_python() || ends(&[b".sh", b".bash"]) && its_script()
}

impl Observer for Engine {
    fn before_change(&self, file: FileKey, alters: bool) {
        if alters {
            self.turns.announce(file);
        }
        let Some(pool) = self.pool() else { return };
        let snapshot = self.snapshot(file);
        pool.cancel(file, LET_GO);
        if let Some(snapshot) = snapshot {
            let ticket = self.step(|l| l.kept(file, &snapshot.of));
            if let Some((Ticket(ticket), ended)) = ticket {
                pool.submit(Job {
                    ticket,
                    file,
                    ended,
                    tree: None,
                    expect: None,
                    snapshot: Some(snapshot),
                });
            }
        }
    }

    fn write_failed(&self, handle: HandleId) {
        if let Some(file) = self.handles.get(&handle).map(|f| *f) {
            self.trees.remove(&file);
        }
        self.step(|l| l.wrote(handle));
    }

    fn after_change(&self, file: FileKey) {
        self.turns.told(file);
    }

    fn opened(&self, o: &Opened<'_>) {
        if o.access.write && o.inline {
            self.follow(o);
        } else if o.access.write || o.access.truncate {
            // open(O_RDONLY | O_TRUNC) writes nothing, and takes everything away.
            self.trees.remove(&o.file);
        }
        self.handles.insert(o.handle, o.file);
        let alters = o.access.truncate && !o.access.created;
        let mut opening = self.opening(o);
        if o.access.write
            && let Some(who) = opening.who.first()
        {
            self.openers.insert(o.handle, *who);
        }
        let (turn, now) = self.look(o.file, alters);
        if !o.access.truncate
            && !o.access.created
            && let Some(now) = now
            && now != opening.before
        {
            opening.before = now;
            opening.known = None;
        }
        self.step(|l| {
            self.at_its_name(&mut opening);
            l.opened(opening);
        });
        drop(turn);
    }

    fn read(&self, handle: HandleId, _offset: u64, _bytes: &[u8]) {
        self.step(|l| l.read(handle));
    }

    fn wrote(&self, handle: HandleId, offset: u64, bytes: &[u8]) {
        if let Some(file) = self.handles.get(&handle).map(|f| *f)
            && let Some(mut tree) = self.trees.get_mut(&file)
        {
            tree.write(offset, bytes);
        }
        self.step(|l| l.wrote(handle));
    }

    fn flushed(&self, handle: HandleId, caller: Caller, now: &FileIdentity) {
        // Who only lets go of what it inherited, to become another program, ends nothing.
        let Some(Closing {
            who,
            closed,
            status,
            executing,
        }) = self.callers.closing(caller)
        else {
            return;
        };
        let for_shell = !executing && self.for_shell(handle, &who);
        // `{ a; b; } > out`: both wrote it.
        if for_shell && let Some(first) = lock(&self.ledger).heir(handle) {
            self.callers.write_on(first, &who);
        }
        self.join();
        self.facts.learn(&self.callers, &who);
        self.in_turn(handle, Some(now), |l, now| {
            let Some(now) = now else { return };
            l.flushed(&Flush {
                handle,
                who,
                for_shell,
                closed,
                status,
                now,
            });
        });
        self.settle_journal();
    }

    fn released(&self, handle: HandleId, now: Option<&FileIdentity>) {
        self.in_turn(handle, now, |l, now| l.released(handle, now.as_ref()));
        self.handles.remove(&handle);
        self.openers.remove(&handle);
        self.settle_journal();
    }

    fn changed(
        &self,
        file: FileKey,
        handle: Option<HandleId>,
        path: &Path,
        how: Change,
        caller: Caller,
    ) {
        // Lengths and holes made outside write(2): the bytes are read again instead of guessed.
        self.trees.remove(&file);
        tracing::trace!(?how, "changed without a write");
        let who = self.who(caller, true);
        match handle {
            Some(handle) => {
                if let Some(who) = who.first().copied() {
                    self.step(|l| l.resized(handle, who));
                }
            }
            None => {
                let _turn = self.turns.of(file);
                let Ok(now) = self.backing.identity(file) else {
                    return;
                };
                let path_bytes = PathBytes::from(path);
                let mut opening = Opening {
                    handle: HandleId(u64::MAX),
                    file,
                    access: Access {
                        write: true,
                        ..Access::default()
                    },
                    before: now,
                    who,
                    known: None,
                    excluded: self.exclusions.excluded(path),
                    code: false,
                    inline: false,
                    removed: false,
                    path: path_bytes,
                };
                self.step(|l| {
                    self.at_its_name(&mut opening);
                    l.resized_by_name(opening, &now);
                });
                self.settle_journal();
            }
        }
    }

    fn copied(&self, from: HandleId, to: HandleId, _caller: Caller) {
        if let Some(file) = self.handles.get(&to).map(|f| *f) {
            self.trees.remove(&file);
        }
        let source = self.handles.get(&from).map(|f| *f);
        let now = source.and_then(|f| self.backing.identity(f).ok());
        self.step(|l| l.copied(from, to, now.as_ref()));
    }

    fn renamed(&self, from: &Path, to: &Path, replaced: Option<FileKey>, _caller: Caller) {
        let (from, to) = (PathBytes::from(from), PathBytes::from(to));
        let unwanted = self.step(|l| {
            // First the index as a whole, then the rows that the ledger knows better; and no row under an old name between the two.
            let _ = self.scribe.send(Work::Renamed(from.clone(), to.clone()));
            l.renamed(&from, &to, replaced)
        });
        if let Some(file) = replaced.filter(|_| unwanted)
            && let Some(pool) = self.pool()
        {
            pool.cancel(file, LET_GO);
        }
        self.settle_journal();
    }

    fn exchanged(&self, a: &Path, b: &Path, _caller: Caller) {
        let (a, b) = (PathBytes::from(a), PathBytes::from(b));
        self.step(|l| {
            let _ = self.scribe.send(Work::Exchanged(a.clone(), b.clone()));
            l.exchanged(&a, &b);
        });
        self.settle_journal();
    }

    fn placed(&self, file: FileKey) {
        self.step(|l| {
            if let Some(path) = self.backing.path(file) {
                l.placed(file, &PathBytes::from(&*path));
            }
        });
        self.settle_journal();
    }

    fn linked(&self, file: FileKey, path: &Path) {
        self.step(|l| l.linked(file, PathBytes::from(path)));
    }

    fn unlinked(&self, file: FileKey, path: &Path, last: bool, _caller: Caller) {
        let path = PathBytes::from(path);
        let unwanted = self.step(|l| {
            if last {
                let _ = self.scribe.send(Work::Gone(path.clone()));
            }
            l.unlinked(file, &path, last)
        });
        if unwanted && let Some(pool) = self.pool() {
            pool.cancel(file, LET_GO);
        }
    }

    fn before_restating(&self, file: FileKey) {
        self.turns.announce(file);
    }

    fn restated(&self, file: FileKey, before: &FileIdentity, now: &FileIdentity) {
        {
            let _turn = self.turns.of(file);
            let latest = self.backing.identity(file).unwrap_or(*now);
            if before != now || before != &latest {
                self.step(|l| l.restated(file, before, (*now, latest)));
            }
        }
        self.turns.told(file);
        self.settle_journal();
    }

    fn attribute(
        &self,
        file: FileKey,
        name: &[u8],
        caller: Caller,
    ) -> Option<Result<Vec<u8>, Errno>> {
        self.virtual_attribute(file, name, caller)
    }

    fn virtual_file(&self, name: &Path, caller: Caller) -> Option<Result<Vec<u8>, Errno>> {
        self.read_virtual(name, caller)
    }

    fn virtual_write(&self, name: &Path, bytes: &[u8], caller: Caller) -> Result<(), Errno> {
        self.write_virtual(name, bytes, caller)
    }
}
