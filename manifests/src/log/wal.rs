//! What a log is about to say, durable before it is signed: batches of leaves, and the right edge that they grow from. So tiles need no
//! sync of their own before a segment ends. Not when to write: see `append`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::edge::Edge;
use super::grow::Tree;
use super::tile::{Bundle, MAX_LEVEL, Resource, WIDTH, encode_hashes, hashes};
use crate::digest::Sha256;
use crate::durable::sync_dir;
use crate::merkle::leaf_hash;

/// First bytes of a segment.
const MAGIC: &[u8; 8] = b"atlaswl1";
/// No batch is longer, in bytes.
pub(super) const MAX_BODY: usize = 32 << 20;
/// A segment's beginning is at most a bundle and eight tiles.
const MAX_HEADER: usize = 20 << 20;
/// Length and checksum.
const PREFIX: usize = 4 + 32;
/// Files grow by this: a write within a file's length needs no commit of the filesystem's journal.
const ROOM: u64 = 256 << 10;

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Index of its first leaf.
    pub(super) first: u64,
    /// The root with it.
    pub(super) root: Sha256,
    pub(super) leaves: Vec<Vec<u8>>,
}

impl Frame {
    pub(super) fn end(&self) -> u64 {
        self.first + self.leaves.len() as u64
    }
}

/// The segment that is written now.
pub(super) struct Wal {
    dir: PathBuf,
    file: File,
    start: u64,
    /// Where the next frame begins.
    at: u64,
    /// How long the file is; beyond `at` are zeroes.
    room: u64,
}

impl Wal {
    /// Begins a segment with this tree, and removes those before. All full tiles and bundles of the tree must be durable.
    pub(super) fn begin(dir: &Path, tree: &Tree) -> io::Result<Self> {
        let mut bytes = header(tree);
        let at = bytes.len() as u64;
        let room = (at / ROOM + 1) * ROOM;
        bytes.resize(room as usize, 0);
        let (tmp, to) = (dir.join(".new"), dir.join(name(tree.size())));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&tmp)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&tmp, &to)?;
        sync_dir(dir)?;
        for (start, path) in segments(dir)? {
            if start != tree.size() {
                // Of no use, and no harm: the newest is the one that is read.
                let _ = fs::remove_file(path);
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            file,
            start: tree.size(),
            at,
            room,
        })
    }

    /// Opens the newest segment; `None` when there is none. Tells the tree that it begins with.
    pub(super) fn open(dir: &Path) -> io::Result<Option<(Self, Tree)>> {
        let Some((start, path)) = segments(dir)?.into_iter().max() else {
            return Ok(None);
        };
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let room = file.metadata()?.len();
        let found = read_header(&mut &file)?.filter(|(tree, _)| tree.size() == start);
        let (tree, at) = found.ok_or_else(|| {
            let why = format!("{} is damaged at its beginning", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        let opened = Self {
            dir: dir.to_owned(),
            file,
            start,
            at,
            room,
        };
        Ok(Some((opened, tree)))
    }

    /// The size of the tree that this segment begins with.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// How much is written.
    pub(super) fn length(&self) -> u64 {
        self.at
    }

    /// Reads its frames from the beginning; stops at the first that is not whole, which was never signed, and removes what follows.
    pub(super) fn replay<E: From<io::Error>>(
        &mut self,
        mut each: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut reader = BufReader::with_capacity(ROOM as usize, file);
        while let Some((frame, length)) = read_frame(&mut reader, self.start, self.at)? {
            each(frame)?;
            self.at += length;
        }
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.at))?;
        if !only_zeroes(&mut file)? {
            self.cut()?;
        }
        Ok(())
    }

    /// Writes a batch, durably. After an error nothing of it is there, unless `cut` fails as well.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.at + bytes.len() as u64;
        if end > self.room {
            // One write: a file that cannot grow is one that is not written.
            let room = (end / ROOM + 1) * ROOM;
            let mut padded = bytes.to_vec();
            padded.resize((room - self.at) as usize, 0);
            self.file.write_all_at(&padded, self.at)?;
            self.file.sync_data()?;
            self.room = room;
        } else {
            self.file.write_all_at(bytes, self.at)?;
            self.file.sync_data()?;
        }
        self.at = end;
        Ok(())
    }

    /// Removes what stands after the last whole frame, durably.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.at)?;
        self.room = self.at;
        self.file.sync_all()
    }

    /// A batch as it is written at this place of this segment.
    pub(super) fn encode(&self, first: u64, root: &Sha256, leaves: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![0; PREFIX];
        out.extend(first.to_be_bytes());
        out.extend(root.0);
        out.extend((leaves.len() as u32).to_be_bytes());
        for leaf in leaves {
            out.extend((leaf.len() as u16).to_be_bytes());
            out.extend(leaf);
        }
        let length = (out.len() - PREFIX) as u32;
        let sum = checksum(self.start, self.at, &out[PREFIX..]);
        out[..4].copy_from_slice(&length.to_be_bytes());
        out[4..PREFIX].copy_from_slice(&sum);
        out
    }

    /// Where segments lie.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Of the place too: a leaf may hold bytes that would be a frame elsewhere.
fn checksum(start: u64, at: u64, body: &[u8]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    hash.update(&start.to_be_bytes());
    hash.update(&at.to_be_bytes());
    hash.update(body);
    *hash.finalize().as_bytes()
}

fn name(start: u64) -> String {
    format!("{start:020}")
}

fn segments(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let text = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let start = text.parse().ok().filter(|start| name(*start) == text);
        found.extend(start.map(|start| (start, path)));
    }
    Ok(found)
}

fn only_zeroes(file: &mut File) -> io::Result<bool> {
    let mut buffer = vec![0; ROOM as usize];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            n if buffer[..n].iter().any(|b| *b != 0) => return Ok(false),
            _ => {}
        }
    }
}

fn header(tree: &Tree) -> Vec<u8> {
    let mut body = tree.size().to_be_bytes().to_vec();
    body.extend((tree.bundle().bytes().len() as u32).to_be_bytes());
    body.extend(tree.bundle().bytes());
    for level in 1..=MAX_LEVEL {
        body.extend(encode_hashes(tree.edge().level(level)));
    }
    let mut out = MAGIC.to_vec();
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(checksum(0, 0, &body));
    out.extend(body);
    out
}

/// The tree that a segment begins with, and where its frames begin; `None` when the bytes are no such thing.
fn read_header(file: &mut impl Read) -> io::Result<Option<(Tree, u64)>> {
    let Some(magic) = exactly(file, MAGIC.len())? else {
        return Ok(None);
    };
    let Some(body) = checked(file, 0, 0, MAX_HEADER)? else {
        return Ok(None);
    };
    let at = (MAGIC.len() + PREFIX + body.len()) as u64;
    Ok((magic == MAGIC)
        .then(|| base(&body))
        .flatten()
        .map(|tree| (tree, at)))
}

fn base(body: &[u8]) -> Option<Tree> {
    let (size, rest) = body.split_first_chunk::<8>()?;
    let size = u64::from_be_bytes(*size);
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (bundle, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let bundle = Bundle::decode(bundle.to_vec(), (size % WIDTH) as u16).ok()?;
    let mut rest = rest;
    let edge = Edge::load(size, |resource| {
        let Resource::Tile { level, width, .. } = resource else {
            return Err(());
        };
        if level == 0 {
            return Ok(bundle.iter().map(leaf_hash).collect());
        }
        let (tile, after) = rest.split_at_checked(resource.max_len()).ok_or(())?;
        rest = after;
        hashes(tile, width).map_err(|_| ())
    });
    let edge = edge.ok()?;
    rest.is_empty().then(|| Tree::of(edge, bundle))
}

/// The frame at this place and its length in the file; `None` when there is no whole one.
fn read_frame(file: &mut impl Read, start: u64, at: u64) -> io::Result<Option<(Frame, u64)>> {
    let Some(body) = checked(file, start, at, MAX_BODY)? else {
        return Ok(None);
    };
    let length = (PREFIX + body.len()) as u64;
    Ok(frame(&body).map(|f| (f, length)))
}

fn frame(body: &[u8]) -> Option<Frame> {
    let (first, rest) = body.split_first_chunk::<8>()?;
    let (root, rest) = rest.split_first_chunk::<32>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut leaves = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (leaf, after) = after.split_at_checked(length)?;
        leaves.push(leaf.to_vec());
        rest = after;
    }
    let first = u64::from_be_bytes(*first);
    let whole = rest.is_empty() && !leaves.is_empty();
    first.checked_add(leaves.len() as u64)?;
    whole.then_some(Frame {
        first,
        root: Sha256(*root),
        leaves,
    })
}

/// Bytes with a length and a checksum before them.
fn checked(file: &mut impl Read, start: u64, at: u64, most: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(prefix) = exactly(file, PREFIX)? else {
        return Ok(None);
    };
    let (length, sum) = prefix.split_at(4);
    let length = length.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b));
    if length == 0 || length > most {
        return Ok(None);
    }
    let body = exactly(file, length)?;
    Ok(body.filter(|body| checksum(start, at, body) == sum))
}

fn exactly(file: &mut impl Read, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok((bytes.len() == length).then_some(bytes))
}

#[cfg(test)]
#[path = "wal_tests.rs"]
mod tests;
