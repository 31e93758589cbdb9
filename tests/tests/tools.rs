//! What tools do that no framework does: become another program with files open, and whatever else stood still or lied on a real mount.

use atlas_tests::lineage::names;
use atlas_tests::{Lab, Options, both};

/// Opens a file close-on-exec, writes to it, and becomes another program.
const BECOMES: &str = r"
import os, sys
data = open('in').read()
fd = os.open('out', os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
os.write(fd, data.encode())
os.execvp('sort', ['sort', 'other'])
";

/// Forks before it has touched the mount: the child becomes another program and lets go of what it inherited, the parent writes on.
const CHILD_BECOMES: &str = r"
import os
fd = os.open('out', os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
os.write(fd, open('in').read().encode())
for n in range(4):
    pid = os.fork()
    if pid == 0:
        os.execvp('true', ['true'])
    assert os.waitpid(pid, 0)[1] == 0
os.write(fd, b'more')
os.close(fd)
";

both! {
    /// execve(2) closes what is marked for it while it holds the lock under which /proc shows the process: a daemon that looks then waits
    /// for the job, which waits for the daemon, and with it whoever looks at that process (ps, another mount).
    fn a_program_that_becomes_another_with_a_file_open_does_not_hang(io) {
        let lab = Lab::new();
        lab.put("in", b"in\n");
        lab.put("other", b"other\n");
        let mount = lab.mount(Options::new(io));
        mount.python(BECOMES).ok();
        mount.sync();
        let lineage = mount.lineage("out");
        assert_eq!(lineage.inputs(), names(["in"]), "{}", lineage.json);
        assert_eq!(lineage.root().closed.as_deref(), Some("explicit"), "{}", lineage.json);
        mount.verify("out", 0);
    }

    /// git, make and every shell: a child of a writer starts a program.
    fn a_writers_child_that_becomes_another_program_ends_nothing_and_does_not_hang(io) {
        let lab = Lab::new();
        lab.put("in", b"in\n");
        let mount = lab.mount(Options::new(io));
        mount.python(CHILD_BECOMES).ok();
        mount.sync();
        let lineage = mount.lineage("out");
        assert_eq!(lineage.inputs(), names(["in"]), "one version, without itself as parent: {}", lineage.json);
        mount.verify("out", 0);
    }

    /// A shell holds its script open, and gives nothing of it to the commands that it starts.
    fn a_shells_script_is_no_data_of_the_commands_that_it_redirects(io) {
        let lab = Lab::new();
        lab.put("in", b"in\n");
        lab.put("job.sh", b"tr i I < in > out\n: more to come\n");
        let mount = lab.mount(Options::new(io));
        mount.job(&["sh", "job.sh"]).ok();
        mount.sync();
        let lineage = mount.lineage("out");
        assert_eq!(lineage.inputs(), names(["in"]), "{}", lineage.json);
        mount.verify("out", 0);
    }

    /// A Python, an environment or a whole root that lies on the mount: who opens the first module is the program that was just executed,
    /// not the shell or the launcher that executed it. What they read would stand among the data.
    fn a_program_of_the_mount_is_itself_from_its_first_read_on(io) {
        let lab = Lab::new();
        lab.put("in", b"in\n");
        lab.put("part.py", b"data = open('in').read()\n");
        lab.put("job.py", b"import part\nopen('out', 'w').write(part.data)\n");
        let mount = lab.mount(Options::new(io));
        mount.sh("cp \"$(readlink -f /usr/bin/python3)\" python3").ok();
        for start in ["./python3 job.py; :", "env ./python3 job.py", "python -c 'import os; os.execv(\"./python3\", [\"./python3\", \"job.py\"])'"] {
            mount.sh("rm -f out").ok();
            mount.sh(start).ok();
            mount.sync();
            let lineage = mount.lineage("out");
            assert_eq!(lineage.inputs(), names(["in"]), "{start}: {}", lineage.json);
        }
    }
}
