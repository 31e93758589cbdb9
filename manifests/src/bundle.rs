//! Everything that an auditor needs to check one file, or one piece of evidence, offline, as one plain tar (CONTRACTS 5). Not the file itself.
//!
//! `bundle.json` comes first and lists every other entry with its SHA-256. Reading trusts none of it: each object is hashed again.

mod evidence;
mod log;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::{Digests, Sha256};
use crate::evidence::Evidence;
use crate::id::NodeRef;
use crate::private::{Opening, PrivateRecord, check};
use crate::read;
use crate::scan::StoreScan;
use crate::set::{self, Segment};
use crate::shelf::{Entry, Logged, Object, Shelf, ShelfError};
use crate::statement::{SetHead, Statement};
pub use evidence::write_evidence;

/// What `bundle.json` says it is.
const FORMAT: &str = "atlas-bundle 1";
/// The list of a bundle is never longer, in bytes.
const MAX_LIST: u64 = 256 << 20;
/// All entries of a bundle together are never longer, in bytes.
const MAX_BUNDLE: u64 = 4 << 30;
/// No bundle has more entries.
const MAX_ENTRIES: usize = 4_000_000;

/// Why a bundle could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a bundle, or a damaged one.
    #[error(
        "not a usable bundle: {0}; write it again with `atlasctl export --bundle`, or `atlasctl attest -o` for evidence"
    )]
    Damaged(String),
    /// Something that belongs into it is not there.
    #[error("cannot make a whole bundle: {0}")]
    Incomplete(String),
    /// Looking something up failed.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
}

/// Which withheld fields of the root's manifest are disclosed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Disclose {
    /// None.
    #[default]
    Nothing,
    /// These. One that the manifest does not commit to is an error.
    Fields(Vec<String>),
    /// All that the private record opens.
    All,
}

#[derive(Debug, Serialize, Deserialize)]
struct List {
    format: String,
    /// Name of the root's manifest, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Sha256>,
    /// Name of the evidence, when it is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Sha256>,
    /// Path of each entry, and SHA-256 of its bytes.
    entries: BTreeMap<String, Sha256>,
    /// Disclosed fields, by the manifest that commits to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    disclosed: BTreeMap<Sha256Key, BTreeMap<String, Opening>>,
}

/// A digest as a map's key in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct Sha256Key(Sha256);

/// Writes the bundle of the manifest named `root`: its whole ancestry, with all input sets and the member lists that are there. The same
/// store gives the same bytes.
pub fn write(
    shelf: &dyn Shelf,
    root: &Sha256,
    disclose: &Disclose,
    out: &mut dyn Write,
) -> Result<(), BundleError> {
    let mut objects: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut queue = VecDeque::from([*root]);
    let mut seen = BTreeSet::from([*root]);
    let mut first: Option<Statement> = None;
    while let Some(name) = queue.pop_front() {
        let missing = || {
            BundleError::Incomplete(format!(
                "manifest {name} is missing; restore the state directory from a copy"
            ))
        };
        let bytes = shelf.object(Object::Manifest, &name)?.ok_or_else(missing)?;
        let (said, named) = read::peek_with_evidence(&bytes)
            .map_err(|e| BundleError::Incomplete(format!("manifest {name}: {e}")))?;
        for id in named.into_iter().chain(said.evidence) {
            evidence::collect(shelf, id, &mut objects)?;
        }
        objects.insert(entry_name(Object::Manifest, &name), bytes);
        log::collect(shelf, &Entry::of(name, &said), &mut objects)?;
        let leaves = inputs(shelf, said.input_set, &mut objects)?;
        let direct = said
            .inputs
            .iter()
            .chain(&said.parent)
            .filter_map(|i| i.manifest.map(|m| m.sha256));
        for next in direct.chain(leaves) {
            if seen.insert(next) {
                queue.push_back(next);
            }
        }
        if said.members.is_some() {
            let list = said.asset.digests.sha256;
            if let Some(bytes) = shelf.object(Object::Members, &list)? {
                objects.insert(entry_name(Object::Members, &list), bytes);
            }
        }
        first.get_or_insert(said);
    }
    let disclosed = match (&first, disclose) {
        (_, Disclose::Nothing) | (None, _) => BTreeMap::new(),
        (Some(said), some) => {
            BTreeMap::from([(Sha256Key(*root), openings(shelf, root, said, some)?)])
        }
    };
    pack(Some(*root), None, disclosed, &objects, out)
}

/// The list of these objects, then the objects.
fn pack(
    root: Option<Sha256>,
    evidence: Option<Sha256>,
    disclosed: BTreeMap<Sha256Key, BTreeMap<String, Opening>>,
    objects: &BTreeMap<String, Vec<u8>>,
    out: &mut dyn Write,
) -> Result<(), BundleError> {
    let list = List {
        format: FORMAT.to_owned(),
        root,
        evidence,
        entries: objects
            .iter()
            .map(|(path, bytes)| (path.clone(), Sha256::of(bytes)))
            .collect(),
        disclosed,
    };
    let list = serde_json::to_vec_pretty(&list).map_err(io::Error::other)?;
    let mut tar = tar::Builder::new(out);
    append(&mut tar, "bundle.json", &list)?;
    for (path, bytes) in objects {
        append(&mut tar, path, bytes)?;
    }
    tar.into_inner()?.flush()?;
    Ok(())
}

fn append(tar: &mut tar::Builder<&mut dyn Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes)
}

/// Takes the segments of a set along, and gives the manifests that its leaves name.
fn inputs(
    shelf: &dyn Shelf,
    head: SetHead,
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> Result<Vec<Sha256>, BundleError> {
    let fetch = |root: &Sha256| shelf.object(Object::Inputs, root);
    let leaves = set::collect(head, &fetch)
        .map_err(|e| BundleError::Incomplete(format!("an input set: {e}")))?;
    let mut want = head;
    while want.size > 0 {
        let name = entry_name(Object::Inputs, &want.root);
        let gone = || BundleError::Incomplete("an input set changed meanwhile".to_owned());
        let bytes = shelf.object(Object::Inputs, &want.root)?.ok_or_else(gone)?;
        let prev = Segment::decode(&bytes).map_err(|_| gone())?.prev;
        if objects.insert(name, bytes).is_some() || prev.size >= want.size {
            break;
        }
        want = prev;
    }
    Ok(leaves
        .into_iter()
        .filter_map(|leaf| leaf.manifest)
        .collect())
}

/// Each is checked against the commitment first: a bundle never carries a disclosure that its reader would refuse.
fn openings(
    shelf: &dyn Shelf,
    manifest: &Sha256,
    said: &Statement,
    disclose: &Disclose,
) -> Result<BTreeMap<String, Opening>, BundleError> {
    let bytes = shelf.object(Object::Private, manifest)?.ok_or_else(|| {
        BundleError::Incomplete(
            "the private record is not here or may not be read; ask its owner, or disclose nothing"
                .to_owned(),
        )
    })?;
    let record = PrivateRecord::decode(&bytes)
        .map_err(|e| BundleError::Incomplete(format!("the private record: {e}")))?;
    let names: Vec<String> = match disclose {
        Disclose::Nothing => Vec::new(),
        Disclose::Fields(names) => names.clone(),
        Disclose::All => record.fields.keys().cloned().collect(),
    };
    let open = |name: String| {
        record
            .open(said, &name)
            .map_err(|e| BundleError::Incomplete(e.to_string()))?;
        let opening = record.fields.get(&name).cloned();
        opening
            .map(|o| (name.clone(), o))
            .ok_or_else(|| BundleError::Incomplete(format!("{name} is not withheld")))
    };
    names.into_iter().map(open).collect()
}

fn entry_name(object: Object, name: &Sha256) -> String {
    match object {
        Object::Manifest => format!("manifests/{}.c2pa", name.hex()),
        Object::Inputs => format!("inputs/{}.cbor", name.hex()),
        Object::Members => format!("members/{}.cbor", name.hex()),
        Object::Private => format!("private/{}.json", name.hex()),
        Object::Evidence => format!("evidence/{}.cbor", name.hex()),
        Object::Collateral => format!("collateral/{}.json", name.hex()),
    }
}

fn parse_entry(path: &str) -> Option<(Object, Sha256)> {
    let (dir, file) = path.split_once('/')?;
    let (object, suffix) = match dir {
        "manifests" => (Object::Manifest, ".c2pa"),
        "inputs" => (Object::Inputs, ".cbor"),
        "members" => (Object::Members, ".cbor"),
        "evidence" => (Object::Evidence, ".cbor"),
        "collateral" => (Object::Collateral, ".json"),
        _ => return None,
    };
    let name = Sha256::from_hex(file.strip_suffix(suffix)?).ok()?;
    Some((object, name))
}

/// An opened bundle: a shelf over its objects. Nothing is written to disk.
#[derive(Debug)]
pub struct Bundle {
    /// What it is about: a manifest or evidence.
    about: Object,
    root: Sha256,
    objects: BTreeMap<(u8, Sha256), Vec<u8>>,
    disclosed: BTreeMap<Sha256Key, BTreeMap<String, Opening>>,
    by_content: BTreeMap<Sha256, Vec<Sha256>>,
    logs: log::Logs,
    ignored: Vec<String>,
}

const fn tag(object: Object) -> u8 {
    match object {
        Object::Manifest => 0,
        Object::Inputs => 1,
        Object::Members => 2,
        Object::Private => 3,
        Object::Evidence => 4,
        Object::Collateral => 5,
    }
}

impl Bundle {
    /// Opens a bundle file.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        Self::read(io::BufReader::new(std::fs::File::open(path)?))
    }

    /// Reads a bundle. Names are never used as paths; sizes and numbers are bounded; an entry that comes twice is refused.
    pub fn read(from: impl Read) -> Result<Self, BundleError> {
        let damaged = |text: String| BundleError::Damaged(text);
        let mut tar = tar::Archive::new(from.take(MAX_BUNDLE));
        let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut ignored = Vec::new();
        // Raw: the library would read a long name or an extended header whole, however long it says it is. We write neither.
        let entries = tar.entries().map_err(|e| damaged(e.to_string()))?;
        for entry in entries.raw(true) {
            let mut entry = entry.map_err(|e| damaged(e.to_string()))?;
            let raw = entry.path_bytes().into_owned();
            let path = String::from_utf8(raw.clone()).unwrap_or_default();
            let is_file = entry.header().entry_type().is_file();
            let limit = match parse_entry(&path) {
                Some((object, _)) => crate::store::limit(object),
                None if path == "bundle.json" => MAX_LIST,
                None => log::limit(&path).unwrap_or(0),
            };
            if found.len() + ignored.len() >= MAX_ENTRIES {
                return Err(damaged("too many entries".to_owned()));
            }
            if !is_file || limit == 0 {
                ignored.push(raw.escape_ascii().to_string());
                continue;
            }
            if entry.size() > limit {
                return Err(damaged(format!("{path} is too large")));
            }
            let mut bytes = Vec::new();
            entry
                .by_ref()
                .take(limit)
                .read_to_end(&mut bytes)
                .map_err(|e| damaged(e.to_string()))?;
            if bytes.len() as u64 != entry.size() {
                return Err(damaged(format!("{path} is cut short")));
            }
            if found.insert(path.clone(), bytes).is_some() {
                return Err(damaged(format!("{path} is in it twice")));
            }
        }
        Self::of(found, ignored)
    }

    fn of(mut found: BTreeMap<String, Vec<u8>>, ignored: Vec<String>) -> Result<Self, BundleError> {
        let damaged = |text: String| BundleError::Damaged(text);
        let list = found
            .remove("bundle.json")
            .ok_or_else(|| damaged("there is no bundle.json in it".to_owned()))?;
        let list: List =
            serde_json::from_slice(&list).map_err(|e| damaged(format!("bundle.json: {e}")))?;
        if list.format != FORMAT {
            let text = format!(
                "bundle.json says {:?}, this program knows {FORMAT:?}",
                list.format
            );
            return Err(damaged(text));
        }
        for (path, digest) in &list.entries {
            match found.get(path) {
                Some(bytes) if Sha256::of(bytes) == *digest => {}
                Some(_) => {
                    return Err(damaged(format!(
                        "{} is not what bundle.json lists",
                        path.escape_default()
                    )));
                }
                None => {
                    return Err(damaged(format!(
                        "{} is listed and not there",
                        path.escape_default()
                    )));
                }
            }
        }
        let (about, root) = match (list.root, list.evidence) {
            (Some(root), None) => (Object::Manifest, root),
            (None, Some(id)) => (Object::Evidence, id),
            _ => {
                let text = "bundle.json names no manifest and no evidence, or both";
                return Err(damaged(text.to_owned()));
            }
        };
        let mut bundle = Self {
            about,
            root,
            objects: BTreeMap::new(),
            disclosed: list.disclosed,
            by_content: BTreeMap::new(),
            logs: log::Logs::default(),
            ignored,
        };
        for (path, bytes) in found {
            let listed = list.entries.contains_key(&path);
            match parse_entry(&path).filter(|_| listed) {
                Some((object, name)) => bundle.add(object, name, bytes)?,
                None if listed && log::limit(&path).is_some() => bundle.logs.add(&path, bytes),
                None => bundle.ignored.push(path),
            }
        }
        if !bundle.objects.contains_key(&(tag(about), root)) {
            let what = match about {
                Object::Evidence => "evidence",
                _ => "manifest",
            };
            return Err(damaged(format!("the {what} that it is about is not in it")));
        }
        Ok(bundle)
    }

    fn add(&mut self, object: Object, name: Sha256, bytes: Vec<u8>) -> Result<(), BundleError> {
        let fits = match object {
            // A segment is named by a root, which is computed again when the set is collected.
            Object::Inputs => true,
            Object::Evidence => Evidence::decode(&bytes).is_ok_and(|e| e.id() == name),
            _ => Sha256::of(&bytes) == name,
        };
        if !fits {
            return Err(BundleError::Damaged(format!(
                "{} is something else",
                entry_name(object, &name)
            )));
        }
        if object == Object::Manifest
            && let Ok(said) = read::peek(&bytes)
        {
            self.by_content
                .entry(said.asset.digests.sha256)
                .or_default()
                .push(name);
        }
        self.objects.insert((tag(object), name), bytes);
        Ok(())
    }

    /// The name of the manifest, or of the evidence, that the bundle is about.
    pub fn root(&self) -> Sha256 {
        self.root
    }

    /// The manifest that the bundle is about: what `ManifestChoice::given` wants. `None` when it is about evidence.
    pub fn manifest(&self) -> Option<&[u8]> {
        self.object_about(Object::Manifest)
    }

    fn object_about(&self, kind: Object) -> Option<&[u8]> {
        let found = self.objects.get(&(tag(kind), self.root));
        found.filter(|_| kind == self.about).map(Vec::as_slice)
    }

    /// The node of the manifest that the bundle is about.
    pub fn node(&self) -> Option<NodeRef> {
        read::peek(self.manifest()?)
            .ok()
            .map(|s| NodeRef::Version(s.version))
    }

    /// Entries that this program does not know, escaped: they were not looked at.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The disclosed fields of the root that fit what its manifest commits to; any other is an error.
    pub fn disclosed(&self) -> Result<BTreeMap<String, serde_json::Value>, BundleError> {
        let Some(fields) = self.disclosed.get(&Sha256Key(self.root)) else {
            return Ok(BTreeMap::new());
        };
        let said = self.manifest().and_then(|m| read::peek(m).ok());
        let withheld = said.map(|s| s.withheld).unwrap_or_default();
        let open = |(field, opening): (&String, &Opening)| {
            check(&withheld, field, opening).map_err(|e| BundleError::Damaged(e.to_string()))?;
            Ok((field.clone(), opening.value.clone()))
        };
        fields.iter().map(open).collect()
    }

    /// Rows made of the bundle's manifests and input sets.
    pub fn catalogue(&self) -> Result<StoreScan, ShelfError> {
        let wanted = tag(Object::Manifest);
        let names: Vec<Sha256> = self
            .objects
            .keys()
            .filter(|(t, _)| *t == wanted)
            .map(|(_, n)| *n)
            .collect();
        StoreScan::of(self, &names)
    }
}

impl Shelf for Bundle {
    fn object(&self, kind: Object, name: &Sha256) -> Result<Option<Vec<u8>>, ShelfError> {
        Ok(self.objects.get(&(tag(kind), *name)).cloned())
    }

    fn manifests_of(&self, asset: &Digests) -> Result<Vec<Sha256>, ShelfError> {
        Ok(self
            .by_content
            .get(&asset.sha256)
            .cloned()
            .unwrap_or_default())
    }

    fn transparency(&self, entry: &Entry) -> Result<Option<Logged>, ShelfError> {
        Ok(self.logs.logged(entry))
    }
}

#[cfg(test)]
mod tests;
