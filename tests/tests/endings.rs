//! How writers let go: close, exit, kill, heirs. A wrong answer here calls half a checkpoint complete.

use std::fs;

use atlas_tests::lineage::names;
use atlas_tests::{Lab, Mount, Options, both};

fn closed(mount: &Mount<'_>, path: &str) -> String {
    mount
        .lineage(path)
        .root()
        .closed
        .clone()
        .unwrap_or_else(|| panic!("`closed` of {path}"))
}

/// Eight threads, of which some still run when the process ends: its last thread carries PF_SIGNALED then.
const THREADS: &str = r"
import os, signal, sys, threading, time
f = open('out', 'w')
f.write('half a checkpoint')
f.flush()
def busy():
    while True:
        time.sleep(0.01)
for _ in range(8):
    threading.Thread(target=busy, daemon=True).start()
if sys.argv[1] == 'exit':
    os._exit(int(sys.argv[2]))
os.kill(os.getpid(), int(sys.argv[2]))
time.sleep(60)
";

fn with_threads(mount: &Mount<'_>, how: &str, number: &str, code: i32) {
    mount
        .job(&["python", "-c", THREADS, how, number])
        .run()
        .expect(code);
    mount.sync();
}

both! {
    /// A shell keeps the output that it redirects away in a close-on-exec descriptor: each command closes its copy, and writes nothing to it.
    fn the_commands_of_a_shell_close_their_copies_of_its_output_and_are_not_its_writers(io) {
        let lab = Lab::new();
        lab.put("a", b"an input\n");
        let mount = lab.mount(Options::new(io));
        let script = "exec > log; echo first; { cat a; } > copy; echo last";
        mount.job(&["bash", "-c", script]).ok();
        mount.sync();
        assert_eq!(mount.lineage("copy").inputs(), names(["a"]));
        assert_eq!(fs::read(mount.path("log")).unwrap(), b"first\nlast\n");
        mount.verify("log", 0);
        mount.verify("copy", 0);
    }

    /// A killed writer leaves half a file: it is kept and signed, and verify says 7, not 0.
    fn a_killed_writers_file_says_killed_and_verifies_as_incomplete(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        with_threads(&mount, "kill", "9", 137);
        assert_eq!(closed(&mount, "out"), "killed");
        let verdict = mount.verify("out", 7);
        assert_eq!(verdict["verdict"], "fail", "{verdict}");
        assert_eq!(verdict["code"], 7);
        assert_ne!(verdict["files"][0]["checks"]["completeness"], "affirming", "{verdict}");
        assert_eq!(verdict["files"][0]["checks"]["artifact"], "affirming", "{verdict}");
    }

    /// An exit with running threads is no kill, whatever the process flags say.
    fn an_exit_with_eight_threads_says_exit(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        with_threads(&mount, "exit", "0", 0);
        assert_eq!(closed(&mount, "out"), "exit");
        mount.verify("out", 0);
    }

    /// The command of a redirect closed properly, and then its shell was killed before it could write the rest.
    fn a_redirect_whose_shell_was_killed_says_killed(io) {
        let lab = Lab::new();
        lab.put("in", b"i");
        let mount = lab.mount(Options::new(io));
        mount.job(&["bash", "-c", "bash -c 'cat in; kill -9 $$' > out; true"]).ok();
        mount.sync();
        assert_eq!(closed(&mount, "out"), "killed");
        mount.verify("out", 7);
    }

    /// The status of an exit is kept: a trainer that exits 3 has said something.
    fn a_failed_exit_keeps_its_status(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        with_threads(&mount, "exit", "3", 3);
        assert_eq!(closed(&mount, "out"), "exit");
        let shown = mount.ctl(&["show", "--json", "out"]).expect(0).json();
        assert!(shown.to_string().contains("\"status\":3"), "{shown}");
    }

    /// SIGABRT, SIGTERM: every fatal signal, with its number.
    fn every_fatal_signal_is_a_kill_with_its_number(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        for number in ["6", "15"] {
            with_threads(&mount, "kill", number, 128 + number.parse::<i32>().unwrap());
            assert_eq!(closed(&mount, "out"), "killed", "signal {number}");
            let shown = mount.ctl(&["show", "--json", "out"]).expect(0).json();
            assert!(shown.to_string().contains(&format!("\"status\":{number}")), "{shown}");
            fs::remove_file(mount.path("out")).unwrap();
        }
    }

    /// A worker forked while a checkpoint is written inherits its descriptor: the seal must not wait an epoch for it.
    fn a_forked_heir_that_sleeps_does_not_keep_the_checkpoint_from_being_sealed(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let job = mount.python(
            "import os, signal, time\nf = open('ckpt', 'w'); f.write('weights'); f.flush()\npid = os.fork()\n\
             if pid == 0:\n    time.sleep(300); os._exit(0)\nf.close(); print('closed', flush=True)\n\
             while not os.path.exists('stop'): time.sleep(0.05)\nos.kill(pid, 9); os.waitpid(pid, 0)",
        ).start();
        job.says("closed");
        mount.await_state("ckpt", "logged");
        mount.verify("ckpt", 0);
        fs::write(mount.path("stop"), "").unwrap();
        job.wait().expect(0);
        mount.sync();
        mount.verify("ckpt", 0);
    }

    /// dup() and close() of the copy end nothing.
    fn closing_a_duplicate_descriptor_ends_nothing(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import os, time\nfd = os.open('f', os.O_WRONLY | os.O_CREAT)\nos.write(fd, b'one ')\nos.close(os.dup(fd))\ntime.sleep(0.5)\nos.write(fd, b'two')\nos.close(fd)",
        ).ok();
        mount.sync();
        assert_eq!(fs::read(lab.behind("f")).unwrap(), b"one two");
        assert_eq!(mount.lineage("f").root().closed.as_deref(), Some("explicit"));
        assert!(mount.lineage("f").inputs().is_empty(), "one version, without parent");
        mount.verify("f", 0);
    }

    /// Every shard of a rank's checkpoint, written by eight threads at once, is sealed.
    fn files_written_by_many_threads_are_all_sealed(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import threading\ndef w(i):\n    open(f'part-{i}', 'wb').write(bytes([i]) * 50000)\n\
             ts = [threading.Thread(target=w, args=(i,)) for i in range(32)]\n[t.start() for t in ts]; [t.join() for t in ts]",
        ).ok();
        mount.sync();
        mount.ctl(&["verify", "--recursive", "."]).expect(0);
        assert_eq!(atlas_tests::files::find(&lab.behind(".atlas/store/manifests"), ".c2pa").len(), 32);
    }

    /// Holes are digested like bytes: what used a huge file, and umount, would wait for hours for what nobody has any more.
    fn a_huge_file_that_is_deleted_is_not_digested_to_the_end(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.sh("truncate -s 8T huge && head -c 9 huge > part && rm huge").ok();
        mount.sync();
        assert_eq!(mount.attribute("part", "user.atlas.state").as_deref(), Some("logged"));
    }

    /// A file that is deleted while it is written is nobody's output, and must not stop the queue.
    fn a_file_deleted_while_it_is_open_is_not_waited_for(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        mount.python("import os\nf = open('gone', 'w'); f.write('x'); os.unlink('gone'); f.write('y'); f.close()\nopen('kept', 'w').write('z')").ok();
        mount.sync();
        mount.verify("kept", 0);
    }
}
