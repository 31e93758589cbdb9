//! The backing side for the rest of the daemon: files by identity or by path below SOURCE, never through the mount.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use atlas_manifests::rows::FileIdentity;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::core::Vfs;
use super::inode::{lock, stale};
use super::observer::{Backing, FileKey};
use super::open::open_again;

impl Vfs {
    /// A descriptor (O_PATH) of exactly this inode, or ESTALE.
    fn anchor(&self, file: FileKey) -> io::Result<Arc<OwnedFd>> {
        let node = self.inodes.by_key(file).ok_or_else(stale)?;
        let fd = self.inodes.fd(&node).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => stale(),
            _ => e,
        })?;
        Ok(fd)
    }
}

impl Backing for Vfs {
    fn open_read(&self, file: FileKey) -> io::Result<File> {
        let fd = self.anchor(file)?;
        let opened = open_again(&*fd, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        Ok(opened.into())
    }

    fn identity(&self, file: FileKey) -> io::Result<FileIdentity> {
        let now = self.inodes.stat(&*self.anchor(file)?)?;
        if now.key != file {
            return Err(stale());
        }
        Ok(now.identity())
    }

    fn nameless(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let root = self.inodes.root_fd();
        Ok(rustix::fs::openat(&**root, c".", flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    fn at_rest(&self, file: FileKey) {
        if let Some(node) = self.inodes.by_key(file) {
            lock(&node.opens).at_rest();
        }
    }

    fn path(&self, file: FileKey) -> Option<PathBuf> {
        let node = self.inodes.by_key(file)?;
        let path = self.inodes.path(&node);
        self.moves.asked(file);
        Some(path)
    }

    fn is_removed(&self, file: FileKey) -> bool {
        self.inodes.by_key(file).is_some_and(|n| n.is_removed())
    }

    fn path_of_number(&self, ino: u64) -> Option<PathBuf> {
        let node = self.inodes.node(self.inodes.numbers.shown_as(ino)).ok()?;
        Some(self.inodes.path(&node))
    }

    fn open_path(&self, path: &Path) -> io::Result<File> {
        let below: PathBuf = path
            .components()
            .filter(|c| !matches!(c, Component::RootDir | Component::CurDir))
            .collect();
        let below = if below.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            below
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let root = self.inodes.root_fd();
        let fd = rustix::fs::openat2(&**root, &below, flags, Mode::empty(), resolve)?;
        let stat = self.inodes.stat(&fd)?;
        if stat.is_file() {
            // Whoever asks by path goes on by key, perhaps much later.
            self.inodes.found(fd.try_clone()?, &stat, &below);
        }
        Ok(fd.into())
    }

    fn key_of(&self, file: &File) -> io::Result<FileKey> {
        Ok(self.inodes.stat(file)?.key)
    }

    fn identity_of(&self, file: &File) -> io::Result<FileIdentity> {
        Ok(self.inodes.stat(file)?.identity())
    }

    fn source(&self) -> PathBuf {
        self.source.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Read;
    use std::os::fd::BorrowedFd;

    use rustix::io::Errno;

    use super::*;
    use crate::vfs::Options;
    use crate::vfs::handle::{Register, Token};
    use crate::vfs::inode::ROOT;
    use crate::vfs::observer::{Caller, Change, HandleId, Observer, Opened, Tid};
    use crate::vfs::options::IoMode;

    struct Silent;

    impl Observer for Silent {
        fn before_change(&self, _: FileKey, _: bool) {}
        fn opened(&self, _: &Opened<'_>) {}
        fn read(&self, _: HandleId, _: u64, _: &[u8]) {}
        fn wrote(&self, _: HandleId, _: u64, _: &[u8]) {}
        fn flushed(&self, _: HandleId, _: Caller, _: &FileIdentity) {}
        fn released(&self, _: HandleId, _: Option<&FileIdentity>) {}
        fn changed(&self, _: FileKey, _: Option<HandleId>, _: &Path, _: Change, _: Caller) {}
        fn copied(&self, _: HandleId, _: HandleId, _: Caller) {}
        fn renamed(&self, _: &Path, _: &Path, _: Option<FileKey>, _: Caller) {}
        fn exchanged(&self, _: &Path, _: &Path, _: Caller) {}
        fn linked(&self, _: FileKey, _: &Path) {}
        fn unlinked(&self, _: FileKey, _: &Path, _: bool, _: Caller) {}
        fn attribute(&self, _: FileKey, _: &[u8], _: Caller) -> Option<Result<Vec<u8>, Errno>> {
            None
        }
        fn virtual_file(&self, _: &Path, _: Caller) -> Option<Result<Vec<u8>, Errno>> {
            None
        }
        fn virtual_write(&self, _: &Path, _: &[u8], _: Caller) -> Result<(), Errno> {
            Err(Errno::PERM)
        }
    }

    /// A kernel that passes nothing through.
    struct Never;

    impl Register for Never {
        fn register(&self, _: BorrowedFd<'_>) -> io::Result<Token> {
            Err(io::Error::from_raw_os_error(libc::ENOTTY))
        }
    }

    const CALLER: Caller = Caller {
        tid: Tid(0),
        uid: 0,
        gid: 0,
    };

    fn served(source: &Path) -> Arc<Vfs> {
        let options = Options {
            source: source.to_owned(),
            io: IoMode::Inline,
            ..Options::default()
        };
        let vfs = Vfs::new(options).expect("the source opens");
        assert!(vfs.observe(Arc::new(Silent)));
        vfs
    }

    /// Opens and closes `name` as the kernel would, and forgets it.
    fn used_and_forgotten(vfs: &Vfs, name: &str) -> FileKey {
        let shown = vfs.lookup(ROOT, OsStr::new(name)).expect("no error");
        let shown = shown.expect("there");
        let open = vfs.open(shown.id, libc::O_RDONLY, CALLER, &Never);
        vfs.release(open.expect("opens").handle).expect("released");
        vfs.inodes.forget(shown.id, 1);
        shown.attr.key
    }

    #[test]
    fn a_file_that_the_kernel_forgot_is_still_reached_even_under_another_name() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("f"), b"content").expect("written");
        let vfs = served(dir.path());
        let key = used_and_forgotten(&vfs, "f");
        assert_eq!(vfs.stats().inodes, 1, "the root alone");
        let mut text = String::new();
        let file = vfs
            .open_read(key)
            .and_then(|mut f| f.read_to_string(&mut text));
        file.expect("reads");
        assert_eq!(text, "content");
        assert_eq!(vfs.identity(key).expect("known").size, 7);
        if crate::vfs::sys::name_to_handle(File::open(dir.path()).expect("opens")).is_ok()
            && rustix::process::geteuid().is_root()
        {
            std::fs::rename(dir.path().join("f"), dir.path().join("g")).expect("moved");
            assert!(vfs.open_read(key).is_ok(), "a handle follows renames");
        }
    }

    #[test]
    fn a_file_that_no_job_ever_looked_up_is_reached_by_key_after_its_path() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("d")).expect("made");
        let vfs = served(dir.path());
        let mut keys = Vec::new();
        for i in 0..100 {
            let path = PathBuf::from(format!("d/{i}"));
            std::fs::write(dir.path().join(&path), i.to_string()).expect("written");
            let file = vfs.open_path(&path).expect("opens");
            keys.push(vfs.key_of(&file).expect("known"));
        }
        let shown = vfs.open_path(Path::new("d")).expect("a directory opens");
        drop(shown);
        for (i, key) in keys.iter().enumerate() {
            let mut text = String::new();
            let read = vfs
                .open_read(*key)
                .and_then(|mut f| f.read_to_string(&mut text));
            read.expect("reads");
            assert_eq!(text, i.to_string());
        }
        assert_eq!(vfs.stats().inodes, 1, "the root alone");
        std::fs::remove_file(dir.path().join("d/7")).expect("removed");
        let gone = vfs.open_read(keys[7]).expect_err("gone for good");
        assert!(
            gone.raw_os_error() == Some(libc::ESTALE),
            "a remembered file is not held: {gone}"
        );
    }

    #[test]
    fn a_removed_file_is_stale_and_its_space_is_free() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        std::fs::write(&path, b"content").expect("written");
        let vfs = served(dir.path());
        let key = used_and_forgotten(&vfs, "f");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, b"another").expect("written");
        let gone = vfs.open_read(key).expect_err("gone for good");
        assert_eq!(gone.raw_os_error(), Some(libc::ESTALE));
        let gone = vfs.identity(key).expect_err("gone for good");
        assert_eq!(gone.raw_os_error(), Some(libc::ESTALE));
    }

    #[test]
    fn paths_do_not_leave_the_source() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = dir.path().join("source");
        std::fs::create_dir(&source).expect("made");
        std::fs::write(dir.path().join("outside"), b"x").expect("written");
        std::os::unix::fs::symlink("../outside", source.join("link")).expect("made");
        std::os::unix::fs::symlink("/etc/passwd", source.join("absolute")).expect("made");
        std::fs::write(source.join("inside"), b"y").expect("written");
        let vfs = served(&source);
        for refused in ["../outside", "link", "absolute"] {
            assert!(vfs.open_path(Path::new(refused)).is_err(), "{refused}");
        }
        for allowed in ["inside", "/inside", "./inside", ""] {
            assert!(vfs.open_path(Path::new(allowed)).is_ok(), "{allowed}");
        }
    }
}
