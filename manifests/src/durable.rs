//! Small files read without waiting, and files and directories made durably. Not where they lie.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// A small file that is longer than this is not one, in bytes.
pub(crate) const MAX_SMALL_FILE: u64 = 4096;

/// A small text file. A pipe under its name would otherwise keep us waiting for somebody to write.
pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file: restore it from a copy of the state",
        ));
    }
    file.take(MAX_SMALL_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes a directory and those above it, with exactly this mode whatever the umask; an existing one is left as it is.
pub(crate) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            match path.parent() {
                Some(parent) if parent != Path::new("") => sync_dir(parent),
                _ => Ok(()),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|p| *p != Path::new("")).ok_or(e)?;
            make_dir(parent, 0o755)?;
            make_dir(path, mode)
        }
        Err(e) => Err(e),
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes a file whole or not at all, and durably, with exactly this mode whatever the umask.
pub(crate) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut name = OsString::from(".tmp-");
    name.push(path.file_name().unwrap_or_default());
    let tmp = dir.join(name);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&tmp)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&tmp, path)?;
        sync_dir(dir)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&tmp);
    })
}
