//! Files that somebody else may have put there: opened without waiting, read with a bound, listed. Not what they say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why a file was not read. Each caller has its own words for it.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// The system's own error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory, a device, a pipe.
    #[error("it is no regular file")]
    NotAFile,
    /// Longer than may be, in bytes.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
}

impl From<GivenError> for io::Error {
    fn from(e: GivenError) -> Self {
        let kind = match e {
            GivenError::Io(e) => return e,
            GivenError::NotAFile => io::ErrorKind::InvalidInput,
            GivenError::TooLong(_) => io::ErrorKind::InvalidData,
        };
        Self::new(kind, e.to_string())
    }
}

/// Opens a regular file for reading. A pipe under its name would otherwise keep us waiting for somebody to write.
///
/// # Errors
/// When it cannot be opened, or is something else.
pub fn open(path: &Path) -> Result<File, GivenError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(GivenError::NotAFile);
    }
    Ok(file)
}

/// A regular file's bytes, which are an error when they are more than `most`.
///
/// # Errors
/// As `open`, and when it is too long.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, GivenError> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(GivenError::TooLong(most));
    }
    Ok(bytes)
}

/// What is pinned in a directory: its files with this extension, in the order of their names, without hidden ones, which a crash left half
/// written. A directory that is missing is an empty one.
///
/// # Errors
/// When it cannot be read.
pub fn pinned(dir: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        // Somebody else's home, after su or sudo: whom it believes is not known, and nobody is believed for that.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
