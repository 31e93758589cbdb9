//! How versions end: closes, releases, heirs, and what follows on an end. The digest comes later: see `settle`.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::RunId;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::{Closed, Cut, Kind, State};

use super::file::Writing;
use super::node::{Authored, Named, Node};
use super::{Effect, Flush, Ledger, NodeIx, Phase, Ticket};
use crate::caller::Who;
use crate::vfs::observer::{FileKey, HandleId};

impl Ledger {
    /// A process closed one of its descriptors of this handle.
    pub fn flushed(&mut self, f: &Flush) {
        let Some(h) = self.handles.get_mut(&f.handle) else {
            return;
        };
        if !h.write {
            return;
        }
        let opener = h.who.iter().any(|w| w.tgid == f.who.tgid || w.tgid.0 == 0);
        if !opener {
            // An heir closed its copy; that ends nothing. But what a shell redirects, the command writes.
            if f.for_shell {
                self.inherited(f);
            }
            return;
        }
        h.flushed = true;
        let key = h.file;
        let Some(file) = self.files.get_mut(&key) else {
            return;
        };
        let Some(w) = file.writing.as_mut() else {
            return;
        };
        w.who = w.heir.map_or(f.who, |(who, ..)| who);
        w.closed = Some(match w.heir {
            // A shell that is killed never got to what it would have written next.
            Some((_, closed, status)) if f.closed != Closed::Killed => (closed, status),
            _ => (f.closed, f.status),
        });
        let waiting = file
            .writers
            .iter()
            .any(|id| self.handles.get(id).is_some_and(|h| !h.flushed));
        if !waiting && f.now.size > 0 && !file.gone {
            self.hold(key, &f.now);
        }
    }

    /// A command that a shell started with this redirect is done: it is the writer, and what the shell had open for reading it could read.
    fn inherited(&mut self, f: &Flush) {
        let Some(handle) = self.handles.get(&f.handle) else {
            return;
        };
        let (key, shell) = (handle.file, handle.who.first().map(|w| w.tgid));
        let Some(w) = self
            .files
            .get_mut(&key)
            .and_then(|file| file.writing.as_mut())
        else {
            return;
        };
        let earlier = w.heir;
        // What a killed command left behind is unfinished, whatever the next one adds.
        let (closed, status) = earlier
            .filter(|(_, closed, _)| *closed == Closed::Killed)
            .map_or((f.closed, f.status), |(_, closed, status)| (closed, status));
        w.heir = Some((f.who, closed, status));
        let given: Vec<(NodeIx, Kind, PathBytes)> = self
            .handles
            .values()
            .filter(|h| !h.write && h.who.first().map(|w| w.tgid) == shell)
            .filter_map(|h| Some((self.files.get(&h.file)?.current?, h.kind(), h.path.clone())))
            .collect();
        for (node, kind, path) in given {
            self.enter_use(f.who, node, kind, &path);
        }
    }

    /// The run of the command that wrote last through a redirect.
    pub fn heir(&self, handle: HandleId) -> Option<RunId> {
        let file = self.files.get(&self.handles.get(&handle)?.file)?;
        let (who, ..) = file.writing.as_ref()?.heir?;
        Some(self.place(who).run)
    }

    /// The opener has closed: the version has ended, unless a copy of the description writes on.
    pub(super) fn hold(&mut self, key: FileKey, now: &FileIdentity) {
        let Some(w) = self.files.get(&key).and_then(|f| f.writing.clone()) else {
            return;
        };
        if !w.changed && !differs(&w.before, now) {
            return;
        }
        let node = &self.nodes[w.node];
        if node.identity == Some(*now) && node.phase != Phase::Open {
            return;
        }
        if self.nodes[w.node].excluded || is_doubtful(&w, now) {
            return;
        }
        let w = self.reopen_if_settled(key, w);
        self.author(&w, now);
        self.at(w.node).phase = Phase::Held;
        self.take_place(key, &w);
        self.replace_parent(&w);
        let ticket = self.new_attempt(w.node);
        self.tell_ended(w.node);
        self.effects.push(Effect::Hold { ticket });
    }

    /// A version that was sealed while an heir held it, and then changed, is followed by a new one.
    fn reopen_if_settled(&mut self, key: FileKey, w: Writing) -> Writing {
        match self.nodes[w.node].phase {
            Phase::Waiting | Phase::Sealing | Phase::Settled(_) => self.next_version(key, w),
            _ => w,
        }
    }

    pub(super) fn next_version(&mut self, key: FileKey, mut w: Writing) -> Writing {
        let node = &self.nodes[w.node];
        let mut next = Node::new(key, node.path.clone(), Phase::Open);
        next.excluded = node.excluded;
        w.parent = Some(w.node);
        w.before = node.identity.unwrap_or(w.before);
        w.created = false;
        w.changed = false;
        w.heir = None;
        w.cut = None;
        w.node = self.add(next);
        w.copied.clear();
        if let Some(f) = self.files.get_mut(&key) {
            f.current = w.parent;
            f.writing = Some(w.clone());
        }
        w
    }

    /// The engine waited a moment after `Effect::Hold`: if the version is still held, try to digest it as it is.
    pub fn still_held(&mut self, ticket: Ticket) {
        let ix = ticket.node();
        let Some(node) = self.nodes.get(ix) else {
            return;
        };
        if node.phase == Phase::Held && node.attempt == ticket.attempt() {
            let file = node.file;
            self.effects.push(Effect::Digest {
                ticket,
                file,
                ended: true,
                expect: None,
            });
        }
    }

    /// The last reference to a handle is gone. `now` is `None` when the file is, too.
    pub fn released(&mut self, handle: HandleId, now: Option<&FileIdentity>) {
        let beat = self.forgetting.beat();
        let Some(h) = self.handles.remove(&handle) else {
            return;
        };
        let Some(file) = self.files.get_mut(&h.file) else {
            return;
        };
        file.readers.remove(&handle);
        file.touched = beat;
        if !file.writers.remove(&handle) {
            return;
        }
        if file.writers.is_empty() {
            match now {
                Some(now) => self.finish(h.file, now),
                None => self.abandon(h.file, None, "deleted before it was closed"),
            }
        } else if let Some(now) = now
            && file
                .writers
                .iter()
                .all(|id| self.handles.get(id).is_some_and(|h| h.flushed))
            && now.size > 0
        {
            self.hold(h.file, now);
        }
    }

    /// No writable handle is left: the version ends, or never was one.
    pub(super) fn finish(&mut self, key: FileKey, now: &FileIdentity) {
        let Some(file) = self.files.get_mut(&key) else {
            return;
        };
        if file.gone {
            self.abandon(key, Some(now), "deleted before it was closed");
            return;
        }
        let Some(w) = file.writing.take() else { return };
        if !w.changed && !differs(&w.before, now) {
            self.unchanged(key, &w);
            return;
        }
        let phase = self.nodes[w.node].phase;
        if phase != Phase::Open && self.nodes[w.node].identity == Some(*now) {
            // Ended at a FLUSH already. A digest that has begun goes on: the pool sees the last holder go.
            if let Some(file) = self.files.get_mut(&key) {
                file.current = Some(w.node);
            }
            if phase == Phase::Held {
                self.end(w.node);
            }
            self.readers_go_on(key, w.node);
            return;
        }
        let w = self.reopen_if_settled(key, w);
        // One that was held has ended before, and everybody was told so: it is a version, whatever its bytes have become.
        let doubtful = self.nodes[w.node].phase == Phase::Open && is_doubtful(&w, now);
        self.author(&w, now);
        if let Some(file) = self.files.get_mut(&key) {
            file.writing = None;
        }
        self.take_place(key, &w);
        if let Some(a) = &mut self.at(w.node).authored {
            a.doubtful = doubtful;
        }
        if !doubtful {
            self.replace_parent(&w);
        } else if let Some(parent) = w.parent.map(|p| self.real(p))
            && matches!(self.nodes[parent].phase, Phase::Digesting | Phase::Held)
            && !self.nodes[parent].kept
        {
            // Its own digest, if one was begun, may see the change before this one's tells what it was.
            self.at(parent).attempt += 1;
        }
        if now.size == 0 {
            self.name(w.node);
            self.settle_empty(w.node);
        } else {
            self.end(w.node);
        }
        self.readers_go_on(key, w.node);
    }

    fn end(&mut self, ix: NodeIx) {
        let node = &self.nodes[ix];
        let doubtful = node.authored.as_ref().is_some_and(|a| a.doubtful);
        self.at(ix).phase = Phase::Digesting;
        // Numbers follow the order of ends, so even a doubtful one takes its number now.
        self.name(ix);
        if doubtful {
            self.journal_ended(ix);
        } else {
            self.tell_ended(ix);
        }
        self.want_digest(ix, true);
    }

    /// The file holds this version. What it held when it was last known, and no more when this one was begun, has no name any more either.
    fn take_place(&mut self, key: FileKey, w: &Writing) {
        let Some(file) = self.files.get_mut(&key) else {
            return;
        };
        let before = file.current.replace(w.node).map(|b| self.real(b));
        let parent = w.parent.map(|p| self.real(p));
        if let Some(before) = before
            && before != w.node
            && Some(before) != parent
        {
            self.replaced(before);
        }
    }

    /// The file no longer holds what it held before.
    fn replace_parent(&mut self, w: &Writing) {
        if let Some(parent) = w.parent.map(|p| self.real(p)) {
            self.replaced(parent);
        }
    }

    /// Nothing was written: there is no new version, and whatever was to be digested before still is.
    fn unchanged(&mut self, key: FileKey, w: &Writing) {
        let Some(parent) = w.parent.map(|p| self.real(p)) else {
            self.at(w.node).phase = Phase::Settled(State::Empty);
            self.tell(w.node);
            return;
        };
        self.at(w.node).phase = Phase::Same(parent);
        for (run, place) in std::mem::take(&mut self.at(w.node).untold) {
            self.tell_use(run, place);
        }
        if let Some(f) = self.files.get_mut(&key) {
            f.current = Some(parent);
        }
        if matches!(self.nodes[parent].phase, Phase::Digesting | Phase::Held) {
            let ended = self.nodes[parent].authored.is_some();
            self.at(parent).phase = Phase::Digesting;
            self.want_digest(parent, ended);
        }
    }

    /// The file went away while it was written.
    pub(super) fn abandon(&mut self, key: FileKey, now: Option<&FileIdentity>, why: &str) {
        let Some(w) = self.files.get_mut(&key).and_then(|f| f.writing.take()) else {
            return;
        };
        if let Some(parent) = w.parent {
            self.lose(parent);
        }
        let identity = w.before;
        self.author(&w, &identity);
        self.at(w.node).gone = true;
        self.at(w.node).identity = None;
        self.name(w.node);
        self.settle(w.node, State::Incomplete, Some(why.to_owned()));
        let bytes = |i: &FileIdentity| (i.size, i.mtime);
        if w.changed || now.is_none_or(|now| bytes(now) != bytes(&w.before)) {
            // Who still has it open reads this, and not what it held before.
            if let Some(file) = self.files.get_mut(&key) {
                file.current = Some(w.node);
            }
            self.readers_go_on(key, w.node);
        }
    }

    fn author(&mut self, w: &Writing, now: &FileIdentity) {
        let who = self.place(w.who);
        let uses = self.uses_of(who.run);
        // A cut among the uses of another run, absorbed since or the shell's that redirected, says nothing here.
        let seen = w.cut.filter(|(run, _)| *run == who.run).map(|(_, n)| n);
        let inputs = seen.unwrap_or(uses);
        let (closed, status) = w.closed.unwrap_or((Closed::Explicit, None));
        let parent = w.parent.map(|p| self.real(p));
        let copied = w
            .copied
            .iter()
            .map(|c| self.real(*c))
            .filter(|c| *c != w.node)
            .collect();
        let runs = self.runs.entry(who.run).or_default();
        runs.frozen = runs.frozen.max(inputs);
        let near = runs.near.of(who.process, who.tree, inputs);
        let path = self.files.get(&w_file(self, w)).map(|f| f.path.clone());
        self.unsettled.insert(w.node);
        let ended = self.end_of(w.node);
        let node = self.at(w.node);
        if let Some(path) = path {
            node.path = path;
        }
        node.identity = Some(*now);
        node.authored = Some(Authored {
            ended,
            run: who.run,
            process: who.process,
            tree: who.tree,
            closed,
            status,
            inputs,
            cut: if seen.is_some() {
                Cut::Write
            } else {
                Cut::Close
            },
            parent,
            copied,
            near,
            named: Named::default(),
            created: w.created,
            doubtful: false,
        });
    }

    /// Its place in the order of ends: the one it has, or the next.
    pub(super) fn end_of(&mut self, ix: NodeIx) -> u64 {
        let known = self.nodes[ix].number();
        if known > 0 {
            return known;
        }
        self.ends += 1;
        self.ends
    }

    fn tell_ended(&mut self, ix: NodeIx) {
        self.name(ix);
        self.journal_ended(ix);
        self.tell(ix);
    }

    /// A read handle that stays open across the end of a version uses that version too;
    /// and other runs that read it unfinished have used what it became.
    fn readers_go_on(&mut self, key: FileKey, node: NodeIx) {
        let Some(file) = self.files.get(&key) else {
            return;
        };
        let mut users: Vec<(Who, Kind, PathBytes)> = Vec::new();
        for h in file.readers.iter().filter_map(|id| self.handles.get(id)) {
            users.extend(h.who.iter().map(|w| (*w, h.kind(), h.path.clone())));
        }
        let writer = self.nodes[node].authored.as_ref().map(|a| a.run);
        let early = std::mem::take(&mut self.at(node).early);
        users.extend(
            early
                .into_iter()
                .filter(|(who, ..)| Some(self.place(*who).run) != writer),
        );
        for (who, kind, path) in users {
            self.enter_use(who, node, kind, &path);
        }
    }

    pub(super) fn want_digest(&mut self, ix: NodeIx, ended: bool) {
        if self.nodes[ix].kept {
            return; // a copy of it is on its way
        }
        let ticket = self.new_attempt(ix);
        let node = &self.nodes[ix];
        let expect = node.identity.filter(|_| !node.lingering);
        let file = node.file;
        self.effects.push(Effect::Digest {
            ticket,
            file,
            ended,
            expect,
        });
    }

    pub(super) fn new_attempt(&mut self, ix: NodeIx) -> Ticket {
        let node = self.at(ix);
        node.attempt += 1;
        Ticket::new(ix, node.attempt)
    }
}

/// Only metadata is known to differ: the digest will tell.
fn is_doubtful(w: &Writing, now: &FileIdentity) -> bool {
    !w.changed && w.before.size == now.size
}

fn w_file(ledger: &Ledger, w: &Writing) -> FileKey {
    ledger.nodes[w.node].file
}

/// Whether a file's bytes may have changed between two looks at it.
pub(super) fn differs(before: &FileIdentity, now: &FileIdentity) -> bool {
    (before.size, before.mtime, before.ctime) != (now.size, now.mtime, now.ctime)
}
