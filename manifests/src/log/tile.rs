//! The files that a log is served as (C2SP tlog-tiles): names of tiles and entry bundles, and the bytes of a bundle. Not where they lie.

use std::fmt;
use std::str::FromStr;

use super::checkpoint::decimal;
use super::note::MAX_NOTE;
use crate::digest::Sha256;

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: u64 = 256;
/// No tree of 2^64 leaves has a tile above this level.
pub const MAX_LEVEL: u8 = 7;
/// A hash in a tile, in bytes.
const HASH: usize = 32;
/// No entry is longer, in bytes: its length is written in two.
pub const MAX_ENTRY: usize = u16::MAX as usize;

/// One file of a log, by what it holds. Only what a log can have can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// The newest checkpoint: the one that changes.
    Checkpoint,
    /// Hashes of the tree.
    Tile {
        /// Counted from the leaves; `level * 8` levels of the tree are below its hashes.
        level: u8,
        /// Which tile of its level.
        index: u64,
        /// How many hashes, 1 to 256.
        width: u16,
    },
    /// The leaves themselves.
    Entries {
        /// Which bundle: that of the tile of level 0 with the same index.
        index: u64,
        /// How many leaves, 1 to 256.
        width: u16,
    },
}

/// Why something is no name of a log's file, or bytes are no such file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a file of a tiled log: {0}")]
pub struct TileError(pub &'static str);

impl Resource {
    /// The full tile.
    pub const fn full(level: u8, index: u64) -> Self {
        Self::Tile {
            level,
            index,
            width: WIDTH as u16,
        }
    }

    /// The full bundle.
    pub const fn full_entries(index: u64) -> Self {
        Self::Entries {
            index,
            width: WIDTH as u16,
        }
    }

    /// Its path below the log's directory or URL.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// The full file in whose place it stands until there is one; `None` when it is that already.
    pub const fn of_full(&self) -> Option<Self> {
        match *self {
            Self::Tile {
                level,
                index,
                width,
            } if width as u64 != WIDTH => Some(Self::full(level, index)),
            Self::Entries { index, width } if width as u64 != WIDTH => {
                Some(Self::full_entries(index))
            }
            _ => None,
        }
    }

    /// No such file is longer, in bytes.
    pub const fn max_len(&self) -> usize {
        match *self {
            Self::Checkpoint => MAX_NOTE,
            Self::Tile { width, .. } => width as usize * HASH,
            Self::Entries { width, .. } => width as usize * (2 + MAX_ENTRY),
        }
    }

    /// Reads a path. There is one spelling of each.
    ///
    /// # Errors
    /// When no log has such a file.
    pub fn parse(path: &str) -> Result<Self, TileError> {
        if path == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        let rest = path
            .strip_prefix("tile/")
            .ok_or(TileError("its path begins otherwise"))?;
        let (kind, rest) = rest
            .split_once('/')
            .ok_or(TileError("its path has no index"))?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => {
                let width = decimal(width).filter(|w| (1..WIDTH).contains(w));
                (number, width.ok_or(TileError("its width"))? as u16)
            }
            None => (rest, WIDTH as u16),
        };
        let index = parse_index(number).ok_or(TileError("its index"))?;
        if kind == "entries" {
            return Ok(Self::Entries { index, width });
        }
        let level = decimal(kind).ok_or(TileError("its level"))?;
        if level > u64::from(MAX_LEVEL) {
            return Err(TileError("no tree has such a level"));
        }
        Ok(Self::Tile {
            level: level as u8,
            index,
            width,
        })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, width) = match *self {
            Self::Checkpoint => return f.write_str("checkpoint"),
            Self::Tile {
                level,
                index,
                width,
            } => {
                write!(f, "tile/{level}/")?;
                (index, width)
            }
            Self::Entries { index, width } => {
                f.write_str("tile/entries/")?;
                (index, width)
            }
        };
        f.write_str(&index_path(index))?;
        if u64::from(width) == WIDTH {
            return Ok(());
        }
        write!(f, ".p/{width}")
    }
}

impl FromStr for Resource {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        Self::parse(path)
    }
}

/// Three digits a path element, all but the last marked: no element is both a file and a directory.
pub(super) fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

fn parse_index(path: &str) -> Option<u64> {
    let mut index: u64 = 0;
    let mut elements = path.split('/').peekable();
    while let Some(element) = elements.next() {
        let digits = match elements.peek() {
            Some(_) => element.strip_prefix('x')?,
            None => element,
        };
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    (index_path(index) == path).then_some(index)
}

/// The hashes of a tile of this width.
///
/// # Errors
/// When the bytes are of another length.
pub fn hashes(bytes: &[u8], width: u16) -> Result<Vec<Sha256>, TileError> {
    let (hashes, rest) = bytes.as_chunks::<HASH>();
    if hashes.len() != usize::from(width) || !rest.is_empty() {
        return Err(TileError("a tile has another length"));
    }
    Ok(hashes.iter().copied().map(Sha256).collect())
}

/// The bytes of a tile.
pub fn encode_hashes(hashes: &[Sha256]) -> Vec<u8> {
    hashes.iter().flat_map(|h| h.0).collect()
}

/// Consecutive leaves as they are stored and sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    bytes: Vec<u8>,
    /// Where each leaf begins and ends.
    places: Vec<(u32, u32)>,
}

impl Bundle {
    /// Reads untrusted bytes that are to hold this number of leaves.
    ///
    /// # Errors
    /// When they do not hold exactly these.
    pub fn decode(bytes: Vec<u8>, width: u16) -> Result<Self, TileError> {
        let made = Self::read(bytes, width)?;
        if made.end() != made.bytes.len() {
            return Err(TileError("a bundle has more entries"));
        }
        Ok(made)
    }

    /// The first leaves of a bundle that has them and may have more.
    ///
    /// # Errors
    /// When it has fewer.
    pub fn first(bytes: Vec<u8>, width: u16) -> Result<Self, TileError> {
        let mut made = Self::read(bytes, width)?;
        made.bytes.truncate(made.end());
        Ok(made)
    }

    fn read(bytes: Vec<u8>, width: u16) -> Result<Self, TileError> {
        let short = TileError("a bundle ends within an entry");
        if bytes.len() > WIDTH as usize * (2 + MAX_ENTRY) {
            return Err(TileError("a bundle is too long"));
        }
        let mut places = Vec::with_capacity(usize::from(width));
        let mut at = 0;
        for _ in 0..width {
            let rest = &bytes[at..];
            let (length, rest) = rest.split_first_chunk::<2>().ok_or(short.clone())?;
            let length = usize::from(u16::from_be_bytes(*length));
            if rest.len() < length {
                return Err(short);
            }
            places.push(((at + 2) as u32, (at + 2 + length) as u32));
            at += 2 + length;
        }
        Ok(Self { bytes, places })
    }

    /// Adds a leaf.
    ///
    /// # Errors
    /// When it is too long, or the bundle is full.
    pub fn push(&mut self, leaf: &[u8]) -> Result<(), TileError> {
        if self.places.len() as u64 >= WIDTH {
            return Err(TileError("a bundle is full"));
        }
        let length = u16::try_from(leaf.len()).map_err(|_| TileError("an entry is too long"))?;
        self.bytes.extend(length.to_be_bytes());
        let begin = self.bytes.len() as u32;
        self.bytes.extend(leaf);
        self.places.push((begin, self.bytes.len() as u32));
        Ok(())
    }

    /// As it is stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many leaves.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// One leaf.
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let (begin, end) = *self.places.get(at)?;
        self.bytes.get(begin as usize..end as usize)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    fn end(&self) -> usize {
        self.places.last().map_or(0, |(_, end)| *end as usize)
    }
}

#[cfg(test)]
#[path = "tile_tests.rs"]
mod tests;
