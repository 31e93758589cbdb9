//! Where a state's control socket lies. Paths and directories, no connection.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use atlas_manifests::digest::Sha256;

/// Names a state directory in file names: the first 16 hex digits of the SHA-256 of its canonical path.
pub fn state_id(state: &Path) -> String {
    let mut hex = Sha256::of(state.as_os_str().as_bytes()).hex();
    hex.truncate(16);
    hex
}

/// The directory for control sockets: `/run/atlas` for root, `$XDG_RUNTIME_DIR/atlas` for users, `/tmp/atlas-UID` where that is not set.
pub fn socket_dir() -> PathBuf {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return PathBuf::from("/run/atlas");
    }
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .map_or_else(
            || PathBuf::from(format!("/tmp/atlas-{}", uid.as_raw())),
            |dir| dir.join("atlas"),
        )
}

/// The control socket of a state. `state` is its canonical path.
pub fn socket_path(state: &Path) -> PathBuf {
    socket_dir().join(state_id(state)).with_extension("sock")
}

/// Every control socket that this user could reach, in no order: its own, and the system's. Some may be dead.
pub fn sockets() -> Vec<PathBuf> {
    let mut dirs = vec![socket_dir()];
    if dirs[0] != Path::new("/run/atlas") {
        dirs.push(PathBuf::from("/run/atlas"));
    }
    dirs.iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "sock"))
        .collect()
}

/// Makes the directory for sockets: world-readable for root, private for a user, and refused when somebody else owns it.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    let uid = rustix::process::geteuid();
    let mode = if uid.is_root() { 0o755 } else { 0o700 };
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != uid.as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "must be a directory that only user {} can write",
            uid.as_raw()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_state_has_one_socket_and_another_state_another() {
        let a = socket_path(Path::new("/srv/a/.atlas"));
        assert_eq!(a, socket_path(Path::new("/srv/a/.atlas")));
        assert_ne!(a, socket_path(Path::new("/srv/b/.atlas")));
        assert_eq!(a.file_stem().unwrap().len(), 16);
        assert!(a.as_os_str().len() < 108, "longer than sun_path");
    }

    #[test]
    fn a_directory_planted_by_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(make_dir(&open).is_err());
        let link = dir.path().join("link");
        symlink(dir.path(), &link).unwrap();
        assert!(make_dir(&link).is_err());
        let fresh = dir.path().join("fresh");
        make_dir(&fresh).unwrap();
        make_dir(&fresh).unwrap();
    }
}
