//! The file that a verb writes when it is told to: never replaces one unasked, never leaves half of one. Not what stands in it.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, OFlags, linkat};

use crate::exit::Failure;

/// Not over a file that is needed, not even by force (each with the words for why); nor over a directory or a device.
pub(crate) fn refuse(to: &Path, needed: &[(&Path, &str)]) -> Result<(), Failure> {
    let Ok(there) = fs::metadata(to) else {
        return Ok(());
    };
    let same = |file: &Path| {
        fs::metadata(file).is_ok_and(|f| (f.dev(), f.ino()) == (there.dev(), there.ino()))
    };
    let why = if let Some((_, why)) = needed.iter().find(|(file, _)| same(file)) {
        why
    } else if there.is_dir() {
        "is a directory"
    } else if !there.is_file() {
        // A rename would put a file in the place of a device.
        "is no regular file"
    } else {
        return Ok(());
    };
    Err(Failure::error(format!(
        "{}: {why}: give another file name",
        to.display()
    )))
}

/// Written without a name where the filesystem can, else under another one, and then given its own: nobody ever sees half of it, and
/// Ctrl-C leaves nothing behind.
pub(crate) fn write(to: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => Failure::error(format!(
            "{}: is there already: add --force to replace it",
            to.display()
        )),
        _ => Failure::io(to.display(), &e),
    };
    if !force && fs::symlink_metadata(to).is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let dir = to
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    to.file_name()
        .ok_or_else(|| Failure::error(format!("{}: is no file name: give one", to.display())))?;
    // Never longer than the name itself may be.
    let tmp = dir.join(format!(".atlasctl-{}", std::process::id()));
    let written = || -> io::Result<()> {
        let (mut file, named) = match unnamed(dir) {
            Ok(file) => (file, false),
            Err(_) => (fs::File::create_new(&tmp)?, true),
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        match (force, named) {
            // Unlike rename, link never replaces what has come there meanwhile.
            (false, false) => name(&file, to),
            (false, true) => fs::hard_link(&tmp, to).and_then(|()| fs::remove_file(&tmp)),
            (true, false) => name(&file, &tmp).and_then(|()| fs::rename(&tmp, to)),
            (true, true) => fs::rename(&tmp, to),
        }
    };
    written().map_err(|e| {
        let _ = fs::remove_file(&tmp);
        failed(e)
    })
}

/// A file without a name in a directory: open(2), O_TMPFILE.
fn unnamed(dir: &Path) -> io::Result<fs::File> {
    let flags = OFlags::TMPFILE.bits().cast_signed();
    fs::OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(dir)
}

/// Gives it one, where there is none yet.
fn name(file: &fs::File, to: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, own, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_replaces_nothing_unasked_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("m.c2pa");
        write(&to, b"one", false).unwrap();
        let refused = write(&to, b"two", false).unwrap_err();
        assert!(refused.text.contains("--force"), "{}", refused.text);
        assert_eq!(fs::read(&to).unwrap(), b"one");
        write(&to, b"two", true).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_export_never_replaces_the_file_that_it_is_about_nor_a_directory_or_device() {
        let dir = tempfile::tempdir().unwrap();
        let (model, link) = (&*dir.path().join("m.pt"), &*dir.path().join("link"));
        fs::write(model, "model").unwrap();
        std::os::unix::fs::symlink(model, link).unwrap();
        for to in [model, link, dir.path(), Path::new("/dev/null")] {
            let refused = refuse(to, &[(model, "is the model")]).unwrap_err();
            assert!(refused.text.ends_with("give another file name"));
        }
        refuse(&dir.path().join("m.c2pa"), &[(model, "is the model")]).unwrap();
    }

    #[test]
    fn a_name_as_long_as_names_may_be_can_be_exported_to() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("x".repeat(255));
        write(&to, b"one", false).unwrap();
        write(&to, b"two", true).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
    }
}
