//! Paths that lead astray, and where our mount begins.

use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;

use super::*;

fn walker() -> Walker {
    Walker::new(
        Path::new("/nowhere/at/all"),
        Box::new(|_| None),
        Box::new(|_| None),
    )
}

fn find(path: &Path) -> io::Result<Found> {
    let root = File::open("/").unwrap();
    walker().find(root.as_fd(), path)
}

#[test]
fn links_and_parents_lead_where_the_kernel_would_go() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    std::fs::create_dir_all(top.join("a/b")).unwrap();
    std::fs::write(top.join("a/f"), "x").unwrap();
    symlink("a/b", top.join("rel")).unwrap();
    symlink(top.join("a"), top.join("abs")).unwrap();
    symlink("loop", top.join("loop")).unwrap();
    for path in [
        "a/f",
        "rel/../f",
        "abs/f",
        "abs/b/../../a/./f",
        "rel/../../abs/f",
    ] {
        let found = find(&top.join(path)).unwrap();
        assert_eq!(found.path, top.join("a/f"), "{path}");
        assert_eq!(found.path, top.join(path).canonicalize().unwrap());
        assert!(found.is_file() && !found.inside);
    }
    assert!(find(&top.join("rel")).unwrap().is_dir());
    assert!(find(&top.join("loop")).is_err());
    assert!(find(&top.join("a/f/x")).is_err());
    assert!(
        find(Path::new("a/f")).is_err(),
        "relative paths have no beginning"
    );
    assert_eq!(find(Path::new("/../..")).unwrap().path, Path::new("/"));
}

#[test]
fn a_pipe_or_a_device_in_a_scripts_place_is_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().canonicalize().unwrap().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let found = find(&fifo).unwrap();
    assert!(!found.is_file());
    // An open(2) for reading would wait here for ever.
    assert!(found.open().is_err());
    assert!(find(Path::new("/dev/null")).unwrap().open().is_err());
}

#[test]
fn what_lies_below_our_mount_is_asked_of_the_backing_side() {
    // /proc stands in for the mount: a filesystem of its own that this test cannot open files of by another way.
    let dir = tempfile::tempdir().unwrap();
    let backing = dir.path().to_owned();
    std::fs::write(backing.join("script.py"), "x").unwrap();
    let resolve: Resolve = Box::new(move |p| File::open(backing.join(p)).ok());
    let number = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc").unwrap());
    let place: Place = Box::new(move |ino| (ino == number).then(PathBuf::new));
    let walker = Walker::new(Path::new("/proc"), resolve, place);
    let root = File::open("/").unwrap();
    let link = dir.path().canonicalize().unwrap().join("link");
    symlink("/proc/script.py", &link).unwrap();
    for path in [
        Path::new("/proc/script.py"),
        &link,
        Path::new("/proc/x/../script.py"),
    ] {
        let found = walker.find(root.as_fd(), path).unwrap();
        assert!(found.inside && found.is_file(), "{}", path.display());
        assert_eq!(found.path, Path::new("/proc/script.py"));
    }
    assert!(
        walker
            .find(root.as_fd(), Path::new("/proc/version"))
            .is_err(),
        "not on the backing side"
    );
    assert!(
        walker
            .find(root.as_fd(), Path::new("/proc/../etc/passwd"))
            .is_err(),
        "out of the mount again"
    );
    // A process whose root lies there: nothing on the way is the daemon's to open, from the first step on.
    let root = File::open("/proc").unwrap();
    let found = walker
        .find(root.as_fd(), Path::new("/script.py"))
        .expect("on the backing side");
    assert!(found.inside && found.is_file());
    assert_eq!(
        found.path,
        Path::new("/script.py"),
        "as the process sees it"
    );
    assert!(walker.find(root.as_fd(), Path::new("/version")).is_err());
    let root = File::open("/proc/self").unwrap();
    assert!(
        walker.find(root.as_fd(), Path::new("/script.py")).is_err(),
        "a place that is not known"
    );
}

#[test]
fn the_topmost_mount_at_a_place_is_ours() {
    let text = b"22 1 8:1 / / rw - ext4 /dev/x rw\n\
        30 22 8:1 /data /mnt/a\\040b rw - ext4 /dev/x rw\n\
        31 30 0:55 / /mnt/a\\040b rw - fuse.atlas x rw\n\
        32 22 0:56 /sub /srv rw - fuse.atlas x rw\nrubbish\n";
    assert_eq!(topmost(text, Path::new("/mnt/a b")), Some((0, 55)));
    assert_eq!(topmost(text, Path::new("/mnt")), None);
    assert_eq!(unescape(b"a\\134b\\9x\\04"), b"a\\b\\9x\\04");
}
