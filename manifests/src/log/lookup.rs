//! The files that help to find a leaf: for 65,536 leaves, what each names, sorted. Made from the log and never needed.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::grow::{create, make_dirs};
use super::leaf::{Leaf, Revoked};
use super::reader::SourceError;
use super::tile::index_path;
use crate::digest::Sha256;
use crate::given;
use crate::id::InstanceId;

/// Their directory within the log's.
pub(super) const DIR: &str = "find";
/// Leaves of one file: what one hash of a tile of level 2 covers.
pub(super) const SPAN: u64 = 1 << 16;

const MAGIC: &[u8; 16] = b"atlas-find-1\0\0\0\0";
/// One for each first byte of a key: where its entries end, and their checksum.
const BUCKETS: usize = 256;
const BUCKET: usize = 4 + 8;
const HEADER: usize = 16 + 32 + BUCKETS * BUCKET + 32;
const ENTRY: usize = 8 + 1 + 2;

/// Which leaves are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Manifest,
    Inputs,
    Instance,
    Anchor,
    /// An anchor that says that it is the last.
    End,
    Revocation,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Manifest,
        Self::Inputs,
        Self::Instance,
        Self::Anchor,
        Self::End,
        Self::Revocation,
    ];
}

/// What one leaf names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) key: [u8; 8],
    pub(super) kind: Kind,
    /// Within the span.
    pub(super) at: u16,
}

pub(super) fn of_digest(digest: &Sha256) -> [u8; 8] {
    digest.0.first_chunk().copied().unwrap_or_default()
}

/// Instances begin alike where they are of one time.
pub(super) fn of_instance(id: &InstanceId) -> [u8; 8] {
    of_digest(&Sha256::of(&id.0))
}

impl Entry {
    pub(super) fn of(leaf: &Leaf, at: u16) -> Self {
        let (key, kind) = match leaf {
            Leaf::Manifest { manifest, .. } => (of_digest(manifest), Kind::Manifest),
            Leaf::Inputs { head, .. } => (of_digest(&head.root), Kind::Inputs),
            Leaf::Instance { instance, .. } => (of_instance(instance), Kind::Instance),
            Leaf::Anchor { instance, last, .. } => {
                let kind = if *last { Kind::End } else { Kind::Anchor };
                (of_instance(instance), kind)
            }
            Leaf::Revocation { what, .. } => match what {
                Revoked::Manifest(digest) => (of_digest(digest), Kind::Revocation),
                Revoked::Instance(id) => (of_instance(id), Kind::Revocation),
            },
        };
        Self { key, kind, at }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.key);
        out.push(self.kind as u8);
        out.extend(self.at.to_be_bytes());
    }

    fn read(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk::<8>()?;
        let [kind, high, low] = rest else { return None };
        Some(Self {
            key: *key,
            kind: *Kind::ALL.get(usize::from(*kind))?,
            at: u16::from_be_bytes([*high, *low]),
        })
    }
}

fn path(dir: &Path, span: u64) -> PathBuf {
    dir.join(index_path(span))
}

pub(super) fn is_there(dir: &Path, span: u64) -> bool {
    path(dir, span).exists()
}

/// The entries among which all of a key's are, sorted; `None` when there is no file of this span, or it is not whole.
pub(super) fn read(dir: &Path, span: u64, root: &Sha256, key: [u8; 8]) -> Option<Vec<Entry>> {
    let file = given::open(&path(dir, span)).ok()?;
    let mut header = Vec::new();
    (&file)
        .take(HEADER as u64)
        .read_to_end(&mut header)
        .ok()
        .filter(|n| *n == HEADER)?;
    let (said, sum) = header.split_at(HEADER - 32);
    if blake3::hash(said).as_bytes() != sum
        || said.get(..16)? != MAGIC
        || said.get(16..48)? != root.0
    {
        return None;
    }
    let buckets = said.get(48..)?;
    let end = |n: usize| {
        let bytes = buckets.get(n * BUCKET..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes) as usize)
    };
    let n = usize::from(key[0]);
    let from = if n == 0 { 0 } else { end(n - 1)? };
    let count = end(n)?.checked_sub(from).filter(|c| *c as u64 <= SPAN)?;
    let mut bytes = vec![0; count * ENTRY];
    let at = HEADER + from * ENTRY;
    file.read_exact_at(&mut bytes, at as u64).ok()?;
    let sum = buckets.get(n * BUCKET + 4..(n + 1) * BUCKET)?;
    if check(&bytes) != sum {
        return None;
    }
    bytes
        .as_chunks::<ENTRY>()
        .0
        .iter()
        .map(Entry::read)
        .collect()
}

fn check(bucket: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(bucket);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Writes the file of a span; `entries` are sorted.
pub(super) fn write(
    dir: &Path,
    span: u64,
    root: &Sha256,
    entries: &[Entry],
) -> Result<(), SourceError> {
    let mut out = MAGIC.to_vec();
    out.extend(root.0);
    let mut body = Vec::with_capacity(entries.len() * ENTRY);
    let mut rest = entries;
    for n in 0..BUCKETS {
        let (mine, after) = rest.split_at(rest.partition_point(|e| usize::from(e.key[0]) <= n));
        let from = body.len();
        mine.iter().for_each(|e| e.write(&mut body));
        out.extend(((body.len() / ENTRY) as u32).to_be_bytes());
        out.extend(check(&body[from..]));
        rest = after;
    }
    let sum = blake3::hash(&out);
    out.extend(sum.as_bytes());
    out.extend(body);
    let to = path(dir, span);
    put(&to, &out).map_err(|e| SourceError {
        what: to.display().to_string(),
        why: e.to_string(),
    })
}

fn put(to: &Path, bytes: &[u8]) -> io::Result<()> {
    make_dirs(to.parent().unwrap_or(Path::new(".")))?;
    // Two that write it at once write the same; a name of its own keeps them from mixing.
    let tmp = to.with_extension(format!("new-{}", std::process::id()));
    create(&tmp)?.write_all(bytes)?;
    fs::rename(&tmp, to).inspect_err(|_| {
        let _ = fs::remove_file(&tmp);
    })
}
