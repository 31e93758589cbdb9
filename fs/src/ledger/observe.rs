//! What requests mean: which use is entered, which version begins, continues or ends.

use std::collections::BTreeSet;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::id::RunId;
use atlas_manifests::rows::FileIdentity;
use atlas_manifests::vocabulary::{Closed, Kind};

use super::endings::differs;
use super::file::{FileState, Handle, Writing};
use super::near::Sort;
use super::node::Node;
use super::{Ledger, NodeIx, Opening, Phase};
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
        if o.access.created {
            self.made_anew(o.file);
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
                inline: o.inline,
                read_seen: false,
            },
        );
    }

    fn know_file(&mut self, o: &Opening) {
        let file = self.files.entry(o.file).or_insert_with(|| FileState {
            path: o.path.clone(),
            current: None,
            kept: None,
            writing: None,
            writers: BTreeSet::new(),
            readers: BTreeSet::new(),
            excluded: o.excluded,
            gone: o.removed,
            touched: 0,
        });
        file.touched = self.forgetting.beat();
        if o.removed {
            // What it was called may be another file's name by now.
            return;
        }
        file.gone = false;
        self.placed(o.file, &o.path);
    }

    /// The content that was there before this open; digested unless somebody is about to change it.
    fn content_before(&mut self, o: &Opening) -> Option<NodeIx> {
        if o.access.created {
            return None;
        }
        let file = self.files.get(&o.file)?;
        let (current, busy, excluded) = (file.current, file.writing.is_some(), file.excluded);
        if let Some(ix) = current.map(|c| self.real(c)) {
            let known = self.nodes[ix].identity;
            // Who is about to write takes what only had its mode or its name changed for what it was; a reader's digest will tell, or
            // the one that is on its way: a rename is told after others see it, and a version must not be lost to that.
            let on_its_way = matches!(self.nodes[ix].phase, Phase::Digesting | Phase::Held);
            let named_anew = |k: FileIdentity| {
                (o.access.write || on_its_way)
                    && (k.size, k.mtime) == (o.before.size, o.before.mtime)
            };
            // What changes while a mapping outlives the close is part of the version still.
            let goes_on = self.nodes[ix].lingering && !self.nodes[ix].settled();
            if goes_on && o.access.write && !busy {
                // From now on what changes is part of the next one: nobody can tell which of the two wrote it.
                let node = self.at(ix);
                node.lingering = false;
                node.identity = Some(o.before);
            }
            if busy || goes_on || known.is_none_or(|k| k == o.before || named_anew(k)) {
                return Some(ix);
            }
            // Nobody was seen to change it, and what it was nobody can digest any more.
            self.lose(ix);
        } else if busy {
            return None;
        }
        if o.before.size == 0 {
            // An empty file says nothing: it is nobody's input.
            return None;
        }
        let mut node = Node::new(o.file, o.path.clone(), Phase::Digesting);
        node.before = current.map(|c| self.real(c));
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
        (changed && self.nodes[w.node].phase == Phase::Open).then_some(w.node)
    }

    pub(super) fn enter_use(&mut self, who: Who, node: NodeIx, kind: Kind, path: &PathBytes) {
        let node = self.real(node);
        let who = self.place(who);
        let open = self.nodes[node].phase == Phase::Open;
        if open {
            self.name(node);
        }
        let writer = match &self.nodes[node].authored {
            Some(a) => Some(a.run),
            None => self
                .files
                .get(&self.nodes[node].file)
                .and_then(|f| f.writing.as_ref())
                .map(|w| w.who.run),
        };
        self.at(node).used = true;
        let n = &self.nodes[node];
        let sort = Sort::of(kind, n.manifest.is_some() || n.authored.is_some());
        if writer.is_some_and(|run| run != who.run) {
            self.at(node).shared = true;
        }
        if let Some(place) =
            self.runs
                .entry(who.run)
                .or_default()
                .enter(who, node, kind, path, (open, sort))
        {
            self.journal_use(who.run, place);
            self.tell_use(who.run, place);
            if open {
                self.at(node).early.push((who, kind, path.clone()));
            }
        }
        if let Some(set) = self.nodes[node].set {
            self.enter_use(who, set, Kind::Set, path);
        }
    }

    fn begin_writing(&mut self, o: &Opening, who: Who, content: Option<NodeIx>) {
        let empties = o.access.truncate || o.access.created;
        let excluded = o.excluded;
        let ongoing = self.files.get(&o.file).and_then(|f| f.writing.clone());
        if let Some(w) = ongoing {
            // What its opener closed has ended, though an heir holds it: a new opener begins the next version.
            let mut w = if self.nodes[w.node].phase == Phase::Open {
                w
            } else {
                self.next_version(o.file, w)
            };
            w.changed |= empties;
            if empties {
                w.cut = None;
            }
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
        self.change(h.file, Some(who), Some((who.run, cut)));
    }

    /// Length or allocation changed through an open handle.
    pub fn resized(&mut self, handle: HandleId, who: Who) {
        let Some(h) = self.handles.get(&handle) else {
            return;
        };
        let (file, cut) = (h.file, h.inline.then(|| (who.run, self.uses_of(who.run))));
        self.change(file, Some(who), cut);
    }

    /// `cut`: how much its run had used when this changed the file, where no change that comes later can go unseen.
    fn change(&mut self, file: FileKey, who: Option<Who>, cut: Option<(RunId, u64)>) {
        let Some(w) = self.files.get_mut(&file).and_then(|f| f.writing.as_mut()) else {
            return;
        };
        w.changed = true;
        w.cut = cut;
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

    /// The kernel copied bytes from one open file to another; `now` is how the first one is, which may be written unseen.
    pub fn copied(&mut self, from: HandleId, to: HandleId, now: Option<&FileIdentity>) {
        let (Some(from), Some(to)) = (self.handles.get(&from), self.handles.get(&to)) else {
            return;
        };
        let (who, seen) = (to.who.first().copied(), to.inline);
        let (from, to) = (from.file, to.file);
        let source = self.files.get(&from).and_then(|f| match &f.writing {
            Some(w) if from != to && (w.changed || now.is_some_and(|n| differs(&w.before, n))) => {
                Some(w.node)
            }
            _ => f.current,
        });
        let source = source.map(|s| self.real(s));
        if let Some(s) = source
            && self.nodes[s].phase == Phase::Open
        {
            self.name(s);
        }
        if let Some(w) = self.files.get_mut(&to).and_then(|f| f.writing.as_mut())
            && let Some(s) = source
            && !w.copied.contains(&s)
        {
            w.copied.push(s);
        }
        let cut = who.filter(|_| seen).map(|w| (w.run, self.uses_of(w.run)));
        self.change(to, who, cut);
    }
}
