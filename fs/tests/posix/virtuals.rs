//! `.atlas` and the virtual attributes: reachable, never listed, never in the way of what the store has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use super::harness::{Mount, say};

fn listed(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("reads")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.expect_err("refused").raw_os_error()
}

#[test]
fn the_directory_is_reachable_but_not_listed_and_hides_the_real_one() {
    let mount = Mount::new("passthrough");
    fs::create_dir(mount.source.join(".atlas")).expect("made");
    fs::write(mount.source.join(".atlas/secret"), b"state").expect("written");
    fs::write(mount.source.join("f"), b"x").expect("written");
    let door = mount.path.join(".atlas");
    assert_eq!(listed(&mount.path), ["f"]);
    assert_eq!(
        listed(&door),
        ["by-digest", "log", "mark", "metrics", "status", "sync"]
    );
    assert_eq!(fs::read(door.join("status")).expect("read"), b"{\"v\":1}\n");
    let manifest = fs::read(door.join("by-digest/abcd.c2pa")).expect("read");
    assert_eq!(manifest, vec![7; 300_000]);
    assert_eq!(errno(fs::read(door.join("secret"))), Some(libc::ENOENT));
    assert_eq!(
        errno(fs::read(door.join("by-digest/no"))),
        Some(libc::ENOENT)
    );
    assert_eq!(errno(fs::create_dir(&door)), Some(libc::EEXIST));
    assert_eq!(errno(fs::remove_dir(&door)), Some(libc::EPERM));
    assert_eq!(errno(fs::write(door.join("new"), b"")), Some(libc::EPERM));
    assert_eq!(
        errno(fs::remove_file(door.join("status"))),
        Some(libc::EPERM)
    );
    assert_eq!(
        errno(fs::rename(&door, mount.path.join("x"))),
        Some(libc::EPERM)
    );
    let onto = rustix::fs::rename(mount.path.join("f"), door.join("status"));
    assert!(onto.is_err());
    fs::create_dir(mount.path.join("d")).expect("made");
    let onto = rustix::fs::rename(mount.path.join("d"), &door);
    assert_eq!(onto, Err(rustix::io::Errno::PERM));
    let below = fs::hard_link(mount.path.join("f"), door.join("f"));
    assert_eq!(errno(below), Some(libc::EPERM));
    assert_eq!(
        fs::read(mount.source.join(".atlas/secret")).expect("read"),
        b"state"
    );
    // Elsewhere the name is an ordinary one.
    fs::create_dir(mount.path.join("d/.atlas")).expect("made");
    assert_eq!(listed(&mount.path.join("d")), [".atlas"]);
}

#[test]
fn a_label_is_written_as_a_shell_writes_it() {
    let mount = Mount::new("passthrough");
    let mark = mount.path.join(".atlas/mark");
    fs::write(&mark, b"epoch 1\n").expect("written with O_TRUNC");
    let mut f = OpenOptions::new().append(true).open(&mark).expect("opens");
    f.write_all(b"epoch 2\n").expect("written");
    assert_eq!(fs::read(&mark).expect("read"), b"epoch 1\nepoch 2\n");
    let status = OpenOptions::new()
        .write(true)
        .open(mount.path.join(".atlas/status"))
        .and_then(|mut f| f.write_all(b"x"));
    assert_eq!(errno(status), Some(libc::EACCES));
}

#[test]
fn a_file_reads_as_it_was_when_it_was_opened() {
    let mount = Mount::new("inline");
    let mark = mount.path.join(".atlas/mark");
    fs::write(&mark, b"one").expect("written");
    let mut before = File::open(&mark).expect("opens");
    fs::write(&mark, b"two").expect("written");
    let mut text = String::new();
    io::Read::read_to_string(&mut before, &mut text).expect("read");
    assert_eq!(text, "one");
    assert_eq!(fs::read(&mark).expect("read"), b"onetwo");
}

#[test]
fn an_answer_that_does_not_come_is_eagain_and_stops_nobody() {
    let mount = Mount::new("passthrough");
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let path = mount.path.join(".atlas/metrics");
            std::thread::spawn(move || errno(fs::read(path)))
        })
        .collect();
    let start = Instant::now();
    for n in 0..100 {
        fs::write(mount.path.join(format!("f{n}")), b"x").expect("the mount works meanwhile");
    }
    let busy = asking.iter().any(|a| !a.is_finished());
    assert!(
        busy,
        "this proves nothing: the answers came within {:?}",
        start.elapsed()
    );
    for asked in asking {
        assert_eq!(asked.join().expect("no panic"), Some(libc::EAGAIN));
    }
}

#[test]
fn virtual_attributes_are_read_and_nothing_else() {
    let mount = Mount::new("passthrough");
    let path = mount.path.join("f");
    fs::write(&path, b"x").expect("written");
    let get = |name: &str| {
        let mut value = vec![0; 100];
        let n = rustix::fs::getxattr(&path, name, &mut value[..]).map_err(io::Error::from)?;
        value.truncate(n);
        Ok(String::from_utf8_lossy(&value).into_owned())
    };
    assert_eq!(get("user.atlas.state").expect("there"), "sealed");
    assert_eq!(errno(get("user.atlas.digest")), Some(libc::ENODATA));
    assert_eq!(errno(get("user.atlas.manifest")), Some(libc::EAGAIN));
    let size = rustix::fs::getxattr_query(&path, "user.atlas.state");
    assert_eq!(size, Ok(6), "the size alone");
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::setxattr(&path, "user.atlas.state", b"x", flags);
    assert_eq!(set, Err(rustix::io::Errno::PERM));
    let removed = rustix::fs::removexattr(&path, "user.atlas.state");
    assert_eq!(removed, Err(rustix::io::Errno::PERM));
    rustix::fs::setxattr(&path, "user.mine", b"v", flags).expect("set");
    let mut names = vec![0u8; 1000];
    let n = rustix::fs::listxattr(&path, &mut names[..]).expect("listed");
    assert_eq!(&names[..n], b"user.mine\0");
    let directory = rustix::fs::getxattr(&mount.path, "user.atlas.state", &mut names[..]);
    assert_eq!(directory, Err(rustix::io::Errno::NODATA));
}

#[test]
fn attributes_behave_as_on_the_store() {
    let mount = Mount::new("passthrough");
    mount.compare(|d| {
        let path = d.join("f");
        fs::write(&path, b"x").expect("written");
        let flags = rustix::fs::XattrFlags::empty();
        let (create, replace) = (
            rustix::fs::XattrFlags::CREATE,
            rustix::fs::XattrFlags::REPLACE,
        );
        let set = |name: &str, value: &[u8], flags| {
            let done = rustix::fs::setxattr(&path, name, value, flags);
            say(name, done.map_err(io::Error::from))
        };
        let get = |name: &str, room: usize| {
            let mut value = vec![0u8; room];
            let n = rustix::fs::getxattr(&path, name, &mut value[..]);
            say(name, n.map_err(io::Error::from).map(|n| (n, value)))
        };
        vec![
            set("user.a", b"one", create),
            set("user.a", b"two", create),
            set("user.a", b"three", replace),
            set("user.b", b"x", replace),
            set("user.empty", b"", flags),
            say(
                "size",
                rustix::fs::getxattr_query(&path, "user.a").map_err(io::Error::from),
            ),
            get("user.a", 2),
            get("user.a", 10),
            get("user.empty", 10),
            get("user.none", 10),
            set("trusted.t", b"root", flags),
            get("trusted.t", 10),
            set("nonsense", b"x", flags),
            set("user.big", &vec![1; 70_000], flags),
            say(
                "remove",
                rustix::fs::removexattr(&path, "user.a").map_err(io::Error::from),
            ),
            say(
                "again",
                rustix::fs::removexattr(&path, "user.a").map_err(io::Error::from),
            ),
            get("user.a", 10),
        ]
    });
}
