//! The mount itself: in place, read-only, in other namespaces, detached under load, and asked by its own daemon.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use atlas_fs::vfs::observer::Backing;
use atlas_fs::vfs::{Mode, Vfs, probe};

use super::harness::{MODES, Mount, Setup, is_fuse, say};

/// Runs in the daemon: what it must never do, and that it is told so.
pub fn ask_yourself(vfs: &Arc<Vfs>) {
    let place = std::env::var_os("TEST_MOUNT_PLACE").expect("set by the harness");
    let refused = fs::metadata(Path::new(&place).join("f")).expect_err("itself");
    assert_eq!(refused.raw_os_error(), Some(libc::EDEADLK));
    assert!(vfs.stats().self_requests > 0);
    // The backing side is the way.
    let file = vfs.open_path(Path::new("f")).expect("opens");
    let key = vfs.key_of(&file).expect("known");
    drop(file);
    assert!(vfs.open_path(Path::new("../escape")).is_err());
    assert!(
        vfs.open_path(Path::new("out")).is_err(),
        "a symlink out of SOURCE"
    );
    vfs.open_read(key)
        .expect("by key too, though the kernel never asked for it");
}

#[test]
fn the_daemon_itself_is_refused_and_not_hung() {
    // The errand's assertions run in the daemon; had one failed, the mount would not have become ready.
    let mount = Mount::with(&Setup {
        mode: "passthrough",
        errand: "ask yourself",
        prepared: true,
        ..Setup::default()
    });
    assert_eq!(
        fs::read(mount.path.join("f")).expect("others are served"),
        b"x"
    );
}

#[test]
fn a_mount_in_place_covers_its_source_and_gives_it_back() {
    for mode in MODES {
        let mount = Mount::with(&Setup {
            mode,
            in_place: true,
            ..Setup::default()
        });
        assert!(is_fuse(&mount.path));
        fs::write(mount.path.join("f"), b"through the mount").expect("written");
        fs::create_dir(mount.path.join("d")).expect("made");
        assert_eq!(mount.events("opened f").len(), 1);
        let uncovered = mount.uncover();
        assert!(!is_fuse(&uncovered.source));
        let text = fs::read(uncovered.source.join("f")).expect("read");
        assert_eq!(text, b"through the mount", "{mode}");
    }
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let mount = Mount::with(&Setup {
        mode: "passthrough",
        read_only: true,
        ..Setup::default()
    });
    fs::write(mount.source.join("f"), b"x").expect("written");
    let at = |name: &str| mount.path.join(name);
    assert_eq!(fs::read(at("f")).expect("read"), b"x");
    for refused in [
        fs::write(at("f"), b"y"),
        fs::write(at("g"), b"y"),
        fs::remove_file(at("f")),
        fs::create_dir(at("d")),
        fs::rename(at("f"), at("g")),
        fs::set_permissions(at("f"), super::harness::mode_bits(0o600)),
    ] {
        let e = refused.expect_err("read-only");
        assert_eq!(e.raw_os_error(), Some(libc::EROFS));
    }
}

#[test]
fn other_mount_namespaces_see_the_same_mount() {
    let mount = Mount::new("passthrough");
    let script = format!(
        "unshare -m sh -c 'echo deep > {0}/f && mkdir {0}/m && mount -t tmpfs none {0}/m && cat {0}/f && touch {0}/m/inside'",
        mount.path.display()
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output();
    let output = output.expect("unshare(1) runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"deep\n");
    assert_eq!(fs::read(mount.source.join("f")).expect("read"), b"deep\n");
    assert!(!mount.path.join("m/inside").exists());
}

#[test]
fn a_busy_mount_is_not_torn_away_and_open_files_outlive_a_detached_one() {
    let mount = Mount::new("passthrough");
    let mut f = File::create(mount.path.join("f")).expect("made");
    let path = mount.path.clone();
    let busy = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::empty());
    assert_eq!(busy, Err(rustix::io::Errno::BUSY));
    rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).expect("detached");
    f.write_all(b"late").expect("still served");
    let source = mount.source.join("f");
    drop(f);
    let mut text = String::new();
    File::open(source)
        .and_then(|mut f| f.read_to_string(&mut text))
        .expect("read");
    assert_eq!(text, "late");
}

#[test]
fn the_decision_about_io_has_a_reason_in_words() {
    let mount = Mount::new("inline");
    let decision = probe(&mount.source);
    assert_eq!(decision.mode, Mode::Passthrough, "{decision:?}");
    assert!(!decision.reason.is_empty());
}

#[test]
fn a_mount_over_a_mount_is_inline() {
    let below = Mount::new("passthrough");
    let mount = Mount::with(&Setup {
        mode: "auto",
        over: Some(below.path.clone()),
        ..Setup::default()
    });
    mount.compare(|d| {
        let path = d.join("f");
        vec![
            say("write", fs::write(&path, b"through two mounts")),
            say("read", fs::read(&path)),
            say("rename", fs::rename(&path, d.join("g"))),
            say("read it", fs::read(d.join("g"))),
        ]
    });
    let opened = mount.events("opened f");
    assert!(
        opened.iter().all(|e| e.contains("inline=true")),
        "{opened:?}"
    );
    assert!(below.events("opened f")[0].contains("inline=false"));
    assert_eq!(mount.events("wrote"), ["wrote 0+18"]);
}
