//! `--sidecar`: a copy of each manifest beside its file, for tools that look there. Never read back, never trusted.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use atlas_manifests::bytes::PathBytes;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, fchown, fstat, openat2, renameat, unlinkat,
};

/// Writes `PATH.c2pa` below SOURCE; it belongs to whoever owns the file.
pub(super) fn write(source: &OwnedFd, path: &PathBytes, manifest: &[u8]) -> io::Result<()> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let parent = path
        .as_path()
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = openat2(
        source,
        &parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        beneath,
    )?;
    let base = PathBytes(path.base_name().to_vec());
    let file = openat2(
        &dir,
        base.as_path(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        beneath,
    )?;
    let owner = fstat(&file)?;
    let name = PathBytes([path.base_name(), b".c2pa"].concat());
    let draft = PathBytes([b".", path.base_name(), b".c2pa.new"].concat());
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let out = openat2(
        &dir,
        draft.as_path(),
        flags,
        Mode::from_raw_mode(0o644),
        beneath,
    )?;
    // An unprivileged daemon owns everything anyway.
    let _ = fchown(
        &out,
        Some(Uid::from_raw(owner.st_uid)),
        Some(Gid::from_raw(owner.st_gid)),
    );
    let written = io::Write::write_all(&mut std::fs::File::from(out), manifest);
    if let Err(e) = written {
        let _ = unlinkat(&dir, draft.as_path(), AtFlags::empty());
        return Err(e);
    }
    Ok(renameat(&dir, draft.as_path(), &dir, name.as_path())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_sidecar_never_leads_out_of_the_source() {
        let dir = tempfile::tempdir().unwrap();
        let (source, outside) = (dir.path().join("s"), dir.path().join("o"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(source.join("a.pt"), "x").unwrap();
        fs::write(outside.join("b.pt"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, source.join("link")).unwrap();
        let fd =
            rustix::fs::open(&source, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        write(&fd, &"a.pt".into(), b"manifest").unwrap();
        assert_eq!(fs::read(source.join("a.pt.c2pa")).unwrap(), b"manifest");
        assert!(write(&fd, &"link/b.pt".into(), b"m").is_err());
        assert!(write(&fd, &"../o/b.pt".into(), b"m").is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
}
