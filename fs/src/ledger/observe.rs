//! What requests mean: which use is entered, which version begins, continues or ends.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::{Closed, Cut, Kind, State};

use super::file::{FileState, Handle, Writing};
use super::node::{Authored, Node};
use super::{Effect, Flush, Ledger, NodeIx, Opening, Phase, RawUse, Ticket};
use crate::caller::Who;
use crate::vfs::observer::{FileKey, HandleId};

impl Ledger {
    /// A regular file was opened; to be told before OPEN is answered.
    pub fn opened(&mut self, mut o: Opening) {
        let Some(first) = o.who.first().copied() else {
            return;
        };
        if o.access.truncate && !o.access.write && !o.access.created {
            // open(O_RDONLY | O_TRUNC) empties the file, and no close for writing will tell of it.
            let emptied = FileIdentity {
                size: 0,
                ..o.before
            };
            self.resized_by_name(o.clone(), &emptied);
            o.before = emptied;
        }
        self.know_file(&o);
        let content = self.content_before(&o);
        if o.access.read && !o.access.truncate && !o.access.created {
            let target = self.open_target(o.file, &o.before).or(content);
            let kind = if o.code || o.access.exec {
                Kind::Code
            } else {
                Kind::Opened
            };
            if let Some(node) = target {
                for who in &o.who {
                    self.enter_use(*who, node, kind, &o.path);
                }
            }
        }
        if o.access.write {
            self.begin_writing(&o, first, content);
        }
        let Some(file) = self.files.get_mut(&o.file) else {
            return;
        };
        if o.access.write {
            file.writers.insert(o.handle);
        } else {
            file.readers.insert(o.handle);
        }
        self.handles.insert(
            o.handle,
            Handle {
                file: o.file,
                who: o.who,
                path: o.path,
                write: o.access.write,
                flushed: false,
                code: o.code || o.access.exec,
                read_seen: false,
            },
        );
    }

    fn know_file(&mut self, o: &Opening) {
        let file = self.files.entry(o.file).or_insert_with(|| FileState {
            path: o.path.clone(),
            current: None,
            writing: None,
            writers: BTreeSet::new(),
            readers: BTreeSet::new(),
            excluded: o.excluded,
            gone: false,
        });
        file.gone = false;
        if let Entry::Vacant(v) = self.by_path.entry(o.path.0.clone()) {
            v.insert(o.file);
        }
    }

    /// The content that was there before this open; digested unless somebody is about to change it.
    fn content_before(&mut self, o: &Opening) -> Option<NodeIx> {
        if o.access.created {
            return None;
        }
        let file = self.files.get(&o.file)?;
        let (current, busy, excluded) = (file.current, file.writing.is_some(), file.excluded);
        if let Some(ix) = current.map(|c| self.real(c)) {
            let known = self.nodes[ix.0 as usize].identity;
            // Who is about to write takes what only had its mode or its name changed for what it was; a reader's digest will tell.
            let named_anew = |k: FileIdentity| {
                o.access.write && (k.size, k.mtime) == (o.before.size, o.before.mtime)
            };
            if busy || known.is_none_or(|k| k == o.before || named_anew(k)) {
                return Some(ix);
            }
        } else if busy {
            return None;
        }
        if o.before.size == 0 {
            // An empty file says nothing: it is nobody's input.
            return None;
        }
        let mut node = Node::new(o.file, o.path.clone(), Phase::Digesting);
        node.identity = Some(o.before);
        node.excluded = excluded;
        if let Some(known) = &o.known {
            node.id = Some(known.node);
            node.adopted = true;
            node.digests = Some(known.digests);
            node.manifest = known.manifest;
            node.media_type.clone_from(&known.media_type);
            node.phase = Phase::Settled(known.state);
        }
        let digest = o.known.is_none() && !o.access.write;
        let ix = self.add(node);
        self.join_set(ix, o.known.as_ref().and_then(|k| k.set.as_deref()));
        if let Some(file) = self.files.get_mut(&o.file) {
            file.current = Some(ix);
        }
        if digest {
            self.want_digest(ix, false);
        }
        Some(ix)
    }

    /// The version in the making, when a reader that opens now may see some of it.
    fn open_target(&self, file: FileKey, now: &FileIdentity) -> Option<NodeIx> {
        let w = self.files.get(&file)?.writing.as_ref()?;
        let changed = w.changed || differs(&w.before, now);
        (changed && self.nodes[w.node.0 as usize].phase == Phase::Open).then_some(w.node)
    }

    pub(super) fn enter_use(&mut self, who: Who, node: NodeIx, kind: Kind, path: &PathBytes) {
        let node = self.real(node);
        let who = self.place(who);
        let open = self.nodes[node.0 as usize].phase == Phase::Open;
        if open {
            self.name(node);
        }
        let writer = match &self.nodes[node.0 as usize].authored {
            Some(a) => Some(a.run),
            None => self
                .files
                .get(&self.nodes[node.0 as usize].file)
                .and_then(|f| f.writing.as_ref())
                .map(|w| w.who.run),
        };
        if writer.is_some_and(|run| run != who.run) {
            self.at(node).shared = true;
        }
        if let Some(place) = self
            .runs
            .entry(who.run)
            .or_default()
            .enter(who, node, kind, path, open)
        {
            let n = &self.nodes[node.0 as usize];
            self.effects.push(Effect::Used(Box::new(RawUse {
                run: who.run,
                order: place as u64,
                kind,
                process: who.process,
                tree: who.tree,
                path: path.clone(),
                node: n.id,
                identity: n.identity,
                open,
            })));
            self.tell_use(who.run, place);
        }
        if let Some(set) = self.nodes[node.0 as usize].set {
            self.enter_use(who, set, Kind::Set, path);
        }
    }

    fn begin_writing(&mut self, o: &Opening, who: Who, content: Option<NodeIx>) {
        let empties = o.access.truncate || o.access.created;
        let excluded = o.excluded;
        let ongoing = self.files.get(&o.file).and_then(|f| f.writing.clone());
        if let Some(w) = ongoing {
            // What its opener closed has ended, though an heir holds it: a new opener begins the next version.
            let mut w = if self.nodes[w.node.0 as usize].phase == Phase::Open {
                w
            } else {
                self.next_version(o.file, w)
            };
            w.changed |= empties;
            w.who = who;
            if let Some(f) = self.files.get_mut(&o.file) {
                f.writing = Some(w);
            }
        } else {
            let mut node = Node::new(o.file, o.path.clone(), Phase::Open);
            node.excluded = excluded;
            let node = self.add(node);
            let writing = Writing {
                node,
                before: o.before,
                parent: content,
                changed: empties,
                created: o.access.created,
                who,
                heir: None,
                closed: None,
                cut: None,
                copied: Vec::new(),
            };
            if let Some(file) = self.files.get_mut(&o.file) {
                file.writing = Some(writing);
            }
        }
        if empties && let Some(content) = content {
            self.lose(content);
        }
    }

    /// Inline handles: bytes went to a reader.
    pub fn read(&mut self, handle: HandleId) {
        let Some(h) = self.handles.get_mut(&handle) else {
            return;
        };
        if h.read_seen || h.code {
            return;
        }
        h.read_seen = true;
        let (file, whos, path) = (h.file, h.who.clone(), h.path.clone());
        let Some(f) = self.files.get(&file) else {
            return;
        };
        // A writer that reads its own unfinished version back says nothing new.
        let target = match &f.writing {
            Some(w) if w.changed => None,
            _ => f.current,
        };
        let Some(node) = target.map(|n| self.real(n)) else {
            return;
        };
        for who in whos {
            match self.runs.entry(who.run).or_default().upgrade(who, node) {
                Some(place) => self.tell_use(who.run, place),
                None => self.enter_use(who, node, Kind::Read, &path),
            }
        }
    }

    /// Inline handles: bytes were written.
    pub fn wrote(&mut self, handle: HandleId) {
        let Some(h) = self.handles.get(&handle) else {
            return;
        };
        let Some(who) = h.who.first().copied() else {
            return;
        };
        let cut = self.uses_of(who.run);
        self.change(h.file, Some(who), Some(cut));
    }

    /// Length or allocation changed through an open handle.
    pub fn resized(&mut self, handle: HandleId, who: Who) {
        let Some(file) = self.handles.get(&handle).map(|h| h.file) else {
            return;
        };
        self.change(file, Some(who), None);
    }

    fn change(&mut self, file: FileKey, who: Option<Who>, cut: Option<u64>) {
        let Some(w) = self.files.get_mut(&file).and_then(|f| f.writing.as_mut()) else {
            return;
        };
        w.changed = true;
        w.cut = cut.or(w.cut);
        if let Some(who) = who {
            w.who = who;
        }
        if let Some(parent) = w.parent {
            self.lose(parent);
        }
    }

    /// truncate(2) by name: an open for writing, a change and a close in one.
    pub fn resized_by_name(&mut self, o: Opening, now: &FileIdentity) {
        let Some(who) = o.who.first().copied() else {
            return;
        };
        self.know_file(&o);
        // The file has changed already: what it held before is only known by name.
        let content = self
            .files
            .get(&o.file)
            .and_then(|f| f.current)
            .map(|c| self.real(c));
        self.begin_writing(&o, who, content);
        self.change(o.file, Some(who), None);
        let idle = self.files.get_mut(&o.file).is_some_and(|f| {
            if let Some(w) = &mut f.writing {
                w.closed = Some((Closed::Explicit, None));
            }
            f.writers.is_empty()
        });
        if idle {
            self.finish(o.file, now);
        }
    }

    /// The kernel copied bytes from one open file to another.
    pub fn copied(&mut self, from: HandleId, to: HandleId) {
        let (Some(from), Some(to)) = (self.handles.get(&from), self.handles.get(&to)) else {
            return;
        };
        let (from, to) = (from.file, to.file);
        let source = self.files.get(&from).and_then(|f| match &f.writing {
            Some(w) if w.changed && from != to => Some(w.node),
            _ => f.current,
        });
        let source = source.map(|s| self.real(s));
        let who = self
            .files
            .get(&to)
            .and_then(|f| f.writing.as_ref())
            .map(|w| w.who);
        if let Some(s) = source
            && self.nodes[s.0 as usize].phase == Phase::Open
        {
            self.name(s);
        }
        if let Some(w) = self.files.get_mut(&to).and_then(|f| f.writing.as_mut())
            && let Some(s) = source
            && !w.copied.contains(&s)
        {
            w.copied.push(s);
        }
        let cut = who.map(|w| self.uses_of(w.run));
        self.change(to, who, cut);
    }

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
        match w.heir {
            Some((who, closed, status)) => {
                w.who = who;
                w.closed = Some((closed, status));
            }
            None => {
                w.who = f.who;
                w.closed = Some((f.closed, f.status));
            }
        }
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
        let earlier = w.heir.replace((f.who, f.closed, f.status));
        let given: Vec<(NodeIx, PathBytes)> = self
            .handles
            .values()
            .filter(|h| !h.write && h.who.first().map(|w| w.tgid) == shell)
            .filter_map(|h| Some((self.files.get(&h.file)?.current?, h.path.clone())))
            .collect();
        for (node, path) in given {
            self.enter_use(f.who, node, Kind::Opened, &path);
        }
        // `{ a; b; } > out`: both wrote it.
        if let Some((before, ..)) = earlier
            && self.place(before).run != self.place(f.who).run
        {
            self.share_uses(before.run, f.who);
        }
    }

    /// The opener has closed: the version has ended, unless a copy of the description writes on.
    fn hold(&mut self, key: FileKey, now: &FileIdentity) {
        let Some(w) = self.files.get(&key).and_then(|f| f.writing.clone()) else {
            return;
        };
        if !w.changed && !differs(&w.before, now) {
            return;
        }
        let node = &self.nodes[w.node.0 as usize];
        if node.identity == Some(*now) && node.phase != Phase::Open {
            return;
        }
        if self.nodes[w.node.0 as usize].excluded || is_doubtful(&w, now) {
            return;
        }
        let w = self.reopen_if_settled(key, w);
        self.author(&w, now);
        self.at(w.node).phase = Phase::Held;
        if let Some(f) = self.files.get_mut(&key) {
            f.current = Some(w.node);
        }
        self.replace_parent(&w);
        let ticket = self.new_attempt(w.node);
        self.tell_ended(w.node);
        self.effects.push(Effect::Hold { ticket });
    }

    /// A version that was sealed while an heir held it, and then changed, is followed by a new one.
    fn reopen_if_settled(&mut self, key: FileKey, w: Writing) -> Writing {
        match self.nodes[w.node.0 as usize].phase {
            Phase::Waiting | Phase::Sealing | Phase::Settled(_) => self.next_version(key, w),
            _ => w,
        }
    }

    fn next_version(&mut self, key: FileKey, mut w: Writing) -> Writing {
        let node = &self.nodes[w.node.0 as usize];
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
        let Some(node) = self.nodes.get(ix.0 as usize) else {
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
        let Some(h) = self.handles.remove(&handle) else {
            return;
        };
        let Some(file) = self.files.get_mut(&h.file) else {
            return;
        };
        file.readers.remove(&handle);
        if !file.writers.remove(&handle) {
            return;
        }
        if file.writers.is_empty() {
            match now {
                Some(now) => self.finish(h.file, now),
                None => self.abandon(h.file, "deleted before it was closed"),
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
    fn finish(&mut self, key: FileKey, now: &FileIdentity) {
        let Some(file) = self.files.get_mut(&key) else {
            return;
        };
        if file.gone {
            self.abandon(key, "deleted before it was closed");
            return;
        }
        let Some(w) = file.writing.take() else { return };
        if !w.changed && !differs(&w.before, now) {
            self.unchanged(key, &w);
            return;
        }
        let phase = self.nodes[w.node.0 as usize].phase;
        if phase != Phase::Open && self.nodes[w.node.0 as usize].identity == Some(*now) {
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
        self.author(&w, now);
        if let Some(file) = self.files.get_mut(&key) {
            file.writing = None;
            file.current = Some(w.node);
        }
        let doubtful = is_doubtful(&w, now);
        if let Some(a) = &mut self.at(w.node).authored {
            a.doubtful = doubtful;
        }
        if !doubtful {
            self.replace_parent(&w);
        }
        if now.size == 0 {
            self.name(w.node);
            self.settle(w.node, State::Empty, Some("it has no bytes".to_owned()));
        } else {
            self.end(w.node);
        }
        self.readers_go_on(key, w.node);
    }

    fn end(&mut self, ix: NodeIx) {
        let node = &self.nodes[ix.0 as usize];
        let doubtful = node.authored.as_ref().is_some_and(|a| a.doubtful);
        self.at(ix).phase = Phase::Digesting;
        // Numbers follow the order of ends, so even a doubtful one takes its number now.
        self.name(ix);
        if !doubtful {
            self.tell_ended(ix);
        }
        self.want_digest(ix, true);
    }

    /// The file no longer holds what it held before.
    fn replace_parent(&mut self, w: &Writing) {
        let Some(parent) = w.parent.map(|p| self.real(p)) else {
            return;
        };
        self.lose(parent);
        if !self.nodes[parent.0 as usize].gone {
            self.at(parent).gone = true;
            self.tell(parent);
        }
    }

    /// Nothing was written: there is no new version, and whatever was to be digested before still is.
    fn unchanged(&mut self, key: FileKey, w: &Writing) {
        let Some(parent) = w.parent.map(|p| self.real(p)) else {
            self.at(w.node).phase = Phase::Settled(State::Empty);
            return;
        };
        self.at(w.node).phase = Phase::Same(parent);
        if let Some(f) = self.files.get_mut(&key) {
            f.current = Some(parent);
        }
        if matches!(
            self.nodes[parent.0 as usize].phase,
            Phase::Digesting | Phase::Held
        ) {
            let ended = self.nodes[parent.0 as usize].authored.is_some();
            self.at(parent).phase = Phase::Digesting;
            self.want_digest(parent, ended);
        }
    }

    /// The file went away while it was written.
    fn abandon(&mut self, key: FileKey, why: &str) {
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
    }

    fn author(&mut self, w: &Writing, now: &FileIdentity) {
        let who = self.place(w.who);
        let uses = self.uses_of(who.run);
        // A cut among the uses of a run that was absorbed since says nothing in the other's.
        let inputs = w.cut.filter(|_| who.run == w.who.run).unwrap_or(uses);
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
        let path = self.files.get(&w_file(self, w)).map(|f| f.path.clone());
        self.unsettled.insert(w.node);
        let node = self.at(w.node);
        if let Some(path) = path {
            node.path = path;
        }
        node.identity = Some(*now);
        node.authored = Some(Authored {
            run: who.run,
            process: who.process,
            tree: who.tree,
            closed,
            status,
            inputs,
            cut: if w.cut.is_some() {
                Cut::Write
            } else {
                Cut::Close
            },
            parent,
            copied,
            created: w.created,
            doubtful: false,
        });
    }

    fn tell_ended(&mut self, ix: NodeIx) {
        self.name(ix);
        if let Some(row) = self.nodes[ix.0 as usize].row(|i| self.id_of(i)) {
            self.effects.push(Effect::Ended(Box::new(row)));
        }
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
            let kind = if h.code { Kind::Code } else { Kind::Opened };
            users.extend(h.who.iter().map(|w| (*w, kind, h.path.clone())));
        }
        let writer = self.nodes[node.0 as usize].authored.as_ref().map(|a| a.run);
        for (run, uses) in &self.runs {
            if Some(*run) == writer {
                continue;
            }
            for u in uses
                .list
                .iter()
                .rev()
                .take(4096)
                .filter(|u| u.open && u.node == node)
            {
                let who = Who {
                    run: *run,
                    process: u.process,
                    tree: u.tree,
                    tgid: crate::vfs::observer::Tgid(0),
                };
                users.push((who, u.kind, u.path.clone()));
            }
        }
        for (who, kind, path) in users {
            self.enter_use(who, node, kind, &path);
        }
    }

    pub(super) fn want_digest(&mut self, ix: NodeIx, ended: bool) {
        let ticket = self.new_attempt(ix);
        let node = &self.nodes[ix.0 as usize];
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
    ledger.nodes[w.node.0 as usize].file
}

/// Whether a file's bytes may have changed between two looks at it.
fn differs(before: &FileIdentity, now: &FileIdentity) -> bool {
    (before.size, before.mtime, before.ctime) != (now.size, now.mtime, now.ctime)
}
