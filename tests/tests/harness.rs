//! The harness itself: if it were wrong, every other test would prove something else than it says.

use std::fs;
use std::path::Path;

use atlas_tests::{Job, Lab, User, sandbox};

/// With the tester as an ancestor all jobs would be one tree, and every grade and input set a lie.
#[test]
fn a_job_descends_from_nothing_but_shells_and_the_first_process() {
    let lab = Lab::new();
    let program = "import os\np, names = os.getppid(), []\nwhile p > 1:\n    s = open(f'/proc/{p}/stat').read()\n    names.append(s[s.index('(')+1:s.rindex(')')])\n    p = int(s[s.rindex(')')+2:].split()[1])\nprint(names)";
    let done = Job::new(&lab.scratch(), &lab.scratch(), &["python", "-c", program]).ok();
    assert_eq!(done.stdout.trim(), "['bash']");
}

#[test]
fn a_job_runs_as_an_ordinary_user_without_capabilities_and_its_code_comes_back() {
    let lab = Lab::new();
    let job = |script: &str| Job::new(&lab.scratch(), &lab.scratch(), &["sh", "-c", script]);
    let done = job("id -u; grep CapEff /proc/self/status; exit 5")
        .run()
        .expect(5);
    assert!(
        done.stdout.starts_with("65534\n") && done.stdout.contains("0000000000000000"),
        "{done:?}"
    );
    job("kill -9 $$").run().expect(137);
    assert_eq!(job("id -u").by(User::Root).ok().stdout, "0\n");
    assert_eq!(job("echo $X").env("X", "y").ok().stdout, "y\n");
}

/// A pin left in the machine's own trust directory would make later verdicts wrong.
#[test]
fn nothing_that_a_test_mounts_or_pins_is_seen_outside() {
    let lab = Lab::new();
    fs::write("/etc/atlas/left", "x").unwrap();
    assert!(!Path::new("/proc/1/root/etc/atlas/left").exists());
    sandbox::small_disk(&lab.scratch().join("disk"), 1 << 20);
    let outside = fs::read_to_string("/proc/1/mounts").unwrap();
    assert!(!outside.contains(lab.scratch().to_str().unwrap()));
}

/// Processes that share a pipe are one run: a job must hold none that another job holds.
#[test]
fn a_job_inherits_no_descriptor_of_the_tester() {
    let lab = Lab::new();
    let program = "import os\nprint(sorted(os.readlink(f'/proc/self/fd/{f}') for f in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{f}')))";
    let done = Job::new(&lab.scratch(), &lab.scratch(), &["python", "-c", program]).ok();
    assert!(
        !done.stdout.contains("pipe:") && !done.stdout.contains("socket:"),
        "{}",
        done.stdout
    );
}
