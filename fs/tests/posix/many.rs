//! More inodes than descriptors, and what is asked of files that the kernel has forgotten.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use super::harness::{MODES, Mount, Setup, say};

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

#[test]
fn inodes_without_handles_are_found_by_name_again_or_are_stale() {
    // A filesystem mounted below SOURCE: no handles of SOURCE's mount reach into it.
    let mount = Mount::with(&Setup {
        mode: "passthrough",
        files: Some(128),
        tmpfs_below: true,
        ..Setup::default()
    });
    const FILES: usize = 2000;
    let below = mount.path.join("below");
    fs::create_dir_all(below.join("a/b")).expect("made");
    for n in 0..FILES {
        fs::write(below.join(format!("a/b/f{n}")), n.to_string()).expect("written");
    }
    let open = File::open(below.join("a/b/f0")).expect("opens");
    for round in 0..2 {
        for n in 0..FILES {
            let path = below.join(format!("a/b/f{n}"));
            assert_eq!(
                fs::read(&path).expect("read"),
                n.to_string().as_bytes(),
                "{round}"
            );
        }
    }
    // An inode the daemon no longer holds, replaced behind the mount: never another file's attributes.
    let behind = mount.source.join("below/a/b/f0");
    fs::remove_file(&behind).expect("removed");
    fs::write(&behind, b"somebody else").expect("written");
    match open.metadata() {
        Ok(meta) => assert_eq!(meta.len(), 1),
        Err(e) => assert_eq!(e.raw_os_error(), Some(libc::ESTALE)),
    }
}

#[test]
fn many_threads_at_once_lose_nothing() {
    let mount = Mount::new("inline");
    let threads: Vec<_> = (0..8)
        .map(|t| {
            let dir = mount.path.join(format!("t{t}"));
            std::thread::spawn(move || {
                fs::create_dir(&dir).expect("made");
                for n in 0..100 {
                    let (a, b) = (dir.join(format!("a{n}")), dir.join("shared"));
                    fs::write(&a, [t; 5000]).expect("written");
                    fs::rename(&a, &b).expect("replaced");
                    assert_eq!(fs::read(&b).expect("read"), [t; 5000]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no failure");
    }
    mount.await_events("released", 1600);
    assert_eq!(mount.events("unlinked").len(), 0);
    assert_eq!(mount.events("renamed").len(), 800);
}

#[test]
fn a_removed_inode_that_somebody_still_names_is_not_confused_with_a_new_file() {
    for mode in MODES {
        Mount::new(mode).compare(|d| {
            let path = d.join("f");
            fs::write(&path, b"the old one").expect("written");
            let named = File::options()
                .read(true)
                .custom_flags(libc::O_PATH)
                .open(&path)
                .expect("found");
            fs::remove_file(&path).expect("removed");
            // A store gives a free inode number to the next file that is made.
            for n in 0..100 {
                fs::write(d.join(format!("new-{n}")), b"another").expect("written");
            }
            let again = fs::read(format!("/proc/self/fd/{}", named.as_raw_fd()));
            vec![
                say("links", named.metadata().map(|m| (m.nlink(), m.len()))),
                say("content", again),
            ]
        });
    }
}

#[test]
fn names_that_come_and_go_under_many_threads_fail_no_open_file() {
    for mode in MODES {
        let mount = Mount::new(mode);
        let threads: Vec<_> = (0..8)
            .map(|t| {
                let dir = mount.path.clone();
                std::thread::spawn(move || {
                    for n in 0..300 {
                        let path = dir.join(format!("f{}", n % 3));
                        let used = File::options()
                            .read(true)
                            .write(true)
                            .create(true)
                            .truncate(false)
                            .open(&path)
                            .and_then(|f| {
                                f.write_at(b"x", 0)?;
                                f.read_at(&mut [0u8; 9], 0)?;
                                f.metadata().map(drop)
                            });
                        used.unwrap_or_else(|e| panic!("thread {t}, round {n}: {e}"));
                        match fs::remove_file(&path) {
                            Err(e) if e.kind() != io::ErrorKind::NotFound => panic!("{e}"),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no failure");
        }
    }
}

#[test]
fn times_before_1970_and_the_least_of_all_are_kept_and_end_no_thread() {
    let mount = Mount::new("passthrough");
    mount.compare(|d| {
        let path = d.join("f");
        fs::write(&path, b"x").expect("written");
        let mut said = Vec::new();
        // More often than the mount has threads.
        let least = std::iter::repeat_n((i64::MIN, 999_999_999), 20);
        for (sec, nsec) in [
            (-6, 500_000_000),
            (-1, 999_999_999),
            (-5, 0),
            (0, 1),
            (7, 8),
        ]
        .into_iter()
        .chain(least)
        {
            let time = rustix::fs::Timespec {
                tv_sec: sec,
                tv_nsec: nsec,
            };
            let times = rustix::fs::Timestamps {
                last_access: time,
                last_modification: time,
            };
            let flags = rustix::fs::AtFlags::empty();
            let set = rustix::fs::utimensat(rustix::fs::CWD, &path, &times, flags);
            said.push(say("set", set.map_err(io::Error::from)));
            said.push(say(
                "stat",
                fs::metadata(&path).map(|m| (m.atime(), m.atime_nsec(), m.mtime(), m.mtime_nsec())),
            ));
        }
        said
    });
}
