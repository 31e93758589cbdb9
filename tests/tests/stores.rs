//! What SOURCE lies on makes no difference to what the mount says, or is refused in words. One small piece of work on each store, and what
//! is peculiar to one of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Command;

use atlas_tests::{Io, Lab, Mount, Options, Store, both, files};

/// Reads through a map, and writes through one that outlives its descriptor.
const MAPPED: &str = r"
import mmap, os
with open('in', 'rb') as f:
    data = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
out = os.open('mapped', os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(out, len(data))
into = mmap.mmap(out, len(data))
os.close(out)
into[:] = data[:]
into.flush()
into[0:1] = b'!'
into.close()
";

/// Stores into a map after the last descriptor of the file is closed. The module keeps a duplicate of its own, which has to go too.
const LATE: &str = r"
import mmap, os, time
fd = os.open('late.bin', os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 1 << 20)
m = mmap.mmap(fd, 1 << 20)
for fd in map(int, os.listdir('/proc/self/fd')):
    try:
        if os.readlink(f'/proc/self/fd/{fd}').endswith('/late.bin'):
            os.close(fd)
    except OSError:
        pass
m[0:5] = b'first'
time.sleep(0.5)
m[4096:4100] = b'late'
m[0:5] = b'again'
time.sleep(0.5)
os._exit(0)
";

/// Everything that the work below leaves, and the inputs of each.
const LEFT: [(&str, &[&str]); 6] = [
    ("out", &["in"]),
    ("moved", &["in"]),
    ("linked", &["moved"]),
    ("mapped", &["in"]),
    ("in", &[]),
    ("last", &["in", "moved"]),
];

fn lab(store: Store) -> Option<Lab> {
    let (input, other) = (files::noise(1, 100_000), files::noise(2, 5000));
    Lab::on(store, &[("in", &input), ("other", &other)])
}

/// Reads, edits, renames, links and maps.
fn work(mount: &Mount<'_>) {
    mount.sh("cat in > out").ok();
    mount.sh("cat in > first; mv first moved").ok();
    mount.sync();
    mount.sh("ln moved name; cat moved > linked").ok();
    mount.python(MAPPED).ok();
    mount.sync();
    mount.sh("echo more >> in").ok();
    mount.sync();
    mount.sh("cat in name > last; rm name").ok();
    mount.sync();
}

/// Each lineage is the one that the work made, of the bytes that are there.
fn all_is_told(lab: &Lab, mount: &Mount<'_>) {
    for (name, inputs) in LEFT {
        let lineage = mount.lineage(name);
        let root = lineage.root();
        assert_eq!(root.state, "logged", "{name}: {}", lineage.json);
        let real = files::sha256sum(&lab.behind(name));
        assert_eq!(root.sha256.as_deref(), Some(&*real), "{name}");
        let known = lineage.edges.iter().filter(|e| e.from == lineage.root);
        let known = known.filter(|e| e.kind != "parent" && e.kind != "code");
        let known = known.map(|e| &*lineage.nodes[&e.to].path);
        let known: BTreeSet<_> = known.collect();
        let inputs: BTreeSet<_> = inputs.iter().copied().collect();
        assert_eq!(known, inputs, "{name}: {}", lineage.json);
        for node in lineage.nodes.values() {
            assert!(node.sha256.is_some(), "{name}: {node:?}");
        }
        mount.verify(name, 0);
    }
    let status = mount.status();
    assert_eq!(
        (&status["open"], &status["pending"]),
        (&0.into(), &0.into())
    );
    assert_eq!(status["behind"], 0, "all of it came through the mount");
}

/// Makes, reads and removes files whose numbers the store gives out again at once, by four processes.
const AGAIN: &str = r"
import os, sys
def work(n):
    for i in range(40):
        name = f'{n}.{i % 3}'
        with open(name, 'wb') as f: f.write(b'%d %d' % (n, i) * 50)
        with open(name, 'rb') as f: data = f.read()
        assert data.startswith(b'%d %d' % (n, i)), data[:10]
        os.rename(name, name + '.new')
        if i % 2:
            os.unlink(name + '.new')
        with open(f'kept.{n}.{i}', 'wb') as f: f.write(data)
children = [os.fork() or (work(n), os._exit(0)) for n in range(4)]
for child in children:
    assert os.waitpid(child, 0)[1] == 0
";

/// Something large stands first in the queue; then each file is written twice, the second time before the digest of what it held.
const REWRITTEN: &str = r"
import os
with open('large', 'wb') as f:
    for i in range(160):
        f.write(os.urandom(1 << 20))
for i in range(5):
    for byte in (65, 97):
        fd = os.open(f'f{i}', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, bytes([byte + i]) * (1 << 20))
        os.fsync(fd)
        os.close(fd)
";

/// Runs a test body on each store in each mode that it can have: `on_each! { fn name(store, io) { ... } }`.
macro_rules! on_each {
    ($($(#[doc = $doc:literal])* fn $name:ident($store:ident, $io:ident) $body:block)*) => {
        $($(#[doc = $doc])*
        mod $name {
            use super::*;

            fn body($store: Store, $io: Io) $body

            #[test]
            fn tmpfs() { both(Store::Tmpfs); }
            #[test]
            fn ext4() { both(Store::Ext4); }
            #[test]
            fn xfs() { both(Store::Xfs); }
            #[test]
            fn btrfs() { both(Store::Btrfs); }
            #[test]
            fn fuse() { body(Store::Fuse, Io::Inline); }
            #[test]
            fn overlay() { body(Store::Overlay, Io::Inline); }
            #[test]
            fn overlay_apart() { body(Store::OverlayApart, Io::Inline); }

            fn both(store: Store) {
                body(store, Io::Passthrough);
                body(store, Io::Inline);
            }
        })*
    };
}

on_each! {
    /// Other inode numbers, no birth times, no `O_TMPFILE`, no handles: what the mount says must not depend on them.
    fn a_store_of_another_kind_loses_no_edge_and_no_seal(store, io) {
        let Some(lab) = lab(store) else { return };
        let mount = lab.mount(Options::new(io));
        assert_eq!(mount.status()["io"], io.word());
        work(&mount);
        all_is_told(&lab, &mount);
        mount.unmount();
        let mount = lab.mount(Options::new(io));
        all_is_told(&lab, &mount);
        files::flip(&lab.behind("out"), 17);
        mount.verify("out", 4);
        mount.verify("last", 0);
    }

    /// Without birth times a deleted file and the next one look the same: neither may wait for the other's digest, or get it.
    fn a_number_that_is_given_out_again_is_another_file(store, io) {
        let Some(lab) = lab(store) else { return };
        let mount = lab.mount(Options::new(io));
        mount.python(AGAIN).ok();
        mount.sync();
        let status = mount.status();
        assert_eq!((&status["open"], &status["pending"]), (&0.into(), &0.into()));
        assert_eq!(status["behind"], 0, "all of it came through the mount");
        for n in 0..4 {
            for i in 0..40 {
                let name = format!("kept.{n}.{i}");
                assert_eq!(mount.attribute(&name, "user.atlas.state").as_deref(), Some("logged"), "{name}");
            }
            let name = format!("kept.{n}.39");
            let real = files::sha256sum(&lab.behind(&name));
            assert_eq!(mount.lineage(&name).root().sha256.as_deref(), Some(&*real));
            mount.verify(&name, 0);
        }
    }

    /// git makes an object so. FUSE remembers link counts by the name for a second, and that the first name was the only one.
    fn a_file_that_loses_its_first_name_at_once_is_there_by_its_other_one(store, io) {
        let Some(lab) = lab(store) else { return };
        let mount = lab.mount(Options::new(io));
        mount.sh("for n in 1 2 3; do cat in > t; ln t y$n; rm t; cat y$n > copy$n; ln y$n z; rm y$n z; done; cat in > t; ln t kept; rm t").ok();
        mount.sync();
        // libfuse gives a removed file that is still open another name, and takes that away later: its times move when nobody does anything. Who reads it finds what was sealed.
        mount.sh("cat copy1 copy2 copy3 kept > all").ok();
        for name in ["copy1", "copy2", "copy3", "kept"] {
            assert_eq!(mount.sealed_as_it_is(name), fs::read(lab.behind("in")).unwrap(), "{name}");
        }
        assert_eq!(mount.status()["behind"], 0, "all of it came through the mount");
    }

    /// What proves that nobody writes any more must see maps on this store too.
    fn what_is_stored_through_a_map_after_close_is_in_the_sealed_digest(store, io) {
        let Some(lab) = lab(store) else { return };
        let mount = lab.mount(Options::new(io));
        mount.python(LATE).ok();
        let bytes = mount.sealed_as_it_is("late.bin");
        assert_eq!((&bytes[0..5], &bytes[4096..4100]), (&b"again"[..], &b"late"[..]));
    }
}

/// On an overlay a lease does not see who has a closed file mapped: passthrough would seal what is still being written. On FUSE the times
/// may change after a file was sealed, when its pages are written out.
#[test]
fn passthrough_where_it_is_not_sound_is_refused_with_the_remedy_and_auto_is_inline() {
    for (store, word) in [(Store::Overlay, "overlay"), (Store::Fuse, "FUSE")] {
        let Some(lab) = lab(store) else { continue };
        let line = lab
            .mount_refused(&Options::new(Io::Passthrough))
            .refusal(1, "--io inline");
        assert!(line.contains(word), "{line}");
        assert!(!lab.behind(".atlas").exists(), "nothing was made");
        let mount = lab.mount(Options::new(Io::Inline).flag("--io").flag("auto"));
        let status = mount.status();
        assert_eq!(status["io"], "inline");
        assert!(status["io_reason"].as_str().unwrap().contains(word));
    }
}

/// Holds a file of the lower layer open for reading while each of these copies it up, and reads it once more.
const COPIED_UP: &str = r"
import os, sys
how, name = sys.argv[1:]
f = open(name, 'rb', buffering=0)
data = f.read()
if how == 'append':
    with open(name, 'ab') as g: g.write(b'more')
elif how == 'overwrite':
    with open(name, 'wb') as g: g.write(b'new')
elif how == 'truncate':
    os.truncate(name, 10)
elif how == 'chmod':
    os.chmod(name, 0o600)
elif how == 'times':
    os.utime(name, (1, 1))
elif how == 'rename':
    os.rename(name, name + '.new')
elif how == 'link':
    os.link(name, name + '.new')
elif how == 'attribute':
    os.setxattr(name, 'user.note', b'x')
f.seek(0)
f.read(10)
os.fstat(f.fileno())
with open(name + '.out', 'wb') as g: g.write(data)
";
const HOW: [&str; 8] = [
    "append",
    "overwrite",
    "truncate",
    "chmod",
    "times",
    "rename",
    "link",
    "attribute",
];

/// A file of a lower layer that is changed is copied, and becomes younger, or another inode: neither edge nor version may be lost with it.
fn copied_up(store: Store) {
    let inputs: Vec<_> = (0..HOW.len() as u64)
        .map(|i| files::noise(i + 1, 50_000))
        .collect();
    let named = HOW.iter().copied().zip(inputs.iter().map(Vec::as_slice));
    let Some(lab) = Lab::on(store, &named.collect::<Vec<_>>()) else {
        return;
    };
    let mount = lab.mount(Options::new(Io::Inline));
    fs::write(mount.path("copied_up.py"), COPIED_UP).unwrap();
    for how in HOW {
        mount.job(&["python", "copied_up.py", how, how]).ok();
    }
    mount.sync();
    for how in HOW {
        let out = format!("{how}.out");
        let lineage = mount.lineage(&out);
        assert_eq!(lineage.root().state, "logged", "{}", lineage.json);
        let real = files::sha256sum(&lab.behind(&out));
        assert_eq!(lineage.root().sha256.as_deref(), Some(&*real), "{how}");
        let inputs = lineage.inputs();
        assert!(
            inputs.contains(how) || inputs.contains(&format!("{how}.new")),
            "{how}: {}",
            lineage.json
        );
        mount.verify(&out, 0);
        if ["append", "overwrite", "truncate"].contains(&how) {
            let lineage = mount.lineage(how);
            let real = files::sha256sum(&lab.behind(how));
            assert_eq!(lineage.root().sha256.as_deref(), Some(&*real), "{how}");
            mount.verify(how, 0);
        }
    }
    let status = mount.status();
    assert_eq!(
        (&status["open"], &status["pending"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_lower_file_that_is_copied_up_is_no_other_file() {
    copied_up(Store::Overlay);
}

#[test]
fn a_lower_file_that_becomes_another_inode_keeps_its_edge() {
    copied_up(Store::OverlayApart);
}

/// Each subvolume counts its inodes from the same number, and a snapshot has the birth times too.
fn subvolumes(io: Io) {
    let Some(lab) = lab(Store::Btrfs) else { return };
    let subvolume = |args: &[&str]| {
        let mut btrfs = Command::new("btrfs");
        btrfs.arg("subvolume").args(args);
        assert!(
            btrfs
                .current_dir(lab.behind(""))
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    for name in ["a", "b"] {
        subvolume(&["create", name]);
        chown(lab.behind(name), Some(65534), Some(65534)).unwrap();
    }
    let mount = lab.mount(Options::new(io));
    mount.sh("cat in > a/f; cat other > b/f").ok();
    mount.sync();
    let ino = |path: std::path::PathBuf| fs::metadata(path).unwrap().ino();
    assert_eq!(ino(lab.behind("a/f")), ino(lab.behind("b/f")));
    subvolume(&["snapshot", "a", "c"]);
    mount.sh("cat a/f > of-a").ok();
    mount.sh("cat b/f > of-b").ok();
    mount.sh("cat c/f > of-c").ok();
    mount.sync();
    mount.sh("echo more >> a/f").ok();
    mount.sync();
    let shown: BTreeSet<_> = ["a/f", "b/f", "c/f", "a", "b", "c"]
        .map(|p| ino(mount.path(p)))
        .into();
    assert_eq!(shown.len(), 6);
    for (name, input) in [("of-a", "a/f"), ("of-b", "b/f"), ("of-c", "c/f")] {
        let lineage = mount.lineage(name);
        let inputs = lineage
            .edges
            .iter()
            .filter(|e| e.from == lineage.root && e.kind != "code");
        let inputs: Vec<_> = inputs.map(|e| &lineage.nodes[&e.to]).collect();
        assert_eq!(inputs.len(), 1, "{}", lineage.json);
        assert_eq!(
            inputs[0].sha256,
            lineage.root().sha256,
            "{input}: {}",
            lineage.json
        );
        mount.verify(name, 0);
    }
    for path in ["a/f", "b/f"] {
        let lineage = mount.lineage(path);
        let real = files::sha256sum(&lab.behind(path));
        assert_eq!(lineage.root().sha256.as_deref(), Some(&*real), "{path}");
        mount.verify(path, 0);
    }
    mount.verify("c/f", 0);
    assert_eq!(mount.status()["behind"], 0);
}

both! {
    /// Two files of one number must not be one: the digest of the one would stand in the proof of the other.
    fn files_of_two_subvolumes_with_one_number_are_not_mixed_up(io) {
        subvolumes(io);
    }
}

/// XFS and btrfs can copy a file without its bytes: what was closed is sealed, though the next writer came before its digest.
#[test]
fn a_store_that_shares_blocks_loses_no_version_to_the_next_writer() {
    for store in [Store::Xfs, Store::Btrfs] {
        let Some(lab) = lab(store) else { continue };
        let mount = lab.mount(
            Options::new(Io::Passthrough)
                .flag("--digest-threads")
                .flag("1"),
        );
        mount.python(REWRITTEN).ok();
        mount.sync();
        for i in 0..5u8 {
            let name = format!("f{i}");
            let written = [65, 97].map(|byte: u8| {
                let path = lab.scratch().join("version");
                fs::write(&path, vec![byte + i; 1 << 20]).unwrap();
                files::sha256sum(&path)
            });
            let lineage = mount.lineage(&name);
            let sealed = lineage
                .nodes
                .values()
                .filter(|n| n.path == name && n.attested);
            let sealed: BTreeSet<_> = sealed.filter_map(|n| n.sha256.clone()).collect();
            assert_eq!(sealed, written.into(), "{store:?} {name}: {}", lineage.json);
            mount.verify(&name, 0);
        }
    }
}
