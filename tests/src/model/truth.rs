//! The true provenance: which run had opened which version before which close, by the rules of fs/SEMANTICS.md. Told of operations
//! that succeeded, one after the other; asks the mount nothing.

use std::collections::{BTreeMap, BTreeSet};

/// A version, or content that nobody was seen to write.
pub type Id = usize;
/// One open file: a worker and a slot.
pub type Handle = (usize, u32);

/// What was true of one version.
#[derive(Debug, Clone, Default)]
pub struct Version {
    /// Where its bytes at the close were kept; nothing for an empty one and for one that never ended.
    pub copy: Option<usize>,
    /// Nobody was seen to write it.
    pub given: bool,
    /// It ended with a close (or a truncate), with bytes in it.
    pub ended: bool,
    /// What it must have as inputs: opened for reading by its run before its end.
    pub inputs: BTreeSet<Id>,
    /// What it may have as well.
    pub maybe: BTreeSet<Id>,
    /// What the file held before.
    pub parent: Option<Id>,
    /// Its bytes were overwritten or removed, perhaps before anybody could digest them.
    pub lost: bool,
}

#[derive(Debug)]
struct Writing {
    version: Id,
    parent: Option<Id>,
    dirty: bool,
    copied: BTreeSet<Id>,
    /// Which run wrote last as far as the daemon sees writes, and how much it had used by then.
    cut: Option<(usize, usize)>,
    /// How much each run had used when bytes were stored through a map, and nobody can say through whose descriptor they came.
    unsure: Option<BTreeMap<usize, usize>>,
}

#[derive(Debug, Default)]
struct File {
    current: Option<Id>,
    writing: Option<Writing>,
    writers: BTreeSet<Handle>,
    readers: BTreeSet<Handle>,
    gone: bool,
}

/// An open.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Who has it.
    pub handle: Handle,
    /// Of which run.
    pub run: usize,
    /// The inode.
    pub ino: i128,
    /// O_RDONLY or O_RDWR.
    pub read: bool,
    /// O_WRONLY or O_RDWR.
    pub write: bool,
    /// O_TRUNC.
    pub truncate: bool,
    /// It did not exist before.
    pub created: bool,
    /// How long it was before.
    pub size: u64,
}

/// Everything that happened.
#[derive(Debug)]
pub struct Truth {
    /// Whether the daemon sees writes (`--io inline`).
    sees_writes: bool,
    /// By id.
    pub versions: Vec<Version>,
    files: Vec<File>,
    by_ino: BTreeMap<i128, usize>,
    handles: BTreeMap<Handle, (usize, usize)>,
    /// Of each run, in order.
    uses: BTreeMap<usize, Vec<Id>>,
    step: usize,
    /// What happened to versions: step, version, words.
    story: Vec<(usize, Id, String)>,
}

impl Truth {
    /// Nothing has happened.
    pub fn new(sees_writes: bool) -> Self {
        Self {
            sees_writes,
            versions: Vec::new(),
            files: Vec::new(),
            by_ino: BTreeMap::new(),
            handles: BTreeMap::new(),
            uses: BTreeMap::new(),
            step: 0,
            story: Vec::new(),
        }
    }

    fn tell(&mut self, id: Id, what: String) {
        self.story.push((self.step, id, what));
    }

    /// What happened to these versions.
    pub fn story(&self, of: &BTreeSet<Id>) -> String {
        let told = self.story.iter().filter(|(_, id, _)| of.contains(id));
        let lines = told.map(|(step, id, what)| format!("  step {step}: version {id} {what}\n"));
        lines.collect()
    }

    /// Another operation.
    pub fn tick(&mut self) {
        self.step += 1;
    }

    fn version(&mut self) -> Id {
        self.versions.push(Version::default());
        self.versions.len() - 1
    }

    fn used(&self, run: usize) -> usize {
        self.uses.get(&run).map_or(0, Vec::len)
    }

    fn use_it(&mut self, run: usize, id: Id) {
        self.uses.entry(run).or_default().push(id);
        self.tell(id, format!("is used by run {run}"));
    }

    /// The file with this inode; `content` keeps a copy of what a file that nobody wrote holds.
    fn file(
        &mut self,
        ino: i128,
        size: u64,
        created: bool,
        content: &mut dyn FnMut() -> usize,
    ) -> usize {
        if let Some(at) = self.by_ino.get(&ino) {
            return *at;
        }
        let mut file = File::default();
        if !created && size > 0 {
            let id = self.version();
            self.versions[id].given = true;
            self.versions[id].copy = Some(content());
            file.current = Some(id);
        }
        self.files.push(file);
        self.by_ino.insert(ino, self.files.len() - 1);
        self.files.len() - 1
    }

    /// A regular file was opened.
    pub fn opened(&mut self, o: &Opening, content: &mut dyn FnMut() -> usize) {
        let at = self.file(o.ino, o.size, o.created, content);
        if o.truncate && !o.write {
            self.resized_by_name(o.ino, o.run, 0, &mut || 0);
        }
        let file = &self.files[at];
        let before = if o.created { None } else { file.current };
        if o.read && !o.truncate && !o.created {
            let open = file.writing.as_ref().filter(|w| w.dirty).map(|w| w.version);
            if let Some(id) = open.or(before) {
                self.use_it(o.run, id);
            }
        }
        if o.write {
            self.begin(at, o.truncate || o.created);
            self.files[at].writers.insert(o.handle);
        } else {
            self.files[at].readers.insert(o.handle);
        }
        self.handles.insert(o.handle, (at, o.run));
    }

    fn begin(&mut self, at: usize, empties: bool) {
        if self.files[at].writing.is_none() {
            let version = self.version();
            let parent = self.files[at].current;
            self.versions[version].parent = parent;
            self.tell(version, format!("begins in file {at} after {parent:?}"));
            self.files[at].writing = Some(Writing {
                version,
                parent,
                dirty: false,
                copied: BTreeSet::new(),
                cut: None,
                unsure: None,
            });
        }
        if empties {
            self.dirty(at);
            if let Some(w) = &mut self.files[at].writing {
                w.cut = None;
            }
        }
    }

    fn dirty(&mut self, at: usize) {
        let Some(w) = &mut self.files[at].writing else {
            return;
        };
        w.dirty = true;
        w.unsure = None;
        if let Some(parent) = w.parent {
            self.versions[parent].lost = true;
        }
    }

    /// Bytes were written through it.
    pub fn wrote(&mut self, handle: Handle) {
        let (at, run) = self.handles[&handle];
        self.dirty(at);
        let cut = (run, self.used(run));
        if self.sees_writes
            && let Some(w) = &mut self.files[at].writing
        {
            w.cut = Some(cut);
        }
    }

    /// Bytes were stored through a map: seen or not, and whose descriptor the kernel names is its own affair.
    pub fn stored(&mut self, handle: Handle) {
        let (at, _) = self.handles[&handle];
        let alone = self.files[at].writers.len() == 1;
        if alone {
            self.wrote(handle);
        } else {
            self.dirty(at);
            let used = self.uses.iter().map(|(run, u)| (*run, u.len()));
            let used = self.sees_writes.then(|| used.collect());
            if let Some(w) = &mut self.files[at].writing {
                w.cut = None;
                w.unsure = used;
            }
        }
    }

    /// Its length or allocation was changed.
    pub fn resized(&mut self, handle: Handle) {
        self.wrote(handle);
    }

    /// The kernel copied bytes.
    pub fn copied(&mut self, from: Handle, to: Handle) {
        let ((from, _), (at, _)) = (self.handles[&from], self.handles[&to]);
        let open = self.files[from].writing.as_ref();
        let open = open.filter(|w| w.dirty && from != at).map(|w| w.version);
        let source = open.or(self.files[from].current);
        if let Some(w) = &mut self.files[at].writing {
            w.copied.extend(source);
        }
        self.wrote(to);
    }

    /// truncate(2), by name.
    pub fn resized_by_name(
        &mut self,
        ino: i128,
        run: usize,
        size: u64,
        content: &mut dyn FnMut() -> usize,
    ) {
        // What it held before is not there any more, and is known only if somebody had looked.
        let at = self.file(ino, 0, true, content);
        self.begin(at, true);
        if self.files[at].writers.is_empty() {
            self.end(at, run, size, content);
        }
    }

    /// Closed. True when that ended a version, whose bytes `content` keeps.
    pub fn closed(&mut self, handle: Handle, size: u64, content: &mut dyn FnMut() -> usize) {
        let Some((at, run)) = self.handles.remove(&handle) else {
            return;
        };
        self.files[at].readers.remove(&handle);
        if file_done(&mut self.files[at], handle) {
            self.end(at, run, size, content);
        }
        let file = &self.files[at];
        if file.gone && file.writers.is_empty() && file.readers.is_empty() {
            self.by_ino.retain(|_, f| *f != at);
        }
    }

    fn end(&mut self, at: usize, run: usize, size: u64, content: &mut dyn FnMut() -> usize) {
        let Some(w) = self.files[at].writing.take() else {
            return;
        };
        self.tell(w.version, format!("is let go, dirty: {}", w.dirty));
        if !w.dirty || self.files[at].gone {
            return;
        }
        let all = self.uses.get(&run).map_or(&[][..], |u| &u[..]);
        let seen = w.cut.filter(|(by, _)| *by == run).map(|(_, n)| n);
        let cut = seen.unwrap_or(all.len());
        let v = &mut self.versions[w.version];
        let sure = w.unsure.map_or(cut, |u| u.get(&run).copied().unwrap_or(0));
        v.inputs = all[..cut.min(sure)].iter().copied().collect();
        v.maybe = all[cut.min(sure)..cut].iter().copied().collect();
        v.inputs.extend(w.copied);
        v.inputs.extend(w.parent);
        v.inputs.remove(&w.version);
        v.ended = size > 0;
        if size > 0 {
            v.copy = Some(content());
        }
        self.files[at].current = Some(w.version);
        self.tell(
            w.version,
            format!("ends with {size} bytes, by run {run}, cut {cut} of its uses"),
        );
        let file = &self.files[at];
        let readers: Vec<_> = file.readers.iter().map(|h| self.handles[h].1).collect();
        for run in readers {
            self.use_it(run, w.version);
        }
    }

    /// Its last name is gone.
    pub fn removed(&mut self, ino: i128) {
        let Some(at) = self.by_ino.get(&ino).copied() else {
            return;
        };
        let file = &mut self.files[at];
        file.gone = true;
        let parts = (file.current, file.writing.as_ref().map(|w| w.version));
        for id in [parts.0, parts.1].into_iter().flatten() {
            self.tell(id, "loses its name".to_owned());
        }
        let file = &mut self.files[at];
        if let Some(id) = file.current {
            self.versions[id].lost = true;
        }
        let file = &self.files[at];
        if file.writers.is_empty() && file.readers.is_empty() {
            self.by_ino.remove(&ino);
        }
    }

    /// The version that a file holds, when it is known.
    pub fn current(&self, ino: i128) -> Option<Id> {
        self.files[*self.by_ino.get(&ino)?].current
    }
}

/// Takes a writer away; true when none is left.
fn file_done(file: &mut File, handle: Handle) -> bool {
    file.writers.remove(&handle) && file.writers.is_empty()
}
