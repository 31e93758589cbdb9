//! Unmounting what is not ours, what has no daemon, and what a daemon answers for.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that went well has detached it already.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn options(point: &Path, force: bool) -> UmountOptions {
    UmountOptions {
        mountpoint: point.to_owned(),
        force,
        drain: None,
    }
}

fn point() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let point = fs::canonicalize(dir.path()).unwrap().join("m");
    fs::create_dir(&point).unwrap();
    (dir, point)
}

/// A FUSE mount of our type; its daemon lives as long as the file.
fn fuse(point: &Path) -> (Mounted, File) {
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
    (Mounted(point.to_owned()), device)
}

#[test]
fn what_is_no_mount_of_ours_is_said_so_and_left_alone() {
    let (_dir, point) = point();
    let text = |point: &Path| {
        umount(&options(point, true), &mut |_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(text(&point).contains("nothing is mounted"));
    assert!(text(&point.join("none")).contains("nothing is mounted"));
    if rustix::process::geteuid().is_root() {
        mount("none", &point, "tmpfs", MountFlags::empty(), None).unwrap();
        let _tmpfs = Mounted(point.clone());
        assert!(text(&point).contains("it is tmpfs"));
    }
}

#[test]
fn a_dead_mount_is_cleared_away_without_force() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_dir, point) = point();
    let (_mounted, daemon) = fuse(&point);
    drop(daemon);
    let mut said = Vec::new();
    umount(&options(&point, false), &mut |text| {
        said.push(text.to_owned());
    })
    .unwrap();
    assert!(said[0].contains("no daemon answered"), "{said:?}");
    assert!(KernelMount::find(&point).is_err());
}

#[test]
fn a_deaf_daemons_mount_is_detached_by_force_without_asking_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_dir, point) = point();
    // Nobody reads this device: a request to the mount would never return.
    let (_mounted, _daemon) = fuse(&point);
    umount(&options(&point, true), &mut |_| ()).unwrap();
    assert!(KernelMount::find(&point).is_err());
}

#[test]
fn a_daemon_that_hangs_hangs_neither_umount_nor_mount() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_dir, point) = point();
    // Nobody reads from the device: each request to the mount waits for ever.
    let (mounted, device) = fuse(&point);
    let moment = Duration::from_millis(200);
    assert_eq!(pulse(&point, moment).unwrap(), Pulse::Silent);
    let refused = umount(&options(&point, false), &mut |_| ()).unwrap_err();
    assert_eq!(refused.code, UNREACHABLE);
    assert!(refused.to_string().contains("--force"), "{refused}");
    drop(device);
    assert_eq!(pulse(&point, PATIENCE).unwrap(), Pulse::Dead);
    drop(mounted);
    assert_eq!(pulse(&point, PATIENCE).unwrap(), Pulse::Answers);
}
