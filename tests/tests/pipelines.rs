//! Which way data goes between the programs of a pipeline, a loop and a script. A wrong answer here mixes jobs, or loses their inputs.

use atlas_tests::lineage::names;
use atlas_tests::{Io, Lab, Options, both};

fn lab() -> Lab {
    let lab = Lab::new();
    lab.put("a", b"a\n");
    lab.put("b", b"b\n");
    lab
}

both! {
    /// `zcat data | train`: whoever reads everything and writes much later still has what came through the pipe.
    fn what_came_through_a_pipe_is_an_input_although_its_writer_is_long_gone(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        let job = mount.sh("cat a | python -c 'import os, sys, time\nd = sys.stdin.read(); print(\"read\", file=sys.stderr, flush=True)
while not os.path.exists(\"go\"): time.sleep(0.05)\nopen(\"model\", \"w\").write(d + open(\"b\").read())'; true").start();
        // The run of `cat` is over, in the daemon's books too.
        atlas_tests::wait::until("the first run has ended", || {
            let runs = mount.ctl(&["runs", "--json"]).expect(0).json();
            let text = runs.to_string();
            (text.contains("\"cat\"") && text.contains("\"ended\":\"")).then_some(())
        });
        mount.sh(": > go").ok();
        job.wait().expect(0);
        mount.sync();
        let lineage = mount.lineage("model");
        assert_eq!(lineage.inputs(), names(["a", "b"]), "{}", lineage.json);
        assert_eq!(lineage.edge("a").grade, "process-tree", "it never opened it");
        assert_eq!(lineage.edge("b").grade, "same-process");
        mount.verify("model", 0);
    }

    /// A script whose output goes to `tee`, a loop that reads a list from a pipe: the commands share a pipe, and no data.
    fn commands_that_have_one_end_of_a_pipe_in_common_are_not_one_job(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.sh("{ sort a > a.s; sort b > b.s; } | cat > /dev/null; printf 'a\\nb\\n' | while read f; do sort $f > $f.t; done").ok();
        mount.sync();
        for name in ["a.s", "a.t"] {
            assert_eq!(mount.lineage(name).inputs(), names(["a"]), "{name}");
        }
        for name in ["b.s", "b.t"] {
            assert_eq!(mount.lineage(name).inputs(), names(["b"]), "{name}");
        }
    }

    /// `>(command)` is nobody's child any more by the time that it writes.
    fn what_a_process_substitution_writes_has_what_was_written_into_it(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.job(&["bash", "-c", "cat a > >(sleep 0.2; sort > out; touch done); until test -e done; do sleep 0.05; done"]).ok();
        mount.sync();
        assert_eq!(mount.lineage("out").inputs(), names(["a"]));
    }

    /// What each command of one redirect read is told of that command, not of the last one.
    fn commands_of_one_redirect_are_told_apart(io) {
        let lab = lab();
        let mount = lab.mount(Options::new(io));
        mount.sh("{ tr a x < a; sed s/b/y/ b; } > out; true").ok();
        mount.sync();
        let lineage = mount.lineage("out");
        assert_eq!(lineage.inputs(), names(["a", "b"]));
        assert_eq!(lineage.edge("a").grade, "process-tree", "{}", lineage.json);
        assert_eq!(lineage.edge("b").grade, "same-process", "{}", lineage.json);
    }
}

/// A pool's first worker comes to the mount before the program that started it: the run is the program.
#[test]
fn a_run_is_called_by_the_program_that_was_started_and_not_by_its_worker() {
    let lab = lab();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount
        .job(&["python", "-c", "import subprocess, sys\nsubprocess.run(['sort', 'a'], stdout=subprocess.DEVNULL)\nopen('out', 'w').write('x')", "train-me"])
        .ok();
    mount.sync();
    let lineage = mount.lineage("out");
    assert_eq!(lineage.inputs(), names(["a"]));
    let argv = lineage.json["runs"][0]["argv"].to_string();
    assert!(argv.contains("train-me"), "{argv}");
}
