//! The event log as a file: a header, then framed entries, and what they replay to. Knows no register, takes no lock.
//!
//! Header: magic, SHA-256 of the boot id, the register's value at the beginning, SHA-256 of these. Frame: length (u32, little endian), `Entry`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::{Entry, EventHead, EventLog, Rtmr};

use super::steps::Steps;
use super::wal::sync;

/// Its name, the one it has while it is begun, and where a log goes that is not gone on with.
const NAME: &str = "events";
const DRAFT: &str = "events.new";
const BEFORE: &str = "events.before";
/// First bytes.
const MAGIC: &[u8; 16] = b"atlas-eventlog1\n";
/// Length of the header.
const HEADER: u64 = 16 + 32 + 48 + 32;
/// No entry is longer, in bytes. Those that are written have less than 2 KiB: a log's origin is the longest in them.
pub(super) const MAX_ENTRY: usize = 64 << 10;
/// No log is read that is longer, in bytes: some three million events.
const MAX_LOG: u64 = 512 << 20;
/// A place is remembered for so many entries, so that the whole file is read once only.
const MARK_EVERY: u64 = 256;

/// A place in the file between two entries.
#[derive(Debug, Clone, Copy)]
struct Mark {
    head: EventHead,
    offset: u64,
}

/// The file, and how far it has been read.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// What the register was before the first entry.
    pub(super) base: Rtmr,
    /// What all entries replay to.
    pub(super) head: EventHead,
    len: u64,
    marks: Vec<Mark>,
}

/// What lies there.
pub(super) enum Found {
    /// The log of this boot, replayed.
    Log(LogFile),
    /// Nothing.
    Nothing,
    /// Something that is not gone on with, and why.
    Other(&'static str),
}

impl LogFile {
    /// Begins a log, in place of any other, which is put aside.
    pub(super) fn create(dir: &Path, boot: &Sha256, base: Rtmr) -> io::Result<Self> {
        let draft = dir.join(DRAFT);
        let path = dir.join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        let mut header = MAGIC.to_vec();
        header.extend(boot.0);
        header.extend(base.0);
        let check = Sha256::of(&header);
        header.extend(check.0);
        file.write_all_at(&header, 0)?;
        file.sync_all()?;
        match fs::rename(&path, dir.join(BEFORE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::rename(&draft, &path)?;
        sync(dir)?;
        Ok(Self::at_start(path, id_of(&file)?, file, base))
    }

    /// Opens and replays what lies there.
    pub(super) fn open(dir: &Path, boot: &Sha256) -> io::Result<Found> {
        let path = dir.join(NAME);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(e),
        };
        let mut header = [0; HEADER as usize];
        match file.read_exact_at(&mut header, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Found::Other("it is cut off"));
            }
            other => other?,
        }
        let Some(base) = parse(&header, boot) else {
            return Ok(Found::Other("it is damaged or of another boot"));
        };
        let mut log = Self::at_start(path, id_of(&file)?, file, base);
        Ok(if log.read_on()? {
            Found::Log(log)
        } else {
            Found::Other("it is damaged")
        })
    }

    fn at_start(path: PathBuf, id: (u64, u64), file: File, base: Rtmr) -> Self {
        let head = EventHead {
            count: 0,
            rtmr3: base,
        };
        Self {
            path,
            file,
            id,
            base,
            head,
            len: HEADER,
            marks: vec![Mark {
                head,
                offset: HEADER,
            }],
        }
    }

    /// Whether its name still leads to this file, and nothing that was read is gone.
    pub(super) fn stands(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|m| (m.dev(), m.ino()) == self.id && m.len() >= self.len)
    }

    /// Reads what others have appended. A torn last frame is cut off: what it was going to say is in the write-ahead file.
    /// False when what is there is no log.
    pub(super) fn read_on(&mut self) -> io::Result<bool> {
        let bytes = self.bytes(self.len, self.file.metadata()?.len())?;
        let mut rest = &bytes[..];
        loop {
            match next(rest) {
                Frame::Entry(entry, after) => {
                    self.advance(&entry, (rest.len() - after.len()) as u64);
                    rest = after;
                }
                Frame::Torn if rest.is_empty() => return Ok(true),
                Frame::Torn => {
                    tracing::warn!(path = %self.path.display(), bytes = rest.len(), "the event log's last entry is torn: it is cut off");
                    self.file.set_len(self.len)?;
                    return Ok(true);
                }
                Frame::Damaged => return Ok(false),
            }
        }
    }

    /// Appends an entry; durable when this returns.
    pub(super) fn append(&mut self, entry: &Entry, steps: &mut Steps) -> io::Result<()> {
        let body = entry.encode();
        let length = u32::try_from(body.len())
            .ok()
            .filter(|n| *n as usize <= MAX_ENTRY)
            .ok_or_else(|| io::Error::other("an event that is too long"))?;
        let frame = [&length.to_le_bytes()[..], &body].concat();
        if self.len + frame.len() as u64 > MAX_LOG {
            return Err(io::Error::other(
                "the event log of this boot is full: restart the machine",
            ));
        }
        // What a failed write left must not show behind a shorter one.
        if self.file.metadata()?.len() != self.len {
            self.file.set_len(self.len)?;
        }
        steps.write(&self.file, &frame, self.len)?;
        steps.pass()?;
        self.file.sync_data()?;
        self.advance(entry, frame.len() as u64);
        steps.pass()
    }

    /// The entries from a number on.
    pub(super) fn since(&self, from: u64) -> io::Result<EventLog> {
        if from > self.head.count {
            return Err(io::Error::other("the event log is shorter than it was"));
        }
        let at = self.marks.partition_point(|m| m.head.count <= from);
        let mark = self.marks[at.saturating_sub(1)];
        let bytes = self.bytes(mark.offset, self.len)?;
        let mut rest = &bytes[..];
        let mut head = mark.head;
        let mut log = EventLog {
            from,
            base: head.rtmr3,
            entries: Vec::new(),
        };
        while let Frame::Entry(entry, after) = next(rest) {
            rest = after;
            if head.count < from {
                head.count += 1;
                head.rtmr3 = entry.apply(head.rtmr3);
                log.base = head.rtmr3;
            } else {
                log.entries.push(entry);
            }
        }
        if log.head() != self.head {
            return Err(io::Error::other("the event log was changed behind us"));
        }
        Ok(log)
    }

    fn advance(&mut self, entry: &Entry, length: u64) {
        self.len += length;
        self.head.count += 1;
        self.head.rtmr3 = entry.apply(self.head.rtmr3);
        if self.head.count.is_multiple_of(MARK_EVERY) {
            self.marks.push(Mark {
                head: self.head,
                offset: self.len,
            });
        }
    }

    fn bytes(&self, from: u64, until: u64) -> io::Result<Vec<u8>> {
        if until > MAX_LOG {
            return Err(io::Error::other(
                "the event log is longer than any that is read",
            ));
        }
        let mut bytes = vec![0; until.saturating_sub(from) as usize];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}

enum Frame<'a> {
    Entry(Entry, &'a [u8]),
    /// The bytes end before the frame does.
    Torn,
    /// No daemon wrote this.
    Damaged,
}

fn next(bytes: &[u8]) -> Frame<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Frame::Torn;
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_ENTRY {
        return Frame::Damaged;
    }
    let Some((body, rest)) = rest.split_at_checked(length) else {
        return Frame::Torn;
    };
    Entry::decode(body).map_or(Frame::Damaged, |entry| Frame::Entry(entry, rest))
}

/// The base, when the header is whole and of this boot.
fn parse(header: &[u8; HEADER as usize], boot: &Sha256) -> Option<Rtmr> {
    let (said, check) = header.split_last_chunk::<32>()?;
    let rest = said.strip_prefix(MAGIC)?.strip_prefix(&boot.0)?;
    (Sha256::of(said).0 == *check).then_some(Rtmr(rest.try_into().ok()?))
}

fn id_of(file: &File) -> io::Result<(u64, u64)> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino()))
}
