//! The promise in its smallest form: a job writes a file through the mount, and what Atlas says about it is true.

use std::fs;

use atlas_tests::lineage::names;
use atlas_tests::{Io, Lab, Options, User, both, files, wait};

both! {
    /// If this fails nothing else can hold: one input, one output, one edge, and a signature that verifies.
    fn a_written_file_has_its_true_inputs_and_verifies(io) {
        let lab = Lab::new();
        lab.put("corpus.txt", b"to be or not to be\n");
        lab.put("unrelated.txt", b"never opened\n");
        let mount = lab.mount(Options::new(io));
        mount.sh("tr a-z A-Z < corpus.txt > shouted.txt").ok();
        mount.sync();

        let lineage = mount.lineage("shouted.txt");
        assert_eq!(lineage.inputs(), names(["corpus.txt"]), "{}", lineage.json);
        let root = lineage.root();
        assert_eq!((root.state.as_str(), root.closed.as_deref()), ("logged", Some("explicit")), "{}", lineage.json);
        assert_eq!(root.sha256.as_deref(), Some(&*files::sha256sum(&lab.behind("shouted.txt"))));
        assert!(root.attested && root.run.is_some());
        let input = lineage.node("corpus.txt").1;
        assert_eq!(input.state, "unattested");
        assert_eq!(input.sha256.as_deref(), Some(&*files::sha256sum(&lab.behind("corpus.txt"))));
        let edge = lineage.edge("corpus.txt");
        assert!(edge.grade == "same-process" || edge.grade == "process-tree", "{edge:?}");

        let verdict = mount.verify("shouted.txt", 0);
        assert_eq!(verdict["verdict"], "pass", "{verdict}");
        mount.unmount();
        let offline = lab.ctl(&["verify", lab.source().join("shouted.txt").to_str().unwrap()]);
        offline.expect(0);
    }

    /// A label `read` must mean that bytes were seen to go; where nobody looks, the label is `opened`.
    fn an_edge_says_read_only_where_the_daemon_saw_bytes_go(io) {
        let lab = Lab::new();
        lab.put("in.bin", &files::noise(1, 300_000));
        let mount = lab.mount(Options::new(io));
        // Not cat(1): it lets the kernel copy, and then the bytes are known to have gone.
        mount.sh("dd if=in.bin of=out.bin bs=64k status=none").ok();
        mount.sync();
        let want = if io == Io::Inline { "read" } else { "opened" };
        assert_eq!(mount.lineage("out.bin").edge("in.bin").kind, want);
    }

    /// Virtual attributes and files are the only interface of a job without atlasctl: they must answer, and never be listed.
    fn the_virtual_files_and_attributes_answer_and_are_not_listed(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("echo hello > greeting").ok();
        mount.sync();
        assert_eq!(mount.attribute("greeting", "user.atlas.state").as_deref(), Some("logged"));
        let digest = mount.attribute("greeting", "user.atlas.digest").expect("a sealed file has a digest");
        assert!(digest.starts_with("blake3:") && digest.len() == 71, "{digest:?}");
        let mut size = vec![0; 65536];
        let size = rustix::fs::getxattr(mount.path("greeting"), "user.atlas.manifest", &mut size[..]).unwrap();
        assert!(size > 500 && size < 8192, "a manifest of {size} bytes");
        let hex = digest.strip_prefix("blake3:").unwrap();
        let by_digest = fs::read(mount.path(&format!(".atlas/by-digest/{hex}.c2pa"))).unwrap();
        assert_eq!(by_digest.len(), size);

        let mut listed = vec![0; 4096];
        let len = rustix::fs::listxattr(mount.path("greeting"), &mut listed[..]).unwrap();
        assert!(!String::from_utf8_lossy(&listed[..len]).contains("atlas"));
        let set = rustix::fs::setxattr(
            mount.path("greeting"), "user.atlas.state", b"sealed", rustix::fs::XattrFlags::empty());
        assert_eq!(set, Err(rustix::io::Errno::PERM));
        let gone = rustix::fs::removexattr(mount.path("greeting"), "user.atlas.state");
        assert_eq!(gone, Err(rustix::io::Errno::PERM));
        let seen: Vec<_> = fs::read_dir(mount.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(seen, ["greeting"]);

        let status = mount.status();
        assert_eq!(status["io"], io.word(), "{status}");
        assert!(!status["io_reason"].as_str().unwrap().is_empty());
        assert_eq!(status["pid"], mount.pid());
        assert!(status["socket"].as_str().unwrap().starts_with("/run/atlas/"), "{status}");
        let metrics = fs::read_to_string(mount.path(".atlas/metrics")).unwrap();
        assert!(metrics.lines().any(|l| l.starts_with("# TYPE atlas_")), "{metrics}");
    }

    /// An open version must not block whoever asks about it: ENODATA, at once.
    fn a_file_that_is_still_written_has_a_state_and_no_digest(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let job = mount.python(
            "import os, time\nf = open('growing', 'w'); f.write('x'); f.flush(); print('open', flush=True)\n\
             while not os.path.exists('/proc/self/cwd/stop'): time.sleep(0.05)\nf.write('y'); f.close()",
        ).start();
        job.says("open");
        assert_eq!(mount.attribute("growing", "user.atlas.state").as_deref(), Some("open"));
        assert_eq!(mount.attribute("growing", "user.atlas.digest"), None);
        fs::write(mount.path("stop"), "now").unwrap();
        job.wait().expect(0);
        mount.await_state("growing", "logged");
        assert_eq!(fs::read(lab.behind("growing")).unwrap(), b"xy");
    }

    /// Empty and excluded files are part of every real directory: skipping them must not look like a failure.
    fn empty_and_excluded_files_are_skipped_not_failed(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("touch empty; mkdir .git; echo x > .git/HEAD; echo y > model.lock; echo z > kept").ok();
        mount.sync();
        mount.ctl(&["verify", "--recursive", "."]).expect(0);
        mount.ctl(&["verify", "empty", "model.lock", "kept"]).expect(0);
        assert_eq!(mount.attribute("model.lock", "user.atlas.state").as_deref(), Some("excluded"));
        let shown = mount.ctl(&["show", "empty"]).expect(0).stdout;
        assert!(shown.to_lowercase().contains("empty"), "{shown}");
        assert_eq!(files::find(&lab.behind(".atlas/store/manifests"), ".c2pa").len(), 1, "only `kept` has a manifest");
    }

    /// A job must find its data as it left them: what goes in through the mount comes out behind it, bit for bit.
    fn bytes_owner_and_mode_arrive_unchanged(io) {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("umask 027; head -c 3000000 /dev/urandom | tee copy | sha256sum > sum; mkdir -m 2770 d").ok();
        mount.sh("install -m 0751 /dev/null as-root; echo mine > as-root").by(User::Root).ok();
        let sum = fs::read_to_string(lab.behind("sum")).unwrap();
        assert!(files::sha256sum(&lab.behind("copy")).ends_with(sum.split(' ').next().unwrap()));
        let meta = |name: &str| fs::metadata(lab.behind(name)).unwrap();
        assert_eq!((meta("copy").uid(), meta("copy").gid(), meta("copy").permissions().mode() & 0o7777), (65534, 65534, 0o640));
        assert_eq!((meta("d").uid(), meta("d").permissions().mode() & 0o7777), (65534, 0o2770));
        assert_eq!((meta("as-root").uid(), meta("as-root").permissions().mode() & 0o7777), (0, 0o751));
        assert_eq!(fs::read(lab.behind("copy")).unwrap(), fs::read(mount.path("copy")).unwrap());
    }
}

/// In place, the job's paths are the old ones, and an ordinary user is confined: the manifest may say so only then.
#[test]
fn an_in_place_mount_changes_no_path_and_confines_ordinary_users() {
    let lab = Lab::new();
    lab.put("in", b"1\n");
    let mount = lab.mount(Options::new(Io::Passthrough).in_place());
    mount.sh("cat in > by-nobody").ok();
    mount.sh("cat in > by-root").by(User::Root).ok();
    mount.sync();
    assert!(lab.behind("by-nobody").exists());
    let shown = |path: &str| mount.ctl(&["show", "--json", path]).expect(0).stdout;
    assert!(
        shown("by-nobody").contains("\"confined\":\"confined\"")
            || shown("by-nobody").contains("\"confined\": \"confined\""),
        "{}",
        shown("by-nobody")
    );
    assert!(
        !shown("by-root").contains("\"confined\":\"confined\"")
            && !shown("by-root").contains("\"confined\": \"confined\"")
    );
    assert_eq!(mount.lineage("by-nobody").inputs(), names(["in"]));
    mount.unmount();
    assert_eq!(fs::read(lab.source().join("by-nobody")).unwrap(), b"1\n");
}

/// A change that did not come through the mount must never be sold as the sealed content, nor go unnoticed.
#[test]
fn a_change_behind_the_mount_is_noticed_as_a_new_unsealed_content() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo sealed > data").ok();
    mount.sync();
    fs::write(lab.behind("data"), "swapped\n").unwrap();
    mount.sh("cat data > copy").ok();
    mount.sync();
    let lineage = mount.lineage("copy");
    let input = lineage.node("data").1;
    assert_eq!(
        input.sha256.as_deref(),
        Some(&*files::sha256sum(&lab.behind("data"))),
        "{}",
        lineage.json
    );
    assert!(
        !input.attested,
        "nobody sealed the swapped bytes: {}",
        lineage.json
    );
    wait::until("status counts the change behind the mount", || {
        (mount.status()["behind"].as_u64() > Some(0)).then_some(())
    });
    mount.verify("data", 4);
}
