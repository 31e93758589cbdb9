//! More inodes than descriptors, and what is asked of files that the kernel has forgotten.

use std::fs::{self, File};
use std::io::Write;

use super::harness::{Mount, Setup};

#[test]
fn a_hundred_thousand_inodes_fit_into_256_descriptors() {
    let mount = Mount::with(&Setup {
        mode: "passthrough",
        files: Some(256),
        ..Setup::default()
    });
    const DIRS: usize = 100;
    const FILES: usize = 1000;
    for d in 0..DIRS {
        let dir = mount.source.join(format!("d{d}"));
        fs::create_dir(&dir).expect("made");
        for f in 0..FILES {
            File::create(dir.join(format!("f{f}"))).expect("made");
        }
    }
    // Kept open: the kernel must not forget them.
    let first = File::create(mount.path.join("d0/first")).expect("made");
    let deep = mount.path.join("d0/f0");
    let mut known = 0;
    for d in 0..DIRS {
        for entry in fs::read_dir(mount.path.join(format!("d{d}"))).expect("reads") {
            let entry = entry.expect("an entry");
            known += usize::from(entry.metadata().expect("there").is_file());
        }
    }
    assert_eq!(known, DIRS * FILES + 1);
    let held = fs::read_dir(format!("/proc/{}/fd", mount.daemon_pid()))
        .expect("there")
        .count();
    assert!(held < 256, "{held} descriptors");
    // Long ago turned into handles: still the same files, and renames are followed.
    (&first).write_all(b"still here").expect("written");
    first.set_len(5).expect("resized");
    fs::rename(mount.path.join("d0"), mount.path.join("moved")).expect("moved");
    assert_eq!(
        fs::read(mount.path.join("moved/first")).expect("read"),
        b"still"
    );
    fs::write(mount.path.join("moved/f0"), b"after").expect("written");
    assert!(!deep.exists());
    let opened = mount.events("opened moved/f0");
    assert_eq!(opened.len(), 1, "the observer knows the new name");
}
