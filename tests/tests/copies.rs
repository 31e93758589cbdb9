//! Copies, links, renames and unusual ways to read and write: where a path, or a READ request, tells nothing.

use std::fs;

use atlas_tests::lineage::names;
use atlas_tests::{Lab, Mount, Options, both, files};

const COPY_RANGE: &str = r"
import os
a = os.open('in', os.O_RDONLY)
b = os.open('out', os.O_WRONLY | os.O_CREAT, 0o644)
left = os.fstat(a).st_size
while left:
    left -= os.copy_file_range(a, b, left)
os.close(b)
";

const DIRECT: &str = r"
import mmap, os
page = mmap.mmap(-1, 8192)
with open('in', 'rb') as f:
    page[:] = f.read(8192)
fd = os.open('out', os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o644)
os.write(fd, page)
os.close(fd)
fd = os.open('out', os.O_WRONLY | os.O_APPEND | os.O_DIRECT)
os.write(fd, page)
os.close(fd)
back = mmap.mmap(-1, 16384)
fd = os.open('out', os.O_RDONLY | os.O_DIRECT)
assert os.readv(fd, [back]) == 16384 and back[:8192] == page[:] == back[8192:]
os.close(fd)
";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.put("in", &files::noise(7, 8192));
    lab
}

fn sealed_as_it_is(mount: &Mount<'_>, lab: &Lab, path: &str) {
    mount.sync();
    let lineage = mount.lineage(path);
    assert_eq!(
        lineage.root().sha256.as_deref(),
        Some(&*files::sha256sum(&lab.behind(path))),
        "{}",
        lineage.json
    );
    mount.verify(path, 0);
}

both! {
    /// The kernel copied the bytes: the nearest grade there is.
    fn copy_file_range_makes_an_edge_of_grade_copied(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.python(COPY_RANGE).ok();
        sealed_as_it_is(&mount, &lab, "out");
        assert_eq!(mount.lineage("out").inputs(), names(["in"]));
        assert_eq!(mount.lineage("out").edge("in").grade, "copied");
    }

    /// `cp` chooses its own way (reflink, copy_file_range, read and write): each must leave the edge.
    fn cp_in_any_of_its_ways_leaves_the_edge(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        for (how, to) in [("--reflink=auto", "a"), ("--reflink=never", "b"), ("--sparse=always", "c")] {
            mount.job(&["cp", how, "in", to]).ok();
            sealed_as_it_is(&mount, &lab, to);
            assert_eq!(mount.lineage(to).inputs(), names(["in"]), "cp {how}");
        }
    }

    /// shutil and DeepSpeed copy with sendfile.
    fn sendfile_leaves_the_edge(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.python("import os\na = open('in', 'rb'); b = open('out', 'wb')\nassert os.sendfile(b.fileno(), a.fileno(), 0, 8192) == 8192; b.close()").ok();
        sealed_as_it_is(&mount, &lab, "out");
        assert_eq!(mount.lineage("out").inputs(), names(["in"]));
    }

    /// DeepSpeed's fast writer: O_DIRECT, then the file again with O_APPEND.
    fn direct_writes_and_reads_work_and_are_sealed(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.python(DIRECT).ok();
        assert_eq!(fs::metadata(lab.behind("out")).unwrap().len(), 16384);
        sealed_as_it_is(&mount, &lab, "out");
        assert!(mount.lineage("out").nodes.values().any(|n| n.path == "in"));
    }

    /// Two names, one inode, one version: whichever name is asked for.
    fn a_hard_link_has_the_same_version_as_its_first_name(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.sh("cat in > one; ln one two; cat two > three; rm one").ok();
        mount.sync();
        mount.verify("two", 0);
        assert_eq!(mount.lineage("two").inputs(), names(["in"]));
        let lineage = mount.lineage("three");
        let via = lineage.edges.iter().find(|e| e.from == lineage.root).unwrap();
        assert_eq!(lineage.nodes[&via.to].digest, mount.lineage("two").root().digest);
        assert!(lineage.nodes[&via.to].attested);
    }

    /// Datasets and Orbax write into a temporary directory and rename it as a whole.
    fn a_directory_rename_carries_the_versions_below_it(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.sh("mkdir -p step.tmp/sub; cat in > step.tmp/sub/w; mv step.tmp step; cat step/sub/w > next").ok();
        mount.sync();
        mount.verify("step/sub/w", 0);
        assert_eq!(mount.lineage("step/sub/w").inputs(), names(["in"]));
        assert_eq!(mount.lineage("next").inputs(), names(["step/sub/w"]));
    }

    /// RENAME_EXCHANGE swaps two checkpoints at once: each proof must follow its bytes.
    fn an_exchange_of_two_names_swaps_their_versions(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.sh("echo a > a; echo b > b").ok();
        mount.sync();
        let before = (mount.lineage("a").root, mount.lineage("b").root);
        rustix::fs::renameat_with(
            rustix::fs::CWD, mount.path("a"), rustix::fs::CWD, mount.path("b"), rustix::fs::RenameFlags::EXCHANGE).unwrap();
        assert_eq!(fs::read(mount.path("a")).unwrap(), b"b\n");
        assert_eq!((mount.lineage("b").root, mount.lineage("a").root), before);
        mount.ctl(&["verify", "a", "b"]).expect(0);
        let taken = rustix::fs::renameat_with(
            rustix::fs::CWD, mount.path("a"), rustix::fs::CWD, mount.path("b"), rustix::fs::RenameFlags::NOREPLACE);
        assert_eq!(taken, Err(rustix::io::Errno::EXIST));
    }

    /// Equal bytes made by two runs are two versions with two proofs of one content.
    fn one_content_made_twice_has_both_its_histories(io) {
        let lab = lab();
        lab.put("twin", &files::noise(7, 8192));
        let mount = lab.mount(Options::new(io));
        mount.sh("cat in > a").ok();
        mount.sh("cat twin > b").ok();
        mount.sync();
        let digest = mount.lineage("a").root().digest.clone().unwrap();
        let json = mount.ctl(&["lineage", "--json", &digest]).expect(0).json();
        let versions = json["roots"].as_array().unwrap().iter().filter(|r| r.as_str().unwrap().starts_with("urn:atlas:v:"));
        assert_eq!(versions.count(), 2, "{json}");
        assert!(json["root"].as_str().unwrap().starts_with("urn:atlas:v:"), "what somebody made comes first: {json}");
        assert_eq!(mount.lineage("b").root().digest.as_deref(), Some(&*digest));
    }
}
