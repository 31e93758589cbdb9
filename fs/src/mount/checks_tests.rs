//! Checks against real directories and, as root, real mounts.

use std::ffi::CString;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;
use crate::options::{Command, parse};

fn options(source: &Path, point: &Path, more: &[&str]) -> MountOptions {
    let mut line = vec!["atlas-fs".into(), "mount".into()];
    line.extend(more.iter().map(Into::into));
    line.extend([source.into(), point.into()]);
    match parse(line) {
        Ok(Command::Mount(options)) => *options,
        other => panic!("{other:?}"),
    }
}

fn refused(source: &Path, point: &Path, more: &[&str]) -> String {
    let said = examine(&options(source, point, more), &mut |_| ());
    said.expect_err("accepted").to_string()
}

/// Two directories, `s` and `m`, under a canonical path.
fn two() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(dir.path()).unwrap();
    let (source, point) = (top.join("s"), top.join("m"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&point).unwrap();
    (dir, source, point)
}

/// Detached when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn bind(from: &Path, to: &Path) -> Mounted {
    rustix::mount::mount_bind(from, to).unwrap();
    Mounted(to.to_owned())
}

/// A FUSE mount of our type whose daemon is gone: the connection ends with its only descriptor.
fn dead(point: &Path) -> Mounted {
    let device = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .unwrap();
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    let data = CString::new(data).unwrap();
    mount(
        "src",
        point,
        "fuse.atlas",
        MountFlags::empty(),
        data.as_c_str(),
    )
    .unwrap();
    Mounted(point.to_owned())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn an_ordinary_pair_is_accepted_and_nothing_is_changed() {
    let (_dir, source, point) = two();
    let ground = examine(&options(&source, &point, &[]), &mut |_| ()).unwrap();
    assert_eq!((&ground.source, &ground.mountpoint), (&source, &point));
    assert!(!ground.in_place && !ground.read_only);
    assert_eq!(ground.state, source.join(".atlas"));
    assert!(!ground.state.exists());
    assert_eq!(ground.behind(&ground.state), ground.state);
}

#[test]
fn in_place_is_accepted_with_files_and_reached_behind_the_mount() {
    let (_dir, source, _) = two();
    fs::write(source.join("data"), "x").unwrap();
    let ground = examine(&options(&source, &source, &[]), &mut |_| ()).unwrap();
    assert!(ground.in_place);
    assert_eq!(fs::read(ground.behind(&source.join("data"))).unwrap(), b"x");
    if is_root() {
        let empty = tempfile::tempdir().unwrap();
        let _cover = bind(empty.path(), &source);
        assert!(!source.join("data").exists());
        assert_eq!(fs::read(ground.behind(&source.join("data"))).unwrap(), b"x");
    }
}

#[test]
fn what_is_missing_or_no_directory_is_named() {
    let (_dir, source, point) = two();
    let file = source.join("file");
    fs::write(&file, "").unwrap();
    let none = source.join("none");
    for (text, words) in [
        (refused(&none, &point, &[]), ["none", "does not exist"]),
        (refused(&file, &point, &[]), ["file", "not a directory"]),
        (
            refused(&source, &point.join("x"), &[]),
            ["m/x", "does not exist"],
        ),
        (
            refused(&source, &point.join("x/y"), &[]),
            ["x/y", "does not exist"],
        ),
    ] {
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
        assert!(!text.contains('\n'));
    }
}

#[test]
fn a_mount_point_that_holds_something_is_refused() {
    let (_dir, source, point) = two();
    fs::write(point.join("x"), "").unwrap();
    assert!(refused(&source, &point, &[]).contains("not empty"));
    fs::remove_file(point.join("x")).unwrap();
    fs::remove_dir(&point).unwrap();
    fs::write(&point, "").unwrap();
    assert!(refused(&source, &point, &[]).contains("not a directory"));
}

#[test]
fn nesting_is_refused_either_way_and_through_a_bind_mount() {
    let (_dir, source, point) = two();
    let inner = source.join("inner");
    fs::create_dir(&inner).unwrap();
    assert!(refused(&source, &inner, &[]).contains("lies inside"));
    assert!(refused(&inner, &source, &[]).contains("lies inside"));
    if is_root() {
        let _alias = bind(&source, &point);
        assert!(refused(&source, &point.join("inner"), &[]).contains("lies inside"));
    }
}

#[test]
fn other_names_of_the_files_are_warned_of_in_place() {
    let (_dir, source, point) = two();
    fs::write(source.join("a"), "").unwrap();
    fs::hard_link(source.join("a"), point.parent().unwrap().join("out")).unwrap();
    let warned = |source: &Path| {
        examine(&options(source, source, &[]), &mut |_| ())
            .unwrap()
            .warnings
    };
    let warnings = warned(&source);
    assert!(
        warnings.iter().any(|w| w.contains("names outside")),
        "{warnings:?}"
    );
    if is_root() {
        let _alias = bind(&source, &point);
        let warnings = warned(&source);
        assert!(
            warnings.iter().any(|w| w.contains(point.to_str().unwrap())),
            "{warnings:?}"
        );
    }
}

#[test]
fn what_the_sources_own_mount_forbids_stays_forbidden() {
    if !is_root() {
        return;
    }
    let (_dir, source, point) = two();
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY;
    mount("none", &source, "tmpfs", flags, None).unwrap();
    let _tmpfs = Mounted(source.clone());
    let ground = examine(&options(&source, &point, &["-o", "suid,dev"]), &mut |_| ()).unwrap();
    assert!(
        ground.read_only && ground.kernel.nosuid && ground.kernel.nodev && !ground.kernel.noexec
    );
}

#[test]
fn a_dead_mount_of_ours_is_cleared_away_and_said_so() {
    if !is_root() {
        return;
    }
    let (_dir, source, point) = two();
    for place in [&point, &source] {
        let dead = dead(place);
        let mut said = Vec::new();
        let ground = examine(&options(&source, place, &[]), &mut |text| {
            said.push(text.to_owned());
        });
        assert!(ground.is_ok(), "{ground:?}");
        std::mem::forget(dead);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("dead mount"), "{said:?}");
    }
}

#[test]
fn a_source_in_a_mount_of_ours_is_refused() {
    let (_dir, source, point) = two();
    let mounts = vec![mountinfo::Mount {
        id: 1,
        dev: (0, 9),
        root: "/".into(),
        point: source.clone(),
        fs_type: mountinfo::FS_TYPE.into(),
        source: "/x".into(),
    }];
    let state = source.join(".atlas");
    for (from, to) in [
        (&source, &point),
        (&source.join("below"), &point),
        (&point, &source),
    ] {
        let failure = not_ours(&mounts, from, to, &state).unwrap_err();
        assert!(
            failure.to_string().contains("lies in an Atlas mount"),
            "{failure}"
        );
    }
}

#[test]
fn a_state_that_somebody_serves_is_refused_with_the_pid() {
    let (_dir, source, point) = two();
    let state = source.join(".atlas");
    let socket = socket_path(&state);
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = refused(&source, &point, &[]);
    drop(listener);
    fs::remove_file(&socket).unwrap();
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
}

#[test]
fn without_the_device_the_remedy_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("fuse");
    assert!(
        fuse_device(&none)
            .unwrap_err()
            .to_string()
            .contains("modprobe fuse")
    );
    fs::write(&none, "").unwrap();
    assert!(fuse_device(&none).is_err());
    assert!(fuse_device(Path::new("/dev/null")).is_ok());
}
