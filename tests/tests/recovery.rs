//! Crashes, full disks, signals: what was closed before must be sealed afterwards, and the job must be told the truth.

use std::fs;
use std::path::Path;
use std::process::Command;

use atlas_tests::ctl::{self, Answer};
use atlas_tests::{Io, Lab, Options, both, files, sandbox};
use rustix::process::{Pid, Signal, kill_process};

both! {
    /// What a job closed before the daemon was killed is sealed by the next mount, with its inputs.
    fn everything_closed_before_a_crash_is_sealed_after_it(io) {
        let lab = Lab::new();
        lab.put("in", &files::noise(31, 100_000));
        let mount = lab.mount(Options::new(io));
        mount.sh("cat in > first").ok();
        mount.sync();
        mount.python(
            "first = open('first', 'rb').read()
for i in range(1, 41):
    open(f'out{i}', 'wb').write(first + b'%d' % i)
open('big', 'wb').write(bytes(30_000_000))",
        ).ok();
        mount.crash();
        let mount = lab.mount(Options::new(io));
        mount.sync();
        for i in 1..=40 {
            mount.await_state(&format!("out{i}"), "logged");
        }
        mount.await_state("big", "logged");
        mount.ctl(&["verify", "--recursive", "."]).expect(0); // `in` too: `first` has its bytes
        let lineage = mount.lineage("out40");
        assert_eq!(lineage.inputs(), atlas_tests::lineage::names(["first"]), "{}", lineage.json);
        assert!(lineage.node("first").1.attested);
    }

    /// Checkpoints are written aside and renamed: what the journal says of them must still be found under the final name.
    fn checkpoints_renamed_before_a_crash_are_sealed_after_it_with_their_inputs(io) {
        let lab = Lab::new();
        lab.put("in", b"i");
        let mount = lab.mount(Options::new(io));
        mount.python(
            "import os
os.mkdir('tmp')
prev = 'in'
for i in range(60):
    data = open(prev, 'rb').read() + b'%d,' % i
    open('tmp/w', 'wb').write(data)
    os.rename('tmp/w', f'ckpt{i}')
    prev = f'ckpt{i}'
os.mkdir('part')
open('part/out', 'wb').write(open(prev, 'rb').read() + b'end')
os.rename('part', 'whole')
os.utime('whole/out', (1, 1))",
        ).ok();
        mount.crash();
        let mount = lab.mount(Options::new(io));
        mount.sync();
        for name in ["ckpt0", "ckpt31", "ckpt59", "whole/out"] {
            assert_eq!(mount.lineage(name).root().state, "logged", "{name}");
            mount.verify(name, 0);
        }
        let before: std::collections::BTreeSet<_> = (0..31).map(|i| format!("ckpt{i}")).chain(["in".to_owned()]).collect();
        assert_eq!(mount.lineage("ckpt31").inputs(), before);
        assert_eq!(mount.lineage("whole/out").inputs().len(), 61);
    }

    /// Ten crashes in the middle of work: no seal is lost, none is wrong, and the mount comes up each time.
    fn crashes_in_the_middle_of_work_lose_no_seal(io) {
        let lab = Lab::new();
        for round in 0..5 {
            let mount = lab.mount(Options::new(io));
            mount.sh(&format!("for i in 1 2 3 4 5 6; do head -c 70000 /dev/urandom > r{round}-$i; done")).ok();
            if round % 2 == 1 {
                mount.sync();
            }
            mount.crash();
        }
        let mount = lab.mount(Options::new(io));
        mount.sync();
        mount.ctl(&["verify", "--recursive", "."]).expect(0);
        // A seal that was stored and not yet indexed at the crash may be made twice, never not at all.
        assert!(files::find(&lab.behind(".atlas/store/manifests"), ".c2pa").len() >= 30);
    }

    /// A writer that the crash cut off has an unfinished file: it must not be sealed as if it had been closed.
    fn a_file_that_was_open_at_the_crash_is_not_called_complete(io) {
        let lab = Lab::new();
        let mount = lab.mount(Options::new(io));
        let job = mount.python("import time\nf = open('half', 'w'); f.write('x' * 100); f.flush(); print('open', flush=True); time.sleep(2)").start();
        job.says("open");
        mount.crash();
        rustix::mount::unmount(lab.mountpoint(), rustix::mount::UnmountFlags::DETACH).unwrap();
        job.wait();
        let mount = lab.mount(Options::new(io));
        mount.sync();
        let code = mount.ctl(&["verify", "half"]).code;
        assert!([3, 7].contains(&code), "verify of half a file ended with {code}");
    }
}

/// SIGTERM drains: what is queued is sealed before the daemon goes.
#[test]
fn a_termination_signal_seals_what_is_queued_and_unmounts() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount
        .sh("for i in 1 2 3 4 5; do head -c 9000000 /dev/urandom > f$i; done")
        .ok();
    let pid = Pid::from_raw(i32::try_from(mount.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    mount.ended();
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    assert!(
        !mounts.contains(lab.mountpoint().to_str().unwrap()),
        "{mounts}"
    );
    for i in 1..=5 {
        lab.ctl(&[
            "verify",
            lab.source().join(format!("f{i}")).to_str().unwrap(),
        ])
        .expect(0);
    }
}

/// While a file is held open for writing, umount refuses and names the holder; nothing is lost.
#[test]
fn unmounting_under_a_writer_is_refused_and_names_the_holder() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let job = mount.python("import os, time\nf = open('f', 'w'); f.write('x'); f.flush(); print('open', os.getpid(), flush=True)\nwhile not os.path.exists('stop'): time.sleep(0.05)\nf.write('y'); f.close()").start();
    job.says("open");
    let mut umount = ctl::command(&sandbox::program("atlas-fs"), Path::new("/"));
    umount
        .arg("umount")
        .arg(lab.mountpoint())
        .args(["--drain", "1"]);
    let refused = Answer::of(umount);
    assert!(
        refused.code != 0 && refused.stderr.contains("python"),
        "{refused:?}"
    );
    fs::write(mount.path("stop"), "").unwrap();
    let done = job.wait().expect(0);
    assert!(
        refused
            .stderr
            .contains(done.stdout.split_whitespace().nth(1).unwrap()),
        "the holder's pid: {refused:?}"
    );
    mount.sync();
    mount.verify("f", 0);
    mount.unmount();
}

/// A full store: the job sees ENOSPC as without Atlas, the daemon lives, and seals resume when there is room.
#[test]
fn a_full_disk_is_told_to_the_job_and_seals_resume_when_there_is_room() {
    let lab = Lab::on_small_disk(24 << 20);
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("echo before > before").ok();
    mount.sync();
    let full = mount.sh("cat /dev/zero > filler.lock").run();
    assert!(
        full.code != 0 && full.stderr.contains("No space left"),
        "{full:?}"
    );
    // The last bytes of room go to the job's file; its manifest finds none.
    mount.sh("printf x > starved").run();
    assert!(
        mount.status()["pid"].is_u64(),
        "the daemon answers on a full disk"
    );
    fs::remove_file(mount.path("filler.lock")).unwrap();
    mount.sh("echo after > after").ok();
    mount.sync();
    mount.ctl(&["verify", "before", "after"]).expect(0);
    mount.await_state("after", "logged");
    if fs::metadata(lab.behind("starved")).is_ok_and(|m| m.len() > 0) {
        mount.verify("starved", 0);
    }
}

/// The store alone is full (a small state disk): jobs go on, seals wait, and come when there is room.
#[test]
fn a_full_state_directory_makes_seals_wait_and_jobs_go_on() {
    let lab = Lab::new();
    let state = lab.scratch().join("state");
    sandbox::small_disk(&state, 24 << 20);
    let mount = lab.mount(
        Options::new(Io::Passthrough)
            .flag("--state")
            .flag(state.to_str().unwrap()),
    );
    mount.sh("echo one > one").ok();
    mount.sync();
    let filler = state.join("filler");
    let dd = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096"])
        .arg(format!("of={}", filler.display()))
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!dd.success(), "the state disk is full");
    mount.sh("for i in $(seq 50); do echo $i > f$i; done").ok();
    assert_eq!(fs::read(lab.behind("f50")).unwrap(), b"50\n");
    fs::remove_file(&filler).unwrap();
    mount.sync();
    for i in [1, 25, 50] {
        mount.await_state(&format!("f{i}"), "logged");
    }
    let state = state.to_str().unwrap().to_owned();
    mount.unmount();
    lab.ctl(&[
        "verify",
        "--state",
        &state,
        lab.source().join("f50").to_str().unwrap(),
    ])
    .expect(0);
}

/// A read-only source can be mounted read-only, with its state elsewhere, and data on it are still known as inputs.
#[test]
fn a_read_only_source_works_with_its_state_elsewhere() {
    let lab = Lab::new();
    lab.put("in", b"i\n");
    let state = lab.scratch().join("state");
    sandbox::read_only(&lab.source());
    let state = state.to_str().unwrap().to_owned();
    let mount = lab.mount(
        Options::new(Io::Passthrough)
            .flag("--read-only")
            .flag("--state")
            .flag(&state),
    );
    mount.sh("cat in").ok();
    mount.sh("echo x > new").run().expect(2);
    assert_eq!(mount.status()["read_only"], true);
}

/// A file that vanishes behind the mount while it is digested is recorded as such; the queue goes on.
#[test]
fn a_file_that_vanishes_behind_the_mount_does_not_stop_the_queue() {
    let lab = Lab::new();
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount
        .sh("head -c 200000000 /dev/zero > big; echo x > small")
        .ok();
    fs::remove_file(lab.behind("big")).unwrap();
    mount.sync();
    mount.verify("small", 0);
}

/// The index is rebuilt from the store, and lineage is what it was.
#[test]
fn a_damaged_index_is_refused_with_the_remedy_and_the_remedy_works() {
    let lab = Lab::new();
    lab.put("in", b"i\n");
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("cat in > a").ok();
    mount.sh("cat a > b").ok();
    mount.sync();
    let before = mount.lineage("b");
    mount.unmount();
    let index = files::find(&lab.source().join(".atlas/nodes"), "index.redb").remove(0);
    fs::write(&index, files::noise(1, 100_000)).unwrap();
    let line = lab
        .mount_refused(&Options::new(Io::Passthrough))
        .refusal(1, "index");
    assert!(line.contains("--rebuild"), "{line}");
    lab.ctl(&["doctor", "--rebuild", lab.source().to_str().unwrap()])
        .expect(0);
    let mount = lab.mount(Options::new(Io::Passthrough));
    let after = mount.lineage("b");
    assert_eq!(after.inputs(), before.inputs(), "{}", after.json);
    assert_eq!(after.nodes.len(), before.nodes.len(), "{}", after.json);
    mount.verify("b", 0);
}

/// A new index would count from 1 again: two versions of one name, and nothing known of what was there.
#[test]
fn a_lost_index_gives_no_version_number_out_twice_and_forgets_no_lineage() {
    let lab = Lab::new();
    lab.put("in", b"i\n");
    let mount = lab.mount(Options::new(Io::Passthrough));
    mount.sh("cat in > a").ok();
    mount.sh("cat a > b").ok();
    mount.sync();
    let before = mount.lineage("b");
    mount.unmount();
    let index = files::find(&lab.source().join(".atlas/nodes"), "index.redb").remove(0);
    fs::remove_file(&index).unwrap();
    let mount = lab.mount(Options::new(Io::Passthrough));
    let after = mount.lineage("b");
    assert_eq!(after.inputs(), before.inputs(), "{}", after.json);
    mount.sh("cat b > c; echo d > d").ok();
    mount.sync();
    let ids: std::collections::BTreeSet<_> = ["a", "b", "c", "d"]
        .map(|name| mount.lineage(name).json["root"].to_string())
        .into();
    assert_eq!(ids.len(), 4, "{ids:?}");
    let of_c = mount.lineage("c");
    assert_eq!(
        of_c.inputs(),
        atlas_tests::lineage::names(["b"]),
        "{}",
        of_c.json
    );
    mount.verify("c", 0);
}
