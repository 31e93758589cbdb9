//! What the tests of this module share: real directories on the stores at hand, and a backing that finds files by name there.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use atlas_manifests::rows::FileIdentity;
use rustix::io::Errno;
use tempfile::TempDir;

use crate::vfs::attr;
use crate::vfs::observer::{Backing, FileKey};

/// A directory on the disk and, where there is one, on a tmpfs.
pub(super) fn stores() -> Vec<TempDir> {
    let mut all = vec![tempfile::tempdir().unwrap()];
    all.extend(tempfile::tempdir_in("/dev/shm").ok());
    all
}

/// Files by the name they had when they were first asked for.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<FileKey, PathBuf>>);

impl Names {
    /// The key of the file that has this name now.
    pub(super) fn key(&self, path: &Path) -> FileKey {
        let key = self.key_of(&File::open(path).unwrap()).unwrap();
        self.0.lock().unwrap().insert(key, path.to_owned());
        key
    }
}

impl Backing for Names {
    fn open_read(&self, file: FileKey) -> io::Result<File> {
        let path = self.0.lock().unwrap().get(&file).cloned();
        File::open(path.ok_or(Errno::STALE)?)
    }

    fn identity(&self, file: FileKey) -> io::Result<FileIdentity> {
        self.identity_of(&self.open_read(file)?)
    }

    fn open_path(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn key_of(&self, file: &File) -> io::Result<FileKey> {
        let FileIdentity { dev, ino, born, .. } = self.identity_of(file)?;
        Ok(FileKey { dev, ino, born })
    }

    fn identity_of(&self, file: &File) -> io::Result<FileIdentity> {
        Ok(attr::stat(file)?.identity())
    }

    fn source(&self) -> PathBuf {
        PathBuf::from("/")
    }
}
