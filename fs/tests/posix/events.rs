//! What the observer is told, and when.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, symlink};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::harness::{Mount, Setup};

/// The events without what differs from run to run.
fn told(mount: &Mount, prefix: &str) -> Vec<String> {
    let plain = |line: String| {
        let words = line.split(' ');
        let kept = words.filter(|w| !w.starts_with("h=") && !w.starts_with("tid="));
        kept.collect::<Vec<_>>().join(" ")
    };
    mount.events(prefix).into_iter().map(plain).collect()
}

#[test]
fn an_open_is_told_before_it_returns_and_with_what_it_asked() {
    let mount = Mount::new("passthrough");
    let path = mount.path.join("f");
    fs::write(&path, b"12345").expect("written");
    assert_eq!(
        told(&mount, "opened"),
        ["opened f wtc inline=false before=0 uid=0"]
    );
    drop(File::open(&path).expect("opens"));
    let both = OpenOptions::new().read(true).write(true).open(&path);
    let truncated = File::create(&path).expect("opens");
    assert_eq!(
        told(&mount, "opened")[1..],
        [
            "opened f r inline=false before=5 uid=0",
            "opened f rw inline=false before=5 uid=0",
            "opened f wt inline=false before=5 uid=0",
        ]
    );
    // A new file has no digest to stop; each of the two writable opens had.
    assert_eq!(mount.events("before_change").len(), 2);
    drop((both, truncated));
    mount.await_events("released", 4);
}

#[test]
fn a_close_for_writing_waits_until_it_is_told_and_names_the_closer() {
    let mount = Mount::new("passthrough");
    let mut f = File::create(mount.path.join("f")).expect("made");
    f.write_all(b"abc").expect("written");
    let copy = f.try_clone().expect("dup");
    let tid = rustix::thread::gettid().as_raw_pid();
    // Children of other tests close copies too, for a moment, under their own ids.
    let mine = || {
        let mut flushed = mount.events("flushed");
        flushed.retain(|e| e.contains(&format!(" tid={tid} ")));
        flushed
    };
    drop(f);
    assert_eq!(mine().len(), 1, "dup and close is a FLUSH");
    assert!(mine()[0].ends_with("size=3"), "{:?}", mine());
    assert!(
        mount.events("released").is_empty(),
        "one copy is still open"
    );
    drop(copy);
    assert_eq!(mine().len(), 2);
    mount.await_events("released", 1);
    // Closing a reader is not waited for and not told.
    drop(File::open(mount.path.join("f")).expect("opens"));
    mount.await_events("released", 2);
    assert_eq!(mine().len(), 2);
}

#[test]
fn inline_tells_the_very_bytes() {
    let mount = Mount::new("inline");
    let path = mount.path.join("f");
    let f = File::create(&path).expect("made");
    f.write_at(b"0123456789", 100).expect("written");
    let mut append = OpenOptions::new().append(true).open(&path).expect("opens");
    append.write_all(b"end").expect("written");
    assert_eq!(mount.events("wrote"), ["wrote 100+10", "wrote 110+3"]);
    let mut all = Vec::new();
    for _ in 0..2 {
        let mut r = File::open(&path).expect("opens");
        all.clear();
        r.read_to_end(&mut all).expect("read");
    }
    assert_eq!(all.len(), 113);
    // Every open reads anew: what came from the page cache would not be told.
    let read = mount.events("read 0+");
    assert!(read.len() >= 2, "{read:?}");
    assert!(told(&mount, "opened")[0].contains("inline=true"));
}

#[test]
fn changes_of_length_and_names_are_told() {
    let mount = Mount::new("passthrough");
    let at = |name: &str| mount.path.join(name);
    fs::create_dir_all(at("d/e")).expect("made");
    let f = File::create(at("d/e/f")).expect("made");
    f.set_len(10).expect("by handle");
    drop(f);
    rustix::fs::rename(at("d/e/f"), at("d/e/g")).expect("moved");
    rustix::fs::rename(at("d"), at("top")).expect("moved with all below");
    let f = OpenOptions::new()
        .write(true)
        .open(at("top/e/g"))
        .expect("opens");
    rustix::fs::fallocate(&f, rustix::fs::FallocateFlags::empty(), 0, 100).expect("longer");
    fs::hard_link(at("top/e/g"), at("second")).expect("linked");
    fs::write(at("other"), b"").expect("written");
    let swap = RenameFlags::EXCHANGE;
    renameat_with(CWD, at("second"), CWD, at("other"), swap).expect("exchanged");
    rustix::fs::rename(at("other"), at("second")).expect("replaces");
    symlink("x", at("link")).expect("made");
    fs::remove_file(at("link")).expect("a symlink's end is not told");
    fs::remove_file(at("second")).expect("removed");
    fs::hard_link(at("top/e/g"), at("third")).expect("linked");
    fs::write(at("fourth"), b"").expect("written");
    rustix::fs::rename(at("fourth"), at("third")).expect("replaces one of two names");
    fs::remove_file(at("top/e/g")).expect("removed");
    assert_eq!(
        told(&mount, "changed"),
        [
            "changed d/e/f Resize by handle",
            "changed top/e/g Allocate by handle"
        ]
    );
    assert_eq!(
        told(&mount, "renamed"),
        [
            "renamed d/e/f d/e/g replaced=false",
            "renamed d top replaced=false",
            "renamed other second replaced=true",
            "renamed fourth third replaced=false",
        ]
    );
    assert_eq!(told(&mount, "exchanged"), ["exchanged second other"]);
    assert_eq!(told(&mount, "linked"), ["linked second", "linked third"]);
    assert_eq!(
        told(&mount, "unlinked"),
        [
            "unlinked second last=false",
            "unlinked third last=false",
            "unlinked top/e/g last=true"
        ]
    );
    let opened = told(&mount, "opened");
    assert!(opened[1].starts_with("opened top/e/g w "), "{opened:?}");
}

#[test]
fn a_draining_mount_refuses_new_opens_and_says_so() {
    let mount = Mount::with(&Setup {
        mode: "passthrough",
        errand: "refuse opens",
        ..Setup::default()
    });
    fs::write(mount.source.join("f"), b"x").expect("written");
    for refused in [
        fs::read(mount.path.join("f")).map(drop),
        fs::write(mount.path.join("new"), b"x"),
    ] {
        let e = refused.expect_err("draining");
        assert_eq!(e.raw_os_error(), Some(libc::ESHUTDOWN));
    }
    assert_eq!(fs::metadata(mount.path.join("f")).expect("there").len(), 1);
    assert!(!mount.source.join("new").exists());
}
