//! `atlasctl register`: content that is there already gets a name, an author and a manifest of its own; a directory becomes one set.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::digest::Digests;
use atlas_manifests::id::{NodeRef, VersionId};
use atlas_manifests::kind::sniff;
use atlas_manifests::rows::{FileIdentity, VersionRow};
use atlas_manifests::set::{Member, MemberList};
use atlas_manifests::vocabulary::{Quiet, State};
use atlas_manifests::wire::Say;
use dashmap::DashMap;
use rustix::fs::{Dir, FileType};

use super::disclosure::View;
use super::{Engine, Work, lock};
use crate::control::Peer;
use crate::digest::{Job, Outcome};
use crate::vfs::observer::FileKey;

/// Tickets of registrations have this bit, the ledger's never do.
const OURS: u64 = 1 << 63;
/// Files digested at one time for one registration.
const AT_ONCE: usize = 64;
/// A set has at most so many members.
const MAX_MEMBERS: usize = 10_000_000;

/// Digest jobs that registrations wait for.
#[derive(Default)]
pub(super) struct Digesting {
    next: AtomicU64,
    waiting: DashMap<u64, Sender<Outcome>>,
}

impl Digesting {
    /// Keeps an outcome that belongs to a registration, and gives back any other.
    pub(super) fn take(&self, outcome: Outcome) -> Option<Outcome> {
        let ticket = match &outcome {
            Outcome::Done { ticket, .. }
            | Outcome::Held { ticket }
            | Outcome::Changed { ticket, .. }
            | Outcome::Gone { ticket }
            | Outcome::Failed { ticket, .. } => *ticket,
        };
        if ticket & OURS == 0 {
            return Some(outcome);
        }
        if matches!(outcome, Outcome::Held { .. }) {
            return None;
        }
        if let Some((_, tell)) = self.waiting.remove(&ticket) {
            // Whoever asked may have gone.
            let _ = tell.send(outcome);
        }
        None
    }

    fn expect(&self, tell: Sender<Outcome>) -> u64 {
        let ticket = OURS | self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.insert(ticket, tell);
        ticket
    }
}

/// What the scribe seals for a registration.
pub(crate) struct Registration {
    pub(super) version: VersionId,
    pub(super) path: PathBytes,
    pub(super) digests: Digests,
    pub(super) identity: Option<FileIdentity>,
    pub(super) quiet: Quiet,
    pub(super) media_type: String,
    pub(super) types: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) author: Option<String>,
    pub(super) members: Option<MemberList>,
    tell: Mutex<Option<Sender<Result<VersionRow, String>>>>,
}

impl Registration {
    /// Tells whoever waits, once.
    pub(super) fn answer(&self, result: Result<VersionRow, String>) {
        if let Some(tell) = lock(&self.tell).take() {
            // Whoever asked may have gone; the seal stands.
            let _ = tell.send(result);
        }
    }
}

/// One file of a registration, digested.
struct Digested {
    path: PathBytes,
    file: FileKey,
    digests: Digests,
    identity: FileIdentity,
    quiet: Quiet,
    head: Vec<u8>,
}

/// Why a registration stopped.
enum Stop {
    Said(String),
    Gone(io::Error),
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl Engine {
    pub(super) fn register(
        &self,
        peer: &Peer,
        paths: Vec<PathBytes>,
        name: Option<String>,
        author: Option<String>,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut rows = Vec::new();
        for path in paths {
            match self.register_one(peer, &path, name.as_deref(), author.as_deref(), say) {
                Ok(row) => rows.push(row),
                Err(Stop::Said(text)) => return say(Say::Error { text, code: 1 }),
                Err(Stop::Gone(e)) => return Err(e),
            }
        }
        say(Say::Registered { rows })
    }

    fn register_one(
        &self,
        peer: &Peer,
        path: &PathBytes,
        name: Option<&str>,
        author: Option<&str>,
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> Result<VersionRow, Stop> {
        let shown = path.lossy().escape_debug().to_string();
        let Some(path) = below_source(path) else {
            return Err(Stop::Said(format!(
                "{shown}: not a path below the source directory"
            )));
        };
        let path = &path;
        let mut view = View::new(self, peer);
        if !view.reads(path.as_path()) {
            return Err(Stop::Said(format!(
                "{shown}: cannot be read by you; register what you can read"
            )));
        }
        let file = view
            .open(path.as_path())
            .map_err(|e| format!("{shown}: {e}"))?;
        let meta = file.metadata().map_err(|e| format!("{shown}: {e}"))?;
        if meta.is_file() {
            if meta.len() == 0 {
                return Err(Stop::Said(format!(
                    "{shown}: it is empty; empty files have no manifest"
                )));
            }
            drop(file);
            let mut digested = self.digest_all(&view, &[path.as_path().to_owned()], say)?;
            let d = digested
                .pop()
                .ok_or_else(|| format!("{shown}: it was not digested"))?;
            // A registration has no inputs: it would hide where the file came from.
            match self.sealed_by_a_run(&d.identity, &d.digests, name.or(author)) {
                Ok(Some(row)) => return Ok(row),
                Ok(None) => {}
                Err(why) => return Err(Stop::Said(format!("{shown}: {why}"))),
            }
            let kind = sniff(d.path.base_name(), &d.head, d.digests.size);
            let row = self.seal_registration(Registration {
                version: self.reserve(),
                path: d.path.clone(),
                digests: d.digests,
                identity: Some(d.identity),
                quiet: d.quiet,
                media_type: kind.media_type,
                types: kind.types,
                name: name.map(str::to_owned),
                author: author.map(str::to_owned),
                members: None,
                tell: Mutex::new(None),
            })?;
            self.recognise(&d, &row);
            return Ok(row);
        }
        if !meta.is_dir() {
            return Err(Stop::Said(format!(
                "{shown}: not a regular file or directory"
            )));
        }
        drop(file);
        let files = self.members_of(path.as_path(), &mut view)?;
        if files.is_empty() {
            return Err(Stop::Said(format!(
                "{shown}: holds no file that can be registered"
            )));
        }
        let digested = self.digest_all(&view, &files, say)?;
        self.seal_set(path, name, author, &digested)
    }

    fn seal_set(
        &self,
        path: &PathBytes,
        name: Option<&str>,
        author: Option<&str>,
        digested: &[Digested],
    ) -> Result<VersionRow, Stop> {
        let members = digested
            .iter()
            .map(|d| {
                let below = d.path.as_path().strip_prefix(path.as_path());
                Ok(Member {
                    path: PathBytes::from(below.map_err(|e| e.to_string())?),
                    digests: d.digests,
                })
            })
            .collect::<Result<_, String>>()?;
        let list = MemberList::new(members).map_err(|e| e.to_string())?;
        let bytes = list.encode();
        let quiet = digested
            .iter()
            .map(|d| d.quiet)
            .max()
            .unwrap_or(Quiet::Proven);
        let row = self.seal_registration(Registration {
            version: self.reserve(),
            path: path.clone(),
            digests: Digests::of(&bytes),
            identity: None,
            quiet,
            media_type: MEMBERS_TYPE.to_owned(),
            types: vec!["c2pa.types.dataset".to_owned()],
            name: name.map(str::to_owned),
            author: author.map(str::to_owned),
            members: Some(list),
            tell: Mutex::new(None),
        })?;
        for d in digested.iter().filter(|d| d.digests.size > 0) {
            self.recognise(d, &row);
            if self
                .known_identity(&d.identity)
                .is_none_or(|k| matches!(k.node, NodeRef::Content(_)))
            {
                let _ = self
                    .scribe
                    .send(Work::Version(Box::new(member_row(d, &row))));
            }
        }
        Ok(row)
    }

    /// The ledger may have seen the file before it was registered.
    fn recognise(&self, d: &Digested, row: &VersionRow) {
        let row = if row.members.is_some() {
            member_row(d, row)
        } else {
            row.clone()
        };
        if let Some(known) = self.known(row) {
            self.step(|l| l.registered(d.file, d.identity, &known));
        }
    }

    fn seal_registration(&self, registration: Registration) -> Result<VersionRow, String> {
        let (tell, told) = channel();
        *lock(&registration.tell) = Some(tell);
        let shown = registration.path.lossy().escape_debug().to_string();
        self.scribe
            .send(Work::Register(Arc::new(registration)))
            .map_err(|_| "the daemon is stopping".to_owned())?;
        told.recv()
            .map_err(|_| format!("{shown}: the daemon stopped before it was sealed"))?
    }

    /// Regular files below a directory, in order; links, excluded files and our own state are left out.
    fn members_of(&self, top: &Path, view: &mut View<'_>) -> Result<Vec<PathBuf>, String> {
        let mut out = Vec::new();
        let mut dirs = vec![top.to_owned()];
        while let Some(dir) = dirs.pop() {
            let shown = dir.display().to_string().escape_debug().to_string();
            let file = view.open(&dir).map_err(|e| match e.kind() {
                io::ErrorKind::PermissionDenied => format!(
                    "{shown}: cannot be listed by you; a set holds all files of its directory"
                ),
                _ => format!("{shown}: {e}"),
            })?;
            for entry in Dir::read_from(&file).map_err(|e| format!("{shown}: {e}"))? {
                let entry = entry.map_err(|e| format!("{shown}: {e}"))?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let path = dir.join(PathBytes(name.to_vec()).as_path());
                if self.exclusions.excluded(&path) || path.starts_with(".atlas") {
                    continue;
                }
                match entry.file_type() {
                    FileType::Directory => dirs.push(path),
                    FileType::RegularFile => {
                        if !view.reads(&path) {
                            let shown = path.display().to_string().escape_debug().to_string();
                            return Err(format!(
                                "{shown}: cannot be read by you; a set holds all files of its directory"
                            ));
                        }
                        out.push(path);
                    }
                    _ => {}
                }
                if out.len() > MAX_MEMBERS {
                    return Err(format!(
                        "more than {MAX_MEMBERS} files; register its subdirectories"
                    ));
                }
            }
        }
        out.sort();
        Ok(out)
    }

    fn digest_all(
        &self,
        view: &View<'_>,
        paths: &[PathBuf],
        say: &mut dyn FnMut(Say) -> io::Result<()>,
    ) -> Result<Vec<Digested>, Stop> {
        let (tell, told) = channel();
        let mut out: Vec<Option<Digested>> = Vec::new();
        out.resize_with(paths.len(), || None);
        let mut flying: std::collections::HashMap<u64, (usize, FileKey)> =
            std::collections::HashMap::new();
        let (mut bytes, mut done) = (0u64, 0u64);
        let mut next = 0;
        let mut said = std::time::Instant::now();
        while next < paths.len() || !flying.is_empty() {
            while next < paths.len() && flying.len() < AT_ONCE {
                let shown = paths[next].display().to_string().escape_debug().to_string();
                // As the peer, who may have put another file there since it was listed; from here on the key is meant, not the path.
                let file = view
                    .open(&paths[next])
                    .map_err(|e| format!("{shown}: {e}"))?;
                let key = self
                    .backing
                    .key_of(&file)
                    .map_err(|e| format!("{shown}: {e}"))?;
                let Some(pool) = self.pool() else {
                    return Err(Stop::Said("the daemon is stopping".to_owned()));
                };
                let ticket = self.registrations.expect(tell.clone());
                pool.submit(Job {
                    ticket,
                    file: key,
                    ended: false,
                    tree: None,
                    expect: None,
                    snapshot: None,
                });
                flying.insert(ticket, (next, key));
                next += 1;
            }
            let (ticket, digested) = self.one(&told, paths, &flying)?;
            bytes += digested.digests.size;
            done += 1;
            if let Some((at, _)) = flying.remove(&ticket) {
                out[at] = Some(digested);
            }
            if said.elapsed().as_millis() >= 100 {
                said = std::time::Instant::now();
                say(Say::Progress {
                    files: done,
                    of_files: paths.len() as u64,
                    bytes,
                })
                .map_err(Stop::Gone)?;
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn one(
        &self,
        told: &Receiver<Outcome>,
        paths: &[PathBuf],
        flying: &std::collections::HashMap<u64, (usize, FileKey)>,
    ) -> Result<(u64, Digested), String> {
        let outcome = told
            .recv()
            .map_err(|_| "the daemon is stopping".to_owned())?;
        let name = |ticket: u64| {
            let path = flying
                .get(&ticket)
                .map(|(at, _)| paths[*at].display().to_string());
            path.unwrap_or_default().escape_debug().to_string()
        };
        match outcome {
            Outcome::Done {
                ticket,
                digests,
                quiet,
                identity,
                head,
            } => {
                let (at, file) = flying.get(&ticket).copied().ok_or("a digest came twice")?;
                let path = PathBytes::from(paths[at].as_path());
                Ok((
                    ticket,
                    Digested {
                        path,
                        file,
                        digests,
                        identity,
                        quiet,
                        head,
                    },
                ))
            }
            Outcome::Changed { ticket, .. } => Err(format!(
                "{}: changed while it was digested; register it when nobody writes it",
                name(ticket)
            )),
            Outcome::Gone { ticket } => Err(format!("{}: was deleted meanwhile", name(ticket))),
            Outcome::Failed { ticket, error } => Err(format!("{}: {error}", name(ticket))),
            Outcome::Held { .. } => Err("a registration was held".to_owned()),
        }
    }
}

/// The path with one separator between its components, and none at its end; `None` when it could lead out of SOURCE. Empty is SOURCE.
fn below_source(path: &PathBytes) -> Option<PathBytes> {
    let mut clean = PathBuf::new();
    for component in path.as_path().components() {
        let Component::Normal(name) = component else {
            return None;
        };
        clean.push(name);
    }
    Some(PathBytes::from(clean))
}

/// `dc:format` of a set's asset: its canonical member list (FORMAT.md).
pub(super) const MEMBERS_TYPE: &str = "application/vnd.atlas.members+cbor";

/// A member's row: its content, attested by the set that its `parent` names.
fn member_row(d: &Digested, set: &VersionRow) -> VersionRow {
    VersionRow {
        node: NodeRef::Content(d.digests.blake3),
        path: Some(d.path.clone()),
        title: None,
        gone: false,
        digests: Some(d.digests),
        state: State::Sealed,
        reason: None,
        closed: None,
        status: None,
        quiet: Some(d.quiet),
        cut: None,
        run: None,
        process: 0,
        tree: 0,
        inputs: 0,
        parent: Some(set.node),
        copied: Vec::new(),
        ephemeral: false,
        manifest: set.manifest,
        input_set: None,
        members: None,
        media_type: None,
        ended_at: None,
        sealed_at: set.sealed_at.clone(),
        identity: Some(d.identity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_spelt_in_another_way_is_not_another_set_and_none_leads_out() {
        let clean = |p: &str| below_source(&PathBytes::from(p)).map(|p| p.lossy());
        for spelt in ["d/e", "d/e/", "d//e//", "d/./e/."] {
            assert_eq!(clean(spelt).as_deref(), Some("d/e"), "{spelt}");
        }
        assert_eq!(clean("").as_deref(), Some(""));
        for out in ["/d", "../d", "d/../../e", ".."] {
            assert_eq!(clean(out), None, "{out}");
        }
    }
}
