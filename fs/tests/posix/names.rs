//! Making, linking, moving, removing and listing names.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::harness::{MODES, Mount, say};

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, flags)?)
}

fn facts(path: &Path) -> String {
    let meta = fs::symlink_metadata(path).map(|m| {
        (
            m.mode(),
            m.nlink(),
            m.uid(),
            m.gid(),
            m.rdev(),
            // The size of a directory is its own filesystem's business.
            if m.is_dir() { 0 } else { m.size() },
        )
    });
    say("facts", meta)
}

#[test]
fn names_behave_as_on_the_store() {
    for mode in MODES {
        Mount::new(mode).compare(|d| {
            let at = |name: &str| d.join(name);
            vec![
                say("mkdir", fs::create_dir(at("a"))),
                say("mkdir again", fs::create_dir(at("a"))),
                say("mkdir below nothing", fs::create_dir(at("no/b"))),
                say("write", fs::write(at("a/f"), b"one")),
                say("link", fs::hard_link(at("a/f"), at("a/g"))),
                facts(&at("a/g")),
                say("link to directory", fs::hard_link(at("a"), at("b"))),
                say("symlink", symlink("a/f", at("s"))),
                say("readlink", fs::read_link(at("s"))),
                facts(&at("s")),
                say("link of symlink", fs::hard_link(at("s"), at("s2"))),
                say("through symlink", fs::read(at("s"))),
                say("dangling", symlink("nowhere", at("x"))),
                say("read dangling", fs::read(at("x"))),
                say("loop", symlink("l", at("l"))),
                say("read loop", fs::read(at("l"))),
                say("rmdir full", fs::remove_dir(at("a"))),
                say("unlink directory", fs::remove_file(at("a"))),
                say("rmdir file", fs::remove_dir(at("a/f"))),
                say("unlink", fs::remove_file(at("a/f"))),
                say("unlink again", fs::remove_file(at("a/f"))),
                facts(&at("a/g")),
                say("long name", fs::write(at(&"n".repeat(255)), b"")),
                say("too long", fs::write(at(&"n".repeat(256)), b"")),
                say("newline", fs::write(at("a\nb\x1b[31m"), b"x")),
                say("as directory", fs::read(at("a/g/h"))),
                say(
                    "not unicode",
                    fs::write(d.join(OsStr::from_bytes(b"\xff\xfe")), b"y"),
                ),
                say("read it", fs::read(d.join(OsStr::from_bytes(b"\xff\xfe")))),
            ]
        });
    }
}

#[test]
fn renames_behave_as_on_the_store() {
    for mode in MODES {
        Mount::new(mode).compare(|d| {
            let at = |name: &str| d.join(name);
            let (plain, keep, swap) = (
                RenameFlags::empty(),
                RenameFlags::NOREPLACE,
                RenameFlags::EXCHANGE,
            );
            let mut said = Vec::new();
            for (name, text) in [("a", "1"), ("b", "22"), ("c", "333")] {
                fs::write(at(name), text).expect("written");
            }
            fs::create_dir_all(at("dir/sub")).expect("made");
            fs::write(at("dir/sub/f"), b"deep").expect("written");
            fs::create_dir(at("empty")).expect("made");
            for (from, to, flags) in [
                ("a", "b", keep),
                ("a", "b", swap),
                ("a", "new", keep),
                ("new", "b", plain),
                ("c", "none", swap),
                ("missing", "b", plain),
                ("dir", "dir/sub/in", plain),
                ("dir", "empty", plain),
                ("empty", "c", plain),
                ("c", "empty", plain),
                ("c", "empty", swap),
                ("c/sub/f", "top", plain),
                ("empty/sub/f", "top", plain),
                ("b", "b", plain),
                ("b", "c", RenameFlags::WHITEOUT | keep | swap),
            ] {
                said.push(say(
                    &format!("{from} {to}"),
                    rename(&at(from), &at(to), flags),
                ));
                for name in ["a", "b", "c", "new", "top", "empty/sub/f"] {
                    said.push(say(name, fs::read(at(name))));
                }
            }
            fs::hard_link(at("b"), at("b2")).expect("linked");
            said.push(say("same inode", rename(&at("b"), &at("b2"), plain)));
            said.push(facts(&at("b")));
            said.push(facts(&at("b2")));
            said
        });
    }
}

#[test]
fn special_files_are_made_as_asked() {
    let mount = Mount::new("passthrough");
    mount.compare(|d| {
        let mut said = Vec::new();
        for (name, mode, dev) in [
            ("fifo", libc::S_IFIFO | 0o640, 0),
            ("socket", libc::S_IFSOCK | 0o600, 0),
            ("null", libc::S_IFCHR | 0o666, libc::makedev(1, 3)),
            ("block", libc::S_IFBLK | 0o600, libc::makedev(259, 70_000)),
            ("file", libc::S_IFREG | 0o604, 0),
        ] {
            let path = CString::new(d.join(name).as_os_str().as_bytes()).expect("no zero");
            // SAFETY: the path is terminated.
            let made = unsafe { libc::mknod(path.as_ptr(), mode, dev) };
            said.push(format!("{name} {made}"));
            said.push(facts(&d.join(name)));
        }
        let kind = fs::symlink_metadata(d.join("null")).map(|m| m.file_type().is_char_device());
        said.push(say("device", kind));
        said.push(say("its bytes", fs::read(d.join("null"))));
        said
    });
}

#[test]
fn listing_agrees_with_stat_and_survives_seeking() {
    let mount = Mount::new("passthrough");
    for n in 0..3000 {
        fs::write(mount.source.join(format!("file-{n}")), b"").expect("written");
    }
    fs::create_dir(mount.source.join(".atlas")).expect("made");
    let mut listed = BTreeMap::new();
    let dir = rustix::fs::open(
        &mount.path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .expect("opens");
    let mut reader = rustix::fs::Dir::read_from(&dir).expect("reads");
    while let Some(entry) = reader.read() {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(listed.insert(name, entry.ino()).is_none(), "listed twice");
    }
    assert!(!listed.contains_key(".atlas"), "the state is listed");
    assert_eq!(listed.len(), 3002, "with . and ..");
    for (name, ino) in listed.iter().filter(|(n, _)| n.as_str() != "..") {
        let meta = fs::symlink_metadata(mount.path.join(name)).expect("there");
        assert_eq!(meta.ino(), *ino, "{name}: readdir and stat disagree");
        let backing = fs::symlink_metadata(mount.source.join(name)).expect("there");
        assert_eq!(meta.ino(), backing.ino(), "{name}: not the store's number");
    }
    // What is removed while a directory is read is not fatal, and what stays is listed once.
    let mut seen = 0;
    for entry in fs::read_dir(&mount.path).expect("reads") {
        let path = entry.expect("an entry").path();
        if fs::remove_file(&path).is_ok() {
            seen += 1;
        }
    }
    assert_eq!(seen, 3000);
}

#[test]
fn what_changes_behind_the_mount_shows_within_a_few_seconds() {
    let mount = Mount::new("passthrough");
    fs::write(mount.source.join("f"), b"old").expect("written");
    assert_eq!(fs::read(mount.path.join("f")).expect("reads"), b"old");
    assert!(!mount.path.join("g").exists());
    fs::write(mount.source.join("f"), b"longer than before").expect("written");
    fs::write(mount.source.join("g"), b"").expect("written");
    let late = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let size = fs::metadata(mount.path.join("f")).expect("there").len();
        if size == 18 && mount.path.join("g").exists() {
            break;
        }
        assert!(std::time::Instant::now() < late, "still {size} bytes");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(
        fs::read(mount.path.join("f")).expect("reads"),
        b"longer than before"
    );
    // Replaced by another inode under the same name.
    fs::remove_file(mount.source.join("f")).expect("removed");
    fs::write(mount.source.join("f"), b"other").expect("written");
    while fs::read(mount.path.join("f")).is_ok_and(|b| b != b"other") {
        assert!(std::time::Instant::now() < late, "still the old inode");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
