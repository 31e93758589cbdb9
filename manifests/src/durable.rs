//! Small files read without waiting, and files and directories made durably. Not where they lie.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use crate::given::{self, GivenError};

/// A small file that is longer than this is not one, in bytes.
pub(crate) const MAX_SMALL_FILE: u64 = 4096;

/// A small text file.
pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = given::open(path).map_err(|e| match e {
        GivenError::NotAFile => io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file: restore it from a copy of the state",
        ),
        other => other.into(),
    })?;
    file.take(MAX_SMALL_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes a directory and those above it, with exactly this mode whatever the umask; an existing one is left as it is.
pub(crate) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    let mut changed = BTreeSet::new();
    make_dir_soon(path, mode, &mut changed)?;
    changed.iter().try_for_each(|dir| sync_dir(dir))
}

/// The same, not durable before those that were `changed` are synced.
pub(crate) fn make_dir_soon(
    path: &Path,
    mode: u32,
    changed: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            let parent = path.parent().filter(|p| *p != Path::new(""));
            changed.extend(parent.map(Path::to_owned));
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|p| *p != Path::new("")).ok_or(e)?;
            make_dir_soon(parent, 0o755, changed)?;
            // Where that did not help, as below /proc, no further try will.
            match DirBuilder::new().mode(mode).create(path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                    return Ok(());
                }
                made => made?,
            }
            changed.insert(parent.to_owned());
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }
        Err(e) => Err(e),
    }
}

/// Has the kernel begin to write out a file's bytes, or (`true`) waits until they are on the disk; its name and length need not be.
pub type WriteOut = fn(&File, bool) -> io::Result<()>;

/// A file that was written under a name for the time being.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) tmp: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) file: File,
}

/// Gives files their names, and makes them and the directories that were `changed` durable. Names the path that failed.
///
/// Where one journal serves the whole filesystem, all of it takes one wait: the bytes are written out first, so that the commit
/// that the last file waits for has nothing left to order. A wait for each file would make a job that creates files wait as often.
pub(crate) fn publish(
    files: &[Written],
    changed: &BTreeSet<PathBuf>,
    write_out: Option<WriteOut>,
) -> Result<(), (PathBuf, io::Error)> {
    let written_out = |write_out: WriteOut| {
        let all = |wait| files.iter().try_for_each(|w| write_out(&w.file, wait));
        // All are on their way before the first is waited for.
        all(false).and_then(|()| all(true)).is_ok()
    };
    let together = one_journal(files) && write_out.is_some_and(written_out);
    for w in files {
        if !together {
            w.file.sync_all().map_err(|e| (w.tmp.clone(), e))?;
        }
    }
    for w in files {
        fs::rename(&w.tmp, &w.to).map_err(|e| (w.to.clone(), e))?;
    }
    match files.last() {
        // Its change time moved with its name, after all other changes: what it waits for holds them too.
        Some(last) if together => last.file.sync_all().map_err(|e| (last.to.clone(), e)),
        _ => changed
            .iter()
            .try_for_each(|dir| sync_dir(dir).map_err(|e| (dir.clone(), e))),
    }
}

/// True when a commit for any of these files commits what was changed before it in the whole filesystem: ext4 and XFS have one
/// journal, in order; tmpfs has nothing to commit.
fn one_journal(files: &[Written]) -> bool {
    let known = |w: &Written| {
        let kind = rustix::fs::fstatfs(&w.file).ok()?.f_type;
        let dev = w.file.metadata().ok()?.dev();
        [EXT4, XFS, TMPFS].contains(&kind).then_some(dev)
    };
    let mut devices = files.iter().map(known);
    let first = devices.next().flatten();
    first.is_some() && devices.all(|d| d == first)
}

/// `linux/magic.h`.
const EXT4: rustix::fs::FsWord = 0xEF53;
const XFS: rustix::fs::FsWord = 0x5846_5342;
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_can_never_be_made_is_an_error_and_no_endless_try() {
        assert!(make_dir(Path::new("/proc/nothing-of-this-name/x"), 0o755).is_err());
    }
}
