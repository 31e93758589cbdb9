//! What the write-ahead file says: one extension of RTMR3 that is about to happen. Not what is made of it after a death: see `events`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use atlas_manifests::digest::Sha256;
use atlas_manifests::evidence::{Entry, Rtmr};
use atlas_manifests::given;

use super::logfile::MAX_ENTRY;
use super::steps::Steps;

/// Its name, and the one it has while it is written.
const NAME: &str = "wal";
const DRAFT: &str = "wal.new";
/// First bytes.
const MAGIC: &[u8; 16] = b"atlas-eventwal1\n";

/// One extension that was going to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wal {
    /// The entry's number in the log.
    pub(super) number: u64,
    /// RTMR3 before it.
    pub(super) before: Rtmr,
    /// RTMR3 after it.
    pub(super) after: Rtmr,
    /// The entry.
    pub(super) entry: Entry,
}

impl Wal {
    /// Puts it there, whole or not at all.
    pub(super) fn write(&self, dir: &Path, steps: &mut Steps) -> io::Result<()> {
        let draft = dir.join(DRAFT);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        steps.write(&file, &self.encode(), 0)?;
        file.sync_all()?;
        steps.pass()?;
        fs::rename(&draft, dir.join(NAME))?;
        sync(dir)?;
        steps.pass()
    }

    /// What is there. Bytes that are none are said and taken away: they were put there by no daemon.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let path = dir.join(NAME);
        let bytes = match given::read(&path, MAX_ENTRY as u64 + 1024).map_err(io::Error::from) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let wal = Self::decode(&bytes);
        if wal.is_none() {
            tracing::warn!(path = %path.display(), "a write-ahead file of the event log is damaged: it is dropped");
            Self::remove(dir)?;
        }
        Ok(wal)
    }

    /// Takes it away.
    pub(super) fn remove(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(NAME)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.number.to_le_bytes());
        out.extend(self.before.0);
        out.extend(self.after.0);
        out.extend(self.entry.encode());
        let check = Sha256::of(&out);
        out.extend(check.0);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (said, check) = bytes.split_last_chunk::<32>()?;
        if Sha256::of(said).0 != *check {
            return None;
        }
        let rest = said.strip_prefix(MAGIC)?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (before, rest) = rest.split_first_chunk::<48>()?;
        let (after, rest) = rest.split_first_chunk::<48>()?;
        Some(Self {
            number: u64::from_le_bytes(*number),
            before: Rtmr(*before),
            after: Rtmr(*after),
            entry: Entry::decode(rest).ok()?,
        })
    }
}

/// Makes the names in a directory last.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_write_ahead_file_is_dropped_and_never_acted_on() {
        let dir = tempfile::tempdir().unwrap();
        let wal = Wal {
            number: 7,
            before: Rtmr([1; 48]),
            after: Rtmr([2; 48]),
            entry: Entry::Event(vec![3; 20]),
        };
        wal.write(dir.path(), &mut Steps::default()).unwrap();
        assert_eq!(Wal::read(dir.path()).unwrap().as_ref(), Some(&wal));
        let bytes = fs::read(dir.path().join(NAME)).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            fs::write(dir.path().join(NAME), &bad).unwrap();
            assert_eq!(Wal::read(dir.path()).unwrap(), None, "byte {at}");
            assert!(!dir.path().join(NAME).exists());
        }
        fs::write(dir.path().join(NAME), &bytes[..50]).unwrap();
        assert_eq!(Wal::read(dir.path()).unwrap(), None);
    }
}
