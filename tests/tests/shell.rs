//! Pipelines and redirects: what a shell does to descriptors, and what follows for versions and runs.

use std::fs;

use atlas_tests::lineage::names;
use atlas_tests::{Lab, Options, both};

both! {
    /// The three programs of a pipeline share no file: only the pipe tells that they belong together.
    fn a_pipeline_joins_its_programs_so_the_last_ones_output_has_the_firsts_input(io) {
        let lab = Lab::new();
        lab.put("a.txt", b"3\n1\n2\n");
        lab.put("other.txt", b"9\n");
        let mount = lab.mount(Options::new(io));
        mount.sh("sort a.txt | awk '{ print $1 * 2 }' | gzip -n > out.gz").ok();
        mount.sync();
        let lineage = mount.lineage("out.gz");
        assert_eq!(lineage.inputs(), names(["a.txt"]), "{}", lineage.json);
        assert_eq!(lineage.edge("a.txt").grade, "process-tree");
        mount.verify("out.gz", 0);
    }

    /// A redirect FLUSHes the still empty file before the command has started: sealing there would seal nothing.
    fn a_redirect_seals_the_commands_output_and_not_the_empty_file_before_it(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("(sleep 0.5; echo late words) > out.txt").ok();
        mount.sync();
        assert_eq!(fs::read(lab.behind("out.txt")).unwrap(), b"late words\n");
        let versions = mount.lineage("out.txt");
        assert_eq!(versions.root().state, "logged");
        assert_eq!(versions.inputs(), names([]), "no empty version before it: {}", versions.json);
        mount.verify("out.txt", 0);
    }

    /// Two commands append to one redirected descriptor: one version, with both commands' inputs.
    fn two_commands_in_one_redirect_make_one_version_with_both_inputs(io) {
        let lab = Lab::new();
        lab.put("x", b"x\n");
        lab.put("y", b"y\n");
        let mount = lab.mount(Options::new(io));
        mount.sh("{ cat x; cat y; } > both.txt").ok();
        mount.sync();
        let lineage = mount.lineage("both.txt");
        assert_eq!(fs::read(lab.behind("both.txt")).unwrap(), b"x\ny\n");
        assert_eq!(lineage.inputs(), names(["x", "y"]), "{}", lineage.json);
        mount.verify("both.txt", 0);
    }

    /// The careful trainer's way: write aside, rename. The name is the final one, the inputs are the writer's.
    fn a_file_written_aside_and_renamed_is_known_by_its_final_name(io) {
        let lab = Lab::new();
        lab.put("in", b"i");
        let mount = lab.mount(Options::new(io));
        mount.sh("cat in > model.pt.tmp; mv model.pt.tmp model.pt").ok();
        mount.sync();
        let lineage = mount.lineage("model.pt");
        assert_eq!(lineage.inputs(), names(["in"]));
        assert_eq!(lineage.root().path, "model.pt");
        mount.verify("model.pt", 0);
        mount.ctl(&["verify", "model.pt.tmp"]).expect(1);
    }

    /// Overwriting a sealed file is a new version that names the old one, whose proof stays.
    fn an_overwritten_file_is_a_new_version_with_the_old_one_as_parent(io) {
        let lab = Lab::new();
        lab.put("in", b"i");
        let mount = lab.mount(Options::new(io));
        mount.sh("echo one > f").ok();
        mount.sync();
        let old = mount.lineage("f").root().digest.clone().unwrap();
        mount.sh("cat in >> f").ok();
        mount.sync();
        let lineage = mount.lineage("f");
        let parent = lineage.edges.iter().find(|e| e.from == lineage.root && e.kind == "parent");
        let parent = parent.unwrap_or_else(|| panic!("no parent edge: {}", lineage.json));
        assert_eq!(lineage.nodes[&parent.to].digest.as_deref(), Some(&*old));
        assert_ne!(lineage.root().digest.as_deref(), Some(&*old));
        mount.verify("f", 0);
        mount.ctl(&["lineage", &old]).expect(0);
    }

    /// Metadata are not content: chmod, utimes and rename after the seal leave it standing.
    fn changed_metadata_over_equal_bytes_is_the_same_version(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("echo one > f").ok();
        mount.sync();
        let before = mount.lineage("f").root;
        mount.sh("chmod 600 f; touch -d 2001-01-01 f; mv f g; : >> g").ok();
        mount.sync();
        assert_eq!(mount.lineage("g").root, before);
        mount.verify("g", 0);
        assert_eq!(files_with_manifests(&lab), 1);
    }

    /// touch, chmod and cp -p come right behind the close, often before the digest: whose the file is must not depend on that.
    fn a_touch_right_after_the_close_takes_no_input_away(io) {
        let lab = Lab::new();
        lab.put("in", b"i");
        let mount = lab.mount(Options::new(io));
        mount.sh("for i in 1 2 3 4 5 6 7 8; do head -c 3000000 /dev/zero | cat in - > out$i; touch out$i; chmod 600 out$i; done").ok();
        mount.sync();
        for i in 1..=8 {
            let lineage = mount.lineage(&format!("out{i}"));
            assert_eq!(lineage.inputs(), names(["in"]), "{}", lineage.json);
            assert_eq!(lineage.root().state, "logged");
        }
        assert_eq!(files_with_manifests(&lab), 8);
    }

    /// Debian's sh opens redirects itself and then starts the command: the command is the writer, and reads what it was given.
    fn a_redirect_of_the_shell_belongs_to_the_command(io) {
        let lab = Lab::new();
        lab.put("in", b"b\na\n");
        lab.put("more", b"c\n");
        let mount = lab.mount(Options::new(io));
        mount.sh("tr a-z A-Z < in > up; { sort up; tr a-z A-Z < more; } > out; true").ok();
        mount.sync();
        assert_eq!(mount.lineage("up").inputs(), names(["in"]));
        assert_eq!(mount.lineage("out").inputs(), names(["more", "up"]));
    }

    /// What a run makes and deletes, and nobody else reads, is shown by its own inputs instead.
    fn a_temporary_file_of_the_run_is_replaced_by_its_own_inputs(io) {
        let lab = Lab::new();
        lab.put("in", b"b\na\n");
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import os\nopen('part.tmp', 'w').write(open('in').read()); open('out', 'w').write(open('part.tmp').read()); os.unlink('part.tmp')",
        ).ok();
        mount.sync();
        assert_eq!(mount.lineage("out").inputs(), names(["in"]));
    }
}

fn files_with_manifests(lab: &Lab) -> usize {
    atlas_tests::files::find(&lab.behind(".atlas/store/manifests"), ".c2pa").len()
}
