//! Registered data: a directory as one set with one manifest over all its members, and what verify says when the set is not whole.

use std::fs;
use std::path::Path;

use atlas_tests::ctl::{self, Answer};
use atlas_tests::lineage::names;
use atlas_tests::{Io, Lab, Mount, Options, both, files, sandbox};

fn registered() -> Lab {
    let lab = Lab::new();
    for i in 0..20 {
        lab.put(
            &format!("images/class{}/{i:02}.png", i % 3),
            &files::noise(i, 900),
        );
    }
    lab
}

fn register(mount: &Mount<'_>) {
    mount
        .ctl(&[
            "register",
            "images",
            "--name",
            "pictures 2026",
            "--author",
            "somebody",
        ])
        .expect(0);
    mount.sync();
}

both! {
    /// A data set has a name, an author, and one manifest; each of its members is attested by it.
    fn a_registered_directory_is_one_set_that_verifies_and_attests_its_members(io) {
        let lab = registered();
        let mount = lab.mount(Options::new(io));
        register(&mount);
        mount.verify("images", 0);
        assert_eq!(files::find(&lab.behind(".atlas/store/manifests"), ".c2pa").len(), 1, "one for all of them");
        let shown = mount.ctl(&["show", "images"]).expect(0).stdout;
        assert!(shown.contains("pictures 2026") && shown.contains("somebody"), "{shown}");
        mount.sh("cat images/class1/*.png > out").ok();
        mount.sync();
        let lineage = mount.lineage("out");
        assert!(lineage.edges.iter().any(|e| e.kind == "set"), "{}", lineage.json);
        mount.verify("out", 0);
    }

    /// A swapped, missing or added shard is what checks by file alone let pass.
    fn a_missing_an_added_and_a_changed_member_are_each_refused(io) {
        let lab = registered();
        let mount = lab.mount(Options::new(io));
        register(&mount);
        mount.unmount();
        let images = lab.source().join("images");
        let verify = |code: i32, about: &str| {
            let answer = lab.ctl(&["verify", "--json", images.to_str().unwrap()]).expect(code);
            assert!(answer.stdout.contains(about), "{} does not name {about}", answer.stdout);
        };
        verify(0, "images");
        let member = images.join("class0/00.png");
        let bytes = fs::read(&member).unwrap();
        fs::remove_file(&member).unwrap();
        verify(7, "class0/00.png");
        fs::write(&member, &bytes).unwrap();
        verify(0, "images");
        fs::write(images.join("class1/extra.png"), b"poison").unwrap();
        verify(7, "class1/extra.png");
        fs::remove_file(images.join("class1/extra.png")).unwrap();
        files::flip(&member, 100);
        verify(4, "class0/00.png");
        files::flip(&member, 100);
        let other = images.join("class0/03.png");
        let there = fs::read(&other).unwrap();
        fs::write(&other, &bytes).unwrap();
        fs::write(&member, &there).unwrap();
        verify(4, "class0/0");
    }
}

/// Existing single files get a digest and a manifest of their own, with nothing claimed about who made them.
#[test]
fn a_registered_file_is_attested_and_claims_no_maker() {
    let lab = Lab::new();
    lab.put("corpus.parquet", b"PAR1....PAR1");
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount
        .ctl(&["register", "corpus.parquet", "--name", "corpus"])
        .expect(0);
    mount.sync();
    let lineage = mount.lineage("corpus.parquet");
    assert!(
        lineage.root().attested && lineage.root().run.is_none(),
        "{}",
        lineage.json
    );
    assert_eq!(lineage.inputs(), names([]));
    mount.verify("corpus.parquet", 0);
    mount.sh("wc -c < corpus.parquet > n").ok();
    mount.sync();
    assert!(mount.lineage("n").node("corpus.parquet").1.attested);
}

/// What cannot be registered is named, and nothing is half registered.
#[test]
fn registering_what_is_not_there_changes_nothing() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.ctl(&["register", "nowhere"]).refusal(1, "nowhere");
    let outside = lab.scratch();
    mount
        .ctl(&["register", outside.to_str().unwrap()])
        .refusal(1, "scratch");
    assert!(files::find(&lab.behind(".atlas/store/manifests"), ".c2pa").is_empty());
}

/// What a run wrote has a proof with its inputs: a registration, which has none, must not stand in front of it.
#[test]
fn registering_what_a_run_wrote_does_not_hide_where_it_came_from() {
    let lab = registered();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("cat images/class0/00.png > model").ok();
    mount.sync();
    let before = mount.lineage("model");
    assert_eq!(before.inputs(), names(["images/class0/00.png"]));
    mount.ctl(&["register", "model"]).expect(0);
    assert_eq!(mount.lineage("model").root, before.root);
    let named = mount.ctl(&["register", "model", "--name", "mine"]);
    named.refusal(1, "model");
    assert_eq!(mount.lineage("model").root, before.root);
}

/// A registration that keeps a lock while it waits for its seal stops the whole mount as soon as anything else is being sealed.
#[test]
fn registering_while_other_files_are_sealed_never_stops_the_mount() {
    const BOUND: &str = "120";
    let lab = registered();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let writer = mount
        .sh("mkdir out; for i in $(seq 300); do echo $i > out/$i; done")
        .start();
    for i in 0..20 {
        let mut bounded = ctl::command(Path::new("timeout"), &mount.path(""));
        bounded.arg(BOUND).arg(sandbox::program("atlasctl"));
        bounded.arg("register");
        bounded.arg(format!("images/class{}/{i:02}.png", i % 3));
        Answer::of(bounded).expect(0);
    }
    writer.wait().expect(0);
    mount.sync();
    mount.verify("out/300", 0);
    mount.verify("images/class0/00.png", 0);
}
