//! The authority's files: made whole and durably, read with a bound and only when nobody else can read what is secret. Not what they hold.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::AuthorityError;

/// No key or certificate file that is read is longer, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The authority's directory, made (0700) when missing, and locked for as long as it is held: two who make keys at once must not mix them.
pub(crate) fn hold(dir: &Path) -> Result<File, AuthorityError> {
    let io = |source| AuthorityError::Io {
        path: dir.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io)?;
    let held = File::open(dir).map_err(io)?;
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|e| io(e.into()))?;
    Ok(held)
}

/// Writes a file beside its final name, then gives it that name; both durable.
pub(crate) fn put(
    held: &File,
    dir: &Path,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> Result<(), AuthorityError> {
    let path = dir.join(name);
    let tmp = dir.join(format!(".{name}.new"));
    let write = || -> io::Result<()> {
        // What a crash left; we hold the directory's lock.
        match std::fs::remove_file(&tmp) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&tmp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&tmp, &path)?;
        held.sync_all()
    };
    write().map_err(|source| AuthorityError::Io {
        path: path.clone(),
        source,
    })
}

/// A small text file; `None` when it is not there. A secret one must be readable by its owner only.
pub(crate) fn read(path: &Path, secret: bool) -> Result<Option<Zeroizing<String>>, AuthorityError> {
    let io = |source| AuthorityError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    let mode = file.metadata().map_err(io)?.mode() & 0o7777;
    if secret && mode & 0o077 != 0 {
        return Err(AuthorityError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    match file.take(MAX_FILE).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(AuthorityError::Damaged {
            path: path.to_owned(),
            what: "not text".to_owned(),
        }),
        Err(e) => Err(io(e)),
    }
}
